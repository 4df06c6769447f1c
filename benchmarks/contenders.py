"""One contender of `core.py`, alone in a process: reads requests, answers with measurements.

Two of the contenders bear the same import name, and a heap that another has filled would make the
garbage collector slower: so each has a process of its own. It sleeps while the others are measured.
Each line of standard input is a request as JSON, each line of standard output its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import logging
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

BARE_LOOP = "bare loop"
PREDECESSOR = "py-api-saga 0.0.3"
SAGA_PY = "saga_py 1.1.0"
SIMPLE_SAGA = "simple-saga 0.1.6"
THIS = "this library"
THIS_GIVEN = "this library, given"

POOL_PER_RUN = "a pool per run"
WARM_POOL = "a warm pool"
GATHER = "asyncio.gather"
THIS_ASYNC = "this library, asyncio"

PAUSE = 0.020  # seconds that an operation takes side by side with others

Function = Any  # a plain function of one int; what else it takes depends on the contender
Step = tuple[Function, Function, int]  # the action, the compensation, and their argument


class DeclinedError(Exception):
    """The last operation failed."""


@dataclass(frozen=True)
class Contender:
    """How a chain of operations is written down and run."""

    build: Callable[[Sequence[Step]], Any]
    run: Callable[[Any], Any]
    error: type[BaseException] = DeclinedError  # what `run` raises if an operation fails
    passes_result: bool = False  # a compensation gets its action's result before the argument


# --- a chain of operations ------------------------------------------------------------------------


def bare_loop(operations: list[Step]) -> list[Any]:
    """Run a chain as one would by hand: no library, no record of what happened."""
    results: list[Any] = []
    try:
        for action, _, argument in operations:
            results.append(action(argument))
    except Exception:
        for _, compensation, argument in reversed(operations[: len(results)]):
            compensation(argument)
        raise
    return results


def load_bare_loop() -> Contender:
    """Nothing to load: what the work costs without any library."""

    def build(steps: Sequence[Step]) -> list[Step]:
        operations = []
        for action, compensation, argument in steps:
            operations.append((action, compensation, argument))
        return operations

    return Contender(build, bare_loop)


def load_assembler() -> Contender:
    """Load whichever py_api_saga is on the path: the same sentence builds both."""
    assembler = importlib.import_module("py_api_saga.py_api_saga").SagaAssembler

    def build(steps: Sequence[Step]) -> Any:
        saga = assembler.saga()
        for action, compensation, argument in steps:
            saga.operation((action, argument), (compensation, argument))
        return saga

    def run(saga: Any) -> Any:
        return saga.orchestrator_execute()

    return Contender(build, run, assembler.SagaException)


def load_given() -> Contender:
    """Load this library for sagas that are written once, and given ten arguments for each run."""
    library = importlib.import_module("py_api_saga")
    written: dict[int, tuple[Sequence[Step], Any]] = {}
    arguments = {f"n{i}": i for i in range(10)}

    def write(steps: Sequence[Step]) -> Any:
        saga = library.SagaAssembler.saga()
        for action, compensation, argument in steps:
            stands = library.given(f"n{argument % 10}")
            saga.operation((action, stands), (compensation, stands))
        wanted = {name: value for name, value in arguments.items() if value < len(steps)}
        return saga, wanted

    def build(steps: Sequence[Step]) -> Any:
        if id(steps) not in written:
            written[id(steps)] = steps, write(steps)
        saga, wanted = written[id(steps)][1]
        return saga.given(**wanted)

    def run(bound: Any) -> Any:
        return bound.orchestrator_execute()

    return Contender(build, run, library.SagaException)


def load_saga_py() -> Contender:
    """Load saga_py, which passes an action nothing of its own: partials carry the arguments."""
    saga = importlib.import_module("saga")

    def build(steps: Sequence[Step]) -> Any:
        builder = saga.SagaBuilder.create()
        for action, compensation, argument in steps:
            builder.action(partial(action, argument), partial(compensation, argument))
        return builder.build()

    def run(built: Any) -> Any:
        return built.execute()

    return Contender(build, run, saga.SagaError)


def load_simple_saga() -> Contender:
    """Load simple-saga, which builds nothing: a step runs where it is written."""
    simple_saga = importlib.import_module("simple_saga")

    def run(steps: Sequence[Step]) -> list[Any]:
        with simple_saga.SyncSaga() as saga:
            return [
                saga.step(
                    action,
                    compensation,
                    action_args=(argument,),
                    compensation_args=(argument,),
                )
                for action, compensation, argument in steps
            ]

    return Contender(list, run, passes_result=True)


CHAINS: dict[str, Callable[[], Contender]] = {
    BARE_LOOP: load_bare_loop,
    PREDECESSOR: load_assembler,
    SAGA_PY: load_saga_py,
    SIMPLE_SAGA: load_simple_saga,
    THIS: load_assembler,
    THIS_GIVEN: load_given,
}


def make_steps(size: int, *, fails: bool, passes_result: bool) -> list[Step]:
    """Ten pairs of functions with names of their own, again and again in longer chains.

    An action returns None: saga_py takes nothing else but a dict.
    """

    def pair(number: int) -> tuple[Function, Function]:
        def action(argument: int) -> None:
            pass

        def compensation(argument: int) -> None:
            pass

        def compensation_with_result(result: None, argument: int) -> None:
            pass

        chosen = compensation_with_result if passes_result else compensation
        action.__name__, chosen.__name__ = f"action_{number}", f"undo_{number}"
        return action, chosen

    def fail(argument: int) -> None:
        raise DeclinedError(argument)

    pairs = [pair(number) for number in range(10)]
    steps = [(*pairs[number % 10], number) for number in range(size)]
    if fails:
        steps[-1] = (fail, steps[-1][1], size - 1)
    return steps


class Chain:
    """Measures chains; knows how often a saga must be run so that the clock is good enough."""

    def __init__(self, contender: Contender) -> None:
        """Refuse a contender that does not undo what it should: it would win."""
        self.contender = contender
        self.repeats: dict[tuple[int, bool], int] = {}
        undone: list[int] = []

        def undo(*arguments: int) -> None:
            undone.append(arguments[-1])

        trial = [(action, undo, number) for action, _, number in self._steps(4, fails=True)]
        with contextlib.suppress(contender.error):
            contender.run(contender.build(trial))
        if undone[-3:] != [2, 1, 0]:  # saga_py also undoes the one that failed
            message = f"expected 2, 1, 0 to be undone, got {undone}"
            raise RuntimeError(message)

    def _steps(self, size: int, *, fails: bool) -> list[Step]:
        return make_steps(size, fails=fails, passes_result=self.contender.passes_result)

    def nanoseconds(self, size: int, *, fails: bool, seconds: float) -> float:
        """Build and run sagas for some seconds; CPU time of this process, per operation."""
        steps = self._steps(size, fails=fails)
        build, run, error = self.contender.build, self.contender.run, self.contender.error
        repeats = self.repeats.get((size, fails), 1)
        while True:
            gc.collect()  # before the clock starts; while it runs, the collector does as it likes
            start = time.process_time_ns()
            for _ in range(repeats):
                try:  # noqa: SIM105 - suppress() costs more than some of the contenders
                    run(build(steps))
                except error:
                    pass
            elapsed = time.process_time_ns() - start
            if elapsed >= seconds * 0.7e9:
                self.repeats[size, fails] = max(1, round(repeats * seconds * 1e9 / elapsed))
                return elapsed / repeats / size
            repeats = max(repeats * 2, round(repeats * seconds * 1e9 / (elapsed or 1_000_000)))

    def repeat(self, size: int, *, fails: bool, times: int) -> None:
        """Build and run so many sagas, for somebody who counts from outside."""
        steps = self._steps(size, fails=fails)
        for _ in range(times):
            with contextlib.suppress(self.contender.error):
                self.contender.run(self.contender.build(steps))

    def bytes(self, size: int) -> dict[str, float]:
        """Count the bytes per operation: of a built saga, at the run's peak, of the results."""
        steps = self._steps(size, fails=False)
        self.contender.run(self.contender.build(steps))  # caches are not what one saga costs
        gc.collect()
        tracemalloc.start()
        saga = self.contender.build(steps)
        gc.collect()
        built = tracemalloc.get_traced_memory()[0]
        results = self.contender.run(saga)
        peak = tracemalloc.get_traced_memory()[1]
        del saga
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
        del results
        tracemalloc.stop()
        return {"built": built / size, "peak": peak / size, "results": kept / size}


# --- operations side by side ----------------------------------------------------------------------


def sleep() -> None:
    """Stand for a call to a service."""
    time.sleep(PAUSE)


async def asleep() -> None:
    """Stand for the same call under asyncio."""
    await asyncio.sleep(PAUSE)


def undo() -> None:
    """Never called: all succeed."""


def timed(run: Callable[[int], object]) -> Callable[[int], float]:
    """Tell how many ms it takes."""

    def measure(size: int) -> float:
        start = time.perf_counter_ns()
        run(size)
        return (time.perf_counter_ns() - start) / 1e6

    return measure


def timed_async(run: Callable[[int], Awaitable[object]]) -> Callable[[int], float]:
    """Tell how many ms it takes in a loop that runs already, as in a server."""
    runner = asyncio.Runner()

    async def measure(size: int) -> float:
        start = time.perf_counter_ns()
        await run(size)
        return (time.perf_counter_ns() - start) / 1e6

    return lambda size: runner.run(measure(size))


def submit(pool: ThreadPoolExecutor, size: int) -> None:
    """Run operations by hand, on threads."""
    for future in [pool.submit(sleep) for _ in range(size)]:
        future.result()


def load_pool_per_run() -> Callable[[int], float]:
    """Start threads for each run, as 0.0.3 does."""

    def run(size: int) -> None:
        with ThreadPoolExecutor(size) as pool:
            submit(pool, size)

    return timed(run)


def load_warm_pool() -> Callable[[int], float]:
    """Keep the threads from one run to the next."""
    pool = ThreadPoolExecutor(256)
    return timed(lambda size: submit(pool, size))


def load_gather() -> Callable[[int], float]:
    """Run operations by hand, in an event loop."""
    return timed_async(lambda size: asyncio.gather(*(asleep() for _ in range(size))))


def load_choreography(function: Callable[[], Any]) -> Callable[[int], Any]:
    """Load whichever py_api_saga is on the path; return what builds a saga of so many sleeps."""
    assembler = importlib.import_module("py_api_saga.py_api_saga").SagaAssembler

    def build(size: int) -> Any:
        saga = assembler.saga()
        for _ in range(size):
            saga.operation((function,), (undo,))
        return saga

    return build


def load_threads() -> Callable[[int], float]:
    """Load the choreography on threads."""
    build = load_choreography(sleep)
    return timed(lambda size: build(size).choreography_execute())


def load_event_loop() -> Callable[[int], float]:
    """Load the choreography under asyncio."""
    build = load_choreography(asleep)
    return timed_async(lambda size: build(size).achoreography_execute())


SIDE_BY_SIDE: dict[str, Callable[[], Callable[[int], float]]] = {
    POOL_PER_RUN: load_pool_per_run,
    WARM_POOL: load_warm_pool,
    PREDECESSOR: load_threads,
    THIS: load_threads,
    GATHER: load_gather,
    THIS_ASYNC: load_event_loop,
}


# --- requests and answers -------------------------------------------------------------------------


def answer(name: str, request: dict[str, Any], prepared: dict[str, Any]) -> Any:
    """Measure what is asked for; what can be kept from one request to the next is `prepared`."""
    what = request.pop("measure")
    if what == "side by side":
        if what not in prepared:
            prepared[what] = SIDE_BY_SIDE[name]()
        return prepared[what](request["size"]) if request["size"] else None
    if "chain" not in prepared:
        prepared["chain"] = Chain(CHAINS[name]())
    chain = prepared["chain"]
    measures = {"bytes": chain.bytes, "repeats": chain.repeat, "nanoseconds": chain.nanoseconds}
    return measures[what](**request)


def main(name: str, *folders: str) -> None:
    """Answer until standard input ends."""
    sys.path[:0] = folders
    logging.getLogger().addHandler(logging.NullHandler())  # nobody's warnings go to the terminal
    prepared: dict[str, Any] = {}
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(name, json.loads(line), prepared)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
