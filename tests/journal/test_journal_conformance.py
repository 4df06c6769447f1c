"""What every journal promises, whatever it keeps its sagas in, written to by threads or tasks."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded import SERVED, bodies, seen, served
from world import PATIENCE

from py_api_saga.clock import NEVER
from py_api_saga.exceptions import JournalError, SagaConflict, SagaInProgress
from py_api_saga.journal.changes import (
    LONGEST_WAIT,
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
)
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.memory import MemoryJournal
from py_api_saga.journal.protocol import Journal
from py_api_saga.journal.sqlite.journal import SQLiteJournal
from py_api_saga.status import SagaStatus

Write = Callable[..., None]

SQLITE: dict[str, dict[str, Any]] = {
    "wal power": {},
    "wal process": {"durability": "process"},
    "delete": {"durability": "process", "journal_mode": "delete"},
}


@pytest.fixture(params=["memory", *SQLITE, *SERVED])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    """Make an empty journal of each kind."""
    if request.param == "memory":
        yield MemoryJournal()
        return
    if request.param in SERVED:
        with served(request.param) as journal:
            yield journal
        return
    journal = SQLiteJournal(tmp_path / "journal", **SQLITE[request.param])
    yield journal
    journal.close()


@pytest.fixture(params=["write", "awrite"])
def write(request: pytest.FixtureRequest, journal: Journal) -> Write:
    """Write from a thread and from a task."""
    if request.param == "write":
        return journal.write

    def write(*changes: Change) -> None:
        asyncio.run(journal.awrite(*changes))

    return write


@pytest.fixture
def begin(write: Write) -> Callable[..., Claim]:
    """Create a saga and drive it."""

    def begin(saga_id: str = "a", name: str | None = "checkout", body: str = "[1]") -> Claim:
        change = Create(saga_id, name, body)
        write(change)
        return change.check()

    return begin


# --- a saga from its beginning to its end ---------------------------------------------------------


def test_a_new_saga_is_driven_by_who_creates_it(journal: Journal, begin: Any) -> None:
    """The claim and the summary say the same."""
    before = time.time()
    claim = begin()

    found = seen(journal)
    assert (claim.number, claim.owner, claim.epoch) == (found.number, found.owner, found.epoch)
    assert (found.saga_id, found.name, found.status) == ("a", "checkout", SagaStatus.RUNNING)
    assert (found.tries, found.due, found.digest, claim.over) == (0, 0, None, False)
    assert before - 0.01 < found.created == found.changed < time.time() + 0.01
    assert claim.owner
    assert claim.rows == 1
    assert journal.drives(found)


def test_rows_are_numbered_in_order_and_keep_their_time(journal: Journal, begin: Any) -> None:
    """Nothing of what was given is changed."""
    claim = begin(body='["é", "\\ud800", "\\u0000"]')
    journal.write(Append(claim, "[2]", None))

    rows = journal.rows([claim.number, 99])

    assert [(row.n, row.body) for row in rows[claim.number]] == [
        (1, '["é", "\\ud800", "\\u0000"]'),
        (2, "[2]"),
    ]
    assert abs(rows[claim.number][1].at - time.time()) < 5
    assert claim.rows == 2
    assert list(rows[99]) == []


@pytest.mark.parametrize("status", [SagaStatus.RUNNING, SagaStatus.COMPENSATING, None])
def test_an_open_saga_goes_on_being_driven(
    journal: Journal, write: Write, begin: Any, status: SagaStatus | None
) -> None:
    """A change of status from open to open changes nothing else."""
    claim = begin()
    write(Append(claim, "[2]", status))

    assert seen(journal).status is (status or SagaStatus.RUNNING)
    assert journal.drives(seen(journal))
    assert not claim.over


@pytest.mark.parametrize("status", [SagaStatus.STUCK, SagaStatus.COMPLETED, SagaStatus.COMPENSATED])
def test_the_last_row_ends_the_claim(
    journal: Journal, write: Write, begin: Any, status: SagaStatus
) -> None:
    """A saga at rest has no driver, and takes no more from whoever drove it."""
    claim = begin()
    write(Append(claim, "[2]", status))
    late = Append(claim, "[3]", None)
    write(late)

    assert (seen(journal).status, seen(journal).owner) == (status, 0)
    assert claim.over
    assert not journal.drives(seen(journal))
    with pytest.raises(SagaInProgress):
        late.check()
    assert bodies(journal) == ["[1]", "[2]"]


def test_an_id_is_used_once(journal: Journal, write: Write, begin: Any) -> None:
    """A second saga is refused, in another way while the first one is being driven."""
    claim = begin()
    early, late = Create("a", "other", "[9]"), Create("a", "other", "[9]")
    write(early)
    write(Append(claim, "[2]", SagaStatus.COMPLETED))
    write(late)

    with pytest.raises(SagaInProgress, match="'a'"):
        early.check()
    with pytest.raises(SagaExistsError):
        late.check()
    assert early.claim.over
    assert late.claim.over
    assert bodies(journal) == ["[1]", "[2]"]


def test_a_saga_can_be_left_for_others_from_the_start(journal: Journal, write: Write) -> None:
    """It waits at once, and its claim is good for nothing."""
    change = Create("a", None, "[1]", driven=False)
    write(change)
    append = Append(change.check(), "[2]", None)
    write(append)

    assert [waiting.saga_id for waiting in journal.waiting()] == ["a"]
    assert (seen(journal).name, seen(journal).owner, seen(journal).epoch) == (None, 0, 0)
    with pytest.raises(SagaInProgress):
        append.check()


def test_many_changes_are_settled_together(journal: Journal, write: Write) -> None:
    """Changes of one saga take effect in order, and the error of one is its own."""
    first, twice, other = (Create(i, "x", "[1]") for i in "aab")
    append = Append(first.claim, "[2]", SagaStatus.COMPENSATING)
    last = Append(first.claim, "[3]", SagaStatus.COMPENSATED)
    late = Append(first.claim, "[4]", None)
    write(first, twice, other, append, last, late)

    with pytest.raises(SagaInProgress):
        twice.check()
    with pytest.raises(SagaInProgress):
        late.check()
    assert other.check().number != first.check().number
    assert bodies(journal) == ["[1]", "[2]", "[3]"]
    assert seen(journal).status is SagaStatus.COMPENSATED


def test_a_change_is_written_once(journal: Journal, write: Write, begin: Any) -> None:
    """Whoever was interrupted may write it again."""
    claim = begin()
    change = Append(claim, "[2]", None)
    write(change, change)
    write(change)

    assert bodies(journal) == ["[1]", "[2]"]


def test_cancelling_withdraws_nothing(journal: Journal) -> None:
    """A task that is cancelled while it waits finds its row on record."""

    async def main() -> None:
        create = Create("a", "x", "[1]")
        task = asyncio.create_task(journal.awrite(create))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await journal.awrite(create)
        await journal.awrite(Append(create.check(), "[2]", None))

    asyncio.run(main())

    assert bodies(journal) == ["[1]", "[2]"]


# --- who drives it --------------------------------------------------------------------------------


def test_a_saga_that_was_left_can_be_claimed(journal: Journal, write: Write, begin: Any) -> None:
    """Who left it can't come back under the old claim."""
    claim = begin()
    journal.leave(claim)
    assert not journal.drives(seen(journal))
    take = Take(seen(journal), counted=True, delay=60.0)
    write(take)
    new, late = Append(take.check(), "[2]", None), Append(claim, "[3]", None)
    write(late, new)

    assert (take.claim.epoch, take.claim.rows, seen(journal).tries) == (2, 2, 1)
    assert seen(journal).due > time.time() + 50
    assert bodies(journal) == ["[1]", "[2]"]
    with pytest.raises(SagaInProgress):
        late.check()


def test_leaving_can_be_waited_for(journal: Journal, write: Write, begin: Any) -> None:
    """Then it is on record that nobody drives the saga."""
    claim = begin()
    leave = Leave(claim)
    write(leave)
    write(Leave(claim))

    assert leave.check().over
    assert seen(journal).owner == 0
    assert seen(journal).status is SagaStatus.RUNNING


def test_leaving_what_has_ended_or_never_began_is_harmless(
    journal: Journal, write: Write, begin: Any
) -> None:
    """Who leaves need not know."""
    claim = begin()
    write(Append(claim, "[2]", SagaStatus.COMPLETED))
    journal.leave(claim)
    never = Create("b", "x", "[1]")
    journal.leave(never.claim)
    journal.leave(Claim("c"))

    assert seen(journal).status is SagaStatus.COMPLETED
    assert journal.find("b") is None


def test_what_was_on_its_way_is_written_before_leaving(journal: Journal) -> None:
    """A task that was cancelled leaves its saga, with the row that was on its way."""

    async def main() -> None:
        create = Create("a", "x", "[1]")
        await journal.awrite(create)
        append = Append(create.check(), "[2]", None)
        task = asyncio.create_task(journal.awrite(append))
        await asyncio.sleep(0)
        journal.leave(create.claim)
        await task
        append.check()
        await journal.awrite(Create("b", "x", "[1]"))

    asyncio.run(main())

    assert bodies(journal) == ["[1]", "[2]"]
    assert seen(journal).owner == 0


def test_what_somebody_drives_is_not_given_away(journal: Journal, write: Write, begin: Any) -> None:
    """Neither the driver nor the summary notice that somebody tried."""
    claim = begin()
    before = seen(journal)
    take = Take(before, counted=True)
    write(take)

    with pytest.raises(SagaInProgress):
        take.check()
    assert take.claim.over
    assert not claim.over
    assert seen(journal) == before
    journal.leave(take.claim)
    write(Append(claim, "[2]", None))
    assert bodies(journal) == ["[1]", "[2]"]


def test_a_claim_by_force_ends_the_other_one(journal: Journal, write: Write, begin: Any) -> None:
    """What the loser writes is refused from then on."""
    claim = begin()
    take = Take(seen(journal), force=True)
    write(take)
    late = Append(claim, "[2]", SagaStatus.COMPLETED)
    write(late)

    assert take.check().epoch == 2
    assert claim.over
    assert journal.drives(seen(journal))
    with pytest.raises(SagaInProgress):
        late.check()
    journal.leave(claim)
    write(Append(take.claim, "[3]", None))
    assert bodies(journal) == ["[1]", "[3]"]


def test_a_claim_of_what_has_changed_since_is_refused(
    journal: Journal, write: Write, begin: Any
) -> None:
    """Also by force: whoever claims must have seen what there is."""
    claim = begin()
    old = seen(journal)
    journal.leave(claim)
    first = Take(old)
    write(first)
    journal.leave(first.check())
    for late in (Take(old), Take(old, force=True)):
        write(late)
        with pytest.raises(SagaInProgress):
            late.check()
    gone = Take(old._replace(number=99, saga_id="never"))
    write(gone)
    with pytest.raises(SagaInProgress):
        gone.check()
    assert [waiting.saga_id for waiting in journal.waiting()] == ["a"]


def test_one_of_two_gets_it(journal: Journal, write: Write, begin: Any) -> None:
    """Two claims in one commit: the second one comes too late."""
    journal.leave(begin())
    takes = Take(seen(journal)), Take(seen(journal))
    write(*takes)

    takes[0].check()
    with pytest.raises(SagaInProgress):
        takes[1].check()
    assert seen(journal).epoch == 2


def test_a_person_may_claim_what_is_stuck(journal: Journal, write: Write, begin: Any) -> None:
    """It is as it was until the person decides; then its tries count anew."""
    claim = begin()
    journal.leave(claim)
    write(tried := Take(seen(journal), counted=True, delay=0.001))
    write(Append(tried.check(), "[2]", SagaStatus.STUCK))
    write(take := Take(seen(journal)))
    assert (seen(journal).status, seen(journal).tries) == (SagaStatus.STUCK, 1)
    write(Append(take.check(), "[3]", SagaStatus.RUNNING, rested=True))

    found = seen(journal)
    assert (found.status, found.tries, found.due) == (SagaStatus.RUNNING, 0, 0)
    assert journal.drives(found)


# --- looking for sagas ----------------------------------------------------------------------------


def test_an_unknown_id_is_not_found(journal: Journal) -> None:
    """An empty journal is not an error."""
    assert journal.find("a") is None
    assert list(journal.waiting()) == []
    assert list(journal.select()) == []
    assert dict(journal.rows([])) == {}


def test_what_waits_is_open_due_and_nobodys(
    journal: Any, write: Write, begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oldest first, and no more than asked for."""
    claims = {i: begin(i) for i in ("driven", "ended", "later", "first", "second")}
    write(Append(claims["ended"], "[2]", SagaStatus.COMPLETED))
    for i in ("second", "first", "later"):
        journal.leave(claims[i])
    write(take := Take(seen(journal, "later"), delay=60.0))
    write(Leave(take.check()))

    assert [waiting.saga_id for waiting in journal.waiting()] == ["first", "second"]
    assert [waiting.saga_id for waiting in journal.waiting(1)] == ["first"]
    monkeypatch.setattr(journal, "now", lambda: time.time() + 61)
    found = [waiting.saga_id for waiting in journal.waiting()]
    assert sorted(found) == ["first", "later", "second"]
    assert found.index("first") < found.index("second")  # a journal may look by when they are due


def test_what_is_due_later_than_any_wait_of_ours_is_due(
    journal: Any, write: Write, begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recovery that died while the clock was a year fast does not hide a saga for a year."""
    claim = begin()
    for delay, is_due in ((LONGEST_WAIT - 1, False), (LONGEST_WAIT + 60, True)):
        journal.leave(claim)
        write(take := Take(seen(journal), counted=True, delay=delay))
        write(Leave(claim := take.check()))

        assert [waiting.saga_id for waiting in journal.waiting()] == ["a"] * is_due
        with monkeypatch.context() as later:
            later.setattr(journal, "now", lambda seconds=delay: time.time() + seconds)
            assert [waiting.saga_id for waiting in journal.waiting()] == ["a"]


def test_sagas_are_selected_newest_first(journal: Journal, write: Write, begin: Any) -> None:
    """By status, name and when they changed; without these, all of them."""

    def ids(*arguments: Any, **filters: Any) -> str:
        return "".join(found.saga_id for found in journal.select(*arguments, **filters))

    claims = {i: begin(i, "even" if i in "bd" else "odd") for i in "abcd"}
    time.sleep(0.01)
    middle = time.time()
    time.sleep(0.01)
    write(Append(claims["b"], "[2]", SagaStatus.COMPLETED))
    write(Append(claims["c"], "[2]", SagaStatus.STUCK))

    assert ids() == "dcba"
    assert ids(limit=2) == "dc"
    assert ids({SagaStatus.COMPLETED, SagaStatus.STUCK}) == "cb"
    assert ids([SagaStatus.RUNNING], "odd") == "a"
    assert ids(name="even") == "db"
    assert ids(before=middle) == "da"
    assert ids(after=middle, name="odd") == "c"
    assert ids({SagaStatus.COMPENSATED}) == ""


BEGINNING_WITH = {
    "shop-": "shop-1 shop-\U0010ffff shop-\U0010ffff1 shop-%",
    "shop-%": "shop-%",
    "shop-\U0010ffff": "shop-\U0010ffff shop-\U0010ffff1",
    "\U0010ffff": "\U0010ffff2",
    "\ud7ff": "\ud7ff",
    "": "shop-1 shop-\U0010ffff shop-\U0010ffff1 shop-% shop. sho \ud7ff \ue000 \U0010ffff2",
    "Shop": "",
}


def test_sagas_are_selected_by_what_their_ids_begin_with(journal: Journal, write: Write) -> None:
    """Letter by letter: nothing stands for anything else."""
    for saga_id in ("shop-1", "shop-\U0010ffff", "shop-\U0010ffff1", "shop-%", "shop.", "sho"):
        write(Create(saga_id, None, "[1]", driven=False))
    for saga_id in ("\ud7ff", "\ue000", "\U0010ffff2"):
        write(Create(saga_id, None, "[1]", driven=False))

    for prefix, found in BEGINNING_WITH.items():
        assert [one.saga_id for one in journal.select(prefix=prefix)] == found.split()[::-1]
        running = journal.select({SagaStatus.RUNNING}, prefix=prefix, limit=1)
        assert [one.saga_id for one in running] == found.split()[-1:]
        assert journal.select({SagaStatus.STUCK}, prefix=prefix) == []


# --- answers that come later ----------------------------------------------------------------------

FIRST, SECOND = Letter("a:pay:action", '["answered", 1]'), Letter("a:ask:action", '["denied", []]')


def mailing(claim: Claim, *took: str, body: str = "[]", status: Any = None, **what: Any) -> Append:
    """Make a row that looks into the mail."""
    append = Append(claim, body, status)
    append.mailing = Mailing(took, **what)
    return append


def post(write: Write, journal: Journal, letter: Letter = FIRST, saga_id: str = "a") -> Mail:
    """Give an answer to a saga that is there."""
    write(mail := Mail(saga_id, seen(journal, saga_id).number, letter))
    mail.check()
    return mail


def keys(append: Append) -> list[str]:
    """Give the keys of what a row has found in the mail."""
    append.check()
    assert append.mailing is not None
    assert append.mailing.mail is not None
    return [letter.key for letter in append.mailing.mail]


def letters(journal: Journal, number: int) -> list[Letter]:
    """Give the answers to a saga that nobody has taken."""
    return [*journal.mail([number])[number]]


def ids(journal: Journal, limit: int | None = None) -> list[str]:
    """Tell which sagas are to be gone on with."""
    return [found.saga_id for found in journal.waiting(limit)]


def test_a_saga_that_waits_for_an_answer_is_nobodys(
    journal: Journal, write: Write, begin: Any
) -> None:
    """Nobody drives it, it is not due, and whoever had it can write no more."""
    claim = begin()
    write(suspended := mailing(claim, body="[2]", suspends=True))
    late = Append(claim, "[3]", None)
    write(late)

    assert keys(suspended) == []
    assert suspended.mailing is not None
    assert suspended.mailing.has_suspended
    found = seen(journal)
    assert (found.status, found.owner, found.tries) == (SagaStatus.RUNNING, 0, 0)
    assert (found.epoch, found.due) == (claim.epoch, NEVER)
    assert claim.over
    assert not journal.drives(found)
    assert ids(journal) == []
    with pytest.raises(SagaInProgress):
        late.check()
    assert bodies(journal) == ["[1]", "[2]"]


def test_a_saga_that_waits_is_due_when_it_says(
    journal: Any, write: Write, begin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far that is, since no recovery has put it off; and then it is taken like any."""
    for days in (1, 400):
        due = journal.now() + days * 86_400
        write(mailing(begin(f"{days}"), suspends=True, due=due))
        assert abs(seen(journal, f"{days}").due - due) < 0.01
    assert ids(journal) == []
    for days, waiting in ((1, {"1"}), (400, {"1", "400"})):
        with monkeypatch.context() as later:
            later.setattr(journal, "now", lambda days=days: time.time() + days * 86_400 + 1)
            assert {*ids(journal)} == waiting

    write(take := Take(seen(journal, "1"), counted=True, delay=60.0))
    write(mailing(take.check(), suspends=True))
    found = seen(journal, "1")
    assert (found.tries, found.due, found.epoch) == (0, NEVER, 2)


def test_an_answer_needs_no_claim(journal: Journal, write: Write, begin: Any) -> None:
    """Neither while somebody drives the saga, nor while nobody does; and it makes that due."""
    claim = begin()
    assert post(write, journal).there is None
    assert journal.drives(seen(journal))
    assert not claim.over
    assert letters(journal, claim.number) == [FIRST]
    assert ids(journal) == []
    journal.leave(claim)
    assert ids(journal) == ["a"]

    write(take := Take(seen(journal)))
    write(mailing(take.check(), FIRST.key, suspends=True))
    assert (letters(journal, claim.number), ids(journal)) == ([], [])
    assert post(write, journal, SECOND).there is None
    assert letters(journal, claim.number) == [SECOND]
    assert ids(journal) == ["a"]
    assert ids(journal, 0) == []


def test_an_answer_is_given_once(journal: Journal, write: Write, begin: Any) -> None:
    """What comes again under its key finds the first one, also once that was taken."""
    claim = begin()
    assert post(write, journal).there is None
    other = Letter(FIRST.key, '["denied", []]')
    assert post(write, journal).there == FIRST
    assert post(write, journal, other).there == FIRST
    write(mailing(claim, FIRST.key))

    assert post(write, journal, other).there == FIRST
    assert letters(journal, claim.number) == []


def test_a_saga_with_an_answer_does_not_begin_to_wait(
    journal: Journal, write: Write, begin: Any
) -> None:
    """Whoever would suspend it finds what has come, oldest first, and goes on driving it."""
    claim = begin()
    for letter in (FIRST, SECOND):
        post(write, journal, letter)
    write(row := mailing(claim, body="[2]", suspends=True))
    assert keys(row) == [FIRST.key, SECOND.key]
    assert row.mailing is not None
    assert not row.mailing.has_suspended
    assert not claim.over
    assert journal.drives(seen(journal))
    write(row := mailing(claim, FIRST.key, body="[3]", suspends=True))
    assert keys(row) == [SECOND.key]
    write(row := mailing(claim, SECOND.key, body="[4]", suspends=True))

    assert keys(row) == []
    assert row.mailing is not None
    assert row.mailing.has_suspended
    assert bodies(journal) == ["[1]", "[2]", "[3]", "[4]"]
    assert letters(journal, claim.number) == []


def test_a_row_may_look_into_the_mail_and_go_on(journal: Journal, write: Write, begin: Any) -> None:
    """Without an answer as well: it suspends nothing unless it says so."""
    claim = begin()
    for letter in ((), (FIRST,)):
        for one in letter:
            post(write, journal, one)
        write(row := mailing(claim, status=SagaStatus.COMPENSATING))
        assert keys(row) == [one.key for one in letter]
        assert journal.drives(seen(journal))
        assert not claim.over


@pytest.mark.parametrize("status", [SagaStatus.STUCK, SagaStatus.COMPLETED, SagaStatus.COMPENSATED])
def test_a_saga_that_ends_over_an_answer_stays_with_its_driver(
    journal: Journal, write: Write, begin: Any, status: SagaStatus
) -> None:
    """Its status is on record; the claim ends with the first row that finds no mail."""
    claim = begin()
    post(write, journal)
    write(row := mailing(claim, body="[2]", status=status))
    assert keys(row) == [FIRST.key]
    assert seen(journal).status is status
    assert seen(journal).owner == claim.owner
    assert journal.drives(seen(journal))
    assert not claim.over
    write(row := mailing(claim, FIRST.key, body="[3]", status=status))

    assert keys(row) == []
    assert claim.over
    assert seen(journal).owner == 0
    assert ids(journal) == []


def test_a_saga_that_ends_in_time_is_over(journal: Journal, write: Write, begin: Any) -> None:
    """With a look into an empty mail as without one."""
    claim = begin()
    write(row := mailing(claim, status=SagaStatus.COMPLETED))

    assert keys(row) == []
    assert claim.over
    assert seen(journal).owner == 0


def test_an_ended_saga_with_an_answer_is_gone_on_with(
    journal: Journal, write: Write, begin: Any
) -> None:
    """One that comes late may have to be undone: recovery finds it until it was taken."""
    write(Append(begin(), "[2]", SagaStatus.COMPENSATED))
    begin("driven")
    assert ids(journal) == []
    post(write, journal)
    assert ids(journal) == ["a"]
    write(take := Take(seen(journal)))
    assert ids(journal) == []
    write(mailing(take.check(), FIRST.key, status=SagaStatus.COMPENSATED))

    assert ids(journal) == []


def test_each_saga_is_listed_once(journal: Journal, write: Write, begin: Any) -> None:
    """Also one that is due and has several answers."""
    for saga_id in ("due", "waits", "far"):
        claim = begin(saga_id)
        for i in range(2):
            write(Mail(saga_id, claim.number, Letter(f"{saga_id}:{i}", "[]")))
    due, waits, far = (seen(journal, saga_id) for saga_id in ("due", "waits", "far"))
    for found in (due, waits, far):
        write(Take(found, force=True))
        write(take := Take(seen(journal, found.saga_id), force=True))
        took = [letter.key for letter in letters(journal, found.number)]
        write(mailing(take.check(), *took, suspends=True, due=0.0 if found is due else NEVER))
        for i in range(2, 4):
            write(Mail(found.saga_id, found.number, Letter(f"{found.saga_id}:{i}", "[]")))
    write(take := Take(seen(journal, "far"), counted=True, delay=LONGEST_WAIT + 60))
    write(Leave(take.check()))

    assert sorted(ids(journal)) == ["due", "far", "waits"]
    assert len(ids(journal, 2)) == 2


def test_mail_goes_with_its_saga(journal: Journal, write: Write, begin: Any) -> None:
    """A saga is not purged over an answer that nobody has taken, and takes its answers with it."""
    for saga_id, forget in (("a", False), ("b", True)):
        write(Append(claim := begin(saga_id), "[2]", SagaStatus.COMPLETED))
        letter = Letter(f"{saga_id}:pay:action", '["answered", 1]')
        post(write, journal, letter, saga_id)
        write(refused := Purge(seen(journal, saga_id), "digest", forget=forget))
        with pytest.raises(SagaInProgress, match="has an answer in its mail"):
            refused.check()
        assert bodies(journal, saga_id) == ["[1]", "[2]"]
        write(take := Take(seen(journal, saga_id)))
        write(mailing(take.check(), letter.key, status=SagaStatus.COMPLETED))
        write(purge := Purge(seen(journal, saga_id), "digest", forget=forget))
        purge.check()

        write(late := Mail(saga_id, claim.number, letter))
        with pytest.raises(LookupError if forget else SagaConflict, match=f"'{saga_id}'"):
            late.check()
        assert letters(journal, claim.number) == []
    assert ids(journal) == []
    number = begin("b").number
    write(again := Mail("b", number, Letter("b:pay:action", "[]")))
    again.check()
    assert again.there is None


def test_an_answer_to_no_saga_is_refused(journal: Journal, write: Write) -> None:
    """It is kept for nobody, and spoils nothing that is written with it."""
    create = Create("a", "x", "[1]")
    mail = Mail("never", 999, Letter("never:pay:action", "[]"))
    write(mail, create)

    assert create.check().number
    with pytest.raises(LookupError, match="'never'"):
        mail.check()
    assert dict(journal.mail([999, create.claim.number])) == {999: [], create.claim.number: []}


def test_answers_and_rows_of_one_saga_are_written_in_order(
    journal: Journal, write: Write, begin: Any
) -> None:
    """One batch may have both: what was posted before a row is found by it."""
    claim, other = begin(), begin("b")
    mails = [Mail("a", claim.number, letter) for letter in (FIRST, SECOND, FIRST)]
    rows = [mailing(claim, suspends=True), mailing(claim, FIRST.key, SECOND.key, suspends=True)]
    elsewhere = mailing(other, suspends=True)
    write(mails[0], rows[0], elsewhere, mails[1], mails[2])
    assert keys(rows[0]) == [FIRST.key]
    assert keys(elsewhere) == []
    assert [mail.there for mail in mails if mail.check() is mail.claim] == [None, None, FIRST]
    write(rows[1])

    assert keys(rows[1]) == []
    assert ids(journal) == []


def test_one_of_two_answers_is_first(journal: Journal, write: Write, begin: Any) -> None:
    """Many at once, each of its own: all but one find that one."""
    number = begin().number
    said = [f'["answered", {i}]' for i in range(8)]
    mails = [Mail("a", number, Letter(FIRST.key, body)) for body in said]
    workers = [threading.Thread(target=write, args=(mail,)) for mail in mails]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)

    first = [mail for mail in mails if mail.error is None and mail.there is None]
    assert len(first) == 1
    assert {mail.there for mail in mails} == {None, first[0].letter}
    assert letters(journal, number) == [first[0].letter]


# --- purging --------------------------------------------------------------------------------------


def test_all_that_is_selected_is_what_was_asked_for(journal: Journal, write: Write) -> None:
    """Open ones and stuck ones together come newest first, too, and with a name or a limit."""
    half = SagaStatus.RUNNING, SagaStatus.COMPENSATING, SagaStatus.STUCK
    wanted = [SagaStatus.COMPLETED, *half] * 3
    for i, status in enumerate(wanted):
        write(create := Create(f"{i}", "even" if i % 2 == 0 else None, "[1]"))
        moved = None if status is SagaStatus.RUNNING else status
        write(Append(create.check(), "[2]", moved))

    def ids(*asked: Any, **more: Any) -> list[int]:
        return [int(seen.saga_id) for seen in journal.select(*asked, **more)]

    newest = range(len(wanted))[::-1]
    assert ids() == list(newest)
    assert ids(half) == [i for i in newest if wanted[i] in half]
    assert ids(half[:1]) == [i for i in newest if wanted[i] is SagaStatus.RUNNING]
    assert ids(half[1:], limit=2) == [i for i in newest if wanted[i] in half[1:]][:2]
    assert ids((), "even") == [i for i in newest if i % 2 == 0]
    assert ids(half, "even") == [i for i in newest if i % 2 == 0 and wanted[i] in half]
    assert ids({SagaStatus.COMPLETED}, "odd") == []


def test_a_purged_saga_keeps_its_id_and_its_end(journal: Journal, write: Write, begin: Any) -> None:
    """Its rows are gone, its digest is there, and nobody can use the id again."""
    write(Append(begin(), "[2]", SagaStatus.COMPLETED))
    purge = Purge(seen(journal), "digest")
    write(purge)
    write(again := Create("a", "x", "[1]"))

    purge.check()
    found = seen(journal)
    assert (found.status, found.digest) == (SagaStatus.COMPLETED, "digest")
    assert bodies(journal) == []
    with pytest.raises(SagaExistsError):
        again.check()


def test_a_second_purge_changes_nothing(journal: Journal, write: Write, begin: Any) -> None:
    """What the first one has kept of the saga stays."""
    write(Append(begin(), "[2]", SagaStatus.COMPLETED))
    write(Purge(seen(journal), "digest"))
    purged = seen(journal)
    write(purge := Purge(purged, "another"))

    purge.check()
    assert seen(journal) == purged


def test_a_forgotten_saga_frees_its_id(journal: Journal, write: Write, begin: Any) -> None:
    """A new saga with this id has nothing of the old one."""
    write(Append(begin(), "[2]", SagaStatus.COMPENSATED))
    write(Purge(seen(journal), "digest", forget=True))
    assert journal.find("a") is None
    begin(body="[new]")

    assert bodies(journal) == ["[new]"]


def test_an_open_saga_is_not_purged(journal: Journal, write: Write, begin: Any) -> None:
    """Neither when somebody drives it, nor when nobody does."""
    claim = begin()
    driven = Purge(seen(journal), "digest", forget=True)
    write(driven)
    journal.leave(claim)
    left = Purge(seen(journal), "digest")
    write(left)

    for purge in (driven, left):
        with pytest.raises((JournalError, SagaInProgress)):
            purge.check()
    assert bodies(journal) == ["[1]"]


def test_what_was_claimed_since_is_not_purged(journal: Journal, write: Write, begin: Any) -> None:
    """A person who took a stuck saga up keeps it."""
    write(Append(begin(), "[2]", SagaStatus.STUCK))
    old = seen(journal)
    write(take := Take(old))
    write(during := Purge(old, "digest"))
    write(Leave(take.check()))
    write(after := Purge(old, "digest"))

    for purge in (during, after):
        with pytest.raises(SagaInProgress):
            purge.check()
    assert bodies(journal) == ["[1]", "[2]"]


# --- many at once ---------------------------------------------------------------------------------


def sagas(who: str, k: int) -> Iterator[Change]:
    """Give the changes of ten sagas, one after the other."""
    for i in range(10):
        yield (create := Create(f"{who}-{k}-{i}", "x", f"[{k}, {i}]"))
        yield (append := Append(create.check(), f"[{k}, {i}, 2]", None))
        append.check()
        yield (append := Append(create.check(), f"[{k}, {i}, 3]", SagaStatus.COMPLETED))
        append.check()


def test_threads_and_tasks_write_at_once(journal: Journal) -> None:
    """Each saga has its rows, in order, and nothing of another one."""

    def thread(k: int) -> None:
        for change in sagas("thread", k):
            journal.write(change)

    async def task(k: int) -> None:
        for change in sagas("task", k):
            await journal.awrite(change)

    async def tasks() -> None:
        await asyncio.gather(*map(task, range(8)))

    workers = [threading.Thread(target=thread, args=(k,)) for k in range(4)]
    workers += [threading.Thread(target=asyncio.run, args=(tasks(),))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)

    done = journal.select({SagaStatus.COMPLETED})
    assert len(done) == 120
    rows = journal.rows([found.number for found in done])
    for found in done:
        _, k, i = found.saga_id.split("-")
        assert [row.body for row in rows[found.number]] == [
            f"[{k}, {i}]",
            f"[{k}, {i}, 2]",
            f"[{k}, {i}, 3]",
        ]


def test_a_journal_says_which_names_its_sagas_may_use(journal: Journal) -> None:
    """Nothing but this library's own, unless modules are given."""
    assert isinstance(journal.names, Functions)
    assert journal.codec is None


# --- pages ----------------------------------------------------------------------------------------


def _many(write: Write) -> None:
    """Have a saga of each of these letters, the oldest first."""
    of = {"r": SagaStatus.RUNNING, "s": SagaStatus.STUCK, "d": SagaStatus.COMPLETED}
    of["u"] = SagaStatus.COMPENSATED
    creates = [Create(f"{i:02}", "xy"[i % 2], "[1]") for i in range(12)]
    for create in creates:
        write(create)
    stands = zip(creates, "drsuddsdrdsd", strict=True)
    write(*(Append(c.claim, "[2]", of[letter]) for c, letter in stands if letter != "r"))


FILTERS: list[dict[str, Any]] = [
    {},
    {"name": "x"},
    {"statuses": {SagaStatus.STUCK}},
    {"statuses": {SagaStatus.COMPLETED}},
    {"statuses": {SagaStatus.COMPLETED}, "name": "y"},
    {"statuses": {SagaStatus.RUNNING, SagaStatus.STUCK}},
    {"statuses": {SagaStatus.COMPENSATED}},
    {"statuses": {SagaStatus.COMPENSATED, SagaStatus.STUCK}, "name": "x"},
    {"prefix": "0"},
]


def test_pages_follow_each_other_without_a_gap(journal: Journal, write: Write) -> None:
    """Each goes on below the last saga of the one before, whatever is asked for."""
    _many(write)
    for filters in FILTERS:
        whole = [one.saga_id for one in journal.select(**filters)]
        pages, below = [], None
        for _ in range(len(whole) + 1):
            page = journal.select(**filters, below=below, limit=2)
            pages += [one.saga_id for one in page]
            below = page[-1].number if page else 0

        assert pages == whole, filters
        assert whole == sorted(whole, reverse=True)
    assert list(journal.select(below=0)) == []


def test_sagas_are_counted_by_status(journal: Journal, write: Write) -> None:
    """All of them; of what has completed no more than asked for, so that it is told in time."""
    assert set(journal.tally().values()) == {0}
    _many(write)

    for most, completed in ((None, 6), (100, 6), (6, 6), (2, 2), (0, 0)):
        tally = journal.tally(most)
        assert tally == {
            SagaStatus.RUNNING: 2,
            SagaStatus.COMPENSATING: 0,
            SagaStatus.STUCK: 3,
            SagaStatus.COMPLETED: completed,
            SagaStatus.COMPENSATED: 1,
        }, most
