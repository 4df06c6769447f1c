"""Whether a journal's files are still those that its processes agree on, and where they may lie."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from recorded import begin, bodies, chain, seen
from world import in_child, script, unmeasured

from py_api_saga import JournalError, recover
from py_api_saga.cli import main
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Append, Create
from py_api_saga.journal.sqlite import connecting

OWNER = """
from py_api_saga.exceptions import JournalError
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import *
from py_api_saga.status import SagaStatus
journal = SQLiteJournal({path!r})
def begin(saga_id):
    journal.write(create := Create(saga_id, "x", "[1]"))
    return create.check()
"""
# Drives one saga to its end, whatever happens meanwhile, and is then asked for another one.
DRIVER = f"""{OWNER}
claim = begin("a")
print("begun", flush=True)
input()
journal.write(append := Append(claim, "[2]", SagaStatus.COMPLETED))
append.check()
try:
    begin("more")
    print("more", flush=True)
except JournalError as error:
    print(error, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal will be."""
    return tmp_path / "sagas.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SQLiteJournal]:
    """Make a journal object."""
    journal = SQLiteJournal(path)
    yield journal
    journal.close()


def owners_of(path: Path) -> Path:
    """Name the file that tells who lives."""
    return path.with_name(f"{path.name}-owners")


# --- the file that tells who lives ----------------------------------------------------------------


def remove(owners: Path) -> None:
    """Remove the file, as somebody who takes it for rubbish."""
    owners.unlink()


def replace(owners: Path) -> None:
    """Put an empty one in its place."""
    owners.rename(owners.with_name("old"))
    owners.touch()


@pytest.mark.parametrize("strike", [remove, replace])
def test_nobody_takes_a_saga_while_nobody_can_tell_who_lives(
    path: Path, journal: SQLiteJournal, strike: Callable[[Path], None]
) -> None:
    """It is driven once, to its end; whoever comes is told what to do."""
    with script(DRIVER.format(path=str(path))) as running:
        running.hear("begun")
        strike(owners_of(path))
        for use in (lambda: recover(journal), lambda: begin(journal, "b"), lambda: seen(journal)):
            with pytest.raises(JournalError, match=r"which of these live .* `saga doctor --new-ow"):
                use()
        assert "which of these live" in journal.check()[0]
        running.say("")
        (said,) = running.end()
    # The saga has ended, so nobody can have a lock in the file that was removed.
    if strike is remove:
        assert said == "more"
        assert recover(journal)[0].saga_id == "more"
    else:
        assert f"{owners_of(path)} is another file than the one that this process has open" in said
        begin(journal, "b")
    with closing(SQLiteJournal(path)) as other:
        assert bodies(other) == ["[1]", "[2]"]


def test_a_file_that_is_put_back_is_believed_again(path: Path, journal: SQLiteJournal) -> None:
    """As long as another one is in its place, it tells nothing."""
    begin(journal)
    owners = owners_of(path)
    owners.rename(path.with_name("away"))
    with pytest.raises(JournalError, match="is gone, and this process has it open"):
        begin(journal, "b")
    owners.write_bytes(bytes(99))
    with pytest.raises(JournalError, match="is another file than the one"):
        begin(journal, "b")
    journal.write(append := Append(journal.shared.desk.running["a"], "[2]", None))
    append.check()  # whoever has taken it would have fenced this off
    with pytest.raises(JournalError, match="is another file than the one"):
        journal.shared.file._owners.alive(77)  # type: ignore[union-attr]  # noqa: SLF001 - asked of a saga of another process
    path.with_name("away").rename(owners)
    begin(journal, "b")


def test_a_file_that_is_replaced_in_the_hands_of_a_daemon_is_noticed(
    path: Path, journal: SQLiteJournal
) -> None:
    """It is opened again, and is not the one that it was."""
    begin(journal)
    own: Any = journal.shared.file._owners  # noqa: SLF001 - what is struck
    os.close(own._file)  # noqa: SLF001 - as above
    real = own._check_place  # noqa: SLF001

    def replaced_then() -> None:
        real()
        owners_of(path).rename(path.with_name("away"))
        owners_of(path).write_bytes(bytes(99))
        own._check_place = real  # noqa: SLF001

    own._check_place = replaced_then  # noqa: SLF001
    with pytest.raises(JournalError, match="is another file than the one"):
        begin(journal, "b")
    path.with_name("away").rename(owners_of(path))
    begin(journal, "b")


def test_a_new_file_is_made_where_nobody_can_be_in_an_old_one(
    path: Path, journal: SQLiteJournal
) -> None:
    """Nothing is open, or what is has never had a process."""
    journal.write(Create("a", "x", "[1]", driven=False))
    journal.close()
    owners_of(path).unlink()
    assert [one.saga_id for one in recover(journal)] == ["a"]
    owner = journal.shared.desk.owner
    owners_of(path).unlink()
    assert begin(journal, "b").owner == owner + 1


def test_a_file_that_is_long_enough_is_left_so(path: Path, journal: SQLiteJournal) -> None:
    """It belongs to a journal of which a copy was put back."""
    owners_of(path).write_bytes(bytes(99))
    owners_of(path).chmod(0o600)
    begin(journal)
    assert owners_of(path).stat().st_size == 99


def leave(journal: SQLiteJournal) -> None:
    """Leave a saga that somebody has driven, and no file that tells whether that one lives."""
    for saga_id in "ab":
        chain("a").start(journal=SQLiteJournal(journal.path, modules=["depot"]), saga_id=saga_id)
    journal.find("a")
    journal.close()
    with closing(sqlite3.connect(journal.path)) as raw, raw:
        raw.execute("UPDATE saga SET owner = number")
    owners_of(Path(journal.path)).unlink()


def test_a_reader_says_that_who_lives_is_unknown(
    path: Path, journal: SQLiteJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes on, and neither "driven" nor "not driven" is said."""
    leave(journal)
    where = ["--journal", str(path)]

    assert main(["list", *where]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1].endswith("  ?")
    assert f"saga: {owners_of(path)} is missing, and sagas are open" in said.err
    main(["list", "--json", *where])
    assert json.loads(capsys.readouterr().out)["sagas"][0]["driven"] is None
    assert main(["check", *where]) == 4
    assert "; which processes live is unknown" in capsys.readouterr().out
    assert main(["show", "a", *where]) == 0
    assert "nobody can tell whether a process drives it" in capsys.readouterr().out
    assert main(["doctor", *where]) == 0
    said = capsys.readouterr()
    assert "left      unknown: nobody can tell which processes live" in said.out
    assert f"NOT WRITTEN: {owners_of(path)} is missing" in said.out
    assert main(["recover", "--modules", "depot", *where]) == 1
    assert f"saga doctor --new-owners {path}" in capsys.readouterr().err
    owners_of(path).symlink_to("precious")
    assert main(["list", *where]) == 0
    assert "is a symbolic link" in capsys.readouterr().err


def test_why_names_the_command(
    path: Path, journal: SQLiteJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing else is possible as long as nobody knows who lives."""
    leave(journal)
    main(["why", "a", "--journal", str(path)])
    said = capsys.readouterr().out
    assert "Nobody can tell whether a process is at it, so nobody may take it." in said
    assert "doctor --new-owners" in said


# --- a new one, by a person's word ----------------------------------------------------------------


@pytest.fixture
def orphan(path: Path) -> Path:
    """Make a journal with an open saga of a process that is gone, and without owners."""
    code = f"{OWNER.format(path=str(path))}\nbegin('a')\n"
    subprocess.run([sys.executable, "-c", code], check=True, env=unmeasured())
    owners_of(path).unlink()
    return path


@pytest.mark.parametrize("answer", ["y\n", "Yes\n"])
def test_a_person_has_a_new_file_made(
    orphan: Path,
    answer: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Then what dead processes have left is taken again."""
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return answer

    monkeypatch.setattr("builtins.input", ask)
    assert main(["doctor", "--new-owners", str(orphan)]) == 0
    said = capsys.readouterr().out
    assert f"Has every process that used {orphan} ended?" in asked[0]
    assert (
        f"made {owners_of(orphan)}: 1 open saga of processes that have ended may be taken" in said
    )
    assert owners_of(orphan).stat().st_mode & 0o777 == 0o600
    with closing(SQLiteJournal(orphan)) as journal:
        assert [seen.saga_id for seen in journal.waiting()] == ["a"]
    assert main(["doctor", "--new-owners", str(orphan)]) == 0
    assert "nothing was changed" in capsys.readouterr().out


@pytest.mark.parametrize("answer", ["n\n", "\n", None])
def test_without_a_yes_nothing_is_made(
    orphan: Path,
    answer: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nor if there is nobody to ask."""

    def ask(_: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", ask)
    assert main(["doctor", "--new-owners", str(orphan)]) == 1
    assert capsys.readouterr().out == "nothing was changed\n"
    assert not owners_of(orphan).exists()


def test_a_person_may_say_it_beforehand(
    orphan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a script, say; what is in the way is replaced, and a link is not followed."""
    orphan.with_name("precious").write_text("precious")
    owners_of(orphan).symlink_to("precious")
    monkeypatch.setenv("SAGA_JOURNAL", str(orphan))
    assert main(["doctor", "--new-owners", "--yes"]) == 0
    assert "made " in capsys.readouterr().out
    assert orphan.with_name("precious").read_text() == "precious"
    with closing(SQLiteJournal(orphan)) as journal:
        assert len(journal.waiting()) == 1


@pytest.mark.parametrize("when", ["open", "writing", "since"])
def test_none_is_made_while_somebody_uses_the_journal(
    orphan: Path,
    when: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Their locks tell, whatever the person says."""
    code = f"""
    import fcntl, sqlite3, time
    if {when!r} == "writing":
        gate = open({str(orphan)!r} + "-gate", "w+")
        gate.write("4711       \\n")
        gate.flush()
        fcntl.flock(gate, fcntl.LOCK_EX)
    elif {when!r} == "since":
        print("ready", flush=True)
        input()
    connection = sqlite3.connect({str(orphan)!r})
    connection.execute("PRAGMA user_version").fetchall()
    print("open", flush=True)
    input()
    """
    with script(code) as running:

        def ask(_: str) -> str:
            running.say("")
            running.hear("open")
            return "y"

        if when == "since":
            running.hear("ready")
            monkeypatch.setattr("builtins.input", ask)
        else:
            running.hear("open")
        yes = [] if when == "since" else ["--yes"]
        assert main(["doctor", "--new-owners", str(orphan), *yes]) == 1
        said = capsys.readouterr().err
        assert ("process 4711 is writing" if when == "writing" else "end every process") in said
        running.say("")
        running.end()
    assert not owners_of(orphan).exists()


def test_a_process_that_lives_in_the_old_one_is_seen(path: Path, journal: SQLiteJournal) -> None:
    """Also with a rollback journal, where SQLite holds no lock between commits."""
    code = OWNER.format(path=str(path)).replace("'sagas.db')", "'sagas.db', journal_mode='delete')")
    with script(
        f"{code}\nbegin('a')\njournal.close()\nprint('begun', flush=True)\ninput()"
    ) as other:
        other.hear("begun")
        owners = owners_of(path)
        os.truncate(owners, 1)
        assert main(["doctor", "--new-owners", str(path), "--yes"]) == 1
        assert owners.stat().st_size == 1
        other.say("")
        other.end()
    assert main(["doctor", "--new-owners", str(path), "--yes"]) == 0
    assert [seen.saga_id for seen in journal.waiting()] == ["a"]


# --- a file that is mounted by itself -------------------------------------------------------------


def test_a_mount_point_is_found_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blanks, line breaks and backslashes are written in octal; a folder does not matter."""
    monkeypatch.setattr(connecting, "MOUNT_POINTS", str(tmp_path / "mountinfo"))
    assert connecting.mounted_alone("/data/sagas.db") == ""
    line = "36 35 8:1 {} {} rw,noatime master:1 - ext4 /dev/root rw,errors=continue\n"
    (tmp_path / "mountinfo").write_text(
        line.format("/", "/")
        + line.format("/data", "/data")
        + line.format("/x", "/my\\040data/ä\\134\\012.db")
        + line.format("/y", "/data/other.db-wal")
    )
    assert connecting.mounted_alone("/data/sagas.db") == ""
    assert "mount the folder" in connecting.mounted_alone("/my data/ä\\\n.db")
    assert connecting.mounted_alone("/data/other.db").startswith("/data/other.db-wal is mounted")


UNSHARE = [shutil.which("unshare") or "unshare", "--mount", "--propagation", "private"]


def unshare() -> list[str]:
    """Give the command for a mount namespace, with a user namespace if need be, or nothing."""
    for command in (UNSHARE, [*UNSHARE, "--user", "--map-root-user"]):
        with suppress(FileNotFoundError):
            if not subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
                return command
    return []


needs_mounts = pytest.mark.skipif(not unshare(), reason="this user may not mount anything")
MOUNTED = """
import os, subprocess, sys, time
from py_api_saga.exceptions import JournalError
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import *
from py_api_saga.status import SagaStatus
host, inside, what = sys.argv[1:]
os.makedirs(inside, exist_ok=True)
journal = SQLiteJournal(host + "/sagas.db")
journal.write(create := Create("a", "x", "[1]"))
journal.write(Append(create.check(), "[2]", SagaStatus.COMPLETED))
journal.close()
if what == "folder":
    subprocess.run(["mount", "--bind", host, inside], check=True)
else:
    name = "sagas.db" + what
    open(f"{inside}/{name}", "w").close()
    if what:
        subprocess.run(["cp", f"{host}/sagas.db", f"{inside}/sagas.db"], check=True)
        open(f"{host}/{name}", "a").close()
    subprocess.run(["mount", "--bind", f"{host}/{name}", f"{inside}/{name}"], check=True)
os.symlink(f"{inside}/sagas.db", f"{host}/link")
before = sorted(os.listdir(inside))
journal = SQLiteJournal(f"{host}/link")
journal.write(create := Create("b", "x", "[1]"))
print(create.error)
try:
    ids = [seen.saga_id for seen in journal.select()]
    print(ids, journal.find("a").status.value, journal.rows([1])[1][1].body)
except JournalError as error:
    print(error)
for use in (lambda: journal.waiting(), lambda: journal.drives(journal.find("a"))):
    try:
        print(use())
    except JournalError as error:
        print("by itself" in str(error))
saga = [sys.executable, "-m", "py_api_saga"]
subprocess.run([*saga, "list", "--journal", f"{inside}/sagas.db"], check=True)
made = {*os.listdir(inside)} - {*before}
print(sorted(name for name in made if name.endswith(("-gate", "-owners"))))
journal.close()
"""


def mounted(tmp_path: Path, what: str) -> list[str]:
    """Run that in a mount namespace of its own."""
    ended = subprocess.run(
        [
            *unshare(), sys.executable, "-c", MOUNTED,
            str(tmp_path), str(tmp_path / "inside"), what,
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended
    return ended.stdout.splitlines()


@needs_mounts
@pytest.mark.parametrize("what", ["", "-wal", "-owners"])
def test_a_journal_that_is_mounted_alone_is_only_read(tmp_path: Path, what: str) -> None:
    """Its log would lie in a container, and be lost with it."""
    refused, read, waiting, drives, head, row, made = mounted(tmp_path, what)
    where = f"{tmp_path}/inside/sagas.db{what}"
    assert refused.startswith(f"{where} is mounted by itself, as by `docker -v ./sagas.db:")
    assert "mount the folder that they are in" in refused
    assert read == "['a'] completed [2]"
    assert (waiting, drives) == ("True", "True")
    assert head.startswith("ID")
    assert row.startswith("a ")
    assert made == "[]"


@needs_mounts
def test_a_journal_whose_folder_is_mounted_is_written(tmp_path: Path) -> None:
    """As the message says."""
    refused, read, waiting, *_ = mounted(tmp_path, "folder")
    assert refused == "None"
    assert read == "['b', 'a'] completed [2]"
    assert waiting == "[]"


# --- what a message says --------------------------------------------------------------------------


def test_a_log_of_another_file_is_suspected(path: Path, journal: SQLiteJournal) -> None:
    """That is how a copy that was put back becomes "malformed"."""
    error = connecting.cannot("read", str(path), ValueError("database disk image is malformed"))
    assert "the -wal beside it may be that of the file before" in str(error)
    path.write_bytes(b"no database at all" * 999)
    with pytest.raises(JournalError, match=r"\): restore it from a backup, or give another path"):
        journal.find("a")
    path.with_name("sagas.db-wal").write_bytes(b"x")
    with pytest.raises(JournalError, match=r"move the -wal and the -shm away, .* give another"):
        journal.find("a")


def test_how_to_look_at_what_may_not_be_written_is_said(path: Path, tmp_path: Path) -> None:
    """And it is so: a copy of the file and its log can be looked at."""
    error = connecting.cannot("written", str(path), OSError(30, "Read-only file system"))
    assert "to look only, copy the file, and its -wal if there is one" in str(error)
    with closing(SQLiteJournal(path)) as journal:
        begin(journal)
        (tmp_path / "copy").mkdir()
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", tmp_path / "copy")
        said = in_child(lambda: main(["list", "--journal", str(tmp_path / "copy" / "sagas.db")]))
    assert said == "0"
