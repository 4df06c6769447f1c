"""Sagas beside event loops: one that blocks a loop says so, and there is no loop but asyncio's."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio

from py_api_saga import Saga, SagaDefinitionError, arecover, loops
from py_api_saga.journal import MemoryJournal


@pytest.fixture(autouse=True)
def said_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as a new process does."""
    monkeypatch.setattr(loops, "looks", 3)


def saga() -> Saga:
    """Make a saga."""
    return Saga().operation(int)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give what was logged."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)])
def test_a_saga_that_blocks_a_loop_says_so_once(
    run: Callable[[Any], None], execute_sync: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It runs all the same; the log says which method it was, and what to do instead."""

    async def main() -> None:
        for _ in range(3):
            assert execute_sync(saga()) == [0]

    run(main())

    (warning,) = warnings(caplog)
    assert f"{execute_sync.__name__}() blocks the event loop" in warning
    assert f"await a{execute_sync.__name__}()" in warning or "trio.to_thread" in warning


def test_a_saga_in_a_thread_of_a_loop_blocks_nobody(
    execute_sync: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does one where no loop runs, however often."""

    async def main() -> None:
        await asyncio.to_thread(execute_sync, saga())

    asyncio.run(main())
    for _ in range(5):
        execute_sync(saga())

    assert warnings(caplog) == []
    assert loops.looks == 0


@pytest.mark.parametrize(
    "call",
    [
        Saga.aorchestrator_execute,
        Saga.achoreography_execute,
        lambda saga: saga.astart(journal=MemoryJournal(modules=["builtins"])),
        lambda _: arecover(MemoryJournal()),
    ],
)
def test_trio_is_refused_in_words(call: Callable[[Saga], Any]) -> None:
    """Before anything runs, as is a coroutine that is driven by hand."""
    log: list[int] = []

    async def main() -> None:
        await call(Saga().operation((log.append, 1)))

    with pytest.raises(SagaDefinitionError, match="expected to be awaited under asyncio, got trio"):
        trio.run(main)
    with pytest.raises(SagaDefinitionError, match="got no event loop"):
        main().send(None)
    assert log == []
