"""Right uses: no type checker may complain, and each call can be added to a saga."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import Any, Literal, assert_type

from psycopg import AsyncConnection as PsycopgLater
from psycopg import Connection as Psycopg
from shop import (
    Shop,
    Shopping,
    asked,
    asked_later,
    book,
    charge,
    eight,
    label,
    nine,
    pack,
    post,
    release,
    reserve,
    ship,
    tidy,
)
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from py_api_saga import (
    UNKNOWN,
    Answered,
    BoundSaga,
    Event,
    Later,
    Observer,
    Results,
    Retry,
    SagaAssembler,
    SagaException,
    SagaPending,
    SagaStanding,
    SagaStatus,
    Status,
    aanswer,
    answer,
    current_operation,
    given,
    happened,
    later,
    leaves_doubt,
    recover,
    result_of,
    saga_status,
)
from py_api_saga.current import Around, CurrentOperation
from py_api_saga.journal import MemoryJournal, PostgreSQLJournal, Within
from py_api_saga.testing import (
    Clock,
    Explored,
    assert_compensated,
    assert_completed,
    assert_stuck,
    encoded_results,
    explore,
    fail_at,
    inline_choreography,
    operation,
)

saga = SagaAssembler.saga
shop = Shop("corner")
basket: list[str] = []


class Shown:
    """An observer is any callable that takes an event."""

    def __call__(self, event: Event, /) -> None:
        """Show it."""
        print(event.kind, event.operation, event.attempt, event.outcome)


# Plain functions: every argument, or without those that have a default, also keyword-only ones.
saga().operation((reserve, "mug", 2), (release, "mug"))
saga().operation((reserve, "mug"), (release, "mug"))
saga().operation((tidy,), (tidy,))
saga().operation(tidy, tidy)
saga().operation(tidy, None)
saga().operation((charge, 12.5, "EUR", "and", "more"))
saga().operation((post, "/order"), (post, "/order", None))
saga().operation((post, "/order", {"sku": "mug", "pieces": 2}))
saga().operation((eight, 1, "b", 3, "d", 5, "f", 7, "h"), (eight, 1, "b", 3, "d", 5, "f", 7, "h"))
saga().operation((nine, 1, "b", 3, "d", 5, "f", 7, "h", 9.5))

# An int where a float is wanted.
saga().operation((charge, 12), (charge, True, "EUR"))

# A placeholder stands for anything.
saga().operation((reserve, "mug"), (release, result_of()))
saga().operation((reserve, "mug"), (release, result_of()["sku"].name))
saga().operation((reserve, "mug")).operation((charge, result_of("reserve"), "EUR"))
saga().operation((reserve, "mug")).operation((charge, 1, result_of("reserve")["mug"]))
saga().operation((reserve, "mug")).operation((post, "/order", {"id": result_of("reserve")["mug"]}))

# Every kind of callable.
saga().operation((shop.sell, "mug"), (shop, "mug"))
saga().operation((Shop.sell, shop, "mug"))
saga().operation((Shop, "corner"), (Shop, "corner", 2))
saga().operation((Shop.open, "corner"), (Shop.price, 2))
saga().operation(partial(reserve, "mug", pieces=2), partial(release, "mug", force=True))
saga().operation((partial(reserve, pieces=2), "mug"))
saga().operation((book, "mug"), (book, "mug"))
saga().operation(lambda: 1, lambda: None)
saga().operation((lambda sku: sku, "mug"), (lambda _sku, _pieces: None, "mug", 2))
saga().operation((print, "mug"), (print, "mug", 1, 2.5))
saga().operation((len, "mug"), (max, 1, 2))
saga().operation((basket.append, "mug"), basket.pop)
saga().operation((basket.append, "mug"), (basket.remove, "mug"))
saga().operation((setattr, shop, "size", 2), (setattr, shop, "size", 1))

# The list form, and what holds a call.
call = (reserve, "mug", 2)
untyped: Any = call
saga().operation([reserve, "mug", 2], [release, "mug"])
saga().operation([tidy])
saga().operation(call, untyped)


def whatever(undo: Callable[..., object]) -> None:
    """A function of which nothing is known may take anything."""
    saga().operation(tidy, (undo, "mug", 2))


whatever(reserve)

# What only the function's own parameter could tell (a literal, the items of a list or a dict)
# goes in a partial: in the tuple form the checkers read the arguments before the function.
saga().operation(partial(label, "small"), partial(label, "large"))
saga().operation(partial(pack, [1, 2], {"box": 1}), partial(ship, {"sku": "mug"}))

# Options.
retry = Retry(OSError, attempts=5, timeout=30, wait_initial=0.1, wait_max=1, wait_jitter=0)
saga().operation((reserve, "mug"), name="stock", retry=retry, compensation_retry=retry)
saga().operation(tidy, retry=Retry((OSError, ValueError)))
saga().operation(tidy, retry=Retry(lambda error: isinstance(error, OSError)))
saga().operation(tidy, retry=Retry(lambda error: 2.5 if error.args else 1))
saga().operation(tidy, name="a").operation(tidy, after="a").operation(tidy, after=("a", "tidy"))
saga().operation((reserve, "mug"), timeout=1, doubtful=(), pivot=True)
saga().operation((reserve, "mug"), timeout=0.5, doubtful=(ConnectionError, TimeoutError))
saga().operation(tidy, doubtful=leaves_doubt).operation(tidy, doubtful=KeyError)
saga().operation(tidy, doubtful=(OSError, "httpx.ReadTimeout", lambda error: bool(error.args)))
saga().operation((reserve, "mug"), on_doubt="park").operation(tidy, on_doubt="proceed")
saga().operation((reserve, "mug", 2), on_doubt=asked).operation((book, "x"), on_doubt=asked_later)
saga().operation(tidy, on_doubt=lambda: happened(1) if basket else UNKNOWN)

# A child saga.
saga().operation(saga().operation(tidy), name="packing").operation(tidy, after="packing")
saga().operation(tidy).operation(Shopping.saga().buy("mug"), name="packing", after=["tidy"])

# The sentence keeps its class.
assert_type(SagaAssembler.saga(), SagaAssembler)
assert_type(saga(3, name="checkout", observers=[Shown()]).operation(tidy), SagaAssembler)
assert_type(Shopping.saga(retry=retry).operation(tidy, tidy), Shopping)
assert_type(Shopping(2).operation(tidy).buy("mug").operation((reserve, "mug")), Shopping)
assert_type(Shopping.saga().operation(saga().operation(tidy), name="child"), Shopping)

observer: Observer = Shown()
saga(observers=(observer, print))


def run(checkout: SagaAssembler) -> str:
    """Run in the caller's thread and in threads."""
    results = checkout.orchestrator_execute(deadline=5, saga_id="checkout-7")
    assert_type(results, Results)
    assert_type(checkout.choreography_execute(deadline=0.5, max_workers=4), Results)
    first: dict[str, str] = results[0]
    sku: str = results["reserve"]["sku"]
    everything: list[object] = [*results, *results[1:]]
    return f"{first} {sku} {everything}"


async def run_under_asyncio(checkout: SagaAssembler) -> None:
    """Run under asyncio."""
    assert_type(await checkout.aorchestrator_execute(deadline=5, saga_id="checkout-7"), Results)
    assert_type(await checkout.achoreography_execute(max_workers=4), Results)


# What is given to each run stands for a value of any type, and what it is given to is not a saga.
once = saga().operation((reserve, given("sku"), given("pieces")), (release, given("sku")))
once.operation((post, "/order", {"id": given("order").id, "lines": [given("order")["lines"]]}))
assert_type(given("order")["id"], Any)


def run_with_arguments(checkout: SagaAssembler, order: dict[str, str]) -> str:
    """Run a saga that was written once."""
    bound = checkout.given(sku="mug", order=order)
    assert_type(bound, BoundSaga)
    assert_type(bound.orchestrator_execute(deadline=5, saga_id="checkout-7"), Results)
    assert_type(bound.choreography_execute(max_workers=4), Results)
    parent = saga().operation(bound, name="first").operation(bound, name="second", after="first")
    return bound.start(saga_id="checkout-8") + bound.mermaid() + parent.mermaid()


async def run_with_arguments_under_asyncio(bound: BoundSaga) -> None:
    """Run it under asyncio."""
    assert_type(await bound.aorchestrator_execute(), Results)
    assert_type(await bound.achoreography_execute(), Results)
    assert_type(await bound.astart(at_once=True), str)


def explain(error: SagaException) -> str | None:
    """Read what an error says, caught under its old name too."""
    assert isinstance(error, SagaAssembler.SagaException)
    report = error.operations["reserve"]
    stuck: BaseException | None = error.stuck.get("reserve")
    if report.status is Status.STUCK or error.outcome is SagaStatus.STUCK:
        return f"{stuck} {report.error} {report.result} {error.mermaid()}"
    return error.saga_id or error.operation_name


def inside() -> str:
    """Look around inside an operation."""
    now = current_operation()
    seconds: float | None = now.remaining()
    shelf: str = now.results["reserve"]["shelf"]
    return f"{now.saga_id} {now.idempotency_key} {now.action_key} {now.attempt} {seconds} {shelf}"


# What is around each call gives a context manager, made in any of the usual ways; under asyncio it
# may have to be awaited.
@contextmanager
def session(operation: CurrentOperation) -> Generator[int, None, None]:
    """Open one, unless it is the caller's."""
    assert_type(operation.where, Literal["caller", "loop", "thread"])
    yield 1


@asynccontextmanager
async def session_later(operation: CurrentOperation) -> AsyncGenerator[str, None]:
    """Open one for a coroutine function."""
    yield operation.operation


class Span:
    """A manager that is made of the operation itself."""

    def __init__(self, operation: CurrentOperation) -> None:
        """Be named as the operation."""
        self.name = operation.operation

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """End."""


class ShopSaga(SagaAssembler):
    """All sagas of a shop have a session."""

    around = (session,)


locked: Around = lambda _: Lock()  # noqa: E731 - as users write it
saga(around=[session, Span, locked]).operation(tidy)
saga(around=(session, session_later)).operation(tidy)
ShopSaga.saga(around=[Span]).operation(tidy)
recover(MemoryJournal(), around=[session], max_workers=0)
event = Event("saga resumed", "x")
assert_type(event.direction, Literal["action", "compensation", "ask"])
standing = saga_status(MemoryJournal(), "x")
assert_type(standing, SagaStanding | None)
if standing is not None:
    assert_type(standing.status, SagaStatus)
    assert_type(standing.reason, str | None)


NOW = datetime.now(UTC)


def confirm(order: str) -> Later:
    """Begin something."""
    return later(timeout=None) if order else later(until=NOW, result="kept")


def pay(order: str) -> str | Later:
    """Succeed at once, or begin something."""
    return "paid" if order else later(timeout=86_400)


saga().operation((confirm, "A-17"), (confirm, "A-17")).operation((pay, "A-17"))
assert_type(later(until=1.5), Later)


def heard(journal: PostgreSQLJournal, pending: SagaPending) -> None:
    """Answer, and wait for answers."""
    assert_type(answer(journal, pending.awaited[0], result={"id": 1}), Answered)
    answered = answer(MemoryJournal(), "k", error=ValueError("no"), go_on=False, around=[session])
    assert_type(answered.status, SagaStatus)
    assert_type(answered.error, BaseException | None)
    assert_type(pending.due, float | None)
    assert_type(saga().operation(tidy).choreography_execute(journal=journal, wait=1), Results)


async def heard_later(journal: PostgreSQLJournal) -> None:
    """The same under asyncio."""
    assert_type(await aanswer(journal, "k", result=None), Answered)
    assert_type(await saga().operation(tidy).aorchestrator_execute(wait=0.5), Results)


def start_in(
    journal: PostgreSQLJournal,
    session: Session,
    sessions: scoped_session[Session],
    connection: Connection,
    plain: Psycopg[tuple[object, ...]],
) -> None:
    """Start one in a transaction, whoever gives it."""
    for begun in (session, sessions, connection, plain):
        assert_type(saga().operation(tidy).start(journal=journal.within(begun)), str)
    saga().operation(tidy).start(journal=journal)


async def start_later_in(
    journal: PostgreSQLJournal,
    session: AsyncSession,
    sessions: async_scoped_session[AsyncSession],
    connection: AsyncConnection,
    plain: PsycopgLater[dict[str, object]],
) -> None:
    """Await it."""
    within: Within = journal.within(session)
    for begun in (within, journal.within(sessions), journal.within(connection)):
        assert_type(await saga().operation(tidy).astart(journal=begun), str)
    await saga().operation(tidy).astart(journal=journal.within(plain))


def in_a_test(error: SagaException, results: Results) -> None:
    """What tests are made of."""
    journal = MemoryJournal()
    with fail_at("charge", ConnectionResetError, after=True, times=None):
        recover(journal)
    with fail_at("undo charge", OSError("no")), inline_choreography():
        saga().operation(tidy).choreography_execute()
    with encoded_results(modules=["shop"]), Clock(start=0) as clock:
        assert_type(clock.passed, float)
    with operation(name="charge", direction="compensation") as running:
        assert_type(running, CurrentOperation)
    assert_completed(results)
    assert_completed(journal, "x")
    for outcome in (error, results):
        assert_compensated(outcome)
        assert_compensated(outcome, "reserve", "charge")
        assert_stuck(outcome, "charge")
    assert_compensated(journal, "x", "reserve", "charge")
    assert_stuck(journal, "x")


@contextmanager
def opened() -> Generator[Shop]:
    """Open a shop, and close it."""
    yield Shop("corner")


def generated() -> Generator[Shop]:
    """Do so in a function that pytest would take for a fixture."""
    yield Shop("corner")


def bought(shop: Shop) -> SagaAssembler:
    """Make a saga that lies in a shop."""
    return saga().operation((shop.sell, "mug"))


async def sold(shop: Shop) -> None:
    """Run one."""
    await bought(shop).aorchestrator_execute()


def sees(_: Shop, outcome: SagaStatus) -> None:
    """Look at it."""
    assert outcome is SagaStatus.COMPLETED


def in_all_ways() -> None:
    """What is explored may be run in any way, in any world."""
    explored = explore(bought, world=lambda: Shop("corner"), state=vars)
    assert_type(explored, Explored)
    assert_type(explored.schedules, int)
    explore(sold, world=generated, check=sees, services=["till"], errors={"till": OSError})
    explore(
        lambda shop: bought(shop).choreography_execute(),
        world=opened,
        state=vars,
        how=("orchestrator", "choreography"),
        faults=2,
        limit=100,
        without=("late", "sell:refuses"),
        modules=["shop"],
        on_crash="compensate",
        blind=["sell"],
    )
