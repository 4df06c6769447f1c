"""How a saga has ended, asserted: what fails says why it stands where it does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from py_api_saga.definition import Results
from py_api_saga.exceptions import (
    UNSETTLED,
    JournalError,
    SagaError,
    SagaException,
    SagaPending,
)
from py_api_saga.journal.protocol import Journal
from py_api_saga.status import SagaStatus, Status
from py_api_saga.wording import in_line

if TYPE_CHECKING:
    from py_api_saga.story.saga import Story

__all__ = ["assert_compensated", "assert_completed", "assert_stuck"]


class _End(NamedTuple):
    """How a saga stands."""

    which: str  # "the saga", or with its id
    status: SagaStatus | None  # None if nothing has run
    statuses: dict[str, Status]  # of its operations; empty if they were purged
    words: str  # the same, and why
    awaited: Sequence[str] = ()  # keys of the calls for whose answers it waits


@overload
def assert_completed(outcome: Results | SagaException | SagaPending, /) -> None: ...
@overload
def assert_completed(journal: Journal, saga_id: str, /) -> None: ...
def assert_completed(subject: Any, /, *saga_id: str) -> None:
    """Assert that a saga has completed.

    Args:
        subject: What a saga has returned or raised; or a journal, with the id of a saga in it.
        saga_id: That id.

    Raises:
        AssertionError: It has not, it waits for an answer, or there is no such saga; it says why,
            as `saga why` does.
        TypeError: The subject is something else, or a journal was given without an id.
    """
    end, more = _end_of("assert_completed", subject, saga_id)
    if more:
        message = "assert_completed: expected no names of operations: each has succeeded"
        raise TypeError(message)
    _see(end, SagaStatus.COMPLETED, "", (), frozenset())


@overload
def assert_compensated(
    outcome: Results | SagaException | SagaPending, /, *operations: str
) -> None: ...
@overload
def assert_compensated(journal: Journal, saga_id: str, /, *operations: str) -> None: ...
def assert_compensated(subject: Any, /, *names: str) -> None:
    """Assert that a saga has been compensated, and which of its operations were undone.

    ::

        assert_compensated(caught.value, "reserve", "charge")
        assert_compensated(journal, "order-7", "reserve", "charge")

    An operation counts as undone if its compensation has succeeded, also if nobody knows whether
    there was something to undo. One whose compensation has failed never does: see `assert_stuck`.

    Args:
        subject: What a saga has returned or raised; or a journal, with the id of a saga in it.
        names: That id, if it is a journal; and the names of the operations that were undone, each
            of them, in any order. Without any it does not matter which were.

    Raises:
        AssertionError: It stands otherwise, others were undone, or there is no such saga; it says
            why, as `saga why` does.
        TypeError: The subject is something else, or a journal was given without an id.
    """
    end, operations = _end_of("assert_compensated", subject, names)
    undone = frozenset({Status.COMPENSATED})
    _see(end, SagaStatus.COMPENSATED, "undone", operations, undone)


@overload
def assert_stuck(outcome: Results | SagaException | SagaPending, /, *operations: str) -> None: ...
@overload
def assert_stuck(journal: Journal, saga_id: str, /, *operations: str) -> None: ...
def assert_stuck(subject: Any, /, *names: str) -> None:
    """Assert that a saga is stuck, and which of its operations need a person.

    ::

        assert_stuck(caught.value, "charge")

    Args:
        subject: What a saga has returned or raised; or a journal, with the id of a saga in it.
        names: That id, if it is a journal; and the names of the operations that are stuck, each of
            them, in any order. Without any it does not matter which are.

    Raises:
        AssertionError: It stands otherwise, others are stuck, or there is no such saga; it says
            why, as `saga why` does.
        TypeError: The subject is something else, or a journal was given without an id.
    """
    end, operations = _end_of("assert_stuck", subject, names)
    _see(end, SagaStatus.STUCK, "stuck", operations, UNSETTLED)


def _see(
    end: _End, status: SagaStatus, what: str, names: Iterable[str], counted: frozenset[Status]
) -> None:
    """Compare how a saga stands with how it should."""
    wanted = f"expected {end.which} to be {status.name}"
    if end.status is not status:
        stands = "never ran" if end.status is None else f"is {end.status.name}"
        if end.awaited:
            keys = ", ".join(map(repr, end.awaited))
            stands = (
                f"waits for {keys}: answer that first, answer(journal, {end.awaited[0]!r}, "
                "result=...), or let its time come, and recover"
            )
        raise AssertionError(f"{wanted}, but it {stands}\n\n{end.words}")
    found = [name for name, other in end.statuses.items() if other in counted]
    if not names or set(names) == set(found):
        return
    listed = ", ".join(map(in_line, names))
    there = ", ".join(map(in_line, found)) or "none"
    message = f"{wanted} with these operations {what}: {listed}; got {there}"
    unknown = [name for name in names if name not in end.statuses]
    if unknown:
        message += f"; there is no operation {', '.join(map(in_line, unknown))}"
    raise AssertionError(f"{message}\n\n{end.words}")


# --- how it stands ---------------------------------------------------------------------------


def _end_of(where: str, subject: Any, names: tuple[str, ...]) -> tuple[_End, tuple[str, ...]]:
    """Tell how a saga stands, and give the names that are left."""
    for name in names:
        if not isinstance(name, str):
            message = f"{where}: expected names of operations, got {type(name).__name__}"
            raise TypeError(message)
    if isinstance(subject, Results):
        return _End("the saga", SagaStatus.COMPLETED, {}, "Every operation succeeded."), names
    if isinstance(subject, SagaException):
        return _of_exception(subject), names
    if isinstance(subject, SagaPending):
        which = f"saga {subject.saga_id!r}"
        return _End(which, None, {}, str(subject), subject.awaited), names
    if isinstance(subject, type) or not hasattr(subject, "waiting"):
        hint = "; give its .value" * hasattr(type(subject), "value")  # of pytest.raises
        message = (
            f"{where}: expected what a saga has returned or raised, or a journal and the id of a "
            f"saga in it, got {type(subject).__name__}{hint}"
        )
        raise TypeError(message)
    if not names:
        raise TypeError(f"{where}: expected the id of a saga in the journal, got none")
    return _on_record(subject, names[0]), names[1:]


def _of_exception(error: SagaException) -> _End:
    statuses = {name: report.status for name, report in error.operations.items()}
    return _End("the saga", error.outcome, statuses, str(error))


def _on_record(journal: Any, saga_id: str) -> _End:
    from py_api_saga.story.saga import read  # noqa: PLC0415 - what only a journal needs
    from py_api_saga.story.waits import waits  # noqa: PLC0415 - as above

    try:
        story = read(journal, saga_id)
    except JournalError:
        raise
    except SagaError as error:  # there is none
        raise AssertionError(str(error)) from None
    statuses: dict[str, Status] = {}
    if story.recorded is not None and story.execution is not None:
        names = story.recorded.definition.names.all()
        statuses = dict(zip(names, story.execution.status, strict=True))
    awaited = [one.key for one in waits(story) if not one.is_answered]
    return _End(f"saga {saga_id!r}", story.seen.status, statuses, _words(story), awaited)


def _words(story: Story) -> str:
    """Say what `saga why` says, without its commands."""
    from py_api_saga.story.detail import headlines  # noqa: PLC0415 - as above
    from py_api_saga.story.why import explained  # noqa: PLC0415

    found = explained(story, "saga")
    lines = [*headlines(story), *found["says"]]
    lines += [
        f"  {in_line(one['name'])} {one['status'].upper()}: {in_line(one['says'])}"
        for one in found["operations"]
    ]
    return "\n".join(lines)
