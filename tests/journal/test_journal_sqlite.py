"""The SQLite journal: its format, its commits, and how it takes bad files, disks and signals."""

import asyncio
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from recorded import Flaky, begin, bodies, seen
from world import in_time, unmeasured

from py_api_saga.durable.recovery import recover
from py_api_saga.exceptions import JournalError, SagaInProgress
from py_api_saga.journal.changes import (
    NUMBER_OF,
    Append,
    Claim,
    Create,
    Leave,
    Purge,
    Take,
)
from py_api_saga.journal.sql import statements
from py_api_saga.journal.sql.group_commit import RetiredError
from py_api_saga.journal.sqlite import connecting, queries
from py_api_saga.journal.sqlite import file as journal_file
from py_api_saga.journal.sqlite.journal import SQLiteJournal
from py_api_saga.journal.sqlite.owners import owners_at
from py_api_saga.status import SagaStatus

DEFINED = (
    '[["defined",{"operations":[{"name":"reserve"},{"name":"charge"}]}],["started",0,"action",1,1]]'
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal will be."""
    return tmp_path / "journal"


@pytest.fixture
def journal(path: Path) -> Iterator[SQLiteJournal]:
    """Make an empty journal."""
    journal = SQLiteJournal(path)
    yield journal
    journal.close()


def query(path: Path | str, sql: str, *parameters: object) -> list[Any]:
    """Ask the file as a person would, with nothing but SQLite."""
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(sql, parameters).fetchall()


# --- the format -----------------------------------------------------------------------------------


def test_nothing_is_made_before_it_is_used(path: Path) -> None:
    """A journal may be an attribute of a class, and the command asks before it looks."""
    journal = SQLiteJournal(path)
    journal.leave(Claim("a"))
    journal.close()

    assert not journal.exists()
    assert journal.check() == [f"there is no journal {path}"]
    assert journal.gate_holder() is None
    assert list(path.parent.iterdir()) == []
    assert repr(journal) == f"SQLiteJournal({str(path)!r})"


def test_options_are_checked_at_once(path: Path) -> None:
    """Nothing weaker than that is on offer."""
    with pytest.raises(ValueError, match="'power' or 'process', got 'off'"):
        SQLiteJournal(path, durability="off")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'wal' or 'delete', got 'memory'"):
        SQLiteJournal(path, journal_mode="memory")  # type: ignore[arg-type]


def test_a_new_file_is_its_owners_only(journal: SQLiteJournal, path: Path) -> None:
    """So is what lies beside it."""
    begin(journal)

    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(files) == {"journal" + end for end in ("", "-wal", "-shm", "-gate", "-owners")}
    assert set(files.values()) == {0o600}
    assert journal.exists()


def test_the_file_says_what_it_is(journal: SQLiteJournal, path: Path) -> None:
    """`file` and a later release know it."""
    begin(journal)

    assert query(path, "PRAGMA application_id") == [(0x73616761,)]
    assert query(path, "PRAGMA user_version") == [(1,)]
    assert query(path, "SELECT status, owner, epoch, tries, due FROM saga") == [(0, 1, 1, 0, 0)]
    ((created,),) = query(path, "SELECT created FROM saga")
    assert abs(created / 1000 - time.time()) < 5
    with pytest.raises(sqlite3.IntegrityError):
        query(path, "UPDATE saga SET status = 5")


@pytest.mark.parametrize(
    ("options", "mode", "synchronous"),
    [
        ({}, "wal", 2),
        ({"durability": "process"}, "wal", 1),
        ({"journal_mode": "delete"}, "delete", 3),
        ({"journal_mode": "delete", "durability": "process"}, "delete", 1),
    ],
)
def test_durability_is_what_was_asked_for(
    path: Path, options: dict[str, Any], mode: str, synchronous: int
) -> None:
    """Without WAL, power loss needs EXTRA: FULL does not sync the folder."""
    journal = SQLiteJournal(path, **options)
    begin(journal)

    connection = journal.shared.file.connection
    assert connection is not None
    assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)
    assert connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
    journal.close()


def test_a_pragma_that_does_not_hold_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite does not complain about one; so it is read back."""
    monkeypatch.setitem(connecting.SYNCHRONOUS, ("power", "wal"), ("OFF", 2))
    with pytest.raises(JournalError, match="PRAGMA synchronous=OFF"):
        SQLiteJournal(path).find("a")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE t(x)")
        other.execute("ROLLBACK")


def test_a_mode_that_another_process_needs_is_not_taken_away(path: Path) -> None:
    """As long as it has the file open, another mode is refused."""
    journal = SQLiteJournal(path)
    journal.find("a")
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT * FROM saga").fetchall()
        journal.close()
        with pytest.raises(JournalError, match="journal_mode='delete' was refused"):
            SQLiteJournal(path, journal_mode="delete").find("a")


@pytest.mark.parametrize(("defined", "most"), [(125, 300), (1500, 1000)])
def test_a_saga_costs_little_beyond_what_it_says(path: Path, defined: int, most: int) -> None:
    """So few bytes for a summary and four rows, and no page of its own for a long definition."""
    journal, body = SQLiteJournal(path, durability="process"), "x" * 125
    for base in range(0, 2000, 500):
        ids = (f"checkout-{base + i:08}" for i in range(500))
        creates = [Create(saga_id, "checkout", "x" * defined) for saga_id in ids]
        journal.write(*creates)
        for status in (None, None, SagaStatus.COMPLETED):
            journal.write(*(Append(create.check(), body, status) for create in creates))
    journal.close()

    assert path.stat().st_size / 2000 - defined - 3 * len(body) < most


def test_statements_have_names_and_descriptions() -> None:
    """The text files are the place to read what is asked of the journal."""
    assert len(queries.QUERIES) > 20
    for file in ("queries.sql", "schema.sql"):
        text = (Path(queries.__file__).parent / file).read_text()
        for part in text.split("-- name: ")[1:]:
            assert part.splitlines()[1].startswith("-- ")
    assert statements.parse("-- name: one\n-- What it does.\nSELECT 1;\n") == {"one": "SELECT 1"}


# --- what a person sees ---------------------------------------------------------------------------


def test_a_person_sees_what_needs_attention(journal: SQLiteJournal, path: Path) -> None:
    """What is stuck, what recovery tries in vain, and nothing else."""
    for saga_id in ("fine", "done", "stuck", "tried"):
        begin(journal, saga_id)
    for saga_id, status in (("done", SagaStatus.COMPLETED), ("stuck", SagaStatus.STUCK)):
        claim = journal.shared.desk.running[saga_id]
        journal.write(Append(claim, f'["{saga_id}"]', status))
    journal.leave(journal.shared.desk.running["tried"])
    journal.write(Take(seen(journal, "tried"), counted=True, delay=9.0))

    rows = query(path, "SELECT saga_id, name, status, tries, last, since FROM needs_attention")
    assert [row[:5] for row in rows] == [
        ("stuck", "x", "stuck", 0, '["stuck"]'),
        ("tried", "x", "running", 1, "[1]"),
    ]
    assert rows[0][5] == time.strftime(
        "%Y-%m-%dT%H:%M:%SZ", time.gmtime(seen(journal, "stuck").changed)
    )


def test_a_person_reads_the_timeline(journal: SQLiteJournal, path: Path) -> None:
    """Line by line, with the names of the operations."""
    claim = begin(journal, body=DEFINED)
    body = (
        '[["failed",0,"action",1,1,["ValueError","no"]],'
        '["abort",-1,"",0,0,"late"],["parked",{"reason":"x"}]]'
    )
    journal.write(Append(claim, body, SagaStatus.STUCK))

    rows = query(path, "SELECT * FROM timeline")
    assert [(row[0], row[1], *row[3:]) for row in rows] == [
        ("a", 1, "defined", None, None, None, None, None, None),
        ("a", 1, "started", 0, "reserve", "action", 1, 1, None),
        ("a", 2, "failed", 0, "reserve", "action", 1, 1, '["ValueError","no"]'),
        ("a", 2, "abort", None, None, "", 0, 0, "late"),
        ("a", 2, "parked", None, None, None, None, None, '{"reason":"x"}'),
    ]
    assert rows[0][2].startswith(time.strftime("%Y-%m-%dT%H:", time.gmtime(claim_time(journal))))


def claim_time(journal: SQLiteJournal) -> float:
    """Tell when the saga began."""
    return seen(journal).created


@pytest.mark.parametrize(
    "body",
    [
        "", "nonsense", "7", '"text"', "null", '{"a": 1}', '["text", 7, null, {}]', "[[]]", "[[7]]",
        '[["x", "y"]]', "[[[1], [2]]]", '[["x", 99]]', '[["x", 1e99]]', "[]", "[[1,2",
    ],
)  # fmt: skip
def test_the_timeline_survives_what_it_does_not_understand(
    journal: SQLiteJournal, path: Path, body: str
) -> None:
    """One strange row hides nothing of the others."""
    begin(journal, body=body)
    journal.write(Append(journal.shared.desk.running["a"], '[["started",0,"action",1,1]]', None))
    begin(journal, "b", DEFINED)

    rows = query(path, "SELECT saga_id, n, what, name FROM timeline")
    assert rows[-3:] == [
        ("a", 2, "started", None),
        ("b", 1, "defined", None),
        ("b", 1, "started", "reserve"),
    ]
    assert query(path, "SELECT count(*) FROM needs_attention") == [(0,)]


def test_bytes_that_are_no_text_harm_one_row(journal: SQLiteJournal, path: Path) -> None:
    """A file that somebody has edited is input like any other."""
    first, second = begin(journal), begin(journal, "b")
    query(path, "UPDATE entry SET body = CAST(x'225bff5d22' AS TEXT) WHERE saga = 1")

    rows = journal.rows([first.number, second.number])

    assert [row.body for row in rows[first.number]] == ['"[\\xff]"']  # which is not JSON
    assert [row.body for row in rows[second.number]] == ["[1]"]


def test_a_file_that_is_damaged_later_is_an_error(journal: SQLiteJournal, path: Path) -> None:
    """Reading says so in the words of the journal."""
    begin(journal)
    query(path, "DROP TABLE entry")
    with pytest.raises(JournalError, match="cannot be read: no such table: entry"):
        bodies(journal)
    journal.write(append := Append(journal.shared.desk.running["a"], "[2]", None))
    with pytest.raises(JournalError, match="cannot be written: no such table"):
        append.check()


# --- files that are not a journal -----------------------------------------------------------------


def make_garbage(path: Path) -> None:
    """Make something else."""
    path.write_bytes(b"not a database, but long enough to be looked at" * 99)


def make_zeroed(path: Path) -> None:
    """Make what a broken disk makes of a file."""
    path.write_bytes(bytes(8192))


def make_truncated(path: Path) -> None:
    """Make a journal that has lost its end."""
    journal = SQLiteJournal(path, journal_mode="delete")
    for i in range(40):
        begin(journal, f"{i}", "x" * 999)
        journal.leave(journal.shared.desk.running[f"{i}"])
    journal.close()
    path.write_bytes(path.read_bytes()[:8192])


def make_foreign(path: Path) -> None:
    """Make the database of another program."""
    query(path, "CREATE TABLE t(x)")


def make_newer(path: Path) -> None:
    """Make a journal of a release to come."""
    query(path, "PRAGMA application_id = 0x73616761")
    query(path, "PRAGMA user_version = 2")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_garbage, "restore it from a backup, or give another path"),
        (make_zeroed, "restore it from a backup"),
        (make_truncated, "restore it from a backup"),
        (make_foreign, "another program .* give the journal a file of its own"),
        (make_newer, "has format 2, .* install the release that wrote it"),
        (Path.mkdir, "is a directory: give the path of a file"),
        (os.mkfifo, "is not a file, but a device or a pipe: give the path of a file"),
    ],
)
def test_what_is_no_journal_is_left_alone(
    path: Path, make: Callable[[Path], None], words: str
) -> None:
    """The error says what to do, and the file is as it was."""
    make(path)
    before = path.is_file() and path.read_bytes()
    journal = SQLiteJournal(path)

    with pytest.raises(JournalError, match=words):
        journal.find("a")
    journal.write(create := Create("a", "x", "[1]"))
    with pytest.raises(JournalError, match=words):
        create.check()
    asyncio.run(journal.awrite(create := Create("b", "x", "[1]")))
    with pytest.raises(JournalError, match=words):
        create.check()
    assert len(journal.check()) == 1
    assert (path.is_file() and path.read_bytes()) == before


def test_changes_of_a_journal_that_cannot_be_opened_are_settled(path: Path) -> None:
    """What was settled before stays as it was, and a saga that is being driven stays so."""
    path.mkdir()
    done, append, create = (
        Create("a", "x", "[1]"),
        Append(Claim("b"), "[2]", None),
        Create("c", "x", "[1]"),
    )
    done.settled = True
    SQLiteJournal(path).write(done, append, create)

    assert done.error is None
    assert isinstance(append.error, JournalError)
    assert (append.claim.over, create.claim.over) == (False, True)


def test_a_gate_that_cannot_be_opened_is_an_error(path: Path) -> None:
    """Nothing is read or written without it, at first."""
    path.with_name("journal-gate").mkdir()
    journal = SQLiteJournal(path)
    with pytest.raises(JournalError, match="Is a directory"):
        journal.find("a")
    journal.write(create := Create("a", "x", "[1]"))
    with pytest.raises(JournalError, match="Is a directory"):
        create.check()


def test_a_file_that_another_program_holds_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, and with a word about who might."""
    monkeypatch.setattr(connecting, "BUSY", 0.01)
    journal = SQLiteJournal(path, journal_mode="delete")
    journal.find("a")
    journal.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        journal.write(create := Create("a", "x", "[1]"))
    with pytest.raises(JournalError, match="locked; another program holds it"):
        create.check()


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A misspelt path is an error."""
    with pytest.raises(JournalError, match=r"No such file or directory.*; make the folder"):
        SQLiteJournal(tmp_path / "no" / "journal").find("a")


@pytest.mark.parametrize("path", [":memory:", "sagas\0.db", b":memory:"])
def test_a_path_of_no_file_is_refused_at_once(path: Any) -> None:
    """SQLite takes the first for none; we would make a file of that name."""
    with pytest.raises(ValueError, match=r"that of a file, .* in memory is MemoryJournal"):
        SQLiteJournal(path)


def test_network_file_systems_are_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks are not what they seem there; who knows better says so."""
    mounts = tmp_path / "mounts"
    folder = str(tmp_path.resolve()).replace(" ", "\\040")
    mounts.write_text(
        f"dev / ext4 rw 0 0\nhost:/x {folder} nfs4 rw 0 0\nnone {folder}/jour tmpfs rw 0 0\n"
    )
    monkeypatch.setattr(connecting, "MOUNTS", mounts)
    with pytest.raises(JournalError, match=r"network file system \(nfs4\)"):
        SQLiteJournal(path).find("a")
    assert not path.exists()
    journal = SQLiteJournal(path, network=True)
    assert journal.find("a") is None
    journal.close()
    monkeypatch.setattr(connecting, "MOUNTS", tmp_path / "none")
    assert connecting.filesystem("/") == ""


def test_a_journal_that_may_not_be_written_says_so() -> None:
    """Whether it is the file or the folder; as somebody who is not root."""
    script = """
import os, sys
from py_api_saga.journal.changes import *
from py_api_saga.journal.sqlite.journal import SQLiteJournal
folder = sys.argv[1]
if os.getuid() == 0: os.setuid(65534)
for name in ("file/journal", "folder/journal", "folder/new"):
    journal = SQLiteJournal(f"{folder}/{name}")
    journal.write(create := Create("a", "x", "[1]"))
    print(type(create.error).__name__, create.error)
    journal.close()
"""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for sub in ("file", "folder"):
            (folder / sub).mkdir()
            journal = SQLiteJournal(folder / sub / "journal")
            journal.find("a")
            journal.close()
            for file in (folder / sub).iterdir():
                file.chmod(0o666)
        (folder / "file").chmod(0o777)
        (folder / "file" / "journal").chmod(0o444)
        (folder / "folder").chmod(0o555)
        output = subprocess.run(
            [sys.executable, "-c", script, name],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
            env=unmeasured(),
        ).stdout.splitlines()
        (folder / "folder").chmod(0o755)

    assert len(output) == 3
    assert all(line.startswith("JournalError the journal ") for line in output), output
    assert all(line.endswith("writable for whoever runs sagas") for line in output), output


def test_a_file_that_is_replaced_is_noticed(path: Path, journal: SQLiteJournal) -> None:
    """Writing to a file that nobody can find any more would lose all of it."""
    claim = begin(journal)
    for file in path.parent.iterdir():
        if file.name != "journal-owners":
            file.unlink()
    (path.parent / "keep").write_text("so that the inode is not used again")
    journal.write(append := Append(claim, "[2]", None))
    with pytest.raises(JournalError, match="moved or removed"):
        append.check()
    begin(journal, "b")
    assert journal.find("a") is None
    assert bodies(journal, "b") == ["[1]"]


@pytest.mark.parametrize(
    "look",
    [
        lambda journal: journal.find("a"),
        lambda journal: journal.rows([1]),
        lambda journal: journal.waiting(),
        lambda journal: journal.select(),
        recover,
    ],
)
def test_who_reads_a_file_that_is_replaced_is_told_once(
    path: Path, journal: SQLiteJournal, look: Callable[[SQLiteJournal], Any]
) -> None:
    """A worker that never writes would find nothing for ever; the next look is at the new file."""
    begin(journal)
    journal.close()
    with path.open("rb"):  # else the next file may get its inode, and is the same then
        for file in path.parent.iterdir():
            file.unlink()
        begin(SQLiteJournal(path), "b")

        told = [f"the journal {path} was moved or removed while it was in use"]
        assert journal.check() == told
        assert [seen.saga_id for seen in journal.select()] == ["b"]

        path.unlink()
        with pytest.raises(JournalError, match="moved or removed"):
            look(journal)


def test_a_file_that_is_replaced_while_it_is_closed_is_another_one(
    path: Path, journal: SQLiteJournal
) -> None:
    """Even if it has the same inode: what was driven in the old one is not driven any more."""
    claim = begin(journal)
    journal.close()
    path.write_bytes(b"")
    begin(journal, "b")
    journal.write(create := Create("a", "x", "[new]"), append := Append(claim, "[2]", None))

    create.check()
    with pytest.raises(SagaInProgress):
        append.check()
    assert claim.over
    assert bodies(journal) == ["[new]"]


def test_a_close_that_waits_at_its_gate_holds_up_no_other_journal(
    path: Path, journal: SQLiteJournal, tmp_path: Path
) -> None:
    """Whoever is inside may take its time; other files are opened meanwhile."""
    begin(journal).over = True
    other = SQLiteJournal(tmp_path / "other")
    closing_it = threading.Thread(target=journal.close)
    with path.with_name("journal-gate").open() as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        closing_it.start()
        while journal.shared.queue.turn.acquire(timeout=0.001):  # until it waits with the turn
            journal.shared.queue.turn.release()
        in_time(lambda: begin(other), 3)
        assert closing_it.is_alive()
    closing_it.join()
    other.close()


def test_a_file_that_is_moved_while_in_use_is_refused(
    path: Path, journal: SQLiteJournal, tmp_path: Path
) -> None:
    """What belongs to it is under its old name; closed, it may be moved."""
    begin(journal)
    path.rename(tmp_path / "moved")
    moved = SQLiteJournal(tmp_path / "moved")
    with pytest.raises(JournalError, match="while it was in use"):
        moved.find("a")
    (tmp_path / "moved").rename(path)
    journal.write(append := Append(journal.shared.desk.running["a"], "[2]", None))
    append.check()
    journal.close()
    path.rename(tmp_path / "moved")
    assert bodies(moved) == ["[1]", "[2]"]
    moved.close()


# --- commits --------------------------------------------------------------------------------------


def test_changes_that_wait_share_a_commit(journal: SQLiteJournal) -> None:
    """Those of one call, those of the tasks of one turn, and those that come while one runs."""
    creates = [Create(f"s{i}", "x", "[1]") for i in range(64)]
    journal.find("a")
    before = journal.shared.file.count
    journal.write(*creates)
    assert journal.shared.file.count == before + 1

    async def main() -> None:
        await asyncio.gather(
            *(journal.awrite(Append(create.check(), "[2]", None)) for create in creates)
        )

    asyncio.run(main())
    assert journal.shared.file.count == before + 2

    with journal.shared.queue.turn:  # as if a commit ran
        threads = [
            threading.Thread(target=journal.write, args=(Append(create.check(), "[3]", None),))
            for create in creates
        ]
        for thread in threads:
            thread.start()
        while len(journal.shared.queue.batch.changes) < 64:
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert journal.shared.file.count == before + 3
    assert bodies(journal, "s63") == ["[1]", "[2]", "[3]"]


def test_a_chain_costs_a_commit_for_each_row(journal: SQLiteJournal) -> None:
    """Nothing else is written meanwhile."""
    journal.find("a")
    before = journal.shared.file.count
    claim = begin(journal)
    for status in (None, None, SagaStatus.COMPLETED):
        journal.write(Append(claim, "[2]", status))
    assert journal.shared.file.count == before + 4


def test_claims_are_written_together_too(path: Path) -> None:
    """As many as are given at once, in one commit."""
    journal = SQLiteJournal(path, durability="process")
    journal.write(*(Create(f"s{i}", "x", "[1]", driven=False) for i in range(2_000)))
    waiting = journal.waiting()
    before = journal.shared.file.count
    for base in range(0, 2_000, 125):
        journal.write(*(Take(summary, counted=True) for summary in waiting[base : base + 125]))
    assert journal.shared.file.count == before + 16
    assert len(journal.shared.desk.running) == 2_000
    for claim in list(journal.shared.desk.running.values()):
        journal.leave(claim)
    journal.close()
    assert query(path, "SELECT count(*) FROM saga WHERE owner = 0") == [(2_000,)]


@pytest.mark.parametrize("bad", ["fenced", "unwritable"])
def test_the_error_of_one_saga_reaches_no_other(
    journal: SQLiteJournal, path: Path, bad: str
) -> None:
    """One among 64 that share a commit is refused; the rest is written."""
    creates = [Create(f"s{i}", "x", "[1]") for i in range(64)]
    journal.write(*creates)
    if bad == "fenced":
        query(path, "UPDATE saga SET epoch = 2 WHERE saga_id = 's17'")
    appends = [
        Append(
            create.check(),
            "\ud800" if (bad, i) == ("unwritable", 17) else "[2]",
            SagaStatus.COMPENSATING,
        )
        for i, create in enumerate(creates)
    ]
    appends.append(Create("new", "x", "[1]"))  # type: ignore[arg-type]
    journal.write(*appends)

    assert [i for i, append in enumerate(appends) if append.error is not None] == [17]
    with pytest.raises(SagaInProgress if bad == "fenced" else JournalError, match="'s17'"):
        appends[17].check()
    assert creates[17].claim.over is (bad == "fenced")
    assert query(path, "SELECT count(*) FROM entry") == [(64 + 63 + 1,)]
    assert len(journal.select({SagaStatus.COMPENSATING})) == 63


def test_a_body_is_written_whatever_its_bind_values(journal: SQLiteJournal) -> None:
    """An id that SQLite cannot take is an error of that saga."""
    journal.write(bad := Create("\ud800", "x", "[1]"), good := Create("b", "x", "[1]"))
    good.check()
    with pytest.raises(JournalError, match="could not be written"):
        bad.check()
    assert "\ud800" not in journal.shared.desk.running


def test_changes_that_fail_together_have_errors_of_their_own(journal: SQLiteJournal) -> None:
    """Whoever gets one may add to it what is said of its saga alone; the cause is the same."""
    begin(journal)
    Flaky(journal, after=False, times=99)
    creates = [Create(saga_id, "x", "[1]") for saga_id in ("b", "c")]
    journal.write(*creates)

    assert_each_its_own(creates)


def test_changes_that_cannot_be_written_anywhere_have_errors_of_their_own(path: Path) -> None:
    """The same, if there is no journal to write them to, or no longer."""
    creates = [Create(saga_id, "x", "[1]") for saga_id in ("b", "c")]
    with closing(SQLiteJournal(path)) as journal:
        begin(journal)
        path.unlink()
        journal.write(*creates)
    assert_each_its_own(creates)

    other = path.with_name("no-journal")
    other.write_bytes(b"no database" * 1000)
    creates = [Create(saga_id, "x", "[1]") for saga_id in ("b", "c")]
    with closing(SQLiteJournal(other)) as journal:
        journal.write(*creates)
    assert_each_its_own(creates)


def assert_each_its_own(creates: list[Create]) -> None:
    """See that no two changes share an error, though they share its cause."""
    errors: list[Any] = [create.error for create in creates]
    assert all(isinstance(error, JournalError) for error in errors)
    assert len({id(error) for error in errors}) == len(errors)
    assert len({id(error.__cause__) for error in errors}) == 1


def test_the_number_of_a_forgotten_saga_is_that_of_no_other(path: Path) -> None:
    """Whoever still holds its number cannot take another saga for it, in whichever process."""
    with closing(SQLiteJournal(path)) as journal:
        forgotten = begin(journal)
        journal.write(Append(forgotten, "[2]", SagaStatus.COMPLETED))
        journal.write(purge := Purge(seen(journal), "", forget=True))
        purge.check()

    with closing(SQLiteJournal(path)) as journal:
        assert begin(journal).number > forgotten.number


@pytest.mark.parametrize("after", [False, True])
def test_a_commit_that_seems_to_fail_is_looked_for(journal: SQLiteJournal, *, after: bool) -> None:
    """It is tried again, and whatever is there already counts as written."""
    claims = {i: begin(journal, i) for i in "abcdef"}
    for i in "de":
        journal.write(Append(claims[i], "[2]", SagaStatus.COMPLETED))
    journal.leave(claims["c"])
    changes = [
        Append(claims["a"], "[2]", None),
        Append(claims["b"], "[2]", SagaStatus.COMPENSATED, rested=True),
        Take(seen(journal, "c")),
        Purge(seen(journal, "d"), "digest"),
        Purge(seen(journal, "e"), "digest", forget=True),
        Create("g", "x", "[1]"),
        Leave(claims["f"]),
    ]
    Flaky(journal, after=after)
    journal.write(*changes)

    for change in changes:
        change.check()
    assert {i: len(bodies(journal, i)) for i in "abcdfg"} == dict(
        zip("abcdfg", (2, 2, 1, 0, 1, 1), strict=True)
    )
    assert seen(journal, "b").status is SagaStatus.COMPENSATED
    assert (seen(journal, "c").epoch, claims["b"].over) == (2, True)
    assert (journal.find("e"), seen(journal, "f").owner) == (None, 0)
    journal.write(
        last := Append(changes[2].claim, "[2]", None), more := Append(claims["a"], "[3]", None)
    )
    last.check()
    more.check()
    assert bodies(journal) == ["[1]", "[2]", "[3]"]


@pytest.mark.parametrize("after", [False, True])
def test_a_disk_that_does_not_recover_is_an_error(journal: SQLiteJournal, *, after: bool) -> None:
    """Nobody waits for ever, and whatever is on disk all the same is nobody's soon."""
    claim = begin(journal)
    begin(journal, "left")
    journal.leave(journal.shared.desk.running["left"])
    create, append, take = (
        Create("b", "x", "[1]"),
        Append(claim, "[2]", None),
        Take(seen(journal, "left")),
    )
    flaky = Flaky(journal, after=after, times=journal_file.TRIES)
    journal.write(create, append, take)
    for change in (create, append, take):
        with pytest.raises(JournalError, match="disk I/O error"):
            change.check()
    assert (create.claim.over, take.claim.over, claim.over) == (True, True, False)
    journal.write(last := Append(claim, "[3]", None))

    last.check()
    assert flaky.times == 0
    assert bodies(journal) == ["[1]", "[2]", "[3]"] if after else ["[1]", "[3]"]
    assert seen(journal, "left").owner == 0
    found = journal.find("b")
    assert (found is not None) == after
    assert found is None or found.owner == 0


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    """What was told to be durable is there, and with room the journal goes on."""
    script = """
import resource, sys
from py_api_saga.journal.changes import *
from py_api_saga.journal.sqlite.journal import SQLiteJournal
from py_api_saga.durable.recovery import recover
from py_api_saga.status import SagaStatus
journal = SQLiteJournal(sys.argv[1]); size = int(sys.argv[2])
journal.find("a")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
done = []
for i in range(3000):
    journal.write(create := Create(f"s{i}", "x", "y" * 20000))
    if create.error is None:
        journal.write(append := Append(create.claim, "[2]", SagaStatus.COMPLETED))
    if create.error or append.error: break
    done.append(f"s{i}")
print(type(create.error or append.error).__name__, create.error or append.error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
journal.write(create := Create("later", "x", "[1]")); create.check()
print(set(done) <= {s.saga_id for s in journal.select({SagaStatus.COMPLETED})}, len(done) > 0)
print(journal.check(), len([s for s in journal.waiting()]) <= 1)
"""
    for size in (140_000, 4_400_000):
        output = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / f"journal-{size}"), str(size)],
            capture_output=True,
            text=True,
            check=True,
            env=unmeasured(),
        ).stdout.splitlines()
        assert output[0].startswith("JournalError the journal"), output
        assert "disk" in output[0]
        assert output[1:] == ["True True", "[] True"]


def test_a_big_wal_is_begun_anew(
    journal: SQLiteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once no reader holds it any more; one that does costs a moment, not each commit."""
    monkeypatch.setattr(journal_file, "EACH", 1)
    begin(journal)
    journal.shared.file.big_wal = 100_000
    monkeypatch.setattr(journal_file, "BIG_WAL", 100_000)
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM saga").fetchall()
        claim = begin(journal, "b", "x" * 200_000)
        wal = path.with_name("journal-wal")
        assert wal.stat().st_size > 200_000
        journal.write(Append(claim, "[2]", None))
    journal.shared.file.big_wal = 100_000
    journal.write(Append(claim, "[3]", None))

    assert wal.stat().st_size < 100_000
    connection = journal.shared.file.connection
    assert connection is not None
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (5000,)


def test_without_a_wal_nothing_is_begun_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to look at."""
    monkeypatch.setattr(journal_file, "EACH", 1)
    journal = SQLiteJournal(path, journal_mode="delete", durability="process")
    begin(journal, body="x" * 100_000)
    assert not path.with_name("journal-wal").exists()
    journal.leave(journal.shared.desk.running["a"])
    journal.close()


@pytest.mark.parametrize("sql", ["INSERT INTO entry", "SAVEPOINT"])
def test_a_disk_that_fails_in_the_middle_of_a_batch_concerns_all(
    journal: SQLiteJournal, sql: str
) -> None:
    """It is not an error of the saga at which it struck: the batch is tried again."""
    claim = begin(journal)
    real: Any = journal.shared.file.connection

    class Struck:
        def __init__(self) -> None:
            self.sql = sql

        def _strike(self, statement: str) -> None:
            if self.sql and statement.startswith(self.sql):
                self.sql = ""
                message = "disk I/O error"
                raise sqlite3.OperationalError(message)

        def execute(self, statement: str, *parameters: Any) -> Any:
            if statement.startswith("INSERT"):
                self._strike("SAVEPOINT")  # as if it were in one
            return real.execute(statement, *parameters)

        def executemany(self, statement: str, *parameters: Any) -> Any:
            self._strike(statement)
            if self.sql == "SAVEPOINT":
                message = "so they are written one by one"
                raise sqlite3.IntegrityError(message)
            return real.executemany(statement, *parameters)

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    journal.shared.file.connection = Struck()  # type: ignore[assignment]
    append, create = Append(claim, "[2]", None), Create("b", "x", "[1]")
    journal.write(append, create)

    append.check()
    create.check()
    assert bodies(journal) == ["[1]", "[2]"]


def test_a_row_of_whoever_took_over_is_not_ours(journal: SQLiteJournal, path: Path) -> None:
    """Even if it has the number and the text of the one that is refused."""
    claim = begin(journal)
    query(path, "UPDATE saga SET epoch = 2")
    query(path, "INSERT INTO entry VALUES(1, 2, 0, '[2]')")
    journal.write(append := Append(claim, "[2]", None))

    with pytest.raises(SagaInProgress, match="taken over"):
        append.check()
    assert claim.over


def test_a_queue_that_was_retired_is_replaced(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread may come with its change just when another one closes the journal."""
    journal.find("a")
    queue = journal.shared.queue
    journal.close()
    with pytest.raises(RetiredError):
        queue.write([Create("a", "x", "[1]")])

    def once(name: str) -> None:
        shared = journal.shared

        def put(*_: object) -> None:
            shared.close()
            monkeypatch.undo()
            raise RetiredError

        monkeypatch.setattr(shared.queue, name, put)

    journal.find("a")
    once("write")
    journal.write(first := Create("a", "x", "[1]"))
    journal.leave(first.check())
    journal.close()
    journal.find("a")
    once("submit")
    asyncio.run(journal.awrite(second := Create("b", "x", "[1]")))
    second.check()


def test_a_claim_by_force_of_what_is_left_meanwhile(journal: SQLiteJournal) -> None:
    """In the same commit, in either order."""
    claim = begin(journal)
    take = Take(seen(journal), force=True)
    journal.write(take, Leave(claim))
    again = Take(seen(journal), force=True)
    journal.write(Leave(take.check()), again)

    assert again.check().epoch == 3
    assert journal.drives(seen(journal))


# --- interrupts -----------------------------------------------------------------------------------


class Interrupt(BaseException):
    """What a signal handler raises."""


def test_a_leader_that_is_interrupted_finishes_first(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it strikes: before the transaction, in its middle, or after the commit."""
    begin(journal)
    real: Any = journal.shared.file.connection

    class Struck:
        def __init__(self, sql: str) -> None:
            self.sql = sql

        def execute(self, sql: str, *parameters: Any) -> Any:
            result = real.execute(sql, *parameters)
            if sql == self.sql:
                self.sql = ""
                raise Interrupt
            return result

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    for n, sql in enumerate(["BEGIN IMMEDIATE", "COMMIT"]):
        monkeypatch.setattr(journal.shared.file, "connection", Struck(sql))
        append = Append(journal.shared.desk.running["a"], f"[{n}]", None)
        with pytest.raises(Interrupt):
            journal.write(append)
        append.check()
    assert bodies(journal) == ["[1]", "[0]", "[1]"]


def test_a_second_interrupt_hands_over(journal: SQLiteJournal) -> None:
    """The thread is free at once; what is not written yet is, all the same, by a thread of ours."""
    claim = begin(journal)
    journal.write(before := Append(claim, "[0]", None))
    real = journal.shared.file.gate.enter
    strikes = [Interrupt, Interrupt]

    def enter() -> bool:
        if strikes:
            raise strikes.pop()
        return real()

    journal.shared.file.gate.enter = enter  # type: ignore[method-assign]
    append = Append(claim, "[2]", None)
    with pytest.raises(Interrupt):
        journal.write(before, append)
    journal.write(append)

    append.check()
    assert bodies(journal) == ["[1]", "[0]", "[2]"]


def test_a_start_that_is_interrupted_twice_is_owned_by_nobody(journal: SQLiteJournal) -> None:
    """Whoever is interrupted leaves; then the saga was never begun, or waits to be recovered."""
    begin(journal, "other")
    real = journal.shared.file.gate.enter
    strikes = [Interrupt, Interrupt]

    def enter() -> bool:
        if strikes:
            raise strikes.pop()
        time.sleep(0.05)
        return real()

    journal.shared.file.gate.enter = enter  # type: ignore[method-assign]
    create = Create("a", "x", "[1]")
    with pytest.raises(Interrupt):
        journal.write(create)
    journal.leave(create.claim)
    journal.write(create)

    assert journal.find("a") is None
    assert "a" not in journal.shared.desk.running
    with pytest.raises(SagaInProgress, match="left before"):
        create.check()


def test_a_start_that_was_written_after_all_is_left(journal: SQLiteJournal) -> None:
    """It was on its way to the disk when its caller left."""
    begin(journal, "other")
    real: Any = journal.shared.file.connection
    create = Create("a", "x", "[1]")

    class Leaving:
        def execute(self, sql: str, *parameters: Any) -> Any:
            if sql == "COMMIT":
                journal.shared.file.connection = real
                journal.leave(create.claim)
            return real.execute(sql, *parameters)

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    journal.shared.file.connection = Leaving()  # type: ignore[assignment]
    journal.write(create)
    begin(journal, "more")

    assert create.claim.over
    assert seen(journal).owner == 0
    assert [summary.saga_id for summary in journal.waiting()] == ["a"]


def test_followers_lead_if_nobody_does(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that is gone keeps nobody waiting for long."""
    monkeypatch.setattr("py_api_saga.journal.sql.group_commit.ROLL_CALL", 0.05)
    begin(journal)
    gone, here = Create("b", "x", "[1]"), Create("c", "x", "[1]")
    with journal.shared.desk.lock:
        journal.shared.queue.put(gone)  # and then its thread was gone
    journal.write(here)

    assert gone.check().rows == here.check().rows == 1


def test_a_loop_that_is_gone_takes_nobody_with_it(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may end between a write and its call for the thread that leads."""
    begin(journal)

    async def leave_early() -> None:
        loop = asyncio.get_running_loop()
        real = loop.call_soon

        def call_soon(callback: Callable[..., None], *arguments: Any, **options: Any) -> Any:
            if callback == journal.shared.queue.wake_thread:
                return None
            return real(callback, *arguments, **options)

        monkeypatch.setattr(loop, "call_soon", call_soon)
        task = asyncio.create_task(journal.awrite(gone))
        await asyncio.sleep(0)
        assert not task.done()

    gone, here = Create("b", "x", "[1]"), Create("c", "x", "[1]")
    asyncio.run(leave_early())
    asyncio.run(journal.awrite(here))

    assert gone.check().rows == here.check().rows == 1


def test_the_thread_of_ours_ends_when_nothing_comes(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And there is none for threads."""

    def ours() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "py-api-saga-journal"]

    monkeypatch.setattr("py_api_saga.journal.sql.group_commit.LINGER", 0.01)
    before = ours()  # another journal's may linger
    begin(journal)
    assert set(ours()) <= set(before)
    asyncio.run(journal.awrite(Create("b", "x", "[1]")))
    deadline = time.monotonic() + 60
    while ours() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ours() == []


def test_the_thread_of_ours_stays_while_somebody_waits(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the commit before takes."""
    monkeypatch.setattr("py_api_saga.journal.sql.group_commit.LINGER", 0.1)
    begin(journal)
    create = Create("b", "x", "[1]")
    thread = threading.Thread(target=journal.write, args=(create,))
    with journal.shared.queue.turn:
        journal.shared.queue.wake_thread()
        thread.start()
        time.sleep(0.2)
    thread.join()
    create.check()


def test_without_a_thread_the_loop_writes_itself(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be no thread to be had, as at the end of the interpreter."""

    def start(_: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", start)
    asyncio.run(journal.awrite(create := Create("b", "x", "[1]")))
    create.check()


def test_signals_under_load(tmp_path: Path) -> None:
    """Nothing hangs, nothing that was told is lost, and nobody is refused for no reason."""
    script = """
import os, random, signal, sys, threading, time
from py_api_saga.exceptions import SagaInProgress
from py_api_saga.journal.changes import *
from py_api_saga.journal.sqlite.journal import SQLiteJournal
from py_api_saga.durable.recovery import recover
from py_api_saga.status import SagaStatus
journal = SQLiteJournal(sys.argv[1]); journal.find("a")
stop, told, wrong = [], set(), []
def run(saga_id):
    journal.write(create := Create(saga_id, "x", "[1]"))
    for n in (2, 3):
        status = SagaStatus.COMPLETED if n == 3 else None
        journal.write(append := Append(create.check(), f"[{n}]", status))
        append.check()
    told.add(saga_id)
def follow(k):
    i = 0
    while not stop:
        i += 1
        try: run(f"{k}-{i}")
        except Exception as error: wrong.append(repr(error))
def fire():
    while not stop:
        time.sleep(random.uniform(0.0002, 0.004))
        os.kill(os.getpid(), signal.SIGINT)
threads = [threading.Thread(target=follow, args=(k,)) for k in range(4)]
threads += [threading.Thread(target=fire)]
def strike(_, frame):  # in the saga only: this script itself need not withstand it
    while frame is not None and frame.f_code is not run.__code__: frame = frame.f_back
    if frame is not None: raise KeyboardInterrupt
signal.signal(signal.SIGINT, strike)
interrupts = i = 0
for thread in threads: thread.start()
end = time.time() + 1
while time.time() < end:
    try:
        i += 1
        run(f"main-{i}")
    except KeyboardInterrupt: interrupts += 1
    except Exception as error: wrong.append(repr(error))
stop.append(1)
signal.signal(signal.SIGINT, signal.SIG_IGN)
for thread in threads: thread.join(60)
hung = sum(thread.is_alive() for thread in threads)
done = {s.saga_id for s in journal.select({SagaStatus.COMPLETED})}
print(hung, wrong[:2], len(told - done), journal.check(), journal.gate_holder(), interrupts > 10)
"""
    output = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "journal")],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
        env=unmeasured(),
    )
    assert output.stdout.strip() == "0 [] 0 [] None True", output


def test_nobody_probes_a_number_of_its_own(tmp_path: Path) -> None:
    """That would find it free, and give up the lock."""
    owners = owners_at(str(tmp_path / "owners"))
    assert owners.take(5)
    assert not owners.take(5)
    assert owners.alive(5)
    assert not owners.alive(6)
    owners.free(5)
    assert not owners.alive(5)


def test_numbers_of_statuses_are_those_of_the_schema() -> None:
    """The comments of the schema are what a person reads."""
    for status, number in NUMBER_OF.items():
        assert f"-- {number} {status.value}" in queries.SCHEMA["saga"]


@pytest.mark.parametrize("how", ["write", "awrite"])
def test_each_change_is_refused_by_itself_where_there_is_no_journal(
    tmp_path: Path, how: str
) -> None:
    """Whoever gets such an error says more about its own saga in it."""
    journal = SQLiteJournal(tmp_path / "missing" / "sagas.db")
    changes = [Create(name, None, "[]") for name in ("x", "y")]

    if how == "awrite":
        asyncio.run(journal.awrite(*changes))
    else:
        journal.write(*changes)

    errors = [change.error for change in changes]
    assert all(isinstance(error, JournalError) for error in errors)
    assert errors[0] is not errors[1]
    assert [str(error) for error in errors] == [str(errors[0])] * 2
    assert all(isinstance(error.__cause__, OSError) for error in errors if error)
    assert all(change.settled and change.claim.over for change in changes)
