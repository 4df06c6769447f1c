"""Record histories of sagas on Temporal into the folder `temporal`, for `saga.v1` to replay.

    python tests/golden/make_temporal.py

What is there is kept as long as a worker may meet a saga that a released version began. If one of
them can't be replayed any more, the workflow is another one, and has another name: `saga.v2` is
recorded beside it then, and nothing is recorded anew.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "support")]

from engines import temporal_calls as shop  # noqa: E402 - they are found only now
from servers.temporal import namespace, temporal  # noqa: E402
from temporalio.client import Client  # noqa: E402
from world import until  # noqa: E402

from py_api_saga import (  # noqa: E402
    Retry,
    SagaAssembler,
    SagaException,
    answer,
    result_of,
)
from py_api_saga.engines.temporal import TemporalEngine  # noqa: E402
from py_api_saga.engines.worker import Work  # noqa: E402

A_WHILE = 1.0  # seconds, of a timer


def success() -> SagaAssembler:
    """Make a chain in which results are passed on."""
    return (
        SagaAssembler.saga(name="success")
        .operation((shop.do, "a"), (shop.undo, "a"))
        .operation((shop.do, "b", result_of("do")), (shop.undo, "b"))
        .operation((shop.do, "c"), (shop.undo, "c"))
    )


def failure() -> SagaAssembler:
    """Make one whose third operation fails."""
    return (
        SagaAssembler.saga(name="failure")
        .operation((shop.do, "a"), (shop.undo, "a"))
        .operation((shop.do, "b"), (shop.undo, "b"))
        .operation((shop.refuse, "c"), (shop.undo, "c"))
    )


def diamond() -> SagaAssembler:
    """Make a graph whose join fails."""
    return (
        SagaAssembler.saga(name="diamond")
        .operation((shop.do, "a"), (shop.undo, "a"), name="first")
        .operation((shop.do, "b"), (shop.undo, "b"), name="left", after="first")
        .operation((shop.do, "c"), (shop.undo, "c"), name="right", after="first")
        .operation((shop.refuse, "d"), name="join", after=["left", "right"])
    )


def retries() -> SagaAssembler:
    """Make one of which an operation fails once, and so does an undo."""
    again = Retry(ConnectionError, wait_initial=0.05, wait_jitter=0)
    return (
        SagaAssembler.saga(name="retries")
        .operation(
            (shop.fail_once, "a"), (shop.fail_once, "-a"), retry=again, compensation_retry=again
        )
        .operation((shop.refuse, "b"))
    )


def late() -> SagaAssembler:
    """Make one of which a call lands after its rollback."""
    return (
        SagaAssembler.saga(name="late")
        .operation((shop.do, "a"), (shop.undo, "a"))
        .operation((shop.wait, "b", "late"), (shop.undo, "b"), timeout=0.2)
    )


def waits() -> SagaAssembler:
    """Make one that waits for an answer, and for a time."""
    return (
        SagaAssembler.saga(name="waits")
        .operation((shop.begin, "a"), (shop.undo, "a"))
        .operation((shop.begin_until, "b", time.time() + A_WHILE), (shop.undo, "b"))
    )


def cancelled() -> SagaAssembler:
    """Make one that is cancelled while a call runs."""
    return (
        SagaAssembler.saga(name="cancelled")
        .operation((shop.do, "a"), (shop.undo, "a"))
        .operation((shop.wait, "b", "cancelled"), (shop.undo, "b"))
    )


def _ended(engine: TemporalEngine, saga_id: str) -> None:
    with suppress(SagaException):
        engine.result(saga_id, wait=60)
    until(lambda: not engine.standing(saga_id).is_open)  # type: ignore[union-attr]


def _late(engine: TemporalEngine) -> None:
    with suppress(SagaException):
        engine.result("late", wait=60)
    shop.gates["late"].set()


def _answered(engine: TemporalEngine) -> None:
    until(lambda: ("waits:begin:action", 1) in shop.calls)
    answer(engine, "waits:begin:action", result="given")


def _cancelled(engine: TemporalEngine) -> None:
    until(lambda: ("cancelled:wait:action", 1) in shop.calls)
    engine.cancel("cancelled", who="golden", why="it was too dear")
    shop.gates["cancelled"].set()


SAGAS: dict[Callable[[], SagaAssembler], Callable[[TemporalEngine], None] | None] = {
    success: None, failure: None, diamond: None, retries: None, late: _late, waits: _answered,
    cancelled: _cancelled,
}  # fmt: skip


def _record(
    engine: TemporalEngine,
    make: Callable[[], SagaAssembler],
    then: Callable[[TemporalEngine], None] | None,
) -> None:
    saga_id = make.__name__
    make().start(engine=engine, saga_id=saga_id, at_once=make is diamond)
    if then is not None:
        then(engine)
    _ended(engine, saga_id)

    async def fetch(client: Client) -> str:
        return (await client.get_workflow_handle(saga_id).fetch_history()).to_json()

    text = engine._server.ask(fetch)  # noqa: SLF001 - what nobody else asks
    (HERE / "temporal" / f"{saga_id}.json").write_text(text + "\n")


def main() -> None:
    """Record each saga on a server of its own."""
    with temporal() as server:
        place = namespace(server.address)
        engine = TemporalEngine(place.address, modules=[shop.__name__], namespace=place.name)
        worker = engine.worker(Work())
        worker.begin()
        for make, then in SAGAS.items():
            _record(engine, make, then)
        worker.end()
        engine.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
