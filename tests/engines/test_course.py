"""The course of a saga: rows in, calls out, and what is told of them; nothing else is asked."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from courses import ERROR, Helm, begin, chain, folded, told, words
from depot import ask, do, undo
from recorded import Reversed

from py_api_saga import SagaAssembler, SagaStatus, Status, result_of
from py_api_saga.engines.course import MAX_LOSSES, Course, NewerFormatError
from py_api_saga.engines.rows import MAX_SAGA, MAX_VALUE, Rows

LONG = 43_200.0  # seconds after which a key is too old


def errand(helm: Helm, name: str) -> Any:
    """Read what the worker is told of a call in flight."""
    return json.loads(helm.flight[name].text)


def size(rows: Rows) -> int:
    """Give the bytes of rows."""
    return sum(len(body.encode()) for _, body in rows)


# --- what is called, and what is told of it -------------------------------------------------------


def test_a_chain_is_called_one_after_the_other() -> None:
    """A call is asked for once, and the next one when it has succeeded."""
    helm = Helm(begin(chain("a", "b")))

    assert helm.start() == ["a"]
    assert helm.start() == []
    helm.do("a")
    assert helm.start() == ["b"]
    helm.do("b")
    assert helm.start() == []

    assert helm.course.at_rest
    assert helm.course.is_over
    assert helm.words == ["started a", "succeeded a", "started b", "succeeded b"]
    assert helm.status is SagaStatus.COMPLETED


def test_a_graph_is_called_at_once_up_to_its_limit() -> None:
    """So many calls are in flight, in the order of declaration."""
    helm = Helm(begin(chain("a", "b", "c"), at_once=True, limit=2))

    assert helm.start() == ["a", "b"]
    helm.do("b")
    assert helm.start() == ["c"]


def test_what_was_done_is_undone_when_a_call_fails() -> None:
    """In the reverse order, one after the other."""
    helm = Helm(begin(chain("a", "b", "c")))
    helm.do("a", "b")
    helm.fail("c")

    helm.finish()

    assert helm.words[5:] == [
        "failed c", "started undo b", "succeeded undo b", "started undo a", "succeeded undo a",
    ]  # fmt: skip
    assert helm.status is SagaStatus.COMPENSATED


def test_what_is_told_at_one_moment_shares_a_row() -> None:
    """As one commit of a journal does; so its time is that of each entry."""
    helm = Helm(begin(chain("a", "b")))
    helm.start()
    helm.now = 2.0
    helm.do("a")
    helm.start()
    helm.now = 3.5
    helm.do("b")

    rows = helm.course.rows()

    assert [at for at, _ in rows] == [0.0, 1.0, 2.0, 3.5]
    assert [len(json.loads(body)) for _, body in rows] == [1, 1, 2, 1]


def test_who_goes_on_at_the_same_moment_goes_on_in_the_same_row() -> None:
    """The rows do not tell how often a workflow was begun anew."""
    rows = begin(chain("a", "b"))
    whole, helm = Helm(rows), Helm(rows)
    whole.do("a")
    helm.do("a")
    one = helm.go_on()
    whole.start()
    one.start()

    assert one.course.rows() == whole.course.rows()


def test_a_worker_is_told_what_its_call_needs() -> None:
    """Names, numbers, times, the operation's own part of the definition, and no other's."""
    saga = SagaAssembler.saga(name="order").operation((do, "a"), (undo, "a"), name="a")
    helm = Helm(begin(saga, at=0.5))
    helm.start()

    assert errand(helm, "a") == {
        "saga": "x",
        "saga_name": "order",
        "created": 0.5,
        "name": "a",
        "op": {"name": "a", "do": ["depot:do", ["a"]]},
        "intent": [0, "action", 1, 1],
        "action_generation": 1,
        "since": 1.0,
        "origin": 1.0,
        "results": {},
    }


def test_a_worker_is_told_of_an_undo_when_its_action_was_called_first() -> None:
    """For services whose keys are counted from there; and how to undo it."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a")
    helm.now = 9.0
    helm.fail("b")
    helm.start()

    seen = errand(helm, "undo a")

    assert (seen["origin"], seen["since"]) == (1.0, 9.0)
    assert seen["op"]["undo"] == ["depot:undo", ["a"]]


def test_the_deadline_counts_for_what_is_before_the_pivot_and_for_no_undo() -> None:
    """A worker that gave an undo up for the deadline would leave the effect."""
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a")
    saga.operation((do, "b"), name="b", pivot=True).operation((do, "c"), name="c")
    helm, other = (Helm(begin(saga, at=1.0, deadline=60.0), 2.0) for _ in range(2))
    helm.do("a", "b")
    helm.start()
    other.do("a")
    other.fail("b")
    other.start()

    untils = {asked.name: json.loads(asked.text).get("until") for asked in helm.asked}
    assert untils == {"a": 61.0, "b": 61.0, "c": None}
    assert "until" not in errand(other, "undo a")


def test_only_results_that_arguments_name_are_sent_along() -> None:
    """Of a thousand operations each would be sent all others' results otherwise."""
    saga = SagaAssembler.saga()
    saga.operation((do, "a"), (undo, "a", result_of()), name="a")
    saga.operation((do, "b"), name="b")
    saga.operation((do, "c", result_of("b")["id"], [result_of("a")]), name="c")
    helm = Helm(begin(saga))
    helm.do("a", result={"$date": "2026-01-01"})
    helm.do("b", result={"id": 7})
    helm.start()

    assert errand(helm, "c")["results"] == {"a": {"$date": "2026-01-01"}, "b": {"id": 7}}
    helm.fail("c")
    helm.start()
    assert errand(helm, "undo a")["results"] == {"": {"$date": "2026-01-01"}}


def test_results_of_a_child_saga_are_sent_along_as_one() -> None:
    """With the names that they have there."""
    pack = SagaAssembler.saga(name="pack").operation((do, "box"), name="box")
    pack.operation((do, "label", result_of("box")), name="label")
    saga = SagaAssembler.saga().operation(pack).operation((do, "c", result_of("pack")), name="c")
    helm = Helm(begin(saga))
    helm.do("pack.box", result={"id": 1})
    helm.start()
    within = errand(helm, "pack.label")["results"]
    helm.do("pack.label", result="L")
    helm.start()

    assert within == {"box": {"id": 1}}
    assert errand(helm, "c")["results"] == {
        "pack": {"$results": [[{"id": 1}, "L"], {"box": 0, "label": 1}]}
    }


def test_a_result_that_nobody_knows_is_sent_as_missing() -> None:
    """A person said that the action took effect, and not with which result."""
    saga = SagaAssembler.saga().operation((do, "a"), name="a", pivot=True)
    saga.operation((do, "b"), name="b").operation((do, "c", result_of("b")), name="c")
    helm = Helm(begin(saga))
    helm.do("a")
    helm.fail("b")
    helm.start()
    rows = helm.course.rows()
    note = ["note", {"who": "eve", "why": "", "did": "resolve b"}]
    missing = ["resolved", 1, "", 0, 0, ["succeeded", {"$missing": True}]]
    rows.append((5.0, json.dumps([note, missing])))
    helm = Helm(rows, 6.0)
    helm.start()

    assert errand(helm, "c")["results"] == {"b": {"$missing": True}}


def test_values_stay_as_they_are_written_and_sealed_ones_stay_sealed() -> None:
    """The course has no codec: what a worker seals goes to the next worker."""
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a")
    saga.operation((do, "b", result_of("a")), name="b")
    helm = Helm(begin(saga, codec=Reversed()))
    helm.do("a", result={"$sealed": "terces"})
    helm.start()
    seen = errand(helm, "b")
    helm.fail("b", "failed")

    assert seen["results"] == {"a": {"$sealed": "terces"}}
    assert "$sealed" in json.dumps(seen["op"]["do"])
    assert ["succeeded", 0, "action", 1, 1, {"$sealed": "terces"}] in told(helm.course.rows())


def test_facts_of_a_line_are_kept() -> None:
    """When a call began and how long it took is for whoever shows the saga."""
    helm = Helm(begin(chain("a")))
    helm.start()
    helm.tell("succeeded", "a", "done", [126, 17])

    assert told(helm.course.rows())[-1] == ["succeeded", 0, "action", 1, 1, "done", [126, 17]]


# --- time -----------------------------------------------------------------------------------------


def test_a_retry_is_called_when_it_is_due() -> None:
    """Not before; and when, is said to whoever waits."""
    helm = Helm(begin(chain("a")))
    helm.fail("a", "retry", 3.0)

    assert helm.start() == []
    assert helm.course.wakes() == 4.0
    helm.now = 4.0
    assert helm.start() == ["a"]
    assert helm.flight["a"].attempt == (0, "action", 2, 1)
    assert helm.course.wakes() is None


def test_retries_are_called_as_they_are_due_and_not_as_they_were_declared() -> None:
    """What waits for longer holds nobody up."""
    helm = Helm(begin(chain("a", "b"), at_once=True))
    helm.start()
    helm.fail("a", "retry", 9.0)
    helm.fail("b", "retry", 3.0)

    assert helm.course.wakes() == 4.0
    helm.now = 4.0
    assert helm.start() == ["b"]
    assert helm.course.wakes() == 10.0


def test_of_those_that_wait_the_first_that_is_due_comes_first() -> None:
    """Whichever was declared first; the others wait on, and what is over the limit too."""
    helm = Helm(begin(chain("a", "b", "c", "d"), at_once=True, limit=4))
    helm.start()
    for name, wait in {"a": 5.0, "b": 9.0, "c": 4.0, "d": 3.0}.items():
        helm.fail(name, "retry", wait)
    helm.now = 8.0

    assert helm.start() == ["d", "c", "a"]
    assert helm.course.wakes() == 10.0


def test_no_more_begin_than_may_though_all_are_due() -> None:
    """The rest comes when one has ended."""
    saga = SagaAssembler.saga().operation((do, "a"), name="a").operation((do, "b"), name="b")
    helm = Helm(begin(saga, at_once=True, limit=1))
    helm.fail("a", "retry", 1.0)
    helm.start()
    helm.fail("b", "retry", 1.0)
    helm.now = 9.0

    assert helm.start() == ["a"]
    helm.do("a")
    assert helm.start() == ["b"]


def test_a_retry_is_due_at_the_same_time_for_who_goes_on() -> None:
    """The rows have the time at which it was told."""
    helm = Helm(begin(chain("a")))
    helm.fail("a", "retry", 3.0)
    helm.now = 2.5
    helm = helm.go_on()

    assert helm.start() == []
    assert helm.course.wakes() == 4.0


def test_nobody_is_woken_for_a_retry_for_which_there_is_no_room() -> None:
    """The limit is that of calls at once: the next end of a call is looked at anyhow."""
    saga = SagaAssembler.saga().operation((do, "a"), name="a").operation((do, "b"), name="b")
    helm = Helm(begin(saga, at_once=True, limit=1))
    helm.fail("a", "retry", 0.5)
    helm.start()
    helm.now = 2.0

    assert [*helm.flight] == ["b"]
    assert helm.course.wakes() is None
    helm.do("b")
    assert helm.start() == ["a"]


def test_a_call_keeps_the_time_of_its_first_attempt() -> None:
    """From there `Retry(timeout=)` counts, whoever goes on."""
    helm = Helm(begin(chain("a")))
    helm.fail("a", "retry", 3.0)
    helm = helm.go_on()
    helm.now = 4.0
    helm.start()

    assert errand(helm, "a")["since"] == 1.0


def test_a_call_that_a_person_wants_again_has_all_its_time_again() -> None:
    """Days later its retries would have run out before the first one."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a")
    helm.fail("b")
    helm.fail("undo a")
    rows = helm.course.rows()
    note = ["note", {"who": "eve", "why": "", "did": "retry"}]
    rows.append((500.0, json.dumps([note, ["again", 0, "", 0, 0]])))
    helm = Helm(rows, 501.0)
    helm.start()

    seen = errand(helm, "undo a")
    assert seen["intent"] == [0, "compensation", 2, 1]
    assert (seen["since"], seen["origin"]) == (501.0, 1.0)


def test_a_deadline_that_has_passed_undoes_what_was_done() -> None:
    """It is looked at when something is told, before that: it does not complete the saga."""
    helm = Helm(begin(chain("a", "b"), deadline=5.0))
    helm.do("a")
    helm.start()
    helm.now = 5.0
    helm.do("b")
    helm.finish()

    assert helm.words[2:5] == ["started b", "abort", "succeeded b"]
    assert helm.status is SagaStatus.COMPENSATED


def test_a_deadline_is_looked_at_before_calls_begin() -> None:
    """Also if nothing was told since."""
    helm = Helm(begin(chain("a", "b"), deadline=5.0))
    helm.do("a")
    helm.now = 6.0

    assert helm.start() == ["undo a"]


def test_a_deadline_strikes_in_a_wait() -> None:
    """Whoever waits for a retry or an answer is woken; by the rows of whoever goes on, too."""
    helm = Helm(begin(chain("a", "b"), deadline=5.0))
    helm.do("a")
    helm.fail("b", "retry", 60.0)
    helm = helm.go_on()

    assert helm.course.wakes() == 5.0
    helm.now = 5.0
    assert helm.start() == ["undo a"]


def test_a_deadline_is_told_to_actions_before_the_pivot() -> None:
    """They may want to end by then; what must go forward, or back, has all the time."""
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a")
    saga.operation((do, "p"), name="p", pivot=True).operation((do, "c"), name="c")
    helm = Helm(begin(saga, deadline=5.0))
    helm.start()
    first = errand(helm, "a")
    helm.do("a", "p")
    helm.start()

    assert first["until"] == 5.0
    assert "until" not in errand(helm, "c")


def test_a_deadline_behind_the_pivot_is_noted_once() -> None:
    """Nothing is undone there; and who goes on does not note it again."""
    saga = SagaAssembler.saga().operation((do, "p"), name="p", pivot=True)
    saga.operation((do, "b"), name="b").operation((do, "c"), name="c")
    helm = Helm(begin(saga, deadline=5.0))
    helm.do("p")
    helm.now = 7.0
    helm.do("b")
    helm = helm.go_on()
    helm.finish()

    assert helm.words.count("abort") == 1
    assert helm.status is SagaStatus.COMPLETED


# --- who makes the calls may die ------------------------------------------------------------------


def test_a_lost_call_is_made_again() -> None:
    """Its process died: under the same key, as the next attempt."""
    helm = Helm(begin(chain("a")))
    helm.start()
    helm.tell("lost", "a")

    assert helm.start() == ["a"]
    assert helm.flight["a"].attempt == (0, "action", 2, 1)
    assert told(helm.course.rows())[1] == ["lost", 0, "action", 1, 1, False]


@pytest.mark.parametrize("undoes", [False, True])
def test_what_kills_each_process_is_not_called_for_ever(*, undoes: bool) -> None:
    """A person looks at it, and has it called as often once more; others, meanwhile, end."""
    helm = Helm(begin(chain("a", "b"), at_once=True))
    lost, words = "a", "a was lost with its process 10 times in a row"
    if undoes:
        helm.do("a")
        helm.fail("b")
        lost, words = "undo a", f"the undo of {words}"
    for _ in range(MAX_LOSSES):
        assert lost in [*helm.start(), *helm.flight]
        helm.tell("lost", lost)
    assert helm.start() == []
    if not undoes:
        assert not helm.course.at_rest
        helm.do("b")
    assert helm.course.is_over
    rows = helm.course.rows()
    assert [tree for _, kind, tree in folded(rows)[0].notes if kind == "parked"] == [
        {"reason": words}
    ]

    rows.append((9.0, json.dumps([["note", {"who": "eve", "why": "", "did": "retry"}]])))
    helm = Helm(rows, 9.5)
    for _ in range(MAX_LOSSES):
        assert helm.start() == [lost]
        helm.tell("lost", lost)
    assert helm.start() == []


def test_losses_count_in_a_row() -> None:
    """Also those before a workflow goes on; but not before the call has ended in another way."""
    helm = Helm(begin(chain("a", "b")))
    for _ in range(3):
        for _ in range(MAX_LOSSES - 1):
            assert helm.start() == ["a"]
            helm.tell("lost", "a")
        helm.fail("a", "retry", 0.0)
        helm = helm.go_on()
    for _ in range(MAX_LOSSES - 1):
        helm.start()
        helm.tell("lost", "a")
        helm = helm.go_on()
    assert helm.start() == ["a"]
    helm.tell("lost", "a")

    assert helm.start() == []


def test_a_lost_call_is_asked_about() -> None:
    """With `on_doubt=` a function."""
    saga = SagaAssembler.saga().operation((do, "a"), name="a", on_doubt=ask)
    helm = Helm(begin(saga))
    helm.start()
    helm.tell("lost", "a")

    assert helm.start() == ["ask a"]
    helm.tell("happened", "ask a", "A")
    assert helm.course.is_over
    assert helm.status is SagaStatus.COMPLETED


def test_a_call_that_was_lost_long_ago_is_not_made_again() -> None:
    """Services may have forgotten its key: a person decides. Counted from its first attempt."""
    helm = Helm(begin(chain("a")))
    helm.fail("a", "retry", LONG)
    helm = helm.go_on()
    helm.now += LONG
    helm.start()
    helm.now += 1.0
    helm.tell("lost", "a")

    assert helm.start() == []
    assert helm.course.is_over
    assert told(helm.course.rows())[-1] == ["lost", 0, "action", 2, 1, True]
    assert helm.stand() == "stuck"


def test_a_lost_question_about_an_old_key_is_asked_again() -> None:
    """And if nobody knows, the action is not called under that key."""
    saga = SagaAssembler.saga().operation((do, "a"), name="a", on_doubt=ask)
    helm = Helm(begin(saga))
    helm.start()
    helm.tell("lost", "a")
    helm.start()
    helm.now += LONG + 1.0
    helm.tell("lost", "ask a")

    assert helm.start() == ["ask a"]
    helm.tell("unknown", "ask a")
    assert helm.start() == []
    assert helm.stand() == "stuck"


def test_a_call_that_was_given_up_may_land() -> None:
    """The saga is at rest, and over only when it has; then what it did is undone."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a")
    late = helm.give_up_after_start("b")
    helm.finish_at_rest()

    assert helm.course.at_rest
    assert not helm.course.is_over
    assert [*helm.course.stragglers] == [late]
    helm.course.tell(json.dumps(["succeeded", *late, "late"]), helm.now)
    assert not helm.course.at_rest
    assert helm.start() == ["undo b"]
    assert helm.flight["undo b"].attempt == (1, "compensation", 2, 2)
    helm.finish()
    assert helm.status is SagaStatus.COMPENSATED


@pytest.mark.parametrize("what", ["lost", "failed", "retry", "in doubt", "later"])
def test_a_straggler_ends_in_whatever_way(what: str) -> None:
    """Also with its process; nothing follows but that the saga is over."""
    helm = Helm(begin(chain("a")))
    late = helm.give_up_after_start("a")
    helm.finish_at_rest()
    ends: dict[str, list[Any]] = {
        "lost": [],
        "failed": [ERROR],
        "retry": [[ERROR, 1.0]],
        "in doubt": [[ERROR, None, False, False]],
        "later": [[None, False, None]],
    }
    helm.course.tell(json.dumps([what, *late, *ends[what]]), helm.now)

    assert helm.course.is_over
    assert helm.status is SagaStatus.COMPENSATED


def test_what_is_told_twice_is_ignored() -> None:
    """By an engine that is not sure whether it was heard."""
    helm = Helm(begin(chain("a", "b")))
    helm.start()
    line = helm.tell("succeeded", "a", "A")
    helm.start()
    before = helm.course.rows()
    for _ in range(2):
        helm.course.tell(line, 9.0)

    assert helm.course.rows() == before


def test_of_a_straggler_twice_is_once() -> None:
    """That it was given up, and how it has ended."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a")
    late = helm.give_up_after_start("b")
    given_up = json.dumps(["in doubt", *late, [ERROR, None, True, False]])
    helm.course.tell(given_up, helm.now)
    helm.finish_at_rest()
    for _ in range(2):
        helm.course.tell(json.dumps(["succeeded", *late]), helm.now)
    helm.finish()
    helm.course.tell(given_up, helm.now)

    assert helm.words.count("in doubt b") == 1
    assert helm.words.count("succeeded b") == 1
    assert helm.course.is_over


def test_of_a_call_that_is_answered_later_nothing_is_heard_from_its_worker() -> None:
    """It has told that already, and what is told twice is ignored."""
    helm = Helm(begin(chain("a")))
    helm.start()
    line = json.dumps(["later", *helm.flight["a"].attempt, [None, False, None]])
    attempt = helm.flight["a"].attempt
    helm.later("a")
    helm.course.tell(line, 2.0)
    helm.course.tell(json.dumps(["lost", *attempt]), 2.0)

    assert helm.words == ["started a", "later a"]
    assert not helm.course.at_rest


def test_rows_with_calls_in_flight_are_those_of_a_dead_process() -> None:
    """As recovery takes them: in doubt, and what is too old is not called again."""
    helm = Helm(begin(chain("a", "b"), at_once=True))
    helm.start()
    helm.now = LONG
    helm.tell("failed", "b", ERROR)
    again = Helm(helm.course.rows(), LONG + 0.5)
    older = Helm(helm.course.rows(), LONG + 2.0)

    assert again.words[-1] == "recovered"
    assert told(again.course.rows())[-1][5:] == [[]]
    assert told(older.course.rows())[-1][5:] == [[0, 1]]
    assert again.start() == ["undo a"]


def test_what_was_given_up_is_lost_to_who_goes_on() -> None:
    """Nobody is left who would tell how it ended; nothing else changes, on_crash or not."""
    helm = Helm(begin(chain("a", "b", on_crash="compensate"), at_once=True))
    helm.start()
    helm.do("a")
    late = helm.give_up("b")
    rows = helm.course.rows()
    again = Helm(rows, 2.0)

    assert [*again.course.stragglers] == []
    assert told(again.course.rows())[-1] == ["lost", *late, False]


def test_what_waits_for_an_answer_is_not_lost() -> None:
    """No process was needed for it."""
    helm = Helm(begin(chain("a", on_crash="compensate")))
    helm.later("a", 60.0)

    assert helm.go_on().words == ["started a", "later a"]


def test_of_two_that_are_overdue_at_once_the_first_gives_the_other_up() -> None:
    """What is awaited as a rollback begins is in doubt; nobody tells it once more."""
    helm = Helm(begin(chain("a", "b"), at_once=True))
    helm.later("a", 5.0)
    helm.later("b", 5.0)
    helm.now = 5.0

    assert helm.start() == ["undo b", "undo a"]
    assert helm.words[4:] == ["in doubt a", "started undo b", "started undo a"]


# --- cancelled ------------------------------------------------------------------------------------


def test_a_saga_is_cancelled_before_its_first_call() -> None:
    """Nothing is called."""
    helm = Helm(begin(chain("a")))
    helm.cancel()

    assert helm.start() == []
    assert helm.course.is_over
    assert helm.status is SagaStatus.COMPENSATED


def test_a_saga_is_cancelled_in_a_call_and_in_a_wait() -> None:
    """What runs is awaited, what waits is not called again, and what was done is undone."""
    helm = Helm(begin(chain("a", "b", "c"), at_once=True))
    helm.fail("a", "retry", 60.0)
    helm.start()
    helm.do("b")
    helm.cancel()
    assert helm.start() == []
    helm.do("c")

    assert helm.start() == ["undo c", "undo b"]


def test_a_saga_that_waits_for_an_answer_is_cancelled() -> None:
    """It may have begun something: that is undone."""
    helm = Helm(begin(chain("a")))
    helm.later("a")
    helm.cancel()

    assert helm.start() == ["undo a"]


def test_cancelling_behind_the_pivot_is_noted() -> None:
    """The saga goes on."""
    saga = SagaAssembler.saga().operation((do, "p"), name="p", pivot=True)
    helm = Helm(begin(saga.operation((do, "b"), name="b")))
    helm.do("p")
    helm.cancel()
    helm.finish()

    assert "abort" in helm.words
    assert helm.status is SagaStatus.COMPLETED


def test_cancelling_is_ignored_where_it_says_nothing() -> None:
    """While all is undone, stuck, and at the end: a person decides about what is stuck."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a")
    helm.fail("b")
    helm.cancel()
    helm.start()
    helm.cancel()
    helm.fail("undo a")
    helm.cancel()

    assert "abort" not in helm.words
    assert helm.stand() == "stuck failed"
    assert helm.course.is_over


def test_a_cancel_that_comes_before_a_stuck_pivot_is_called_again_is_ignored() -> None:
    """A person had it called; whether it has happened already nobody knows yet."""
    saga = SagaAssembler.saga().operation((do, "a"), name="a", pivot=True)
    helm = Helm(begin(saga))
    helm.fail("a", "in doubt", None, False, False)
    rows = helm.course.rows()
    note = ["note", {"who": "eve", "why": "", "did": "retry a"}]
    rows.append((5.0, json.dumps([note, ["again", 0, "", 0, 0, False]])))
    helm = Helm(rows, 6.0)
    helm.cancel()

    assert helm.start() == ["a"]
    assert "abort" not in helm.words


def test_a_saga_with_a_straggler_is_cancelled() -> None:
    """Before it has ended: what it may have done is undone, and it is waited for."""
    helm = Helm(begin(chain("a", "b"), at_once=True))
    helm.start()
    late = helm.flight["a"].attempt
    helm.fail("a", "in doubt", 60.0, True, False)
    helm.cancel()
    helm.do("b")
    helm.finish_at_rest()

    assert helm.course.at_rest
    assert [*helm.course.stragglers] == [late]


# --- answers that come later ----------------------------------------------------------------------


def test_an_answer_goes_to_the_call_that_waits_for_it() -> None:
    """And the saga goes on."""
    helm = Helm(begin(chain("a", "b")))
    helm.later("a")
    assert helm.start() == []
    assert not helm.course.at_rest
    helm.answer("a:action", {"id": 7})

    assert helm.start() == ["b"]
    assert told(helm.course.rows())[2] == ["answered", 0, "action", 1, 1, {"id": 7}]


def test_an_answer_may_say_no() -> None:
    """It is final."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a")
    helm.later("b")
    helm.answer("b:action", error=ERROR)

    assert helm.start() == ["undo a"]
    assert told(helm.course.rows())[4] == ["denied", 1, "action", 1, 1, ERROR]


def test_an_answer_waits_until_its_call_has_returned() -> None:
    """What that returns comes first; who goes on meanwhile has it in the rows."""
    helm = Helm(begin(chain("a", "b")))
    helm.start()
    helm.answer("a:action")
    helm.answer("a:action", "another")
    carried = helm.course.rows()
    assert helm.words == ["started a", "letter"]
    helm.later("a")

    assert helm.words == ["started a", "later a", "answered a"]
    again = Helm(carried, 3.0)
    assert again.start() == ["b"]
    assert again.words == ["started a", "recovered", "answered a", "started b"]


def test_an_answer_to_what_is_known_is_kept_and_changes_nothing() -> None:
    """Whoever answers again is told what was answered first."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a")
    helm.answer("a:action", "first")
    helm.answer("a:action", "second")
    helm = helm.go_on()
    helm.answer("a:action", "third")
    kept = [line for line in told(helm.course.rows()) if line[0] == "letter"]
    helm.finish()

    assert kept == [["letter", "x:a:action", '["answered", "first", null]', True]]
    assert helm.status is SagaStatus.COMPLETED


def test_an_answer_that_was_taken_is_not_taken_twice() -> None:
    """Nor is another one to the same call."""
    helm = Helm(begin(chain("a", "b")))
    helm.later("a")
    helm.answer("a:action", error=ERROR)
    rows = helm.course.rows()
    helm.answer("a:action", error=ERROR)
    helm.answer("a:action", "after all")

    assert helm.course.rows() == rows


def test_an_answer_to_a_call_that_was_never_made_is_refused() -> None:
    """It is nobody's; that is noted, and not the answer."""
    helm = Helm(begin(chain("a")))
    helm.answer("b:action", "secret")

    (note,) = told(helm.course.rows())
    assert note[0] == "note"
    assert "secret" not in json.dumps(note)


def test_an_answer_after_the_rollback_is_undone_once_more() -> None:
    """Under a key of its own."""
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a")
    helm = Helm(begin(saga))
    helm.later("a", 5.0)
    helm.now = 5.0
    helm.finish()
    assert helm.status is SagaStatus.COMPENSATED
    helm.answer("a:action")

    assert not helm.course.at_rest
    assert helm.start() == ["undo a"]
    assert helm.flight["undo a"].attempt == (0, "compensation", 2, 2)


def test_an_answer_of_a_person_says_who() -> None:
    """Behind the answer, as in a journal."""
    helm = Helm(begin(chain("a")))
    helm.later("a")
    note = ["note", {"who": "eve", "why": "phoned", "did": "answer"}]
    body = json.dumps(["answered", None, note])
    helm.course.tell(json.dumps(["letter", "x:a:action", body]), 2.0)

    assert told(helm.course.rows())[2:] == [["answered", 0, "action", 1, 1], note]


@pytest.mark.parametrize(
    "body",
    ["", "[]", '["shrugged",1,null]', '["succeeded",1,null]', '["denied",7,null]', "[1,2,3]"],
)
def test_an_answer_that_is_none_is_refused(body: str) -> None:
    """Nothing is told of the call, and the saga goes on."""
    helm = Helm(begin(chain("a")))
    helm.later("a")
    helm.course.tell(json.dumps(["letter", "x:a:action", body]), 2.0)

    assert helm.words == ["started a", "later a", "note"]
    helm.answer("a:action")
    assert helm.status is SagaStatus.COMPLETED


def test_a_timer_succeeds_by_itself() -> None:
    """When it is due, with its result; for whoever goes on as well."""
    saga = SagaAssembler.saga().operation((do, "a"), name="a")
    helm = Helm(begin(saga.operation((do, "b", result_of("a")), name="b")))
    helm.later("a", 60.0, timer={"$date": "2026-01-01"})
    helm = helm.go_on()

    assert helm.start() == []
    assert helm.course.wakes() == 60.0
    helm.now = 60.0
    helm.start()
    assert errand(helm, "b")["results"] == {"a": {"$date": "2026-01-01"}}


def test_what_is_not_answered_in_time_is_in_doubt() -> None:
    """It is asked about, or undone."""
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", on_doubt=ask)
    helm = Helm(begin(saga))
    helm.later("a", 60.0)
    helm.now = 60.0

    assert helm.start() == ["ask a"]
    what, *_, value = told(helm.course.rows())[2]
    assert (what, value[0]) == (
        "in doubt",
        ["builtins.TimeoutError", "the action of operation 'a' was not answered in time"],
    )


def test_what_is_awaited_for_ever_wakes_nobody() -> None:
    """But the deadline does."""
    assert awaited_wakes(deadline=None) is None
    assert awaited_wakes(deadline=9.0) == 9.0


def awaited_wakes(deadline: float | None) -> float | None:
    """Say when a saga is looked at that waits for ever."""
    helm = Helm(begin(chain("a"), deadline=deadline))
    helm.later("a")
    helm.start()
    return helm.course.wakes()


def test_of_two_that_are_due_the_first_may_decide_about_the_other() -> None:
    """What has been given up is not told of as unanswered."""
    helm = Helm(begin(chain("a", "b"), at_once=True))
    helm.later("a", 5.0)
    helm.later("b", 5.0)
    helm.now = 5.0
    helm.start()

    assert helm.words[4:6] == ["in doubt a", "started undo b"]


# --- sizes ----------------------------------------------------------------------------------------


def test_a_result_that_is_too_large_is_told_as_one_that_cannot_be_kept() -> None:
    """The saga is rolled back, and it says why."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a")
    helm.do("b", result="é" * (MAX_VALUE // 2))
    helm.finish()

    assert helm.words[2:4] == ["started b", "unstored b"]
    kind, text = told(helm.course.rows())[3][5]
    assert kind == "builtins.TypeError"
    assert f"{MAX_VALUE:,} bytes" in text
    assert helm.status is SagaStatus.COMPENSATED


def test_the_largest_value_is_kept() -> None:
    """Whatever else its line says."""
    helm = Helm(begin(chain("a")))
    helm.start()
    helm.tell("succeeded", "a", "x" * (MAX_VALUE - 2), [126, 17])

    assert helm.status is SagaStatus.COMPLETED


def test_results_that_are_too_large_together_are_rolled_back() -> None:
    """A saga that no engine takes would hang for ever."""
    names = "abcdef"
    helm = Helm(begin(chain(*names)))
    helm.do(*names, result="x" * 200_000)
    helm.finish()

    assert helm.status is SagaStatus.COMPENSATED
    assert helm.words.count("unstored f") == 1
    assert size(helm.course.rows()) < MAX_SAGA + 10_000


def test_results_are_as_large_as_their_bytes() -> None:
    """A letter may take several."""
    helm = Helm(begin(chain(*"abcdef")))
    result = "ä" * (MAX_VALUE // 3)
    for name in "abcdef":
        if helm.start() == [name]:
            line = ["succeeded", *helm.flight.pop(name).attempt, result]
            helm.course.tell(json.dumps(line, ensure_ascii=False), helm.now)
    helm.finish()

    assert "unstored f" in helm.words
    assert size(helm.course.rows()) < MAX_SAGA + 10_000


def test_what_an_undo_returns_is_dropped_if_it_is_too_large() -> None:
    """It has been done."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a")
    helm.fail("b")
    helm.do("undo a", result="x" * MAX_VALUE)

    assert helm.words[-1] == "unstored undo a"
    assert helm.status is SagaStatus.COMPENSATED


def test_a_timer_whose_result_is_too_large_is_in_doubt() -> None:
    """It is told twice: when it begins, and when it ends."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a", result="x" * 250_000)
    helm.later("b", 5.0, timer="x" * MAX_VALUE)

    what, *_, value = told(helm.course.rows())[3]
    assert (what, value[0][0]) == ("in doubt", "py_api_saga.exceptions.LaterError")
    helm.finish()
    assert helm.status is SagaStatus.COMPENSATED


def test_errors_are_cut_once_there_is_no_room() -> None:
    """Also sealed ones, of which nothing is left to read; no call is made without end."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a")
    long = ["builtins.ValueError", "no " * 1365]
    attempts = 0
    while not helm.course.is_over:
        for name in helm.start():
            attempts += 1
            undoing = name.startswith("undo")
            helm.tell("succeeded" if undoing else "retry", name, None if undoing else [long, 0.0])

    assert 250 < attempts < 5000
    assert size(helm.course.rows()) < 2 * MAX_SAGA
    assert helm.status is SagaStatus.COMPENSATED
    assert told(helm.course.rows())[-3][0] == "failed"


def test_an_undo_that_is_in_doubt_without_end_is_stuck() -> None:
    """For the same reason; what is sealed can't be cut, so it is left out."""
    helm = Helm(begin(chain("a", "b")))
    helm.do("a")
    helm.fail("b")
    sealed = ["builtins.ValueError", {"$sealed": "x" * 4000}]
    while not helm.course.is_over:
        for name in helm.start():
            helm.tell("in doubt", name, [sealed, 0.0, False, False])

    assert size(helm.course.rows()) < 2 * MAX_SAGA
    assert helm.stand() == "stuck failed"
    what, *_, value = told(helm.course.rows())[-1]
    assert (what, value[1:]) == ("in doubt", [None, False, False])
    assert "too large" in value[0][1]


def test_an_answer_that_is_too_large_is_refused() -> None:
    """Alone, or with the rest of the saga; it is noted, and the saga waits on."""
    helm = Helm(begin(chain("a")))
    helm.later("a")
    helm.answer("a:action", "x" * MAX_VALUE)

    assert helm.words == ["started a", "later a", "note"]
    assert "too large" in json.dumps(told(helm.course.rows())[-1])


def test_answers_that_wait_for_their_calls_need_room_too() -> None:
    """What is in the mail goes with the saga."""
    names = "abcdef"
    helm = Helm(begin(chain(*names), at_once=True))
    helm.start()
    for name in names:
        helm.answer(f"{name}:action", "x" * 200_000)

    assert helm.words.count("letter") == 5
    assert helm.words.count("note") == 1
    assert size(helm.course.rows()) < MAX_SAGA
    for name in names:
        helm.later(name)
    assert size(helm.course.rows()) < MAX_SAGA + 1000
    helm.answer("f:action", "small")
    assert "answered f" in helm.words


def test_notes_and_reasons_are_cut_once_there_is_no_room() -> None:
    """Of persons, who need not be short."""
    helm = Helm(begin(chain("a")))
    helm.course.tell(json.dumps(["note", {"who": "eve", "why": "x" * MAX_VALUE}]), 2.0)
    helm.course.tell(json.dumps(["abort", -1, "", 0, 0, ["E", "x" * MAX_VALUE]]), 2.0)

    assert helm.words == ["note", "abort"]
    assert size(helm.course.rows()) < 2000


# --- what can't be taken in -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "7", '["sang",0,"action",1,1]', '["not happened",0,"action",1,1]',
     '["succeeded",9,"action",1,1]', '["retry",0,"action",1,1,7]', '["started",0,"action",1,1]',
     '["resolved",0,"",0,0,["failed",null]]'],
)  # fmt: skip
def test_what_cannot_be_taken_in_parks_the_saga(line: str) -> None:
    """A person looks at it; no call begins, and it is over once nothing runs."""
    helm = Helm(begin(chain("a", "b")))
    helm.start()
    helm.course.tell(line, 2.0)

    assert helm.start() == []
    assert helm.course.wakes() is None
    assert helm.course.is_over
    recorded, execution = folded(helm.course.rows())
    assert [kind for _, kind, _ in recorded.notes] == ["parked"]
    assert execution.status[0] is Status.RUNNING


def test_a_saga_is_parked_once() -> None:
    """For the first reason."""
    helm = Helm(begin(chain("a", "b"), at_once=True))
    helm.start()
    helm.course.tell("what?", 2.0)
    helm.course.tell("what?", 3.0)

    assert helm.words == ["started a", "started b", "parked"]
    assert helm.course.is_over


def test_a_parked_saga_waits_for_what_runs() -> None:
    """What comes of it is kept; a person goes on from there."""
    helm = Helm(begin(chain("a", "b", "c"), at_once=True))
    helm.start()
    helm.tell("happened", "a")
    assert not helm.course.at_rest
    helm.do("b")
    assert not helm.course.at_rest
    helm.later("c")
    assert helm.course.is_over
    helm.answer("c:action")
    assert helm.words[3:] == ["parked", "succeeded b", "later c", "answered c"]
    again = Helm(helm.course.rows(), 9.0)

    assert again.words[7:] == ["recovered"]
    assert again.course.is_over
    assert again.start() == []


def test_a_parked_saga_is_gone_on_with_once_a_person_has_decided() -> None:
    """As with a journal: a note says so."""
    helm = Helm(begin(chain("a")))
    helm.start()
    helm.course.tell("what?", 2.0)
    rows = helm.course.rows()
    rows.append((9.0, json.dumps([["note", {"who": "eve", "why": "", "did": "retry"}]])))

    assert Helm(rows, 9.5).start() == ["a"]


@pytest.mark.parametrize(
    "body", ["", "[]", "[[1]]", '[["defined",{}]]', '[["defined",{"format":1}]]']
)
def test_rows_that_cannot_be_read_are_parked(body: str) -> None:
    """Nothing is called; whatever is told of it is ignored."""
    course = Course("x", [(0.0, body)], 1.0)
    course.tell('["succeeded",0,"action",1,1]', 2.0)
    course.tell('["note",{"who":"eve"}]', 2.0)

    assert course.calls(3.0) == []
    assert course.is_over
    assert course.wakes() is None
    assert [*course.stragglers] == []
    assert not course.must_know
    parked, note = course.rows()[-2:]
    assert json.loads(parked[1])[-1][0] == "parked"
    assert json.loads(note[1]) == [["note", {"who": "eve"}]]


def test_rows_that_contradict_themselves_are_parked() -> None:
    """They were written by somebody else."""
    rows = begin(chain("a"))
    rows.append((1.0, '[["succeeded",0,"action",1,1]]'))
    course = Course("x", rows, 1.0)

    assert course.is_over
    assert "parked" in course.rows()[-1][1]


def test_a_definition_that_wants_what_there_is_not_is_parked() -> None:
    """The call that would want it never begins, and is not waited for."""
    saga = SagaAssembler.saga().operation((do, "a"), name="a")
    (row,) = begin(saga.operation((do, "b", result_of("a")), name="b"))
    helm = Helm([(0.0, row[1].replace('["a"]]', '["z"]]'))])
    helm.do("a")

    assert helm.start() == []
    assert helm.course.is_over
    assert "parked" in helm.words


def test_a_saga_of_a_newer_format_is_left_alone() -> None:
    """A worker of a newer release reads it: nothing is decided here."""
    (row,) = begin(chain("a"))

    with pytest.raises(NewerFormatError, match="format 2"):
        Course("x", [(0.0, row[1].replace('"format": 1', '"format": 2'))], 1.0)


# --- what an engine asks --------------------------------------------------------------------------


def test_it_must_be_known_whether_a_call_was_begun_where_more_follows_than_a_repetition() -> None:
    """Of `on_doubt=` and `on_crash="compensate"`."""
    asking = SagaAssembler.saga().operation((do, "a"), name="a", on_doubt=ask)
    parking = SagaAssembler.saga().operation((do, "a"), name="a", on_doubt="park")

    assert not Helm(begin(chain("a"))).course.must_know
    for saga in (asking, parking, chain("a", on_crash="compensate")):
        assert Helm(begin(saga)).course.must_know


def test_what_a_saga_is_part_of_is_told_to_its_workers() -> None:
    """For traces."""
    (row,) = begin(chain("a"))
    helm = Helm([(0.0, row[1].replace('"format": 1', '"format": 1, "trace": "00-1-2-01"'))])
    helm.start()

    assert errand(helm, "a")["trace"] == "00-1-2-01"


def test_words_are_those_of_journals() -> None:
    """What is told can be shown, repaired and moved to a journal as it is."""
    helm = Helm(begin(chain("a")))
    helm.finish()

    assert words(helm.course.rows()) == ["started a", "succeeded a"]


# --- what it costs --------------------------------------------------------------------------------


def calls_of(helm: Helm, what: str, *value: Any) -> int:
    """Count the calls of functions, in Python and in C, that a saga takes to its end."""
    count = 0

    def note(*args: object) -> None:
        nonlocal count
        count += args[1] in ("call", "c_call")

    sys.setprofile(note)
    try:
        helm.start()
        for name in [*helm.flight]:
            helm.tell(what, name, *value)
        helm.finish()
        helm.course.rows()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.untraced
@pytest.mark.parametrize("at_once", [False, True], ids=["chain", "graph"])
@pytest.mark.parametrize("ends", [["succeeded"], ["retry", [ERROR, 1.0]]], ids=["once", "again"])
def test_it_takes_eight_times_the_calls_for_eight_times_the_operations(
    at_once: bool,  # noqa: FBT001 - a parameter
    ends: list[Any],
) -> None:
    """And not 64 times: what replays it has seconds for a thousand."""
    small, large = (
        calls_of(Helm(begin(chain(*map(str, range(n))), at_once=at_once, limit=n)), *ends)
        if at_once
        else calls_of(Helm(begin(chain(*map(str, range(n))))), *ends)
        for n in (50, 400)
    )

    assert large < 8.8 * small
