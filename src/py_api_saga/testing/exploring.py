"""`explore`: a saga under every fault, and under several after one another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeAlias

from py_api_saga import chance
from py_api_saga.current import current
from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.executors.driving import stand_in
from py_api_saga.log import logger
from py_api_saga.status import SagaStatus
from py_api_saga.testing import asked
from py_api_saga.testing.asked import How
from py_api_saga.testing.awaiting import close, looking, making
from py_api_saga.testing.boundaries import in_place, services_of
from py_api_saga.testing.calm import calm, check_names
from py_api_saga.testing.faults import AWAITED
from py_api_saga.testing.places import within
from py_api_saga.testing.searching import Search
from py_api_saga.testing.telling import BrokenSagaError, Explored
from py_api_saga.testing.trying import Try, UnansweredError
from py_api_saga.testing.virtual import Clock, replaced, seeded
from py_api_saga.testing.wishes import Wishes

Answerer: TypeAlias = Callable[[Any], object]  # Any: the world, as below
Answering: TypeAlias = Answerer | tuple[Answerer, Answerer]


def explore(
    run: Callable[[Any], object],  # Any: the world is whatever the test has made of it
    *,
    world: Callable[[], object],
    state: Callable[[Any], object] | None = None,
    check: Callable[[Any, SagaStatus], object] | None = None,
    services: Iterable[str] = (),
    errors: Mapping[str, object] | None = None,
    answers: Mapping[str, Answering] | None = None,
    how: How | Iterable[How] = "orchestrator",
    faults: int = 1,
    limit: int = 5_000,
    seconds: float | None = None,
    without: Iterable[str] = (),
    ghosts: bool = False,
    modules: Iterable[str] | None = None,
    on_crash: Literal["resume", "compensate"] | None = None,
    replay: str | None = None,
    blind: bool | Iterable[str] = True,
) -> Explored:
    """Run a saga under every fault, in virtual time and in this thread; fail if one breaks it.

    At each call of an action and of a compensation, and at each call of a service within one: it
    refuses, its answer is lost, it arrives twice, the process dies before or after it, and so on.
    What is left by a death is gone on with as recovery does it; what is stuck since an undo was
    made to fail is mended and called once more, as a person would do it. In the end the world must
    stand as after a run in which nothing went wrong, or as before it.

    Args:
        run: Is given a world, and returns a saga or runs one itself, or several one after the
            other: a view, a task. It may be a coroutine function, which has a loop of its own.
        world: Makes a new world for each schedule: a class, a function, a function that gives a
            context manager, or a generator function that yields it once. Each of these may be one
            that is to be awaited, and so may `state` and `check`.
        state: Gives what is to be compared of a world: a dict of names and values says best what
            is wrong. After COMPLETED it must be as after a calm run, after COMPENSATED as before.
        check: Is given the world and what became of the saga, and raises an AssertionError if
            that is wrong. `state` or `check` must be given.
        services: What may fail at each call within an operation: attributes of the world, dotted
            names of modules, and of what lies in modules. HTTP clients that are known always may.
        errors: What a refusal raises, an exception type or a function that makes an exception, by
            the name of the service or of the operation.
        answers: Who answers a call that returns `later(...)`, by the name of its operation; as
            "undo charge" its compensation. A function that is given the world, does there what was
            begun (the customer pays), and gives the result; or gives, or raises, the exception
            that denies it. It is called at the moment of the answer, with the
            `current_operation()` of the call. Or two of them: the second one is called where the
            answer is a refusal, and gives the exception. A call without an entry is refused, unless
            it waits for a time alone.
        how: How a saga is run that `run` returns: "orchestrator", "choreography", or both. A
            choreography is made in line: which of several calls comes next is a fault like others.
        faults: How many go wrong after one another, 1 to 3. One refusal does not count.
        limit: How many schedules of more than one fault are run at most, in an order that is fixed;
            those of one fault are all run.
        seconds: Stop after so many seconds; for explorations by hand, since it makes what is found
            depend on the machine.
        without: Kinds of faults that are left out everywhere, or at one point: "late",
            "charge:refuses".
        ghosts: Whether what was given up may take effect in the very end, when its process has
            died: only services that refuse keys which were undone survive it.
        modules: Has the sagas recorded in a `MemoryJournal` with these `modules=`, or in the
            journal that they have; by default none is written to.
        on_crash: The direction of recovery; by default that of each saga.
        replay: Runs this one schedule, as a report names it.
        blind: Whether the test itself is tested: with each undo left out in turn, somebody must
            notice. Or names of operations whose undos need not be missed.

    Returns:
        How far it has come.

    Raises:
        AssertionError: Something is wrong after a schedule, which it tells; or the check is blind;
            or the same schedule does not go the same way twice.
        SagaDefinitionError: An argument makes no sense, or what is explored already fails if
            nothing goes wrong.
    """
    __tracebackhide__ = True  # of pytest
    asked.check_functions(run, world, state, check)
    asked.check_numbers(faults, limit, seconds)
    asked.check_flags(ghosts, on_crash, replay)
    exempt: tuple[str, ...] = ()
    if not isinstance(blind, bool):
        exempt = asked.names_of(blind, "blind", "True, False or names of operations")
    plan = None if replay is None else asked.plan_of(replay)
    refusals, left_out = asked.errors_of(errors), asked.without_of(without)
    listed = None
    if modules is not None:
        listed = asked.names_of(modules, "modules", "names of modules")
    answering = asked.answers_of(answers)
    parts = services_of(asked.names_of(services, "services", "names of services"))
    not_here = ["ghost"] * (not ghosts) + [*AWAITED] * (not answering)
    search = Search(faults, limit, seconds, [*left_out, *not_here])
    clock = Clock()
    with ExitStack() as stack:
        stack.callback(current.set, current.get())  # whatever an interrupt has left
        stack.callback(within.set, None)
        stack.enter_context(in_place(parts))
        begin = stack.enter_context(_quiet(clock))
        loop = clock.new_loop()
        stack.callback(close, loop)
        worlds, looks, checks = making(loop, world), looking(loop, state), looking(loop, check)
        for one in asked.hows_of(how):
            wishes = Wishes(
                run, worlds, looks, checks, one, parts, refusals, answering, left_out, listed,
                on_crash, ghosts=ghosts, clock=clock, loop=loop, begin=begin, look=state,
            )  # fmt: skip
            try:
                _search(search, wishes, plan, exempt, blind=blind is not False)
            except UnansweredError as error:
                raise SagaDefinitionError(str(error)) from None
    explored = search.explored()
    if search.findings:
        raise BrokenSagaError([*search.findings.values()], explored)
    return explored


def _search(
    search: Search,
    wishes: Wishes,
    plan: Mapping[str, str] | None,
    exempt: Sequence[str],
    *,
    blind: bool,
) -> None:
    """Run a schedule, or all of them, and see whether the check can fail."""
    states, trial = calm(wishes)
    check_names(wishes, trial, exempt)
    if plan is not None:
        search.replay(wishes, states, plan)
        return
    search.explore(wishes, states)
    if blind and not search.findings:
        search.find_blind_spots(wishes, states, trial, exempt)


@contextmanager
def _quiet(clock: Clock) -> Iterator[Callable[[], object]]:
    """Let time be virtual, ids and what is random the same in each run, and nothing be logged.

    Thousands of sagas fail here, as they should. Gives what each run begins with.
    """
    drawn = chance.digits

    def digits(count: int) -> str:
        trial: Any = stand_in.get()
        return trial.digits(count) if type(trial) is Try else drawn(count)

    places = [(chance, "digits", digits), (logger(), "disabled", True)]
    with clock.in_place(), replaced(places), seeded() as seed:

        def begin() -> None:
            clock.passed = 0.0
            seed()

        yield begin
