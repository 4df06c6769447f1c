"""`saga worker` for an engine: it works until it is told to end."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import depot
import pytest
from commands import Process, Say, meanwhile, tell, written
from engine_here import EngineHere
from recorded import order
from world import PATIENCE, until

from py_api_saga import Event, SagaDefinitionError, SagaStatus, saga_status
from py_api_saga.cli import ending, engine_work
from py_api_saga.current import CurrentOperation

WORK = ("worker", "--engine", "dbos", "--url", "postgresql://db/shop", "--modules", "depot")
seen: list[str] = []  # by what is around calls, and by what observes them


@contextmanager
def noted(operation: CurrentOperation) -> Iterator[None]:
    """Note that a call is made."""
    seen.append(f"around {operation.operation}")
    yield


def heard(event: Event) -> None:
    """Note that it was."""
    seen.append(f"{event.kind} {event.operation}")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineHere]:
    """One that `--engine dbos` gives, with an order on it."""
    depot.reset()
    seen.clear()
    engine = EngineHere(["depot"])
    module: Any = ModuleType("py_api_saga.engines.dbos")
    module.DBOSEngine = lambda _, **__: engine
    monkeypatch.setitem(sys.modules, "py_api_saga.engines.dbos", module)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr("py_api_saga.engines.errand._PARTING", 0.01)
    for name in ("SAGA_JOURNAL", "SAGA_CODEC"):
        monkeypatch.delenv(name, raising=False)
    order().start(engine=engine, saga_id="x")
    yield engine
    depot.reset()


def status(engine: EngineHere, saga_id: str = "x") -> SagaStatus:
    """Tell how a saga stands."""
    standing = saga_status(engine, saga_id)
    assert standing is not None
    return standing.status


def test_a_worker_works_for_an_engine_until_it_is_told_to_end(
    say: Say, engine: EngineHere, tmp_path: Path
) -> None:
    """With what it was told; it says when it begins and ends, and that it is alive."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    alive = tmp_path / "alive"

    def proceed() -> None:
        until(lambda: status(engine) is SagaStatus.COMPLETED and alive.exists())
        tell(signal.SIGINT)

    this = "test_engine_worker"
    more = ("--around", f"{this}:noted", "--observer", f"{this}:heard", "--alive", str(alive))
    with meanwhile(proceed):
        ended, said = say(*WORK, "--concurrency", "3", *more)

    assert ended == 0
    assert re.findall(r"Z (.*)", said) == [
        "at work for an engine in this process: 3 calls at once; they have 20 s from a signal on",
        "told to end; 0 calls still at work",
        "ended",
    ]
    assert [line for line in seen if "around" in line] == ["around a", "around b", "around c"]
    assert "succeeded a" in seen
    assert engine.workers == []
    assert engine.closed == 1
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_what_runs_may_come_to_its_end(say: Say, engine: EngineHere) -> None:
    """And nothing more begins."""
    may_go = threading.Event()
    depot.behaviour["a"] = lambda: may_go.wait(PATIENCE)

    def proceed() -> None:
        until(lambda: depot.log == ["a"])
        tell()
        until(lambda: engine.workers[0].is_ending)
        may_go.set()

    with meanwhile(proceed):
        ended, said = say(*WORK)

    assert ended == 0
    assert "told to end; 1 call still at work, for 20 s at most\n" in said
    assert depot.log == ["a"]
    assert '"succeeded"' in engine.flows["x"].rows[-1][1]


def test_what_has_not_ended_is_lost_and_the_process_leaves(
    say: Say, engine: EngineHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With status 1, as its thread may live on."""
    left: list[int] = []
    monkeypatch.setattr("os._exit", left.append)
    may_go = threading.Event()
    depot.behaviour["a"] = lambda: may_go.wait(PATIENCE)

    def proceed() -> None:
        until(lambda: depot.log == ["a"])
        tell()

    with meanwhile(proceed):
        said = say(*WORK, "--grace", "0.01")[1]

    assert left == [1]
    assert "1 call had not ended after 0.01 s: told as lost" in said
    assert '"lost"' in engine.flows["x"].rows[-1][1]
    may_go.set()


@pytest.mark.usefixtures("engine")
def test_a_worker_that_cannot_take_leave_is_ended(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine is away, say, when it is told to end."""
    left: list[int] = []
    may_go = threading.Event()

    def leave(status: int) -> None:
        left.append(status)
        may_go.set()

    def hangs(worker: Any) -> int:
        may_go.wait(PATIENCE)
        worker.die()
        return 0

    monkeypatch.setattr("os._exit", leave)
    monkeypatch.setattr(engine_work, "_MARGIN", 0.05)
    monkeypatch.setattr(ending, "_LAST_WORDS", 0.05)
    monkeypatch.setattr("engine_here.WorkerHere.end", hangs)
    depot.behaviour["a"] = tell

    say(*WORK, "--grace", "0.05")

    assert left == [1]


def test_a_worker_that_its_engine_has_sent_away_says_why(
    say: Say, engine: EngineHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With status 1, so that whatever started it may start it again."""
    monkeypatch.setattr(engine_work, "_LOOK", 0.01)

    def sent_away() -> None:
        engine.workers[0].fault = OSError("no such namespace")

    depot.behaviour["a"] = sent_away
    ended, said = say(*WORK)

    assert ended == 1
    assert "Z it cannot go on; " in said
    assert said.splitlines()[-1] == (
        "saga: an engine in this process: this worker cannot go on: OSError('no such namespace')"
    )


def test_a_file_that_cannot_be_touched_ends_a_worker_before_it_begins(
    say: Say, engine: EngineHere, tmp_path: Path
) -> None:
    """As on a journal."""
    ended, said = say(*WORK, "--alive", str(tmp_path / "no" / "alive"))

    assert (ended, "saga: --alive: [Errno 2]" in said) == (1, True)
    assert (engine.workers, depot.log) == ([], [])


def test_a_worker_whose_lines_nobody_can_take_ends_in_peace(
    say: Say, engine: EngineHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised, no worker is left behind."""

    def broken(_: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(engine_work, "log", broken)

    say(*WORK)

    assert engine.workers == []


@pytest.mark.usefixtures("engine")
def test_what_is_to_observe_must_be_a_function(say: Say) -> None:
    """As with what is around calls; said before anything begins."""
    ended, said = say(*WORK, "--observer", "test_engine_worker:nothing")
    assert (ended, said) == (1, "saga: --observer: 'test_engine_worker:nothing' is not there\n")
    ended, said = say(*WORK, "--observer", "depot:ado")
    assert (ended, "it has to be awaited" in said) == (1, True)
    assert depot.log == []


def test_what_a_worker_cannot_be_told_ends_it_before_it_begins(
    say: Say, engine: EngineHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine says why; options that only it has are its own."""
    told: list[dict[str, Any]] = []

    def refuses(*_: object, **options: Any) -> None:
        told.append(options)
        raise SagaDefinitionError("lease: expected more")

    monkeypatch.setattr(EngineHere, "worker", refuses)

    assert say(*WORK, "--takeover", "--lease", "0.5") == (1, "saga: lease: expected more\n")
    assert told == [{"takeover": True, "lease": 0.5}]
    assert engine.closed == 1


ENGINE = """
from engine_here import EngineHere
from errands import linger
from py_api_saga import SagaAssembler
engine = EngineHere(["errands"])
SagaAssembler.saga().operation((linger, {folder!r}, "a")).start(engine=engine, saga_id="x")
"""


def test_a_second_signal_ends_a_worker_at_once(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    """Whatever it is waiting for; its status says which signal it was."""
    written(tmp_path / "shop_engine.py", ENGINE.format(folder=str(tmp_path)))
    at_work = start("worker", "--journal", "shop_engine:engine", "--modules", "errands")
    at_work.until("a")

    at_work.process.send_signal(signal.SIGTERM)
    at_work.until_said("told to end; 1 call still at work, for 20 s at most")
    at_work.process.send_signal(signal.SIGINT)

    assert at_work.end()[0] == 128 + signal.SIGINT
