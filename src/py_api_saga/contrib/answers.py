"""What a view answers when a saga has raised: one table, for every framework.

| raised                                                              | answer                 |
|---------------------------------------------------------------------|------------------------|
| `SagaPending`                                                       | 202 with `Retry-After` |
| `SagaInProgress`                                                    | 409 with `Retry-After` |
| `SagaStuck`, `SagaConflict`, `SagaDefinitionError`, `JournalError`  | 500, logged            |
| any other `SagaException` whose error is one of `refusals`          | 409                    |
| any other `SagaException`                                           | 502                    |
| whatever else the library raises                                    | 500, logged            |

A 409 says `Saga-Answer: final` if no effect stands: the saga of a caller would take a bare one for
an earlier request that is still in flight. A 202 says that nothing is decided yet: to ask again is
to run the saga under the same `saga_id`, at the latest after a minute, since what it waits for may
come sooner than it is due. What is answered holds no text of an error, no name of an operation and
no id: all that is in the log, or in the exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import NamedTuple

from py_api_saga import clock
from py_api_saga.exceptions import (
    RecordedError,
    SagaDefinitionError,
    SagaError,
    SagaException,
    SagaInProgress,
    SagaPending,
    SagaStuck,
    refused,
)
from py_api_saga.log import complain
from py_api_saga.status import SagaStatus, Status

FINAL = "Saga-Answer"
_SOON, _AT_LAST = (
    2,
    60,
)  # seconds: until somebody else may be through with a saga; until it is looked at
_NOTHING = frozenset({Status.PENDING, Status.FAILED, Status.COMPENSATED})  # of which nothing stands


class Answer(NamedTuple):
    """What to answer.

    Attributes:
        status: The number of the status.
        headers: Name to value.
        body: What to send as JSON.
        is_logged: Whether a person should hear of it.
    """

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, str]
    is_logged: bool


class Answers:
    """The table, with what counts as a refusal in one application.

    Attributes:
        refusals: The classes of the errors by which an operation says a final no.
    """

    def __init__(self, refusals: Sequence[type[BaseException]] = ()) -> None:
        """Take the classes of the application's own errors.

        Raises:
            SagaDefinitionError: It is not a list or tuple of classes of exceptions.
        """
        self.refusals = _checked(refusals)

    def to(self, error: SagaError) -> Answer:
        """Give the answer to what a saga has raised, and log it if a person should hear of it."""
        answer = self._found(error)
        if answer.is_logged:
            complain("a saga that a request ran: answered %d", answer.status, error=error)
        return answer

    def _found(self, error: SagaError) -> Answer:
        if isinstance(error, SagaPending):
            words = {"status": "this waits for an answer"}
            return Answer(202, {"Retry-After": _wait(error.due)}, words, is_logged=False)
        if isinstance(error, SagaInProgress):
            words = {"error": "this is being worked on"}
            return Answer(409, {"Retry-After": str(_SOON)}, words, is_logged=False)
        if not isinstance(error, SagaException) or isinstance(
            error, (SagaStuck, SagaDefinitionError)
        ):
            return Answer(500, {}, {"error": "this has failed"}, is_logged=True)
        if self._is_refused(error.operation_error):
            headers = {FINAL: "final"} if _is_void(error) else {}
            return Answer(409, headers, {"error": "this was refused"}, is_logged=False)
        return Answer(502, {}, {"error": "this could not be done"}, is_logged=False)

    def _is_refused(self, error: object) -> bool:
        if isinstance(error, RecordedError):  # told by a journal: of it there is only the name
            return error.kind in set(_names(self.refusals))
        if isinstance(error, BaseExceptionGroup):
            return all(map(self._is_refused, error.exceptions))
        return isinstance(error, self.refusals)


def _wait(due: float | None) -> str:
    """Give the seconds after which to ask about a saga again that is due then, or never."""
    left = _AT_LAST if due is None else ceil(due - clock.time())
    return str(max(_SOON, min(left, _AT_LAST)))


def _is_void(error: SagaException) -> bool:
    """Tell whether nothing of a saga stands, for sure."""
    operations = error.operations.values()
    if error.outcome is not SagaStatus.COMPENSATED or not operations:
        return False
    return all(operation.status in _NOTHING for operation in operations)


def _names(kinds: Iterable[type]) -> Iterable[str]:
    """Name classes, and all that are made of them, as a journal does."""
    for kind in kinds:
        yield f"{kind.__module__}.{kind.__qualname__}"
        yield from _names(type.__subclasses__(kind))


def _checked(refusals: object) -> tuple[type[BaseException], ...]:
    expected = "a list or tuple of classes of exceptions"
    if not isinstance(refusals, (list, tuple)):
        raise refused("refusals", expected, refusals)
    for kind in refusals:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise refused("refusals", expected, kind)
    return tuple(refusals)
