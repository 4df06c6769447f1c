"""One call on a worker of an engine: the same attempt as anywhere, and its end as a line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import depot
import django_project
import flask
import pytest
from barrier_callers import receiver
from depot import aask, ado, ask, aundo, do, fail, is_busy, is_lost, undo
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from recorded import Salted
from sqlalchemy.orm import sessionmaker
from thrown import TimeLimit, made
from workbench import Bench, called, driven, lines, on_record, without_facts, workshop, written
from world import PATIENCE

from py_api_saga import (
    NOT_HAPPENED,
    UNKNOWN,
    Event,
    Retry,
    Saga,
    SagaAssembler,
    SagaError,
    current_operation,
    happened,
    later,
    result_of,
)
from py_api_saga.contrib.barrier import once as once_only
from py_api_saga.contrib.django.around import around_commands
from py_api_saga.contrib.http import Rules
from py_api_saga.current import CurrentOperation
from py_api_saga.engines.course import MAX_LOSSES
from py_api_saga.engines.errand import Errand, NotDeployed, Workshop
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.format.values import Values
from py_api_saga.status import MISSING

if TYPE_CHECKING:
    from py_api_saga.executors.running import AskedRun

WAYS = pytest.mark.parametrize("is_async", [False, True], ids=["plain", "coroutine"])
NOW = Retry(Exception, attempts=3, wait_initial=0, wait_max=0, wait_jitter=0)


@pytest.fixture(autouse=True)
def _depot() -> Iterator[None]:
    depot.reset()
    yield
    depot.reset()


def one(*args: Any, is_async: bool = False, **options: Any) -> SagaAssembler:
    """Make a saga of one operation, "a"."""
    saga = SagaAssembler.saga(name="depot")
    action = (ado, "a", *args) if is_async else (do, "a", *args)
    return saga.operation(action, ((aundo if is_async else undo), "a"), name="a", **options)


def then_fails(saga: SagaAssembler) -> SagaAssembler:
    """Have a saga fail at its end."""
    depot.behaviour["last"] = fail(ValueError("no"))
    return saga.operation((do, "last"), name="last")


def behave(**behaviour: Callable[[], Any]) -> None:
    """Say what the calls of "a" do besides; `undo_a` and `ask_a` are what their names say."""
    for name, does in behaviour.items():
        depot.behaviour[name.replace("_", " ")] = does


def seen_in(saga: SagaAssembler, shop: Workshop | None = None, **options: Any) -> Any:
    """Run a saga, and give what the call of "a" has made of its current operation."""
    driven(saga, shop, **options)
    return SEEN[-1]


async def once(there: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not there():  # noqa: ASYNC110 - threads change it
            await asyncio.sleep(0.005)


SEEN: list[Any] = []


def look(of: Callable[[CurrentOperation], Any]) -> Callable[[], str]:
    """Make a behaviour that looks at its operation."""

    def behaviour() -> str:
        SEEN.append(of(current_operation()))
        return "seen"

    return behaviour


# --- what comes of a call -------------------------------------------------------------------------


@WAYS
def test_a_result_goes_back_as_a_line(*, is_async: bool) -> None:
    """As a journal has it, with when it began and how long it took."""
    line = called(one(is_async=is_async))

    assert without_facts(line) == ["succeeded", 0, "action", 1, 1, "A"]
    began, took = line[6]
    assert began >= 0
    assert took >= 0
    assert depot.log == ["a"]


@WAYS
def test_what_is_raised_goes_back_by_name(*, is_async: bool) -> None:
    """Its type is named, and nothing of it is imported elsewhere."""
    behave(a=fail(ValueError("no mugs")))

    line = called(one(is_async=is_async))

    assert without_facts(line)[0] == "failed"
    assert line[5] == ["builtins.ValueError", "no mugs"]


@WAYS
def test_another_attempt_is_told_with_its_wait(*, is_async: bool) -> None:
    """The policy is asked here, where its function is; the wait is the engine's."""
    behave(a=fail(ValueError("busy")))
    retry = Retry(is_busy, attempts=3, wait_initial=7, wait_max=7, wait_jitter=0)

    assert called(one(is_async=is_async, retry=retry))[5] == [["builtins.ValueError", "busy"], 7.0]


def test_a_jitter_is_drawn_here() -> None:
    """Not all workers call again at once."""
    behave(a=fail(ValueError("busy")))
    retry = Retry(Exception, attempts=3, wait_initial=7, wait_max=7, wait_jitter=5)

    _, wait = called(one(retry=retry))[5]

    assert 7 <= wait <= 12


def test_a_retry_that_has_lasted_too_long_ends() -> None:
    """From the first intent under this key, which has come with the call."""
    behave(a=fail(ValueError("busy")))
    saga = one(retry=Retry(Exception, attempts=9, wait_initial=0, wait_jitter=0, timeout=60))

    def at(seconds: float) -> Any:
        async def call() -> Any:
            bench = Bench(written(saga), workshop())
            tree = json.loads(bench.next())
            return await bench.call(json.dumps({**tree, "since": tree["since"] - seconds}))

        return asyncio.run(call())[0]

    assert at(0.0) == "retry"
    assert at(61.0) == "failed"


def test_a_failure_that_leaves_doubt_is_told_as_doubt() -> None:
    """As the policy says: by a function of the user's, here."""
    behave(a=fail(ValueError("lost")))

    assert called(one(doubtful=(is_lost,)))[0] == "in doubt"
    assert called(one())[0] == "failed"


def test_a_note_of_a_request_leaves_doubt() -> None:
    """Whatever the error is."""

    def send() -> None:
        with current_operation().sending():
            raise ValueError

    behave(a=send)

    assert called(one())[0] == "in doubt"


def test_a_request_that_was_refused_leaves_none() -> None:
    """Its note is struck out."""

    def send() -> None:
        with current_operation().sending() as request:
            request.refused()
        raise ValueError

    behave(a=send)

    assert called(one())[0] == "failed"


@WAYS
def test_what_is_only_begun_is_told_with_when_it_is_due(*, is_async: bool) -> None:
    """Seconds since 1970: whoever reads it has another clock that runs."""
    behave(a=lambda: later(timeout=60))
    before = time.time()

    what, *_, (due, is_timer, result), _ = called(one(is_async=is_async))

    assert (what, is_timer, result) == ("later", False, None)
    assert before + 60 <= due <= time.time() + 60


def test_a_timer_keeps_its_result() -> None:
    """It succeeds with that when it is due."""
    behave(a=lambda: later(until=4e9, result={"id": 7}))

    assert called(one())[5] == [4e9, True, {"id": 7}]


@pytest.mark.parametrize(
    ("kind", "told"), [("action", ("in doubt", "failed")), ("undo", ("failed", "failed"))]
)
def test_a_timer_whose_result_cannot_be_kept_has_begun_something(
    kind: str, told: tuple[str, str]
) -> None:
    """As on a journal: nobody knows whether an action took effect."""
    behaviour = {"action": "a", "undo": "undo_a"}[kind]
    behave(**{behaviour: lambda: later(until=4e9, result=object())})

    told_of = [line[0] for line in lines(driven(then_fails(one())))]

    assert told_of[told_of.index("started") + 1] == (told[0] if kind == "action" else "succeeded")
    assert kind == "action" or told_of[-1] == told[1]


@pytest.mark.parametrize("value", [object(), "x" * (256 << 10), "é" * (128 << 10)])
def test_a_result_that_cannot_be_kept_is_told_as_such(value: object) -> None:
    """It happened, so the saga rolls back: what is too large for an engine, too."""
    behave(a=lambda: value)

    line = called(one())

    assert line[0] == "unstored"
    assert line[5][1].startswith("the result of the action of 'a' cannot be kept: ")


def test_a_result_of_just_the_size_is_kept() -> None:
    """The limit is that of the JSON text."""
    behave(a=lambda: "x" * ((256 << 10) - 2))

    assert called(one())[0] == "succeeded"


def test_a_value_that_raises_when_it_is_written_has_still_happened() -> None:
    """Whatever it raises: the call was made."""

    class Odd(Salted):
        def encode(self, text: str) -> str:
            raise KeyboardInterrupt if text == "never" else RuntimeError

    line = called(one(), workshop(codec=Odd()))

    assert line[0] == "unstored"


def test_the_values_are_sealed_here() -> None:
    """Nobody between two workers can read them."""
    codec = Salted()
    saga = one("secret", is_async=False).operation((do, "b", result_of("a")), name="b")
    depot.behaviour["a"] = lambda: {"card": "4711"}

    rows = driven(saga, workshop(codec=codec), codec=codec)

    text = json.dumps(rows)
    assert depot.log == ["a", "b"]
    assert "secret" not in text
    assert "4711" not in text


def test_results_of_children_reach_the_calls_that_want_them() -> None:
    """By the names that they have there, and a whole child as its results."""
    child = Saga(name="child").operation((do, "x"), (undo, "x", result_of()), name="x")
    child.operation((do, "y", result_of("x")), name="y")
    saga = SagaAssembler.saga(name="depot").operation(child, name="child")
    saga.operation((give_back, result_of("child")["y"], result_of("child")), name="b")

    rows = driven(saga, workshop(["depot", __name__]), modules=["depot", __name__])

    assert lines(rows)[-1][5] == {"$tuple": ["Y", {"$results": [["X", "Y"], {"x": 0, "y": 1}]}]}


def give_back(*args: Any) -> Any:
    """Return what it is given."""
    return args


# --- what the operation knows of itself -----------------------------------------------------------


@WAYS
def test_an_operation_knows_its_keys(*, is_async: bool) -> None:
    """The same as anywhere, for every attempt."""
    behave(a=look(lambda it: (it.saga_id, it.saga_name, it.operation, it.direction, it.attempt)))
    assert seen_in(one(is_async=is_async)) == ("x", "depot", "a", "action", 1)
    behave(a=look(lambda it: (it.idempotency_key, it.action_key)))
    assert seen_in(one(is_async=is_async)) == ("x:a:action", "x:a:action")
    behave(a=lambda: "A", undo_a=look(lambda it: (it.idempotency_key, it.action_key)))
    assert seen_in(then_fails(one(is_async=is_async))) == ("x:a:compensation", "x:a:action")


def test_a_question_has_the_key_of_its_action() -> None:
    """It asks about that one."""
    behave(
        a=fail(ConnectionResetError()), ask_a=look(lambda it: (it.direction, it.idempotency_key))
    )

    assert seen_in(one(on_doubt=ask)) == ("ask", "x:a:action")


def test_a_later_attempt_knows_its_number() -> None:
    """And has the key of the first one."""

    def behaviour() -> None:
        it = current_operation()
        SEEN.append((it.attempt, it.idempotency_key))
        raise ValueError

    behave(a=behaviour)
    SEEN.clear()
    driven(one(retry=NOW))

    assert SEEN == [(1, "x:a:action"), (2, "x:a:action"), (3, "x:a:action")]


@pytest.mark.parametrize(
    ("options", "deadline", "least", "most"),
    [({}, None, None, None), ({"timeout": 50}, None, 40, 50), ({}, 70, 60, 70)],
)
def test_an_operation_knows_how_long_it_may_take(
    options: dict[str, Any], deadline: float | None, least: float | None, most: float | None
) -> None:
    """The least of its own timeout and the deadline of the saga, which is another clock's."""
    behave(a=look(lambda it: it.remaining()))

    left = seen_in(one(**options), deadline=deadline)

    assert left == least if least is None or most is None else least < left <= most


def test_an_undo_has_no_deadline() -> None:
    """It is to be made, however late."""
    behave(undo_a=look(lambda it: it.remaining()))

    assert seen_in(then_fails(one()), deadline=70) is None


@pytest.mark.parametrize(("is_async", "place"), [(False, "thread"), (True, "loop")])
def test_an_operation_knows_where_it_is_called(*, is_async: bool, place: str) -> None:
    """A plain function in a thread of ours, where nobody else closes what belongs to it."""
    behave(a=look(lambda it: it.where))

    assert seen_in(one(is_async=is_async)) == place


def test_an_operation_knows_when_its_action_was_called_first() -> None:
    """Before that nothing was sent under the first key: what a barrier and a header say."""
    exchanges: list[dict[str, str]] = []

    def behaviour() -> None:
        exchange = Rules().exchange("POST", {})
        assert exchange is not None
        with exchange:
            exchanges.append(dict(exchange.headers))

    behave(undo_a=behaviour)
    before = time.time()
    driven(then_fails(one()))

    (headers,) = exchanges
    assert headers.pop("Idempotency-Key") == "x:a:compensation"
    assert headers.pop("Saga-Undoes") == "x:a:action"
    since = datetime.fromisoformat(headers["Saga-Since"]).timestamp()
    assert before - 0.001 <= since <= time.time()


def test_what_came_along_can_be_read() -> None:
    """By its name, as anywhere."""
    depot.behaviour["b"] = look(lambda it: it.results["a"])
    saga = one().operation((do, "b", result_of("a")), name="b")

    assert seen_in(saga) == "A"


@pytest.mark.parametrize(
    "read",
    [
        lambda it: it.results["c"],
        lambda it: it.results.get("c"),
        lambda it: "c" in it.results,
        lambda it: len(it.results),
        lambda it: dict(it.results),
        lambda it: list(it.results),
        lambda it: list(it.results.values()),
        lambda it: it.results == {},
        lambda _: list(ado.saga_results),  # type: ignore[attr-defined]
        lambda _: len(do.saga_results),  # type: ignore[attr-defined]
        lambda _: do.saga_results[0],  # type: ignore[attr-defined]
    ],
)
def test_what_did_not_come_along_is_refused_aloud(read: Callable[[Any], Any]) -> None:
    """Never short of it in silence, and the cure is named."""
    depot.behaviour["b"] = look(read)
    saga = one().operation((do, "b", result_of("a")), name="b")

    what, *_, error = lines(driven(saga))[-3]

    assert what == "failed"
    assert error[0] == "py_api_saga.exceptions.SagaDefinitionError"
    assert 'result_of("…")' in error[1]


def test_what_is_not_known_is_not_there() -> None:
    """As anywhere: a person has resolved its operation without one."""
    saga = one().operation((do, "b", result_of("a")), name="b")

    async def call() -> Any:
        bench = Bench(written(saga), workshop())
        await bench.call(bench.next())
        tree = json.loads(bench.next())
        return await bench.call(json.dumps({**tree, "results": {"a": {"$missing": True}}}))

    line = asyncio.run(call())
    assert line[0] == "failed"
    assert line[5] == ["builtins.LookupError", "the result of 'a' is not known"]


# --- too long -------------------------------------------------------------------------------------


def until_open(opened: threading.Event, value: Any = "late") -> Callable[[], Any]:
    """Make a behaviour that goes on when it is let."""

    def behaviour() -> Any:
        assert opened.wait(PATIENCE)
        if isinstance(value, BaseException):
            raise value
        return value

    return behaviour


async def held(saga: SagaAssembler, opened: threading.Event, **options: Any) -> tuple[Any, Any]:
    """Have a call made that is given up; give what was told then, and what came in the end."""
    bench = Bench(written(saga), workshop(**options))

    async def give_up(line: str) -> None:
        await bench_gives_up(line)
        opened.set()

    bench_gives_up, bench.give_up = bench.give_up, give_up  # type: ignore[method-assign]
    end = await bench.call(bench.next())
    return bench.given_up, end


def test_a_plain_function_that_takes_too_long_is_given_up_at_once() -> None:
    """And when it ends at last, that is told as well."""
    opened = threading.Event()
    behave(a=until_open(opened))

    given_up, end = asyncio.run(held(one(timeout=0.05), opened))

    ((what, *_, (error, wait, alive, _)),) = given_up
    assert (what, wait, alive) == ("in doubt", None, True)
    assert error == ["builtins.TimeoutError", "the action of operation 'a' took over 0.05 s"]
    assert without_facts(end) == ["succeeded", 0, "action", 1, 1, "late"]


def test_a_late_landing_is_undone_under_another_key() -> None:
    """As in any process: the course knows what the worker does not."""
    opened = threading.Event()
    behave(a=until_open(opened), undo_a=opened.set)

    driven(one(timeout=0.05))

    assert depot.keys == ["x:a:action", "x:a:compensation", "x:a:compensation:2"]


def test_a_straggler_that_fails_only_ends() -> None:
    """Whatever it says, also that this worker was not set up for it."""
    opened = threading.Event()
    behave(a=until_open(opened, RuntimeError("no running event loop")))

    given_up, end = asyncio.run(held(one(timeout=0.05), opened))

    assert len(given_up) == 1
    assert end[0] == "failed"


def test_an_undo_that_takes_too_long_is_given_up_too() -> None:
    """The saga is stuck, until it lands."""
    opened = threading.Event()
    behave(undo_a=until_open(opened))
    saga = SagaAssembler.saga(name="depot")
    saga.operation((do, "a"), (undo, "a"), name="a", timeout=0.05)

    async def drive() -> Any:
        bench = Bench(written(then_fails(saga)), workshop())
        await bench.call(bench.next())
        await bench.call(bench.next())
        making = asyncio.create_task(bench.call(bench.next()))
        await once(lambda: bool(bench.given_up))
        stuck = bench.course.execution and bench.course.execution.saga.name
        opened.set()
        return stuck, await making

    stuck, end = asyncio.run(drive())
    assert stuck == "STUCK"
    assert end[:3] == ["succeeded", 0, "compensation"]


def test_a_question_that_takes_too_long_has_no_answer() -> None:
    """Nobody waits for its thread, and nothing is told when it ends."""
    opened = threading.Event()
    behave(a=fail(ConnectionResetError()), ask_a=until_open(opened, NOT_HAPPENED))

    async def drive() -> Any:
        bench = Bench(written(one(on_doubt=ask, timeout=0.05)), workshop())
        await bench.call(bench.next())
        return await bench.call(bench.next()), bench.given_up

    line, given_up = asyncio.run(drive())
    opened.set()
    assert line[0] == "unknown"
    assert line[5][0] == "builtins.TimeoutError"
    assert given_up == []


def test_a_coroutine_that_takes_too_long_is_cancelled_and_awaited() -> None:
    """Then nothing is left that could land."""
    ended: list[str] = []

    async def lingering() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            ended.append("cancelled")

    behave(a=lingering)

    line = called(one(is_async=True, timeout=0.05))

    assert line[0] == "in doubt"
    assert line[5][1:] == [None, False, False]
    assert ended == ["cancelled"]


def test_a_call_that_nobody_can_be_told_of_is_still_awaited(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the engine raises is logged; the real end is the end."""
    opened = threading.Event()
    behave(a=until_open(opened))

    async def call() -> str:
        async def give_up(_: str) -> None:
            opened.set()
            message = "the engine is away"
            raise ConnectionError(message)

        shop = workshop()
        bench = Bench(written(one(timeout=0.05)), shop)
        return await shop.call(bench.next(), give_up)

    assert json.loads(asyncio.run(call()))[0] == "succeeded"
    assert "nobody could be told that a call took too long" in caplog.text


def test_a_straggler_lets_another_call_have_its_place() -> None:
    """Else hanging calls would stop a worker."""
    opened = threading.Event()
    behave(a=until_open(opened), b=opened.set)
    saga = SagaAssembler.saga(name="depot")
    saga.operation((do, "a"), name="a", timeout=0.05).operation((do, "b"), name="b")

    async def call() -> list[str]:
        shop = workshop(threads=1)
        first = Bench(written(saga), shop)
        second = Bench(written(SagaAssembler.saga().operation((do, "b"), name="b")), shop)
        both = first.call(first.next()), second.call(second.next())
        return [line[0] for line in await asyncio.gather(*both)]

    assert asyncio.run(call()) == ["succeeded", "succeeded"]


def test_so_many_plain_functions_run_at_once() -> None:
    """The others wait; coroutine functions are not counted."""
    at_once: list[int] = []
    running = [0]
    lock = threading.Lock()

    def work() -> None:
        with lock:
            running[0] += 1
            at_once.append(running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1

    behave(a=work)

    async def call() -> None:
        shop = workshop(threads=2)
        benches = [Bench(written(one()), shop) for _ in range(6)]
        await asyncio.gather(*(bench.call(bench.next()) for bench in benches))

    asyncio.run(call())
    assert max(at_once) == 2


@pytest.mark.parametrize(("times", "told"), [(1, "unstored"), (2, "lost")])
def test_a_codec_that_is_struck_has_not_undone_the_call(times: int, told: str) -> None:
    """It was made, whatever happens while its result is written, and while that is said."""
    left = [made("celery.exceptions.SoftTimeLimitExceeded")] * times

    class Struck(Salted):
        def encode(self, text: str) -> str:
            if left:
                raise left.pop()
            return super().encode(text)

    assert called(one(), workshop(codec=Struck()))[0] == told


def test_a_call_that_ends_without_a_result_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By what strikes between two lines of ours, say: nothing is known of it."""

    async def strike(*_: object) -> None:
        raise TimeLimit

    monkeypatch.setattr("py_api_saga.engines.errand.aattempt", strike)

    assert called(one(is_async=True))[:5] == ["lost", 0, "action", 1, 1]
    assert "saga x: a call is lost" in caplog.text


def test_where_no_thread_is_to_be_had_the_call_is_made_in_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As everywhere: it is better made late than never."""
    monkeypatch.setattr("py_api_saga.executors.choreography.start", lambda _: False)
    monkeypatch.setattr("py_api_saga.executors.choreography.POOL._idle", [])
    behave(a=look(lambda it: (it.where, threading.get_ident())))

    assert seen_in(one()) == ("caller", threading.get_ident())


# --- a worker that ends ---------------------------------------------------------------------------


async def cancelled(saga: SagaAssembler, begun: str = "a", **options: Any) -> Any:
    """Have a call made by a worker that ends meanwhile, and give its line."""
    bench = Bench(written(saga), workshop(**options))
    making = asyncio.create_task(bench.call(bench.next()))
    await once(lambda: begun in depot.log)
    making.cancel()
    return await making


def test_a_coroutine_whose_worker_ends_is_lost() -> None:
    """Not in doubt: that would roll back what only another worker has to go on with."""
    behave(a=lambda: asyncio.sleep(PATIENCE))

    line = asyncio.run(cancelled(one(is_async=True)))

    assert line[:5] == ["lost", 0, "action", 1, 1]


def test_a_coroutine_that_ends_well_as_it_is_cancelled_has_succeeded() -> None:
    """What it returns is known."""

    async def shielded() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE)
        return "done"

    behave(a=shielded)

    line = asyncio.run(cancelled(one(is_async=True)))

    assert without_facts(line) == ["succeeded", 0, "action", 1, 1, "done"]


def test_what_a_coroutine_raises_for_being_cancelled_says_nothing() -> None:
    """Whatever that is."""

    async def wrapping() -> str:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            raise ValueError from None
        return "done"

    behave(a=wrapping)

    assert asyncio.run(cancelled(one(is_async=True)))[0] == "lost"


def test_a_coroutine_in_what_is_around_it_is_lost_too() -> None:
    """It was not made; but the saga must not fail for that."""

    @asynccontextmanager
    async def slow(_: CurrentOperation) -> AsyncIterator[None]:
        depot.log.append("entering")
        await asyncio.sleep(PATIENCE)
        yield

    line = asyncio.run(cancelled(one(is_async=True), "entering", around=[slow]))

    assert line[0] == "lost"
    assert "a" not in depot.log


def test_a_coroutine_whose_loop_goes_down_before_it_has_begun_is_lost() -> None:
    """All tasks are cancelled then, that of the call among them."""

    async def call() -> Any:
        bench = Bench(written(one(is_async=True)), workshop())
        making = asyncio.create_task(bench.call(bench.next()))
        others = asyncio.all_tasks()
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - others:
            task.cancel()
        return await making

    assert asyncio.run(call())[0] == "lost"
    assert depot.log == []


def test_a_thread_whose_worker_ends_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lives on, and nobody hears of it."""
    monkeypatch.setattr("py_api_saga.engines.errand._PARTING", 0.01)
    opened = threading.Event()
    behave(a=until_open(opened))

    line = asyncio.run(cancelled(one()))

    opened.set()
    assert line[:5] == ["lost", 0, "action", 1, 1]


def test_a_thread_that_ends_shortly_after_its_worker_is_heard() -> None:
    """Whatever it says."""
    opened = threading.Event()
    behave(a=until_open(opened, ValueError("no")))

    async def call() -> Any:
        bench = Bench(written(one()), workshop())
        making = asyncio.create_task(bench.call(bench.next()))
        await once(lambda: "a" in depot.log)
        making.cancel()
        await asyncio.sleep(0)
        opened.set()
        return await making

    assert asyncio.run(call())[0] == "failed"


def test_a_straggler_whose_worker_ends_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its saga ends as well."""
    monkeypatch.setattr("py_api_saga.engines.errand._PARTING", 0.01)
    opened = threading.Event()
    behave(a=until_open(opened))

    async def call() -> Any:
        bench = Bench(written(one(timeout=0.05)), workshop())
        making = asyncio.create_task(bench.call(bench.next()))
        await once(lambda: bool(bench.given_up))
        making.cancel()
        return await making, bench.course.stragglers

    line, stragglers = asyncio.run(call())
    opened.set()
    assert line[0] == "lost"
    assert stragglers == []


def test_a_straggler_that_lands_shortly_after_its_worker_is_heard() -> None:
    """What it says is known."""
    opened = threading.Event()
    behave(a=until_open(opened))

    async def call() -> Any:
        bench = Bench(written(one(timeout=0.05)), workshop())
        making = asyncio.create_task(bench.call(bench.next()))
        await once(lambda: bool(bench.given_up))
        making.cancel()
        await asyncio.sleep(0)
        opened.set()
        return await making

    assert asyncio.run(call())[0] == "succeeded"


def test_a_worker_that_is_to_end_at_once_says_so_at_once() -> None:
    """It is cancelled a second time."""
    opened = threading.Event()
    behave(a=until_open(opened))

    async def call() -> Any:
        bench = Bench(written(one()), workshop())
        making = asyncio.create_task(bench.call(bench.next()))
        await once(lambda: "a" in depot.log)
        making.cancel()
        await asyncio.sleep(0)
        making.cancel()
        return await making

    began = time.monotonic()
    assert asyncio.run(call())[0] == "lost"
    assert time.monotonic() - began < PATIENCE
    opened.set()


def test_a_call_that_waits_for_a_thread_is_left_to_another_worker() -> None:
    """It was not made, so it does not count as an attempt."""
    opened = threading.Event()
    behave(a=until_open(opened))

    async def call() -> None:
        shop = workshop(threads=1)
        first, second = (Bench(written(one()), shop) for _ in range(2))
        making = asyncio.create_task(first.call(first.next()))
        await once(lambda: "a" in depot.log)
        waiting = asyncio.create_task(second.call(second.next()))
        await asyncio.sleep(0)
        waiting.cancel()
        try:
            with pytest.raises(NotDeployed, match="a worker that goes on"):
                await waiting
        finally:
            opened.set()
            await making

    asyncio.run(call())
    assert depot.log == ["a"]


def test_a_call_that_no_thread_has_taken_is_left_to_another_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever is first decides: the thread, or the worker that ends."""
    threads: list[Any] = []
    monkeypatch.setattr(
        "py_api_saga.engines.errand.POOL.make", lambda *given: threads.append(given)
    )

    async def call() -> None:
        bench = Bench(written(one()), workshop())
        making = asyncio.create_task(bench.call(bench.next()))
        await once(lambda: bool(threads))
        making.cancel()
        with pytest.raises(NotDeployed, match="a worker that goes on"):
            await making

    asyncio.run(call())
    ((_, _, permit, _),) = threads
    assert not permit.acquire(blocking=False)


# --- interrupts of its own ------------------------------------------------------------------------


@WAYS
def test_an_action_that_ends_itself_is_in_doubt(*, is_async: bool) -> None:
    """As in any process: nobody knows what came of it, and the saga rolls back."""
    behave(a=fail(SystemExit(3)))

    assert called(one(is_async=is_async))[0] == "in doubt"


def test_an_undo_that_ends_itself_is_called_once_more_and_then_stuck() -> None:
    """Not for ever."""
    behave(undo_a=fail(SystemExit(3)))

    told = [line[0] for line in lines(driven(then_fails(one())))]

    assert told[4:] == ["started", "retry", "started", "failed"]


# --- what a worker lacks --------------------------------------------------------------------------


async def never(_: str) -> None:
    """Fail."""
    pytest.fail("it was given up")


def refused(text: str, shop: Workshop | None = None) -> str:
    """Have a call made that this worker leaves to others, and give for what it waits."""
    with pytest.raises(NotDeployed) as caught:
        asyncio.run((shop or workshop()).call(text, never))
    return str(caught.value)


def errand(saga: SagaAssembler, **changes: Any) -> str:
    """Give the text of the first call of a saga, with changes."""

    async def write() -> str:
        return Bench(written(saga), workshop()).next()

    return json.dumps({**json.loads(asyncio.run(write())), **changes})


@pytest.mark.parametrize("name", ["depot:no_such", "no_such_module:charge", "os:getcwd"])
def test_a_function_that_is_not_there_is_named(name: str) -> None:
    """Not there, not to be imported, or not listed: another worker has it."""
    text = errand(one()).replace("depot:do", name)

    shop = workshop(["depot", "no_such_module"])
    assert refused(text, shop) == name
    assert depot.log == []


def test_an_undo_that_is_not_there_keeps_its_own_call_back() -> None:
    """Nothing is decided."""
    text = errand(one()).replace('["a"]', '["a"]')
    tree = json.loads(text)
    tree["op"]["undo"] = ["depot:no_such", ["a"]]

    assert refused(json.dumps(tree)) == "depot:no_such"


def test_a_question_that_is_not_there_keeps_a_call_back() -> None:
    """Also that of its policy."""
    assert refused(errand(one(on_doubt=ask)).replace("depot:ask", "depot:no")) == "depot:no"


def test_what_names_nothing_at_all_is_left_alone() -> None:
    """It is of no form that a name has."""
    assert "no name of the form" in refused(errand(one()).replace("depot:do", "depot"))


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"saga": "x"}'])
def test_what_cannot_be_read_is_for_another_release(text: str) -> None:
    """A worker that is older leaves it alone."""
    assert refused(text).startswith("a worker ")


def test_a_value_that_cannot_be_opened_is_for_another_worker() -> None:
    """One with the right codec."""

    async def write() -> str:
        return Bench(written(one(), Salted()), workshop()).next()

    said = refused(asyncio.run(write()))
    assert said == "a worker that can read the call of operation 'a' (here: SealedError)"


def test_a_type_that_is_not_there_is_named() -> None:
    """As a function is."""
    op = {"name": "a", "do": ["depot:do", [{"$enum": ["depot:NoSuch", "x"]}]]}

    assert refused(errand(one(), op=op)) == "depot:NoSuch"


@WAYS
def test_a_worker_that_is_not_set_up_decides_nothing(*, is_async: bool) -> None:
    """What a framework says of that says nothing of the call; nor does it show what was raised."""
    behave(a=lambda: flask.current_app.name)

    said = refused(errand(one(is_async=is_async)))

    assert said == "a worker that is set up for operation 'a' (here: RuntimeError)"


def test_a_call_that_comes_back_time_after_time_is_lost() -> None:
    """It was made each time, and may have charged before it found what it lacks."""
    behave(a=lambda: flask.current_app.name)
    shop, text = workshop(), errand(one())

    for _ in range(MAX_LOSSES):
        refused(text, shop)
    line = asyncio.run(shop.call(text, never))

    assert json.loads(line)[:5] == ["lost", 0, "action", 1, 1]
    assert depot.log == ["a"] * (MAX_LOSSES + 1)
    refused(text, shop)  # from then on anew


def test_what_is_around_may_say_that_a_worker_is_not_set_up() -> None:
    """As the call may."""

    @contextmanager
    def around(_: CurrentOperation) -> Iterator[None]:
        flask.current_app.name  # noqa: B018 - that is what fails
        yield

    assert "is set up for" in refused(errand(one()), workshop(around=[around]))
    assert depot.log == []


def test_what_is_around_may_not_fit_a_plain_function() -> None:
    """A worker that is set up with what has to be awaited leaves these to others."""

    @asynccontextmanager
    async def around(_: CurrentOperation) -> AsyncIterator[None]:
        yield

    said = refused(errand(one()), workshop(around=[around]))

    assert said.startswith("a worker that is set up for operation 'a' (here: operation 1, 'a'")


def test_what_is_let_go_is_told_once() -> None:
    """Its call comes back each second."""
    events: list[Event] = []
    shop = workshop(observers=[events.append])
    text = errand(one()).replace("depot:do", "depot:no_such")

    for _ in range(3):
        refused(text, shop)
    refused(text.replace('"x"', '"y"'), shop)

    assert [(event.kind, event.saga_id, event.operation) for event in events] == [
        ("let go", "x", "a"),
        ("let go", "y", "a"),
    ]


def test_what_was_told_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker lives long."""
    monkeypatch.setattr("py_api_saga.engines.errand._MOST_NOTED", 2)
    events: list[Event] = []
    shop = workshop(observers=[events.append])
    text = errand(one()).replace("depot:do", "depot:no_such")

    for saga_id in ("x", "y", "z", "z"):
        refused(text.replace('"x"', f'"{saga_id}"'), shop)

    assert [event.saga_id for event in events] == ["x", "y", "z"]


# --- around ---------------------------------------------------------------------------------------


def noting(name: str) -> Any:
    """Make what notes when it is entered and left."""

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        depot.log.append(f"{name} in {operation.direction}")
        try:
            yield
        finally:
            depot.log.append(f"{name} out")

    return around


def awaited(name: str) -> Any:
    """Make one that has to be awaited."""

    @asynccontextmanager
    async def around(operation: CurrentOperation) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        depot.log.append(f"{name} in {operation.direction}")
        try:
            yield
        finally:
            depot.log.append(f"{name} out")

    return around


@WAYS
def test_every_call_is_made_inside_of_what_is_around(*, is_async: bool) -> None:
    """Questions and undos included, the first one outermost."""
    behave(a=fail(ConnectionResetError()), ask_a=lambda: happened("A"))
    around = [noting("one"), awaited("two") if is_async else noting("two")]
    saga = one(is_async=is_async, on_doubt=aask if is_async else ask)

    driven(saga, workshop(around=around))

    assert depot.log == [
        *("one in action", "two in action", "a", "two out", "one out"),
        *("one in ask", "two in ask", "ask a", "two out", "one out"),
        *("one in compensation", "two in compensation", "undo a", "two out", "one out"),
    ]


@WAYS
@pytest.mark.parametrize(("leaving", "told"), [(False, "failed"), (True, "in doubt")])
def test_an_error_around_a_call_means_what_it_means_anywhere(
    *, is_async: bool, leaving: bool, told: str
) -> None:
    """Entering: the call was not made. Leaving: nobody knows whether it stands."""

    @contextmanager
    def around(_: CurrentOperation) -> Iterator[None]:
        if not leaving:
            raise OSError
        yield
        raise OSError

    line = called(one(is_async=is_async), workshop(around=[around]))

    assert line[0] == told
    assert depot.log == (["a"] if leaving else [])
    assert ("had succeeded, but" in json.dumps(line)) is leaving


# --- observers ------------------------------------------------------------------------------------


def heard(saga: SagaAssembler, **options: Any) -> list[str]:
    """Run a saga, and give what observers hear of it, but for what only the machine knows."""
    events: list[Event] = []
    driven(saga, workshop(observers=[events.append], **options))
    return [said(event) for event in events]


def said(event: Event) -> str:
    """Put an event into a few words."""
    error = "" if event.error is None else f" {type(event.error).__name__}"
    wait = "" if event.wait is None else f" {event.wait:g} s"
    return f"{event.kind} {event.operation} {event.direction} {event.attempt}{error}{wait}"


_OF_A_CALL = {
    *("operation started", "attempt failed", "succeeded", "failed", "in doubt", "compensating"),
    *("compensated", "stuck", "waiting", "landed late"),
}


@WAYS
@pytest.mark.parametrize(
    "behaviour",
    [
        {},
        {"a": fail(ValueError("x"))},
        {"undo_a": fail(ValueError("x"))},
        {"a": fail(ConnectionResetError())},
        {"a": lambda: later(timeout=60)},
        {"a": object},
    ],
)
def test_observers_hear_of_the_calls_as_in_any_process(
    *, is_async: bool, behaviour: dict[str, Any]
) -> None:
    """The same, but for what only the machine knows: that the saga began, and how it ends."""
    behave(**behaviour)
    saga = then_fails(one(is_async=is_async, retry=NOW, compensation_retry=NOW))
    events: list[Event] = []
    saga.observers = [events.append]
    journal = MemoryJournal(modules=["depot"])
    with contextlib.suppress(SagaError):
        asyncio.run(saga.aorchestrator_execute(journal=journal, saga_id="x"))
    saga.observers = []

    assert heard(saga) == [said(event) for event in events if event.kind in _OF_A_CALL]


def test_observers_hear_of_what_lands_late() -> None:
    """After that it was given up."""
    opened = threading.Event()
    behave(a=until_open(opened), undo_a=opened.set)

    assert "landed late a action 1" in heard(one(timeout=0.05))


def test_observers_hear_nothing_of_a_straggler_that_fails() -> None:
    """Its doubt stays."""
    opened = threading.Event()
    behave(a=until_open(opened, RuntimeError("no running event loop")), undo_a=opened.set)

    assert heard(one(timeout=0.05)) == [
        "operation started a action 1",
        "in doubt a action 1 TimeoutError",
        "compensating a compensation 1",
        "compensated a compensation 1",
    ]


def test_an_undo_that_takes_too_long_is_heard_of_as_stuck() -> None:
    """As it is."""
    opened = threading.Event()
    behave(undo_a=until_open(opened))
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        if event.kind == "stuck":
            opened.set()

    driven(then_fails(one(timeout=0.05)), workshop(observers=[watch]))

    assert [event.kind for event in events if event.direction == "compensation"] == [
        *("compensating", "stuck", "landed late")
    ]


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_an_observer_that_raises_changes_nothing(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, whatever it is."""

    def observer(_: Event) -> None:
        raise error

    assert called(one(), workshop(observers=[observer]))[0] == "succeeded"
    assert "an observer raised on 'operation started'" in caplog.text


# --- sagas inside of a call -----------------------------------------------------------------------


def test_a_saga_inside_of_a_call_that_is_not_set_up_stays_open() -> None:
    """It is gone on with by whoever goes on with the call, as in a recovery."""
    inner = MemoryJournal(modules=["depot"])
    behave(a=lambda: other().orchestrator_execute(journal=inner, saga_id="x"))
    behave(b=lambda: flask.current_app.name)

    def other() -> SagaAssembler:
        return SagaAssembler.saga(name="inner").operation((do, "b"), name="b")

    assert "is set up for" in refused(errand(one()))
    assert [line[0] for line in lines(on_record(inner))] == ["started"]


# --- what others have for operations --------------------------------------------------------------


def test_a_local_write_counts_once_in_a_worker(tmp_path: Path) -> None:
    """Its value is sealed by the codec of the worker, under the key of the action."""
    codec = Salted()
    with receiver("Session sqlite", tmp_path) as service:
        sessions = sessionmaker(service.engine)

        def write(connection: Any) -> str:
            service.execute(connection, "INSERT INTO effect (name) VALUES (?)", "mug")
            return "secret"

        def behaviour() -> Any:
            SEEN.append(once_only(write, using=sessions))
            if len(SEEN) < 3:
                raise ValueError
            return SEEN[-1]

        behave(a=behaviour)
        SEEN.clear()
        saga = one(retry=NOW, doubtful=())
        rows = driven(saga, workshop(codec=codec), codec=codec)
        effects = service.effects("mug")

    assert [line[0] for line in lines(rows)][-1] == "succeeded"
    assert (SEEN, effects) == (["secret"] * 3, 1)


@WAYS
def test_a_worker_of_a_django_project_closes_its_connections(*, is_async: bool) -> None:
    """By what is around the calls of `manage.py saga`."""
    django_project.set_up()
    closed: list[str] = []
    behave(a=lambda: closed.append(current_operation().where))
    around = noting_close(closed)

    driven(one(is_async=is_async), workshop(around=[around_commands, around]))

    assert closed == ["loop" if is_async else "thread", "closed"]


def noting_close(closed: list[str]) -> Any:
    """Make what notes that a call is over."""

    @contextmanager
    def around(_: CurrentOperation) -> Iterator[None]:
        yield
        closed.append("closed")

    return around


def test_what_stands_in_for_a_run_answers_whatever_a_call_may_ask() -> None:
    """Also what only rare calls do ask; it is held to it by its type."""

    async def read() -> None:
        tree = json.loads(Bench(written(one()), workshop()).next())
        errand = Errand(tree, Values(workshop()), ())
        run: AskedRun = errand
        intent = errand.intent

        assert (run.values, run.gate, run.names.all(), [*run.results]) == (
            (),
            None,
            ["a"],
            [MISSING],
        )
        assert run.fate_of(SystemExit(), intent)[0] == "in doubt"
        assert repr(run.known()) == "<the results of no operation>"
        assert run.passage_of(intent) is None
        assert run.open_inbox() is None
        run.stop(SystemExit())
        run.check_goes(SystemExit())
        run.begins_anew(intent)

    asyncio.run(read())


# --- the same as in any process -------------------------------------------------------------------

_OUTCOMES = ("works", "works", "fails", "is busy", "is lost", "resets", "sends", "begins")
_ANSWERS = ("happened", "not", "unknown", "nonsense", "fails", "odd")
RETRIES = st.none() | st.builds(
    lambda on, attempts: Retry(on, attempts=attempts, wait_initial=0, wait_max=0, wait_jitter=0),
    st.sampled_from([Exception, ValueError, (OSError, KeyError), is_busy]),
    st.integers(1, 3),
)
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "retry": RETRIES,
        "compensation_retry": RETRIES,
        "doubtful": st.sampled_from([(), (ValueError,), (is_lost,), (OSError, is_lost)]),
        "on_doubt": st.sampled_from(["proceed", "park", "ask"]),
        "pivot": st.just(value=True),
        "timeout": st.just(PATIENCE),
    },
)


def scripted(outcomes: list[str]) -> Callable[[], Any]:
    """Make a behaviour that has another outcome each time."""
    left = list(outcomes)

    def behaviour() -> Any:
        return OUTCOMES[left.pop(0) if left else "works"]()

    return behaviour


def send_and_fail() -> None:
    """Fail once something was sent."""
    with current_operation().sending():
        raise KeyError


OUTCOMES: dict[str, Callable[[], Any]] = {
    "works": lambda: {"id": [1, "x"]},
    "fails": fail(RuntimeError("no")),
    "is busy": fail(ValueError("busy")),
    "is lost": fail(ValueError("lost")),
    "resets": fail(ConnectionResetError("reset")),
    "sends": send_and_fail,
    "begins": lambda: later(timeout=3600),
    "happened": lambda: happened({"id": 1}),
    "not": lambda: NOT_HAPPENED,
    "unknown": lambda: UNKNOWN,
    "nonsense": lambda: 7,
    "odd": object,
}


@settings(max_examples=150, deadline=None)
@for_all(
    is_async=st.booleans(),
    policy=POLICIES,
    action=st.lists(st.sampled_from([*_OUTCOMES, "odd"]), max_size=3),
    compensation=st.lists(st.sampled_from(_OUTCOMES), max_size=3),
    question=st.lists(st.sampled_from(_ANSWERS), max_size=1),
    fails=st.booleans(),
)
def test_a_worker_makes_of_each_call_what_any_process_does(
    *,
    is_async: bool,
    policy: dict[str, Any],
    action: list[str],
    compensation: list[str],
    question: list[str],
    fails: bool,
) -> None:
    """Whatever its policy is, and whatever it does: the same lines, in the same order."""
    if policy.get("on_doubt") == "ask":
        policy = {**policy, "on_doubt": aask if is_async else ask}
    saga = one(is_async=is_async, **policy)
    if fails:
        saga.operation((do, "last"), name="last")

    def begin() -> None:
        depot.reset()
        behave(a=scripted(action), undo_a=scripted(compensation), ask_a=scripted(question))
        if fails:
            depot.behaviour["last"] = fail(ValueError("no"))

    begin()
    journal = MemoryJournal(modules=["depot"])
    with contextlib.suppress(SagaError):
        asyncio.run(saga.aorchestrator_execute(journal=journal, saga_id="x"))
    log, keys = [*depot.log], [*depot.keys]
    begin()
    rows = driven(saga)

    assert lines(rows) == lines(on_record(journal))
    assert (depot.log, depot.keys) == (log, keys)
