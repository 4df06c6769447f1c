"""Sagas: do all of it, or undo it. See `SagaAssembler`."""

from py_api_saga.assembler import Saga, SagaAssembler
from py_api_saga.context import current_operation
from py_api_saga.definition import Results
from py_api_saga.events import Event, Observer
from py_api_saga.exceptions import SagaDefinitionError, SagaError, SagaException, SagaStuck
from py_api_saga.operation import NOT_HAPPENED, UNKNOWN, happened
from py_api_saga.placeholder import result_of
from py_api_saga.retry import Retry
from py_api_saga.status import SagaStatus, Status

__all__ = [
    "NOT_HAPPENED",
    "UNKNOWN",
    "Event",
    "Observer",
    "Results",
    "Retry",
    "Saga",
    "SagaAssembler",
    "SagaDefinitionError",
    "SagaError",
    "SagaException",
    "SagaStatus",
    "SagaStuck",
    "Status",
    "current_operation",
    "happened",
    "result_of",
]
