"""What every behaviour test needs: four ways to run a saga, and a log of what really happened."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import depot
import pytest
from world import World

from py_api_saga.journal import MemoryJournal, SQLiteJournal

CHAINS = ("orchestrator_execute", "aorchestrator_execute")
GRAPHS = ("choreography_execute", "achoreography_execute")

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]


def _executor(method: str) -> Execute:
    def execute(saga: Any, **options: Any) -> Any:
        """Run the saga, under an event loop of its own where the method needs one."""
        if not method.startswith("a"):
            return getattr(saga, method)(**options)

        async def main() -> Any:
            return await getattr(saga, method)(**options)

        return asyncio.run(main())

    execute.__name__ = method
    return execute


@pytest.fixture(params=[*CHAINS, *GRAPHS])
def execute(request: pytest.FixtureRequest) -> Execute:
    """Run a saga: in the caller's thread, in threads, and in both ways under asyncio."""
    return _executor(request.param)


@pytest.fixture(params=CHAINS)
def execute_chain(request: pytest.FixtureRequest) -> Execute:
    """Run a saga one operation after the other."""
    return _executor(request.param)


@pytest.fixture(params=GRAPHS)
def execute_graph(request: pytest.FixtureRequest) -> Execute:
    """Run a saga all at once, by dependency."""
    return _executor(request.param)


@pytest.fixture(params=["orchestrator_execute", "choreography_execute"])
def execute_sync(request: pytest.FixtureRequest) -> Execute:
    """Run a saga without an event loop."""
    return _executor(request.param)


@pytest.fixture(params=["aorchestrator_execute", "achoreography_execute"])
def execute_async(request: pytest.FixtureRequest) -> Execute:
    """Run a saga under asyncio."""
    return _executor(request.param)


@pytest.fixture
def world() -> World:
    """Start with an empty world."""
    return World()


@pytest.fixture
def log() -> list[str]:
    """What was called, in order."""
    return []


@pytest.fixture
def step(log: list[str]) -> Step:
    """Make a function that notes its call: `step("charge", returns=..., raises=...)`."""

    def make(name: str, *, returns: Any = None, raises: BaseException | None = None) -> Any:
        def function(*_: Any, **__: Any) -> Any:
            log.append(name)
            if raises is not None:
                raise raises
            return returns

        function.__name__ = function.__qualname__ = name
        return function

    return make


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An empty journal of each kind, that may name what is in `depot`, where nothing stands."""
    depot.reset()
    if request.param == "memory":
        yield MemoryJournal(modules=["depot"])
    else:
        with closing(SQLiteJournal(tmp_path / "sagas.db", modules=["depot"])) as sqlite:
            yield sqlite
    depot.reset()
