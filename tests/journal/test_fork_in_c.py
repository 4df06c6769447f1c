"""uWSGI forks in C: no hook of Python's runs, and what the parent has open and locked is copied."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from recorded import begin, bodies, seen
from world import output_of

from py_api_saga.journal import SQLiteJournal
from py_api_saga.status import SagaStatus

BEGIN = """
import ctypes, os, sys, threading, time
from py_api_saga import Saga
from py_api_saga.exceptions import JournalError
from py_api_saga.journal import MemoryJournal, SQLiteJournal
from py_api_saga.journal.changes import *
from py_api_saga.status import SagaStatus

fork_in_c = ctypes.PyDLL(None).fork  # keeps the GIL, as uWSGI does

def begin(saga_id, journal):
    journal.write(create := Create(saga_id, "x", "[1]"))
    return create.check()

def end(claim, journal):
    journal.write(append := Append(claim, "[2]", SagaStatus.COMPLETED))
    append.check()

def states():
    told = {}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        if task != str(os.getpid()):
            told[task] = lines["State"].split()[0], lines["voluntary_ctxt_switches"]
    return told

def settle():  # until no other thread waits for the GIL: a fork in C would copy that
    before = None
    while before != (before := states()) or any(state != "S" for state, _ in before.values()):
        time.sleep(0.02)

def in_child(action, fork=fork_in_c):
    settle()
    sys.stdout.flush()
    child = fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            print("the child ended with", status, flush=True)
        return
    status = 1
    try:
        action()
        sys.stdout.flush()
        status = 0
    except BaseException as error:
        print(repr(error), flush=True)
    finally:
        os._exit(status)

def locks():
    mine = f" {os.getpid()} "
    with open("/proc/locks") as file:
        return sum(mine in line and "POSIX" in line for line in file)

"""


def said(code: str, *arguments: object, measured: bool = False) -> list[str]:
    """Run a script, and give what it prints."""
    given = "\n".join(f"{name} = {value!r}" for name, value in zip("PQ", arguments, strict=False))
    return output_of(f"{BEGIN}\n{given}\n{code}", measured=measured)


def test_a_child_is_a_process_of_its_own_to_the_journal(tmp_path: Path) -> None:
    """It has a number of its own, and as many locks as after a fork of Python's."""
    code = """
journal = SQLiteJournal(P)
end(begin("warm", journal), journal)
journal.find("warm")
def child():
    claim = begin(f"child {os.getpid()}", journal)
    journal.find("warm")
    print(claim.owner, journal.shared.desk.owner, locks())
    end(claim, journal)
    journal.close()
in_child(child)
in_child(child, os.fork)
in_child(lambda: in_child(child))  # the one between has not used it
journal.find("warm")
print(begin("parent", journal).owner, journal.shared.desk.owner, locks(), journal.check())
"""
    assert Path("/proc/locks").exists()
    first, second, third, last = (line.split() for line in said(code, str(tmp_path / "journal")))
    assert first[:2] == ["2", "2"]
    assert second[:2] == ["3", "3"]
    assert third[:2] == ["4", "4"]
    assert first[2] == second[2] == third[2] == last[2]
    assert int(first[2]) > 2
    assert last == ["1", "1", first[2], "[]"]


def test_a_child_can_write_nothing_under_a_claim_of_its_parent(tmp_path: Path) -> None:
    """What runs in the parent goes on there, and the child's copy of it is refused."""
    code = """
journal = SQLiteJournal(P)
claim = begin("a", journal)
def child():
    journal.write(append := Append(claim, "[9]", None))
    print(type(append.error).__name__)
    journal.leave(claim)
    journal.write(Leave(claim))
    print([seen.saga_id for seen in journal.waiting()])
in_child(child)
end(claim, journal)
print("done")
"""
    lines = said(code, str(tmp_path / "journal"), measured=True)
    assert lines == ["SagaInProgress", "[]", "done"]
    with closing(SQLiteJournal(tmp_path / "journal")) as journal:
        assert bodies(journal) == ["[1]", "[2]"]


def test_a_saga_of_a_killed_child_is_recovered_while_its_parent_lives(tmp_path: Path) -> None:
    """The parent's own saga is not."""
    code = """
journal = SQLiteJournal(P)
begin("parent", journal)
in_child(lambda: (begin("child", journal), os.kill(os.getpid(), 9)))
print(sorted(seen.saga_id for seen in SQLiteJournal(P).waiting()))
"""
    lines = said(code, str(tmp_path / "journal"))
    assert lines == ["the child ended with -9", "['child']"]


def test_locks_that_threads_hold_in_the_parent_are_not_waited_for(tmp_path: Path) -> None:
    """In the child nobody would release them."""
    code = """
from py_api_saga import definition
from py_api_saga.executors import run
from py_api_saga.journal.sqlite import files, owners
journal, memory, other = SQLiteJournal(P), MemoryJournal(modules=["time"]), SQLiteJournal(Q)
begin("warm", journal)
begin("warm", memory)
begin("warm", other)
held = [files._lock, owners._lock, memory._lock, definition._naming, run._naming]
held += [other.shared.desk.lock]
ready = threading.Barrier(len(held) + 1)
def hold(lock):
    with lock:
        ready.wait()
        threading.Event().wait()
for lock in held:
    threading.Thread(target=hold, args=(lock,), daemon=True).start()
ready.wait()
def child():
    end(begin("a", journal), journal)
    end(begin("a", memory), memory)
    end(begin("a", other), other)
    Saga(journal=memory).operation(time.time).orchestrator_execute(saga_id="b")
    saga = Saga().operation(time.time).operation(time.time)
    print(len(saga.choreography_execute()))
in_child(child)
os._exit(0)
"""
    lines = said(code, str(tmp_path / "journal"), str(tmp_path / "other"))
    assert lines == ["2"]


def test_threads_of_the_parent_make_no_calls_of_the_child() -> None:
    """A choreography in the parent has left idle threads, which the child does not have."""
    code = """
saga = lambda: Saga().operation(time.time).operation(time.time)
saga().choreography_execute()
in_child(lambda: print(len(saga().choreography_execute())))
"""
    assert said(code) == ["2"]


@pytest.mark.parametrize("how", ["commit", "reading", "transaction"])
def test_a_parent_in_the_middle_of_something_is_named(tmp_path: Path, how: str) -> None:
    """SQLite may hold a lock of its own then, and a rollback would be one of the parent's."""
    code = """
from py_api_saga.journal.sqlite.writes import RowWriter
from py_api_saga.journal.sqlite import reading
journal, closed = SQLiteJournal(P), SQLiteJournal(P + "-closed")
begin("a", journal)
if Q != "commit":
    journal.find("a")
begin("a", closed)
closed.close()
inside, go, parent = threading.Event(), threading.Event(), os.getpid()
def wait():
    if os.getpid() == parent:
        inside.set()
        go.wait()
if Q == "transaction":
    journal.shared.file.connection.execute("BEGIN IMMEDIATE")
else:
    if Q == "commit":
        note = RowWriter.note_commit
        RowWriter.note_commit = staticmethod(lambda changes: (wait(), note(changes)))
        work = lambda: begin("c", journal)
    else:
        summary = reading._summary
        reading._summary = lambda *row: (wait(), summary(*row))[1]
        work = lambda: journal.find("a")
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    inside.wait()
settle()
child = fork_in_c()
if child:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    go.set()
    if Q != "transaction":
        thread.join()
    end(journal.shared.desk.running["a"], journal)
    print(journal.check())
    sys.stdout.flush()
    os._exit(0)
for use in (lambda: journal.find("a"), lambda: begin("b", journal)):
    try:
        use()
    except JournalError as error:
        print(error)
journal.close()
end(begin("fine", other := SQLiteJournal(P + "-other")), other)
end(begin("fine", closed), closed)
print("other journals are fine")
"""
    lines = said(code, str(tmp_path / "journal"), how, measured=True)
    assert len(lines) == 5
    for line in lines[:2]:
        assert "uWSGI: lazy-apps = true" in line
        assert "call journal.close() before the fork" in line
    assert lines[2:] == ["other journals are fine", "0", "[]"]


def test_a_journal_that_was_closed_before_the_fork_is_not_in_the_way(tmp_path: Path) -> None:
    """Whatever else is being done."""
    code = """
journal = SQLiteJournal(P)
begin("a", journal)
journal.close()
in_child(lambda: (begin("b", journal), print(journal.shared.desk.owner)))
"""
    assert said(code, str(tmp_path / "journal")) == ["2"]


def test_a_child_that_does_not_use_the_journal_leaves_it_alone(tmp_path: Path) -> None:
    """Also when its interpreter ends: what it has inherited is not written back."""
    code = """
journal = SQLiteJournal(P)
end(begin("a", journal), journal)
journal.find("a")
wal = os.stat(P + "-wal").st_size
settle()
child = fork_in_c()
if child:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), os.stat(P + "-wal").st_size == wal)
    end(begin("b", journal), journal)
    print(journal.check())
"""
    lines = said(code, str(tmp_path / "journal"), measured=True)
    assert lines == ["0 True", "[]"]


def test_many_children_harm_nothing(tmp_path: Path) -> None:
    """Each closes what it has inherited; its parent, and its siblings, go on in the same file."""
    code = """
journal = SQLiteJournal(P)
end(begin("warm", journal), journal)
journal.find("warm")
def child(n):
    end(begin(f"child {n}", journal), journal)
    journal.find("warm")
    if n % 3:
        journal.close()
children = []
for n in range(30):
    pid = fork_in_c()
    if not pid:
        try:
            child(n)
        finally:
            os._exit(0)
    children.append(pid)
    if n % 2:
        end(begin(f"parent {n}", journal), journal)
    while len(children) > 3:
        os.waitpid(children.pop(0), 0)
for pid in children:
    os.waitpid(pid, 0)
print(len(journal.select({SagaStatus.COMPLETED})), journal.check())
"""
    path = tmp_path / "journal"
    assert said(code, str(path)) == ["46 []"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_fork_of_pythons_in_such_a_child(tmp_path: Path) -> None:
    """A worker of uWSGI may have a pool of processes."""
    code = """
journal = SQLiteJournal(P)
begin("a", journal)
def child():
    in_child(lambda: print(begin("grandchild", journal).owner), os.fork)
    print(begin("child", journal).owner)
    in_child(lambda: print(begin("another", journal).owner), os.fork)
in_child(child)
"""
    assert said(code, str(tmp_path / "journal")) == ["2", "3", "4"]


@pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="3.13 aborts: a lock of its own was not taken before"
)
def test_pythons_hooks_may_run_in_the_child_alone(tmp_path: Path) -> None:
    """As with uWSGI's py-call-osafterfork: nothing is released that was not locked."""
    code = """
journal = SQLiteJournal(P)
begin("a", journal)
after = ctypes.pythonapi.PyOS_AfterFork_Child
in_child(lambda: (after(), print(begin("b", journal).owner)))
"""
    assert said(code, str(tmp_path / "journal")) == ["2"]


def test_a_signal_handler_that_forks_leaves_a_child_that_is_told(tmp_path: Path) -> None:
    """It has interrupted a commit, so the connection is in the middle of something."""
    code = """
import signal
from py_api_saga.journal.sqlite.writes import RowWriter
journal = SQLiteJournal(P)
begin("a", journal)
def handle(*_):
    global child
    child = os.fork()
signal.signal(signal.SIGUSR1, handle)
note, child = RowWriter.note_commit, None
def strike(changes):
    RowWriter.note_commit = staticmethod(note)
    signal.raise_signal(signal.SIGUSR1)
    note(changes)
RowWriter.note_commit = staticmethod(strike)
said = []
for saga_id in "bc":
    try:
        begin(saga_id, journal)
    except JournalError as error:
        said.append("lazy-apps" in str(error) or "is not ours any more" in str(error))
if child == 0:
    os._exit(said != [True, True])
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said, journal.check())
"""
    assert said(code, str(tmp_path / "journal")) == ["0 [] []"]
    with closing(SQLiteJournal(tmp_path / "journal")) as journal:
        assert seen(journal, "b").status is SagaStatus.RUNNING
        assert begin(journal, "d").owner > seen(journal, "b").owner
