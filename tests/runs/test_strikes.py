"""An interrupt wherever a signal can strike in the executors: nothing is left in silence.

`strikes` says where that is, and what strikes. What still stands in the end must have been told as
stuck, or all of it must stand because the saga was complete; no call runs on, and none is made
twice at once.

SAGA_STRIKES=1 in the environment strikes everywhere, which takes minutes.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from strikes import (
    CALLED_BACK,
    EVERY,
    KINDS,
    PLACES,
    USERS,
    Place,
    Struck,
    Tracer,
    chosen,
    files_of,
    is_heard,
    line_of,
)
from world import PATIENCE, Watch, World, in_time

from py_api_saga import SagaAssembler
from py_api_saga.current import CurrentOperation
from py_api_saga.definition import Names

USERS.add(__file__)
Run = Callable[[SagaAssembler], Any]

RUNS: dict[str, Run] = {
    "chain": lambda saga: saga.orchestrator_execute(),
    "graph": lambda saga: saga.choreography_execute(),
    "async chain": lambda saga: asyncio.run(saga.aorchestrator_execute()),
    "async graph": lambda saga: asyncio.run(saga.achoreography_execute()),
}


class Busy(World):
    """A world that knows which calls are at it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.twice: list[str] = []
        self.inside = 0  # of context managers

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
            error = in_time(lambda: tracer.during(self.run, saga))
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
            f"{world.inside} managers not left": world.inside,
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
    deadline = time.monotonic() + PATIENCE
    quiet = 0
    while quiet < 2:
        threads = set(threading.enumerate()) - others
        working = [thread for thread in threads if thread.name == "saga a" and thread.ident]
        if time.monotonic() > deadline:
            return False
        quiet = 0 if working else quiet + 1
        time.sleep(0 if quiet else 0.0005)
    return True


class Held:
    """What is around a call, and must be left whenever it was entered."""

    def __init__(self, world: Busy) -> None:
        self.world = world

    def __enter__(self) -> None:
        self.world.inside += 1

    def __exit__(self, *_: object) -> None:
        self.world.inside -= 1


def giving(held: type[Held], world: Busy) -> Callable[[CurrentOperation], Held]:
    """Make what gives one."""

    def give(_: CurrentOperation) -> Held:
        return held(world)

    return give


class HeldLater(Held):
    """One that is awaited; not counted.

    Python itself does not leave an `async with` that is struck after it has called `__aexit__` and
    before it awaits what that has given.
    """

    async def __aenter__(self) -> None:
        await asyncio.sleep(0)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)


Make = Callable[[Busy, threading.Event], SagaAssembler]


def saga_of(
    do: Any,
    undo: Any,
    fail: Any,
    timeout: float | None = None,
    around: Sequence[type[Held]] = (),
) -> Callable[[Busy, threading.Event], SagaAssembler]:
    """Make what makes a saga of two operations, of which the second one may fail."""

    def make(world: Busy, _: threading.Event) -> SagaAssembler:
        saga = SagaAssembler.saga(around=[giving(held, world) for held in around])
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
    "surrounded": saga_of(do, undo, fail, None, (Held, Held)),
    "coroutines surrounded": saga_of(do_later, undo_later, fail_later, None, (HeldLater, Held)),
}


@pytest.mark.usefixtures("mute")
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
def test_an_interrupt_anywhere_leaves_nothing_over(make: str, run: str, kind: str) -> None:
    """What was done is undone, or told as stuck; the interrupt is raised; and nothing hangs."""
    complete = 2 if "succeeding" in make else float("inf")

    struck, wrong = Course(MAKE[make], RUNS[run], complete, KINDS[kind]).strike_everywhere()

    assert not wrong, "\n".join(wrong)
    assert struck > 20 / EVERY  # fewer where Python looks for signals less often


def test_an_interrupt_while_names_are_made_changes_none() -> None:
    """They come out as they would have, whenever it strikes: keys are made of them."""
    labels = ["charge", "charge", "other", "charge"]

    (undisturbed := Tracer()).during(Names.of(labels).all)
    struck = 0
    for place in undisturbed.places():
        (tracer := Tracer(place)).during((names := Names.of(labels)).all)
        struck += tracer.struck
        assert names.all() == ["charge", "charge-2", "other", "charge-3"], line_of(*place[:2])
        assert names.shared == {"charge"}
    assert struck > 5


def test_what_a_loop_calls_back_is_there() -> None:
    """Else an error that strikes there would be expected to be heard of."""
    sources = [Path(file).read_text(encoding="utf-8") for file in PLACES | files_of("journal")]
    for name in CALLED_BACK:
        kind, method = name.split(".")
        assert [text for text in sources if f"class {kind}" in text and f"def {method}(" in text]
