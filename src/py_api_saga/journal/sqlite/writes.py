"""What each change of a saga is in SQL, within one transaction.

The changes of a transaction are of different sagas. They are written together, with a statement
for all of a kind; if that fails in any way, the transaction is rolled back and they are written
again one by one, each in a savepoint of its own, so that the error of one saga never reaches
another.

A commit that seemed to fail may be on disk. So what was tried is noted on the change, in `tried`,
and whoever tries again looks first whether it is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

from py_api_saga import clock
from py_api_saga.clock import NEVER
from py_api_saga.exceptions import JournalError, SagaInProgress
from py_api_saga.journal.changes import (
    NUMBER_OF,
    OPEN,
    Append,
    Change,
    Claim,
    Create,
    Leave,
    Letter,
    Mail,
    Mailing,
    Purge,
    SagaExistsError,
    Take,
    changed,
    gone,
    in_progress,
    milliseconds,
    purged,
    taken_over,
    unread,
)
from py_api_saga.journal.sqlite.connecting import has_struck
from py_api_saga.journal.sqlite.queries import QUERIES

_CREATE, _FIRST, _APPEND, _MOVE, _REST, _TAKE, _RELEASE, _LAST_ROW, _POST, _TAKE_IN, _MAIL = (
    QUERIES[name]
    for name in (
        "create", "first", "append", "move", "rest", "take", "release", "last_row", "post",
        "take_in", "mail",
    )
)  # fmt: skip


class RowWriter:
    """Writes changes into a journal's tables, for one owner."""

    def __init__(self, owner: int, lives: Callable[[int], bool]) -> None:
        """Write for this owner; `lives` tells whether another one does."""
        self.owner, self._lives = owner, lives
        # The highest number tried. A claim of a saga that never came to be must not fit another
        # one that got its number since.
        self._high = 0

    def release(self, connection: sqlite3.Connection, claims: Iterable[Claim]) -> None:
        """Note that nobody drives these sagas, except those that were claimed since."""
        rows, voids = [], []
        for claim in claims:
            which = (claim.number, claim.owner, claim.epoch)
            seen = claim.before if claim.void else None
            if seen is None:
                rows.append(which)
            else:
                due, since = round(seen.due * 1000), round(seen.changed * 1000)
                voids.append((seen.tries, due, NUMBER_OF[seen.status], since, *which))
        connection.executemany(_RELEASE, rows)
        if voids:
            connection.executemany(QUERIES["give_back"], voids)

    # --- all at once -----------------------------------------------------------------------------

    def write_together(self, connection: sqlite3.Connection, changes: Sequence[Change]) -> bool:
        """Write them, or tell that the transaction must be rolled back and they be written apart.

        Raises:
            sqlite3.OperationalError: The disk, or a lock: what concerns all of them.
        """
        creates: list[Create] = []
        appends: list[Append] = []
        takes: list[Take] = []
        others: list[Change] = []
        for change in changes:
            if type(change) is Append:
                appends.append(change)
            elif type(change) is Create:
                creates.append(change)
            elif type(change) is Take:
                takes.append(change)
            elif type(change) is not Leave:
                others.append(change)
        now = milliseconds(clock.time())
        try:
            for other in others:
                self._write_one(connection, other, now)
            return (
                (not creates or self._create_all(connection, creates, now))
                and (not appends or self._append_all(connection, appends, now))
                and (not takes or self._take_all(connection, takes, now))
            )
        except sqlite3.OperationalError:
            raise
        except Exception as error:
            if has_struck(error):
                raise
            return False  # it is raised again where it belongs

    def _create_all(
        self, connection: sqlite3.Connection, creates: Sequence[Create], now: int
    ) -> bool:
        for number, change in enumerate(creates, self._next_number(connection)):
            self._number(change, number, now)
        connection.executemany(_CREATE, (self._summary(change, now) for change in creates))
        connection.executemany(
            _FIRST, ((change.claim.number, now, change.body) for change in creates)
        )
        return True

    def _append_all(
        self, connection: sqlite3.Connection, appends: Sequence[Append], now: int
    ) -> bool:
        rows, moves, rests, mailings = [], [], [], []
        for change in appends:
            claim = change.claim
            number, owner, epoch = claim.number, claim.owner, claim.epoch
            if change.tried is None:
                change.tried = claim.rows + 1
            rows.append((change.tried, now, change.body, number, owner, epoch))
            status, mailing = change.status, change.mailing
            if mailing is not None:
                mailings.append((change, mailing))
            if status is not None:
                left = owner if status in OPEN or mailing is not None else 0
                moves.append((NUMBER_OF[status], left, now, number, owner, epoch))
            if change.rested:
                rests.append((number, epoch))
        if connection.executemany(_APPEND, rows).rowcount != len(rows):
            return False
        if moves:
            connection.executemany(_MOVE, moves)
        if rests:
            connection.executemany(_REST, rests)
        for change, mailing in mailings:
            self._look_into_mail(connection, change, mailing)
        return True

    def _take_all(self, connection: sqlite3.Connection, takes: Sequence[Take], now: int) -> bool:
        living = {
            owner: self._lives(owner)
            for owner in {change.seen.owner for change in takes if not change.force}
        }
        if any(living.values()):
            return False
        rows = [self._taking(change, now) for change in takes]
        if connection.executemany(_TAKE, rows).rowcount != len(rows):
            return False
        for change in takes:
            self._taken(connection, change)
        return True

    # --- one by one ------------------------------------------------------------------------------

    def write_apart(self, connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
        """Write them, or give them their errors.

        Raises:
            sqlite3.OperationalError: As above.
        """
        now = milliseconds(clock.time())
        for change in changes:
            change.error = None
            connection.execute("SAVEPOINT one")
            try:
                self._write_one(connection, change, now)
            except sqlite3.OperationalError:
                raise
            except Exception as error:
                if has_struck(error):
                    raise
                # whatever it is, the others go on
                connection.execute("ROLLBACK TO one")
                change.error = _named(change, error)
            connection.execute("RELEASE one")

    def _write_one(self, connection: sqlite3.Connection, change: Change, now: int) -> None:
        match change:
            case Append():
                self._append(connection, change, now)
            case Create():
                self._create(connection, change, now)
            case Take():
                self._take(connection, change, now)
            case Mail():
                self._post(connection, change, now)
            case Purge():
                self._purge(connection, change)

    def _create(self, connection: sqlite3.Connection, change: Create, now: int) -> None:
        claim = change.claim
        there = connection.execute(QUERIES["number_of"], (claim.saga_id,)).fetchone()
        if there is not None:
            number, owner, epoch, created = there
            if number not in _tried(change) or (owner, epoch) != (claim.owner, claim.epoch):
                raise SagaExistsError(f"there is a saga {claim.saga_id!r}")
            claim.number, claim.created = (
                number,
                created / 1000,
            )  # our own commit, which seemed to fail
            return
        self._number(change, self._next_number(connection), now)
        connection.execute(_CREATE, self._summary(change, now))
        connection.execute(_FIRST, (claim.number, now, change.body))

    def _append(self, connection: sqlite3.Connection, change: Append, now: int) -> None:
        claim, mailing = change.claim, change.mailing
        number, owner, epoch = claim.number, claim.owner, claim.epoch
        if change.tried is None:
            change.tried = claim.rows + 1
        if self._is_there(connection, change):
            if mailing is not None:
                self._look_again(connection, change, mailing)
            return
        if (
            connection.execute(
                _APPEND, (change.tried, now, change.body, number, owner, epoch)
            ).rowcount
            != 1
        ):
            raise taken_over(claim)
        if change.status is not None:
            left = owner if change.status in OPEN or mailing is not None else 0
            move = (NUMBER_OF[change.status], left, now, number, owner, epoch)
            connection.execute(_MOVE, move)
        if change.rested:
            connection.execute(_REST, (number, epoch))
        if mailing is not None:
            self._look_into_mail(connection, change, mailing)

    def _is_there(self, connection: sqlite3.Connection, change: Append) -> bool:
        """Tell whether a row is there since a commit of ours seemed to fail.

        If there is another one in its place, that one is the last word of such a commit, which
        nobody tried again, and this row comes after it.
        """
        claim = change.claim
        row = connection.execute(QUERIES["body"], (claim.number, change.tried)).fetchone()
        if row is None:
            return False
        is_ours = row[0] == change.body
        if is_ours and change.mailing is not None:  # it may have let the saga go
            return True
        whose = connection.execute(QUERIES["whose"], (claim.number,)).fetchone()
        if whose is None or whose[1] != claim.epoch or whose[0] not in (0, claim.owner):
            raise taken_over(claim)
        if is_ours:
            return True
        change.tried = self._last_row(connection, claim.number) + 1
        return False

    def _take(self, connection: sqlite3.Connection, change: Take, now: int) -> None:
        seen = change.seen
        if not change.force and self._lives(seen.owner):
            raise in_progress(seen.saga_id)
        if connection.execute(_TAKE, self._taking(change, now)).rowcount != 1:
            whose = connection.execute(QUERIES["whose"], (seen.number,)).fetchone()
            ours = whose is not None and whose[:2] == (self.owner, seen.epoch + 1)
            if not (change.tried and ours):
                raise changed(seen)
        self._taken(connection, change)

    # --- mail ------------------------------------------------------------------------------------

    @staticmethod
    def _post(connection: sqlite3.Connection, change: Mail, now: int) -> None:
        """Put an answer into the mail, or see what is there."""
        change.error, change.there = None, None
        letter, saga_id = change.letter, change.claim.saga_id
        whose = connection.execute(QUERIES["whose"], (change.number,)).fetchone()
        if whose is None or whose[2] is not None:
            change.error = gone(saga_id) if whose is None else purged(saga_id)
        elif connection.execute(_POST, (letter.key, change.number, now, letter.body)).rowcount == 1:
            change.tried = now  # by which it is known if the commit only seems to fail
        else:
            key, body, at = connection.execute(QUERIES["posted"], (letter.key,)).fetchone()
            there = Letter(key, body)
            change.there = None if there == letter and at == change.tried else there

    @staticmethod
    def _look_into_mail(connection: sqlite3.Connection, change: Append, mailing: Mailing) -> None:
        """Note what the saga has taken in, see what is left, and let it go if that is nothing."""
        claim = change.claim
        which = (claim.number, claim.owner, claim.epoch)
        connection.executemany(_TAKE_IN, [(key, claim.number) for key in mailing.took])
        left = connection.execute(_MAIL, (claim.number,))
        mailing.mail = [Letter(*letter) for letter in left]
        if mailing.has_suspended:
            due = milliseconds(max(0.0, min(mailing.due, NEVER)))
            connection.execute(QUERIES["suspend"], (due, *which))
        elif mailing.lets_go(ended=change.status is not None and change.status not in OPEN):
            connection.execute(_RELEASE, which)

    def _look_again(self, connection: sqlite3.Connection, change: Append, mailing: Mailing) -> None:
        """Do so after a commit that only seemed to fail.

        If that has let the saga go, it had found no mail, whatever has come or been done since.
        """
        claim = change.claim
        whose = connection.execute(QUERIES["whose"], (claim.number,)).fetchone()
        if whose is not None and whose[:2] == (claim.owner, claim.epoch):
            self._look_into_mail(connection, change, mailing)
        elif mailing.lets_go(ended=change.status is not None and change.status not in OPEN):
            mailing.mail = ()
        else:
            raise taken_over(claim)

    def _purge(self, connection: sqlite3.Connection, change: Purge) -> None:
        seen = change.seen
        if seen.status in OPEN:
            message = f"saga {seen.saga_id!r} has not ended: it cannot be purged"
            raise JournalError(message)
        if self._lives(seen.owner):
            raise in_progress(seen.saga_id)
        if connection.execute(_MAIL, (seen.number,)).fetchone() is not None:
            raise unread(seen.saga_id)
        which = (seen.number, seen.saga_id, seen.owner, seen.epoch, NUMBER_OF[seen.status])
        if change.forget:
            done = connection.execute(QUERIES["forget"], which).rowcount
            connection.execute(QUERIES["number_gone"], (seen.number,))
        else:
            done = connection.execute(QUERIES["digest"], (change.digest, *which)).rowcount
        if done:
            connection.execute(QUERIES["clear"], (seen.number,))
            connection.execute(QUERIES["mail_gone"], (seen.number,))
        elif not change.tried and (change.forget or seen.digest is None):
            raise changed(seen)  # else it was purged before, and stays so

    @staticmethod
    def note_commit(changes: Iterable[Change]) -> None:
        """Note what will be on disk if the commit that comes now only seems to fail."""
        for change in changes:
            if type(change) is Take or type(change) is Purge:
                change.tried = True

    # --- what both ways need ---------------------------------------------------------------------

    def _next_number(self, connection: sqlite3.Connection) -> int:
        number: int = connection.execute(QUERIES["next_number"]).fetchone()[0]
        return max(number, self._high + 1)

    def _number(self, change: Create, number: int, now: int) -> None:
        claim = change.claim
        claim.number = self._high = number
        claim.created = now / 1000
        change.tried = (*_tried(change), number)
        claim.owner = self.owner if change.driven else 0
        claim.epoch = int(change.driven)

    def _summary(self, change: Create, now: int) -> tuple[object, ...]:
        claim = change.claim
        return claim.number, claim.saga_id, change.name, claim.owner, claim.epoch, now, now

    def _taking(self, change: Take, now: int) -> tuple[object, ...]:
        seen = change.seen
        due = now + milliseconds(change.delay) if change.delay else 0
        status = NUMBER_OF[seen.status]
        return (self.owner, change.counted, now, due, seen.number, seen.owner, seen.epoch, status)

    def _taken(self, connection: sqlite3.Connection, change: Take) -> None:
        claim, seen = change.claim, change.seen
        claim.number, claim.owner, claim.epoch = seen.number, self.owner, seen.epoch + 1
        claim.before, claim.created = seen, seen.created
        claim.rows = self._last_row(connection, seen.number)

    def _last_row(self, connection: sqlite3.Connection, number: int) -> int:
        last: int = connection.execute(_LAST_ROW, (number,)).fetchone()[0]
        return last


def _tried(change: Create) -> tuple[int, ...]:
    """Give the numbers under which a saga may be on disk."""
    return change.tried if isinstance(change.tried, tuple) else ()


def _named(change: Change, error: Exception) -> Exception:
    """Give an error as `Change.check` is to raise it."""
    if isinstance(error, SagaExistsError | SagaInProgress | JournalError):
        return error
    named = JournalError(
        f"saga {change.claim.saga_id!r} could not be written: {type(error).__name__}"
    )
    named.__cause__ = error
    return named
