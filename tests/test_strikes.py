"""An interrupt at every line of the executors, one after the other: nothing is left in silence.

A signal can strike wherever the interpreter looks for one, which is when it calls or jumps. Here a
trace function raises at one such line after the other, in the thread that drives the saga. What
still stands in the end must have been told as stuck.
"""

import asyncio
import linecache
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from world import Watch, World, in_time

import py_api_saga
from py_api_saga import SagaAssembler

HOME = Path(py_api_saga.__file__).parent
PLACES = {str(path) for path in [*HOME.glob("executors/*.py"), HOME / "execution.py"]}
Place = tuple[str, int, int]  # file, line, and which time it is reached
Run = Callable[[SagaAssembler], Any]

RUNS: dict[str, Run] = {
    "chain": lambda saga: saga.orchestrator_execute(),
    "graph": lambda saga: saga.choreography_execute(),
    "async chain": lambda saga: asyncio.run(saga.aorchestrator_execute()),
    "async graph": lambda saga: asyncio.run(saga.achoreography_execute()),
}


class Struck(SystemExit):
    """What a signal handler raises."""


def can_strike(file: str, line: int) -> bool:
    """Tell whether the interpreter looks for signals in a line, before what it does is done.

    Never between the last line of a `with` block and its end, at which it stands once more.
    """
    text = linecache.getline(file, line).strip()
    if text.startswith(("with ", "async with ", "finally:")):
        return False
    return "(" in text or text.startswith(("for ", "while "))


class Tracer:
    """Note the lines that are reached, and raise at one of them."""

    def __init__(self, target: Place | None = None) -> None:
        self.target = target
        self.reached: Counter[tuple[str, int]] = Counter()
        self.struck = False

    def __call__(self, frame: FrameType, _event: str, _arg: object) -> Any:
        """Trace the functions of the executors."""
        return self._line if frame.f_code.co_filename in PLACES else None

    def _line(self, frame: FrameType, event: str, _: object) -> Any:
        place = frame.f_code.co_filename, frame.f_lineno
        if event == "line" and not self.struck and can_strike(*place):
            self.reached[place] += 1
            if (*place, self.reached[place]) == self.target:
                self.struck = True
                raise Struck
        return self._line

    def places(self) -> list[Place]:
        """List each line that was reached, the first and the last time."""
        times = {(*place, count) for place, count in self.reached.items()}
        return sorted({(*place, 1) for place in self.reached} | times)


class Course:
    """One way that a saga can go, with an interrupt somewhere."""

    def __init__(self, make: Callable[[World, threading.Event], SagaAssembler], run: Run) -> None:
        self.make = make
        self.run = run

    def go(self, target: Place | None = None) -> tuple[Tracer, str]:
        """Run it once; give what is left over in silence, in words."""
        before_it = set(threading.enumerate())
        world, watch, gate = World(), Watch(), threading.Event()
        saga, tracer = self.make(world, gate), Tracer(target)
        saga.observers = (watch,)

        def body() -> BaseException | None:
            before = sys.gettrace()
            sys.settrace(tracer)
            try:
                self.run(saga)
            except BaseException as error:  # noqa: BLE001 - it is what the test is about
                return error
            finally:
                sys.settrace(before)
            return None

        try:
            error = in_time(body, 3)
        except AssertionError:
            return tracer, "it hangs"
        gate.set()
        if not calm(before_it):
            return tracer, "its straggler hangs"
        left = set(world.standing) - {event.operation for event in watch.of("stuck")}
        if left:
            return tracer, f"{left} left over"
        if tracer.struck and not isinstance(error, Struck):
            return tracer, f"raised {error!r}"
        return tracer, ""

    def strike_everywhere(self) -> tuple[int, list[str]]:
        """Run it with an interrupt at each line in turn; count them, and say what went wrong."""
        undisturbed, problem = self.go()
        assert not problem
        struck, wrong = 0, []
        for file, line, time_ in undisturbed.places():
            tracer, problem = self.go((file, line, time_))
            struck += tracer.struck
            if problem:
                text = linecache.getline(file, line).strip()
                wrong.append(f"{problem}: {Path(file).name}:{line}, time {time_}: {text}")
            if "hangs" in problem:
                break  # the others would, too, and each for seconds
        return struck, wrong


def calm(others: set[threading.Thread]) -> bool:
    """Wait until the threads of stragglers have ended, and those that they have started."""
    deadline = time.monotonic() + 3
    quiet = 0
    while quiet < 2:
        threads = set(threading.enumerate()) - others
        working = [thread for thread in threads if thread.name == "saga a" and thread.ident]
        if time.monotonic() > deadline:
            return False
        quiet = 0 if working else quiet + 1
        time.sleep(0 if quiet else 0.0005)
    return True


def failing(world: World, _: threading.Event) -> SagaAssembler:
    """Do one thing, fail at the next, and undo the first."""
    saga = SagaAssembler.saga().operation((world.do, "a"), (world.undo, "a"), name="a")
    return saga.operation((world.fail, "b", ValueError()), name="b", after="a")


def failing_later(world: World, _: threading.Event) -> SagaAssembler:
    """Do the same with coroutines."""

    async def do() -> None:
        await asyncio.sleep(0)
        world.do("a")

    async def undo() -> None:
        await asyncio.sleep(0)
        world.undo("a")

    async def fail() -> None:
        await asyncio.sleep(0)
        world.fail("b", ValueError())

    return SagaAssembler.saga().operation(do, undo, name="a").operation(fail, name="b", after="a")


def timed(world: World, _: threading.Event) -> SagaAssembler:
    """Do it within a time that does not pass."""
    saga = SagaAssembler.saga().operation((world.do, "a"), (world.undo, "a"), name="a", timeout=9)
    return saga.operation((world.fail, "b", ValueError()), name="b", after="a", timeout=9)


def late(world: World, gate: threading.Event) -> SagaAssembler:
    """Do one thing that is late, and lands after the end."""
    return SagaAssembler.saga().operation(
        (world.gate, "a", gate), (world.undo, "a"), name="a", timeout=0.002
    )


@pytest.mark.parametrize(
    ("make", "run"),
    [
        *[(failing, run) for run in RUNS],
        *[(failing_later, run) for run in RUNS if run.startswith("async")],
        *[(timed, run) for run in ("chain", "graph")],
        *[(late, run) for run in ("chain", "graph")],
    ],
)
def test_an_interrupt_at_any_line_leaves_nothing_over(
    make: Callable[[World, threading.Event], SagaAssembler],
    run: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was done is undone, or told as stuck; the interrupt is raised; and nothing hangs."""
    caplog.set_level(logging.CRITICAL, "py_api_saga")

    struck, wrong = Course(make, RUNS[run]).strike_everywhere()

    assert not wrong, "\n".join(wrong)
    assert struck > 80
