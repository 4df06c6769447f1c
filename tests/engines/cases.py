"""What has to hold of a saga wherever it runs: one function a case, the same for all places.

A case is given a place and an id that is its own, for its saga and for what that buys. It asserts
what the caller is told, what stands in the shop's ledger, and which calls came there.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import pytest
from world import PATIENCE, until

from py_api_saga import (
    Retry,
    SagaAssembler,
    SagaConflict,
    SagaInProgress,
    SagaPending,
    SagaStatus,
    SagaStuck,
    Status,
    answer,
    repair,
    result_of,
    saga_status,
)
from py_api_saga.repair import DecisionError

from . import shop
from .places import ENGINES, JOURNALS, MODULES, NOVELTY, Kind, Place
from .shop import ALL, DIAMOND, Declined, Unavailable, buy, checkout, diamond, give_back

COMPLETED, COMPENSATED = SagaStatus.COMPLETED, SagaStatus.COMPENSATED
STUCK, RUNNING = SagaStatus.STUCK, SagaStatus.RUNNING
WHO: dict[str, Any] = {"who": "ada", "why": "looked it up"}
BRIEF = 0.3  # seconds that a call may take which is held for longer
SERVED: tuple[Kind, ...] = ("sqlite", "postgresql", *ENGINES)  # what workers of their own serve
Do = Callable[[Place, str], None]


class Case(NamedTuple):
    """A case.

    Attributes:
        do: What it does.
        on: The places that it holds for.
        quick: The suite runs it.
        staff: Whether workers are there from the beginning, as they are for most.
        dies: Something dies in it, so that it needs workers of its own.
    """

    do: Do
    on: Sequence[Kind]
    quick: bool
    staff: bool
    dies: bool

    @property
    def name(self) -> str:
        """What it is about, in words."""
        return self.do.__name__.replace("_", " ")

    @property
    def goods(self) -> str:
        """The id of its saga, and of what that buys."""
        return self.do.__name__.replace("_", "-")


CASES: list[Case] = []


def case(
    *, on: Sequence[Kind] = (), quick: bool = False, staff: bool = True, dies: bool = False
) -> Callable[[Do], Do]:
    """Note a case; see `Case`."""

    def noted(do: Do) -> Do:
        kinds = on or (SERVED if dies else (*JOURNALS, *ENGINES))
        CASES.append(Case(do, kinds, quick, staff, dies))
        return do

    return noted


def stands(place: Place, goods: str) -> Counter[str]:
    """Give what stands of an order."""
    return place.books.stands().get(goods, Counter())


def calls(place: Place, goods: str) -> list[str]:
    """Give the calls of an order as the shop has seen them: what their keys end with."""
    hits = [hit.key for hit in place.books.hits(f"%{goods}:%")]
    return [key.replace(f"{goods}:", "") for key in hits]


def attempts(place: Place, goods: str, what: str = "charge:action") -> list[int]:
    """Give the numbers of the attempts that were made of a call."""
    return [hit.attempt for hit in place.books.hits(f"{goods}:{what}")]


# --- forward and backward -------------------------------------------------------------------------


@case(quick=True)
def success(place: Place, goods: str) -> None:
    """Each call is made once, and the caller has what they returned."""
    end = place.run(checkout(goods), goods)

    assert end.status is COMPLETED
    assert [result["id"] for result in end.results] == [f"{name}-{goods}" for name in ALL]
    assert place.books.effects(goods) == ["+reserve", "+charge", "+ship"]
    assert calls(place, goods) == ["reserve:action", "charge:action", "ship:action"]


@case(quick=True)
def the_same_id_again(place: Place, goods: str) -> None:
    """It is answered for, and nothing runs a second time; another saga is refused."""
    first, again = place.run(checkout(goods), goods), place.run(checkout(goods), goods)
    with pytest.raises(SagaConflict):
        place.begin(checkout(f"{goods}-other"), goods)

    assert list(first.results) == list(again.results)
    assert place.books.effects(goods) == ["+reserve", "+charge", "+ship"]


@case(quick=True)
def a_failure_at_each_operation(place: Place, goods: str) -> None:
    """What was done is undone in reverse, and the caller is told of the error that was raised."""
    for n, name in enumerate(ALL):
        each = f"{goods}-{name}"
        end = place.run(checkout(each, calls={name: {"no": 1}}), each)
        done = [*ALL][:n]

        assert end.status is COMPENSATED
        assert end.error is not None
        assert end.error.operation_name == name
        assert str(end.error.operation_error) == f"no {name} for {each}"
        assert getattr(end.error.operation_error, "kind", None) == "engines.shop.Declined"
        assert place.books.effects(each) == [f"+{it}" for it in done] + [
            f"-{it}" for it in reversed(done)
        ]


@case(quick=True)
def retries(place: Place, goods: str) -> None:
    """Under one key, as often as it takes; and when they are used up, all is undone."""
    retry = Retry(Unavailable, attempts=3, wait_initial=0.05, wait_jitter=0)
    options = {"charge": {"retry": retry}}
    end = place.run(checkout(goods, calls={"charge": {"busy": 2}}, options=options), goods)
    worn = f"{goods}-worn"
    failed = place.run(checkout(worn, calls={"charge": {"busy": 9}}, options=options), worn)

    assert (end.status, failed.status) == (COMPLETED, COMPENSATED)
    assert attempts(place, goods) == attempts(place, worn) == [1, 2, 3]
    assert place.books.effects(worn) == ["+reserve", "-reserve"]


@case(quick=True)
def two_at_once(place: Place, goods: str) -> None:
    """Neither waits for the other; what comes after both waits for both."""
    held = {name: {"before": goods} for name in ("charge", "note")}
    place.begin(diamond(goods, held), goods, at_once=True)
    until(lambda: {"charge:action", "note:action"} <= {*calls(place, goods)})
    assert "ship:action" not in calls(place, goods)
    place.books.open(goods)

    assert place.end(goods).status is COMPLETED
    assert stands(place, goods) == DIAMOND


@case()
def a_failure_after_two_at_once(place: Place, goods: str) -> None:
    """Both are undone, before what both came after."""
    end = place.run(diamond(goods, {"ship": {"no": 1}}), goods, at_once=True)
    effects = place.books.effects(goods)

    assert end.status is COMPENSATED
    assert {*effects[3:5]} == {"-charge", "-note"}
    assert effects[5:] == ["-reserve"]


@case()
def two_failures_at_once(place: Place, goods: str) -> None:
    """The caller is told of both."""
    held = {name: {"before": goods, "no": 1} for name in ("charge", "note")}
    place.begin(diamond(goods, held), goods, at_once=True)
    until(lambda: {"charge:action", "note:action"} <= {*calls(place, goods)})
    place.books.open(goods)
    end = place.end(goods)

    assert end.status is COMPENSATED
    assert end.error is not None
    assert {*end.error.operation_errors} == {"charge", "note"}
    assert not stands(place, goods)


@case()
def a_child_saga(place: Place, goods: str) -> None:
    """Its operations are those of the whole, and their results are found by its name."""

    def made(goods: str, **ship: Any) -> SagaAssembler:
        inner = SagaAssembler.saga(name="inner")
        for name in ("charge", "note"):
            inner.operation(
                (buy, goods, name), (give_back, goods, name, result_of()["id"]), name=name
            )
        return (
            SagaAssembler.saga(name="outer")
            .operation((buy, goods, "reserve"), (give_back, goods, "reserve"), name="reserve")
            .operation(inner, name="pack")
            .operation(
                partial(buy, goods, "ship", result_of("pack")["charge"]["id"], **ship),
                (give_back, goods, "ship"),
                name="ship",
            )
        )

    other = f"{goods}-undone"
    end, undone = place.run(made(goods), goods), place.run(made(other, no=1), other)

    assert (end.status, undone.status) == (COMPLETED, COMPENSATED)
    assert end.results["pack"]["charge"] == {"id": f"charge-{goods}"}
    assert stands(place, goods) == DIAMOND
    assert place.books.effects(other)[3:] == ["-note", "-charge", "-reserve"]


# --- time -----------------------------------------------------------------------------------------


@case(quick=True)
def a_call_that_lands_after_its_rollback(place: Place, goods: str) -> None:
    """The caller does not wait for it; what it does after all is undone under another key."""
    saga = checkout(
        goods, calls={"charge": {"after": goods}}, options={"charge": {"timeout": BRIEF}}
    )
    end = place.run(saga, goods)
    early = calls(place, goods)
    place.books.open(goods)
    until(lambda: "charge:compensation:2" in calls(place, goods))

    assert end.status is COMPENSATED
    assert "charge:compensation" in early
    assert "charge:compensation:2" not in early
    assert place.books.effects(goods) == ["+reserve", "+charge", "-charge", "-reserve"]
    assert place.end(goods).status is COMPENSATED


@case()
def a_call_that_comes_after_its_rollback(place: Place, goods: str) -> None:
    """The rollback has left a tombstone, so that it is refused."""
    saga = checkout(
        goods, calls={"charge": {"before": goods}}, options={"charge": {"timeout": BRIEF}}
    )
    end = place.run(saga, goods)
    place.books.open(goods)
    _until_let_go(place, goods)

    assert end.status is COMPENSATED
    assert end.error is not None
    assert getattr(end.error.operation_error, "kind", "").endswith("TimeoutError")
    assert place.books.effects(goods) == ["+reserve", "-reserve"]


@case()
def a_coroutine_past_its_timeout(place: Place, goods: str) -> None:
    """It is cancelled, and the rollback begins when it has ended."""
    told = {"function": shop.abuy, "after": goods}
    saga = checkout(goods, calls={"charge": told}, options={"charge": {"timeout": BRIEF}})
    end = place.run(saga, goods)

    assert end.status is COMPENSATED
    assert place.books.effects(goods) == ["+reserve", "+charge", "-charge", "-reserve"]


@case()
def a_deadline_during_a_call(place: Place, goods: str) -> None:
    """The call comes to its end, nothing more is begun, and all is undone."""
    begun = time.monotonic()
    place.begin(checkout(goods, calls={"reserve": {"after": goods}}), goods, deadline=BRIEF)
    time.sleep(max(0.0, begun + BRIEF + 0.05 - time.monotonic()))
    place.books.open(goods)
    end = place.end(goods)

    assert end.status is COMPENSATED
    assert "charge:action" not in calls(place, goods)
    assert not stands(place, goods)


@case()
def a_deadline_during_a_wait(place: Place, goods: str) -> None:
    """It does not wait for the next attempt."""
    options = {"charge": {"retry": Retry(Unavailable, attempts=2, wait_initial=3600)}}
    saga = checkout(goods, calls={"charge": {"busy": 9}}, options=options)
    end = place.run(saga, goods, deadline=2.0)

    assert end.status is COMPENSATED
    assert attempts(place, goods) in ([1], [])
    assert not stands(place, goods)


@case(on=ENGINES)
def cancelled_during_a_call(place: Place, goods: str) -> None:
    """The call comes to its end, and all is undone; the caller is told who has said so.

    It is heard at the end of a call, or a moment later, when the saga waits for an answer.
    """
    told: dict[str, shop.Options] = {
        "charge": {"after": goods},
        "ship": {"function": shop.buy_later},
    }
    place.begin(checkout(goods, calls=told), goods)
    until(lambda: stands(place, goods)["charge"])
    place.store.cancel(goods, **WHO)
    place.books.open(goods)
    end = place.end(goods)
    effects = [it for it in place.books.effects(goods) if "ship" not in it]

    assert end.status is COMPENSATED
    assert "ada" in str(end.error)
    assert effects == ["+reserve", "+charge", "-charge", "-reserve"]
    assert not stands(place, goods)


@case(on=ENGINES, staff=False)
def cancelled_before_the_first_call(place: Place, goods: str) -> None:
    """It ends with nothing done, once there are workers."""
    place.begin(checkout(goods, calls={"charge": {"function": shop.buy_later}}), goods)
    place.store.cancel(goods, **WHO)
    with place.here():
        end = place.end(goods)

    assert end.status is COMPENSATED
    assert not stands(place, goods)
    assert place.kind == "dbos" or not calls(place, goods)  # which hears at the end of a call


@case(on=ENGINES)
def cancelled_after_the_pivot(place: Place, goods: str) -> None:
    """It goes on forward all the same."""
    options = {"reserve": {"pivot": True}}
    place.begin(checkout(goods, calls={"charge": {"after": goods}}, options=options), goods)
    until(lambda: stands(place, goods)["charge"])
    place.store.cancel(goods, **WHO)
    place.books.open(goods)

    assert place.end(goods).status is COMPLETED
    assert stands(place, goods) == ALL


# --- doubt, and what a person decides -------------------------------------------------------------


@case(quick=True)
def doubt_that_is_asked_about(place: Place, goods: str) -> None:
    """In a rollback: what has happened is undone, and what has not needs no undoing."""
    for happens in (True, False):
        each = f"{goods}-{happens}"
        saga = checkout(
            each,
            calls={"charge": {"function": shop.buy_unclear, "happens": happens}},
            options={"charge": {"on_doubt": shop.ask}},
        )

        assert place.run(saga, each).status is COMPENSATED
        assert attempts(place, each) == [1]
        assert "ask charge:action" in calls(place, each)
        assert ("charge:compensation" in calls(place, each)) is happens
        assert not stands(place, each)


@case(quick=True)
def stuck_in_the_rollback(place: Place, goods: str) -> None:
    """A person has it called again, and it goes on."""
    saga = checkout(goods, calls={"ship": {"no": 1}}, undos={"charge": {"busy": 1}})
    end = place.run(saga, goods)

    assert end.status is STUCK
    assert isinstance(end.error, SagaStuck)
    assert {*end.error.stuck} == {"charge"}
    assert stands(place, goods) == Counter(["charge"])
    repair.again(place.store, goods, **WHO)
    assert place.end(goods).status is COMPENSATED
    assert place.books.effects(goods)[2:] == ["-reserve", "-charge"]


@case()
def stuck_behind_the_pivot(place: Place, goods: str) -> None:
    """It can only go forward, and does once it is called again."""
    options = {"reserve": {"pivot": True}}
    saga = checkout(goods, calls={"charge": {"busy": 1}}, options=options)
    end = place.run(saga, goods)
    with pytest.raises(DecisionError, match="pivot"):
        repair.compensate(place.store, goods, **WHO)
    repair.again(place.store, goods, "charge", **WHO)

    assert end.status is STUCK
    assert place.end(goods).status is COMPLETED
    assert place.books.effects(goods) == ["+reserve", "+charge", "+ship"]


@case()
def doubt_that_a_person_resolves(place: Place, goods: str) -> None:
    """The rollback leaves it to a person, and goes on with what that one knows."""
    saga = checkout(
        goods,
        calls={"charge": {"function": shop.buy_unclear, "happens": True}},
        options={"charge": {"on_doubt": "park"}},
    )
    end = place.run(saga, goods)
    repair.resolve(place.store, goods, "charge", Status.SUCCEEDED, {"id": "7"}, **WHO)
    after = place.end(goods)

    assert (end.status, after.status) == (STUCK, COMPENSATED)
    assert attempts(place, goods) == [1]
    assert place.books.effects(goods) == ["+reserve", "+charge", "-reserve", "-charge"]


@case()
def two_decisions_at_once(place: Place, goods: str) -> None:
    """One of them is refused, and what was decided is done once."""
    saga = checkout(goods, calls={"ship": {"no": 1}}, undos={"charge": {"busy": 1}})
    assert place.run(saga, goods).status is STUCK
    start = threading.Barrier(2)

    def decide(_: int) -> bool:
        start.wait(PATIENCE)
        with suppress(SagaInProgress, DecisionError):
            repair.again(place.store, goods, **WHO)
            return True
        return False

    with ThreadPoolExecutor(2) as pool:
        decided = [*pool.map(decide, range(2))]

    assert sorted(decided) == [False, True]
    assert place.end(goods).status is COMPENSATED
    assert attempts(place, goods, "charge:compensation") == [1, 2]


@case(on=ENGINES)
def decided_while_a_call_may_land(place: Place, goods: str) -> None:
    """A saga that is stuck is not decided about before the call that was given up has ended."""
    saga = checkout(
        goods,
        calls={"charge": {"after": goods}},
        undos={"charge": {"busy": 1}},
        options={"charge": {"timeout": BRIEF}},
    )
    end = place.run(saga, goods)
    decisions: list[Callable[[], object]] = [
        lambda: repair.again(place.store, goods, **WHO),
        lambda: repair.resolve(place.store, goods, "charge", Status.COMPENSATED, **WHO),
    ]
    for decision in decisions:
        with pytest.raises((SagaInProgress, DecisionError)):
            decision()
    place.books.open(goods)
    _until_let_go(place, goods)

    def goes_on() -> bool:
        if place.end(goods).status is STUCK:  # unless its late landing was undone by then
            with suppress(SagaInProgress, DecisionError):
                repair.again(place.store, goods, **WHO)
        return place.end(goods).status is COMPENSATED

    assert end.status is STUCK
    until(goes_on)
    assert not stands(place, goods)


@case(on=ENGINES)
def cancelled_while_stuck(place: Place, goods: str) -> None:
    """There is nothing to be cancelled: a person decides."""
    saga = checkout(goods, calls={"ship": {"no": 1}}, undos={"charge": {"busy": 1}})
    assert place.run(saga, goods).status is STUCK
    with pytest.raises(SagaInProgress, match="at rest"):
        place.store.cancel(goods, **WHO)
    repair.again(place.store, goods, **WHO)

    assert place.end(goods).status is COMPENSATED


def _until_let_go(place: Place, goods: str) -> None:
    """Wait until nobody drives a saga, and no call of it lives."""

    def is_let_go() -> bool:
        seen = place.store.find(goods)
        return seen is not None and not place.store.drives(seen)

    until(is_let_go)


# --- answers that come later ----------------------------------------------------------------------


@case(quick=True)
def answered_later(place: Place, goods: str) -> None:
    """It waits, and goes on with the answer; the same answer may come again, another may not."""
    place.begin(checkout(goods, calls={"charge": {"function": shop.buy_later}}), goods)
    (key,) = place.awaited(goods)
    first = answer(place.store, key, result={"id": "7"})
    again = answer(place.store, key, result={"id": "7"})
    with pytest.raises(SagaConflict):
        answer(place.store, key, result={"id": "8"})
    end = place.end(goods)

    assert (key, first.known, again.known) == (f"{goods}:charge:action", False, True)
    assert end.status is COMPLETED
    assert end.results["charge"] == {"id": "7"}
    assert stands(place, goods) == ALL


@case()
def denied_later(place: Place, goods: str) -> None:
    """What has not happened is a failure, and what was done before is undone."""
    told = {"function": shop.buy_later, "takes": False}
    place.begin(checkout(goods, calls={"charge": told}), goods)
    (key,) = place.awaited(goods)
    answer(place.store, key, error=Declined("no cover"))
    end = place.end(goods)

    assert end.status is COMPENSATED
    assert end.error is not None
    assert str(end.error.operation_error) == "no cover"
    assert place.books.effects(goods) == ["+reserve", "-reserve"]


@case()
def answered_before_it_waits(place: Place, goods: str) -> None:
    """The answer comes while the call that asks for it still runs."""
    told = {"function": shop.buy_later, "after": goods}
    place.begin(checkout(goods, calls={"charge": told}), goods)
    until(lambda: stands(place, goods)["charge"])
    answer(place.store, f"{goods}:charge:action", result={"id": "7"}, go_on=False)
    place.books.open(goods)
    end = place.end(goods)

    assert end.status is COMPLETED
    assert end.results["charge"] == {"id": "7"}


@case()
def answered_too_late(place: Place, goods: str) -> None:
    """All is undone when its time has come; what is answered then is undone once more."""
    told = {"function": shop.buy_later, "timeout": BRIEF}
    end = place.run(checkout(goods, calls={"charge": told}), goods)
    answer(place.store, f"{goods}:charge:action", result={"id": "7"})
    until(lambda: "charge:compensation:2" in calls(place, goods))

    assert end.status is COMPENSATED
    assert place.end(goods).status is COMPENSATED
    assert place.books.effects(goods) == ["+reserve", "+charge", "-charge", "-reserve"]


@case()
def asked_when_the_answer_is_too_late(place: Place, goods: str) -> None:
    """What has happened stands, though nobody has told."""
    saga = checkout(
        goods,
        calls={"charge": {"function": shop.buy_later, "timeout": BRIEF}},
        options={"charge": {"on_doubt": shop.ask}},
    )

    assert place.run(saga, goods).status is COMPLETED
    assert "ask charge:action" in calls(place, goods)


@case()
def a_timer(place: Place, goods: str) -> None:
    """A call that waits until then has its result then."""
    saga = SagaAssembler.saga(name="timer").operation((shop.pause, BRIEF), name="pause")
    saga.operation((buy, goods, "ship"), (give_back, goods, "ship"), name="ship")
    end = place.run(saga, goods)

    assert end.status is COMPLETED
    assert end.results["pause"] == {"waited": BRIEF}


@case()
def others_go_on_while_one_waits(place: Place, goods: str) -> None:
    """What does not come after it is done meanwhile."""
    saga = diamond(goods, {"charge": {"function": shop.buy_later}})
    place.begin(saga, goods, at_once=True)
    (key,) = place.awaited(goods)
    until(lambda: stands(place, goods)["note"])
    answer(place.store, key, result={"id": f"charge-{goods}"})

    assert place.end(goods).status is COMPLETED
    assert stands(place, goods) == DIAMOND


@case()
def undone_later(place: Place, goods: str) -> None:
    """A compensation may wait for its answer as well."""
    undo = {"charge": {"function": shop.give_back_later}}
    place.begin(checkout(goods, calls={"ship": {"no": 1}}, undos=undo), goods)
    (key,) = place.awaited(goods)
    assert stands(place, goods) == Counter(["reserve"])
    answer(place.store, key, result=None)

    assert key == f"{goods}:charge:compensation"
    assert place.end(goods).status is COMPENSATED
    assert not stands(place, goods)


@case()
def undone_while_it_waits(place: Place, goods: str) -> None:
    """What waits is undone as if it had happened, and so it is again when it is answered then."""
    place.begin(checkout(goods, calls={"charge": {"function": shop.buy_later}}), goods)
    (key,) = place.awaited(goods)
    if place.is_engine:
        place.store.cancel(goods, **WHO)
    else:
        until(lambda: not place.store.drives(place.store.find(goods)))
        repair.compensate(place.store, goods, **WHO)

    assert place.end(goods).status is COMPENSATED
    answer(place.store, key, result={"id": "7"})
    until(lambda: "charge:compensation:2" in calls(place, goods))
    assert place.books.effects(goods) == ["+reserve", "+charge", "-charge", "-reserve"]


@case()
def its_caller_waits_no_longer(place: Place, goods: str) -> None:
    """It is told of what the saga waits for, and nothing is decided."""
    saga = checkout(goods, calls={"charge": {"function": shop.buy_later}})
    place.begin(saga, goods)
    (key,) = place.awaited(goods)
    _until_idle(place, goods)
    with pytest.raises(SagaPending) as caught:
        saga.orchestrator_execute(saga_id=goods, wait=0.01, **place.place)
    standing = saga_status(place.store, goods)
    answer(place.store, key, result={"id": "7"})

    assert caught.value.awaited == (key,)
    assert standing is not None
    assert standing.status is RUNNING
    assert place.end(goods).status is COMPLETED


def _until_idle(place: Place, goods: str) -> None:
    """Wait until a journal's saga, which waits, has been let go; an engine drives it always."""
    if not place.is_engine:
        _until_let_go(place, goods)


# --- results --------------------------------------------------------------------------------------


@case(quick=True)
def a_result_that_nobody_can_keep(place: Place, goods: str) -> None:
    """All is undone, and the caller is told why."""
    saga = checkout(goods, calls={"charge": {"function": shop.unstorable}})
    end = place.run(saga, goods)

    assert end.status is COMPENSATED
    assert "cannot be kept" in str(end.error)
    assert place.books.effects(goods) == ["+reserve", "+charge", "-charge", "-reserve"]


@case(on=ENGINES)
def a_result_that_is_too_large(place: Place, goods: str) -> None:
    """All is undone, and it does not hang."""
    saga = checkout(goods, calls={"charge": {"function": shop.large, "length": 300_000}})
    end = place.run(saga, goods)

    assert end.status is COMPENSATED
    assert place.books.effects(goods) == ["+reserve", "+charge", "-charge", "-reserve"]


@case(on=ENGINES)
def results_that_are_too_large_together(place: Place, goods: str) -> None:
    """A saga outgrows the engine by one small enough result after the other."""
    saga = SagaAssembler.saga(name="large")
    for n in range(6):
        saga.operation(
            (shop.large, goods, f"charge{n}", 240_000),
            (give_back, goods, f"charge{n}"),
            name=f"charge{n}",
        )
    end = place.run(saga, goods)
    effects = place.books.effects(goods)

    assert end.status is COMPENSATED
    assert not stands(place, goods)
    assert 2 * 3 <= len(effects) < 2 * 6


@case()
def many_operations(place: Place, goods: str) -> None:
    """One after the other, the last of which fails."""
    saga = SagaAssembler.saga(name="chain")
    for n in range(40):
        saga.operation((buy, goods, f"{n}"), (give_back, goods, f"{n}"), name=f"n{n}")
    saga.operation(partial(buy, goods, "last", no=1), name="last")

    assert place.run(saga, goods).status is COMPENSATED
    effects = place.books.effects(goods)
    assert effects == [f"+{n}" for n in range(40)] + [f"-{n}" for n in reversed(range(40))]


@case()
def many_at_once(place: Place, goods: str) -> None:
    """All of a graph, and each once."""
    saga = SagaAssembler.saga(name="wide")
    for n in range(30):
        saga.operation((buy, goods, f"{n}"), (give_back, goods, f"{n}"), name=f"n{n}")

    assert place.run(saga, goods, at_once=True).status is COMPLETED
    assert stands(place, goods) == Counter(f"{n}" for n in range(30))


# --- workers that die -----------------------------------------------------------------------------


def _killed(place: Place, worker: str) -> None:
    """Let a worker die, and another one come in its stead."""
    place.kill(worker)
    place.hire(worker)


def _killed_in(place: Place, goods: str, name: str = "charge") -> None:
    """Let the worker die that is held after it has bought something, and let others go on."""
    place.until(lambda: place.books.who(goods, name))
    _killed(place, place.books.who(goods, name))
    place.books.open(goods)


def _made(place: Place, key: str) -> str:
    """Wait for a call, and tell who has made it."""
    place.until(lambda: place.books.hits(key))
    return place.books.hits(key)[-1].worker


def _is_on_record(place: Place, goods: str, word: str) -> Callable[[], bool]:
    """Tell whether an entry of a saga is."""

    def is_so() -> bool:
        seen = place.store.find(goods)
        rows = () if seen is None else place.store.rows([seen.number])[seen.number]
        return any(f'["{word}"' in row.body for row in rows)

    return is_so


@case(dies=True)
def killed_in_a_call(place: Place, goods: str) -> None:
    """It is made again under its key, by whoever is there."""
    place.begin(checkout(goods, calls={"charge": {"after": goods}}), goods)
    _killed_in(place, goods)

    assert place.end(goods).status is COMPLETED
    assert calls(place, goods).count("charge:action") == 2
    assert place.books.effects(goods) == ["+reserve", "+charge", "+ship"]


@case(dies=True)
def killed_in_the_first_call(place: Place, goods: str) -> None:
    """Nothing was on record but the saga."""
    place.begin(checkout(goods, calls={"reserve": {"after": goods}}), goods)
    _killed_in(place, goods, "reserve")

    assert place.end(goods).status is COMPLETED
    assert calls(place, goods).count("reserve:action") == 2
    assert place.books.effects(goods) == ["+reserve", "+charge", "+ship"]


@case(dies=True)
def killed_and_failed_after_that(place: Place, goods: str) -> None:
    """What was done twice under one key is undone once."""
    told: dict[str, shop.Options] = {"charge": {"after": goods}, "ship": {"no": 1}}
    place.begin(checkout(goods, calls=told), goods)
    _killed_in(place, goods)

    assert place.end(goods).status is COMPENSATED
    assert place.books.effects(goods) == ["+reserve", "+charge", "-charge", "-reserve"]


@case(dies=True)
def killed_and_asked_about(place: Place, goods: str) -> None:
    """What can be asked about is not called again."""
    options = {"charge": {"on_doubt": shop.ask}}
    place.begin(checkout(goods, calls={"charge": {"after": goods}}, options=options), goods)
    _killed_in(place, goods)

    assert place.end(goods).status is COMPLETED
    assert calls(place, goods).count("charge:action") == 1
    assert "ask charge:action" in calls(place, goods)


@case(dies=True)
def killed_in_a_first_call_that_is_asked_about(place: Place, goods: str) -> None:
    """Though nothing was on record of it but the saga."""
    options = {"reserve": {"on_doubt": shop.ask}}
    place.begin(checkout(goods, calls={"reserve": {"after": goods}}, options=options), goods)
    _killed_in(place, goods, "reserve")

    assert place.end(goods).status is COMPLETED
    assert calls(place, goods).count("reserve:action") == 1


@case(dies=True)
def killed_and_undone_for_that(place: Place, goods: str) -> None:
    """A saga that is not to go on after a crash."""
    saga = checkout(goods, calls={"charge": {"after": goods}}, on_crash="compensate")
    place.begin(saga, goods)
    _killed_in(place, goods)

    assert place.end(goods).status is COMPENSATED
    assert calls(place, goods).count("charge:action") == 1
    assert place.books.effects(goods) == ["+reserve", "+charge", "-charge", "-reserve"]


@case(dies=True)
def killed_and_parked_for_that(place: Place, goods: str) -> None:
    """A person says what came of it, and it goes on."""
    options = {"charge": {"on_doubt": "park"}}
    place.begin(checkout(goods, calls={"charge": {"after": goods}}, options=options), goods)
    _killed_in(place, goods)
    end = place.end(goods)
    known = {"id": f"charge-{goods}"}
    repair.resolve(place.store, goods, "charge", Status.SUCCEEDED, known, **WHO)

    assert end.status is STUCK
    assert place.end(goods).status is COMPLETED
    assert calls(place, goods).count("charge:action") == 1


@case(dies=True)
def killed_in_a_compensation(place: Place, goods: str) -> None:
    """It is made again under its key."""
    undo = {"charge": {"after": goods}}
    place.begin(checkout(goods, calls={"ship": {"no": 1}}, undos=undo), goods)
    place.until(lambda: "-charge" in place.books.effects(goods))
    _killed(place, _made(place, f"{goods}:charge:compensation"))
    place.books.open(goods)

    assert place.end(goods).status is COMPENSATED
    assert calls(place, goods).count("charge:compensation") == 2
    assert place.books.effects(goods) == ["+reserve", "+charge", "-charge", "-reserve"]


@case(dies=True)
def killed_in_a_question(place: Place, goods: str) -> None:
    """It is asked again in the rollback, and the action is not called for that."""
    saga = checkout(
        goods,
        calls={"charge": {"function": shop.buy_unclear, "happens": True, "asked": goods}},
        options={"charge": {"on_doubt": shop.ask}},
    )
    place.begin(saga, goods)
    _killed(place, _made(place, f"ask {goods}:charge:action"))
    place.books.open(goods)

    assert place.end(goods).status is COMPENSATED
    assert calls(place, goods).count("ask charge:action") == 2
    assert calls(place, goods).count("charge:action") == 1
    assert not stands(place, goods)


@case(dies=True)
def killed_between_two_attempts(place: Place, goods: str) -> None:
    """Nothing was running, so nothing is in doubt, and no attempt is counted that was not made."""
    options = {"charge": {"retry": Retry(Unavailable, wait_initial=2.0, wait_jitter=0)}}
    place.begin(checkout(goods, calls={"charge": {"busy": 1}}, options=options), goods)
    worker = _made(place, f"{goods}:charge:action")
    place.until(_is_on_record(place, goods, "retry"))
    _killed(place, worker)

    assert place.end(goods).status is COMPLETED
    assert attempts(place, goods) == [1, 2]


@case(dies=True)
def killed_between_two_attempts_beside_a_call(place: Place, goods: str) -> None:
    """The call is made again, and of the other one no attempt is counted that was not made."""
    retry = Retry(Unavailable, wait_initial=2.0, wait_jitter=0)
    told: dict[str, shop.Options] = {"charge": {"busy": 1}, "note": {"after": goods}}
    place.begin(diamond(goods, told, charge={"retry": retry}), goods, at_once=True)
    place.until(_is_on_record(place, goods, "retry"))
    place.until(lambda: place.books.who(goods, "note"))
    for worker in {hit.worker for hit in place.books.hits(f"{goods}:%")}:
        _killed(place, worker)
    place.books.open(goods)

    assert place.end(goods).status is COMPLETED
    assert attempts(place, goods) == [1, 2]
    assert calls(place, goods).count("note:action") == 2
    assert stands(place, goods) == DIAMOND


@case(dies=True)
def killed_in_some_of_several_calls(place: Place, goods: str) -> None:
    """Those that its machine made are made again; what others make comes to its end."""
    told = {name: {"after": goods} for name in ("charge", "note")}
    place.begin(diamond(goods, told), goods, at_once=True)
    place.until(lambda: place.books.who(goods, "charge") and place.books.who(goods, "note"))
    _killed(place, place.books.who(goods, "charge"))
    place.books.open(goods)

    assert place.end(goods).status is COMPLETED
    assert stands(place, goods) == DIAMOND
    assert calls(place, goods).count("charge:action") == 2


@case(dies=True)
def killed_with_a_call_that_was_given_up(place: Place, goods: str) -> None:
    """It can land no more, so nobody waits for it."""
    saga = checkout(
        goods, calls={"charge": {"after": goods}}, options={"charge": {"timeout": BRIEF}}
    )
    end = place.run(saga, goods)
    _killed(place, place.books.who(goods, "charge"))
    _until_let_go(place, goods)

    assert end.status is place.end(goods).status is COMPENSATED
    assert place.books.effects(goods) == ["+reserve", "+charge", "-charge", "-reserve"]


@case(dies=True)
def killed_while_it_waits_for_an_answer(place: Place, goods: str) -> None:
    """What is answered is heard by whoever comes after it."""
    place.begin(checkout(goods, calls={"charge": {"function": shop.buy_later}}), goods)
    (key,) = place.awaited(goods)
    for worker in [*place.workers]:
        _killed(place, worker)
    answer(place.store, key, result={"id": "7"}, go_on=False)

    assert place.end(goods).status is COMPLETED
    assert calls(place, goods).count("charge:action") == 1


@case(dies=True)
def told_to_end_in_a_call(place: Place, goods: str) -> None:
    """After its grace it leaves, and the call is made again by another one."""
    place.begin(checkout(goods, calls={"charge": {"after": goods}}), goods)
    place.until(lambda: place.books.who(goods, "charge"))
    worker = place.books.who(goods, "charge")
    status = place.dismiss(worker)
    place.books.open(goods)
    end = place.end(goods)
    place.hire(worker)

    assert status == 1  # it says that not all has ended
    assert end.status is COMPLETED
    assert attempts(place, goods) == [1, 2]
    assert place.books.effects(goods) == ["+reserve", "+charge", "+ship"]


@case(dies=True)
def frozen_in_a_call(place: Place, goods: str) -> None:
    """Whether others take it over or wait: nothing is done twice when it goes on."""
    place.begin(checkout(goods, calls={"charge": {"after": goods}}), goods)
    place.until(lambda: place.books.who(goods, "charge"))
    worker = place.books.who(goods, "charge")
    place.freeze(worker)
    place.books.open(goods)
    until_then = time.monotonic() + 5.0
    while time.monotonic() < until_then and "ship:action" not in calls(place, goods):
        time.sleep(0.05)
    place.thaw(worker)

    assert place.end(goods).status is COMPLETED
    assert place.books.effects(goods) == ["+reserve", "+charge", "+ship"]


@case(on=ENGINES, dies=True)  # of journals `durable.test_rolling_deploy` tells
def a_function_that_no_worker_has(place: Place, goods: str) -> None:
    """The saga waits for whoever has it, and then it is called once."""
    from .novelty import unwrap, wrap  # noqa: PLC0415 - of a later release

    saga = SagaAssembler.saga(name="new")
    saga.operation((buy, goods, "reserve"), (give_back, goods, "reserve"), name="reserve")
    saga.operation((wrap, goods), (unwrap, goods), name="wrap")
    saga.operation((buy, goods, "ship"), (give_back, goods, "ship"), name="ship")
    place.begin(saga, goods)
    place.until(lambda: stands(place, goods)["reserve"])
    time.sleep(1.0)
    standing = saga_status(place.store, goods)
    assert standing is not None
    assert standing.status is RUNNING
    place.hire("newer", (*MODULES, NOVELTY))

    assert place.end(goods).status is COMPLETED
    assert calls(place, goods).count("wrap:action") == 1
    assert place.dismiss("newer") == 0
