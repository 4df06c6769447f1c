"""Write the pickles of this folder: exceptions as py_api_saga 0.0.3 raised and pickled them.

Run it where the predecessor is installed (`pip install py_api_saga==0.0.3`), never with this
library: the files prove that what old workers left in queues and caches still loads.
"""

import pickle
from collections.abc import Callable
from pathlib import Path

from py_api_saga.py_api_saga import SagaAssembler


def well(text: str) -> str:
    """Succeed."""
    return text


def nothing() -> None:
    """Succeed without a result."""


def badly(text: str) -> str:
    """Fail."""
    raise ValueError(text)


def nested() -> object:
    """Fail as a saga of its own."""
    return SagaAssembler.saga().operation((badly, "inner")).orchestrator_execute()


def raised(run: Callable[[], object]) -> BaseException:
    """Return what a run raises."""
    try:
        run()
    except SagaAssembler.SagaException as error:
        return error
    raise AssertionError(run)


def saga() -> SagaAssembler:
    """Begin each of the sagas."""
    return SagaAssembler.saga()


SHAPES: dict[str, Callable[[], object]] = {
    "first_fails": saga().operation((badly, "boom")).orchestrator_execute,
    "undone": (
        saga()
        .operation((well, "a"), (well, "-a"))
        .operation((well, "b"), (well, "-b"))
        .operation((badly, "boom"))
        .orchestrator_execute
    ),
    "undone_without_results": (
        saga()
        .operation((well, "a"), nothing)
        .operation((well, "b"), nothing)
        .operation((badly, "boom"))
        .orchestrator_execute
    ),
    "undo_failed": (
        saga()
        .operation((well, "a"), (well, "-a"))
        .operation((well, "b"), (badly, "no way back"))
        .operation((badly, "boom"))
        .orchestrator_execute
    ),
    "choreography": (
        saga()
        .operation((well, "a"), (well, "-a"))
        .operation((well, "b"), (badly, "no way back"))
        .operation((badly, "boom"))
        .operation((badly, "bang"))
        .choreography_execute
    ),
    "nested": saga().operation(nested).orchestrator_execute,
    "usage": saga().orchestrator_execute,
}

if __name__ == "__main__":
    here = Path(__file__).parent
    for shape, run in SHAPES.items():
        for protocol in (2, 4):  # the default, and what old brokers ask for
            (here / f"{shape}.{protocol}.pickle").write_bytes(pickle.dumps(raised(run), protocol))
