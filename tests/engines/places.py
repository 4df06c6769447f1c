"""Where a saga can run: in memory, on a journal with workers, on an engine with workers.

All do the same with a saga, to whoever looks from outside: `begin` it, have its `end`, decide about
it in `store`. Its calls are made by workers, in this process (`here`) or in others (`hire`), which
are killed, frozen and told to end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

from paths import SUPPORT, TESTS, search_path
from servers import shared, temporal
from world import PATIENCE, unmeasured, until

from py_api_saga import (
    JournalError,
    SagaAssembler,
    SagaException,
    SagaStatus,
    SagaStuck,
    recover,
    saga_status,
)
from py_api_saga.engines.worker import Work
from py_api_saga.journal import MemoryJournal, PostgreSQLJournal, SQLiteJournal

from .shop import FOLDER, WORKER, Books, open_shop

Kind = Literal["memory", "sqlite", "postgresql", "dbos", "temporal"]
JOURNALS: tuple[Kind, ...] = ("memory", "sqlite", "postgresql")
ENGINES: tuple[Kind, ...] = ("dbos", "temporal")
MODULES, NOVELTY = ("engines.shop",), "engines.novelty"
LEASE = 2.0  # seconds after which who is silent is taken for dead; 30 where nobody dies so often
SOON = 0.02  # seconds between two looks of a worker in this process
GRACE = 1.0  # seconds for calls of a worker that is told to end
RUNNING = (SagaStatus.RUNNING, SagaStatus.COMPENSATING)


class End(NamedTuple):
    """What a saga has come to.

    Attributes:
        status: COMPLETED, COMPENSATED or STUCK.
        results: What its actions returned, if it is COMPLETED.
        error: What its caller is told, if it is not.
    """

    status: SagaStatus
    results: Any = None
    error: SagaException | None = None


class Place(ABC):
    """Somewhere for sagas to run.

    Attributes:
        kind: What it is, in a word.
        store: The journal or the engine.
        folder: Where the shop is, and what workers write.
        books: Those of the shop.
        workers: The processes that make calls, by name.
    """

    kind: Kind
    store: Any

    def __init__(self, folder: Path) -> None:
        self.folder, self.books = folder, Books(folder)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._begun: dict[str, tuple[SagaAssembler, bool]] = {}

    @property
    def is_engine(self) -> bool:
        """Whether it drives sagas itself."""
        return self.kind in ENGINES

    @property
    def place(self) -> dict[str, Any]:
        """What a method of a saga is told, to run it here."""
        return {"engine" if self.is_engine else "journal": self.store}

    def begin(
        self,
        saga: SagaAssembler,
        saga_id: str,
        *,
        at_once: bool = False,
        deadline: float | None = None,
    ) -> str:
        """Have a saga run, by whichever worker comes to it."""
        self._begun[saga_id] = saga, at_once
        return saga.start(saga_id=saga_id, at_once=at_once, deadline=deadline, **self.place)

    def end(self, saga_id: str) -> End:
        """Wait until a saga is at rest, and give what its caller is told, again and again."""
        saga, at_once = self._begun[saga_id]
        self._until_at_rest(saga_id)
        method = "choreography_execute" if at_once else "orchestrator_execute"
        coroutines = saga._async  # noqa: SLF001 - which a journal runs in another way
        options: dict[str, Any] = {"saga_id": saga_id, **self.place}
        if self.is_engine:
            options["wait"] = PATIENCE
        try:
            if coroutines and not self.is_engine:
                results = asyncio.run(getattr(saga, f"a{method}")(**options))
            else:
                results = getattr(saga, method)(**options)
        except SagaException as error:
            stuck = isinstance(error, SagaStuck)
            return End(SagaStatus.STUCK if stuck else SagaStatus.COMPENSATED, None, error)
        return End(SagaStatus.COMPLETED, results)

    def run(self, saga: SagaAssembler, saga_id: str, **options: Any) -> End:
        """Begin a saga, and wait for its end."""
        return self.end(self.begin(saga, saga_id, **options))

    def awaited(self, saga_id: str) -> tuple[str, ...]:
        """Wait until a saga waits for answers, and give the keys of the calls."""
        keys: list[str] = []

        def found() -> bool:
            standing = saga_status(self.store, saga_id)
            keys[:] = () if standing is None else standing.awaited
            return bool(keys)

        until(found)
        return tuple(keys)

    def _until_at_rest(self, saga_id: str) -> None:
        if self.is_engine:
            return  # its callers wait

        def is_at_rest() -> bool:
            seen = self.store.find(saga_id)
            return seen is not None and seen.status not in RUNNING and not self.store.drives(seen)

        until(is_at_rest)

    def until(self, is_so: Callable[[], object]) -> None:
        """Wait until something is so, while the workers live."""

        def checked() -> object:
            for name, process in self.workers.items():
                assert process.poll() is None, f"worker {name} has ended: {self.log(name)}"
            return is_so()

        until(checked)

    @contextmanager
    @abstractmethod
    def here(self, *more: str) -> Iterator[None]:
        """Have calls made in this process, for the time of a block; `more` are modules."""

    @abstractmethod
    def command(self, modules: Sequence[str]) -> Sequence[str]:
        """Give the command of a worker, and its arguments."""

    def environment(self) -> dict[str, str]:
        """Give what a worker finds in its environment besides."""
        return {}

    # --- workers that may die ---------------------------------------------------------------------

    def hire(
        self, name: str, modules: Sequence[str] = MODULES, *, passes_points: bool = False
    ) -> None:
        """Start a worker as a process of its own, in a group of its own.

        One that passes points dies at that of a number, and comes again.
        """
        said = {FOLDER: str(self.folder), WORKER: name, "PYTHONPATH": search_path(TESTS, SUPPORT)}
        if passes_points:
            said["SAGA_TEST_POINTS"] = self.kind
        with (self.folder / f"{name}.log").open("ab") as log:
            self.workers[name] = subprocess.Popen(
                [sys.executable, str(Path(__file__).parent / "leashed.py"), *self.command(modules)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**unmeasured(), **said, **self.environment()},
                cwd=self.folder,
                start_new_session=True,
            )

    def log(self, name: str) -> str:
        """Give the last words of a worker."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def kill(self, name: str) -> None:
        """Let a worker die where it is."""
        _killed(self.workers.pop(name))

    def dismiss(self, name: str) -> int:
        """Tell a worker to end, and give its exit status once it has."""
        process = self.workers.pop(name)
        os.killpg(process.pid, signal.SIGTERM)
        status = process.wait(PATIENCE)
        process.communicate()
        return status

    def freeze(self, name: str) -> None:
        """Stop a worker, until it is thawed."""
        os.killpg(self.workers[name].pid, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Have it go on."""
        os.killpg(self.workers[name].pid, signal.SIGCONT)

    def close(self) -> None:
        """End the workers that are left."""
        for process in self.workers.values():
            _killed(process)
        self.workers.clear()


def _killed(process: subprocess.Popen[bytes]) -> None:
    """End a process by SIGKILL, which who is frozen hears too."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)


# --- journals -------------------------------------------------------------------------------------


class JournalPlace(Place):
    """A journal, whose sagas go on by recovery."""

    @contextmanager
    def here(self, *more: str) -> Iterator[None]:
        """Have some threads recover what is there."""
        assert not more, "a journal says what may be named when it is opened"
        enough = threading.Event()

        def work() -> None:
            while not enough.wait(SOON):
                with suppress(JournalError):  # it is busy
                    recover(self.store, limit=1, max_workers=8)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            enough.set()
            for thread in threads:
                thread.join(PATIENCE)

    def command(self, modules: Sequence[str]) -> Sequence[str]:
        """Give that of `saga worker`."""
        named = [word for module in modules for word in ("--modules", module)]
        often = ("--interval", "0.1", "--grace", str(GRACE))
        return ["worker", "--journal", self.url, *named, *often]

    @property
    def url(self) -> str:
        """What the command is told."""
        raise NotImplementedError


class Memory(JournalPlace):
    """This process."""

    kind: Kind = "memory"

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder)
        self.store = MemoryJournal(modules=[*MODULES], **options)


class File(JournalPlace):
    """A file of SQLite's."""

    kind: Kind = "sqlite"

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder)
        self.store = SQLiteJournal(self.url, modules=[*MODULES, NOVELTY], **options)

    @property
    def url(self) -> str:
        """Its path."""
        return str(self.folder / "sagas.db")

    def close(self) -> None:
        """Close it, too."""
        super().close()
        self.store.close()


class Database(JournalPlace):
    """A schema in PostgreSQL."""

    kind: Kind = "postgresql"

    def __init__(self, folder: Path, database: shared.Database, **options: Any) -> None:
        super().__init__(folder)
        self._database = database
        options |= {"schema": database.schema, "lease": LEASE, "patience": PATIENCE}
        self.store = PostgreSQLJournal(database.url, modules=[*MODULES, NOVELTY], **options)
        self.store.create_schema()

    @property
    def url(self) -> str:
        """Where its workers find one with the same lease."""
        return "engines.leased:journal"

    def environment(self) -> dict[str, str]:
        """Give what that is made of."""
        return {"SAGA_TEST_URL": self._database.url, "SAGA_TEST_SCHEMA": self._database.schema}

    def close(self) -> None:
        """Close it, too."""
        super().close()
        self.store.close()


# --- engines --------------------------------------------------------------------------------------


class EnginePlace(Place):
    """An engine."""

    @contextmanager
    def here(self, *more: str) -> Iterator[None]:
        """Have a worker in threads of this process, with an engine of its own."""
        with closing(self.engine(*more)) as engine:
            worker = engine.worker(Work(grace=GRACE), **self.told)
            worker.begin()
            try:
                yield
            finally:
                worker.end()

    @abstractmethod
    def engine(self, *more: str) -> Any:
        """Make one, whose sagas may name what is in these modules as well."""

    told: Mapping[str, Any] = {}
    """What a worker is told of this engine besides."""

    @property
    @abstractmethod
    def options(self) -> Sequence[str]:
        """What the command of a worker is told of the engine."""

    def command(self, modules: Sequence[str]) -> Sequence[str]:
        """Give that of `saga worker --engine`."""
        named = [word for module in modules for word in ("--modules", module)]
        return ["worker", *self.options, *named, "--grace", str(GRACE)]

    def close(self) -> None:
        """Let go of the engine, too."""
        super().close()
        self.store.close()


class DBOS(EnginePlace):
    """A database that is migrated for DBOS."""

    kind: Kind = "dbos"

    def __init__(self, folder: Path, url: str, **options: Any) -> None:
        super().__init__(folder)
        self._url, self._options = url, options
        self.store = self.engine(NOVELTY)

    def engine(self, *more: str) -> Any:
        """Make one."""
        made = import_module("py_api_saga.engines.dbos").DBOSEngine  # an extra
        return made(self._url, modules=[*MODULES, *more], **self._options)

    told: Mapping[str, Any] = {"takeover": True, "lease": LEASE}

    def environment(self) -> dict[str, str]:
        """Give where it is."""
        return {"SAGA_ENGINE_URL": self._url}

    @property
    def options(self) -> Sequence[str]:
        """That it takes over."""
        return ("--engine", "dbos", "--takeover", "--lease", str(LEASE))


class Temporal(EnginePlace):
    """A namespace of Temporal."""

    kind: Kind = "temporal"

    def __init__(self, folder: Path, namespace: temporal.Namespace, **options: Any) -> None:
        super().__init__(folder)
        self._namespace, self._options = namespace, options
        self.store = self.engine(NOVELTY)

    def engine(self, *more: str) -> Any:
        """Make one."""
        made = import_module("py_api_saga.engines.temporal").TemporalEngine  # an extra
        address, name = self._namespace
        named = [*MODULES, *more]
        return made(address, modules=named, namespace=name, lost_after=LEASE, **self._options)

    def environment(self) -> dict[str, str]:
        """Give where it is."""
        return {"SAGA_ENGINE_URL": self._namespace.address}

    @property
    def options(self) -> Sequence[str]:
        """In which namespace."""
        return ("--engine", "temporal", "--namespace", self._namespace.name)


# --- making them ----------------------------------------------------------------------------------


@contextmanager
def opened(kind: Kind, folder: Path, **options: Any) -> Iterator[Place]:
    """Open a place of a kind, with a shop of its own in an empty folder.

    Raises:
        Missing: What it needs is not here.
    """
    with ExitStack() as stack:
        open_shop(folder)
        if kind == "memory":
            made: Place = Memory(folder, **options)
        elif kind == "sqlite":
            made = File(folder, **options)
        elif kind == "postgresql":
            made = Database(folder, stack.enter_context(shared.database()), **options)
        elif kind == "dbos":
            made = DBOS(folder, stack.enter_context(shared.dbos_database()), **options)
        else:
            made = Temporal(folder, temporal.namespace(shared.temporal()), **options)
        stack.callback(made.close)
        yield made
