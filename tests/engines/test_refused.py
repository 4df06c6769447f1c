"""What can't run on an engine is refused by one clear error, before the engine is told of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn

import pytest

from py_api_saga import (
    SagaAssembler,
    SagaDefinitionError,
    answer,
    arecover,
    recover,
    takeover,
)
from py_api_saga.engines.engine import Engine
from py_api_saga.engines.rows import Rows
from py_api_saga.engines.standing import Standing
from py_api_saga.engines.worker import Work, Worker
from py_api_saga.journal import MemoryJournal


def nothing() -> NoReturn:
    """Fail."""
    pytest.fail("the engine was told something")


class Untouched(Engine):
    """An engine that must be told nothing."""

    kind = "untouched"

    @property
    def place(self) -> str:
        return "nowhere"

    def check(self) -> None: ...

    def begin(self, workflow: str, rows: Rows) -> bool:  # noqa: ARG002
        nothing()

    def given(self, workflow: str) -> Rows | None:  # noqa: ARG002
        nothing()

    def await_rest(self, workflow: str, timeout: float | None) -> Rows | None:  # noqa: ARG002
        nothing()

    async def aawait_rest(self, workflow: str, timeout: float | None) -> Rows | None:  # noqa: ARG002, ASYNC109
        nothing()

    def standing(self, workflow: str) -> Standing | None:  # noqa: ARG002
        nothing()

    def post(self, workflow: str, lines: Sequence[str], key: str) -> bool:  # noqa: ARG002
        nothing()

    def workflows(
        self,
        *,
        prefix: str = "",  # noqa: ARG002
        before: float | None = None,  # noqa: ARG002
        after: float | None = None,  # noqa: ARG002
    ) -> Iterator[tuple[str, Standing]]:
        nothing()

    def worker(self, work: Work) -> Worker:  # noqa: ARG002
        nothing()

    def close(self) -> None: ...


def work(*_: object, **__: object) -> None:
    """Fail."""
    pytest.fail("an operation has run")


@pytest.fixture
def engine() -> Engine:
    """Give one that must be told nothing."""
    return Untouched([__name__])


def order(**options: Any) -> SagaAssembler:
    """Make a saga of one operation."""
    return SagaAssembler.saga(name="order", **options).operation(work, work, name="charge")


RUNS: dict[str, Callable[..., Any]] = {
    "orchestrator_execute": lambda saga, **given: saga.orchestrator_execute(**given),
    "choreography_execute": lambda saga, **given: saga.choreography_execute(**given),
    "aorchestrator_execute": lambda saga, **given: asyncio.run(saga.aorchestrator_execute(**given)),
    "achoreography_execute": lambda saga, **given: asyncio.run(saga.achoreography_execute(**given)),
    "start": lambda saga, **given: saga.start(**given),
    "astart": lambda saga, **given: asyncio.run(saga.astart(**given)),
}
LARGE: tuple[Any, ...] = ("x" * 200_000,) * 6
WAITING = [name for name in RUNS if "execute" in name]


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize(
    ("make", "given", "says"),
    [
        (order, {"journal": MemoryJournal()}, "journal: expected none beside an engine"),
        (
            lambda: order(journal=MemoryJournal()),
            {},
            "saga: journal: expected none beside an engine",
        ),
        (
            lambda: order(observers=[print]),
            {},
            "observers: expected none on an engine, whose workers make the calls: give them there",
        ),
        (
            lambda: order(around=[lambda _: nullcontext()]),
            {},
            "there (saga worker --around MODULE:FUNCTION)",
        ),
        (
            lambda: SagaAssembler.saga().operation(lambda: None, name="charge"),
            {},
            "operation 'charge': ",
        ),
        (
            lambda: SagaAssembler.saga().operation((work, "x" * 300_000)),
            {},
            "an argument of the action is larger than 262,144 bytes as JSON",
        ),
        (
            lambda: (
                order()
                .operation((work, LARGE[0], LARGE[1], LARGE[2]))
                .operation((work, LARGE[3], LARGE[4], LARGE[5]))
            ),
            {},
            "all arguments together are larger than 1,048,576 bytes",
        ),
        (order, {"deadline": -1}, "deadline: expected seconds"),
        (SagaAssembler.saga, {}, "Set operation first"),
    ],
    ids=[
        "a journal beside it",
        "a journal of the saga's own",
        "observers",
        "what is around each call",
        "a lambda",
        "an argument that is too large",
        "too much altogether",
        "a wrong deadline",
        "no operations",
    ],
)
def test_what_an_engine_cannot_run_is_refused_before_it_is_told(
    engine: Engine, how: str, make: Callable[[], SagaAssembler], given: dict[str, Any], says: str
) -> None:
    """The error names what is wrong and what to do."""
    with pytest.raises(SagaDefinitionError) as caught:
        RUNS[how](make(), engine=engine, saga_id="order-7", **given)

    assert says in str(caught.value)


@pytest.mark.parametrize("how", WAITING)
def test_nobody_waits_for_a_saga_without_an_id(engine: Engine, how: str) -> None:
    """If its process died, nobody could ask after it again."""
    with pytest.raises(SagaDefinitionError, match="saga_id: expected an id, such as order-7"):
        RUNS[how](order(), engine=engine)


@pytest.mark.parametrize("how", WAITING)
def test_a_wrong_wait_is_refused(engine: Engine, how: str) -> None:
    """It is a number of seconds."""
    with pytest.raises(SagaDefinitionError, match="wait: expected seconds"):
        RUNS[how](order(), engine=engine, saga_id="order-7", wait="long")


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize(
    "wrong", ["postgresql://", object(), Untouched], ids=["a URL", "x", "a class"]
)
def test_what_is_not_an_engine_is_refused(how: str, wrong: object) -> None:
    """A URL is not one, nor is a class."""
    with pytest.raises(SagaDefinitionError, match="engine: expected an engine, such as DBOSEngine"):
        RUNS[how](order(), engine=wrong, saga_id="order-7")


def test_an_engine_is_not_a_journal_of_a_saga(engine: Any) -> None:
    """It is given as engine=, wherever a journal could be."""
    expected = "journal: expected a journal .an engine is given as engine="
    with pytest.raises(SagaDefinitionError, match=expected):
        order(journal=engine)
    with pytest.raises(SagaDefinitionError, match=expected):
        order().start(journal=engine)
    with pytest.raises(SagaDefinitionError, match=expected):
        order().orchestrator_execute(journal=engine)


def test_nobody_recovers_the_sagas_of_an_engine(engine: Any) -> None:
    """Its workers do, and the error says which command that is."""
    message = "journal: expected a journal .*and `saga worker --engine` runs it"
    for recovering in (
        lambda: recover(engine),
        lambda: asyncio.run(arecover(engine)),
        lambda: takeover(engine, "order-7"),
    ):
        with pytest.raises(SagaDefinitionError, match=message):
            recovering()


def test_an_engine_needs_to_know_what_sagas_may_name() -> None:
    """Nothing is imported that was not allowed, so without modules nothing could ever run."""
    with pytest.raises(SagaDefinitionError, match="Untouched: expected the modules"):
        Untouched([])


def test_an_engine_that_was_forked_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parent and child would read each other's answers from one connection."""
    monkeypatch.setattr(os, "getpid", lambda: -1)

    for use in (
        lambda: order().orchestrator_execute(engine=engine, saga_id="order-7"),
        lambda: engine.find("order-7"),
        engine.select,
        lambda: answer(engine, "order-7:charge:action", result=1),
    ):
        with pytest.raises(SagaDefinitionError, match="make an engine in each process, after the"):
            use()
