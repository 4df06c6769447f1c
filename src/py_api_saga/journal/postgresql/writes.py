"""What the changes of one transaction are in SQL, and what is to be read from its answers.

The changes are of different sagas, and there is one statement for all of a kind. Each says of which
sagas it was done; of the others it is looked up, in a second transaction, what they have come to:

- it was done, by a commit of ours whose answer was lost: what was tried is noted on the change;
- it can't be done, and why;
- somebody's transaction holds the row, or the id: nobody waits for that here. It is tried again.

The order is appends, answers, the mail of what was appended, releases, creates, claims, purges. An
append that was on its way is written before its saga is released; a create comes after, for which
what was left is nobody's. Of mail a later statement speaks than the one that has locked the saga:
it sees all that was committed before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from py_api_saga.exceptions import JournalError, SagaInProgress
from py_api_saga.journal.changes import (
    NUMBER_OF,
    OPEN,
    Append,
    Change,
    Claim,
    Create,
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
from py_api_saga.journal.postgresql.exchange import Found
from py_api_saga.journal.postgresql.server import Asked


def array(values: Iterable[int | bool | None]) -> str:
    """Give numbers as an array of PostgreSQL's.

    As a text, so that one prepared statement is for all of them: the driver has a type for small
    numbers and others for larger ones.
    """
    return f"{{{','.join(['NULL' if v is None else str(int(v)) for v in values])}}}"


def texts(values: Iterable[str | None]) -> str:
    """Give texts as an array of PostgreSQL's."""
    quoted = [
        "NULL" if v is None else '"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for v in values
    ]
    return f"{{{','.join(quoted)}}}"


class Script:
    """The statements for one transaction, and what is read from what they found.

    Attributes:
        busy: What somebody else holds, to be tried again.
        kept: Releases of which the same is true.
    """

    def __init__(
        self,
        owner: int,
        changes: Iterable[Change],
        releases: Sequence[Claim],
        unsure: Collection[str],
        left: Iterable[Claim] = (),
    ) -> None:
        """Prepare what is to be written.

        Args:
            owner: What the database calls this process; 0 if it has asked for nothing yet.
            changes: Of different sagas.
            releases: Claims that were left.
            unsure: Ids that a transaction of ours may hold, that nobody has heard of since.
            left: Claims that were left, and may still stand in the database: what it says of these
                is not said of a claim that only seemed to fail.
        """
        self._owner, self._unsure = owner, unsure
        self._left = {(claim.saga_id, claim.epoch) for claim in left}
        self.busy: list[Change] = []
        self.kept: list[Claim] = []
        self._releases = releases
        self._creates: list[Create] = []
        self._appends: list[Append] = []
        self._takes: list[Take] = []
        self._mail: list[Mail] = []
        self._purges: list[Purge] = []
        for change in changes:
            change.error = None  # what was found before the connection was lost
            if type(change) is Append:
                self._appends.append(change)
            elif type(change) is Create:
                self._creates.append(change)
            elif type(change) is Take:
                self._takes.append(change)
            elif type(change) is Mail:
                change.there = None
                self._mail.append(change)
            elif type(change) is Purge:
                self._add_purge(change)
        self._before = {id(c) for c in chain(self._appends, self._noted()) if c.tried}
        self._unread: list[Change] = []

    def _add_purge(self, change: Purge) -> None:
        if change.seen.status in OPEN:
            message = f"saga {change.seen.saga_id!r} has not ended: it cannot be purged"
            change.error = JournalError(message)
        else:
            self._purges.append(change)

    @property
    def claims(self) -> bool:
        """Whether it makes claims, so that this process needs a number."""
        return bool(self._takes) or any(create.driven for create in self._creates)

    def _noted(self) -> Iterator[Change]:
        """Give the changes of which it is noted that they were tried, and no more than that."""
        return chain(self._creates, self._takes, self._mail, self._purges)

    # --- asking ----------------------------------------------------------------------------------

    def before_claims(self) -> list[Asked]:
        """Give what is to be done with what this process drives."""
        asked: list[Asked] = []
        if self._appends:
            asked.append(("append", self._appending()))
        if self._mail:
            asked.append(("post", self._posting()))
        if mailed := [c for c in self._appends if c.mailing is not None]:
            asked.append(("mailing", self._mailing(mailed)))
        if self._releases:
            asked.append(("release", self._releasing()))
        return asked

    def claiming(self, owner: int) -> list[Asked]:
        """Give the claims, as this owner, and what comes after these."""
        self._owner = owner
        asked: list[Asked] = []
        if self._creates:
            asked.append(("create", self._creating()))
        if self._takes:
            asked.append(("take", self._taking()))
            asked.append(("last_rows", {"numbers": array(c.seen.number for c in self._takes)}))
        if self._purges:
            asked.append(("hold", {"numbers": array(c.seen.number for c in self._purges)}))
        for name, forget in (("purge", False), ("forget", True)):
            purges = [c for c in self._purges if c.forget is forget]
            if purges:
                asked.append((name, _purging(purges)))
        return asked

    def note_commit(self) -> None:
        """Note what will be on record if the commit that comes now only seems to fail."""
        for change in self._noted():
            change.tried = True

    def _appending(self) -> Mapping[str, Any]:
        appends = self._appends
        for c in appends:
            if c.tried is None:
                c.tried = c.claim.rows + 1
        return {
            "owner": self._owner,
            "numbers": array(c.claim.number for c in appends),
            "epochs": array(c.claim.epoch for c in appends),
            "ns": array(_row_of(c) for c in appends),
            "bodies": texts(c.body for c in appends),
            "statuses": array(None if c.status is None else NUMBER_OF[c.status] for c in appends),
            "rested": array(c.rested for c in appends),
        }

    def _posting(self) -> Mapping[str, Any]:
        return {**_asking_for(self._mail), "bodies": texts(c.letter.body for c in self._mail)}

    def _mailing(self, appends: Sequence[Append]) -> Mapping[str, Any]:
        mailings = [_mailing_of(c) for c in appends]
        took = [(c.claim.number, key) for c in appends for key in _mailing_of(c).took]
        return {
            "owner": self._owner,
            "numbers": array(c.claim.number for c in appends),
            "ns": array(_row_of(c) for c in appends),
            "suspends": array(mailing.suspends for mailing in mailings),
            "dues": array(milliseconds(mailing.due) for mailing in mailings),
            "taken": array(number for number, _ in took),
            "keys": texts(key for _, key in took),
        }

    def _releasing(self) -> Mapping[str, Any]:
        releases = self._releases
        voids = [claim.before if claim.void else None for claim in releases]
        return {
            "owner": self._owner,
            "numbers": array(claim.number for claim in releases),
            "epochs": array(claim.epoch for claim in releases),
            "tries": array(None if seen is None else seen.tries for seen in voids),
            "dues": array(None if seen is None else round(seen.due * 1000) for seen in voids),
            "statuses": array(None if seen is None else NUMBER_OF[seen.status] for seen in voids),
            "changed": array(
                None if seen is None else round(seen.changed * 1000) for seen in voids
            ),
        }

    def _creating(self) -> Mapping[str, Any]:
        creates = self._creates
        for c in creates:
            c.claim.owner, c.claim.epoch = (self._owner if c.driven else 0), int(c.driven)
        return {
            "owner": self._owner,
            "ids": texts(c.claim.saga_id for c in creates),
            "names": texts(c.name for c in creates),
            "bodies": texts(c.body for c in creates),
            "driven": array(c.driven for c in creates),
        }

    def _taking(self) -> Mapping[str, Any]:
        takes = self._takes
        return {
            "owner": self._owner,
            "numbers": array(c.seen.number for c in takes),
            "epochs": array(c.seen.epoch for c in takes),
            "statuses": array(NUMBER_OF[c.seen.status] for c in takes),
            "owners": array(c.seen.owner for c in takes),
            "force": array(c.force for c in takes),
            "counted": array(c.counted for c in takes),
            "delays": array(milliseconds(c.delay) for c in takes),
        }

    # --- answers ---------------------------------------------------------------------------------

    def read(self, found: Mapping[str, Found]) -> None:
        """Note what was done, by what each statement has found."""
        self._unread = []
        written = {number for (number,) in found.get("append", ())}
        self._unread += [c for c in self._appends if c.claim.number not in written]
        letters = _letters(found.get("mailing", ()))
        for append in self._appends:
            if append.mailing is not None and append.claim.number in written:
                append.mailing.mail = letters.get(append.claim.number, ())
        posted = {number for (number,) in found.get("post", ())}
        self._unread += [c for c in self._mail if c.number not in posted]
        created = {saga_id: made for saga_id, *made in found.get("create", ())}
        for create in self._creates:
            made = created.get(create.claim.saga_id)
            if made is None:
                self._unread.append(create)
            else:
                _note_made(create.claim, *made)
        taken = {number for (number,) in found.get("take", ())}
        rows: dict[int, int] = dict(found.get("last_rows", ()))
        for take in self._takes:
            if take.seen.number in taken:
                self._took(take, rows[take.seen.number])
            else:
                self._unread.append(take)
        cleared = {number for name in ("purge", "forget") for (number,) in found.get(name, ())}
        self._unread += [c for c in self._purges if c.seen.number not in cleared]
        released = {number for (number,) in found.get("release", ())}
        self.kept = [claim for claim in self._releases if claim.number not in released]

    def looks(self) -> list[Asked]:
        """Give what is to be asked of that with which nothing was done; nothing if all was."""
        ids = [c.claim.saga_id for c in self._unread if type(c) is Create]
        rows = {claim.number: 0 for claim in self.kept}
        mailed: list[int] = []
        mail: list[Mail] = []
        for change in self._unread:
            if type(change) is Append:
                rows[change.claim.number] = _row_of(change)
                if change.mailing is not None:
                    mailed.append(change.claim.number)
            elif type(change) is Mail:
                mail.append(change)
            elif isinstance(change, Take | Purge):
                rows.setdefault(change.seen.number, 0)
        asked: list[Asked] = []
        if rows:
            asked.append(("look", {"numbers": array(rows), "ns": array(rows.values())}))
        if mailed:
            asked.append(("mail", {"numbers": array(mailed)}))
        if mail:
            asked.append(("look_mail", _asking_for(mail)))
        if ids:
            asked.append(("look_for", {"ids": texts(ids)}))
        return asked

    def judge(self, found: Mapping[str, Found]) -> None:
        """Say of the rest what it has come to."""
        sagas = {row[0]: row[1:] for row in found.get("look", ())}
        ids = {row[0]: row[1:] for row in found.get("look_for", ())}
        mail = {row[0]: row[1:] for row in found.get("look_mail", ())}
        letters = _letters(found.get("mail", ()))
        for change in self._unread:
            if type(change) is Append:
                number = change.claim.number
                self._judge_append(change, sagas.get(number), letters.get(number, ()))
            elif type(change) is Create:
                self._judge_create(change, ids.get(change.claim.saga_id))
            elif type(change) is Take:
                self._judge_take(change, sagas.get(change.seen.number))
            elif type(change) is Mail:
                self._judge_mail(change, mail[change.number])
            elif type(change) is Purge:  # pragma: no branch - nothing else is looked up
                self._judge_purge(change, sagas.get(change.seen.number))
        self.kept = [
            claim
            for claim in self.kept
            if (sagas.get(claim.number) or (0, 0))[:2] == (self._owner, claim.epoch)
        ]

    def _judge_append(
        self, change: Append, there: tuple[Any, ...] | None, mail: Sequence[Letter]
    ) -> None:
        claim, mailing = change.claim, change.mailing
        if there is None:
            change.error = taken_over(claim)
            return
        owner, epoch, _, body, last, _ = there
        stands = epoch == claim.epoch and owner in (0, claim.owner)
        # One that lets its saga wait is there whoever has claimed that since.
        lets_go = mailing is not None and mailing.suspends and id(change) in self._before
        if body == change.body and (stands or lets_go):  # our own commit, which seemed to fail
            if mailing is not None:
                mailing.mail = mail if stands and owner else ()
        elif not stands or owner == 0:  # left, and another row is the last one
            change.error = taken_over(claim)
        elif body is None:
            self.busy.append(change)
        else:  # the last word of a commit that seemed to fail, and that nobody tried again
            change.tried = last + 1
            self.busy.append(change)

    def _judge_mail(self, change: Mail, there: tuple[Any, ...]) -> None:
        is_there, is_purged, key, body = there
        if not is_there:
            change.error = gone(change.claim.saga_id)
        elif is_purged:
            change.error = purged(change.claim.saga_id)
        elif key is None:
            self.busy.append(change)
        elif id(change) not in self._before or body != change.letter.body:  # else our own commit
            change.there = Letter(key, body)

    def _judge_create(self, change: Create, there: tuple[Any, ...] | None) -> None:
        claim, saga_id = change.claim, change.claim.saga_id
        is_ours = id(change) in self._before
        if there is not None:
            number, owner, epoch, created = there
            if (
                is_ours
                and change.driven
                and (owner, epoch) == (claim.owner, claim.epoch)
                and (saga_id, epoch) not in self._left
            ):
                _note_made(claim, number, created)  # our own commit, which seemed to fail
            else:
                change.error = SagaExistsError(f"there is a saga {saga_id!r}")
        elif is_ours or saga_id in self._unsure:  # a transaction of ours holds the id, till it ends
            self.busy.append(change)
        else:
            change.error = begun_elsewhere(saga_id)

    def _judge_take(self, change: Take, there: tuple[Any, ...] | None) -> None:
        seen = change.seen
        ours = there is not None and there[:2] == (self._owner, seen.epoch + 1)
        ours = ours and (seen.saga_id, seen.epoch + 1) not in self._left
        if there is not None and ours and id(change) in self._before:
            self._took(change, there[4] or 0)
        elif there is not None and there[1] == seen.epoch:
            change.error = in_progress(seen.saga_id)
        else:
            change.error = changed(seen)

    def _took(self, change: Take, rows: int | None) -> None:
        claim, seen = change.claim, change.seen
        claim.number, claim.owner, claim.epoch = seen.number, self._owner, seen.epoch + 1
        claim.before, claim.rows, claim.created = seen, rows or 0, seen.created

    def _judge_purge(self, change: Purge, there: tuple[Any, ...] | None) -> None:
        seen = change.seen
        if id(change) in self._before and (there is None or there[2] is not None):
            return  # our own commit, which seemed to fail
        if there is not None and there[2] is not None and not change.forget:
            if seen.digest is None:
                change.error = changed(seen)
        elif there is not None and there[1] == seen.epoch and there[5]:
            change.error = unread(seen.saga_id)
        elif there is not None and there[1] == seen.epoch and there[0] == 0:
            self.busy.append(change)
        elif there is not None and there[1] == seen.epoch:
            change.error = in_progress(seen.saga_id)
        else:
            change.error = changed(seen)


def _note_made(claim: Claim, number: int, created: int) -> None:
    claim.number, claim.created = number, created / 1000


def _row_of(change: Append) -> int:
    assert isinstance(change.tried, int)  # noqa: S101 - noted before it is written
    return change.tried


def _mailing_of(change: Append) -> Mailing:
    assert change.mailing is not None  # noqa: S101 - only those are asked for that have one
    return change.mailing


def _letters(found: Iterable[tuple[Any, ...]]) -> Mapping[int, Sequence[Letter]]:
    """Give the mail of sagas by number; of one without any there may be a line without a key."""
    letters: dict[int, list[Letter]] = {}
    for saga, key, body in found:
        if key is not None:
            letters.setdefault(saga, []).append(Letter(key, body))
    return letters


def _asking_for(mail: Sequence[Mail]) -> Mapping[str, Any]:
    return {
        "numbers": array(c.number for c in mail),
        "ids": texts(c.claim.saga_id for c in mail),
        "keys": texts(c.letter.key for c in mail),
    }


def _purging(purges: Sequence[Purge]) -> Mapping[str, Any]:
    return {
        "numbers": array(c.seen.number for c in purges),
        "ids": texts(c.seen.saga_id for c in purges),
        "epochs": array(c.seen.epoch for c in purges),
        "statuses": array(NUMBER_OF[c.seen.status] for c in purges),
        "digests": texts(c.digest for c in purges),
    }


def begun_elsewhere(saga_id: str) -> SagaInProgress:
    """Somebody's transaction has the id, and may be rolled back yet."""
    return SagaInProgress(
        f"saga {saga_id!r} is being started by a transaction that has not ended: what "
        f"comes of that is seen once it has"
    )
