"""A daemon closes every descriptor of a journal, and what it opens next gets their numbers."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from recorded import begin, bodies, seen
from world import in_child, script

from py_api_saga import JournalError, SagaInProgress, clock, recover
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Append
from py_api_saga.journal.sqlite import descriptors, owners
from py_api_saga.journal.sqlite.descriptors import give_back, keep_beside, open_on
from py_api_saga.status import SagaStatus

# --- a daemon -------------------------------------------------------------------------------------

OPERATIONS = """
from pathlib import Path

HERE = Path(__file__).parent

def warm():
    pass

def pack():
    with (HERE / "calls").open("a") as file:
        file.write("call\\n")
    print("packing", flush=True)
    input()
"""
# What a daemon opens next.
HELD = {
    "nothing": "[]",
    "files to write": "[open(f'stranger{i}', 'w') for i in range(12)]",
    "files to read": "[open('daemon_ops.py') for _ in range(12)]",
    "files for both": "[open(f'stranger{i}', 'w+') for i in range(12)]",
    "sockets": "[socket.socket() for _ in range(12)]",
    "pipes": "[end for _ in range(6) for end in os.pipe()]",
    "folders": "[os.open('strange', os.O_RDONLY) for _ in range(12)]",
}
CHILD = {
    "no fork": "",
    "a fork": "if os.fork(): os._exit(os.wait()[1])",
    "a fork in C": "if ctypes.PyDLL(None).fork(): os._exit(os.wait()[1])",
}
DAEMON = """
import ctypes, os, socket, sys
os.chdir({folder!r})
os.mkdir("strange")
sys.path.insert(0, {folder!r})
import daemon_ops
from py_api_saga import Saga
from py_api_saga.journal import SQLiteJournal

def run(saga_id, function):
    Saga(journal=journal).operation(function).orchestrator_execute(saga_id=saga_id)

def state(strangers):
    numbers = [one if isinstance(one, int) else one.fileno() for one in strangers]
    seen = [os.fstat(number) for number in numbers]
    return [(one.st_ino, one.st_size, one.st_mtime_ns) for one in seen]

journal = SQLiteJournal("s.db", modules=["daemon_ops"])
run("warm", daemon_ops.warm)
assert journal.find("warm").status.value == "completed"
{child}
os.closerange(3, 64)
strangers = {held}
before = state(strangers)
run("job", daemon_ops.pack)
print(state(strangers) == before, journal.check())
"""


@pytest.mark.parametrize(
    ("held", "child"),
    [
        *((held, "no fork") for held in HELD),
        *((held, "a fork in C") for held in ("nothing", "files for both", "sockets")),
        *((held, "a fork") for held in ("nothing", "files for both")),
    ],
)
def test_who_lives_stays_known_when_a_daemon_closes_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str, child: str
) -> None:
    """Another process takes nothing, the call is made once, and what others opened stays as is."""
    (tmp_path / "daemon_ops.py").write_text(OPERATIONS)
    monkeypatch.syspath_prepend(tmp_path)
    code = DAEMON.format(folder=str(tmp_path), held=HELD[held], child=CHILD[child])
    with script(code, measured=child == "a fork in C") as running:
        running.hear("packing")
        other = SQLiteJournal(tmp_path / "s.db", modules=["daemon_ops"])
        assert recover(other) == []
        assert other.drives(seen(other, "job"))
        running.say("")
        assert running.end() == ["True []"]
    assert (tmp_path / "calls").read_text() == "call\n"
    assert seen(other, "job").status is SagaStatus.COMPLETED
    other.close()


# --- some of them ---------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SQLiteJournal]:
    """Make a journal with a saga that is being driven."""
    journal = SQLiteJournal(tmp_path / "journal")
    begin(journal)
    journal.find("a")
    yield journal
    journal.close()


def numbers_of(journal: SQLiteJournal, which: str) -> list[int]:
    """Give the numbers that a journal's files have in this process."""
    own: Any = journal.shared.file
    found = {
        "gate": [own.gate._file],  # noqa: SLF001 - what is struck
        "owners": [own._owners._file],  # noqa: SLF001 - as above
    }
    for end in ("", "-wal", "-shm"):
        path = f"{journal.path}{end}"
        found[end] = [one.number for one in open_on(journal.path) if one.path == path]
    if which == "all":
        return sorted({number for numbers in found.values() for number in numbers})
    return found[which]


def close_those_of(journal: SQLiteJournal, which: str) -> None:
    """Close them as a daemon does, in a process that is alone."""
    numbers = numbers_of(journal, which)
    assert numbers
    for number in numbers:
        os.close(number)


@contextmanager
def strangers(numbers: list[int], folder: Path) -> Iterator[None]:
    """Have something else under these numbers, and see that nothing happens to it."""
    for number in numbers:
        file = os.open(folder / f"stranger{number}", os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
        os.write(number, b"of a stranger")
    before = {number: os.fstat(number) for number in numbers}
    yield
    for number in numbers:
        now = os.fstat(number)
        assert (now.st_ino, now.st_mtime_ns) == (before[number].st_ino, before[number].st_mtime_ns)
        assert os.lseek(number, 0, os.SEEK_CUR) == len("of a stranger")
        os.close(number)


@pytest.mark.parametrize("which", ["all", "gate", "owners", "", "-wal", "-shm"])
def test_a_journal_goes_on_when_others_have_its_numbers(
    journal: SQLiteJournal, tmp_path: Path, which: str
) -> None:
    """Its sagas go on, others see that it lives, and nothing happens to what has the numbers."""
    with strangers(numbers_of(journal, which), tmp_path):
        assert goes_on(journal) == "True"


@pytest.mark.parametrize("which", ["all", "gate", "owners", "", "-wal", "-shm"])
def test_a_journal_goes_on_without_its_descriptors(tmp_path: Path, which: str) -> None:
    """Its sagas go on, and others see that it lives."""

    def action() -> str:
        journal = SQLiteJournal(tmp_path / "journal")
        begin(journal)
        journal.find("a")
        close_those_of(journal, which)
        return goes_on(journal)

    assert in_child(action) == "True"  # where no thread of others takes what is free


def goes_on(journal: SQLiteJournal) -> str:
    """See that a journal is as it was, and tell whether others see that it lives."""
    owner = journal.shared.desk.owner
    journal.write(append := Append(journal.shared.desk.running["a"], "[2]", None))
    append.check()
    begin(journal, "b")
    assert bodies(journal) == ["[1]", "[2]"]
    assert journal.shared.desk.owner == owner
    assert journal.check() == []
    return in_child(lambda: journal.drives(seen(journal, "b")))


def test_a_journal_that_was_closed_lives_on_without_the_lock_of_a_daemon(
    journal: SQLiteJournal, tmp_path: Path
) -> None:
    """Its saga is still being driven, so the next of its commits takes the lock again."""
    claim = journal.shared.desk.running["a"]
    numbers = numbers_of(journal, "owners")
    journal.close()
    with strangers(numbers, tmp_path):
        journal.write(append := Append(claim, "[2]", None))
        append.check()
        assert in_child(lambda: journal.drives(seen(journal))) == "True"


def test_a_lock_that_other_code_has_dropped_is_taken_again(journal: SQLiteJournal) -> None:
    """Whoever closes a descriptor of a file drops all locks that its process has on it."""
    Path(f"{journal.path}-owners").read_bytes()
    assert in_child(lambda: journal.drives(seen(journal))) == "False"

    begin(journal, "b")

    assert in_child(lambda: journal.drives(seen(journal))) == "True"


@contextmanager
def elsewhere(journal: SQLiteJournal, owner: int, how: int) -> Iterator[Callable[[], None]]:
    """Have another process hold a number, until it is told to end."""
    Path(f"{journal.path}-owners").read_bytes()  # which drops our lock
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        file = os.open(f"{journal.path}-owners", os.O_RDWR)
        fcntl.lockf(file, how, 1, owner)
        os.write(write, b"1")
        threading.Event().wait()
    assert os.read(read, 1) == b"1"

    def end(*_: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    yield end
    end()
    os.close(read)
    os.close(write)


def test_a_number_that_somebody_else_has_meanwhile_is_given_up(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was driven under it is not driven any more."""
    monkeypatch.setattr(owners, "APART", 0.0)
    owner, claim = journal.shared.desk.owner, journal.shared.desk.running["a"]
    with elsewhere(journal, owner, fcntl.LOCK_EX):
        assert begin(journal, "b").owner == owner + 1
        journal.write(append := Append(claim, "[2]", None))
        with pytest.raises(SagaInProgress):
            append.check()


def test_whoever_probes_takes_no_number_away(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe is over in a moment."""
    owner = journal.shared.desk.owner
    with elsewhere(journal, owner, fcntl.LOCK_SH) as end:
        monkeypatch.setattr(clock, "sleep", end)
        assert begin(journal, "b").owner == owner
    assert in_child(lambda: journal.drives(seen(journal, "b"))) == "True"


# --- where the system gives no table of descriptors to a thread -----------------------------------


@pytest.fixture
def one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a system that refuses it, as containers do."""
    monkeypatch.setattr(descriptors, "_CLONE_FILES", -1)


ONE_TABLE = "descriptors._CLONE_FILES = -1"
NO_THREAD = """
import threading
def start(_):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
"""
FREE = """
import sys
sys.path[:0] = {path!r}
from recorded import begin, bodies
from test_descriptors import close_those_of
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.sqlite import descriptors
journal = SQLiteJournal({journal!r})
begin(journal)
journal.find("a")
close_those_of(journal, {which!r})
"""


@pytest.mark.parametrize(
    ("way", "which"), [(ONE_TABLE, "all"), (ONE_TABLE, "-wal"), (NO_THREAD, "all")]
)
def test_numbers_that_are_free_are_used_again(tmp_path: Path, way: str, which: str) -> None:
    """Then the journal's files get them back, for as long as it takes to close them."""
    path = str(tmp_path / "journal")
    code = FREE.format(path=sys.path, journal=path, which=which)
    # In a process of its own: in this one some thread may take a number that is free.
    with script(
        f"{code}{way}\nprint(begin(journal, 'b') and bodies(journal, 'b'))", measured=True
    ) as it:
        assert it.end() == ["['[1]']"]


@pytest.mark.usefixtures("one_table")
def test_numbers_that_others_have_are_left_to_them(journal: SQLiteJournal, tmp_path: Path) -> None:
    """The journal is not used until they are free, and the error says what to do."""
    numbers = numbers_of(journal, "")
    with strangers(numbers, tmp_path):
        with pytest.raises(JournalError, match=r"call journal\.close\(\) before you close all"):
            journal.find("a")
        with pytest.raises(JournalError, match="others have their numbers"):
            begin(journal, "b")
        with pytest.raises(JournalError, match="start this process again"):
            journal.close()
    assert bodies(journal) == ["[1]"]


def test_the_end_of_a_process_closes_nothing_that_others_have(tmp_path: Path) -> None:
    """SQLite would write the log to whatever has the number of its file."""
    code = f"""
    import os
    from py_api_saga.journal import SQLiteJournal
    from py_api_saga.journal.sqlite import descriptors
    from py_api_saga.journal.changes import Create
    descriptors._CLONE_FILES = -1
    journal = SQLiteJournal({str(tmp_path / "journal")!r})
    journal.write(create := Create("a", "x", "[1]"))
    journal.find("a")
    os.closerange(3, 64)
    strangers = [open({str(tmp_path)!r} + f"/stranger{{i}}", "w+") for i in range(12)]
    for stranger in strangers:
        stranger.write("of a stranger" * 4000)
        stranger.flush()
    """
    with script(code, measured=True) as running:
        assert running.end() == []
    for file in tmp_path.glob("stranger*"):
        assert file.read_text() == "of a stranger" * 4000
    journal = SQLiteJournal(tmp_path / "journal")
    assert bodies(journal) == ["[1]"]
    journal.close()


def test_a_journal_that_was_replaced_without_its_descriptors(
    journal: SQLiteJournal, tmp_path: Path
) -> None:
    """Nothing of the new one is touched in closing the old one."""
    numbers = numbers_of(journal, "all")
    for end in ("", "-wal", "-shm"):
        Path(journal.path + end).rename(f"{journal.path}{end}.old")
    Path(journal.path).write_bytes(b"")
    Path(f"{journal.path}-wal").write_bytes(b"new")
    with strangers(numbers, tmp_path):
        with pytest.raises(JournalError, match="was moved or removed"):
            journal.find("a")
        assert Path(f"{journal.path}-wal").read_bytes() == b"new"
        Path(f"{journal.path}-wal").unlink()
        begin(journal, "new")


def test_nothing_is_lost_where_descriptors_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may have no /proc; then the gate and the owners' file are asked alone."""
    monkeypatch.setattr(descriptors, "OPEN", str(tmp_path / "none"))
    journal = SQLiteJournal(tmp_path / "journal")
    begin(journal)
    assert open_on(journal.path) == set()
    assert bodies(journal) == ["[1]"]
    journal.close()


# --- what lies beside a journal -------------------------------------------------------------------


def make_link(path: Path) -> None:
    """Make a link to something that others need."""
    path.with_name("precious").write_text("precious")
    path.symlink_to(path.with_name("precious"))


def make_hard_link(path: Path) -> None:
    """Make another name of it."""
    path.with_name("precious").write_text("precious")
    path.hardlink_to(path.with_name("precious"))


def make_strangers(path: Path) -> None:
    """Make a file of somebody else."""
    path.touch()
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize("end", ["-gate", "-owners"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_link, "is a symbolic link: expected a regular file .* move it away"),
        (make_hard_link, r"has 2 names \(hard links\): expected"),
        (os.mkfifo, "is not a regular file: expected"),
        pytest.param(
            make_strangers,
            "belongs to user 12345, who is neither root, nor you, nor the journal's owner",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away"),
        ),
    ],
)
def test_what_is_not_ours_beside_a_journal_is_left_alone(
    tmp_path: Path, end: str, make: Any, words: str
) -> None:
    """A link leads to what somebody else needs, and nobody waits for a pipe."""
    path = tmp_path / f"journal{end}"
    make(path)
    journal = SQLiteJournal(tmp_path / "journal")
    with pytest.raises(JournalError, match=words):
        journal.find("a")
    assert journal.gate_holder() is None
    with suppress(FileNotFoundError):
        assert (tmp_path / "precious").read_text() == "precious"
    path.unlink()
    assert journal.find("a") is None
    journal.close()


def test_a_file_beside_a_journal_that_is_gone_may_be_ours(tmp_path: Path) -> None:
    """Whose it may be is asked of the journal, if there is one."""
    number = keep_beside(str(tmp_path / "x-gate"), os.O_RDWR | os.O_CREAT, str(tmp_path / "x"))
    give_back(number)
    give_back(number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
