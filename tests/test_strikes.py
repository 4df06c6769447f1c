"""An interrupt wherever a signal can strike in the executors: nothing is left in silence.

The interpreter looks for signals when a function of Python begins, when a call of C has ended and
when a loop jumps back. Here a trace function raises at one such instruction after the other, in the
thread that drives the saga: SystemExit, or a RuntimeError, as the handler of a time limit may. What
still stands in the end must have been told as stuck, or all of it must stand because the saga was
complete; no call runs on, and none is made twice at once.

SAGA_STRIKES=1 in the environment strikes everywhere, which takes minutes.
"""

import asyncio
import dis
import linecache
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import depot
import pytest
from world import Watch, World, in_time

import py_api_saga
from py_api_saga import SagaAssembler
from py_api_saga.definition import Names

HOME = Path(py_api_saga.__file__).parent
MODULES = ("execution", "compensation", "definition", "events", "log")
FILES = {*HOME.glob("executors/*.py"), *(HOME / f"{name}.py" for name in MODULES)}
PLACES = {str(path) for path in FILES}
EVERY = int(os.environ.get("SAGA_STRIKES", "6"))
Place = tuple[CodeType, int, int]  # code, instruction, and which time it is reached
Run = Callable[[SagaAssembler], Any]

RUNS: dict[str, Run] = {
    "chain": lambda saga: saga.orchestrator_execute(),
    "graph": lambda saga: saga.choreography_execute(),
    "async chain": lambda saga: asyncio.run(saga.aorchestrator_execute()),
    "async graph": lambda saga: asyncio.run(saga.achoreography_execute()),
}


class Struck(SystemExit):
    """What a signal handler raises, as that of a server which is to end."""


class StruckError(RuntimeError):
    """What another one raises, as that of a time limit."""


KINDS = {"interrupt": Struck, "error": StruckError}

# In these an `Exception` is not heard of: it counts as one of the user's code that they call, and
# what that raises is logged; or the loop of asyncio calls them back, and logs what they raise.
SILENT = ("observer(event)", "logger().log(")
CALLED_BACK = {
    "event_loop.py": ("_end",),
    "group_commit.py": ("resolve", "wake_writer", "_look_after", "look_after"),
}


def is_within(frame: FrameType | None) -> bool:
    """Tell whether a function of the user's is being run, or one that the loop has called back."""
    while frame is not None:
        name, file = frame.f_code.co_name, frame.f_code.co_filename
        if file == depot.__file__ or (file == __file__ and name in ("do", "undo")):
            return True
        if file in PLACES and name in CALLED_BACK.get(Path(file).name, ()):
            return True
        frame = frame.f_back
    return False


def is_heard(tracer: "Tracer") -> bool:
    """Tell whether an error that has struck there is raised in the end."""
    if tracer.target is None or tracer.within:
        return False
    code, offset, _ = tracer.target
    number = [number for start, number in dis.findlinestarts(code) if start <= offset][-1] or 0
    line = linecache.getline(code.co_filename, number)
    return not any(words in line for words in SILENT)


@cache
def strikes(code: CodeType) -> dict[int, tuple[bool, int]]:
    """Tell of each instruction whether a signal can strike in it, or after which call before it.

    One that leaves a `try` is after none: the end of the call before it is still inside.
    """
    handlers = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # noqa: SLF001

    def handler(offset: int) -> int:
        return next((e.target for e in handlers[::-1] if e.start <= offset < e.end), -1)

    found: dict[int, tuple[bool, int]] = {}
    call = -1
    for it in dis.get_instructions(code):
        begins = it.opname == "RESUME" and (it.arg or 0) & 3 < 2  # else it follows an await
        jumps = "JUMP_BACKWARD" in it.opname and "NO_INTERRUPT" not in it.opname
        inside = call >= 0 and handler(call) == handler(it.offset)
        found[it.offset] = begins or jumps, call if inside else -1
        call = it.offset if it.opname in ("CALL", "CALL_KW", "CALL_FUNCTION_EX") else -1
    return found


class Tracer:
    """Note where a signal can strike, and raise at one of these instructions."""

    def __init__(self, target: Place | None = None, kind: type[BaseException] = Struck) -> None:
        self.target, self.kind = target, kind
        self.reached: Counter[tuple[CodeType, int]] = Counter()
        self.struck = False
        self.within = False  # a function of the user's, which has called ours

    def __call__(self, frame: FrameType, _event: str, _arg: object) -> Any:
        """Trace the functions of the executors."""
        code = frame.f_code
        if code.co_filename not in PLACES:
            return None
        table, last = strikes(code), -2

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal last
            if event == "opcode":
                alone, call = table[frame.f_lasti]
                if alone or call == last:  # else that call has raised
                    self._reach(code, frame.f_lasti, frame)
                last = frame.f_lasti
            return trace

        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        if table.get(frame.f_lasti, (False, -1))[0]:
            self._reach(code, frame.f_lasti, frame)
        return trace

    def _reach(self, code: CodeType, offset: int, frame: FrameType | None) -> None:
        self.reached[code, offset] += 1
        if not self.struck and (code, offset, self.reached[code, offset]) == self.target:
            self.struck = True
            self.within = is_within(frame)
            raise self.kind

    def during(self, act: Callable[..., object], *args: object) -> BaseException | None:
        """Call a function, traced, and give what it has raised."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            act(*args)
        except BaseException as error:  # noqa: BLE001 - it is what the tests are about
            return error
        finally:
            sys.settrace(before)
        return None

    def places(self) -> list[Place]:
        """List each place that was reached, the first and the last time."""
        times = {(*place, count) for place, count in self.reached.items()}
        found = {(*place, 1) for place in self.reached} | times
        return sorted(found, key=lambda place: (place[0].co_qualname, place[1:]))


def chosen(places: list[Place], kind: type[BaseException], every: int) -> list[Place]:
    """Choose one place in so many; each kind strikes where the other one does not."""
    if every == 1:
        return places
    return places[every * (kind is StruckError) :: 2 * every]


def line_of(code: CodeType, offset: int) -> str:
    """Say where an instruction stands."""
    line = [line for start, line in dis.findlinestarts(code) if start <= offset][-1]
    return f"{Path(code.co_filename).name}:{line}"


class Busy(World):
    """A world that knows which calls are at it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.twice: list[str] = []

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Be at a call."""
        with self._changed:
            self.calls[name] += 1
            if self.calls[name] > 1:
                self.twice.append(name)
        try:
            yield
        finally:
            with self._changed:
                self.calls[name] -= 1


class Course:
    """One way that a saga can go, with an interrupt somewhere."""

    def __init__(
        self,
        make: Callable[[Busy, threading.Event], SagaAssembler],
        run: Run,
        complete: float,
        kind: type[BaseException] = Struck,
    ) -> None:
        self.make = make
        self.run = run
        self.complete = complete  # how many operations stand if it succeeds
        self.kind = kind

    def go(self, target: Place | None = None) -> tuple[Tracer, str]:
        """Run it once; give what is left over in silence, in words."""
        before_it = set(threading.enumerate())
        world, watch, gate = Busy(), Watch(), threading.Event()
        saga, tracer = self.make(world, gate), Tracer(target, self.kind)
        saga.observers = (watch,)

        try:
            error = in_time(lambda: tracer.during(self.run, saga), 3)
        except AssertionError:
            return tracer, "it hangs"
        running = sorted(+world.calls)
        gate.set()
        if not calm(before_it):
            return tracer, "its straggler hangs"
        left = set(world.standing) - {event.operation for event in watch.of("stuck")}
        heard = self.kind is Struck or is_heard(tracer)
        wrong = {
            f"{running} running on": running,
            f"{world.twice} twice at once": world.twice,
            f"{left} left over": left and len(left) < self.complete,
            f"raised {error!r}": tracer.struck and heard and not isinstance(error, self.kind),
        }
        return tracer, ", ".join(words for words, is_so in wrong.items() if is_so)

    def strike_everywhere(self) -> tuple[int, list[str]]:
        """Run it with an interrupt at every place in turn; count, and say what went wrong."""
        undisturbed, problem = self.go()
        assert not problem
        struck, wrong = 0, []
        for place in chosen(undisturbed.places(), self.kind, EVERY):
            tracer, problem = self.go(place)
            struck += tracer.struck
            if problem:
                wrong.append(f"{problem}: {line_of(*place[:2])}, time {place[2]}")
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


Make = Callable[[Busy, threading.Event], SagaAssembler]


def saga_of(
    do: Any, undo: Any, fail: Any, timeout: float | None = None
) -> Callable[[Busy, threading.Event], SagaAssembler]:
    """Make what makes a saga of two operations, of which the second one may fail."""

    def make(world: Busy, _: threading.Event) -> SagaAssembler:
        saga = SagaAssembler.saga()
        saga.operation((do, world, "a"), (undo, world, "a"), name="a", timeout=timeout)
        last = (fail or do, world, "b")
        return saga.operation(last, (undo, world, "b"), name="b", after="a", timeout=timeout)

    return make


def do(world: Busy, name: str) -> None:
    """Take effect."""
    with world.at(name):
        world.do(name)


def undo(world: Busy, name: str) -> None:
    """Take it back."""
    with world.at(name):
        world.undo(name)


def fail(world: Busy, name: str) -> None:
    """Have no effect."""
    with world.at(name):
        world.fail(name, ValueError())


async def do_later(world: Busy, name: str) -> None:
    """Take effect, after a turn of the loop."""
    with world.at(name):
        await asyncio.sleep(0)
        world.do(name)


async def undo_later(world: Busy, name: str) -> None:
    """Take it back, after a turn of the loop."""
    with world.at(name):
        await asyncio.sleep(0)
        world.undo(name)


async def fail_later(world: Busy, name: str) -> None:
    """Have no effect, after a turn of the loop."""
    with world.at(name):
        await asyncio.sleep(0)
        world.fail(name, ValueError())


def late(world: Busy, gate: threading.Event) -> SagaAssembler:
    """Do one thing that is late, and lands after the end."""
    return SagaAssembler.saga().operation(
        (world.gate, "a", gate), (world.undo, "a"), name="a", timeout=0.002
    )


MAKE: dict[str, Make] = {
    "succeeding": saga_of(do, undo, None),
    "failing": saga_of(do, undo, fail),
    "timed": saga_of(do, undo, fail, 9),
    "late": late,
    "coroutines succeeding": saga_of(do_later, undo_later, None),
    "coroutines failing": saga_of(do_later, undo_later, fail_later),
    "coroutines timed": saga_of(do_later, undo_later, fail_later, 9),
}


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("make", "run"),
    [
        (make, run)
        for make in MAKE
        for run in RUNS
        if run.startswith("async") or not make.startswith("coroutines")
    ],
)
def test_an_interrupt_anywhere_leaves_nothing_over(
    make: str, run: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What was done is undone, or told as stuck; the interrupt is raised; and nothing hangs."""
    for name in ("py_api_saga", "asyncio"):
        caplog.set_level(logging.CRITICAL, name)
    complete = 2 if "succeeding" in make else float("inf")

    struck, wrong = Course(MAKE[make], RUNS[run], complete, KINDS[kind]).strike_everywhere()

    assert not wrong, "\n".join(wrong)
    assert struck > 20 / EVERY  # fewer where Python looks for signals less often


def test_an_interrupt_while_names_are_made_changes_none() -> None:
    """They come out as they would have, whenever it strikes: keys are made of them."""
    labels = ["charge", "charge", "other", "charge"]

    (undisturbed := Tracer()).during(Names(labels).all)
    struck = 0
    for place in undisturbed.places():
        (tracer := Tracer(place)).during((names := Names(labels)).all)
        struck += tracer.struck
        assert names.all() == ["charge", "charge-2", "other", "charge-3"], line_of(*place[:2])
        assert names.shared == {"charge"}
    assert struck > 5
