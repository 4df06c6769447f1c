"""`saga worker`: recovers until it is told to end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import depot
import pytest
from commands import LEFT_ALONE, Process, Say, forward, lack, meanwhile, tell
from depot import do
from recorded import chain, order, seen, status
from world import PATIENCE, until

from py_api_saga import SagaAssembler, SagaStatus
from py_api_saga.cli import ending, recovering, worker
from py_api_saga.durable.recovery import Recovery
from py_api_saga.exceptions import JournalError, SagaError
from py_api_saga.journal import SQLiteJournal


def test_a_worker_recovers_until_it_is_told_to_end(say: Say, journal: SQLiteJournal) -> None:
    """Also what comes while it is at work; a line for each, and status 0."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    order().start(journal=journal, saga_id="x")

    def proceed() -> None:
        forward().start(journal=journal, saga_id="y")
        until(lambda: status(journal, "y") is SagaStatus.COMPLETED)
        tell(signal.SIGINT)

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.05")

    assert ended == 0
    first, *rest, last = re.findall(r"Z (.*)", said)
    promise = "it ends within 20 s of a signal"
    assert (first, last) == (f"at work: 8 sagas at once, every 0.05 s; {promise}", "ended")
    # Its thread may be at work for a moment after a saga is seen to have ended.
    assert [line.partition(";")[0] for line in sorted(rest)] == [
        "told to end",
        "x: COMPLETED",
        "y: COMPLETED",
    ]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_the_limit_of_a_worker_is_for_one_round(say: Say, journal: SQLiteJournal) -> None:
    """It goes on in the next one, and its help says so."""
    order().start(journal=journal, saga_id="x")
    order().start(journal=journal, saga_id="y")

    def proceed() -> None:
        until(lambda: status(journal, "y") is SagaStatus.COMPLETED)
        tell()

    with meanwhile(proceed):
        assert say("worker", "--modules", "depot", "--limit", "1", "--interval", "0.02")[0] == 0

    assert status(journal, "x") is SagaStatus.COMPLETED
    assert "with a journal: sagas in a round" in say("worker", "-h")[1]
    assert "--limit N             sagas in all" in say("recover", "-h")[1]


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """More than 1,024 files are open, beyond which `select` knows none."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("this process may not have so many files open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < 1024:
        taken.append(os.dup(taken[0]))
    yield
    for one in taken:
        os.close(one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_a_worker_hears_a_signal_whatever_its_modules_have_open(
    say: Say, journal: SQLiteJournal
) -> None:
    """Its descriptors may have any number."""
    order().start(journal=journal, saga_id="x")

    def proceed() -> None:
        until(lambda: status(journal) is SagaStatus.COMPLETED)
        tell()

    with meanwhile(proceed):
        assert say("worker", "--modules", "depot", "--interval", "0.02")[0] == 0


def test_a_worker_touches_a_file_at_each_look(
    say: Say, journal: SQLiteJournal, looks: list[Any], tmp_path: Path
) -> None:
    """So a probe can tell one that hangs from one that works; that it fails later ends nothing."""
    alive = tmp_path / "alive"
    seen: list[float] = []

    def proceed() -> None:
        until(lambda: len(looks) >= 2)
        seen.append(alive.stat().st_mtime_ns)
        until(lambda: alive.stat().st_mtime_ns > seen[0])
        alive.unlink()
        alive.mkdir()
        alive.chmod(0o700)
        until(lambda: alive.is_dir() and len(looks) >= 4)
        alive.rmdir()
        (tmp_path / "no").symlink_to(tmp_path / "nowhere" / "at" / "all")
        (tmp_path / "no").rename(alive)
        now = len(looks)
        until(lambda: len(looks) >= now + 2)
        tell()

    journal.close()
    with meanwhile(proceed):
        ended, said = say(
            *("worker", "--modules", "depot", "--interval", "0.02", "--alive", str(alive))
        )

    assert ended == 0
    assert "Z --alive: [Errno 2] No such file or directory" in said


def test_a_file_that_cannot_be_touched_ends_a_worker_at_once(
    say: Say, journal: SQLiteJournal, tmp_path: Path
) -> None:
    """Nobody would restart it for what nobody sees."""
    order().start(journal=journal, saga_id="x")

    ended, said = say("worker", "--modules", "depot", "--alive", str(tmp_path / "no" / "alive"))

    assert (ended, "saga: --alive: [Errno 2]" in said) == (1, True)
    assert status(journal) is SagaStatus.RUNNING


def test_a_worker_without_work_looks_again_and_says_nothing(
    say: Say, journal: SQLiteJournal, looks: list[Any]
) -> None:
    """Until it is told to end."""

    def proceed() -> None:
        until(lambda: len(looks) >= 3)
        tell()

    assert journal.waiting() == []
    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 0
    assert re.findall(r"Z (.*)", said) == [
        "at work: 8 sagas at once, every 0.02 s; it ends within 20 s of a signal",
        "told to end; 0 threads still at work",
        "ended",
    ]


def test_a_worker_lets_what_runs_end_and_begins_nothing_more(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one thread, the second saga is left for the next one."""
    stopped, stop = threading.Event(), Recovery.stop

    def stopping(recovery: Recovery) -> None:
        stop(recovery)
        stopped.set()

    def told() -> None:
        tell()
        assert stopped.wait(PATIENCE)  # the main thread may be late to hear it

    monkeypatch.setattr(Recovery, "stop", stopping)

    depot.behaviour["a"] = told
    order().start(journal=journal, saga_id="x")
    order().start(journal=journal, saga_id="y")

    ended, said = say("worker", "--modules", "depot", "--workers", "1", "--interval", "0.02")

    assert ended == 0
    assert "told to end; " in said
    assert (status(journal, "x"), status(journal, "y")) == (
        SagaStatus.COMPLETED,
        SagaStatus.RUNNING,
    )
    assert depot.log == ["a", "b", "c"]
    assert not journal.drives(seen(journal, "y"))


def test_a_saga_that_takes_long_keeps_no_other_from_beginning(
    say: Say, journal: SQLiteJournal
) -> None:
    """A round does not wait for the one before."""
    begun = threading.Event()

    def wait() -> None:
        order().start(journal=journal, saga_id="y")
        begun.wait(PATIENCE)

    depot.behaviour["p"] = wait
    depot.behaviour["a"] = begun.set
    depot.behaviour["c"] = tell
    SagaAssembler.saga().operation((do, "p")).start(journal=journal, saga_id="x")

    ended, _ = say("worker", "--modules", "depot", "--workers", "2", "--interval", "0.02")

    assert ended == 0
    assert (status(journal, "x"), status(journal, "y")) == (SagaStatus.COMPLETED,) * 2
    assert begun.is_set()


def test_a_worker_waits_for_a_journal_that_is_not_there_yet(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    """It says so once, makes none, and recovers as soon as there is one."""
    path = tmp_path / "later.db"
    work = ["worker", "--journal", str(path), "--modules", "depot", "--interval", "0.02"]
    at_work = start(*work)
    at_work.until_said(f"Z there is no journal {path}; looking every 0.02 s, for 300 s at most")
    path.touch()  # as whoever makes one begins
    time.sleep(0.1)
    path.unlink()

    with closing(SQLiteJournal(path, modules=["depot"])) as journal:
        order().start(journal=journal, saga_id="x")
        at_work.until_said("x: COMPLETED")
    at_work.process.send_signal(signal.SIGTERM)
    ended, said = at_work.end()

    assert ended == 0
    first, *rest = re.findall(r"Z (.*)", said)
    assert first == f"there is no journal {path}; looking every 0.02 s, for 300 s at most"
    assert [line.partition(";")[0] for line in rest] == [  # its thread may not have ended yet
        "at work: 8 sagas at once, every 0.02 s",
        "x: COMPLETED",
        "told to end",
        "ended",
    ]


def test_a_worker_that_waits_for_its_journal_ends_when_it_is_told(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and in peace; what will never do is said before it waits."""
    lines: list[str] = []
    log = ending.log  # what is captured can only be read when the command has ended

    def noted(text: str) -> None:
        log(text)
        lines.append(text)

    monkeypatch.setattr(worker, "log", noted)
    work = ["worker", "--journal", str(tmp_path / "later.db"), "--interval", "3600", "--modules"]
    assert say(*work, "nope")[0] == 1
    assert say(*work, "depot", "--codec", "nope:codec")[0] == 1
    ended, said = say("worker", "--journal", os.devnull, "--modules", "depot")
    assert (ended, "is not a file, but a device or a pipe" in said) == (1, True)

    def proceed() -> None:
        until(lambda: lines)
        tell()

    with meanwhile(proceed):
        ended, said = say(*work, "depot")

    assert ended == 0
    assert [line.partition("Z ")[2].split()[0] for line in said.splitlines()] == ["there", "ended"]
    assert [*tmp_path.iterdir()] == []


def test_a_worker_outlives_a_journal_that_cannot_be_used(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and tries again in the next round."""
    order().start(journal=journal, saga_id="x")
    waiting, times = SQLiteJournal.waiting, iter(range(9))

    def locked(*arguments: Any) -> Any:
        if next(times) < 2:
            raise JournalError("database is locked")
        return waiting(*arguments)

    monkeypatch.setattr(SQLiteJournal, "waiting", locked)
    depot.behaviour["c"] = tell
    ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 0
    assert said.count("the journal cannot be used, and is tried again: database is locked") == 2
    assert status(journal) is SagaStatus.COMPLETED


def test_a_worker_makes_no_journal_where_one_was_removed(
    say: Say, journal: SQLiteJournal, looks: list[Any]
) -> None:
    """It waits for the application to make it anew, and says so once."""
    folder = Path(journal.path).parent
    found: list[Path] = []
    assert journal.select() == []

    def proceed() -> None:
        until(lambda: len(looks) >= 2)
        for file in folder.glob("sagas.db*"):
            file.unlink()
        time.sleep(0.2)
        found.extend(folder.glob("sagas.db*"))
        with closing(SQLiteJournal(journal.path, modules=["depot"])) as anew:
            order().start(journal=anew, saga_id="y")
            until(lambda: status(anew, "y") is SagaStatus.COMPLETED)
        tell()

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert (ended, found, said.count("there is no journal")) == (0, [], 1)
    assert "y: COMPLETED" in said


def test_a_worker_without_a_codec_works_on_beside_what_is_sealed(
    say: Say, sealed: SQLiteJournal, journal: SQLiteJournal, looks: list[Any]
) -> None:
    """It says so once of each saga, and leaves it to one that has the codec."""
    order().start(journal=sealed, saga_id="x")

    def proceed() -> None:
        until(lambda: len(looks) >= 3)
        order().start(journal=sealed, saga_id="y")
        order().start(journal=journal, saga_id="z")
        until(lambda: status(journal, "z") is SagaStatus.COMPLETED)
        tell()

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 0
    assert said.count(f"Z x: {LEFT_ALONE}") == said.count(f"Z y: {LEFT_ALONE}") == 1
    assert (seen(sealed, "x").tries, seen(sealed, "y").tries) == (0, 0)


def test_a_worker_says_if_a_thread_of_its_fails(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours is in the log, and the next round begins."""
    order().start(journal=journal, saga_id="x")

    def work(_: Recovery) -> None:
        tell()
        raise RuntimeError("odd")

    monkeypatch.setattr(Recovery, "work", work)

    ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 0
    assert "a thread has failed: RuntimeError('odd')" in said
    assert status(journal) is SagaStatus.RUNNING


def test_a_worker_without_a_thread_looks_again(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, its own thread stays free for signals, and the next round does the work."""
    order().start(journal=journal, saga_id="x")
    start = threading.Thread.start
    refused: list[threading.Thread] = []

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("saga-worker") and len(refused) < 2:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    def proceed() -> None:
        until(lambda: status(journal) is SagaStatus.COMPLETED)
        tell()

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 0
    assert said.count("no more threads; it looks again in the next round") == 2
    assert "x: COMPLETED" in said


def test_a_worker_that_must_give_up_lets_what_runs_end(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that another round would not cure is status 1, after the last saga."""
    prepare, rounds = recovering.prepare, iter(range(99))
    given_up = threading.Event()

    def refused(*arguments: Any) -> Any:
        if next(rounds):
            given_up.set()
            raise SagaError("odd")
        return prepare(*arguments)

    monkeypatch.setattr(worker, "prepare", refused)
    depot.behaviour["a"] = lambda: given_up.wait(PATIENCE)
    order().start(journal=journal, saga_id="x")

    ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 1
    assert said.endswith("saga: odd\n")
    assert status(journal) is SagaStatus.COMPLETED


def test_told_in_the_very_moment_of_a_round_it_begins_nothing(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and beginning, too, a signal is heard."""
    order().start(journal=journal, saga_id="x")
    prepare = recovering.prepare

    def interrupted(*arguments: Any) -> Any:
        recovery = prepare(*arguments)
        tell()
        return recovery

    monkeypatch.setattr(worker, "prepare", interrupted)

    assert say("worker", "--modules", "depot")[0] == 0
    assert status(journal) is SagaStatus.RUNNING
    assert depot.log == []


def test_told_twice_a_worker_leaves_at_once(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for anything."""
    left: list[int] = []
    monkeypatch.setattr("os._exit", left.append)

    def twice() -> None:
        time.sleep(0.15)  # for the worker to look once or twice
        tell()
        while not left:  # two signals at once are one
            tell()
            time.sleep(0.02)

    depot.behaviour["a"] = twice
    order().start(journal=journal, saga_id="x")
    say("worker", "--modules", "depot")

    assert set(left) == {128 + signal.SIGTERM}


def test_a_worker_that_lacks_something_leaves(say: Say, journal: SQLiteJournal) -> None:
    """After three sagas in a row, in whatever rounds; what runs comes to its end before."""
    order().start(journal=journal, saga_id="x0")
    depot.behaviour["b"] = lack

    def proceed() -> None:
        until(lambda: depot.log.count("b") == 1 and not journal.drives(seen(journal, "x0")))
        for number in (1, 2, 3):
            order().start(journal=journal, saga_id=f"x{number}")

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--workers", "1", "--interval", "0.02")

    assert ended == 1
    lines = said.splitlines()
    assert [line for line in lines if "not set up for what is here; 0 threads" in line]
    assert lines[-2].endswith("Z ended")
    assert lines[-1].startswith("saga: this process is not set up for these sagas, which stay")
    assert depot.log == ["a", "b"] * 3
    assert {seen(journal, f"x{number}").tries for number in range(4)} == {0}
    assert {status(journal, f"x{number}") for number in range(4)} == {SagaStatus.RUNNING}


def test_a_worker_goes_on_beside_sagas_of_which_only_some_lack_something(
    say: Say, journal: SQLiteJournal
) -> None:
    """Two of three each time: it leaves these alone, and ends in peace."""
    for number in range(9):
        made = chain("good") if number % 3 == 2 else chain("bad")
        made.start(journal=journal, saga_id=f"x{number}")
    depot.behaviour["bad"] = lack
    depot.behaviour["good"] = lambda: tell() if depot.log.count("good") == 3 else None

    ended, said = say("worker", "--modules", "depot", "--workers", "1", "--interval", "0.02")

    assert (ended, said.count("left as it was"), said.count("COMPLETED")) == (0, 6, 3)


def test_coroutine_functions_of_all_rounds_run_in_one_loop(
    say: Say, journal: SQLiteJournal
) -> None:
    """What a module keeps for its loop lasts as long as the worker."""
    in_loops: list[Any] = []

    async def note() -> None:
        in_loops.append(asyncio.get_running_loop())
        if len(in_loops) == 3:
            tell()

    depot.behaviour["a"] = note
    for saga_id in ("x", "y", "z"):
        saga = SagaAssembler.saga().operation((depot.ado, "a"), name="a")
        saga.start(journal=journal, saga_id=saga_id)

    ended, _ = say("worker", "--modules", "depot", "--limit", "1", "--interval", "0.02")

    assert (ended, len(in_loops), len(set(in_loops))) == (0, 3, 1)
    assert in_loops[0].is_closed()


@pytest.mark.parametrize("seconds", ["-1", "nan", "ages", "86401"])
@pytest.mark.parametrize("option", ["--grace", "--wait"])
@pytest.mark.usefixtures("journal")
def test_a_patience_is_a_number_of_seconds(option: str, seconds: str, say: Say) -> None:
    """From none to a day."""
    ended, said = say("worker", "--modules", "depot", option, seconds)

    assert (ended, f"expected 0 to 86400, got '{seconds}'" in said) == (2, True)


def test_a_worker_waits_for_a_journal_no_longer_than_it_says(say: Say, tmp_path: Path) -> None:
    """The path may be a typo: whoever reads the log, or the status, sees that."""
    path = tmp_path / "nope.db"
    work = ["worker", "--journal", str(path), "--modules", "depot", "--interval", "60"]

    ended, said = say(*work, "--wait", "0.1")

    assert ended == 1
    first, last = said.splitlines()
    assert first.endswith(f"Z there is no journal {path}; looking every 60 s, for 0.1 s at most")
    assert last == f"saga: there is no journal {path}, nor was there one in 0.1 s"
    assert say(*work, "--wait", "0")[0] == 1


def test_a_worker_gives_up_a_journal_that_was_removed(
    say: Say, journal: SQLiteJournal, looks: list[Any]
) -> None:
    """As one that was never there."""

    def proceed() -> None:
        until(lambda: len(looks) >= 2)
        for file in Path(journal.path).parent.glob("sagas.db*"):
            file.unlink()

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.02", "--wait", "0.1")

    assert (ended, said.splitlines()[-1]) == (
        1,
        f"saga: there is no journal {journal.path}, nor was there one in 0.1 s",
    )


def test_a_worker_that_nobody_reads_leaves_all_the_same(
    monkeypatch: pytest.MonkeyPatch, journal: SQLiteJournal, say: Say
) -> None:
    """What it has to say is not waited for."""
    left: list[int] = []
    may_go = threading.Event()

    def leave(status: int) -> None:
        left.append(status)
        may_go.set()

    def hang(text: str) -> None:
        if "left as by a crash" in text:
            may_go.wait(PATIENCE)

    monkeypatch.setattr("os._exit", leave)
    monkeypatch.setattr(ending, "log", hang)
    monkeypatch.setattr(ending, "_LAST_WORDS", 0.05)

    def hangs() -> None:
        tell()
        may_go.wait(PATIENCE)

    depot.behaviour["a"] = hangs
    order().start(journal=journal, saga_id="x")

    say("worker", "--modules", "depot", "--grace", "0.1")

    assert left == [1]
