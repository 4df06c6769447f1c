"""Which sagas need a person, and why: what a monitor counts, and what a page shows first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import LONGEST_WAIT, OPEN, Summary
from py_api_saga.journal.format.sagas import awaited_in
from py_api_saga.journal.format.values import Trees
from py_api_saga.journal.lasting import View
from py_api_saga.status import SagaStatus
from py_api_saga.story.detail import at_a_glance
from py_api_saga.story.many import batches, each_read
from py_api_saga.story.saga import fold
from py_api_saga.story.words import error_words
from py_api_saga.wording import in_line

GRACE = 300.0  # seconds for which an open saga may wait for recovery
MANY = 3  # tries after which a saga deserves a look
_PIECE = 20  # sagas whose rows are read together where a few are enough


class Attention(NamedTuple):
    """What is unfinished in a journal, and what of it needs a person.

    What waits for an answer, and is not due, needs nobody.

    Attributes:
        stuck: Those that are stuck, newest first.
        overdue: Open ones that nobody drives, and that have waited for longer than the grace; or
            whose times are ahead, as a clock was set back since. And those for which an answer has
            been there for so long, ended or not.
        tried: Open ones that recovery has tried three times or more.
        unsure: Those that a process may drive or not, where nobody can tell.
        unfinished: All that are open, newest first.
        driven: By number, whether a living process drives it; None if that is unknown.
        waiting: Open ones that wait for answers, and are not due, newest first.
        waits: By number, for what an overdue one waits that says so: a module, say.
        unheard: By number, those which are overdue for an answer that is there.
        now: When that was, by the journal's clock.
    """

    stuck: Sequence[Summary]
    overdue: Sequence[Summary]
    tried: Sequence[Summary]
    unsure: Sequence[Summary]
    unfinished: Sequence[Summary]
    driven: Mapping[int, bool | None]
    waiting: Sequence[Summary]
    waits: Mapping[int, str]
    unheard: Collection[int]
    now: float

    @property
    def concern(self) -> Sequence[Summary]:
        """All that need a person, each once."""
        those = (*self.stuck, *self.overdue, *self.tried, *self.unsure)
        return list({seen.number: seen for seen in those}.values())

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "stuck": len(self.stuck),
            "overdue": len(self.overdue),
            "tried": len(self.tried),
            "open": len(self.unfinished),
            "waiting": len(self.waiting),
            "sagas": [
                at_a_glance(seen, driven=self.driven[seen.number])
                | {
                    "answered": seen.number in self.unheard,
                    "waits_for": self.waits.get(seen.number),
                }
                for seen in self.concern
            ],
        }


def attention(journal: View, grace: float = GRACE, most: int | None = None) -> Attention:
    """Tell what needs a person.

    Args:
        journal: To be read.
        grace: Seconds for which an open saga may wait for recovery.
        most: How many that are overdue are enough, the oldest; None for all. To tell of each takes
            its rows.
    """
    now = journal.now()
    latest = now - grace
    sagas = journal.select({SagaStatus.STUCK, *OPEN})  # all as they are at one moment
    driven = {seen.number: journal.drives(seen) for seen in sagas}
    unfinished = [seen for seen in sagas if seen.status in OPEN]
    lying = [seen for seen in unfinished if not driven[seen.number]]
    late = [seen for seen in lying if max(seen.changed, seen.due) < latest]
    # Told by a clock that was set back since, which hid from recovery that they are due; what waits
    # for an answer is believed.
    ahead = [
        seen
        for seen in lying
        if max(seen.changed, 0.0 if seen.suspended else seen.due) > now + LONGEST_WAIT
    ]
    silent, waits = _silent(journal, late, latest, most)
    unheard = [seen for seen in journal.left_mail(latest) if not journal.drives(seen)]
    driven |= {seen.number: False for seen in unheard}
    overdue = {seen.number: seen for seen in (*silent, *ahead, *unheard)}
    return Attention(
        [seen for seen in sagas if seen.status is SagaStatus.STUCK],
        list(overdue.values()),
        [seen for seen in unfinished if seen.tries >= MANY],
        [seen for seen in unfinished if journal.unsure and seen.owner],
        unfinished,
        driven,
        [seen for seen in unfinished if seen.suspended and seen.due > now],
        waits,
        {seen.number for seen in unheard},
        now,
    )


def _silent(
    journal: View, sagas: Sequence[Summary], since: float, most: int | None
) -> tuple[Sequence[Summary], Mapping[int, str]]:
    """Leave out those whose process wrote something after that, though their status stayed.

    And tell by number for what those wait that say so.
    """
    silent, waits = [], {}
    pieces = [sagas] if most is None else batches(sagas[::-1], _PIECE)
    for piece in pieces:
        for seen, rows in each_read(journal, piece):  # what cannot be read is taken for silent
            if rows is None or all(row.at < since for row in rows):
                silent.append(seen)
                if rows and (name := awaited_in(rows)) is not None:
                    waits[seen.number] = in_line(name)
        if most is not None and len(silent) >= most:
            break
    return silent, waits


class Retrying(NamedTuple):
    """An operation that a living process is about to call again.

    Attributes:
        seen: Its saga.
        operation: Its name.
        attempts: How often it, or its undo, was called.
        says: What the last call raised.
    """

    seen: Summary
    operation: str
    attempts: int
    says: str


_SETBACKS = ('"retry"', '"in doubt"')  # in the row of an entry; a value may have them as well


def retrying(journal: View, attention: Attention, most: int) -> Sequence[Retrying]:
    """Tell which of the open sagas only try again what failed: by their status they just run.

    Args:
        journal: To be read.
        attention: What was found in it.
        most: How many are looked into, the oldest.
    """
    found, values = [], Trees(journal)
    those = [seen for seen in attention.unfinished if attention.driven[seen.number]][-most:]
    for seen, rows in each_read(journal, those):
        if not any(word in row.body for row in rows or () for word in _SETBACKS):
            continue
        try:
            recorded, execution, _ = fold(rows or (), values)
        except JournalError:
            continue
        trouble = execution.trouble
        if trouble is None:
            continue
        names = recorded.definition.names.all()
        for i in trouble.waiting:
            error = trouble.undo_errors.get(i, trouble.errors.get(i))
            attempts = trouble.undo_tries.get(i, 0) or execution.tries[i]
            says = "" if error is None else error_words(error)
            found.append(Retrying(seen, names[i], attempts, says))
    return found
