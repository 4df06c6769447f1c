"""What the journal objects of this process on one file share: the file, the desk and the queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from py_api_saga import clock
from py_api_saga.clock import NEVER
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import (
    LONGEST_WAIT,
    OPEN,
    Claim,
    Leave,
    Summary,
    latest,
    milliseconds,
)
from py_api_saga.journal.reentry import interrupted
from py_api_saga.journal.sql.desk import Desk
from py_api_saga.journal.sql.group_commit import GroupCommit, RetiredError
from py_api_saga.journal.sqlite.connecting import BUSY, Options, Place, mounted_alone
from py_api_saga.journal.sqlite.file import JournalFile

PAGE = 256  # sagas that are listed at first; each page is four times as long as the one before


class Shared:
    """All that one process has of one file.

    Attributes:
        desk: Who drives what in this process.
        file: The connections, the gate, our number.
        queue: The group commit.
    """

    def __init__(
        self, place: Place, options: Options, inherited: list[JournalFile], before: int
    ) -> None:
        """Name the file, see `JournalFile`; it is opened when it is needed."""
        self.desk = Desk()
        self.file = JournalFile(place, options, self.desk, inherited, before)
        self.queue = GroupCommit(self.desk, self.file)

    def open(self) -> None:
        """Make sure that the file is a journal, still the same, and that we have a number in it."""
        file = self.file
        if file.is_interrupted():
            raise interrupted()
        with file.turn:
            file.may_only_read = mounted_alone(file.path)
            is_open = bool(file.may_only_read) or file.inside(file.opened)
        if not is_open:
            self._pass_through(latest())

    def _pass_through(self, until: float) -> None:
        """Go into the gate once, which opens the file; with what waits to be written.

        Raises:
            JournalError: The gate is shut until then, or the file can't be opened.
        """
        nothing = Leave(Claim(""))
        nothing.until = until
        try:
            self.queue.write([nothing])
        except RetiredError as error:
            message = f"the journal {self.file.path} was closed while it was to be opened"
            raise JournalError(message) from error
        nothing.check()

    def close(self) -> bool:
        """Close the file, and tell whether this is of no use any more.

        In a signal handler that has interrupted its use it stays open, until the process ends.
        """
        file = self.file
        if file.is_interrupted():
            return False
        patience = float(BUSY)
        if self.desk.releases:
            try:
                self._pass_through(clock.monotonic() + patience)
            except JournalError:  # it is enough that our number becomes free
                patience = 0.0
        with file.turn, file.reader.turn:
            file.disconnect(patience)
            with self.desk.lock:
                if self.desk.running or not self.queue.retire():
                    return False
            file.close()
            return True

    # --- who drives what -------------------------------------------------------------------------

    def _lives(self, owner: int) -> bool:
        """Tell whether another process lives; within ours, the desk decides."""
        if not self.file.is_open():
            self.open()
        return self.file.lives(owner)

    def waiting(self, now: float) -> Iterator[Summary]:
        """Give the sagas that are to be gone on with and that nobody drives; see `Journal`."""
        if self.file.may_only_read:
            raise JournalError(self.file.may_only_read)
        lives: dict[int, bool] = {}
        for page in self._pages(now):
            for seen in page:
                if seen.owner not in lives:
                    lives[seen.owner] = self._lives(seen.owner)
                is_free = not lives[seen.owner] and seen.saga_id not in self.desk.running
                if is_free and seen.number not in self.desk.barred:
                    yield seen

    def _pages(self, now: float) -> Iterator[Iterable[Summary]]:
        """Give what is due, then what has an answer; each page when it is asked for."""
        reader, size, far = self.file.reader, PAGE, now + LONGEST_WAIT
        bounds = {"now": milliseconds(now), "far": milliseconds(far)}
        due, number = 0.0, 0  # of the last one
        while size:
            after = {"due": round(due * 1000), "number": number, "size": size}
            yield (page := reader.summaries("due", bounds | after))
            if page:
                due, number = page[-1].due, page[-1].number
            size = 4 * size if len(page) == size else 0
        last, size = 0, PAGE
        while size:
            page = reader.summaries("answered", (last, size))
            # the others were given before
            yield [
                s
                for s in page
                if s.status not in OPEN or now < s.due <= (far if s.tries else NEVER)
            ]
            last, size = page[-1].number if page else 0, 4 * size if len(page) == size else 0

    def check(self) -> list[str]:
        """List what is wrong with the file, and what nobody goes on with."""
        problems = self.file.reader.check()
        dead = [count for owner, count in self.file.reader.owners() if not self._drives_any(owner)]
        if dead:
            problems.append(f"{sum(dead)} open sagas have nobody who drives them: recover them")
        return problems

    def _drives_any(self, owner: int) -> bool:
        return owner == self.desk.owner or self._lives(owner)
