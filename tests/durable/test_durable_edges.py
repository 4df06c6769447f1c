"""Unlucky moments: values that turn on us, ids that come back, claims on their way."""

from __future__ import annotations

import asyncio
import pickle
import re
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import depot
import pytest
from depot import do, fail, undo
from recorded import (
    SQLITE,
    WHO,
    Faulty,
    Reversed,
    Wrapped,
    bodies,
    chain,
    crashed,
    seen,
    status,
    stuck,
)
from world import PATIENCE, Watch, in_time

from py_api_saga import (
    UNKNOWN,
    JournalError,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaInProgress,
    SagaStatus,
    SagaStuck,
    Status,
    arecover,
    happened,
    recover,
    result_of,
    takeover,
)
from py_api_saga.durable import recovery
from py_api_saga.journal import MemoryJournal, SQLiteJournal
from py_api_saga.journal.changes import Append, Create, Take
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.repair import DecisionError, again, purge, purge_all, resolve

# --- values ---------------------------------------------------------------------------------------


def test_an_undo_of_a_result_that_cannot_be_kept_can_be_read_again(journal: Any) -> None:
    """Live it is given the result; in another process it says what it lacks, and is stuck."""
    depot.behaviour["b"] = object
    saga = (
        SagaAssembler.saga(name="depot")
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b"), (undo, "b", result_of()), name="b")
    )
    for _ in range(2):
        with pytest.raises(SagaException) as caught:
            saga.orchestrator_execute(journal=journal, saga_id="x")
        assert caught.value.outcome is SagaStatus.COMPENSATED
        assert caught.value.operation_name == "b"
    with pytest.raises(JournalError):
        saga.orchestrator_execute(journal=Faulty(journal, 3), saga_id="y")

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.STUCK
    assert isinstance(done.error, SagaException)
    assert list(done.error.stuck) == ["b"]
    assert resolve(journal, "y", "b", Status.COMPENSATED, **WHO) is SagaStatus.COMPENSATED


def test_an_operation_that_was_resolved_without_a_result_can_be_undone_later(journal: Any) -> None:
    """Its undo says what it lacks; the others are undone."""
    depot.behaviour["b"] = fail(ValueError("no"))
    saga = (
        SagaAssembler.saga(name="depot")
        .operation((do, "a"), (undo, "a", result_of()), name="a", on_doubt="park")
        .operation((do, "b"), name="b")
    )
    crashed(journal, saga, 1)
    assert [done.outcome for done in recover(journal)] == [SagaStatus.STUCK]
    resolve(journal, "x", "a", Status.SUCCEEDED, **WHO)

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.STUCK
    assert "the result of 'a' is not known" in str(done.error)


def test_a_result_that_nobody_knows_is_none(journal: Any) -> None:
    """A person has said that it happened, and not what came of it."""
    crashed(journal, SagaAssembler.saga().operation((do, "a"), name="a", on_doubt="park"), 1)
    recover(journal)
    resolve(journal, "x", "a", Status.SUCCEEDED, **WHO)

    saga = SagaAssembler.saga().operation((do, "a"), name="a", on_doubt="park")
    assert saga.orchestrator_execute(journal=journal, saga_id="x") == [None]


class Away(Reversed):
    """A codec whose key service can be away."""

    def __init__(self) -> None:
        self.away = ""

    def encode(self, text: str) -> str:
        """Hide, or fail."""
        if self.away and self.away in text:
            raise OSError("the key service is away")
        return super().encode(text)

    def decode(self, text: str) -> str:
        """Find, or fail."""
        plain = super().decode(text)
        if self.away == "decode" or (self.away and self.away in plain):
            raise OSError("the key service is away")
        return plain


def test_a_codec_that_fails_on_a_result_undoes_the_saga(open_journal: Any) -> None:
    """As for any value that can't be kept; what runs beside it is awaited."""
    codec = Away()
    journal = open_journal(codec=codec)
    depot.behaviour.update(a=lambda: "boom", b=lambda: time.sleep(0.05))
    codec.away = "boom"
    saga = SagaAssembler.saga()
    saga.operation((do, "a"), (undo, "a"), name="a").operation((do, "b"), (undo, "b"), name="b")

    with pytest.raises(
        SagaException, match="cannot be kept: its codec cannot seal it: OSError"
    ) as caught:
        saga.choreography_execute(journal=journal, saga_id="x")

    assert caught.value.outcome is SagaStatus.COMPENSATED
    assert depot.standing == []


def test_a_codec_that_fails_on_an_error_does_not_hide_it(open_journal: Any) -> None:
    """Its text is left out, and all is undone."""
    codec = Away()
    journal = open_journal(codec=codec)
    depot.behaviour["b"] = fail(ValueError("boom"))
    codec.away = "boom"

    for text in ("boom", "could not be sealed"):
        with pytest.raises(SagaException, match=text):
            chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")

    assert depot.standing == []


def test_what_cannot_be_opened_here_is_not_parked(open_journal: Any) -> None:
    """The key may come back: nothing is wrong with the saga."""
    codec = Away()
    journal = open_journal(codec=codec)
    chain("a").start(journal=journal, saga_id="x")
    codec.away = "decode"

    (done,) = recover(journal)

    assert (done.outcome, status(journal, "x")) == (SagaStatus.RUNNING, SagaStatus.RUNNING)
    assert "its codec cannot open" in str(done.error)
    codec.away = ""
    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


@pytest.mark.parametrize("sealed", [None, '{"$sealed":7}'])
def test_who_cannot_open_the_text_of_an_error_goes_on_all_the_same(
    open_journal: Any, sealed: str | None
) -> None:
    """No call needs it; the key that it was sealed with may be gone for good."""
    codec = Away()
    journal = open_journal(codec=codec)
    depot.behaviour["b"] = fail(ValueError("boom"))
    crashed(journal, chain("a", "b"), good=3)
    codec.away = "boom"
    seen = journal.find("x")
    rows = journal.rows([seen.number])[seen.number]
    if sealed is not None:  # as nobody has written it
        body = re.sub(r'{"\$sealed":"[^"]*"}', sealed, rows[-1].body)
        rows = [*rows[:-1], rows[-1]._replace(body=body)]

    (done,) = recover(Wrapped(journal, rows=lambda _: {seen.number: rows}))

    assert (done.outcome, depot.standing) == (SagaStatus.COMPENSATED, [])
    assert "ValueError('(sealed)')" in str(done.error)


def test_a_codec_that_opens_no_text_parks_nothing(open_journal: Any) -> None:
    """It is the codec that is wrong, not the saga."""
    codec = Away()
    journal = open_journal(codec=codec)
    chain("a").start(journal=journal, saga_id="x")
    codec.decode = str.encode  # type: ignore[assignment,method-assign]

    (done,) = recover(journal)

    assert (done.outcome, status(journal, "x")) == (SagaStatus.RUNNING, SagaStatus.RUNNING)
    assert "its codec gave bytes: decode must return text" in str(done.error)


class Odd:
    """What has the methods of a codec and is not one."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def encode(self, text: str) -> Any:
        """Make what cannot be kept."""
        return self.made(text)

    def decode(self, text: str) -> str:
        """Never be called."""
        raise AssertionError(text)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (str.encode, "its codec gave bytes: encode must return text"),
        (lambda _: "\ud800", "its codec gave text that is not valid Unicode"),
        (lambda _: "x" * (4 << 20) + "x", "its codec made more than 4,194,304 characters of it"),
        (int, "its codec cannot seal it: ValueError"),
    ],
)
def test_a_codec_that_makes_no_text_is_refused_before_anything_runs(
    open_journal: Any, made: Any, says: str
) -> None:
    """In words that say which value it was."""
    saga = SagaAssembler.saga().operation((do, "a"), name="a")

    with pytest.raises(SagaDefinitionError, match=f"'a'.*action.*{says}"):
        saga.orchestrator_execute(journal=open_journal(codec=Odd(made)), saga_id="x")

    assert depot.log == []


@pytest.mark.parametrize("made", [str.encode, lambda _: "\ud800"])
def test_what_cannot_be_sealed_after_a_call_is_undone(open_journal: Any, made: Any) -> None:
    """Nothing of it is left, and the saga says why."""
    calls: list[str] = []

    def give() -> str:
        calls.append("give")
        return calls[-1]

    depot.behaviour["give"] = give
    saga = SagaAssembler.saga().operation(depot.give, depot.give, name="a")

    with pytest.raises(SagaException, match="cannot be kept: its codec gave") as caught:
        saga.orchestrator_execute(journal=open_journal(codec=Odd(made)), saga_id="x")

    assert (caught.value.outcome, len(calls)) == (SagaStatus.COMPENSATED, 2)


@pytest.mark.parametrize("codec", ["aes", b"key", object()])
def test_what_is_no_codec_is_refused_at_once(open_journal: Any, codec: Any) -> None:
    """Not when the first value has been made."""
    with pytest.raises(TypeError, match="codec: expected an object with encode and decode, got"):
        open_journal(codec=codec)


def test_a_pivot_whose_result_cannot_be_kept_is_passed_all_the_same(journal: Any) -> None:
    """Though recovery was to go backward: all that follows is tried again until it is done."""
    soon = Retry(OSError, attempts=9, wait_initial=0.001, wait_jitter=0)
    saga = SagaAssembler.saga(on_crash="compensate")
    saga.operation((do, "a"), (undo, "a"), name="a")
    saga.operation((do, "b"), name="b", pivot=True, retry=soon).operation((do, "c"), name="c")
    crashed(journal, saga, 2)
    answers: list[Any] = [object, fail(OSError("busy")), lambda: "B"]

    def answer() -> Any:
        return answers.pop(0)()

    depot.behaviour["b"] = answer

    (done,) = recover(journal)
    assert done.outcome is SagaStatus.STUCK
    again(journal, "x", "b", **WHO)

    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPLETED]
    assert depot.standing == ["a", "b", "c"]


def test_a_decision_with_a_value_that_cannot_be_kept_is_refused(journal: Any) -> None:
    """And nothing is changed."""
    crashed(journal, SagaAssembler.saga().operation((do, "a"), name="a", on_doubt="park"), 1)
    recover(journal)

    with pytest.raises(DecisionError, match="the result cannot be kept"):
        resolve(journal, "x", "a", Status.SUCCEEDED, object(), **WHO)


def test_half_a_character_in_a_name_is_refused(journal: Any) -> None:
    """No file can hold it; no argument is quoted."""
    saga = SagaAssembler.saga(name="n\ud800").operation((do, "secret"))

    with pytest.raises(SagaDefinitionError, match="an unpaired surrogate") as caught:
        saga.orchestrator_execute(journal=journal, saga_id="x")

    assert "secret" not in str(caught.value)
    assert depot.log == []


def test_an_error_of_the_journal_never_quotes_a_row(journal: Any) -> None:
    """Not even one about half a character in it."""
    journal.write(create := Create("x", "x", '["secret \ud800"]'))

    if isinstance(journal, SQLiteJournal):
        with pytest.raises(JournalError) as caught:
            create.check()
        assert "secret" not in str(caught.value)


# --- reading and parking --------------------------------------------------------------------------


def test_a_journal_that_cannot_be_read_parks_nothing(journal: Any) -> None:
    """It is tried again later."""
    chain("a").start(journal=journal, saga_id="x")

    def rows(_: object) -> Any:
        raise JournalError("too many open files")

    (done,) = recover(Wrapped(journal, rows=rows))

    assert done.outcome is SagaStatus.RUNNING
    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


def test_a_park_that_cannot_be_written_is_not_reported(journal: Any) -> None:
    """The saga is as it was, and nobody drives it."""
    chain("a").start(journal=journal, saga_id="x")
    stranger = Wrapped(Faulty(journal, 0), names=MemoryJournal().names)

    (done,) = recover(stranger)

    assert (done.outcome, type(done.error)) == (SagaStatus.RUNNING, JournalError)
    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


def test_a_takeover_does_not_count_tries(journal: Any) -> None:
    """Whoever takes a saga over knows what they do."""
    chain("a").start(journal=journal, saga_id="x")
    assert recover(Faulty(journal, 0), max_tries=1)[0].outcome is SagaStatus.RUNNING

    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


@pytest.mark.parametrize(
    "options",
    [
        {"max_workers": -1},
        {"max_workers": 2.5},
        {"limit": -1},
        {"max_tries": 0},
        {"max_tries": "10"},
    ],
)
def test_numbers_that_make_no_sense_are_refused(journal: Any, options: dict[str, Any]) -> None:
    """Before anything is claimed."""
    chain("a").start(journal=journal, saga_id="x")

    with pytest.raises(SagaDefinitionError, match=r"a whole number of at least [01]"):
        recover(journal, **options)
    with pytest.raises((SagaDefinitionError, ExceptionGroup)):
        asyncio.run(arecover(journal, **options))

    assert depot.log == []
    assert status(journal) is SagaStatus.RUNNING


@pytest.mark.parametrize("wrong", ["sagas.db", None, SQLiteJournal])
def test_what_is_no_journal_is_refused_in_words(wrong: Any) -> None:
    """A path is what one gives first."""
    for use in (
        recover,
        lambda journal: asyncio.run(arecover(journal)),
        lambda journal: takeover(journal, "x"),
    ):
        with pytest.raises(
            SagaDefinitionError, match="journal: expected a journal, such as SQLiteJournal"
        ):
            use(wrong)


@pytest.mark.parametrize("journal", [MemoryJournal, partial(SQLiteJournal, "sagas.db")])
def test_one_name_is_no_list_of_modules(journal: Any) -> None:
    """Each of its letters would be one."""
    with pytest.raises(TypeError, match="modules: expected a list of names, got the string"):
        journal(modules="depot")


def test_what_waits_for_a_worker_may_run_elsewhere(journal: Any) -> None:
    """No more is claimed than there are workers."""
    for saga_id in ("x", "y", "z"):
        chain("a").start(journal=journal, saga_id=saga_id)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        if not begun.is_set():
            begun.set()
            assert go_on.wait(10)

    depot.behaviour["a"] = slow
    thread = threading.Thread(target=recover, args=(journal,), kwargs={"max_workers": 1})
    thread.start()
    assert begun.wait(10)

    elsewhere = {done.saga_id for done in recover(journal)}
    go_on.set()
    thread.join(10)

    assert elsewhere == {"y", "z"}


# --- claims ---------------------------------------------------------------------------------------


class Middle:
    """Where a thread stops until the coroutine that waits for it has been cancelled."""

    def __init__(self) -> None:
        self._reached, self._cancelled = threading.Event(), threading.Event()

    def pause(self) -> None:
        """Wait here, in the thread."""
        self._reached.set()
        assert self._cancelled.wait(PATIENCE)

    async def cancel(self, going: Any) -> None:
        """Cancel what has come there; it waits for the thread, and then it is cancelled."""
        task = asyncio.ensure_future(going)
        assert await asyncio.to_thread(self._reached.wait, PATIENCE)
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
        self._cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            await task


class Slow(Wrapped):
    """A journal whose claims take a while."""

    def __init__(self, journal: Any, middle: Middle) -> None:
        super().__init__(journal)
        self.middle, self.claimed = middle, threading.Event()

    def write(self, *changes: Any) -> None:
        """Write, and dawdle over a claim."""
        takes = any(isinstance(change, Take) for change in changes)
        if takes:
            self.middle.pause()
        self._journal.write(*changes)
        if takes:
            self.claimed.set()


@pytest.mark.parametrize("how", ["execute", "recover"])
def test_a_cancellation_while_a_saga_is_claimed_gives_it_back(journal: Any, how: str) -> None:
    """The thread that claims it goes on; nobody is left with a claim and no driver."""
    crashed(journal, chain("a"), 1)
    middle = Middle()
    slow = Slow(journal, middle)

    async def main() -> None:
        await middle.cancel(
            arecover(slow)
            if how == "recover"
            else chain("a").aorchestrator_execute(journal=slow, saga_id="x")
        )

    asyncio.run(main())

    assert slow.claimed.is_set()
    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


def test_a_cancellation_while_a_start_looks_at_its_saga_waits_for_that(journal: Any) -> None:
    """No thread of a start that has ended goes on with the journal."""
    chain("a").start(journal=journal, saga_id="x")
    middle, looked = Middle(), threading.Event()

    def find(saga_id: str) -> Any:
        middle.pause()
        looked.set()
        return journal.find(saga_id)

    async def main() -> None:
        wrapped: Any = Wrapped(journal, find=find)
        await middle.cancel(chain("a").astart(journal=wrapped, saga_id="x"))
        assert looked.is_set()

    asyncio.run(main())


def test_an_interrupt_while_a_saga_is_claimed_gives_it_back(journal: Any) -> None:
    """Ctrl-C strikes when the claim has just settled."""
    crashed(journal, chain("a"), 1)

    def write(*changes: Any) -> None:
        journal.write(*changes)
        if any(isinstance(change, Take) for change in changes):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chain("a").orchestrator_execute(journal=Wrapped(journal, write=write), saga_id="x")

    assert chain("a").orchestrator_execute(journal=journal, saga_id="x") == ["A"]


def test_an_interrupt_while_a_person_decides_gives_the_saga_back(journal: Any) -> None:
    """It strikes when the claim for the decision has just settled."""
    stuck(journal)

    def write(*changes: Any) -> None:
        journal.write(*changes)
        if any(isinstance(change, Take) for change in changes):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(Wrapped(journal, write=write), "x", **WHO)

    assert not journal.drives(journal.find("x"))


def test_a_person_may_take_over_what_recovery_no_longer_tries(journal: Any) -> None:
    """However often its process has died."""
    crashed(journal, chain("a"), 1)
    for _ in range(recovery.MAX_TRIES):
        journal.write(take := Take(seen(journal, "x"), counted=True))
        journal.leave(take.check())

    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


def test_what_was_purged_meanwhile_is_left_as_it_is(journal: Any) -> None:
    """Whoever has looked before that is told so, and the others are purged all the same."""
    for saga_id in ("x", "y"):
        chain("a").orchestrator_execute(journal=journal, saga_id=saga_id)
    before = [seen(journal, saga_id) for saga_id in ("x", "y")]
    purge(journal, before[0])
    digest = seen(journal, "x").digest

    ((left, error),) = purge_all(journal, before)

    assert (left, type(error)) == (before[0], SagaInProgress)
    assert "was purged meanwhile" in str(error)
    assert seen(journal, "x").digest == digest
    assert seen(journal, "y").digest


def test_an_interrupt_while_an_id_is_found_taken_is_raised(journal: Any) -> None:
    """Rather than answered with the results."""
    chain("a").orchestrator_execute(journal=journal, saga_id="x")

    def write(*changes: Any) -> None:
        first = any(isinstance(change, Create) and not change.settled for change in changes)
        journal.write(*changes)
        if first:
            raise KeyboardInterrupt

    async def awrite(*changes: Any) -> None:
        await journal.awrite(*changes)
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            task.cancel()
            await asyncio.sleep(0)

    with pytest.raises(KeyboardInterrupt):
        chain("a").orchestrator_execute(journal=Wrapped(journal, write=write), saga_id="x")
    wrapped: Any = Wrapped(journal, awrite=awrite)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(chain("a").aorchestrator_execute(journal=wrapped, saga_id="x"))

    assert depot.log == ["a"]


def test_a_saga_that_was_started_and_runs_may_be_started_again(journal: Any) -> None:
    """It is there, in this process as in another; another saga under its id is not."""
    seen: list[Any] = []

    def start() -> None:
        seen.append(chain("a").start(journal=journal, saga_id="x"))

    depot.behaviour["a"] = start
    chain("a").start(journal=journal, saga_id="x")
    recover(journal)

    assert seen == ["x"]


def test_a_purge_that_comes_second_keeps_the_digest(journal: Any) -> None:
    """What the saga was to do is known after both."""
    chain("a").orchestrator_execute(journal=journal, saga_id="x")
    seen = journal.find("x")
    purge(journal, seen)
    digest = journal.find("x").digest

    for summary in (seen, journal.find("x")):
        try:
            purge(journal, summary)
        except SagaInProgress:
            assert summary is seen

    assert journal.find("x").digest == digest


# --- stragglers -----------------------------------------------------------------------------------


def late(journal: Any, go_on: threading.Event, watch: Watch) -> None:
    """Leave a saga that is compensated, while its action still runs."""
    depot.behaviour["a"] = lambda: go_on.wait(10)
    saga = SagaAssembler.saga(observers=[watch]).operation(
        (do, "a"), (undo, "a"), name="a", timeout=0.05
    )
    with pytest.raises(SagaException):
        saga.orchestrator_execute(journal=journal, saga_id="x")


def test_a_straggler_does_not_land_in_another_saga_of_its_id(
    journal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own was forgotten, and the id given again."""
    go_on = threading.Event()
    late(journal, go_on, Watch())
    length = len(bodies(journal, "x"))
    purge(journal, journal.find("x"), forget=True)
    depot.behaviour.pop("a")
    fresh = chain(*(f"b{i}" for i in range(1, length)))
    fresh.orchestrator_execute(journal=journal, saga_id="x")
    assert len(bodies(journal, "x")) == length  # so that nothing but its number tells them apart
    rows = journal.rows([journal.find("x").number])

    go_on.set()

    def logged() -> None:
        while "when another process had taken the saga over" not in caplog.text:
            time.sleep(0.01)

    in_time(logged)
    assert journal.rows([journal.find("x").number]) == rows


def test_a_late_landing_that_goes_wrong_gives_its_saga_back(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised in the thread of the straggler: nobody drives the saga after it."""
    go_on, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: ended.set())

    def write(*changes: Any) -> None:
        if go_on.is_set() and any(isinstance(change, Append) for change in changes):
            raise MemoryError
        journal.write(*changes)

    late(Wrapped(journal, write=write), go_on, Watch())
    go_on.set()

    assert ended.wait(10)
    assert not journal.drives(journal.find("x"))


def test_a_call_that_was_given_up_may_be_said_to_have_ended(journal: Any) -> None:
    """The journal can't know, so nothing is called beside it until a person says so."""
    go_on = threading.Event()
    depot.behaviour["b"] = lambda: go_on.wait(10)
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), name="a", pivot=True)
        .operation((do, "b"), name="b", timeout=0.05)
    )
    with pytest.raises(SagaStuck):
        saga.orchestrator_execute(journal=journal, saga_id="x")
    with pytest.raises(DecisionError, match="may still be running"):
        again(journal, "x", **WHO)

    assert again(journal, "x", ended=True, **WHO) is SagaStatus.RUNNING

    depot.behaviour.clear()
    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPLETED]
    go_on.set()


def test_a_saga_whose_journal_failed_is_kept_while_its_straggler_lives(journal: Any) -> None:
    """Whoever recovered it would call again what still runs."""
    go_on = threading.Event()
    calls: list[int] = []

    def slow() -> None:
        calls.append(1)
        if len(calls) == 1:
            assert go_on.wait(10)

    depot.behaviour["a"] = slow
    again_in_a_while = Retry(TimeoutError, wait_initial=0.01, wait_jitter=0)
    saga = SagaAssembler.saga(retry=again_in_a_while).operation(
        (do, "a"), (undo, "a"), name="a", timeout=0.05
    )
    with pytest.raises(JournalError):
        saga.orchestrator_execute(journal=Faulty(journal, 1), saga_id="x")

    assert recover(journal) == []
    go_on.set()

    def recovered() -> Any:
        while not (done := recover(journal)):
            time.sleep(0.01)
        return done

    (done,) = in_time(recovered)
    assert done.outcome is SagaStatus.COMPLETED


# --- other processes ------------------------------------------------------------------------------


@pytest.mark.parametrize("open_journal", SQLITE, indirect=True)
def test_a_journal_that_is_in_use_can_be_sent_to_another_process(journal: SQLiteJournal) -> None:
    """Which opens the file for itself."""
    chain("a").start(journal=journal, saga_id="x")
    recover(journal)

    copy = pickle.loads(pickle.dumps(journal))  # noqa: S301 - our own bytes

    assert status(copy, "x") is SagaStatus.COMPLETED


@pytest.mark.parametrize("recover_it", [takeover, recover], ids=["takeover", "recover"])
def test_coroutine_functions_are_recovered_beside_a_loop_that_runs(
    journal: Any, recover_it: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """In a thread of ours, with a warning, once: meanwhile the caller's loop does nothing."""
    saga = SagaAssembler.saga().operation((depot.ado, "a"), name="a")
    for saga_id in ("x", "y"):
        saga.start(journal=journal, saga_id=saga_id)
    recovery._tell_of_the_loop.cache_clear()  # noqa: SLF001 - said once in the life of a process

    async def main() -> None:
        if recover_it is takeover:
            takeover(journal, "x")
            takeover(journal, "y")
        else:
            recover(journal, limit=1)
            recover(journal)

    asyncio.run(main())

    assert [status(journal, saga_id) for saga_id in ("x", "y")] == [SagaStatus.COMPLETED] * 2
    assert caplog.text.count("await arecover(...)") == 1


@pytest.mark.parametrize("ended", ["completed", "compensated"])
def test_a_cancellation_while_an_answer_is_looked_up_is_raised(journal: Any, ended: str) -> None:
    """There is nothing to give back."""
    if ended == "compensated":
        depot.behaviour["b"] = fail(ValueError("no"))
        with pytest.raises(SagaException):
            chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")
    else:
        chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")
    middle = Middle()

    def find(saga_id: str) -> Any:
        middle.pause()
        return journal.find(saga_id)

    async def main() -> None:
        wrapped: Any = Wrapped(journal, find=find)
        await middle.cancel(chain("a", "b").aorchestrator_execute(journal=wrapped, saga_id="x"))

    asyncio.run(main())


def test_a_cancellation_while_nothing_is_left_to_claim_is_raised(journal: Any) -> None:
    """There is nothing to give back."""
    chain("a").start(journal=journal, saga_id="x")
    middle = Middle()

    def write(*changes: Any) -> None:
        journal.write(*changes)
        for change in changes:
            if isinstance(change, Take):  # somebody else was faster
                change.error = SagaInProgress("x")
                middle.pause()

    async def main() -> None:
        await middle.cancel(arecover(Wrapped(journal, write=write)))

    asyncio.run(main())


def test_an_answer_in_a_rollback_may_hold_what_cannot_be_kept(journal: Any) -> None:
    """It happened, so it is undone, with the result in memory."""
    depot.behaviour["a"] = fail(TimeoutError("no answer"))
    depot.behaviour["ask a"] = lambda: happened(object())
    saga = SagaAssembler.saga().operation(
        (do, "a"), (undo, "a", result_of()), name="a", on_doubt=depot.ask
    )

    for _ in range(2):
        with pytest.raises(SagaException) as caught:
            saga.orchestrator_execute(journal=journal, saga_id="x")
        assert caught.value.outcome is SagaStatus.COMPENSATED

    assert depot.log == ["a", "ask a", "undo a"]


def test_a_sealed_journal_holds_what_nobody_knows_in_the_clear(open_journal: Any) -> None:
    """So that whoever decides about a saga, without a key, sees the same as whoever recovers it."""
    journal = open_journal(codec=Reversed())
    crashed(journal, SagaAssembler.saga().operation((do, "a"), name="a", on_doubt="park"), 1)
    recover(journal)
    resolve(journal, "x", "a", Status.SUCCEEDED, **WHO)

    seen = journal.find("x")
    assert seen is not None
    assert journal.rows([seen.number])[seen.number][-1].body.endswith('{"$missing":true}]]]')


def test_a_saga_of_no_shape_is_not_purged(journal: Any) -> None:
    """What it was to do could not be remembered."""
    chain("a").orchestrator_execute(journal=journal, saga_id="x")
    seen = journal.find("x")
    (first, *_) = journal.rows([seen.number])[seen.number]
    broken = first._replace(body='[["defined",{"format":1}]]')

    wrapped: Any = Wrapped(journal, rows=lambda _: {seen.number: [broken]})
    with pytest.raises(JournalError, match="saga 'x' cannot be read"):
        purge(wrapped, seen)

    assert journal.find("x").digest is None


DAMAGED = [
    "3",
    "[3]",
    "[[]]",
    '[["defined",3]]',
    '[["defined",{}]]',
    '[["defined",{"format":1,"name":"depot"}]]',
    '[["defined",{"format":1,"name":"depot","operations":3}]]',
    '[["defined",{"format":1,"name":"depot","operations":[{"do":["depot:do"]}]}]]',
]


@pytest.mark.parametrize("body", DAMAGED)
def test_who_gives_the_id_of_a_saga_that_is_damaged_is_told_so(journal: Any, body: str) -> None:
    """Whatever is in its rows; nothing of it is called."""
    chain("a").start(journal=journal, saga_id="x")
    seen = journal.find("x")
    (first,) = journal.rows([seen.number])[seen.number]
    broken = Wrapped(journal, rows=lambda _: {seen.number: [first._replace(body=body)]})

    with pytest.raises(JournalError, match="saga 'x' cannot be read"):
        chain("a").orchestrator_execute(journal=broken, saga_id="x")

    assert depot.log == []


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.update(operations=[]),
        lambda tree: tree.update(until="soon"),
        lambda tree: tree["operations"][0].update(timeout="long"),
        lambda tree: tree.update(layout={"items": [1], "places": {}}),
    ],
)
def test_a_definition_that_makes_no_sense_is_parked_at_once(journal: Any, change: Any) -> None:
    """To try it again would help nobody."""
    chain("a").start(journal=journal, saga_id="x")
    seen = journal.find("x")
    (first,) = journal.rows([seen.number])[seen.number]
    entries = loads(first.body)
    change(entries[0][1])
    row = first._replace(body=dumps(entries))

    (done,) = recover(Wrapped(journal, rows=lambda _: {seen.number: [row]}))

    assert (done.outcome, status(journal, "x")) == (SagaStatus.STUCK, SagaStatus.STUCK)
    assert "cannot be read" in str(done.error)


def test_a_definition_is_no_larger_than_what_can_be_read(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be accepted, and parked by whoever is to run it."""
    monkeypatch.setattr("py_api_saga.journal.format.definitions.MAX_DEFINITION", 300)
    saga = SagaAssembler.saga()
    for i in range(5):
        saga.operation((do, f"{i}", "x" * 50), name=f"{i}")

    with pytest.raises(SagaDefinitionError, match="all arguments together are larger than 300"):
        saga.start(journal=journal, saga_id="x")

    assert journal.find("x") is None


def test_a_pivot_that_a_person_has_found_not_to_have_happened_is_rolled_back(journal: Any) -> None:
    """Nobody knew when it was asked about."""
    depot.behaviour["p"] = fail(TimeoutError("no answer"))
    depot.behaviour["ask p"] = lambda: UNKNOWN
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "p"), name="p", pivot=True, on_doubt=depot.ask)
    )
    with pytest.raises(SagaStuck):
        saga.orchestrator_execute(journal=journal, saga_id="x")

    assert resolve(journal, "x", "p", Status.FAILED, **WHO) is SagaStatus.COMPENSATING

    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPENSATED]
    assert depot.standing == []
