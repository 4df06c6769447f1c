"""What every behaviour test needs: four ways to run a saga, and a log of what really happened."""

import asyncio
import compileall
import gc
import importlib
import logging
import os
import pkgutil
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import depot
import django_project
import pytest
from coverage import Coverage
from recorded import KINDS, opening
from servers import shared, temporal
from servers.children import Missing
from ways import LATER, PLAIN, Way
from world import PATIENCE, Clock, World

import py_api_saga
from py_api_saga import clock as clock_of_ours
from py_api_saga.current import current
from py_api_saga.journal.sqlite import owners
from py_api_saga.journal.sqlite.descriptors import give_back

# Hundreds of processes import the library, and each would compile it anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

CHAINS = ("orchestrator_execute", "aorchestrator_execute")
GRAPHS = ("choreography_execute", "achoreography_execute")
LONGEST = ("test_benchmarks.py", "test_cli.py", "test_crash.py", "test_typing.py")

FEW_FILES = 50

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]


def pytest_configure(config: pytest.Config) -> None:
    """Compile the library before anything runs, but not in each of several processes.

    Begin the run that a server is shared by, which the workers are part of. And hear Ctrl-C: a
    shell lets what it runs in the background ignore it, and all that is started from there, such as
    the processes of tests.
    """
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(py_api_saga.__path__[0], quiet=2)
        config.add_cleanup(shared.Run().end)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Say how long the whole of it takes, before it begins."""
    return "the whole suite takes about 3 minutes on 2 cores, if they are free"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Collect without measuring, which would double the time: only imports matter there."""
    measuring = Coverage.current()
    if measuring is None:
        return (yield)
    django_project.set_up()  # or its models can't be imported
    for module in pkgutil.walk_packages(py_api_saga.__path__, "py_api_saga."):
        importlib.import_module(module.name)
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes seconds at a time, so that no process waits for it in the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Do not measure which lines an `untraced` test runs: others run them too, in less time."""
    if item.get_closest_marker("untraced") is None:
        return (yield)
    trace = sys.gettrace()
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(trace)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, Any, Any]:
    """Give back what the journals of many tests before keep open for the life of a process.

    Their folders are gone. Those of the last few may still be asked for by calls given up.
    """
    result = yield
    gone = [key for key, file in owners._files.items() if file.is_missing()]  # noqa: SLF001
    if len(gone) > 2 * FEW_FILES:
        for key in gone[:-FEW_FILES]:
            give_back(owners._files.pop(key)._file)  # noqa: SLF001 - a program has few journals
    return result


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


@pytest.fixture(autouse=True)
def no_operation_left() -> Iterator[None]:
    """Let a test fail that leaves an operation behind, and not another one of its process."""
    before = current.get()
    yield
    left = current.get()
    current.set(before)
    assert left is before, "after the test, code is taken for that of an operation"


@pytest.fixture(
    params=[
        *((method, False) for method in (*PLAIN, *LATER)),
        *((method, True) for method in LATER),
    ],
    ids=lambda way: f"{way[0]}{' of coroutines' * way[1]}",
)
def way(request: pytest.FixtureRequest) -> Way:
    """Run a saga in each of four ways, and those under asyncio with functions of either kind."""
    method, coroutines = request.param
    return Way(method, coroutines=coroutines)


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
def hears_hangups() -> Iterator[None]:
    """Let the end of a terminal be heard, as it is not if the suite itself runs under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def mute(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let nothing be logged, also of what is only found to be garbage when the test is over.

    A SystemExit at the edge of a call's task leaves the loop at once, and `asyncio.run` raises it.
    The saga ends while that closes, and nobody can look at what its own task has raised by then.
    """
    for name in ("py_api_saga", "asyncio"):
        caplog.set_level(logging.CRITICAL, name)
    gc.freeze()  # what is older needs no look, and that is the modules of the whole suite
    yield
    gc.collect()
    gc.unfreeze()


@pytest.fixture
def world() -> World:
    """Start with an empty world."""
    return World()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Take over the clock of the library."""
    taken = Clock()
    monkeypatch.setattr(clock_of_ours, "monotonic", taken)
    return taken


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


@pytest.fixture
def database() -> Iterator[shared.Database]:
    """An empty schema in the PostgreSQL of this run; there is none on every machine."""
    with ExitStack() as opened:
        try:
            made = opened.enter_context(shared.database())
        except Missing as missing:
            pytest.skip(f"there is no {missing}")
        yield made
        _let_go()


def _let_go() -> None:
    """End what a test has left in PostgreSQL as a crash would: its heart would beat on for hours.

    It makes connections, under numbers that another test has just freed, and leaves garbage.
    """
    benches = sys.modules.get("py_api_saga.journal.postgresql.benches")
    for bench in [] if benches is None else [*benches._benches.values()]:  # noqa: SLF001 - as a crash
        thread = bench.heartbeat._thread  # noqa: SLF001 - as above
        bench.heartbeat.stop()
        if thread is not None:
            thread.join(PATIENCE)
        bench._drop()  # noqa: SLF001 - as above
        bench.server.connections.close()
        bench.is_closed = True
    if benches is not None:
        benches._benches.clear()  # noqa: SLF001 - as above


@pytest.fixture
def whole_database(database: shared.Database) -> Iterator[str]:
    """An empty database of its own, for what says in which schema it is: its URL."""
    database.ask(f"CREATE DATABASE {database.schema}")
    yield f"{database.url.rpartition('/')[0]}/{database.schema}"
    database.ask(f"DROP DATABASE {database.schema} WITH (FORCE)")


@pytest.fixture
def dbos_database() -> Iterator[str]:
    """An empty database that is migrated for DBOS, in the PostgreSQL of this run: its URL."""
    with ExitStack() as opened:
        try:
            url = opened.enter_context(shared.dbos_database())
        except Missing as missing:
            pytest.skip(f"there is no {missing}")
        yield url


@pytest.fixture
def namespace() -> temporal.Namespace:
    """An empty namespace of its own in the Temporal of this run; there is none on every machine."""
    try:
        return temporal.namespace(shared.temporal())
    except Missing as missing:
        pytest.skip(f"there is no {missing}")


@pytest.fixture(params=KINDS)
def open_journal(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make journals of each kind, that may name what is in `depot`, where nothing stands."""
    depot.reset()
    with ExitStack() as opened:
        yield lambda **options: opened.enter_context(opening(request.param, **options))
    depot.reset()


@pytest.fixture
def journal(open_journal: Callable[..., Any]) -> Any:
    """An empty journal of each kind."""
    return open_journal()
