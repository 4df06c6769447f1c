"""What is answered when a saga has raised: the one table, before any framework has a hand in it."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import depot
import pytest
from depot import fail
from recorded import chain, order

from py_api_saga import (
    JournalError,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaError,
    SagaException,
    SagaInProgress,
    SagaPending,
    SagaStuck,
    clock,
)
from py_api_saga.contrib.answers import Answers
from py_api_saga.journal import MemoryJournal

TOLD = "the card 4711 of ada"


class Refused(Exception):
    """A service has said no."""


class Declined(Refused):
    """A bank has."""


@pytest.fixture(autouse=True)
def depot_as_built() -> Iterator[None]:
    """Nothing that another test has done to the depot, and nothing that stays in it."""
    depot.reset()
    yield
    depot.reset()


def raised(run: Callable[[], object]) -> SagaError:
    """Give what a saga raises."""
    with pytest.raises(SagaError) as caught:
        run()
    return caught.value


def failing(error: BaseException, *, undone: bool = True) -> SagaException:
    """Give what a saga raises whose second operation has failed with this."""

    def raise_it() -> None:
        raise error

    saga = SagaAssembler.saga().operation(print, print if undone else None, name="a")
    given = raised(saga.operation(raise_it, name="b").orchestrator_execute)
    assert isinstance(given, SagaException)
    return given


def stuck() -> SagaError:
    """Give what a saga raises that can't be undone."""
    depot.behaviour["b"] = fail(ValueError(TOLD))
    depot.behaviour["undo a"] = fail(ValueError(TOLD))
    return raised(chain("a", "b").orchestrator_execute)


@pytest.mark.parametrize(
    ("make", "status", "headers", "is_logged"),
    [
        (lambda: SagaPending(TOLD, [TOLD], None), 202, {"Retry-After": "60"}, False),
        (lambda: SagaInProgress(TOLD), 409, {"Retry-After": "2"}, False),
        (stuck, 500, {}, True),
        (lambda: SagaConflict(TOLD), 500, {}, True),
        (lambda: SagaDefinitionError(TOLD), 500, {}, True),
        (lambda: JournalError(TOLD), 500, {}, True),
        (lambda: SagaError(TOLD), 500, {}, True),
        (lambda: failing(Refused(TOLD)), 409, {"Saga-Answer": "final"}, False),
        (lambda: failing(Declined(TOLD)), 409, {"Saga-Answer": "final"}, False),
        (lambda: failing(Refused(TOLD), undone=False), 409, {}, False),
        (lambda: failing(ConnectionError(TOLD)), 502, {}, False),
    ],
    ids=[
        "waiting",
        "in progress",
        "stuck",
        "conflict",
        "definition",
        "journal",
        "anything else",
        "refused",
        "a class of it",
        "refused, and something stands",
        "failed",
    ],
)
def test_each_end_of_a_saga_has_its_answer(
    make: Callable[[], SagaError],
    status: int,
    headers: dict[str, str],
    is_logged: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The number, the headers, whether it is in the log, and nothing of it for strangers."""
    error = make()
    caplog.clear()

    answer = Answers([Refused]).to(error)

    assert (answer.status, answer.headers, answer.is_logged) == (status, headers, is_logged)
    assert TOLD not in json.dumps([answer.headers, answer.body])
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == is_logged
    assert (TOLD in caplog.text) is is_logged


@pytest.mark.parametrize(
    ("due", "seconds"), [(1000.0, "2"), (1003.2, "4"), (1030.0, "30"), (1e9, "60"), (None, "60")]
)
def test_a_saga_that_waits_is_asked_about_when_it_is_due_or_within_a_minute(
    due: float | None, seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due long ago may be gone on with at any moment; an answer may come at any too."""
    monkeypatch.setattr(clock, "time", lambda: 1000.0)

    assert Answers().to(SagaPending("x", ["x:a:action"], due)).headers["Retry-After"] == seconds


def test_without_refusals_nothing_counts_as_one() -> None:
    """What an application does not name is a failure like any other."""
    assert Answers().to(failing(Refused())).status == 502


@pytest.mark.parametrize(
    ("members", "status"), [([Refused(), Declined()], 409), ([Refused(), OSError()], 502)]
)
def test_a_group_is_a_refusal_if_each_of_it_is(members: list[Exception], status: int) -> None:
    """As in `Retry`: one other error is enough."""
    assert Answers([Refused]).to(failing(ExceptionGroup("both", members))).status == status


@pytest.mark.parametrize(("error", "status"), [(Declined(TOLD), 409), (OSError(TOLD), 502)])
def test_a_request_that_comes_again_has_the_same_answer(error: Exception, status: int) -> None:
    """A journal keeps the name of an error's class; those of the application's are known by it."""
    journal = MemoryJournal(modules=["depot"])
    depot.behaviour["b"] = fail(error)
    first = raised(lambda: chain("a", "b").orchestrator_execute(journal=journal, saga_id="x"))
    again = raised(lambda: chain("a", "b").orchestrator_execute(journal=journal, saga_id="x"))

    answers = Answers([Refused])

    assert answers.to(first).status == status
    assert answers.to(again) == answers.to(first)


def test_what_was_purged_is_not_called_final() -> None:
    """Nobody knows any more what stands of it."""
    error = failing(Refused())
    error._told = None  # noqa: SLF001 - of a saga that has run elsewhere, and was made anew by hand

    answer = Answers([Refused]).to(error)

    assert (answer.status, answer.headers) == (409, {})


@pytest.mark.parametrize("refusals", [Refused, Refused(), [Refused()], ["Refused"], None, [int]])
def test_what_is_not_classes_of_errors_is_refused_at_once(refusals: Any) -> None:
    """Where the application is made, and not in its first failure."""
    with pytest.raises(SagaDefinitionError, match="refusals: expected a list or tuple of classes"):
        Answers(refusals)


def test_a_saga_with_a_final_operation_that_stands_is_stuck_and_not_final() -> None:
    """An order of the depot whose undo fails is nobody's refusal."""
    depot.behaviour["c"] = fail(Refused())
    depot.behaviour["undo b"] = fail(OSError())
    error = raised(order().orchestrator_execute)

    assert isinstance(error, SagaStuck)
    assert Answers([Refused]).to(error).status == 500
