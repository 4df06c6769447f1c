"""Several processes, forks and journal objects on one file: at most one of them drives a saga."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from recorded import begin, bodies, seen
from workers import WORKER, said, tell, worker
from world import PATIENCE, in_child, unmeasured

from py_api_saga.exceptions import JournalError, SagaInProgress
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.changes import Append, Create, Leave, Purge, Take
from py_api_saga.journal.sqlite import files, owners
from py_api_saga.journal.sqlite.journal import SQLiteJournal
from py_api_saga.journal.sqlite.owners import owners_at
from py_api_saga.journal.sqlite.writes import RowWriter
from py_api_saga.status import SagaStatus


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SQLiteJournal]:
    """Make an empty journal."""
    journal = SQLiteJournal(tmp_path / "journal")
    yield journal
    journal.close()


def waiting(journal: SQLiteJournal) -> list[str]:
    """List what nobody drives."""
    return [summary.saga_id for summary in journal.waiting()]


# --- processes ------------------------------------------------------------------------------------


def test_a_process_keeps_its_sagas_until_it_is_killed(journal: SQLiteJournal) -> None:
    """A paused one keeps them, too; a dead one leaves them at once."""
    with worker(Path(journal.path), "begin('a'); say('begun'); told()") as process:
        assert said(process) == "begun"
        assert waiting(journal) == []
        journal.write(early := Take(seen(journal)))
        with pytest.raises(SagaInProgress):
            early.check()
        journal.write(purge := Purge(seen(journal)._replace(status=SagaStatus.COMPLETED), ""))
        with pytest.raises(SagaInProgress):
            purge.check()
        os.kill(process.pid, signal.SIGSTOP)
        assert waiting(journal) == []
        assert journal.drives(seen(journal))
        assert journal.check() == []
        process.kill()
        process.wait()

        assert waiting(journal) == ["a"]
        assert len(journal.check()) == 1
        journal.write(take := Take(seen(journal)))
        assert take.check().rows == 1


def test_of_a_file_that_may_only_be_read_nobody_can_tell_who_lives(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check says why, and nothing is offered to be gone on with."""
    with worker(Path(journal.path), "begin('a'); say('begun'); told()") as process:
        assert said(process) == "begun"
        monkeypatch.setattr("py_api_saga.journal.sqlite.shared.mounted_alone", lambda _: "alone")
        assert journal.check() == ["alone"]
    with pytest.raises(JournalError, match="alone"):
        journal.waiting()


def test_a_process_that_ends_leaves_its_sagas(journal: SQLiteJournal) -> None:
    """Its exit hook closes the file; nothing else is needed."""
    with worker(Path(journal.path), "begin('a')", measured=True) as process:
        process.wait()

    assert process.returncode == 0
    assert waiting(journal) == ["a"]


def test_whoever_was_taken_over_is_refused_when_it_wakes(journal: SQLiteJournal) -> None:
    """A paused process finds out at its next write, and has changed nothing."""
    script = """
claim = begin('a'); say('begun'); told()
try: append(claim, '[2]'); say('written')
except Exception as error: say(type(error).__name__, error, claim.over)
"""
    with worker(Path(journal.path), script) as process:
        said(process)
        os.kill(process.pid, signal.SIGSTOP)
        journal.write(take := Take(seen(journal), force=True))
        journal.write(Append(take.check(), "[3]", SagaStatus.COMPLETED))
        os.kill(process.pid, signal.SIGCONT)
        tell(process)

        answer = said(process)
    assert answer.startswith("SagaInProgress saga 'a' was taken over by another process")
    assert answer.endswith("True")
    assert bodies(journal) == ["[1]", "[3]"]


def test_one_of_many_takers_gets_a_saga(journal: SQLiteJournal) -> None:
    """Threads of this process and of another one claim at one instant."""
    script = """
for i in range(10):
    told()
    journal.write(take := Take(journal.find(f's{i}')))
    say('lost' if take.error else 'won')
"""
    with worker(Path(journal.path), script) as process:
        for i in range(10):
            journal.write(create := Create(f"s{i}", "x", "[1]", driven=False))
            create.check()
            takes = [Take(seen(journal, f"s{i}")) for _ in range(3)]
            threads = [threading.Thread(target=journal.write, args=(take,)) for take in takes]
            tell(process)
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            ours = sum(take.error is None for take in takes)
            assert ours + (said(process) == "won") == 1


def test_the_gate_says_who_is_inside(journal: SQLiteJournal) -> None:
    """A process that is paused while it writes makes all others wait; a person must find it."""
    begin(journal)
    script = "journal.find('a'); journal.shared.file.gate.enter(); say('inside'); told()"
    with worker(Path(journal.path), script) as process:
        assert said(process) == "inside"
        os.kill(process.pid, signal.SIGSTOP)
        thread = threading.Thread(target=begin, args=(journal, "b"))
        thread.start()
        thread.join(0.2)

        assert thread.is_alive()
        assert journal.gate_holder() == process.pid
        Path(journal.path + "-gate").write_text("nonsense")
        assert journal.gate_holder() == 0
        assert bodies(journal) == ["[1]"]
        process.kill()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert journal.gate_holder() is None
    assert seen(journal, "b").owner


def test_killed_processes_lose_nothing_that_they_were_told(tmp_path: Path) -> None:
    """What a process has said to be durable is there, and the rest can be recovered."""
    path = tmp_path / "journal"
    script = """
import itertools, threading
def work(k):
    for i in itertools.count():
        claim = begin(f'{sys.argv[2]}-{k}-{i}')
        append(claim, '[2]'); append(claim, '[3]', SagaStatus.COMPLETED)
        say(claim.saga_id)
for k in range(3): threading.Thread(target=work, args=(k,)).start()
"""
    told = []
    for round_ in range(3):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER + script, str(path), f"{round_}-{k}"],
                stdout=subprocess.PIPE,
                text=True,
                env=unmeasured(),
            )
            for k in range(2)
        ]
        for process in processes:
            said(process)
        time.sleep(0.1 + round_ * 0.03)
        for process in processes:
            process.kill()
        for process in processes:
            lines = process.communicate()[0].splitlines(keepends=True)
            told += [line.strip() for line in lines if line.endswith("\n")]

    journal = SQLiteJournal(path)
    open_sagas = journal.waiting()
    takes = [Take(summary) for summary in open_sagas]
    journal.write(*takes)
    for take in takes:
        assert take.check().rows in {1, 2}
    done = {summary.saga_id for summary in journal.select({SagaStatus.COMPLETED})}
    assert set(told) <= done
    assert len(done) + len(takes) == len(journal.select())
    assert journal.check() == []
    journal.close()


# --- forks ----------------------------------------------------------------------------------------


def test_a_child_can_write_nothing_under_a_claim_of_its_parent(journal: SQLiteJournal) -> None:
    """The parent goes on; the child has a number of its own and drives its own sagas."""
    claim = begin(journal)
    owner = journal.shared.desk.owner

    def child() -> str:
        append = Append(claim, "[9]", None)
        journal.write(append)
        journal.leave(claim)
        journal.write(Leave(claim))
        return f"{append.error!r} {waiting(journal)} {begin(journal, 'b').owner != owner}"

    answer = in_child(child)
    journal.write(append := Append(claim, "[2]", None))

    append.check()
    assert answer.startswith("SagaInProgress(")
    assert "before a fork" in answer
    assert answer.endswith("[] True")
    assert bodies(journal) == ["[1]", "[2]"]
    assert journal.drives(seen(journal))
    assert waiting(journal) == ["b"]
    assert journal.shared.desk.owner == owner


def test_forks_under_load(journal: SQLiteJournal) -> None:
    """Locks that other threads held stay locked nowhere, on both sides."""
    stop = threading.Event()
    done: list[int] = []

    def work(k: int) -> None:
        i = 0
        while not stop.is_set():
            i += 1
            claim = begin(journal, f"{k}-{i}")
            journal.write(append := Append(claim, "[2]", SagaStatus.COMPLETED))
            append.check()
        done.append(i)

    def child(i: int) -> str:
        claim = begin(journal, f"child-{i}")
        journal.write(append := Append(claim, "[2]", SagaStatus.COMPLETED))
        append.check()
        return "done"

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    answers = {in_child(lambda i=i: child(i)) for i in range(6)}  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)

    assert answers == {"done"}
    assert len(journal.select({SagaStatus.COMPLETED})) == 6 + sum(done)
    assert journal.check() == []


def test_a_change_of_the_parent_is_refused_in_the_child(journal: SQLiteJournal) -> None:
    """Also one that was on its way already; nothing waits for a thread that is not there."""
    claim = begin(journal)
    journal.write(change := Append(claim, "[2]", None))
    change.settled = False

    def child() -> object:
        journal.write(change)
        return change.error

    assert in_child(child).startswith("saga 'a' is not driven")
    assert bodies(journal) == ["[1]", "[2]"]


# --- journal objects ------------------------------------------------------------------------------


def test_two_journals_on_a_file_share_all(journal: SQLiteJournal, tmp_path: Path) -> None:
    """By whatever path: a saga of one is being driven for the other."""
    claim = begin(journal)
    (tmp_path / "link").symlink_to(journal.path)
    other = SQLiteJournal(tmp_path / "link")

    assert other.shared is journal.shared
    assert other.drives(seen(other))
    assert waiting(other) == []
    other.write(append := Append(claim, "[2]", None))
    append.check()


@pytest.mark.parametrize("options", [{"durability": "process"}, {"journal_mode": "delete"}])
def test_two_journals_on_a_file_agree(journal: SQLiteJournal, options: dict[str, Any]) -> None:
    """What one was promised, another one does not take back."""
    begin(journal)
    other = SQLiteJournal(journal.path, **options)

    with pytest.raises(JournalError, match="durability='power', journal_mode='wal'"):
        other.find("a")
    other.write(create := Create("b", "x", "[1]"))
    with pytest.raises(JournalError):
        create.check()
    assert create.claim.over


def test_a_file_with_two_names_is_refused(journal: SQLiteJournal, tmp_path: Path) -> None:
    """Each name would have a gate and owners of its own."""
    begin(journal)
    (tmp_path / "hard").hardlink_to(journal.path)

    with pytest.raises(JournalError, match="2 names"):
        SQLiteJournal(tmp_path / "hard").find("a")
    (tmp_path / "hard").unlink()


def test_a_closed_journal_is_opened_again(journal: SQLiteJournal) -> None:
    """A saga that is being driven stays so; without one the process gives its number back."""
    claim = begin(journal)
    owner = journal.shared.desk.owner
    journal.close()
    journal.write(append := Append(claim, "[2]", None))
    append.check()
    assert journal.shared.desk.owner == owner
    journal.leave(claim)
    shared = journal.shared
    journal.close()
    journal.close()

    assert seen(journal).owner == 0
    assert journal.shared is not shared
    assert journal.shared.desk.owner == owner + 1
    assert bodies(journal) == ["[1]", "[2]"]


def test_closing_what_was_never_opened_is_harmless(tmp_path: Path) -> None:
    """It has no number to give back."""
    journal = SQLiteJournal(tmp_path / "journal")
    shared = journal.shared
    journal.close()

    assert shared.desk.owner == 0
    assert journal.shared is not shared


def test_a_number_that_somebody_lives_under_is_not_given_again(journal: SQLiteJournal) -> None:
    """A restored backup counts owners from before."""
    with worker(Path(journal.path), "begin('a'); say('begun'); told()") as process:
        said(process)
        with closing(sqlite3.connect(journal.path)) as raw, raw:
            raw.execute("UPDATE counter SET next_owner = 1")

        assert waiting(journal) == []
        assert begin(journal, "b").owner == seen(journal).owner + 1


def test_who_may_not_write_sees_all_the_same_who_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or is told that there is nothing to see."""
    path, open_file = tmp_path / "journal", os.open

    def open_to_read(name: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied", name)
        return open_file(name, flags, mode)

    with worker(path, "begin('a')\nsay('ready')\ntold()") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with monkeypatch.context() as patch:  # not until the end: pytest removes folders by it
            patch.setattr(os, "open", open_to_read)
            owners = owners_at(f"{path}-owners")
            assert owners.alive(1)
            process.kill()
            process.wait()
            assert not owners.alive(1)
            with pytest.raises(PermissionError):
                owners_at(f"{path}-none")


def test_who_interrupts_what_opens_or_looks_is_refused_as_well(tmp_path: Path) -> None:
    """A handler is in the thread that holds these locks, too."""
    alive, memory = SQLiteJournal(tmp_path / "journal"), MemoryJournal()
    begin(alive, "a")
    for lock, use in (
        (files._lock, lambda: SQLiteJournal(tmp_path / "other").find("a")),  # noqa: SLF001 - what is struck
        (owners._lock, lambda: owners_at(f"{tmp_path}/owners")),  # noqa: SLF001 - as above
        (owners._lock, lambda: owners_at(f"{alive.path}-owners").alive(7)),  # noqa: SLF001
        (memory._lock, lambda: begin(memory, "a")),  # noqa: SLF001
    ):
        with lock:
            try:
                said = str(use())
            except JournalError as error:
                said = str(error)
        assert "in a signal handler" in said
    with files._lock:  # noqa: SLF001
        alive.close()
    assert alive.shared.file.connection is not None
    with alive.shared.queue.turn:
        (tmp_path / "journal").unlink()
        with pytest.raises(JournalError, match="in a signal handler"):
            SQLiteJournal(tmp_path / "journal").find("a")


STRIKE = """
import signal
from py_api_saga.journal.sqlite import reading
from py_api_saga.journal.sqlite.file import JournalFile
from py_api_saga.journal.sqlite.writes import RowWriter

def strike(holder, name, handle, meanwhile):
    def struck(*args):
        setattr(holder, name, staticmethod(real))
        signal.raise_signal(signal.SIGUSR1)
        return real(*args)

    signal.signal(signal.SIGUSR1, lambda *_: handle())
    real = getattr(holder, name)
    setattr(holder, name, staticmethod(struck))
    meanwhile()
"""


def test_a_signal_handler_that_forks_disturbs_neither_side(tmp_path: Path) -> None:
    """Whether it strikes within a commit or a reading; the child writes nothing of its parent's."""
    script = f"""{STRIKE}
def fork(then):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    else:
        then()

begin("a")
strike(RowWriter, "note_commit", lambda: fork(lambda: os._exit(0)), lambda: begin("b"))
look = lambda: say(journal.find("a").saga_id)
strike(reading, "_summary", lambda: fork(lambda: os._exit(0)), look)
parent = os.getpid()
try:
    strike(RowWriter, "note_commit", lambda: fork(lambda: None), lambda: begin("c"))
except Exception as error:
    say(type(error).__name__, str(error).rpartition("journal")[2])
if os.getpid() != parent:
    os._exit(0)
say(*sorted(seen.saga_id for seen in journal.select()))
"""
    with worker(tmp_path / "journal", script, measured=True) as process:
        said = process.communicate(timeout=180)[0].splitlines()

    assert said == ["a", "JournalError  is not ours any more", "a b c"]


def test_what_was_lost_before_its_commit_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the child of a fork that struck there: what it has is its parent's."""
    path = tmp_path / "journal"
    begin(journal := SQLiteJournal(path))

    shared = journal.shared

    def lose(_: object) -> None:
        shared.file.lost = True

    with monkeypatch.context() as patch:
        patch.setattr(RowWriter, "note_commit", staticmethod(lose))
        journal.write(create := Create("b", "x", "[1]"))
    with pytest.raises(JournalError, match="is not ours any more"):
        create.check()
    assert shared.file.connection is not None
    shared.file.connection.close()

    assert SQLiteJournal(path).find("b") is None


def test_a_signal_handler_that_uses_a_journal_waits_for_nobody(tmp_path: Path) -> None:
    """The thread that it would wait for is the one that it has interrupted."""
    script = f"""{STRIKE}
import asyncio

def attempt(use):
    try:
        say(use())
    except Exception as error:
        say(type(error).__name__, str(error).rpartition(": ")[2])

async def awrite():
    change = Create("async", "x", "[1]")
    await journal.awrite(change)
    change.check()

strike(JournalFile, "_new_owner", lambda: attempt(lambda: journal.find("a")), lambda: begin("a"))
for i, use in enumerate([
    lambda: begin("b"),
    lambda: asyncio.run(awrite()),
    lambda: journal.close(),
    lambda: journal.leave(claim),
]):
    claim = begin(f"before-{{i}}")
    strike(RowWriter, "note_commit", lambda: attempt(use), lambda: begin(f"during-{{i}}"))
for use in (lambda: journal.find("a"), lambda: journal.close()):
    strike(reading, "_summary", lambda: attempt(use), lambda: say(journal.find("a").saga_id))
say(*sorted(seen.saga_id for seen in journal.select()))
remove = lambda: (os.remove(sys.argv[1]), begin("b"))
strike(reading, "_summary", lambda: attempt(remove), lambda: say(journal.find("a").saga_id))
"""
    with worker(tmp_path / "journal", script, measured=True) as process:
        said = process.communicate(timeout=180)[0].splitlines()

    refused = "JournalError set a flag there, or raise SystemExit"
    assert said[:5] == [refused, refused, refused, "None", "None"]
    assert said[5:9] == [refused, "a", "None", "a"]
    assert said[9].split() == [
        "a",
        *(f"{when}-{i}" for when in ("before", "during") for i in range(4)),
    ]
    moved = f"JournalError the journal {tmp_path}/journal was moved or removed while it was in use"
    assert said[10:] == [moved, "a"]
