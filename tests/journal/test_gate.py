"""The gate while a process has stopped inside: who gives up, who waits, and what is on record."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import depot
import pytest
from paths import SUPPORT
from recorded import WHO, begin, bodies, chain, seen, status, stuck
from withdrawals import play
from workers import said, tell, worker
from world import PATIENCE, in_child, in_time, unmeasured, until

from py_api_saga import (
    JournalError,
    SagaStatus,
    Status,
    aanswer,
    answer,
    arecover,
    clock,
    recover,
    repair,
    takeover,
)
from py_api_saga.cli import main as saga
from py_api_saga.journal import SQLiteJournal, changes
from py_api_saga.journal.changes import Append, Change, Create, Take, latest
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.sql import group_commit
from py_api_saga.journal.sqlite import gate, shared

HOLDER = """
import os, signal, sys
from py_api_saga.journal.sqlite.gate import Gate
for line in sys.stdin:
    gate = Gate(line.strip())
    assert gate.enter()
    os.kill(os.getpid(), signal.SIGSTOP)
    gate.unlock()
    gate.close()
    print("out", flush=True)
"""
SOON = 0.05  # seconds
DEFINED = (
    '[["defined",{"format":1,"name":null,"operations":[{"name":"a","do":["depot:do",["a"]]}]}],'
    '["started",0,"action",1,1]]'
)


@pytest.fixture(scope="module")
def visitor() -> Iterator[subprocess.Popen[str]]:
    """A process that goes into a gate, and stops there."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=unmeasured(),
    )
    yield process
    process.kill()
    process.communicate()


Stopped = Callable[..., Any]


@pytest.fixture
def stopped(visitor: subprocess.Popen[str], journal: SQLiteJournal) -> Iterator[Stopped]:
    """Have it stop in the gate of the journal, until it is told to go on, or the test is over."""
    inside: list[bool] = []

    def go_on() -> None:
        if inside:
            visitor.send_signal(signal.SIGCONT)
            assert said(visitor) == "out"
            inside.clear()

    def stop() -> Callable[[], None]:
        tell(visitor, f"{journal.path}-gate")
        _, how = os.waitpid(visitor.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(how)
        inside.append(True)
        return go_on

    yield stop
    go_on()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLiteJournal]:
    """An empty journal that is open and for whose gate nobody waits long."""
    depot.reset()
    monkeypatch.setattr(changes, "PATIENCE", SOON)
    monkeypatch.setattr(shared, "BUSY", SOON)
    journal = SQLiteJournal(tmp_path / "sagas.db", modules=["depot"])
    journal.find("")
    yield journal
    journal.close()
    depot.reset()


def is_free(journal: SQLiteJournal) -> bool:
    """Tell whether the gate is open, to whoever asks from another process."""
    with Path(journal.path + "-gate").open() as other:
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def shut(journal: SQLiteJournal) -> Iterator[None]:
    """Keep everybody out of the gate, as another process does."""
    with Path(journal.path + "-gate").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        yield  # to close it opens the gate


# --- who gives up ---------------------------------------------------------------------------------

BEGINNING: dict[str, Callable[..., Any]] = {
    "chain": lambda saga, **options: saga.orchestrator_execute(**options),
    "graph": lambda saga, **options: saga.choreography_execute(**options),
    "async chain": lambda saga, **options: asyncio.run(saga.aorchestrator_execute(**options)),
    "async graph": lambda saga, **options: asyncio.run(saga.achoreography_execute(**options)),
    "start": lambda saga, **options: saga.start(**options),
    "astart": lambda saga, **options: asyncio.run(saga.astart(**options)),
}


@pytest.mark.parametrize("shorter", ["deadline", "patience"])
@pytest.mark.parametrize("how", BEGINNING)
def test_a_new_saga_gives_up_at_a_shut_gate(
    journal: SQLiteJournal,
    visitor: subprocess.Popen[str],
    stopped: Stopped,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    shorter: str,
) -> None:
    """Nothing has run, nothing of it is on record, and its id may be given again at once."""
    monkeypatch.setattr(changes, "PATIENCE", SOON if shorter == "patience" else 600)
    go, seconds = BEGINNING[how], SOON if shorter == "deadline" else 600
    go_on = stopped()

    with pytest.raises(JournalError) as caught:
        in_time(lambda: go(chain("a"), journal=journal, saga_id="x", deadline=seconds))

    text = str(caught.value)
    assert text.startswith("saga 'x' was not started, and is not in the journal: the journal ")
    assert f" is shut: process {visitor.pid} (since " in text
    assert f"`kill -CONT {visitor.pid}` lets it go on; else end it" in text
    assert not getattr(caught.value, "__notes__", [])  # that it stays in its journal, say
    assert depot.log == []
    assert journal.shared.desk.running == {}
    go_on()
    until(lambda: is_free(journal))
    assert journal.find("x") is None
    go(chain("a"), journal=journal, saga_id="x")
    assert seen(journal, "x").epoch == (0 if "start" in how else 1)


@pytest.mark.parametrize("how", ["answer", "aanswer"])
def test_an_answer_gives_up_at_a_shut_gate(
    journal: SQLiteJournal, visitor: subprocess.Popen[str], stopped: Stopped, how: str
) -> None:
    """Nothing of it is on record, so it is new when it comes again; and its saga is as it was."""
    claim = begin(journal, "x", DEFINED)
    answers = {
        "answer": lambda: answer(journal, "x:a:action", result=1, go_on=False),
        "aanswer": lambda: asyncio.run(aanswer(journal, "x:a:action", result=1, go_on=False)),
    }
    go_on = stopped()

    with pytest.raises(JournalError) as caught:
        in_time(answers[how])

    text = str(caught.value)
    assert text.startswith("saga 'x' was not given the answer, which is not in the journal: the ")
    assert f" is shut: process {visitor.pid} (since " in text
    go_on()
    until(lambda: is_free(journal))
    assert journal.mail([claim.number]) == {claim.number: []}
    assert not claim.over
    assert not answers[how]().known
    assert answers[how]().known


def test_a_deadline_of_no_time_at_all_is_enough_for_an_open_gate(journal: SQLiteJournal) -> None:
    """What needs not wait does not give up."""
    assert chain("a").start(journal=journal, saga_id="x", deadline=0) == "x"


def test_whoever_takes_a_saga_up_by_its_id_gives_up_as_well(
    journal: SQLiteJournal, stopped: Stopped
) -> None:
    """The gate may be shut between its first look and its claim."""
    chain("a").start(journal=journal, saga_id="x")
    real = journal.drives

    def drives(seen: Any) -> bool:
        stopped()
        return real(seen)

    journal.drives = drives  # type: ignore[method-assign]
    with pytest.raises(JournalError, match=r"saga 'x' was not claimed: the journal .* is shut"):
        in_time(lambda: chain("a").orchestrator_execute(journal=journal, saga_id="x"))
    assert depot.log == []
    assert seen(journal, "x").epoch == 0


@pytest.mark.parametrize("how", ["recover", "arecover"])
def test_a_recovery_that_finds_the_gate_shut_returns_what_it_has(
    journal: SQLiteJournal, stopped: Stopped, how: str
) -> None:
    """With the error, once; no try of a saga is used up, and the next recovery ends them all."""
    for name in "xyz":
        chain(name).start(journal=journal, saga_id=name)
    ways: list[Any] = []

    def observe(event: Any) -> None:
        if event.kind == "saga ended" and not ways:
            ways.append(stopped())

    def go() -> list[Any]:
        if how == "recover":
            return recover(journal, max_workers=1, observers=[observe])
        return asyncio.run(arecover(journal, max_workers=1, observers=[observe]))

    done = in_time(go)

    assert [(one.saga_id, one.outcome) for one in done] == [
        ("x", SagaStatus.COMPLETED),
        ("y", SagaStatus.RUNNING),
    ]
    assert isinstance(done[1].error, JournalError)
    assert "saga 'y' was not claimed: the journal " in str(done[1].error)
    assert depot.log == ["x"]
    ways[0]()
    assert seen(journal, "y").tries == 0
    assert [one.saga_id for one in in_time(go)] == ["y", "z"]
    assert depot.log == ["x", "y", "z"]


DECISIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "again": ("claimed", lambda journal: repair.again(journal, "x", **WHO)),
    "resolve": ("claimed", lambda j: repair.resolve(j, "x", "b", Status.SKIPPED, **WHO)),
    "compensate": ("claimed", lambda journal: repair.compensate(journal, "open", **WHO)),
    "takeover": ("claimed", lambda journal: takeover(journal, "open", who="ada", why="late")),
    "purge": ("purged", lambda journal: repair.purge(journal, seen(journal, "done"))),
}


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_gives_up_at_a_shut_gate(
    journal: SQLiteJournal, stopped: Stopped, name: str, *, is_open: bool
) -> None:
    """Nothing has changed then; also in a process that has not opened the journal yet."""
    stuck(journal)
    chain("p").start(journal=journal, saga_id="open")
    chain("q").orchestrator_execute(journal=journal, saga_id="done")
    before = journal.select()
    depot.log.clear()
    if not is_open:
        journal.close()
    go_on = stopped()
    word, decide = DECISIONS[name]

    said_first = f"was not {word}: the journal" if is_open else "the journal"
    with pytest.raises(JournalError, match=said_first) as caught:
        in_time(lambda: decide(journal))

    assert " is shut: process " in str(caught.value)
    go_on()
    assert journal.select() == before
    assert depot.log == []
    decide(journal)
    assert journal.select() != before


@pytest.mark.parametrize("change", ["decision", "note"])
def test_a_decision_whose_claim_was_made_gives_up_as_well(
    journal: SQLiteJournal, stopped: Stopped, change: str
) -> None:
    """The gate may be shut between the two; then the saga is left as it was."""
    stuck(journal)
    chain("p").start(journal=journal, saga_id="open")
    real = journal.write

    def write(*written: Change) -> None:
        real(*written)
        if isinstance(written[0], Take):
            stopped()

    journal.write = write  # type: ignore[method-assign]
    decide, saga_id = DECISIONS["again"][1], "x"
    if change == "note":
        decide, saga_id = DECISIONS["takeover"][1], "open"
    before = bodies(journal, saga_id)
    with pytest.raises(JournalError, match=f"saga '{saga_id}' is as it was: the journal .* shut"):
        in_time(lambda: decide(journal))
    assert journal.shared.desk.running == {}
    assert bodies(journal, saga_id) == before


def test_a_recovery_that_cannot_park_a_saga_leaves_it(
    journal: SQLiteJournal, stopped: Stopped
) -> None:
    """It says why, and the next one parks it."""
    chain("p").start(journal=journal, saga_id="x")
    real = journal.write

    def write(*written: Change) -> None:
        real(*written)
        if isinstance(written[0], Take):
            go_on.append(stopped())

    go_on: list[Any] = []
    journal.names = SQLiteJournal(journal.path).names  # which knows no function
    journal.write = write  # type: ignore[method-assign]
    (done,) = in_time(lambda: recover(journal))
    assert done.outcome is SagaStatus.RUNNING
    assert " is shut: process " in str(done.error)
    go_on[0]()
    assert journal.shared.desk.running == {}


def test_commands_name_who_keeps_them_out(
    journal: SQLiteJournal,
    visitor: subprocess.Popen[str],
    stopped: Stopped,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that write give up, with 1; those that read go on, and say so beside."""
    monkeypatch.setattr("py_api_saga.journal.sqlite.view.MOMENT", 0.01)
    monkeypatch.setattr("py_api_saga.cli.opening.PATIENCE", 30.0)
    monkeypatch.setattr("py_api_saga.cli.health.PATIENCE", 600)
    chain("p").start(journal=journal, saga_id="x")
    chain("q").orchestrator_execute(journal=journal, saga_id="done")
    journal.close()
    go_on = stopped()
    who = f"process {visitor.pid} (since "

    def say(*words: str) -> tuple[int, str, str]:
        ended = in_time(lambda: saga(["--journal", journal.path, *words]))
        return ended, *capsys.readouterr()

    for words in (
        ["cancel", "x"],
        ["purge", "--older-than", "0s"],
        ["recover", "--modules", "depot"],
        ["takeover", "x", "--modules", "depot"],
    ):
        ended, out, errors = say(*words)
        assert (ended, out) == (1, "")
        assert errors.count(who) == 2
        assert "is writing to the journal; waiting for it for 30 s; if it is stopped" in errors
        assert "saga: the journal " in errors
    for name in ("list", "check"):
        ended, out, errors = say(name)
        assert ended == 0
        assert errors.startswith(f"saga: {who}")
        assert "is writing to the journal, and nobody else can; if it is stopped, `kill" in errors
        told = json.loads(say(name, "--json")[1])
        assert told["gate_holder"] == visitor.pid
        assert told["gate_held_since"].startswith("20")
    assert f"process {visitor.pid}, since 20" in say("doctor")[1]
    monkeypatch.setattr("py_api_saga.cli.health.PATIENCE", -1)
    assert say("check")[0] == 4
    go_on()
    assert say("check")[::2] == (0, "")
    assert json.loads(say("list", "--json")[1])["gate_holder"] is None
    assert depot.log == ["q"]


WORKER = """
import sys
from py_api_saga.journal import changes
changes.PATIENCE = 0.05
from py_api_saga.cli import main
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.sqlite import view
view.MOMENT = 0.01
sys.path.insert(0, sys.argv.pop(1))
sys.exit(main(sys.argv[1:]))
"""


def test_a_worker_that_finds_the_gate_shut_says_so_and_looks_again(
    journal: SQLiteJournal, stopped: Stopped
) -> None:
    """And recovers what there is once it can."""
    chain("p").start(journal=journal, saga_id="x")
    go_on = stopped()
    command = [sys.executable, "-c", WORKER, str(SUPPORT), "worker"]
    command += ["--journal", journal.path, "--modules", "depot", "--interval", "0.02"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=unmeasured()) as process:
        while "cannot be used, and is tried again: the journal" not in said(process):
            assert process.poll() is None
        go_on()
        while "x: COMPLETED" not in said(process):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate()
        assert process.returncode == 0


# --- who waits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["chain", "graph", "async chain", "async graph"])
def test_a_saga_that_runs_waits_without_limit(
    journal: SQLiteJournal, stopped: Stopped, how: str
) -> None:
    """However many others give up meanwhile."""
    ways: list[Any] = []
    depot.behaviour["a"] = lambda: ways.append(stopped())
    running = threading.Thread(
        target=BEGINNING[how],
        args=(chain("a", "b"),),
        kwargs={"journal": journal, "saga_id": "x", "deadline": None},
    )
    running.start()
    until(lambda: ways)
    for _ in range(2):
        with pytest.raises(JournalError, match="was not started"):
            in_time(lambda: chain("c").start(journal=journal, saga_id="c"))
    assert running.is_alive()
    assert depot.log == ["a"]
    ways[0]()
    running.join(PATIENCE)
    assert status(journal) is SagaStatus.COMPLETED
    assert depot.log == ["a", "b"]


def test_a_process_that_stops_within_its_commit_is_waited_for(journal: SQLiteJournal) -> None:
    """Its saga is there when it goes on, and that of whoever gave up is not."""
    script = """
import signal
from py_api_saga.journal.sqlite.writes import RowWriter
journal.find("")
RowWriter.note_commit = staticmethod(lambda changes: os.kill(os.getpid(), signal.SIGSTOP))
begin("theirs")
say("done")
told()
"""
    with worker(Path(journal.path), script) as process:
        _, how = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(how)
        with pytest.raises(JournalError, match=f"is shut: process {process.pid} "):
            in_time(lambda: chain("a").start(journal=journal, saga_id="ours"))
        process.send_signal(signal.SIGCONT)
        assert said(process) == "done"
        assert [one.saga_id for one in journal.select()] == ["theirs"]
        assert chain("a").start(journal=journal, saga_id="ours") == "ours"


def test_changes_of_one_batch_wait_each_as_long_as_it_likes(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gives up takes nobody along, not even the one who came first and led."""
    monkeypatch.setattr(group_commit, "ROLL_CALL", 600)  # so nobody is saved by looking again
    claim = begin(journal)
    first, claiming = Create("first", "x", "[1]"), Create("claiming", "x", "[1]")
    append, later = Append(claim, "[2]", SagaStatus.COMPLETED), Create("later", "x", "[1]")
    first.until, claiming.until = latest(), time.monotonic() + 600

    async def in_loop() -> None:
        later.until = latest()
        await journal.awrite(later)

    with shut(journal):
        threads = [
            threading.Thread(target=journal.write, args=(change,))
            for change in (first, append, claiming)
        ]
        for thread in threads:
            thread.start()
            until(lambda: journal.shared.queue.batch.shut)
        in_time(lambda: asyncio.run(in_loop()))
        threads[0].join(PATIENCE)
        assert (first.withdrawn, later.withdrawn) == (True, True)
        assert (append.settled, claiming.settled) == (False, False)
    for thread in threads:
        thread.join(PATIENCE)
    append.check()
    claiming.check()
    assert {one.saga_id for one in journal.select()} == {"a", "claiming"}


def test_what_is_being_written_is_not_refused(journal: SQLiteJournal) -> None:
    """Its fate is awaited: else recovery would run what its caller was told is not there."""
    begin(journal)
    real, opened = journal.shared.file.opened, threading.Event()
    entered = threading.Event()

    def slowly(*, begins: bool = True) -> Any:
        entered.set()
        assert opened.wait(PATIENCE)
        return real(begins=begins)

    journal.shared.file.opened = slowly  # type: ignore[method-assign]
    create, other = Create("b", "x", "[1]"), Create("c", "x", "[1]")
    create.until = patience = latest()
    writing = threading.Thread(target=journal.write, args=(create,))
    writing.start()
    assert entered.wait(PATIENCE)
    other.until = latest()
    try:
        in_time(lambda: journal.write(other))  # of the next batch: our own disk is slow
        for later in (Create("d", "x", "[1]"), Create("e", "x", "[1]")):
            later.until = latest()
            in_time(partial(asyncio.run, journal.awrite(later)))
            assert later.withdrawn
        until(lambda: time.monotonic() > patience + SOON)
        journal.shared.queue.withdraw([create])
        assert not create.settled
    finally:  # else a failure here would be told once the thread has lost its patience
        opened.set()
        writing.join(PATIENCE)
    assert create.check().rows == 1
    with pytest.raises(JournalError, match=f"by this process {os.getpid()} .*: the disk is slow"):
        other.check()
    assert journal.find("c") is None


@pytest.mark.untraced
def test_nobody_is_told_otherwise_than_it_is_on_record(tmp_path: Path) -> None:
    """Thousands give up just when the gate opens: what was refused is not there, all else is."""
    game = play(tmp_path, 1.0, seed=7)
    assert game.wrong == []
    assert min(game.counts["accepted"], game.counts["refused"]) > 20


def test_what_was_slept_for_is_over_whatever_a_clock_says(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests make clocks stand still."""
    now = time.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    create = Create("b", "x", "[1]")
    create.until = now + SOON
    with shut(journal):
        in_time(lambda: journal.write(create))
    assert create.withdrawn


def test_timers_of_a_loop_are_for_the_first_that_gives_up(journal: SQLiteJournal) -> None:
    """Those that come later may be less patient; and to cancel one withdraws nothing."""

    async def write(saga_id: str, seconds: float | None) -> bool:
        create = Create(saga_id, "x", "[1]")
        create.until = None if seconds is None else time.monotonic() + seconds
        await journal.awrite(create)
        return create.withdrawn

    async def main() -> list[bool]:
        first = asyncio.create_task(write("a", 600))
        while not journal.shared.queue.batch.shut:  # noqa: ASYNC110 - a thread of ours sees that
            await asyncio.sleep(0.001)
        rest = [("b", 0.1), ("c", 0.02), ("d", 0.2), ("e", None)]
        others = [asyncio.create_task(write(*one)) for one in rest]
        cancelled = asyncio.create_task(write("f", 600))
        await asyncio.sleep(0)
        cancelled.cancel()
        told = list(await asyncio.gather(*others[:3]))
        assert not first.done()
        assert not others[3].done()
        opening.set()
        return [*told, await first, await others[3]]

    opening = threading.Event()

    def keep() -> None:
        with shut(journal):
            there.set()
            opening.wait(PATIENCE)

    there, keeper = threading.Event(), threading.Thread(target=keep)
    keeper.start()
    assert there.wait(PATIENCE)
    assert in_time(lambda: asyncio.run(main())) == [True, True, True, False, False]
    keeper.join()
    assert {one.saga_id for one in journal.select()} == {"a", "e", "f"}


# --- the thread that waits ------------------------------------------------------------------------


def test_who_waits_for_nobody_any_more_lets_the_next_one_in(
    journal: SQLiteJournal, stopped: Stopped
) -> None:
    """The thread of ours comes in at last, and writes nothing."""
    go_on = stopped()
    before = journal.shared.file.count
    for name in "ab":
        with pytest.raises(JournalError):
            chain(name).start(journal=journal, saga_id=name)
    go_on()
    until(lambda: not journal.shared.queue.is_in_line)
    until(lambda: is_free(journal))
    assert journal.shared.file.count == before
    assert not journal.shared.queue.batch.shut
    assert journal.select() == []


def test_a_process_ends_while_the_gate_is_shut(journal: SQLiteJournal, stopped: Stopped) -> None:
    """Nobody waits at its end for a process that has stopped; nor comes in when nobody is left."""
    script = """
from py_api_saga.journal import changes
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.sqlite import shared
changes.PATIENCE = shared.BUSY = 0.05
claim = begin("theirs")
say("begun")
told()
journal.leave(claim)
late = Create("late", "x", "[1]")
late.until = changes.latest()
journal.write(late)
say(late.withdrawn)
"""
    with worker(Path(journal.path), script) as process:
        assert said(process) == "begun"
        go_on = stopped()
        tell(process)
        assert said(process) == "True"
        assert process.wait(PATIENCE) == 0
        go_on()
    assert is_free(journal)
    assert [one.saga_id for one in journal.waiting()] == ["theirs"]


def test_a_journal_that_is_closed_while_the_gate_is_shut_is_opened_anew(
    journal: SQLiteJournal, stopped: Stopped
) -> None:
    """What stood in line for the old one keeps nobody out of the new one."""
    go_on = stopped()
    with pytest.raises(JournalError):
        chain("a").start(journal=journal, saga_id="a")
    old = journal.shared
    in_time(journal.close)
    assert old.file.connection is None
    with pytest.raises(JournalError, match="is shut: process"):  # without an owner's number yet
        in_time(lambda: journal.find("a"))
    assert journal.shared is not old
    go_on()
    until(lambda: is_free(journal))
    assert chain("a").start(journal=journal, saga_id="a") == "a"
    until(lambda: not old.queue.is_in_line and is_free(journal))


def test_a_fork_while_somebody_stands_in_line(journal: SQLiteJournal, stopped: Stopped) -> None:
    """Both sides go on; the child has nothing of what the parent waits for."""
    claim = begin(journal)
    go_on = stopped()
    writing = threading.Thread(target=journal.write, args=(Append(claim, "[2]", None),))
    writing.start()
    until(lambda: journal.shared.queue.is_in_line)

    def child() -> object:
        create = Create("b", "x", "[1]")
        create.until = latest()
        journal.write(create)
        return create.withdrawn, journal.gate_holder() is not None

    assert in_child(child) == "(True, True)"
    assert writing.is_alive()
    go_on()
    writing.join(PATIENCE)
    assert bodies(journal) == ["[1]", "[2]"]
    until(lambda: is_free(journal))
    assert in_child(lambda: begin(journal, "c").rows) == "1"
    assert is_free(journal)


def test_without_a_thread_the_gate_is_looked_at_again_and_again(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be none to be had; whoever waits gives up as well, or comes in."""

    def start(_: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    creates = [Create(f"{n}", "x", "[1]") for n in range(4)]
    creates[0].until = creates[1].until = latest()

    async def late() -> None:
        waiting = asyncio.create_task(journal.awrite(creates[3]))
        await journal.awrite(creates[1])
        assert not waiting.done()
        opened.close()
        await waiting

    opened = ExitStack()
    opened.enter_context(shut(journal))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        journal.write(creates[0])
        asyncio.run(late())
        journal.write(creates[2])
    assert [create.withdrawn for create in creates] == [True, True, False, False]
    assert {one.saga_id for one in journal.select()} == {"2", "3"}


# --- interrupts -----------------------------------------------------------------------------------


class Interrupt(BaseException):
    """What a signal handler raises."""


def raise_it(*_: object) -> None:
    """Do so."""
    raise Interrupt


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_at_a_shut_gate(journal: SQLiteJournal, times: int) -> None:
    """The first is raised once its fate is known, a second one at once: then it is written late."""
    claim = begin(journal)
    append = Append(claim, "[2]", None)
    with ExitStack() as opened:
        opened.enter_context(shut(journal))
        taken: list[int] = []

        def take(*_: object) -> None:
            taken.append(1)
            raise Interrupt

        def has_gone_on() -> bool:  # two signals that come together are one
            frame = sys._current_frames()[threading.main_thread().ident or 0]  # noqa: SLF001
            return bool(taken) and frame.f_code.co_name == "follow"

        def strike() -> None:
            until(lambda: journal.shared.queue.is_in_line)
            os.kill(os.getpid(), signal.SIGUSR1)
            until(has_gone_on)
            if times == 2:
                os.kill(os.getpid(), signal.SIGUSR1)
            else:
                opened.close()

        before = signal.signal(signal.SIGUSR1, take)
        striking = threading.Thread(target=strike)
        striking.start()
        try:
            with pytest.raises(Interrupt):
                journal.write(append)
            assert append.settled is (times == 1)
            striking.join(PATIENCE)
        finally:
            signal.signal(signal.SIGUSR1, before)
    until(lambda: append.settled)
    assert bodies(journal) == ["[1]", "[2]"]


def test_an_interrupt_in_the_middle_of_giving_up(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it strikes, it is refused and not written, or written and not refused."""
    real = journal.shared.desk.settle
    strikes = [Interrupt]

    def settle(change: Change) -> None:
        if strikes:
            raise strikes.pop()
        real(change)

    monkeypatch.setattr(journal.shared.desk, "settle", settle)
    create = Create("b", "x", "[1]")
    create.until = latest()
    with shut(journal), pytest.raises(Interrupt):
        journal.write(create)
    assert create.withdrawn
    begin(journal, "c")
    assert journal.find("b") is None


def test_a_gate_whose_descriptor_is_somebody_else_s_is_left_alone(tmp_path: Path) -> None:
    """A daemon that closes all descriptors lets it go so; what has the number is not touched."""
    here = gate.Gate(str(tmp_path / "sagas.db-gate"))
    assert here.enter()
    number = here._file  # noqa: SLF001 - what a daemon closes
    os.close(number)
    with (tmp_path / "other").open("w") as other:
        assert other.fileno() == number
        here.unlock()
        assert here.enter()
        here.unlock()
    here.close()
    assert (tmp_path / "other").read_text() == ""


def test_a_loop_is_looked_after_also_while_the_gate_is_shut(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits there is told by the thread that stands in line, once it is inside."""
    monkeypatch.setattr(group_commit, "ROLL_CALL", 0.005)
    looked = threading.Semaphore(0)
    look = group_commit.GroupCommit._look_after  # noqa: SLF001 - what a loop calls back

    def count(queue: Any, loop: Any) -> None:
        look(queue, loop)
        looked.release()

    monkeypatch.setattr(group_commit.GroupCommit, "_look_after", count)
    begin(journal, "a")

    async def main() -> bool:
        with shut(journal):
            writing = asyncio.ensure_future(journal.awrite(Create("b", "x", "[1]")))
            for _ in range(3):
                assert await asyncio.to_thread(looked.acquire, True, PATIENCE)
            is_waiting = not writing.done()
        await writing
        return is_waiting

    assert in_time(lambda: asyncio.run(main()))
    assert journal.find("b") is not None


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_within_a_commit_after_which_the_gate_is_shut(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """What has entered is written for certain, by the thread of ours; nobody withdraws it."""
    real, unlock = journal.shared.file.opened, journal.shared.file.gate.unlock
    create = Create("b", "x", "[1]")
    create.until = latest()
    strikes = [Interrupt] * times
    with ExitStack() as opened:

        def strike(*, begins: bool) -> Any:
            if strikes:
                raise strikes.pop()
            return real(begins=begins)

        def shut_behind() -> None:
            unlock()
            monkeypatch.setattr(journal.shared.file.gate, "unlock", unlock)
            opened.enter_context(shut(journal))

        def go_on() -> None:
            until(lambda: journal.shared.queue.is_in_line)
            time.sleep(2 * SOON)  # for longer than it is waited
            if times == 2:
                os.kill(os.getpid(), signal.SIGUSR1)
                told.wait(PATIENCE)
            opened.close()

        told, going_on = threading.Event(), threading.Thread(target=go_on)
        before = signal.signal(signal.SIGUSR1, raise_it)
        monkeypatch.setattr(journal.shared.file, "opened", strike)
        monkeypatch.setattr(journal.shared.file.gate, "unlock", shut_behind)
        strikes[1:] = []
        going_on.start()
        try:
            with pytest.raises(Interrupt):
                journal.write(create)
            assert create.settled is (times == 1)
        finally:
            told.set()
            signal.signal(signal.SIGUSR1, before)
            going_on.join(PATIENCE)
    until(lambda: create.settled)
    assert create.check().rows == 1
    assert seen(journal, "b").epoch == 1


def test_a_gate_that_fails_while_somebody_stands_in_line_is_an_error(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that cannot even be opened is; and a batch that all have left stays open."""
    answers = [False, False]

    def enter() -> bool:
        if answers:
            return answers.pop()
        raise OSError(5, "Input/output error")

    queue = journal.shared.queue
    with monkeypatch.context() as patched:
        patched.setattr(journal.shared.file.gate, "enter", enter)
        journal.write(create := Create("b", "x", "[1]"))
        batch = queue.batch
        with queue.turn:
            journal.shared.file.record(batch)
    with pytest.raises(JournalError, match=r"cannot be written: .*Input/output error"):
        create.check()
    assert queue.batch is batch
    assert not batch.done
    journal.shared.file.stand_in_line(batch)
    assert not is_free(journal)  # it has opened before anybody had to wait
    queue.wake_thread()
    begin(journal, "c")
    assert is_free(journal)


def test_a_journal_that_is_closed_in_the_moment_in_which_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says so, to whoever opens it in another thread."""
    monkeypatch.setattr(changes, "PATIENCE", SOON)
    other = SQLiteJournal(tmp_path / "other.db")
    old = other.shared
    other.close()
    other.find("")  # makes the gate
    with shut(other), pytest.raises(JournalError, match="was closed while it was to be opened"):
        old.open()
    other.close()


# --- what the file says ---------------------------------------------------------------------------


def test_the_gate_says_since_when_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second early at most; and a process in another container has another number there."""
    path = str(tmp_path / "gate")
    inside = gate.Gate(path)
    assert gate.inside(path) is None
    assert inside.enter()
    holder = gate.inside(path)
    assert holder is not None
    assert holder.pid == os.getpid()
    assert 0 <= time.time() - (holder.since or 0.0) < 5
    assert holder.host == ""
    assert str(holder).startswith(f"process {os.getpid()} (since ")
    inside.unlock()
    inside._noted -= 2  # noqa: SLF001 - as if it were so long ago
    monkeypatch.setattr(clock, "time", lambda: 7_000_000)
    assert inside.enter()
    assert gate.inside(path).since == 7_000_000  # type: ignore[union-attr]
    inside.unlock()
    inside.enter()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("", "elsewhere", "", "", "")))
    Path(path).write_bytes(f"{4711:<11}\n{7:<11} otherhost".encode())
    text = gate.shut("sagas.db", path)
    assert "process 4711 on otherhost (since " in text
    assert text.endswith("; if it was paused or stopped there, let it go on; else end it")
    Path(path).write_text("nonsense")
    text = gate.shut("sagas.db", path)
    assert text.startswith("the journal sagas.db is shut: process unknown is writing to it; find ")
    inside.unlock()
    assert gate.shut("sagas.db", path) == (
        "the journal sagas.db was being written to by others all the time"
    )
    inside.close()


def test_who_comes_and_goes_is_not_said_to_linger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only who stays is."""
    path = str(tmp_path / "gate")
    holders = [Holder(1, None, ""), Holder(2, None, "")]
    monkeypatch.setattr(
        gate, "inside", lambda _: holders.pop(0) if len(holders) > 1 else holders[0]
    )
    assert gate.lingering(path, 0.02) is None
    assert Holder(2, None, "").is_as(gate.lingering(path, 0.02))
    holders[:] = [Holder(3, time.time() - 5, "")]
    started = time.monotonic()
    assert gate.lingering(path, 3.0) == holders[0]
    assert time.monotonic() - started < 3


def test_a_gate_that_was_closed_gives_what_was_waited_for_back(tmp_path: Path) -> None:
    """The last one that steps out of a line closes what was kept open for it."""
    other, ours = gate.Gate(str(tmp_path / "gate")), gate.Gate(str(tmp_path / "gate"))
    assert other.enter()
    assert not ours.enter()
    lines = [ours.line_up(), ours.line_up()]
    ours.close()
    other.unlock()
    for line in lines:
        ours.wait(line)
    assert not other.enter()
    for line in lines:
        ours.step_out(line)
    assert other.enter()
    other.close()
