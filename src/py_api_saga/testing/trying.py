"""One run of a saga under one schedule: what goes wrong in it is decided at named points.

A schedule names points and what goes wrong there: "charge:lost". All is done in one thread, one
call after the other, so the same schedule gives the same run; which call is next is decided at a
point as well. What drives the runs of sagas here is a `Try`, by way of
`executors.driving.standing_in`; its calls are made by `executors.attempt`, as any.

A process that dies is a `Crash`: it runs through the user's code, whatever that has in `finally`,
and until it has come out the world is closed: whatever is called raises it again. What survives it
is what had been written down: see `keeping`.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar

from py_api_saga.calls import IS_ASYNC
from py_api_saga.current import current
from py_api_saga.definition import Results
from py_api_saga.durable import beginning
from py_api_saga.durable.run import DurableRun
from py_api_saga.entries import (
    COMPENSATION,
    LATER,
    SUCCEEDED,
    Entry,
    Setback,
    in_doubt,
    index_of,
    kind_of,
    value_of,
    what_of,
)
from py_api_saga.executors import driving, event_loop
from py_api_saga.executors.attempt import attempt, meant
from py_api_saga.executors.run import Run
from py_api_saga.executors.turns import WAIT, WRITE, turns
from py_api_saga.operation import Operation, call_of
from py_api_saga.testing import replies
from py_api_saga.testing.aiming import Aims
from py_api_saga.testing.awaiting import at_once, outside
from py_api_saga.testing.driven import Driven, Late
from py_api_saga.testing.faults import FIRST
from py_api_saga.testing.places import within
from py_api_saga.testing.wishes import Site, Wishes, deepcopied

if TYPE_CHECKING:
    from py_api_saga.testing.answers import Reply

    class Keeper(Protocol):
        """What keeps the sagas of one schedule through the deaths of their processes."""

        def recorded(self, run: Run, limit: int | None) -> DurableRun | None:
            """Give the run that is to be begun in the place of this one; or None."""

        def begun(self, run: Run, limit: int | None) -> Driven:
            """Take a run in that is to be driven."""

        def recover(self, driven: Driven) -> None:
            """Go on with a saga in another process."""

        def again(self, driven: Driven, stuck: Sequence[int]) -> bool:
            """Have a person say that these operations are called once more; tell if any is."""

        def answer(self, driven: Driven, letter: Entry, *, go_on: bool) -> None:
            """Answer a call, and go on with its saga unless somebody drives it.

            Raises:
                SagaConflict: It was answered otherwise before.
            """


T = TypeVar("T")
MOST_POINTS = 1000  # in one run
UNSEEN: Final = object()  # how a world stands whose saga has ended at some other time
_LATE = frozenset({"late", "late-effect", "ghost"})


class Crash(BaseException):
    """The process dies here; what catches this is a lie, so the world is closed to it."""


class EndlessError(BaseException):
    """The run does not end."""


class UnansweredError(BaseException):
    """A call waits for an answer, and the test does not say what that is."""


class Here:
    """What is asked at the places within a call: see `places.Asked`."""

    __slots__ = ("_inside", "trial")

    def __init__(self, trial: Try, inside: Site) -> None:
        """Ask a run, for a call of this site."""
        self.trial, self._inside = trial, inside

    def at(self, name: str, kinds: tuple[str, ...]) -> str | None:
        """Pass a place; give what goes wrong there, or None."""
        trial = self.trial
        trial.check_alive()
        return trial.at(trial.wishes.service(self._inside, name, kinds))

    def refusal(self, name: str, error: Exception) -> Exception:
        """Give what is raised where something refuses."""
        return self.trial.wishes.refusal(name, error)

    def check_alive(self) -> None:
        """Let nothing be done by a process that has died."""
        self.trial.check_alive()

    def die(self) -> NoReturn:
        """Let the process die."""
        self.trial.die()


class Try:
    """One run under one schedule; whoever drives the runs of sagas in it.

    Attributes:
        wishes: What all runs of an exploration have in common.
        plan: The schedule: what goes wrong, by the name of the point.
        trace: The points that the run has come to, each with its site, in order.
        hits: Those at which something went wrong, each with its site.
        story: What has happened, to be told by `telling`.
        sagas: That were driven.
        aims: What goes wrong with calls.
        raised: What came out of the test's own function, or None.
        world: The test's.
        others: Tasks of the world's, which do not die with a process of the saga's.
        keeper: What keeps its sagas.
        mended: Operations that needed a person for a reason that excuses it; in order.
        returned: The test's function has returned a saga, rather than run it.
        on_crash: The direction of recovery, if it is not that of each saga's own.
        recovering: What a process has left, and another one goes on with.
    """

    def __init__(self, wishes: Wishes, plan: Mapping[str, str]) -> None:
        """Begin with nothing."""
        self.wishes, self.plan = wishes, plan
        self.trace: list[tuple[str, Site]] = []
        self.hits: dict[str, Site] = {}
        self.story: list[tuple[str, Any]] = []
        self.sagas: list[Driven] = []
        self.raised: BaseException | None = None
        self.mended: list[str] = []
        self.returned = False
        self.recovering: Driven | None = None
        self.on_crash = wishes.on_crash
        self.dead: BaseException | None = None
        self.has_crashed = False  # since the test's function was called last
        self.has_waited = False  # in the same way: a saga was left that waits for answers
        self.aims = Aims(wishes)
        self.snapshots: list[Any] = []  # of the state, as each saga has ended
        self.drawn = 0
        self._counts: dict[str, int] = {}
        self._ghosts: list[tuple[Run, Entry, str]] = []
        self.world: Any = None
        self.others: AbstractSet[asyncio.Task[Any]] = frozenset()
        self.keeper: Keeper

    # --- points -----------------------------------------------------------------------------------

    def at(self, site: Site) -> str | None:
        """Come to a point, and say what goes wrong there."""
        name, trace = site.name, self.trace
        number = self._counts[name] = self._counts.get(name, 0) + 1
        label = name if number == 1 else f"{name}#{number}"
        trace.append((label, site))
        if len(trace) >= MOST_POINTS:
            self.dead = EndlessError(label)
            raise self.dead
        if not self.plan or (fault := self.plan.get(label)) is None or fault not in site.kinds:
            return None
        self.hits[label] = site
        self.story.append(("!", (fault, site.place, label)))
        return fault

    def die(self) -> NoReturn:
        """Let the process die."""
        self.dead = Crash()
        raise self.dead

    def check_alive(self) -> None:
        """Let nothing be done by a process that has died, whatever has caught its end."""
        if self.dead is not None:
            raise self.dead

    def leave_unanswered(self, name: str) -> NoReturn:
        """Refuse to go on where nobody answers."""
        self.dead = UnansweredError(
            f"explore: answers: {name!r} has returned later(...), and nobody answers it: expected "
            f"answers={{{name!r}: function}}, which is given the world, does there what was begun, "
            "and gives its result, or an exception that denies it"
        )
        raise self.dead

    def check_ours(self, interrupt: BaseException) -> None:
        """Raise an interrupt that no schedule wanted: somebody wants the exploration to end."""
        self.check_alive()
        if interrupt not in self.aims.interrupts:
            raise interrupt

    def digits(self, count: int) -> str:
        """Draw what is random in ids: the same in each run."""
        self.drawn += 1
        return f"{self.drawn:0{2 * count}x}"

    # --- driving ----------------------------------------------------------------------------------

    def drive(self, run: Run, limit: int | None) -> Results:
        """Run a saga to its end."""
        self.check_alive()
        recorded = self.keeper.recorded(run, limit)
        if recorded is not None:
            results: Results = beginning.execute(recorded, limit)
            return results
        driven, outer = self.keeper.begun(run, limit), current.get()
        try:
            at_once(self.go_on(driven))
        finally:
            current.set(outer)
        if (look := self._looked_at(driven, self.wishes.state)) is not None:
            is_over = not driven.run.execution.suspended
            self.snapshots.append(deepcopied(look(self.world)) if is_over else UNSEEN)
        return self._ended(driven)

    async def adrive(self, run: Run, limit: int | None) -> Results:
        """Do so under asyncio."""
        self.check_alive()
        run.is_elsewhere = False
        recorded = self.keeper.recorded(run, limit)
        if recorded is not None:
            results: Results = await beginning.aexecute(recorded, limit, event_loop.execute)
            return results
        driven = self.keeper.begun(run, limit)
        await self.go_on(driven)
        if (look := self._looked_at(driven, self.wishes.look)) is not None:
            if driven.run.execution.suspended:
                self.snapshots.append(UNSEEN)
            else:
                seen = outside(look, self.world)
                self.snapshots.append(deepcopied(await seen if asyncio.iscoroutine(seen) else seen))
        return self._ended(driven)

    def _looked_at(self, driven: Driven, look: T) -> T | None:
        """Give what looks at the state at the end of a saga, if others are held against that."""
        is_one = self.wishes.is_calm and not driven.is_known and not driven.is_inner
        return look if is_one else None

    def _ended(self, driven: Driven) -> Results:
        """Give what the caller of a saga is given; what comes then may not come to pass."""
        run = driven.run
        if driven.is_known:
            return run.finish()
        if driven is self.recovering or (self.returned and driven is self.sagas[0]):
            return run.execution.returned()
        if run.execution.suspended:
            self.has_waited = True
            return run.finish()
        if self.at(self.wishes.end(run.name)) is not None:
            self.die()
        execution = run.execution
        kept = execution.entries, execution.trouble  # which a run gives up when it has ended
        try:
            return run.finish()
        finally:
            execution.entries, execution.trouble = kept

    def complete(self, driven: Driven) -> None:
        """Go on with a saga, in the loop of the exploration if it has coroutine functions."""
        outer = current.get()
        try:
            with driving.seen(driven.run):
                if _has_coroutines(driven.run.operations):
                    self.wishes.loop.run_until_complete(self.go_on(driven))
                else:
                    at_once(self.go_on(driven))
        finally:
            current.set(outer)

    async def go_on(self, driven: Driven) -> None:
        """Make all calls of a saga, one after the other, in whatever order the schedule says."""
        run = driven.run
        flying: list[Entry] = []
        late: list[Late] = []
        while True:
            for turn in turns(run, driven.limit):
                if turn == WRITE:
                    run.write()
                    continue
                if turn != WAIT:
                    flying += turn
                driven.durable = len(run.execution.entries)
                if flying or late:
                    ready = replies.ready(driven) if driven.replies else []
                    pick = self._next(run, flying, late, ready)
                    if pick < len(flying):
                        await self._make(driven, flying.pop(pick), late)
                    elif pick < len(flying) + len(late):
                        await self._land(driven, late.pop(pick - len(flying)))
                    else:
                        reply = ready[pick - len(flying) - len(late)]
                        await replies.at(self, driven, "in time", reply)
                else:
                    self.wishes.clock.sleep((run.patience() or 0.0) + 1e-6)
            driven.durable = len(run.execution.entries)
            if not late:
                return
            await self._land(driven, late.pop(0))

    def _next(
        self, run: Run, flying: Sequence[Entry], late: Sequence[Late], ready: Sequence[Reply]
    ) -> int:
        """Say which call is made next, or which answer comes; by default the first call."""
        if len(flying) + len(late) + len(ready) == 1:
            return 0
        labels = [self.wishes.site(run, intent).name for intent in flying]
        labels += [f"answer of {one.label}" for one in late]
        labels += [reply.label for reply in ready]
        fault = self.at(self.wishes.order(labels))
        return 0 if fault is None else labels.index(fault.removeprefix(FIRST))

    async def _make(self, driven: Driven, intent: Entry, late: list[Late]) -> None:
        """Make a call, unless something goes wrong with it, and tell the run what came of it."""
        wishes, run = self.wishes, driven.run
        if driven.replies:
            await replies.before_a_call(self, driven)
        site = wishes.site(run, intent)
        fault = self.at(site)
        if fault is not None:
            if fault == "crash-before":
                self.die()
            if fault in _LATE:
                await self._give_up(driven, intent, site, fault, late)
                return
            if fault == "deadline" and run.deadline is not None:
                wishes.clock.sleep(max(0.0, run.deadline - wishes.clock.monotonic()))
        began, label = wishes.clock.passed, self.trace[-1][0]
        entry = await self._attempt(driven, intent, site, fault)
        self.check_alive()
        begun = entry
        if fault == "crash-after":
            self.story.append((site.name, entry))
            await self._note_waiting(driven, intent, begun)
            self.die()
        timeout = run.operations[index_of(intent)].policy.timeout
        if (
            timeout is not None
            and wishes.clock.passed - began > timeout * (1 + (fault == "twice"))
            and not _in_loop(run, intent)
        ):
            late.append(Late(label, intent, entry))
            entry = in_doubt(intent, self._overdue(site, timeout), alive=True)
        self.story.append((site.name, entry))
        run.tell(entry)
        if driven.replies or run.execution.awaited or self.aims.begun is not None:
            await self._note_waiting(driven, intent, begun)

    async def _give_up(
        self, driven: Driven, intent: Entry, site: Site, fault: str, late: list[Late]
    ) -> None:
        """Let the time of a call be up, which takes effect before or after that."""
        label, landed, run = self.trace[-1][0], None, driven.run
        if fault == "late":
            landed = await self._attempt(driven, intent, site, None)
            self.check_alive()
        timeout = run.operations[index_of(intent)].policy.timeout or 0.0
        self.wishes.clock.sleep(timeout)
        error = self._overdue(site, timeout)
        if _in_loop(run, intent):  # it is cut off, and never lands
            if fault == "ghost":
                self._ghosts.append((run, intent, label))
            entry = meant(run, intent, error, is_doubtful=True)
        elif fault == "ghost":
            self._ghosts.append((run, intent, label))
            entry = in_doubt(intent, error)
        else:
            late.append(Late(label, intent, landed))
            entry = in_doubt(intent, error, alive=True)
        self.story.append((site.name, entry))
        run.tell(entry)

    @staticmethod
    def _overdue(site: Site, timeout: float) -> TimeoutError:
        return TimeoutError(f"{site.name} took over {timeout:g} s")

    async def _land(self, driven: Driven, late: Late) -> None:
        """Tell the run what became of a call that was given up."""
        landed, run = late.landed, driven.run
        if landed is None:
            landed = await self._effect(run, late.intent)
        self.story.append((f"{late.label} lands late", landed))
        await self._note_waiting(driven, late.intent, landed)
        if isinstance(run, DurableRun) and run.is_calm:  # as what lands after the end
            run.claim_again(landed)
        run.receive(landed)

    async def _effect(self, run: Run, intent: Entry) -> Entry:
        """Make a call in which nothing goes wrong any more."""
        token = within.set(None)
        try:
            entry = await _attempted(run, intent, self._until(run, intent))
        finally:
            within.reset(token)
        self.check_alive()
        return entry

    def haunt(self) -> None:
        """Let what died with its process take effect in the end, unseen."""
        while self._ghosts:
            run, intent, label = self._ghosts.pop(0)
            self.story.append((f"{label} takes effect, unseen", None))
            effect = self._effect(run, intent)
            if _in_loop(run, intent):
                self.wishes.loop.run_until_complete(effect)
            else:
                at_once(effect)

    # --- one call ---------------------------------------------------------------------------------

    def _until(self, run: Run, intent: Entry) -> float | None:
        timeout = run.operations[index_of(intent)].policy.timeout
        return None if timeout is None else self.wishes.clock.monotonic() + timeout

    async def _attempt(self, driven: Driven, intent: Entry, site: Site, fault: str | None) -> Entry:
        """Make a call, or what stands for it if something goes wrong."""
        run = driven.run
        whole = run.operations
        token = within.set(Here(self, site))
        try:
            if self.aims.are_due(site, fault):
                run.operations = self.aims.operations(run, intent, site, fault)
            entry = await _attempted(run, intent, self._until(run, intent))
            if fault == "twice" and what_of(entry) in (SUCCEEDED, LATER):
                within.set(None)  # in one piece: nothing else goes wrong within
                run.has_noted(intent)  # it counts its requests from the first one again
                entry = await _attempted(run, intent, self._until(run, intent))
        finally:
            within.reset(token)
            run.operations = whole
        if (error := _interrupt(entry)) is not None:
            self.check_ours(error)
        return entry

    async def _note_waiting(self, driven: Driven, intent: Entry, entry: Entry) -> None:
        """Decide what becomes of an answer once a call was made, and let come what waits for it."""
        lost, self.aims.begun = self.aims.begun, None
        if lost is not None:  # nobody but the world knows that it has begun something
            has_due, is_timer = lost.timeout is not None, lost.until is not None
            await replies.begun(self, driven, intent, has_due=has_due, is_timer=is_timer)
        elif what_of(entry) == LATER:
            value = value_of(entry)
            has_due, is_timer = value.due is not None, value.is_timer
            await replies.begun(self, driven, intent, has_due=has_due, is_timer=is_timer)
        if kind_of(intent) == COMPENSATION:
            await replies.after_an_undo(self, driven, index_of(intent))


async def _attempted(run: Run, intent: Entry, until: float | None) -> Entry:
    """Have a call made, as by any executor."""
    if _in_loop(run, intent):
        task = asyncio.current_task()
        return await event_loop.aattempt(run, intent, task)
    return attempt(run, intent, until)


def _interrupt(entry: Entry) -> BaseException | None:
    """Give the interrupt that a call has ended with, if it is one that is to end all."""
    value = value_of(entry)
    error = value.error if type(value) is Setback else value
    if not isinstance(error, BaseException) or isinstance(error, (Exception, CancelledError)):
        return None
    return error if what_of(entry) != SUCCEEDED else None


def _in_loop(run: Run, intent: Entry) -> bool:
    return call_of(run.operations[index_of(intent)], kind_of(intent))[IS_ASYNC]


def _has_coroutines(operations: Sequence[Operation]) -> bool:
    calls = [c for one in operations for c in (one.action, one.compensation, one.policy.ask)]
    return any(call is not None and call[IS_ASYNC] for call in calls)
