"""Virtual time: whoever sleeps returns at once, and what was slept has passed."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import pytest
from world import World

from py_api_saga import Retry, SagaAssembler, SagaDefinitionError, SagaException, chance, clock
from py_api_saga.testing import Clock
from py_api_saga.testing.virtual import replaced

HOUR = 3600.0  # no test would wait for so long
SLOW = Retry(ConnectionError, attempts=3, wait_initial=HOUR, wait_max=HOUR, wait_exp_base=1)
PLACES: tuple[tuple[Any, str], ...] = (
    *[(module, name) for module in (clock, time) for name in ("monotonic", "sleep", "time")],
    (clock, "is_stopped"),
    (chance, "fraction"),
    (asyncio, "new_event_loop"),
    (asyncio.events, "new_event_loop"),
)


def standing() -> list[object]:
    """Give what stands in each place that a clock may take."""
    return [getattr(module, name) for module, name in PLACES]


def _all_others_than(before: list[object], error: type[BaseException]) -> NoReturn:
    assert all(a is not b for a, b in zip(standing(), before, strict=True))
    raise error


def test_sleeping_takes_no_time() -> None:
    """The library, and fakes that sleep, see the time that passes virtually."""
    with Clock(start=1_800_000_000) as virtual:
        began = time.monotonic(), clock.monotonic()
        time.sleep(HOUR)
        clock.sleep(HOUR)

        assert virtual.passed == 2 * HOUR
        assert time.time() == clock.time() == 1_800_000_000 + 2 * HOUR
        assert (time.monotonic() - began[0], clock.monotonic() - began[1]) == (2 * HOUR, 2 * HOUR)


def test_what_was_slept_is_what_has_passed_to_the_bit() -> None:
    """Else a fake that waits for an hour would find that it has not, on some machines' clocks."""
    with Clock():
        began = time.time(), time.monotonic()
        time.sleep(HOUR)

        assert (time.time() - began[0], time.monotonic() - began[1]) == (HOUR, HOUR)


def test_it_begins_at_the_real_time() -> None:
    """What a fake compares with a date of today goes on to be true."""
    before = time.time()
    with Clock():
        assert before <= time.time() <= before + HOUR


def test_a_retry_waits_virtually(execute: Any, world: World) -> None:
    """On each executor: two hours of waits between three attempts."""
    saga = SagaAssembler.saga().operation((world.fail, "a", ConnectionError("no")), retry=SLOW)

    with Clock() as virtual, pytest.raises(SagaException):
        execute(saga)

    assert virtual.passed == pytest.approx(2 * HOUR + 1, abs=1.001)  # which a loop counts in floats


def test_a_deadline_passes_virtually(execute: Any, world: World) -> None:
    """Between attempts, when nobody would have waited for it."""
    saga = SagaAssembler.saga().operation((world.fail, "a", ConnectionError("no")), retry=SLOW)

    with Clock() as virtual, pytest.raises(SagaException) as raised:
        execute(saga, deadline=HOUR / 2)

    assert virtual.passed == pytest.approx(HOUR / 2)
    assert isinstance(raised.value.__cause__, (ConnectionError, TimeoutError))


async def _sleep(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@pytest.mark.parametrize("how", ["aorchestrator_execute", "achoreography_execute"])
def test_timeouts_of_coroutines_are_virtual(how: str) -> None:
    """One that sleeps for longer than its timeout is cut off, at once."""
    saga = SagaAssembler.saga().operation((_sleep, HOUR), name="long", timeout=HOUR / 2)

    with Clock() as virtual, pytest.raises(SagaException) as raised:
        asyncio.run(getattr(saga, how)())

    assert isinstance(raised.value.__cause__, TimeoutError)
    assert virtual.passed == pytest.approx(HOUR / 2)


def test_the_loop_that_runs_jumps_as_well() -> None:
    """And goes on with the timers that it had, once the block has ended."""

    async def main() -> list[str]:
        log: list[str] = []
        loop = asyncio.get_running_loop()
        loop.call_later(0.0, log.append, "before")
        with Clock() as virtual:
            await asyncio.gather(_sleep(HOUR), _sleep(HOUR / 2))
            assert virtual.passed == pytest.approx(HOUR)
        await asyncio.sleep(0.001)
        assert loop.time() == pytest.approx(time.monotonic(), abs=60)
        return log

    assert asyncio.run(main()) == ["before"]


def test_time_stands_still_while_a_thread_of_the_loop_works() -> None:
    """Else each limit would have passed before its thread had begun."""
    gate = threading.Event()

    async def main() -> str:
        async with asyncio.timeout(HOUR):
            await asyncio.to_thread(gate.wait, 0.1)  # which nobody opens
            return "done"

    with Clock() as virtual:
        assert asyncio.run(main()) == "done"
    assert virtual.passed == 0


class Slow(ThreadPoolExecutor):
    """Takes a while to end."""

    def shutdown(self, *args: Any, **keywords: Any) -> None:
        threading.Event().wait(0.1)
        super().shutdown(*args, **keywords)


def test_time_stands_still_while_a_loop_ends_its_threads() -> None:
    """Else the time that `asyncio.run` gives them would have passed, of which it warns."""

    async def main() -> int:
        asyncio.get_running_loop().set_default_executor(Slow(1))
        return await asyncio.to_thread(int, 7)

    with Clock() as virtual:
        assert asyncio.run(main()) == 7
    assert virtual.passed == 0


def test_other_threads_have_the_real_time() -> None:
    """Those that the block did not start by this library."""
    seen: list[float] = []
    with Clock(start=5) as virtual:
        virtual.sleep(1)
        thread = threading.Thread(target=lambda: seen.append(time.time()))
        thread.start()
        thread.join()
        assert time.time() == 6
    assert seen[0] > 1e9


def test_a_choreography_is_made_in_line() -> None:
    """So that its waits are virtual too, and its calls in the thread of the test."""
    threads: list[int] = []

    def here() -> None:
        threads.append(threading.get_ident())

    with Clock():
        SagaAssembler.saga().operation(here).operation(here).choreography_execute()

    assert threads == [threading.get_ident()] * 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_all_is_put_back(error: type[BaseException]) -> None:
    """However the block ends."""
    before = standing()

    with pytest.raises(error), Clock():
        _all_others_than(before, error)

    assert standing() == before


def test_a_loop_of_another_kind_is_refused() -> None:
    """One whose timers would not jump; before anything is in the place of another thing."""
    before = standing()
    loop = asyncio.SelectorEventLoop()
    selector, loop._selector = loop._selector, None  # type: ignore[attr-defined] # noqa: SLF001

    asyncio._set_running_loop(loop)  # noqa: SLF001 - it can't really run
    try:
        with pytest.raises(SagaDefinitionError, match="expected an event loop of asyncio, got "):
            Clock().__enter__()
    finally:
        asyncio._set_running_loop(None)  # noqa: SLF001
        loop._selector = selector  # type: ignore[attr-defined] # noqa: SLF001
        loop.close()
    assert standing() == before


@pytest.mark.parametrize("strikes", [1, 3])
def test_an_interrupt_while_things_are_put_back_leaves_none_of_them(strikes: int) -> None:
    """It is raised once all is as it was."""
    left = [strikes]

    class Striking(type):
        def __setattr__(cls, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if value == "before" and left[0]:
                left[0] -= 1
                raise KeyboardInterrupt

    class Place(metaclass=Striking):
        one = two = "before"

    with pytest.raises(KeyboardInterrupt), replaced([(Place, name, 5) for name in ("one", "two")]):
        assert vars(Place)["one"] == vars(Place)["two"] == 5

    assert (Place.one, Place.two) == ("before", "before")


def test_what_was_not_there_is_gone_again() -> None:
    """An attribute of an object that shadows that of its class."""

    class Place:
        pass

    place: Any = Place()
    with replaced([(place, "one", 1), (place, "two", 2)]):
        assert place.one == 1
        del place.two

    assert vars(place) == {}


def test_a_clock_is_used_by_one_block_at_a_time() -> None:
    """One after the other is fine, and time goes on from there."""
    virtual = Clock()
    with virtual:
        virtual.sleep(1)
        with pytest.raises(SagaDefinitionError, match="Clock: expected one that is not in use"):
            virtual.__enter__()
    with virtual:
        virtual.sleep(1)

    assert virtual.passed == 2


def test_a_block_within_another_has_its_own_time() -> None:
    """And the outer one goes on where it was."""
    with Clock(start=100) as outer:
        with Clock(start=200):
            time.sleep(1)
            assert time.time() == 201
        assert (time.time(), outer.passed) == (100, 0)


@pytest.mark.parametrize("start", [-1, "now", True, 1e12])
def test_a_start_that_is_not_a_time_is_refused(start: Any) -> None:
    """In words, before anything is in the place of another thing."""
    with pytest.raises(SagaDefinitionError, match="Clock: start: expected seconds"):
        Clock(start)


def test_time_does_not_go_back() -> None:
    """As for the real `time.sleep`."""
    with Clock(), pytest.raises(ValueError, match="sleep length must be non-negative"):
        time.sleep(-1)


def test_what_happens_beside_a_timer_comes_first() -> None:
    """Time jumps only once nothing else is there."""

    async def main() -> list[str]:
        log: list[str] = []
        loop = asyncio.get_running_loop()
        loop.call_later(HOUR, log.append, "timer")
        here, there = socket.socketpair()
        with here, there:
            loop.add_reader(here, lambda: log.append(here.recv(1).decode()))
            there.send(b"x")
            await asyncio.sleep(HOUR)
            loop.remove_reader(here)
        return log

    with Clock() as virtual:
        assert asyncio.run(main()) == ["x", "timer"]
    assert virtual.passed == pytest.approx(HOUR)


def test_another_thread_sleeps_for_real() -> None:
    """It knows nothing of the block."""
    with Clock() as virtual:
        thread = threading.Thread(target=time.sleep, args=(0,))
        thread.start()
        thread.join()
    assert virtual.passed == 0
