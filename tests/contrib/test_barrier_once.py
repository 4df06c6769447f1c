"""Local writes that count once, by SQLAlchemy: in sessions and connections, sync and async."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from barrier_callers import Receiver, receiver
from servers.children import Missing, package
from world import PATIENCE

from py_api_saga import Retry, SagaAssembler, SagaException, later
from py_api_saga.contrib import barrier
from py_api_saga.contrib.barrier import AlreadyUndone, OnceError, once
from py_api_saga.journal import SQLiteJournal
from py_api_saga.testing import Clock, operation

KINDS = (
    *("sessionmaker sqlite", "scoped_session sqlite", "Engine sqlite", "sessionmaker psycopg"),
    *("Engine psycopg2", "async_sessionmaker psycopg", "AsyncEngine asyncpg"),
)
SESSIONS = ("sessionmaker sqlite", "sessionmaker psycopg")


class Shop:
    """A shop with a database, whose writes are rows of a table `effect`.

    Attributes:
        using: What `once` is given.
        service: Looks from outside.
        log: What was called.
    """

    def __init__(self, kind: str, service: Receiver) -> None:
        self.service = service
        what, _, _ = kind.partition(" ")
        self.is_later = what.lower().startswith("async")
        later, orm = package("sqlalchemy.ext.asyncio"), package("sqlalchemy.orm")
        make = {
            "sessionmaker": orm.sessionmaker,
            "scoped_session": lambda engine: orm.scoped_session(orm.sessionmaker(engine)),
            "async_sessionmaker": later.async_sessionmaker,
        }
        self.using: Any = make.get(what, lambda engine: engine)(service.engine)
        self.log: list[str] = []

    def write(self, name: str, *, raises: BaseException | None = None, value: Any = None) -> Any:
        """Make a function that writes a row, raises or returns something."""

        def reserve(connection: Any, *args: Any) -> Any:
            self.log.append(name)
            self.service.execute(connection, "INSERT INTO effect (name) VALUES (?)", name)
            if raises is not None:
                raise raises
            return [name, *args] if value is None else value

        async def areserve(connection: Any, *args: Any) -> Any:
            return await connection.run_sync(reserve, *args)

        return areserve if self.is_later else reserve

    def call(self, function: Any, *args: Any, **options: Any) -> Any:
        """Call something once, and wait for it if need be."""
        return self.service.run(once(function, *args, using=self.using, **options))

    def effects(self, name: str) -> int:
        """Count what stands."""
        return self.service.effects(name)


@pytest.fixture(params=KINDS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """Give a shop for each kind of what `using` takes."""
    what, driver = request.param.split()
    kind = f"AsyncSession {driver}" if what.lower().startswith("async") else f"Session {driver}"
    try:
        with receiver(kind, tmp_path) as service:
            yield Shop(request.param, service)
    except Missing as missing:
        pytest.skip(f"there is no {missing}")


in_sessions = pytest.mark.parametrize("shop", SESSIONS, indirect=True)
in_a_file = pytest.mark.parametrize("shop", ["sessionmaker sqlite"], indirect=True)
in_postgresql = pytest.mark.parametrize("shop", ["sessionmaker psycopg"], indirect=True)
awaited = pytest.mark.parametrize("shop", ["async_sessionmaker psycopg"], indirect=True)


# --- the promise ---------------------------------------------------------------------------------


def test_the_second_call_gives_the_first_value(shop: Shop) -> None:
    """And does not call the function, however the call goes on after that."""
    with operation():
        first = shop.call(shop.write("mug"), "shelf 3")
    with operation(attempt=2):
        second = shop.call(shop.write("other"), "shelf 4")

    assert first == second == ["mug", "shelf 3"]
    assert (shop.log, shop.effects("mug"), shop.effects("other")) == (["mug"], 1, 0)


def test_an_error_before_commit_keeps_nothing(shop: Shop) -> None:
    """The next attempt is a first one."""
    with operation(), pytest.raises(ValueError, match="a bug"):
        shop.call(shop.write("mug", raises=ValueError("a bug")))
    assert shop.effects("mug") == 0

    with operation(attempt=2):
        assert shop.call(shop.write("mug")) == ["mug"]
    assert shop.effects("mug") == 1


def test_a_compensation_undoes_what_was_written_once(shop: Shop) -> None:
    """It is a write that counts once as well, also under the key of another generation."""
    with operation():
        shop.call(shop.write("mug"))
    for key in (None, None, "test:operation:compensation:2"):
        with operation(direction="compensation", idempotency_key=key):
            assert shop.call(shop.write("undo")) == ["undo"]

    assert (shop.effects("mug"), shop.effects("undo")) == (1, 1)


def test_a_compensation_of_what_never_was_bars_the_way(shop: Shop) -> None:
    """It calls nothing and gives None; an action that comes after it raises, and writes nothing."""
    for _ in range(2):
        with operation(direction="compensation"):
            assert shop.call(shop.write("undo")) is None
    for key in (None, "test:operation:action:2"):
        running = operation(idempotency_key=key, action_key="test:operation:action")
        with running, pytest.raises(AlreadyUndone, match="undone before"):
            shop.call(shop.write("mug"))

    assert (shop.log, shop.effects("mug"), shop.effects("undo")) == ([], 0, 0)


def test_a_second_compensation_that_finds_the_tombstone_calls_nothing(shop: Shop) -> None:
    """Of another name for its own row, such as a compensation that was renamed."""
    with operation(direction="compensation"):
        shop.call(shop.write("undo"))
    with operation(direction="compensation", idempotency_key="test:operation:other"):
        assert shop.call(shop.write("undo")) is None

    assert shop.log == []


def test_writes_have_names(shop: Shop) -> None:
    """Several in one operation are each their own, and so are their undos."""
    with operation():
        assert shop.call(shop.write("mug"), name="stock") == ["mug"]
        assert shop.call(shop.write("order"), name="order") == ["order"]
    with operation(direction="compensation"):
        assert shop.call(shop.write("un-mug"), name="stock") == ["un-mug"]
        assert shop.call(shop.write("un-other"), name="other") is None

    assert shop.log == ["mug", "order", "un-mug"]


def test_two_writes_without_names_are_refused(shop: Shop) -> None:
    """The second would be given the value of the first."""
    with operation():
        shop.call(shop.write("mug"))
        with pytest.raises(OnceError, match="operation 'operation' has two writes without a name"):
            shop.call(shop.write("order"))
        shop.call(shop.write("mug"), name="a")
        with pytest.raises(OnceError, match="two writes named 'a'"):
            shop.call(shop.write("mug"), name="a")

    assert shop.effects("order") == 0


def test_two_writes_of_one_function_are_refused_as_well(shop: Shop) -> None:
    """However soon one follows the other, in the very memory that the first has left."""
    write = shop.write("mug")
    with operation():
        assert shop.call(write, "red") == ["mug", "red"]
        for colour in ("blue", "green"):
            with pytest.raises(OnceError, match="two writes without a name"):
                shop.call(write, colour)


@awaited
def test_two_writes_at_once_without_names_are_refused(shop: Shop) -> None:
    """They are seen as they are called, before either is awaited."""

    async def both() -> None:
        with operation():
            first = once(shop.write("mug"), "red", using=shop.using)
            with pytest.raises(OnceError, match="two writes without a name"):
                once(shop.write("mug"), "blue", using=shop.using)
            assert await first == ["mug", "red"]

    shop.service.run(both())


@in_sessions
def test_who_comes_second_waits_for_the_first(shop: Shop) -> None:
    """The row is there before the effect, so nobody is in doubt which of two it was."""
    inside, go, given = threading.Event(), threading.Event(), []

    def slowly(_: Any) -> str:
        inside.set()
        assert go.wait(PATIENCE)
        return "first"

    def run(function: Any) -> None:
        with operation():
            given.append(once(function, using=shop.using))

    first = threading.Thread(target=run, args=(slowly,))
    first.start()
    assert inside.wait(PATIENCE)
    second = threading.Thread(target=run, args=(shop.write("second"),))
    second.start()
    go.set()
    for thread in (first, second):
        thread.join(PATIENCE)

    assert (given, shop.log) == (["first", "first"], [])


@in_sessions
@pytest.mark.parametrize("is_committed", [True, False])
def test_a_compensation_waits_for_an_action_in_flight(shop: Shop, *, is_committed: bool) -> None:
    """What was committed meanwhile is undone, and what was not can't be any more."""
    inside, go, given = threading.Event(), threading.Event(), []

    def slowly(_: Any) -> None:
        inside.set()
        assert go.wait(PATIENCE)
        if not is_committed:
            raise ValueError

    def act() -> None:
        with operation(), suppress(ValueError):
            once(slowly, using=shop.using)

    def undo() -> None:
        with operation(direction="compensation"):
            given.append(once(shop.write("undo"), using=shop.using))

    threads = [threading.Thread(target=act), threading.Thread(target=undo)]
    threads[0].start()
    assert inside.wait(PATIENCE)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(PATIENCE)

    assert given == ([["undo"]] if is_committed else [None])


# --- in a saga -----------------------------------------------------------------------------------


@in_a_file
def test_a_decorated_operation_counts_once_though_it_is_tried_again(shop: Shop) -> None:
    """The reply was lost, the attempt is made again under its key, and nothing is written twice."""
    calls = []

    @once(using=shop.using)
    def reserve(session: Any, article: str) -> Decimal:
        calls.append(article)
        shop.write(article)(session)
        return Decimal("1.20")

    def reserved(article: str) -> Decimal:
        value: Decimal = reserve(article)
        if len(calls) == 1 and not given:
            given.append(value)
            raise TimeoutError
        return value

    given: list[Decimal] = []
    saga = SagaAssembler.saga(name="shop", retry=Retry(TimeoutError, wait_initial=0)).operation(
        (reserved, "mug"), lambda: None
    )

    assert saga.orchestrator_execute() == [Decimal("1.20")]
    assert (calls, shop.effects("mug")) == (["mug"], 1)


@in_a_file
def test_what_was_written_is_undone_with_its_saga(shop: Shop) -> None:
    """Action and compensation are told from one another by themselves."""
    undo = once(using=shop.using)(shop.write("undo"))

    def courier() -> None:
        raise ValueError

    saga = (
        SagaAssembler.saga()
        .operation((once(using=shop.using)(shop.write("mug")), "x"), undo)
        .operation(courier)
    )

    with pytest.raises(SagaException):
        saga.orchestrator_execute()

    assert (shop.effects("mug"), shop.effects("undo")) == (1, 1)


@awaited
def test_a_decorated_coroutine_function_is_one_still(shop: Shop) -> None:
    """So a saga under asyncio awaits it."""
    reserve = once(using=shop.using)(shop.write("mug"))
    assert asyncio.iscoroutinefunction(reserve)
    saga = SagaAssembler.saga().operation((reserve, "x"), lambda: None)

    assert shop.service.run(saga.aorchestrator_execute()) == [["mug", "x"]]
    assert shop.effects("mug") == 1


class Sealer:
    """A codec that shows that it was asked."""

    def encode(self, text: str) -> str:
        return text[::-1]

    def decode(self, text: str) -> str:
        return text[::-1]


# --- doubt ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_again", [False, True], ids=["first", "again"])
def test_the_first_of_two_writes_does_not_stay_behind(shop: Shop, *, is_again: bool) -> None:
    """What stands is undone if the second fails, also where it was written by an attempt before."""
    attempts = []

    def take(name: str, error: Exception | None = None) -> Any:
        return shop.call(shop.write(name, raises=error), name=name)

    def fail() -> None:
        attempts.append("action")
        error: Exception = ValueError("too few")
        if is_again and len(attempts) == 1:
            error = TimeoutError()
        take("b", error)

    def put_back() -> None:
        shop.log.append("undo")
        for name in ("a", "b"):
            shop.call(shop.write(f"un-{name}"), name=name)

    def act() -> None:
        take("a")
        fail()

    saga = SagaAssembler.saga(retry=Retry(TimeoutError, wait_initial=0)).operation(act, put_back)
    with pytest.raises(SagaException):
        saga.orchestrator_execute()

    assert shop.log == ["a", *["b"] * (1 + is_again), "undo", "un-a"]
    assert [shop.effects(name) for name in ("a", "b", "un-a", "un-b")] == [1, 0, 1, 0]


@in_sessions
def test_a_write_within_another_says_what_became_of_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That the outer one is rolled back proves nothing of a COMMIT that may have been made."""
    opening, sqlalchemy = package("py_api_saga.contrib.barrier.opening"), package("sqlalchemy")
    other = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    with other.begin() as connection:
        for statement in barrier.ddl("sqlite"):
            connection.execute(sqlalchemy.text(statement))

    def lost(self: Any) -> None:
        self.connection.commit()
        raise sqlalchemy.exc.OperationalError("COMMIT", {}, ConnectionResetError())

    def outer(_: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(opening._Opened, "commit", lost)  # noqa: SLF001 - where COMMIT is
            once(lambda _: 1, name="inner", using=other)

    with operation(), pytest.raises(sqlalchemy.exc.OperationalError) as caught:
        shop.call(outer)
    assert outcome(caught.value) == "in doubt"


def outcome(error: BaseException) -> str | None:
    """Tell what an error says of its call."""
    said: str | None = getattr(error, "saga_outcome", None)
    return said


@in_postgresql
def test_a_database_that_goes_before_commit_says_that_nothing_happened(shop: Shop) -> None:
    """What it raises by itself would leave doubt."""

    def cut(session: Any) -> None:
        ((pid,),) = shop.service.execute(session, "SELECT pg_backend_pid()")
        shop.service.do("SELECT pg_terminate_backend(?)", pid)
        shop.write("mug")(session)

    with operation(), pytest.raises(Exception, match=r"terminat|closed") as caught:
        shop.call(cut)

    assert outcome(caught.value) == "not happened"
    assert shop.effects("mug") == 0


def test_an_error_out_of_commit_is_in_doubt(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt, or the compensation, finds out."""
    opening = package("py_api_saga.contrib.barrier.opening")
    kind = opening.AOpened if shop.is_later else opening._Opened  # noqa: SLF001 - where COMMIT is

    def lost(self: Any) -> Any:
        monkeypatch.undo()
        done = self.connection.commit()

        async def wait() -> None:
            await done
            raise ConnectionResetError

        if shop.is_later:
            return wait()
        raise ConnectionResetError

    monkeypatch.setattr(kind, "commit", lost)
    with operation(), pytest.raises(ConnectionResetError) as caught:
        shop.call(shop.write("mug"))
    assert outcome(caught.value) == "in doubt"

    with operation(attempt=2):
        assert shop.call(shop.write("mug")) == ["mug"]
    assert shop.effects("mug") == 1


def test_an_unreachable_database_says_that_nothing_happened() -> None:
    """No transaction was begun."""
    sqlalchemy = package("sqlalchemy")
    engine = sqlalchemy.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nowhere")

    with operation(), pytest.raises(sqlalchemy.exc.OperationalError) as caught:
        once(print, using=engine)

    assert outcome(caught.value) == "not happened"


@in_sessions
def test_what_a_session_holds_back_is_sent_before_commit(shop: Shop) -> None:
    """So a row that violates a constraint has not happened, though it is found that late."""
    orm, sqlalchemy = package("sqlalchemy.orm"), package("sqlalchemy")
    base = orm.declarative_base()

    class Effect(base):  # type: ignore[valid-type,misc]
        __tablename__ = "effect_of_orm"
        name = sqlalchemy.Column(sqlalchemy.String, primary_key=True)

    base.metadata.create_all(shop.service.engine)

    def add(session: Any, name: str) -> None:
        session.add(Effect(name=name))

    with operation():
        once(add, "mug", using=shop.using)
    with operation(saga_id="other"), pytest.raises(sqlalchemy.exc.IntegrityError) as caught:
        once(add, "mug", using=shop.using)

    assert outcome(caught.value) == "not happened"


@pytest.mark.parametrize("way", ["commit", "rollback"])
def test_what_a_function_ends_itself_is_not_written(shop: Shop, way: str) -> None:
    """It would stand though it is told that it does not, or be written a second time."""
    write = shop.write("mug")

    def end(connection: Any) -> None:
        write(connection)
        getattr(connection, way)()
        write(connection)

    async def aend(connection: Any) -> None:
        await write(connection)
        await getattr(connection, way)()
        await write(connection)

    words = "leaves COMMIT to whoever" if way == "commit" else "was rolled back by its function"
    for attempt in (1, 2):
        with operation(attempt=attempt), pytest.raises(RuntimeError, match=words):
            shop.call(aend if shop.is_later else end)
        assert shop.effects("mug") == 0

    with operation(attempt=3):
        assert shop.call(shop.write("mug")) == ["mug"]
    assert shop.effects("mug") == 1


# --- values --------------------------------------------------------------------------------------


@in_a_file
def test_a_value_is_kept_as_a_journal_would(shop: Shop) -> None:
    """With its type, if a journal may keep it without a list of modules."""
    value = {"cents": Decimal("1.20"), "many": (1, {2})}
    for attempt in (1, 2):
        with operation(attempt=attempt):
            assert shop.call(shop.write("mug", value=value)) == value


@in_a_file
@pytest.mark.parametrize(
    "made",
    [
        lambda: later(timeout=None),
        lambda: later(until=time.time() + 60, result=("kept", Decimal("9.50"))),
        lambda: later(timeout=3600),
    ],
    ids=["for ever", "timer", "timeout"],
)
def test_an_answer_that_comes_later_is_awaited_as_long_as_at_first(shop: Shop, made: Any) -> None:
    """Whoever calls it again, after a crash, waits until the moment that was meant then."""
    first = made()
    write = shop.write("stock", value=first)
    with operation():
        assert shop.call(write) == first
    moved = Clock(start=time.time() + 600) if first.timeout else nullcontext()
    with operation(attempt=2), moved:
        again = shop.call(write)

    assert shop.log == ["stock"]
    assert (again.until, again.result) == (first.until, first.result)
    if first.timeout is None:
        assert again.timeout is None
    else:
        assert 2900 < again.timeout < 3001


@in_a_file
def test_a_value_that_cannot_be_kept_is_refused(shop: Shop) -> None:
    """Before COMMIT, in the words of the journal."""
    with operation(), pytest.raises(OnceError, match=r"can't be stored: .* object") as caught:
        shop.call(shop.write("mug", value=object()))

    assert outcome(caught.value) == "not happened"
    assert shop.effects("mug") == 0


@in_a_file
def test_a_value_that_cannot_be_read_leaves_doubt(shop: Shop) -> None:
    """For the effect stands."""
    with operation():
        shop.call(shop.write("mug"))
    shop.service.do("UPDATE saga_barrier SET answer = '{'")
    with (
        operation(attempt=2),
        pytest.raises(OnceError, match="has written, and its value can't be read") as caught,
    ):
        shop.call(shop.write("mug"))

    assert outcome(caught.value) == "in doubt"


def stored(shop: Shop) -> str:
    """Give what the row of a write holds."""
    return str(shop.service.do("SELECT answer FROM saga_barrier")[0][0])


@in_a_file
def test_a_value_is_sealed_as_in_the_journal_of_its_saga(shop: Shop, tmp_path: Path) -> None:
    """Its codec and its names are those of the saga that the operation belongs to."""
    journal = SQLiteJournal(str(tmp_path / "sagas.db"), modules=[__name__], codec=Sealer())
    shops.append(shop)
    try:
        saga = SagaAssembler.saga(name="shop").operation(reserve_secretly, undo_nothing)
        assert saga.orchestrator_execute(journal=journal, saga_id="order-7") == ["secret"]
    finally:
        shops.clear()
        journal.close()

    assert "secret" not in stored(shop)
    assert "terces" in stored(shop)


shops: list[Shop] = []


def reserve_secretly() -> Any:
    """Write something of the shop that there is."""
    return once(shops[0].write("mug", value="secret"), using=shops[0].using)


def undo_nothing() -> None:
    """Undo nothing."""


# --- what is forgotten ---------------------------------------------------------------------------


@in_sessions
def test_what_is_forgotten_is_never_said_to_be_nothing(shop: Shop) -> None:
    """Purging clears no value of a write; after forgetting, a person has to look."""
    with operation():
        shop.call(shop.write("mug"))
    shop.service.do("UPDATE saga_barrier SET at = '2020-01-01 00:00:00'")
    for tidy in (barrier.purge, barrier.forget):
        session = shop.using()
        tidy(session)
        session.commit()
        session.close()
        if tidy is barrier.purge:
            with operation(attempt=2):
                assert shop.call(shop.write("mug")) == ["mug"]

    shop.service.do("UPDATE saga_barrier SET answer = '9e9'")  # as if it were the year 2255
    with operation(direction="compensation"), pytest.raises(OnceError, match="nobody remembers"):
        shop.call(shop.write("undo"))


# --- what is refused -----------------------------------------------------------------------------


def test_it_is_of_an_operation(shop: Shop) -> None:
    """Outside there is no call that could count once, and a question writes nothing."""
    with pytest.raises(OnceError, match="no operation is running"):
        shop.call(shop.write("mug"))
    with operation(direction="ask"), pytest.raises(OnceError, match="asks what has happened"):
        shop.call(shop.write("mug"))

    assert shop.effects("mug") == 0


def test_autocommit_is_refused(shop: Shop) -> None:
    """What is noted would be committed before the effect."""
    engine = shop.service.engine.execution_options(isolation_level="AUTOCOMMIT")
    with operation(), pytest.raises(RuntimeError, match="is in autocommit") as caught:
        shop.service.run(once(shop.write("mug"), using=engine))

    assert outcome(caught.value) == "not happened"
    assert shop.effects("mug") == 0


@pytest.mark.parametrize("shop", ["scoped_session sqlite"], indirect=True)
def test_a_session_with_a_transaction_is_refused(shop: Shop) -> None:
    """Whatever is in it would be committed along."""
    shop.service.execute(shop.using, "SELECT 1")
    with operation(), pytest.raises(OnceError, match="a transaction is open in this session"):
        shop.call(shop.write("mug"))
    shop.using.remove()
    with operation():
        shop.call(shop.write("mug"))
    assert shop.using().is_active
    shop.using.remove()


def test_a_plain_function_and_what_is_awaited_do_not_go_together(shop: Shop) -> None:
    """Nor the other way round; it is said as the function is decorated, if that can be seen."""

    def plain(*_: Any) -> None: ...
    async def later(*_: Any) -> None: ...

    wrong: Any = plain if shop.is_later else later
    with pytest.raises(TypeError, match="once: a coroutine function needs"):
        once(using=shop.using)(wrong)
    with operation(), pytest.raises(TypeError, match="once: a coroutine function needs"):
        once(wrong, using=shop.using)


@in_a_file
def test_what_gives_something_to_await_is_found_out(shop: Shop) -> None:
    """When it is called."""
    later, orm = package("sqlalchemy.ext.asyncio"), package("sqlalchemy.orm")
    engine = shop.service.engine

    async def wait() -> None: ...

    with operation(), pytest.raises(TypeError, match="AsyncSession is one to await"):
        once(print, using=later.AsyncSession)
    with operation(), pytest.raises(TypeError, match="needs what is to be awaited"):
        asyncio.run(once(wait, using=lambda: orm.Session(engine)))
    with operation(), pytest.raises(TypeError, match=r"got builtins\.int"):
        once(print, using=7)
    with operation(), pytest.raises(TypeError, match="expected a function first, got str"):
        once("mug", using=7)  # type: ignore[call-overload]


def test_a_coroutine_function_is_not_for_django() -> None:
    """Whose `atomic` is of one thread."""

    async def later() -> None: ...

    with pytest.raises(TypeError, match="within Django's atomic"):
        once(later)
    with pytest.raises(TypeError, match="within Django's atomic"):
        _ = once(later, using="default")


def test_a_call_that_is_a_decoration_is_refused() -> None:
    """In an operation nothing would be called, and nobody would notice."""
    with operation(), pytest.raises(OnceError, match="decorates a function, and calls nothing"):
        once(undo_nothing)
    with operation():
        assert callable(once(lambda: None))
