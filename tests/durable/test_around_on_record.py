"""What is around each call of a saga on record: not written down, brought by whoever goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn

import depot
import flask
import pytest
from depot import ado, aundo, do, fail, undo
from recorded import bodies, chain, crashed, seen, status
from world import PATIENCE, Watch, in_time

from py_api_saga import (
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    arecover,
    current_operation,
    recover,
    takeover,
)
from py_api_saga.current import CurrentOperation

RUNNING, COMPLETED, COMPENSATED = (
    SagaStatus.RUNNING,
    SagaStatus.COMPLETED,
    SagaStatus.COMPENSATED,
)


@contextmanager
def noted(operation: CurrentOperation) -> Iterator[None]:
    """Note that a call is made inside of this."""
    depot.log.append(f"({operation.where}")
    yield
    depot.log.append(")")


def plain(**options: Any) -> SagaAssembler:
    """Make a chain of two."""
    return chain("a", "b", **options)


def coroutines(**options: Any) -> SagaAssembler:
    """Make one of coroutine functions."""
    saga = SagaAssembler.saga(**options)
    for name, after in (("a", ()), ("b", "a")):
        saga.operation((ado, name), (aundo, name), name=name, after=after)
    return saga


def by_takeover(journal: Any, **options: Any) -> Any:
    """Take one saga over."""
    return [takeover(journal, "x", **options)]


def by_arecover(journal: Any, **options: Any) -> Any:
    """Recover under asyncio."""
    return asyncio.run(arecover(journal, **options))


def by_one(journal: Any, **options: Any) -> Any:
    """Recover in this very thread."""
    return recover(journal, max_workers=0, **options)


WAYS = pytest.mark.parametrize("go_on", [recover, by_arecover, by_takeover, by_one])
FORMS = pytest.mark.parametrize("make", [plain, coroutines])
METHODS = {plain: "orchestrator_execute", coroutines: "aorchestrator_execute"}


def run(saga: SagaAssembler, make: Any, **options: Any) -> Any:
    """Run a saga as its functions need it."""
    if make is plain:
        return saga.orchestrator_execute(**options)

    async def main() -> Any:
        return await saga.aorchestrator_execute(**options)

    return asyncio.run(main())


@FORMS
@pytest.mark.parametrize("at_once", [False, True])
def test_a_saga_on_record_has_what_it_was_made_with(
    journal: Any, make: Callable[..., SagaAssembler], *, at_once: bool
) -> None:
    """And no word of that is in the journal."""
    method = METHODS[make].replace("orchestrator", "choreography" if at_once else "orchestrator")
    saga = make(around=[noted], journal=journal)
    if make is plain:
        getattr(saga, method)(saga_id="x")
    else:
        asyncio.run(getattr(saga, method)(saga_id="x"))

    where = "loop" if make is coroutines else "thread" if at_once else "caller"
    assert depot.log == [f"({where}", "a", ")", f"({where}", "b", ")"]
    assert not any("around" in body or "noted" in body for body in bodies(journal, "x"))


@FORMS
def test_a_saga_that_is_gone_on_with_by_its_id_has_the_sagas(
    journal: Any, make: Callable[..., SagaAssembler]
) -> None:
    """The very one that asks for it: the first one has died with its process."""
    make(around=[noted]).start(journal=journal, saga_id="x")

    results = run(make(around=[noted]), make, journal=journal, saga_id="x")

    where = "caller" if make is plain else "loop"
    assert list(results) == ["A", "B"]
    assert depot.log == [f"({where}", "a", ")", f"({where}", "b", ")"]


def test_one_that_crashed_is_undone_inside_of_the_sagas(journal: Any) -> None:
    """What is left to do is done so, also if it is a rollback."""
    crashed(journal, plain(on_crash="compensate"), 2)
    del depot.log[:]

    with pytest.raises(SagaException):
        plain(around=[noted]).orchestrator_execute(journal=journal, saga_id="x")

    assert depot.log[-3:] == ["(caller", "undo a", ")"]


WHERE = {
    (recover, plain): "thread",
    (by_arecover, plain): "thread",
    (by_takeover, plain): "caller",
    (by_one, plain): "caller",
}


@FORMS
@WAYS
def test_whoever_goes_on_brings_what_is_around(
    journal: Any, go_on: Callable[..., Any], make: Callable[..., SagaAssembler]
) -> None:
    """As they bring observers."""
    make(around=[fail]).start(journal=journal, saga_id="x")

    (done,) = go_on(journal, around=[noted])

    where = WHERE.get((go_on, make), "loop")
    assert (done.outcome, done.error) == (COMPLETED, None)
    assert depot.log == [f"({where}", "a", ")", f"({where}", "b", ")"]


@WAYS
def test_whoever_brings_nothing_has_nothing_around(journal: Any, go_on: Callable[..., Any]) -> None:
    """Nothing of it is on record."""
    plain(around=[noted]).start(journal=journal, saga_id="x")

    (done,) = go_on(journal)

    assert done.outcome is COMPLETED
    assert depot.log == ["a", "b"]


@WAYS
def test_an_error_in_entering_fails_a_saga_that_is_recovered(
    journal: Any, go_on: Callable[..., Any]
) -> None:
    """Like one in the middle of a request: what was done is undone."""

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        if operation.operation == "b":
            raise OSError("no database")
        yield

    plain().start(journal=journal, saga_id="x")

    (done,) = go_on(journal, around=[around])

    assert done.outcome is COMPENSATED
    assert depot.log == ["a", "undo a"]


def lack(_: Any) -> NoReturn:
    """Ask for Flask's application where there is none."""
    str(flask.current_app.name)
    raise AssertionError


@FORMS
@WAYS
def test_what_lacks_something_in_entering_lets_the_saga_go(
    journal: Any, go_on: Callable[..., Any], make: Callable[..., SagaAssembler]
) -> None:
    """This process is not set up for it, which says nothing of the saga."""
    make().start(journal=journal, saga_id="x")

    (done,) = go_on(journal, around=[lack])

    assert done.outcome is RUNNING
    assert isinstance(done.error, RuntimeError)
    assert depot.log == []
    assert (status(journal), seen(journal, "x").tries) == (RUNNING, 0)
    assert takeover(journal, "x").outcome is COMPLETED


def test_what_lacks_something_in_leaving_lets_the_saga_go_too(journal: Any) -> None:
    """What the call did has no answer on record, so the next process takes it for in doubt."""

    @contextmanager
    def around(_: CurrentOperation) -> Iterator[None]:
        yield
        lack(None)

    plain().start(journal=journal, saga_id="x")

    (done,) = recover(journal, around=[around])

    assert done.outcome is RUNNING
    assert depot.log == ["a"]
    assert takeover(journal, "x").outcome is COMPLETED
    assert depot.log == ["a", "a", "b"]


@asynccontextmanager
async def awaited(_: CurrentOperation) -> AsyncIterator[None]:
    """Note that a call is made inside of this, which has to be awaited."""
    depot.log.append("(")
    yield
    depot.log.append(")")


@WAYS
def test_managers_to_be_awaited_let_go_of_plain_functions_before_anything_runs(
    journal: Any, go_on: Callable[..., Any]
) -> None:
    """It is the process that was started with what does not fit; another one may go on."""
    plain().start(journal=journal, saga_id="x")
    before = bodies(journal, "x")

    (done,) = go_on(journal, around=[awaited])

    assert done.outcome is RUNNING
    assert isinstance(done.error, SagaDefinitionError)
    assert "expected context managers around it that need not be awaited" in str(done.error)
    assert depot.log == []
    assert bodies(journal, "x") == before
    assert seen(journal, "x").tries == 0
    assert takeover(journal, "x").outcome is COMPLETED


@WAYS
def test_managers_to_be_awaited_are_around_coroutines(
    journal: Any, go_on: Callable[..., Any]
) -> None:
    """Also where a loop of ours runs them."""
    coroutines().start(journal=journal, saga_id="x")

    (done,) = go_on(journal, around=[awaited])

    assert done.outcome is COMPLETED
    assert depot.log == ["(", "a", ")", "(", "b", ")"]


@WAYS
@pytest.mark.parametrize("around", [noted, "depot:noted", [3], [None]])
def test_what_cannot_be_around_is_refused_before_anything_is_claimed(
    journal: Any, go_on: Callable[..., Any], around: Any
) -> None:
    """In the words of the call."""
    plain().start(journal=journal, saga_id="x")
    before = seen(journal, "x")

    with pytest.raises(SagaDefinitionError, match=r"^(recover|takeover): around: expected "):
        go_on(journal, around=around)

    assert seen(journal, "x") == before


def test_an_async_run_with_plain_functions_refuses_before_it_is_on_record(journal: Any) -> None:
    """As any saga that can't be run as it is written."""
    with pytest.raises(SagaDefinitionError, match="need not be awaited"):
        plain(around=[awaited]).orchestrator_execute(journal=journal, saga_id="x")

    assert journal.find("x") is None


def test_an_error_in_leaving_is_in_doubt_on_record(journal: Any) -> None:
    """With the words for it, and undone."""

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        yield
        if operation.direction == "action" and operation.operation == "b":
            raise ValueError("commit")

    with pytest.raises(SagaException):
        plain(around=[around]).orchestrator_execute(journal=journal, saga_id="x")

    assert depot.log == ["a", "b", "undo b", "undo a"]
    assert any('"in doubt"' in body and "LeavingError" in body for body in bodies(journal, "x"))


def test_what_lands_late_in_a_recovery_is_undone_inside(journal: Any) -> None:
    """The straggler has what the recovery has brought, and so has its undo."""
    opened, watch = threading.Event(), Watch()
    depot.behaviour["a"] = lambda: opened.wait(PATIENCE)
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", timeout=0.01)
    saga.start(journal=journal, saga_id="x")

    (done,) = in_time(lambda: recover(journal, around=[noted], observers=[watch]))
    assert done.outcome is COMPENSATED
    del depot.log[:]
    opened.set()
    watch.wait_for("saga ended", times=2)

    assert depot.log == [")", "(thread", "undo a", ")"]


# --- what observers hear ------------------------------------------------------------------------


def ways(watch: Watch) -> list[tuple[str, str]]:
    """Give each event as (kind, direction)."""
    return [(event.kind, event.direction) for event in watch.events]


@WAYS
def test_observers_hear_that_a_saga_is_resumed(journal: Any, go_on: Callable[..., Any]) -> None:
    """Before anything else of it, and which way it goes on."""
    crashed(journal, plain(), 2)
    watch = Watch()

    (done,) = go_on(journal, observers=[watch])

    assert done.outcome is COMPLETED
    assert watch.lines[:2] == ["saga: saga resumed", "b: in doubt"]
    assert watch.lines[-1] == "saga: saga ended"
    assert "saga: saga started" not in watch.lines
    assert {event.direction for event in watch.events} == {"action"}


def test_a_rollback_that_is_resumed_says_so(journal: Any) -> None:
    """By its direction."""
    crashed(journal, plain(on_crash="compensate"), 2)
    watch = Watch()

    recover(journal, observers=[watch])

    assert ways(watch)[0] == ("saga resumed", "compensation")
    assert ways(watch)[-1] == ("saga ended", "compensation")


def test_a_saga_that_nobody_had_begun_is_started(journal: Any) -> None:
    """It was only written down."""
    plain().start(journal=journal, saga_id="x")
    watch = Watch()

    recover(journal, observers=[watch])

    assert watch.lines[0] == "saga: saga started"


def test_a_saga_that_is_asked_for_by_its_id_is_resumed_too(journal: Any) -> None:
    """By whoever asks."""
    crashed(journal, plain(), 2)
    watch = Watch()

    plain(observers=[watch]).orchestrator_execute(journal=journal, saga_id="x")

    assert watch.lines[0] == "saga: saga resumed"


# --- in this very thread -------------------------------------------------------------------------


def of_thread() -> str:
    """Say in which thread this is."""
    return threading.current_thread().name


@pytest.mark.parametrize("at_once", [False, True])
@FORMS
def test_without_workers_recovery_makes_its_calls_in_this_thread(
    journal: Any, make: Callable[..., SagaAssembler], *, at_once: bool
) -> None:
    """One after the other, saga by saga, also those that would run at once."""
    threads: list[str] = []

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        assert current_operation().operation == operation.operation
        threads.append(of_thread())
        yield

    for saga_id in ("x", "y"):
        make().start(journal=journal, saga_id=saga_id, at_once=at_once)

    done = recover(journal, max_workers=0, around=[around])

    assert [(one.saga_id, one.outcome) for one in done] == [("x", COMPLETED), ("y", COMPLETED)]
    assert threads == [of_thread()] * 4
    assert depot.log == ["a", "b", "a", "b"]


def test_without_workers_coroutines_share_one_loop(journal: Any) -> None:
    """As in any recovery: what they share belongs to it."""
    loops: list[Any] = []

    @asynccontextmanager
    async def around(_: CurrentOperation) -> AsyncIterator[None]:
        loops.append(asyncio.get_running_loop())
        yield

    for saga_id in ("x", "y"):
        coroutines().start(journal=journal, saga_id=saga_id)

    recover(journal, max_workers=0, around=[around])

    assert len(loops) == 4
    assert len(set(loops)) == 1
    assert loops[0].is_closed()


@FORMS
def test_without_workers_an_interrupt_ends_it_with_the_saga_that_it_has_struck(
    journal: Any, make: Callable[..., SagaAssembler]
) -> None:
    """The others are left as they were."""
    for saga_id in ("x", "y"):
        make().start(journal=journal, saga_id=saga_id)
    depot.behaviour["b"] = fail(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        recover(journal, max_workers=0)

    assert depot.log == ["a", "b", "undo b", "undo a"]
    assert status(journal, "y") is RUNNING


def test_under_asyncio_there_must_be_workers(journal: Any) -> None:
    """A plain function would keep the loop from running."""
    with pytest.raises(
        SagaDefinitionError, match=r"^recover: max_workers: expected a whole number"
    ):
        asyncio.run(arecover(journal, max_workers=0))


@pytest.mark.parametrize("max_workers", [-1, 0.0, False, None, "0"])
def test_a_wrong_number_of_workers_is_refused(journal: Any, max_workers: Any) -> None:
    """In words."""
    with pytest.raises(
        SagaDefinitionError, match=r"^recover: max_workers: expected a whole number"
    ):
        recover(journal, max_workers=max_workers)
