"""Open the file of a journal, or say why not, and leave alone what is none.

https://sqlite.org/pragma.html and https://sqlite.org/wal.html are the sources.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing, suppress
from typing import Literal, TypeAlias

from py_api_saga.exceptions import JournalError, SagaError
from py_api_saga.journal.changes import SagaExistsError
from py_api_saga.journal.sqlite.queries import QUERIES, SCHEMA

Durability: TypeAlias = Literal["power", "process"]
JournalMode: TypeAlias = Literal["wal", "delete"]
Place: TypeAlias = tuple[str, tuple[int, int]]  # a real path, and what is there: device, inode

APPLICATION_ID = 0x73616761  # "saga"
VERSION = 1  # of the format
# Added to it since; releases without these read and write it as well.
ADDED = ("saga_stuck", "saga_compensated", "saga_named", "saga_later", "saga_tried")
MAIL = ("mail", "mail_saga", "mail_new")
ANEW = {"saga_open": "INDEX", "needs_attention": "VIEW"}  # with it, as they must know who waits
BUSY = 5  # seconds for which SQLite itself waits for a lock; other programs may hold one

# Where locks or shared memory are not what they are on one machine.
NETWORK = {"9p", "afs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs"}
NETWORK |= {"beegfs", "nfs4", "smb3", "smbfs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs"}
MOUNTS = "/proc/mounts"
MOUNT_POINTS = "/proc/self/mountinfo"
BESIDE = ("", "-wal", "-shm", "-journal", "-gate", "-owners")  # a journal, and what belongs to it

# With a rollback journal, FULL does not sync the directory from which that is removed: a commit
# could be undone when the power goes.
SYNCHRONOUS = {
    ("power", "wal"): ("FULL", 2),
    ("power", "delete"): ("EXTRA", 3),
    ("process", "wal"): ("NORMAL", 1),
    ("process", "delete"): ("NORMAL", 1),
}


class Options:
    """How a file is written."""

    __slots__ = ("durability", "journal_mode")  # not a named tuple: see `Holder`

    def __init__(self, durability: Durability, journal_mode: JournalMode) -> None:
        """Say so."""
        self.durability, self.journal_mode = durability, journal_mode

    def __str__(self) -> str:
        return f"durability={self.durability!r}, journal_mode={self.journal_mode!r}"


_WRITABLE = (
    "to look only, copy the file, and its -wal if there is one, to a folder of yours, and look at "
    "the copy (`saga list --journal COPY`); to run sagas, "
    "make the file and its folder writable for whoever runs sagas"
)
_STALE = (
    "if it was put back from a copy, the -wal beside it may be that of the file before: end every "
    "process that uses it, move the -wal and the -shm away, and see what `saga doctor` says; else "
    "restore it from a backup"
)
_ADVICE = {
    "readonly": _WRITABLE,
    "Read-only": _WRITABLE,
    "unable to open": _WRITABLE,
    "Permission denied": _WRITABLE,
    "No such file": "make the folder that it is to be in",
    "locked": "another program holds it",
    "full": "make room on the disk",
    "malformed": _STALE,
}


_OWN = (sqlite3.Error, SagaError, SagaExistsError, ValueError, OverflowError, TypeError)


def has_struck(error: Exception) -> bool:
    """Tell whether an error is none of a file, of SQLite or of what is written: a signal handler's.

    What the system raises has its number; a `TimeoutError` of a handler's has none.
    """
    return error.errno is None if isinstance(error, OSError) else not isinstance(error, _OWN)


def cannot(verb: str, path: str, error: Exception) -> JournalError:
    """The file cannot be opened, read or written; with what may help."""
    text = str(error)
    advice = next((f"; {_ADVICE[words]}" for words in _ADVICE if words in text), "")
    return JournalError(f"the journal {path} cannot be {verb}: {text}{advice}")


def filesystem(path: str) -> str:
    """Give the type of the file system that a path is on; empty where nobody says."""
    best, kind = "", ""
    try:
        with open(MOUNTS, errors="replace") as mounts:  # noqa: PTH123 - pathlib: 5 ms to import
            lines = mounts.read().splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ")  # proc(5): a blank is written in octal
        below = point.rstrip("/") + "/"
        if (path + "/").startswith(below) and len(below) >= len(best):
            best, kind = below, fields[2]
    return kind


def mounted_alone(path: str) -> str:
    """Say why a journal can only be read: it, or what belongs to it, is a mount of its own.

    What lies beside such a file in one container does not in another, nor on the host. Device and
    inode do not tell: they are those of the file that was mounted. Nothing is said where no
    /proc/self/mountinfo is (proc_pid_mountinfo(5)).
    """
    try:
        with open(MOUNT_POINTS, "rb") as mounts:  # noqa: PTH123 - pathlib: 5 ms to import
            lines = mounts.read().splitlines()
    except OSError:
        return ""
    points = set()
    for line in lines:  # a blank, a line break and a backslash are written in octal
        point = line.split(b" ", 5)[4]
        points.add(point.decode("unicode_escape").encode("latin-1") if b"\\" in point else point)
    for end in BESIDE:
        if os.fsencode(path + end) in points:
            return (
                f"{path}{end} is mounted by itself, as by `docker -v ./sagas.db:{path}`, and what "
                f"is written to the files beside it would be lost: mount the folder that they are "
                f"in; until then the journal can only be read"
            )
    return ""


def locate(path: str, *, network: bool) -> Place:
    """Find the file, and make an empty one where there is none."""
    path = os.path.realpath(path)
    if not network and (kind := filesystem(path)) in NETWORK:
        message = (
            f"{path} is on a network file system ({kind}), where locks cannot be relied on: put "
            f"the journal on a local disk, or pass network=True if only one machine uses it"
        )
        raise JournalError(message)
    try:
        seen = _stat(path)
    except OSError as error:
        raise cannot("opened", path, error) from error
    check_kind(path, seen)
    if seen.st_nlink > 1:
        message = (
            f"{path} has {seen.st_nlink} names (hard links): what belongs to a journal lies beside "
            f"it under its name, so it may have only one"
        )
        raise JournalError(message)
    return path, (seen.st_dev, seen.st_ino)


def check_kind(path: str, seen: os.stat_result) -> None:
    """Refuse what is not a file."""
    if stat.S_ISDIR(seen.st_mode):
        message = f"{path} is a directory: give the path of a file for the journal"
        raise JournalError(message)
    if not stat.S_ISREG(seen.st_mode):
        message = f"{path} is not a file, but a device or a pipe: give the path of a file"
        raise JournalError(message)


def _stat(path: str) -> os.stat_result:
    """Look at the file, making it if need be, for its owner only.

    It is not opened if it exists: closing any descriptor of it would drop the locks that SQLite
    holds in this process (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        return os.stat(path)  # noqa: PTH116 - paths are text here
    except FileNotFoundError:
        with suppress(FileExistsError):  # somebody was faster
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return os.stat(path)  # noqa: PTH116 - as above


def connect_to_read(path: str) -> sqlite3.Connection:
    """Open a connection that never writes, whatever it is asked."""
    return _connect(path, "ro")


def connect_to_write(path: str, options: Options) -> sqlite3.Connection:
    """Open a connection that keeps its promises. Whoever calls is inside the gate."""
    _inspect(path)
    connection = _connect(path, "rw")
    try:
        is_new = check_format(connection, path)
        _promise(connection, path, options)
        if is_new:
            _create(connection)
        else:
            _complete(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: str, mode: str) -> sqlite3.Connection:
    for char, escaped in (("%", "%25"), ("?", "%3f"), ("#", "%23")):  # all that a URI gives a sense
        path = path.replace(char, escaped)
    return sqlite3.connect(
        f"file:{path}?mode={mode}",
        uri=True,
        timeout=BUSY,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
    )


def _inspect(path: str) -> None:
    """Refuse what is not a journal, on a connection that cannot even checkpoint when it closes."""
    # A process may have died within a commit: only a writer can clean up, and looks again.
    with closing(_connect(path, "ro")) as connection, suppress(sqlite3.OperationalError):
        check_format(connection, path)


def check_format(connection: sqlite3.Connection, path: str) -> bool:
    """Tell whether the file is empty, or refuse it."""
    try:
        application = _ask(connection, "PRAGMA application_id")
        version = _ask(connection, "PRAGMA user_version")
        tables = _ask(connection, "SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        what = f"; {_STALE}" if os.path.exists(f"{path}-wal") else ": restore it from a backup"  # noqa: PTH110 - paths are text here
        message = f"{path} is damaged, or no database at all ({error}){what}, or give another path"
        raise JournalError(message) from error
    if application == APPLICATION_ID:
        if version == VERSION:
            return False
        message = (
            f"{path} has format {version}, this release of py_api_saga reads format {VERSION}: "
            f"install the release that wrote it"
        )
        raise JournalError(message)
    if application or version or tables:
        message = (
            f"{path} is not a saga journal, but the database of another program (application_id "
            f"{application}): give the journal a file of its own"
        )
        raise JournalError(message)
    return True


def _promise(connection: sqlite3.Connection, path: str, options: Options) -> None:
    """Set what the durability rests on, and see that it is so: a PRAGMA does not complain."""
    mode = options.journal_mode
    try:
        got = _ask(connection, f"PRAGMA journal_mode={mode}")
    except sqlite3.OperationalError as error:  # locked, if another process has the file open
        got = f"another ({error})"
    if got != mode:
        message = f"{path}: journal_mode={mode!r} was refused; the file's is {got}"
        raise JournalError(message)
    name, number = SYNCHRONOUS[options.durability, mode]
    # On macOS, fsync leaves data in the drive's cache unless it is told otherwise.
    full = int(options.durability == "power")
    for pragma, value, expected in (
        ("synchronous", name, number),
        ("fullfsync", full, full),
        ("checkpoint_fullfsync", full, full),
    ):
        connection.execute(f"PRAGMA {pragma}={value}")
        if _ask(connection, f"PRAGMA {pragma}") != expected:
            message = f"{path}: SQLite refused PRAGMA {pragma}={value}"
            raise JournalError(message)
    connection.execute("PRAGMA trusted_schema=OFF")  # the file is input: since SQLite 3.31


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in SCHEMA.values():
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def _complete(connection: sqlite3.Connection) -> None:
    """Add what a file of an earlier release lacks: mail, and indexes, which it can do without."""
    if connection.execute(QUERIES["has_mail"]).fetchone() is None:
        connection.execute("BEGIN IMMEDIATE")
        for name, kind in ANEW.items():
            connection.execute(f"DROP {kind} IF EXISTS {name}")
        for name in (*ANEW, *MAIL):
            connection.execute(SCHEMA[name])
        connection.execute("COMMIT")
    with suppress(sqlite3.OperationalError):  # the disk is full: what is written next says so
        for name in ADDED:
            connection.execute(SCHEMA[name])


def _ask(connection: sqlite3.Connection, question: str) -> object:
    row = connection.execute(question).fetchone()
    return None if row is None else row[0]
