"""Sagas on Temporal: what is Temporal's own, beside what all engines promise."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from servers import temporal
from world import PATIENCE, until

from py_api_saga import (
    JournalError,
    Retry,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaException,
    SagaPending,
    SagaStatus,
    SagaStuck,
    answer,
    repair,
    result_of,
    saga_status,
)

pytest.importorskip("temporalio")

from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from py_api_saga.engines import temporal_worker
from py_api_saga.engines.errand import NotDeployed
from py_api_saga.engines.standing import Standing
from py_api_saga.engines.temporal import TemporalEngine
from py_api_saga.engines.temporal_history import History
from py_api_saga.engines.temporal_workflow import CALL, SagaV1, text_of
from py_api_saga.engines.worker import Work

from . import temporal_calls as shop

SOON = 1.0  # seconds without a heartbeat, after which a call is lost


@pytest.fixture
def engine(namespace: temporal.Namespace) -> Iterator[TemporalEngine]:
    """An engine of a namespace of its own, without a worker."""
    shop.forget()
    made = engine_of(namespace)
    yield made
    made.close()


def engine_of(namespace: temporal.Namespace, **options: Any) -> TemporalEngine:
    """Make one."""
    told = {"modules": [shop.__name__], "namespace": namespace.name}
    return TemporalEngine(namespace.address, **{**told, **options})


@contextmanager
def at_work(engine: TemporalEngine, **told: Any) -> Iterator[Any]:
    """Have a worker in this process, for the time of a block."""
    worker = engine.worker(Work(**{"grace": PATIENCE, **told}))
    worker.begin()
    try:
        yield worker
    finally:
        worker.end()


def ask(engine: TemporalEngine, question: Callable[[Client], Any]) -> Any:
    """Ask Temporal itself."""

    async def asked(client: Client) -> Any:
        return await question(client)

    return engine._server.ask(asked)  # noqa: SLF001 - what nobody else asks


def events(engine: TemporalEngine, workflow_id: str) -> list[str]:
    """Give the kinds of events in the history of a workflow's latest run."""

    async def fetched(client: Client) -> list[str]:
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        return [EventType.Name(event.event_type)[11:] for event in history.events]

    return list(ask(engine, fetched))


def events_text(engine: TemporalEngine, workflow_id: str) -> str:
    """Give what the calls of a workflow have told, as one text."""

    async def fetched(client: Client) -> str:
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        done = [event.activity_task_completed_event_attributes for event in history.events]
        return " ".join(one.data.decode() for it in done for one in it.result.payloads)

    return str(ask(engine, fetched))


def see_agreement(engine: TemporalEngine, workflow_id: str) -> None:
    """See that whoever reads a history comes to what its workflow has come to."""

    async def fetched(client: Client) -> list[Any]:
        return list((await client.get_workflow_handle(workflow_id).fetch_history()).events)

    history = ask(engine, fetched)
    done = history[-1].workflow_execution_completed_event_attributes
    told = text_of(History(workflow_id, history).rows())
    assert told == done.result.payloads[0].data.decode()


def chain(*operations: Any) -> SagaAssembler:
    """Make a saga of what is called, each undone by name."""
    saga = SagaAssembler.saga(name="order")
    for call in operations:
        saga = saga.operation(call, (shop.undo, call[1]))
    return saga


def test_history_is_that_of_a_workflow_written_by_hand(engine: TemporalEngine) -> None:
    """Of three calls: 23 events at most, and not one of them is a timer or a signal."""
    with at_work(engine):
        saga = chain((shop.do, "a"), (shop.do, "b"), (shop.do, "c"))
        assert saga.orchestrator_execute(engine=engine, saga_id="plain") == ["a", "b", "c"]

    seen = events(engine, "plain")
    assert len(seen) <= 23
    assert {kind for kind in seen if "WORKFLOW_TASK" not in kind} == {
        *("WORKFLOW_EXECUTION_STARTED", "WORKFLOW_EXECUTION_COMPLETED"),
        *("ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"),
    }


def test_payloads_can_be_read(engine: TemporalEngine) -> None:
    """Whoever looks at a history sees JSON, and none that is a text within another."""

    async def payloads(client: Client) -> list[Any]:
        history = await client.get_workflow_handle("seen").fetch_history()
        started = history.events[0].workflow_execution_started_event_attributes
        done = [event.activity_task_completed_event_attributes for event in history.events]
        return [*started.input.payloads, *(one for it in done for one in it.result.payloads)]

    with at_work(engine):
        chain((shop.do, "a")).orchestrator_execute(engine=engine, saga_id="seen")

    rows, terms, line = ask(engine, payloads)
    assert {one.metadata["encoding"] for one in (rows, terms, line)} == {b"json/plain"}
    assert b'[["defined",{"format":1' in rows.data
    assert terms.data == b'{"lost_after":30.0,"events":10000,"heard":[]}'
    assert line.data.startswith(b'["succeeded",0,"action",1,1,"a"')


# --- workers that die -----------------------------------------------------------------------------


def test_call_without_heartbeats_is_lost_and_not_made_again_by_temporal(
    namespace: temporal.Namespace,
) -> None:
    """What Temporal would try again by itself is told to the machine, which counts and decides."""
    made: list[tuple[int, list[Any]]] = []
    is_enough = asyncio.Event()

    @activity.defn(name=CALL)
    async def silent(errand: RawValue) -> RawValue:
        from py_api_saga.engines.temporal_workflow import packed, unpacked  # noqa: PLC0415
        from py_api_saga.journal.format.json_text import dumps, loads  # noqa: PLC0415

        intent = loads(unpacked(errand))["intent"]
        made.append((activity.info().attempt, intent))
        if len(made) == 1:
            await is_enough.wait()  # as if its process were gone
        return packed(dumps(["succeeded", *intent, "late" if len(made) == 1 else "again"]))

    async def worked(client: Client) -> Any:
        made_by_hand = Worker(
            client, task_queue="sagas", workflows=[SagaV1], activities=[silent],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )  # fmt: skip
        async with made_by_hand:
            results = await asyncio.to_thread(
                saga.orchestrator_execute, engine=engine, saga_id="silent", wait=PATIENCE
            )
            is_enough.set()
        return results

    saga, engine = chain((shop.do, "a")), engine_of(namespace, lost_after=SOON)
    assert ask(engine, worked) == ["again"]
    see_agreement(engine, "silent")
    engine.close()
    assert made[:2] == [(1, [0, "action", 1, 1]), (1, [0, "action", 2, 1])]


def test_worker_that_ends_tells_of_what_it_has_not_ended(engine: TemporalEngine) -> None:
    """After its grace the call is lost: another worker makes attempt 2, under the same key."""
    saga = chain((shop.wait_once, "a", "never"))
    with at_work(engine, grace=0.1) as first:
        saga.start(engine=engine, saga_id="left")
        until(lambda: shop.calls)
        assert first.running == 1
        assert first.end() == 1
    with at_work(engine):
        assert engine.result("left", wait=PATIENCE) == ["a"]
    shop.gates["never"].set()

    assert shop.calls == [("left:wait_once:action", 1), ("left:wait_once:action", 2)]


def test_call_whose_loop_is_blocked_is_lost_with_its_worker(
    engine: TemporalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker ends, whatever its calls do."""
    monkeypatch.setattr(temporal_worker, "_PARTING", 0.1)
    monkeypatch.setattr(temporal_worker, "_FAREWELL", 0.1)
    with at_work(engine, grace=0.1) as worker:
        chain((shop.block, "a", "go")).start(engine=engine, saga_id="hung")
        until(lambda: shop.calls)
        assert worker.end() == 1
    lost = '["lost",0,"action",1,1]'
    until(lambda: lost in events_text(engine, "hung"))
    shop.gates["go"].set()


def test_call_that_has_not_begun_is_left_to_another_worker() -> None:
    """Also by a worker that ends: it does not count as an attempt."""

    async def unbegun() -> str:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            raise NotDeployed("a worker that goes on") from None
        return ""

    async def parted() -> None:
        made = temporal_worker._Made(asyncio.get_running_loop(), unbegun())  # noqa: SLF001
        await asyncio.sleep(0)
        await made.parting()

    with pytest.raises(NotDeployed):
        asyncio.run(parted())


def test_what_ends_with_its_loop_is_an_error() -> None:
    """So that it is told as lost, and not made again."""

    async def made() -> None:
        call = temporal_worker._Made(  # noqa: SLF001 - which nothing else cancels
            asyncio.get_running_loop(), asyncio.sleep(PATIENCE, "")
        )
        await asyncio.sleep(0)
        call._cancel()  # noqa: SLF001
        await call.line()

    with pytest.raises(RuntimeError, match="has ended"):
        asyncio.run(made())


@pytest.mark.parametrize("status", [RPCStatusCode.UNAVAILABLE, RPCStatusCode.NOT_FOUND])
def test_server_is_told_that_a_call_was_given_up_until_it_hears(
    status: RPCStatusCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not of a workflow that has ended."""
    told: list[RawValue] = []
    monkeypatch.setattr(temporal_worker, "_PAUSE", 0)

    class Handle:
        """What refuses once."""

        async def signal(self, _: str, news: RawValue) -> None:
            told.append(news)
            if len(told) == 1:
                raise RPCError("not now", status, b"")

    line = '["in doubt",0,"action",1,1]'
    asyncio.run(temporal_worker._tell(Handle(), line))  # type: ignore[arg-type]  # noqa: SLF001

    assert len(told) == (2 if status is RPCStatusCode.UNAVAILABLE else 1)
    assert told[0].payload.data.decode().endswith(f",{line}]")


def test_worker_that_temporal_sends_away_says_so(
    engine: TemporalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs it looks at that."""

    class Broken(Worker):
        """What ends at once."""

        async def run(self) -> None:
            raise RuntimeError("sent away")

        async def shutdown(self) -> None:
            """It has ended."""

    monkeypatch.setattr(temporal_worker, "Worker", Broken)
    with at_work(engine) as worker:
        assert str(worker.fault) == "sent away"


def test_blocked_loop_of_coroutine_functions_is_no_dead_worker(
    namespace: temporal.Namespace,
) -> None:
    """Heartbeats come while a user's coroutine function blocks its loop."""
    shop.forget()
    engine = engine_of(namespace, lost_after=6 * SOON)
    saga = chain((shop.block, "a", "go"))
    with at_work(engine):
        saga.start(engine=engine, saga_id="blocked")
        until(lambda: shop.calls)
        until(lambda: ask(engine, _beats))
        shop.gates["go"].set()
        assert engine.result("blocked", wait=PATIENCE) == ["a"]
    engine.close()


async def _beats(client: Client) -> bool:
    """Tell whether a call has had a heartbeat."""
    described = await client.get_workflow_handle("blocked").describe()
    calls = described.raw_description.pending_activities
    return any(call.HasField("last_heartbeat_time") for call in calls)


def test_what_no_worker_has_is_named_and_waited_for(
    engine: TemporalEngine, namespace: temporal.Namespace
) -> None:
    """It is not an attempt; and whoever asks after the saga is told what is missing."""
    poor = engine_of(namespace, modules=["world"])

    def lacks() -> str:
        standing = engine.standing("early")
        return "" if standing is None else standing.lacks

    chain((shop.do, "a")).start(engine=engine, saga_id="early")
    with at_work(poor):
        until(lacks)
        assert "engines.temporal_calls:do" in lacks()
    with at_work(engine):
        assert engine.result("early", wait=PATIENCE) == ["a"]
    poor.close()

    assert shop.calls == [("early:do:action", 1)]


def test_saga_of_a_newer_format_is_left_to_newer_workers(engine: TemporalEngine) -> None:
    """Temporal offers it again and again; it is still open, as it was begun."""
    rows = [(0.0, '[["defined",{"format":99,"operations":[]}]]')]
    with at_work(engine):
        assert engine.begin("newer", rows)
        until(lambda: "WORKFLOW_TASK_FAILED" in events(engine, "newer"))

    assert engine.standing("newer") == Standing(rows, is_open=True)


# --- rest -----------------------------------------------------------------------------------------


def test_saga_at_rest_is_answered_though_a_call_still_runs(engine: TemporalEngine) -> None:
    """And what lands afterwards is undone, and is in the answer from then on."""
    saga = (
        SagaAssembler.saga()
        .operation((shop.do, "a"), (shop.undo, "a"))
        .operation((shop.wait, "b", "late"), (shop.undo, "b"), timeout=0.2)
    )
    with at_work(engine):
        with pytest.raises(SagaException):
            saga.orchestrator_execute(engine=engine, saga_id="rest", wait=PATIENCE)
        standing = engine.standing("rest")
        assert standing is not None
        assert standing.is_open
        assert shop.log == ["+a", "-b", "-a"]
        shop.gates["late"].set()
        until(lambda: not open_is(engine, "rest"))

    assert shop.log == ["+a", "-b", "-a", "+b", "-b"]
    assert shop.calls[-1] == ("rest:wait:compensation:2", 2)
    assert engine.find("rest").status is SagaStatus.COMPENSATED  # type: ignore[union-attr]


def open_is(engine: TemporalEngine, workflow_id: str) -> bool:
    """Tell whether a workflow is open."""
    standing = engine.standing(workflow_id)
    return standing is not None and standing.is_open


def test_who_waits_no_longer_has_no_answer_yet(engine: TemporalEngine) -> None:
    """Before the first second is over, and after that; the saga goes on."""
    saga = chain((shop.wait, "a", "go"))
    with at_work(engine):
        for wait in (0.05, 1.2):
            with pytest.raises(SagaPending):
                saga.orchestrator_execute(engine=engine, saga_id="slow", wait=wait)
        waiting = saga.aorchestrator_execute(engine=engine, saga_id="slow", wait=PATIENCE)
        shop.gates["go"].set()
        assert asyncio.run(waiting) == ["a"]


# --- long histories -------------------------------------------------------------------------------


def test_long_saga_goes_on_in_another_history(engine: TemporalEngine) -> None:
    """With nothing in flight, with all it knows: results, attempts, answers, what was heard."""
    engine.terms = engine.terms._replace(events=14)
    saga = SagaAssembler.saga().operation((shop.begin, "first"), (shop.undo, "first"))
    for number in range(2):
        saga = saga.operation(
            (shop.fail_once, f"x{number}"),
            (shop.undo, f"x{number}"),
            retry=Retry(ConnectionError, wait_initial=0.05),
        )
    saga = saga.operation((shop.do, "last", result_of("begin")), (shop.undo, "last"))
    with at_work(engine):
        saga.start(engine=engine, saga_id="long")
        until(lambda: shop.log)
        answer(engine, "long:begin:action", result="given")
        results = engine.result("long", wait=PATIENCE)

    assert results == ["given", "x0", "x1", "given"]
    assert [attempt for _, attempt in shop.calls] == [1, 1, 2, 1, 2, 1]
    see_agreement(engine, "long")
    runs = ask(engine, partial(_runs, workflow_id="long"))
    assert len(runs) >= 2


async def _runs(client: Client, workflow_id: str) -> list[str]:
    history = client.get_workflow_handle(workflow_id).fetch_history()
    first = (await history).events[0].workflow_execution_started_event_attributes
    return list({first.first_execution_run_id, first.original_execution_run_id})


def test_who_waits_for_the_rest_waits_through_all_histories(engine: TemporalEngine) -> None:
    """One that ends, since another goes on, answers nothing."""
    engine.terms = engine.terms._replace(events=10)
    saga = chain((shop.do, "a"), (shop.wait, "b", "go"), (shop.do, "c"))
    with at_work(engine), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(saga.orchestrator_execute, engine=engine, saga_id="go", wait=PATIENCE)
        until(lambda: ("go:wait:action", 1) in shop.calls)
        until(lambda: "WORKFLOW_EXECUTION_UPDATE_ACCEPTED" in events(engine, "go"))
        shop.gates["go"].set()
        assert waiting.result(PATIENCE) == ["a", "b", "c"]


def test_calls_that_are_too_large_together_are_sent_in_turn(engine: TemporalEngine) -> None:
    """Twenty calls, each of which is sent a quarter of a megabyte, and gRPC takes four."""
    saga = SagaAssembler.saga().operation((shop.large, 120_000), name="large")
    for number in range(20):
        saga = saga.operation((shop.do, f"x{number}", result_of("large")[0]), name=f"x{number}")
    with at_work(engine):
        results = saga.choreography_execute(engine=engine, saga_id="large", wait=PATIENCE)

    assert results[1:] == ['"'] * 20


# --- Temporal's own means -------------------------------------------------------------------------


def test_workflow_that_temporal_cancels_is_a_saga_that_is_cancelled(
    engine: TemporalEngine,
) -> None:
    """It is undone, and the workflow completes."""
    saga = chain((shop.do, "a"), (shop.wait, "b", "go"), (shop.do, "c"))
    with at_work(engine):
        saga.start(engine=engine, saga_id="cancelled")
        until(lambda: len(shop.calls) == 2)
        ask(engine, lambda client: client.get_workflow_handle("cancelled").cancel())
        until(lambda: "WORKFLOW_EXECUTION_CANCEL_REQUESTED" in events(engine, "cancelled"))
        shop.gates["go"].set()
        with pytest.raises(SagaException, match="cancelled in Temporal") as caught:
            engine.result("cancelled", wait=PATIENCE)

    see_agreement(engine, "cancelled")
    assert not isinstance(caught.value, SagaStuck)
    assert shop.log == ["+a", "+b", "-b", "-a"]


def test_workflow_that_temporal_ends_is_told_of_and_can_be_gone_on_with(
    engine: TemporalEngine,
) -> None:
    """Who waits is told that the saga has not ended; its rows are there, and a person decides."""
    saga = chain((shop.do, "a"), (shop.wait, "b", "go"))
    with at_work(engine):
        saga.start(engine=engine, saga_id="ended")
        until(lambda: len(shop.calls) == 2)
        ask(engine, lambda client: client.get_workflow_handle("ended").terminate("for a test"))
        with pytest.raises(JournalError, match="Temporal has ended its workflow"):
            engine.result("ended", wait=PATIENCE)
        standing = engine.standing("ended")
        shop.gates["go"].set()

    assert standing is not None
    assert not standing.is_open
    assert '["succeeded",0,"action",1,1,"a"' in standing.rows[-1][1]


def test_id_of_another_workflow_is_no_saga(engine: TemporalEngine) -> None:
    """It is refused, naming what is there."""
    ask(engine, lambda it: it.start_workflow("Payroll", id="taken", task_queue="elsewhere"))

    with pytest.raises(SagaConflict, match="Payroll"):
        chain((shop.do, "a")).start(engine=engine, saga_id="taken")


def test_without_a_worker_it_is_told_how_a_saga_stands(engine: TemporalEngine) -> None:
    """Its history tells, from the beginning on: nobody need replay it."""

    def awaited() -> tuple[str, ...]:
        standing = saga_status(engine, "alone")
        assert standing is not None
        return standing.awaited

    chain((shop.do, "a"), (shop.begin, "b")).start(engine=engine, saga_id="alone")
    assert awaited() == ()
    with at_work(engine):
        until(awaited)

    assert awaited() == ("alone:begin:action",)


def test_sagas_are_listed_newest_first(engine: TemporalEngine) -> None:
    """Whatever their order is that Temporal gives them in, and once each."""
    with at_work(engine):
        for number in range(3):
            chain((shop.do, "a")).orchestrator_execute(engine=engine, saga_id=f"n{number}")
        until(lambda: len(engine.select()) == 3)
        listed = [seen.saga_id for seen in engine.select(prefix="n")]

    assert listed == ["n2", "n1", "n0"]
    assert engine.select(prefix="n'") == []
    middle = engine.select()[1]
    assert [seen.saga_id for seen in engine.select(after=middle.changed)] == ["n2"]
    assert [seen.saga_id for seen in engine.select(before=middle.created)] == ["n0"]


def test_news_are_heard_once_for_each_key(engine: TemporalEngine) -> None:
    """Whoever is not sure that they have arrived sends them again."""
    saga = SagaAssembler.saga().operation((shop.begin, "a"), (shop.undo, "a"))
    note = '["note",{"who":"a test"}]'
    with at_work(engine):
        saga.start(engine=engine, saga_id="news")
        for key in ("one", "one", "two"):
            assert engine.post("news", [note], key)
        answer(engine, "news:begin:action", result="given")
        assert engine.result("news", wait=PATIENCE) == ["given"]
        see_agreement(engine, "news")

    standing = engine.standing("news")
    assert standing is not None
    assert sum(body.count(note) for _, body in standing.rows) == 2
    assert not engine.post("news", [note], "three")


def test_what_is_answered_before_its_time_needs_no_timer(engine: TemporalEngine) -> None:
    """Its timer is cancelled, and none is left in a workflow that goes on."""
    saga = chain((shop.begin_until, "a", 4e9), (shop.do, "b"))
    with at_work(engine):
        saga.start(engine=engine, saga_id="early")
        until(lambda: "TIMER_STARTED" in events(engine, "early"))
        answer(engine, "early:begin_until:action", result="given")
        assert engine.result("early", wait=PATIENCE) == ["given", "b"]
        see_agreement(engine, "early")

    assert events(engine, "early").count("TIMER_CANCELED") == 1


def test_workflow_that_is_not_there_is_nothing(engine: TemporalEngine) -> None:
    """Neither an error, nor a saga; what Temporal refuses is an error."""
    assert engine.given("nobody") is None
    assert engine.standing("nobody") is None
    assert not engine.post("nobody", [], "key")
    for ask_for in (engine.given, engine.standing, lambda it: engine.post(it, [], "key")):
        with pytest.raises(JournalError, match="invalid_argument"):
            ask_for("")


def test_decision_begins_a_successor_once(engine: TemporalEngine) -> None:
    """A saga that is stuck is called again by another workflow, whose id is the next one."""
    saga = SagaAssembler.saga().operation((shop.do, "a"), (shop.fail_once, "undo"))
    saga = saga.operation((shop.refuse, "b"))
    with at_work(engine):
        with pytest.raises(SagaStuck):
            saga.orchestrator_execute(engine=engine, saga_id="stuck")
        repair.again(engine, "stuck", "do", who="a test", why="it may go now")
        with pytest.raises(SagaException, match="b is not to be had"):
            engine.result("stuck", wait=PATIENCE)
        rows = engine.given("stuck~2")

    assert rows is not None
    assert not engine.begin("stuck~2", rows)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "options", "says"),
    [
        ("", {}, "target: expected a text"),
        ("user:secret@there", {"namespace": 7}, "namespace: expected a text, got int"),
        ("https://user:secret@there", {}, "HOST:PORT"),
        ("localhost", {}, "HOST:PORT"),
        ("localhost:1", {"lost_after": 0}, "at least 0.1 seconds"),
        ("localhost:1", {"lost_after": None}, "at least 0.1 seconds"),
        ("localhost:1", {"queue": ""}, "queue: expected a text, got an empty text"),
    ],
)
def test_what_makes_no_sense_is_refused(target: str, options: Any, says: str) -> None:
    """Before anything is connected; and no secret is shown."""
    with pytest.raises(SagaDefinitionError, match=says) as caught:
        TemporalEngine(target, modules=["shop"], **options)

    assert "secret" not in str(caught.value)


def test_missing_sdk_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.delitem(sys.modules, "py_api_saga.engines.temporal")
    monkeypatch.setitem(sys.modules, "temporalio", None)

    with pytest.raises(ImportError, match=r"pip install 'py-api-saga\[temporal\]'"):
        importlib.import_module("py_api_saga.engines.temporal")


def test_server_that_is_away_is_named_with_the_cure() -> None:
    """And no key is shown."""
    engine = TemporalEngine("127.0.0.1:1", modules=[shop.__name__], api_key="secret-key")

    with pytest.raises(JournalError, match=r"Temporal at 127\.0\.0\.1:1.*is it running") as caught:
        chain((shop.do, "a")).start(engine=engine, saga_id="away")
    engine.close()

    assert "secret" not in f"{caught.value}{engine!r}{engine.place}"


def test_namespace_that_is_not_there_is_named_with_the_cure(
    namespace: temporal.Namespace,
) -> None:
    """And nothing has begun."""
    other = engine_of(namespace._replace(name="nowhere"))

    with pytest.raises(JournalError, match="namespace create"):
        other.check()
    worker = other.worker(Work())
    with pytest.raises(JournalError, match="namespace create"):
        worker.begin()
    assert worker.end() == 0
    other.close()


def test_engine_of_another_process_is_refused(
    engine: TemporalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection belongs to the process that made it."""
    monkeypatch.setattr(engine, "_process", os.getpid() + 1)

    with pytest.raises(SagaDefinitionError, match="fork"):
        chain((shop.do, "a")).start(engine=engine, saga_id="forked")
    with pytest.raises(SagaDefinitionError, match="fork"):
        engine.await_rest("forked", 1)
