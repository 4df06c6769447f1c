"""A journal in one SQLite file: `SQLiteJournal("sagas.db", modules=["shop.operations"])`.

Beside the file lie `-wal` and `-shm`, which are SQLite's, `-gate`, through which one writer at a
time goes, and `-owners`, which tells whose process lives. They belong together.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import Change, Claim, Summary
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.format.sealing import check_codec
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.protocol import Codec
from py_api_saga.journal.sql.desk import refuse
from py_api_saga.journal.sql.group_commit import RetiredError
from py_api_saga.journal.sqlite import files
from py_api_saga.journal.sqlite.connecting import (
    Durability,
    JournalMode,
    Options,
    check_kind,
    locate,
)
from py_api_saga.journal.sqlite.gate import MOMENT, inside, lingering
from py_api_saga.journal.sqlite.reading import Reader, Reads
from py_api_saga.journal.sqlite.shared import Shared
from py_api_saga.journal.sqlite.view import SQLiteView


class SQLiteJournal(Reads):
    """Sagas in one SQLite file, which any number of processes of one machine share."""

    spans_deploys = False  # one machine has one release, but for a moment
    poll = 5.0  # seconds; what it is for is mostly what a crash has left

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        modules: Iterable[str] = (),
        aliases: Mapping[str, str] | None = None,
        codec: Codec | None = None,
        durability: Durability = "power",
        journal_mode: JournalMode = "wal",
        network: bool = False,
    ) -> None:
        """Say where it is; nothing is opened or made before it is used.

        Args:
            path: Of the file; one that is not there is made, for its owner only.
            modules: Where the functions and types of its sagas are, see `Functions`.
            aliases: What has been renamed since, see `Functions`.
            codec: What values pass through on their way to the file and back.
            durability: What is on record outlasts a loss of "power", or only the death of the
                "process" (about four times as fast for one saga at a time, no gain with many).
            journal_mode: SQLite's: "wal", or "delete", a rollback journal.
            network: Allow a file on a network file system, which is safe only as long as a single
                machine uses it.

        Raises:
            ValueError: Durability or mode is none of these, `path` is that of no file, or a name in
                `modules` or `aliases` is none.
            TypeError: `modules` is not a list of names, or `codec` has no `encode` and `decode`.
        """
        if durability not in ("power", "process"):
            message = f"durability: expected 'power' or 'process', got {durability!r}"
            raise ValueError(message)
        if journal_mode not in ("wal", "delete"):
            message = f"journal_mode: expected 'wal' or 'delete', got {journal_mode!r}"
            raise ValueError(message)
        check_codec(codec)
        path = os.fsdecode(path)
        if path == ":memory:" or "\0" in path:
            message = f"path: expected that of a file, got {path!r}; in memory is MemoryJournal"
            raise ValueError(message)
        self.path = os.path.abspath(path)  # noqa: PTH100 - where we are may change before its use
        self.codec = codec
        self._options = Options(durability, journal_mode)
        self._network = network
        self.names = Functions(modules, aliases)  # the functions and types that its sagas may name
        self._shared: Shared | None = None

    def __repr__(self) -> str:
        return f"SQLiteJournal({self.path!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Give what another process needs, which opens the file for itself."""
        return {**self.__dict__, "_shared": None}

    @property
    def place(self) -> str:
        """Where it is, for messages: its path."""
        return self.path

    @property
    def shared(self) -> Shared:
        """What it shares with the other journals of this process on the same file.

        Raises:
            JournalError: The file cannot be used.
        """
        shared = self._shared
        if shared is None or not shared.file.is_usable():
            place = locate(self.path, network=self._network)
            shared = self._shared = files.shared_at(place, self._options)
        return shared

    # --- writing ---------------------------------------------------------------------------------

    def write(self, *changes: Change) -> None:
        """Return when each change is settled; see `Journal`."""
        while True:
            try:
                self.shared.queue.write(changes)
            except RetiredError:  # somebody has closed it: there is a new one
                continue
            except JournalError as error:
                refuse(changes, error)
            return

    async def awrite(self, *changes: Change) -> None:
        """Like `write`, without blocking the loop."""
        loop = sys.modules["asyncio"].get_running_loop()  # programs without a loop do not load it
        while True:
            try:
                for future in self.shared.queue.submit(changes, loop):
                    await future
            except RetiredError:
                continue
            except JournalError as error:
                refuse(changes, error)
            return

    def leave(self, claim: Claim) -> None:
        """Stop driving a saga, at once in this process, durably with its next commit."""
        claim.over = True
        shared = self._shared
        if shared is not None and shared.file.is_usable():
            shared.desk.leave(claim)

    # --- reading ---------------------------------------------------------------------------------

    def _reader(self) -> Reader:
        return self._opened().file.reader

    def drives(self, seen: Summary) -> bool:
        """Tell whether somebody drives a saga: its owner lives and, if it is us, is at it."""
        shared = self._opened()
        return seen.saga_id in shared.desk.running or shared.file.lives(seen.owner)

    def waiting(self, limit: int | None = None) -> Sequence[Summary]:
        """List the sagas that are to be gone on with and that nobody drives; see `Journal`."""
        return list(islice(self._opened().waiting(self.now()), limit))

    def _opened(self) -> Shared:
        shared = self.shared
        if not shared.file.is_open():
            shared.open()
        return shared

    def reader(self) -> SQLiteView:
        """Give a view for whoever drives nothing: it waits for nobody, and makes no file.

        Raises:
            JournalError: There is no such file, or it is not a journal of this format.
        """
        return SQLiteView(self.path, self.codec)

    def onlooker(self) -> SQLiteView:
        """Give the same: a file is opened at once, and may be another one the next time.

        Raises:
            JournalError: There is no such file, or it is not a journal of this format.
        """
        if why := self.missing():
            raise JournalError(why)
        return self.reader()

    # --- for a person ----------------------------------------------------------------------------

    def exists(self) -> bool:
        """Tell whether there is a file: what reads it would make it."""
        return os.path.exists(self.path)  # noqa: PTH110 - paths are text here

    def missing(self) -> str:
        """Say why there is no journal here, or not yet; empty if there is one. Makes none.

        Raises:
            JournalError: It is not the path of a file.
        """
        try:
            seen = os.stat(self.path)  # noqa: PTH116 - paths are text here
        except FileNotFoundError:
            return f"there is no journal {self.path}"
        check_kind(self.path, seen)
        return "" if seen.st_size else f"{self.path} is not a saga journal: it is empty"

    def who_hangs(self) -> Holder | None:
        """Tell who has been writing for longer than a moment, so that nobody else can."""
        return lingering(os.path.realpath(self.path) + "-gate", MOMENT)

    def gate_holder(self) -> int | None:
        """Tell which process writes at this moment, for which all others wait, or None."""
        holder = inside(os.path.realpath(self.path) + "-gate")
        return None if holder is None else holder.pid

    def check(self) -> list[str]:
        """List what is wrong with the file; reads all of it."""
        if not self.exists():
            return [f"there is no journal {self.path}"]
        try:
            return self._opened().check()
        except JournalError as error:
            return [str(error)]

    def close(self) -> None:
        """Close the file, also for the other journals on it; it is opened again when needed."""
        if self._shared is not None:
            files.close(self._shared)
