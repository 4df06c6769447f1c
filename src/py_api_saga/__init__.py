"""Sagas: do all of it, or undo it. See `SagaAssembler`."""

from typing import TYPE_CHECKING

from py_api_saga.assembler import Saga, SagaAssembler
from py_api_saga.bound import BoundSaga
from py_api_saga.current import current_operation
from py_api_saga.definition import Results
from py_api_saga.events import Event
from py_api_saga.evidence import leaves_doubt
from py_api_saga.exceptions import (
    JournalError,
    SagaConflict,
    SagaDefinitionError,
    SagaError,
    SagaException,
    SagaInProgress,
    SagaPending,
    SagaStuck,
)
from py_api_saga.observer import Observer
from py_api_saga.operation import NOT_HAPPENED, UNKNOWN, Later, happened, later
from py_api_saga.placeholder import given, result_of
from py_api_saga.retry import Retry
from py_api_saga.status import SagaStatus, Status

if TYPE_CHECKING:
    from py_api_saga.durable.answering import Answered, aanswer, answer
    from py_api_saga.durable.recovery import Recovered, arecover, recover, takeover
    from py_api_saga.standing import SagaStanding, saga_status

__all__ = [
    "NOT_HAPPENED",
    "UNKNOWN",
    "Answered",
    "BoundSaga",
    "Event",
    "JournalError",
    "Later",
    "Observer",
    "Recovered",
    "Results",
    "Retry",
    "Saga",
    "SagaAssembler",
    "SagaConflict",
    "SagaDefinitionError",
    "SagaError",
    "SagaException",
    "SagaInProgress",
    "SagaPending",
    "SagaStanding",
    "SagaStatus",
    "SagaStuck",
    "Status",
    "aanswer",
    "answer",
    "arecover",
    "current_operation",
    "given",
    "happened",
    "later",
    "leaves_doubt",
    "recover",
    "result_of",
    "saga_status",
    "takeover",
]


_LATE = {  # name -> its module
    "Answered": "durable.answering",
    "Recovered": "durable.recovery",
    "SagaStanding": "standing",
    "aanswer": "durable.answering",
    "answer": "durable.answering",
    "arecover": "durable.recovery",
    "recover": "durable.recovery",
    "saga_status": "standing",
    "takeover": "durable.recovery",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import what few runs need when it is asked for: json, sqlite3."""
    if name not in _LATE:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415 - the reason is above

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
