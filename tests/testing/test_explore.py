"""`explore`: what it finds, what it tells of that, and what it leaves behind: nothing."""

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Token
from typing import Any

import pytest
from till import Shop, action_key, key, order

from py_api_saga import SagaAssembler, SagaException, chance, clock
from py_api_saga.current import current
from py_api_saga.executors import driving
from py_api_saga.log import logger
from py_api_saga.testing import Explored, explore, operation, trying
from py_api_saga.testing.places import Asked, within
from py_api_saga.testing.telling import BrokenSagaError, Finding


def findings(run: Any, **options: Any) -> list[Finding]:
    """Explore what must be broken, and give what is found."""
    with pytest.raises(BrokenSagaError) as raised:
        explore(run, **{"world": Shop, "state": Shop.ledgers, **options})
    return [*raised.value.findings]


def forgetful(shop: Shop) -> SagaAssembler:
    """A saga that never releases what it has reserved."""
    return order(shop, release=lambda: None)


@pytest.mark.parametrize("how", ["orchestrator", "choreography"])
@pytest.mark.parametrize("faults", [1, 2])
def test_a_right_saga_is_left_alone(how: Any, faults: int) -> None:
    """Nothing is found, whatever goes wrong."""
    explored = explore(order, world=Shop, state=Shop.ledgers, how=how, faults=faults, limit=200)

    assert explored.schedules > 30
    assert explored.left == 0 or faults > 1
    assert explored.kinds["crash-after"] > 0


def test_what_is_wrong_is_told_by_the_smallest_schedule() -> None:
    """What, when, the story, what that calls for, and how to see it again."""
    [finding, *_] = findings(forgetful)

    assert finding.message == "compensated, but free is 8, expected 10"
    assert finding.replay == "charge:refuses"
    assert str(finding) == (
        "compensated, but free is 8, expected 10\n"
        "\n"
        "   when charge refuses: it raises, and does nothing\n"
        "\n"
        "     reserve                  done\n"
        "   ! charge refuses: it raises, and does nothing\n"
        "     charge                   failed: Refused\n"
        "     undo reserve             done\n"
        "     saga: compensated\n"
        "\n"
        "   all that was done before must be undone\n"
        '   replay="charge:refuses"'
    )


def test_a_replay_tells_the_same_story() -> None:
    """And nothing else is run."""
    for finding in findings(forgetful):
        [again] = findings(forgetful, replay=finding.replay)
        assert again == finding


def test_a_replay_of_what_is_mended_is_fine() -> None:
    """One schedule."""
    explored = explore(order, world=Shop, state=Shop.ledgers, replay="charge:refuses")

    assert explored.schedules == 1


def test_a_run_may_run_its_saga_itself() -> None:
    """What it does afterwards is explored too, and that it never comes to that."""

    def view(shop: Shop) -> None:
        try:
            order(shop).orchestrator_execute()
        except SagaException:
            return
        shop.bank.charges["fee"] = 1

    found = findings(view)

    assert {one.message for one in found} == {
        "completed, but charged is [1200], expected [1, 1200]"
    }
    assert "end of order:crash-after" in [one.replay for one in found]


def test_whoever_gives_an_id_is_called_once_more_after_a_crash() -> None:
    """As its client would; then what it does afterwards is done."""

    def view(shop: Shop) -> None:
        try:
            order(shop).orchestrator_execute(saga_id="order-1")
        except SagaException:
            return
        shop.bank.charges["fee"] = 1

    explore(view, world=Shop, state=Shop.ledgers)


@pytest.mark.parametrize("how", ["orchestrator", "choreography"])
def test_coroutine_functions_run_in_virtual_time(how: Any) -> None:
    """An hour of sleep in each call takes no time."""

    async def charge(shop: Shop) -> str:
        await asyncio.sleep(3600)
        return shop.bank.charge(key(), 1200)

    async def refund(shop: Shop) -> None:
        await asyncio.sleep(3600)
        shop.bank.refund(action_key())

    def run(shop: Shop) -> SagaAssembler:
        return order(shop, charge=(charge, shop), refund=(refund, shop))

    began = time.monotonic()
    explore(run, world=Shop, state=Shop.ledgers, how=how)
    assert time.monotonic() - began < 3600


def test_a_coroutine_function_may_run_the_saga() -> None:
    """In the loop of the exploration."""

    async def view(shop: Shop) -> None:
        try:
            await order(shop).aorchestrator_execute()
        except SagaException:
            return

    explore(view, world=Shop, state=Shop.ledgers)


def standing() -> list[object]:
    """Give what stands in all places that an exploration takes for itself."""
    return [
        *(getattr(clock, name) for name in clock.__all__),
        *(getattr(chance, name) for name in ("digits", "fraction", "number")),
        *(time.time, time.sleep, time.monotonic, asyncio.new_event_loop),
        *(driving.stand_in.get(), logger().disabled, random.getstate()),
    ]


@pytest.mark.parametrize("where", ["world", "state", "check", "run", "action", "undo", "entered"])
def test_an_interrupt_leaves_nothing_behind(where: str) -> None:
    """Wherever it strikes."""
    left: list[str] = []

    def strike(at: str) -> None:
        if at == where:
            raise KeyboardInterrupt(at)

    @contextmanager
    def world() -> Iterator[Shop]:
        strike("world")
        try:
            yield Shop()
        finally:
            left.append("world")
            strike("entered")

    def state(shop: Shop) -> Any:
        strike("state")
        return shop.ledgers()

    def run(shop: Shop) -> SagaAssembler:
        strike("run")

        def charge() -> None:
            strike("action")
            shop.bank.charge(key(), 1200)

        def release() -> None:
            strike("undo")
            shop.stock.release(action_key())

        return order(shop, charge=charge, release=release)

    before = standing()
    with pytest.raises(KeyboardInterrupt, match=where):
        explore(run, world=world, state=state, check=lambda *_: strike("check"), services=["bank"])
    assert standing() == before
    assert left or where == "world"
    assert isinstance(explore(order, world=Shop, state=Shop.ledgers), Explored)


def test_an_interrupt_between_two_lines_leaves_no_call_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Just as a call begins, say: else what a world writes later on would be taken for its."""

    class Interrupted:
        def set(self, here: Asked | None) -> Token[Asked | None]:
            token = within.set(here)
            current.set(None)
            if here is not None:
                raise KeyboardInterrupt
            return token

    monkeypatch.setattr(trying, "within", Interrupted())
    with operation():
        before = current.get()
        with pytest.raises(KeyboardInterrupt):
            explore(order, world=Shop, state=Shop.ledgers)
        assert (within.get(), current.get()) == (None, before)


def names_and_things() -> dict[str, object]:
    """Give all that modules and classes of the library hold, by name."""
    things: dict[str, object] = {}
    for module in [one for name, one in sys.modules.items() if name.startswith("py_api_saga")]:
        for name, thing in [*vars(module).items()]:
            things[f"{module.__name__}.{name}"] = thing
            if isinstance(thing, type) and thing.__module__ == module.__name__:
                inside = [*vars(thing).items()]
                things |= {f"{module.__name__}.{thing.__name__}.{key}": it for key, it in inside}
    return things


def test_nothing_of_the_library_is_patched_but_its_clock_and_chance() -> None:
    """A kit that replaced more would test something else than what users run."""
    explore(order, world=Shop, state=Shop.ledgers)  # imports what it needs
    before, during = names_and_things(), dict[str, object]()

    def run(shop: Shop) -> SagaAssembler:
        during.update({} if during else names_and_things())
        return order(shop)

    explore(run, world=Shop, state=Shop.ledgers, services=["bank"])

    changed = {name for name, thing in during.items() if thing is not before.get(name)}
    assert changed - {"py_api_saga.loops.looks"} == {
        *(f"py_api_saga.clock.{name}" for name in ("monotonic", "time", "sleep", "is_stopped")),
        *(f"py_api_saga.chance.{name}" for name in ("digits", "fraction")),
    }
    after = names_and_things()
    assert {name for name in before if after.get(name) is not before[name]} <= {
        "py_api_saga.loops.looks"
    }
