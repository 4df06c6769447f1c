"""A journal that lives as long as its process: for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from py_api_saga import clock
from py_api_saga.exceptions import JournalError, SagaInProgress
from py_api_saga.journal.changes import (
    LONGEST_WAIT,
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
    Row,
    SagaExistsError,
    Summary,
    Take,
    gone,
    in_progress,
    milliseconds,
    purged,
    tallied,
    unread,
)
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.format.sealing import check_codec
from py_api_saga.journal.protocol import Codec
from py_api_saga.journal.reentry import interrupted, is_held
from py_api_saga.process import OwnLock
from py_api_saga.status import SagaStatus

_OWNER = 1  # this process


@dataclass
class _Saga:
    summary: Summary
    rows: list[Row] = field(default_factory=list)
    driver: Claim | None = None  # who is at it
    mail: dict[str, Letter] = field(default_factory=dict)  # by key, all that has ever come
    untaken: dict[str, Letter] = field(default_factory=dict)


class MemoryJournal:
    """Sagas in memory, with all that a journal promises, except to be there tomorrow."""

    spans_deploys = False  # there is one process

    def __init__(
        self,
        modules: Iterable[str] = (),
        aliases: Mapping[str, str] | None = None,
        codec: Codec | None = None,
    ) -> None:
        """Begin empty; the arguments are those of `SQLiteJournal`."""
        check_codec(codec)
        self.names = Functions(modules, aliases)
        self.codec = codec
        self._sagas: dict[int, _Saga] = {}
        self._numbers: dict[str, int] = {}
        self._number = 0
        self._barred: set[int] = set()
        self._lock = OwnLock()

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return "in memory"

    def write(self, *changes: Change) -> None:
        """Settle each change; raises JournalError as the other journal does in a signal handler."""
        if is_held(self._lock.own):
            raise interrupted()
        with self._lock:
            for change in changes:
                if not change.settled:
                    try:
                        self._write(change)
                    except (SagaExistsError, SagaInProgress, JournalError) as error:
                        change.error = error
                        change.claim.over |= not isinstance(error, JournalError)
                    change.settled = True

    async def awrite(self, *changes: Change) -> None:
        """Settle each change; there is nothing to wait for."""
        self.write(*changes)

    def _write(self, change: Change) -> None:
        match change:
            case Create():
                self._create(change)
            case Append():
                self._append(change)
            case Take():
                self._take(change)
            case Leave():
                self._leave(change.claim)
            case Mail():
                self._post(change)
            case _:
                assert isinstance(change, Purge)  # noqa: S101 - there are no others
                self._purge(change)

    def _create(self, change: Create) -> None:
        claim, now = change.claim, self.now()
        saga = self._by_id(claim.saga_id)
        if saga is not None:
            if saga.driver is not None and change.driven:
                raise in_progress(claim.saga_id)
            raise SagaExistsError(f"there is a saga {claim.saga_id!r}")
        self._number += 1
        claim.number = self._numbers[claim.saga_id] = self._number
        claim.rows, claim.created = 1, milliseconds(now) / 1000
        claim.epoch = claim.owner = int(change.driven)
        claim.over = not change.driven
        summary = Summary(
            claim.number,
            claim.saga_id,
            change.name,
            SagaStatus.RUNNING,
            claim.owner,
            claim.epoch,
            0,
            now,
            now,
            0.0,
            None,
        )
        driver = claim if change.driven else None
        self._sagas[claim.number] = _Saga(summary, [Row(1, now, change.body)], driver)

    def _append(self, change: Append) -> None:
        claim, now = change.claim, self.now()
        saga, row = self._sagas.get(claim.number), change.tried
        is_there = saga is not None and type(row) is int and len(saga.rows) >= row
        if saga is None or not (is_there or saga.driver is claim):
            message = f"saga {claim.saga_id!r} is not driven under this claim any more"
            raise SagaInProgress(message)
        if not is_there:  # else an interrupt has struck behind that
            change.tried = len(saga.rows) + 1
            saga.rows.append(Row(len(saga.rows) + 1, now, change.body))
        claim.rows = len(saga.rows)
        if change.status is not None:
            saga.summary = saga.summary._replace(status=change.status, changed=now)
        if change.rested:
            saga.summary = saga.summary._replace(tries=0, due=0.0)
        has_ended = change.status is not None and change.status not in OPEN
        if change.mailing is not None:
            has_ended = self._look_into_mail(saga, change.mailing, ended=has_ended)
        if has_ended:
            self._leave(claim)

    @staticmethod
    def _look_into_mail(saga: _Saga, mailing: Mailing, *, ended: bool) -> bool:
        """Note what the saga has taken in, see what is left, and tell whether to let it go."""
        for key in mailing.took:
            saga.untaken.pop(key, None)
        mailing.mail = list(saga.untaken.values())
        if mailing.has_suspended:
            saga.summary = saga.summary._replace(tries=0, due=mailing.due)
        return mailing.lets_go(ended=ended)

    def _post(self, change: Mail) -> None:
        saga, letter = self._sagas.get(change.number), change.letter
        if saga is None:
            change.error = gone(change.claim.saga_id)
        elif saga.summary.digest is not None:
            change.error = purged(change.claim.saga_id)
        else:
            change.there = saga.mail.get(letter.key)
            if change.there is None:
                saga.mail[letter.key] = saga.untaken[letter.key] = letter

    def _take(self, change: Take) -> None:
        claim, seen = change.claim, change.seen
        saga = self._sagas.get(seen.number)
        if saga is None or (saga.driver is not None and not change.force):
            raise in_progress(seen.saga_id)
        now = saga.summary
        if (now.epoch, now.status) != (seen.epoch, seen.status):
            raise in_progress(seen.saga_id)
        if saga.driver is not None:
            saga.driver.over = True
        saga.driver = claim
        claim.number, claim.owner, claim.epoch = seen.number, _OWNER, seen.epoch + 1
        claim.rows = len(saga.rows)
        claim.before, claim.created = now, milliseconds(now.created) / 1000
        saga.summary = now._replace(
            owner=_OWNER,
            epoch=claim.epoch,
            tries=now.tries + change.counted,
            changed=self.now(),
            due=self.now() + change.delay if change.delay else 0.0,
        )

    def _purge(self, change: Purge) -> None:
        seen = change.seen
        if seen.status in OPEN:
            message = f"saga {seen.saga_id!r} has not ended: it cannot be purged"
            raise JournalError(message)
        saga = self._sagas.get(seen.number)
        if saga is None or saga.driver is not None or saga.summary.epoch != seen.epoch:
            raise in_progress(seen.saga_id)
        if saga.untaken:
            raise unread(seen.saga_id)
        saga.rows, saga.mail = [], {}
        if saga.summary.digest is None:
            saga.summary = saga.summary._replace(digest=change.digest)
        if change.forget:
            del self._sagas[seen.number], self._numbers[seen.saga_id]

    def leave(self, claim: Claim) -> None:
        """Stop driving a saga."""
        with self._lock:
            self._leave(claim)

    def _leave(self, claim: Claim) -> None:
        claim.over = True
        saga = self._sagas.get(claim.number)
        if saga is not None and saga.driver is claim:
            saga.driver = None
            now, before = saga.summary._replace(owner=0), claim.before
            if claim.void and before is not None:
                changed = before.changed if now.status is before.status else now.changed
                now = now._replace(tries=before.tries, due=before.due, changed=changed)
            saga.summary = now
            if claim.barred:
                self._barred.add(claim.number)

    def find(self, saga_id: str) -> Summary | None:
        """Give the summary of a saga, or None if there is none."""
        with self._lock:
            saga = self._by_id(saga_id)
            return None if saga is None else saga.summary

    def _by_id(self, saga_id: str) -> _Saga | None:
        return self._sagas.get(self._numbers.get(saga_id, 0))

    def drives(self, seen: Summary) -> bool:
        """Tell whether somebody drives a saga."""
        with self._lock:
            saga = self._sagas.get(seen.number)
            return saga is not None and saga.driver is not None

    def mail(self, numbers: Collection[int]) -> Mapping[int, Sequence[Letter]]:
        """Give the answers to sagas, by number, that nobody has taken; oldest first."""
        with self._lock:
            sagas = {number: self._sagas.get(number) for number in numbers}
            return {n: list(saga.untaken.values()) if saga else [] for n, saga in sagas.items()}

    def rows(self, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
        """Give the rows of sagas by number, each in order."""
        with self._lock:
            return {n: list(self._sagas[n].rows) if n in self._sagas else [] for n in numbers}

    def now(self) -> float:
        """Tell the time, seconds since 1970."""
        return clock.time()

    def lately(self) -> float:
        """Tell the time, seconds since 1970."""
        return clock.time()

    def waiting(self, limit: int | None = None) -> Sequence[Summary]:
        """List the sagas that are to be gone on with and that nobody drives, oldest first."""
        now = self.now()
        far = now + LONGEST_WAIT
        with self._lock:
            return [
                s
                for saga in self._sagas.values()
                if saga.driver is None
                and (s := saga.summary).number not in self._barred
                and (
                    saga.untaken
                    or (s.status in OPEN and (s.due <= now or (s.tries > 0 and s.due > far)))
                )
            ][:limit]

    def select(
        self,
        statuses: Collection[SagaStatus] = (),
        name: str | None = None,
        *,
        before: float | None = None,
        after: float | None = None,
        prefix: str | None = None,
        below: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Summary]:
        """List sagas, newest first: of these statuses if any, changed before and after a time.

        With `prefix`, those whose id begins with it; with `below`, those whose number is less.
        """
        with self._lock:
            sagas = [saga.summary for saga in reversed(self._sagas.values())]
        return [
            s
            for s in sagas
            if (not statuses or s.status in statuses)
            and (name is None or s.name == name)
            and (before is None or s.changed < before)
            and (after is None or s.changed > after)
            and (prefix is None or s.saga_id.startswith(prefix))
            and (below is None or s.number < below)
        ][:limit]

    def tally(self, most: int | None = None) -> Mapping[SagaStatus, int]:
        """Count sagas by status, of those that are COMPLETED at most so many."""
        with self._lock:
            counted = Counter(saga.summary.status for saga in self._sagas.values())
        return tallied({NUMBER_OF[status]: number for status, number in counted.items()}, most)
