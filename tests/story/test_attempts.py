"""When attempts began and ended, and what befell their saga: of rows that are written by hand."""

from typing import Any

import pytest
from written import BEGIN, ended, error, started, story

from py_api_saga import SagaStatus
from py_api_saga.entries import ACTION, COMPENSATION
from py_api_saga.story.attempts import Attempt, History, history

DOUBT = [["builtins.TimeoutError", "no answer"], None, True, False]


def since(told: History) -> list[tuple[Any, ...]]:
    """Give of each attempt which it is, when it began and ended, and how; in seconds."""
    return [
        (
            one.operation,
            one.number,
            round(one.start - BEGIN, 3),
            None if one.end is None else round(one.end - BEGIN, 3),
            one.how,
        )
        for one in told.attempts
    ]


def moments(told: History) -> list[tuple[float, str, str]]:
    """Give what befell the saga, in seconds since its beginning."""
    return [(round(at - BEGIN, 3), what, says) for at, what, says in told.moments]


def test_attempts_are_from_the_call_to_its_end() -> None:
    """Also those that are made again, with what lies between."""
    told = history(
        story(
            (0, started(0)),
            (1, ended("retry", 0, [error(), 2.5])),
            (3.5, started(0, 2)),
            (4, ended("succeeded", 0, "A", 2)),
            (4, started(1)),
            (6, ended("succeeded", 1, "B")),
        )
    )

    assert since(told) == [
        (0, 1, 0, 1, "failed, tried again"),
        (0, 2, 3.5, 4, "succeeded"),
        (1, 1, 4, 6, "succeeded"),
    ]
    first, second, third = told.attempts
    assert (first.wait, first.again) == (2.5, BEGIN + 3.5)
    assert (second.wait, second.again) == (None, None)
    assert third.length == 2
    assert (told.begin, told.end, told.set_back) == (BEGIN, BEGIN + 6, False)
    assert told.moments == []


def test_of_an_attempt_whose_process_died_nobody_knows_when_it_ended() -> None:
    """It ended before the other process took over, or went on behind its back."""
    told = history(
        story(
            (0, started(0)),
            (9, ["recovered", -1, "", 0, 0, []]),
            (9, started(0, 2)),
            (10, ended("succeeded", 0, "A", 2)),
            (10, started(1)),
            (11, ended("succeeded", 1, "B")),
        )
    )

    assert since(told)[:2] == [(0, 1, 0, 9, "lost"), (0, 2, 9, 10, "succeeded")]
    assert told.attempts[0].length is None
    assert moments(told) == [(9, "takeover", "recovery took over")]


def test_one_attempt_whose_process_died_ends_alone() -> None:
    """Others live, and of one that was given up nobody learns when it ended."""
    told = history(
        story(
            (0, started(0)),
            (0, started(1)),
            (2, ["in doubt", 0, "action", 1, 1, DOUBT]),
            (3, ["lost", 1, "action", 1, 1, False]),
            (3, started(1, 1, "compensation")),
            (4, ["lost", 0, "action", 1, 1, False]),
            (5, ended("succeeded", 1, None, 1, "compensation")),
            limit=2,
        )
    )

    assert since(told) == [
        (0, 1, 0, 2, "in doubt"),
        (1, 1, 0, 3, "lost"),
        (1, 1, 3, 5, "succeeded"),
    ]
    assert [one.landed for one in told.attempts] == [None] * 3
    assert told.moments == []


@pytest.mark.parametrize(
    ("driven", "end", "how", "words"),
    [
        (True, 7, "running", "a process drives it"),
        (False, None, "lost", "no process drives it"),
        (None, None, "lost", "nobody can tell whether a process drives it"),
    ],
)
def test_an_open_saga_is_told_until_now(
    end: float | None, how: str, words: str, *, driven: bool | None
) -> None:
    """Its last call runs if a process is at it; else nobody knows of it."""
    told = history(story((0, started(0)), status=SagaStatus.RUNNING, driven=driven, now=7))

    assert since(told) == [(0, 1, 0, end, how)]
    assert moments(told) == [(7, "now", words)]
    assert told.end == BEGIN + 7


def test_what_lands_late_ended_twice() -> None:
    """It was given up, and says later what came of it."""
    told = history(
        story(
            (0, started(0)),
            (1, ended("in doubt", 0, DOUBT)),
            (1, started(0, kind=COMPENSATION)),
            (2, ended("succeeded", 0, None, kind=COMPENSATION)),
            (5, ended("succeeded", 0, "A")),
            (5, started(0, 2, kind=COMPENSATION, generation=2)),
            (6, ended("succeeded", 0, None, 2, COMPENSATION, 2)),
            operations=["a"],
            status=SagaStatus.COMPENSATED,
        )
    )

    action, undo, again = told.attempts
    assert (action.kind, action.how, action.end, action.landed) == (
        ACTION,
        "in doubt",
        BEGIN + 1,
        BEGIN + 5,
    )
    assert (undo.kind, undo.landed, again.generation) == (COMPENSATION, None, 2)


def test_answers_to_a_question_are_told_apart() -> None:
    """That it happened, that it did not, that nobody knows."""
    for word, how in (
        ("happened", "happened"),
        ("not happened", "did not happen"),
        ("unknown", "nobody could say"),
    ):
        told = history(
            story(
                (0, started(0)),
                (1, ended("in doubt", 0, [*DOUBT[:2], False, False])),
                (1, started(0, kind="ask")),
                (2, ended(word, 0, None, kind="ask")),
                operations=[{"name": "a", "do": ["depot:do", ["a"]], "ask": "depot:ask"}],
                status=SagaStatus.STUCK,
            )
        )

        assert [one.how for one in told.attempts] == ["in doubt", how]


def test_what_befalls_the_saga_is_told_with_who_and_why() -> None:
    """Who decided what, who left it for want of something, that recovery gave up, that it stops."""
    stops = story(
        (0, started(0)),
        (1, ["abort", -1, "", 0, 0, ["builtins.TimeoutError", "time is up"]]),
        (2, ended("succeeded", 0, "A")),
        (2, started(0, kind=COMPENSATION)),
        (3, ended("failed", 0, error(), kind=COMPENSATION)),
        (4, ["note", {"who": "ada", "why": "ticket 7", "did": "resolve a as skipped"}]),
        (4, ["resolved", 0, "", 0, 0, ["skipped", {"$missing": True}]]),
        status=SagaStatus.COMPENSATED,
    )
    left = story(
        (1, ["note", {"who": "recovery", "why": "", "did": "leave it", "waits_for": "shop:new"}]),
        (2, ["parked", {"reason": "no module named shop"}]),
        status=SagaStatus.STUCK,
    )

    assert moments(history(stops)) == [
        (1, "stop", "told to stop: TimeoutError('time is up')"),
        (4, "person", "ada decided: resolve a as skipped: ticket 7"),
    ]
    assert moments(history(left)) == [
        (1, "left", "left by a process that lacks shop:new, to one that has it"),
        (2, "gave up", "recovery gave up: no module named shop"),
    ]


def test_a_clock_that_was_set_back_makes_no_length() -> None:
    """What seems to have ended before it began took nobody knows how long."""
    told = history(
        story(
            (0, started(0)),
            (2, ended("succeeded", 0, "A")),
            (2, started(1)),
            (-5, ended("succeeded", 1, "B")),
        )
    )

    first, second = told.attempts
    assert first.length == 2
    assert (second.end, second.set_back, second.length) == (second.start, True, None)
    assert (told.set_back, told.begin, told.end) == (True, BEGIN - 5, BEGIN + 2)


def test_a_call_is_as_long_as_it_took_where_that_is_on_record() -> None:
    """Not as long as it took to write that down; and no matter whether the clock was set back."""
    told = history(
        story(
            (0, started(0)),
            (0.3, ended("succeeded", 0, "A", facts=[100, 20])),
            (0.3, started(1)),
            (-5, ended("in doubt", 1, DOUBT, facts=[310, 50])),
            (4, ended("failed", 1, error(), facts=[310, 3000])),
            status=SagaStatus.COMPENSATED,
        )
    )

    first, second = told.attempts
    assert first.length == pytest.approx(0.02)
    assert (first.announced, first.written) == (BEGIN, BEGIN + 0.3)
    assert first.start == pytest.approx(BEGIN + 0.1)
    assert not second.set_back
    assert second.length == pytest.approx(0.05)
    assert second.landed == pytest.approx(BEGIN + 3.31)
    assert (told.is_own, told.set_back) == (True, True)


def test_whether_all_lengths_are_the_calls_own_is_known() -> None:
    """Journals of before do not have them."""
    rows = [(0, started(0)), (1, ended("succeeded", 0, "A", facts=[0, 900])), (1, started(1))]

    assert history(story(*rows, (2, ended("succeeded", 1, "B")))).is_own is False
    assert history(story(*rows, status=SagaStatus.RUNNING, driven=True)).is_own is True


def test_which_process_took_over_is_told() -> None:
    """Also one that runs what somebody else has only written down."""
    who = {"host": "web-3", "pid": 4711, "version": "0.1.0"}
    told = history(
        story(
            (1, [*started(0), None, who]),
            (9, ["recovered", -1, "", 0, 0, [], who | {"pid": 4712}]),
            (9, started(0, 2)),
            (10, ended("succeeded", 0, "A", 2)),
            operations=["a"],
        )
    )

    assert moments(told) == [
        (1, "takeover", "another process goes on (process 4711 on web-3)"),
        (9, "takeover", "recovery took over (process 4712 on web-3)"),
    ]


def test_nothing_is_told_of_what_cannot_be_read() -> None:
    """The story says why."""
    damaged = story((0, ["succeeded", 0, "action", 1, 1, "A"]))

    assert damaged.fault is not None
    assert history(damaged) == History([], [], BEGIN, BEGIN, set_back=False)


def test_an_attempt_knows_how_long_it_took_only_if_somebody_does() -> None:
    """Not while nobody has looked at its end."""
    assert Attempt(0, ACTION, 1, 1, 1.0).length is None
