"""Which schedules are run, in which order, and what is kept of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.testing.faults import Place, cost, kind_of
from py_api_saga.testing.going import States, Went, go
from py_api_saga.testing.telling import Explored, Finding, found, kinds_reached, told
from py_api_saga.testing.trying import Try
from py_api_saga.testing.virtual import stopwatch
from py_api_saga.testing.wishes import Wishes

# What has an undo called, seldom or always.
_NOTICED: Mapping[Place, tuple[str, ...]] = {
    "action": ("refuses", "lost", "doubt", "cancelled"),
    "answer": ("late-effect", "lost"),
}


class _Next(NamedTuple):
    """A schedule to run.

    Attributes:
        plan: What goes wrong, by point.
        cost: So many faults that is.
        since: From which point on more may go wrong.
        refused: One has refused, which costs nothing once.
    """

    plan: Mapping[str, str]
    cost: int = 0
    since: int = 0
    refused: bool = False


class Search:
    """Runs schedules, the smaller ones first, and keeps one finding for each cause.

    Breadth first by the number of faults, so that the first schedule that is found for a cause is
    a smallest one.

    Attributes:
        findings: By operation and message.
    """

    def __init__(
        self, faults: int, limit: int, seconds: float | None, left_out: Collection[str] = ()
    ) -> None:
        """Run schedules of so many faults, so many of more than one, for so long.

        What is left out, nobody wants to hear of.
        """
        self._left_out = left_out
        self._faults, self._limit, self._seconds = faults, limit, seconds
        self._began = stopwatch()
        self._ran = self._left = self._beyond = 0
        self._reached: Counter[str] = Counter()
        self._persons: Counter[str] = Counter()
        self.findings: dict[tuple[str, str], Finding] = {}

    def explored(self) -> Explored:
        """Say how far this has come."""
        return Explored(
            self._ran,
            stopwatch() - self._began,
            kinds_reached(self._reached, self._left_out),
            self._left,
            dict(self._persons),
        )

    def replay(self, wishes: Wishes, states: States | None, plan: Mapping[str, str]) -> None:
        """Run one schedule.

        Raises:
            SagaDefinitionError: It names a point to which the run does not come, or what can't go
                wrong there.
        """
        went = self._went(wishes, plan, states)
        for label, kind in plan.items():
            if label in went.trial.hits:
                continue
            points = dict(went.trial.trace)
            if label in points:
                known = ", ".join(points[label].kinds) or "nothing"
                message = f"{label!r}: expected what can go wrong there ({known}), got {kind!r}"
            else:
                message = f"expected a point of this run ({', '.join(points)}), got {label!r}"
            raise SagaDefinitionError(f"explore: replay: {message}")
        self._keep(wishes, states, went)

    def explore(self, wishes: Wishes, states: States | None) -> None:
        """Run every schedule, as far as the budget goes."""
        todo = deque([_Next({})])
        while todo:
            one = todo.popleft()
            if (one.cost > 1 and self._beyond >= self._limit) or self._is_over():
                self._left += len(todo) + 1
                return
            self._beyond += one.cost > 1
            went = self._went(wishes, one.plan, states)
            self._check_hits(went, one.plan)
            if went.message is not None:
                self._keep(wishes, states, went)
            else:
                self._list(todo, one, went.trial)

    def _is_over(self) -> bool:
        return self._seconds is not None and stopwatch() - self._began > self._seconds

    def _list(self, todo: deque[_Next], one: _Next, trial: Try) -> None:
        """List the schedules that follow from one: each with one thing more that goes wrong."""
        free: list[_Next] = []
        room = self._limit - self._beyond
        for i in range(one.since, len(trial.trace)):
            label, site = trial.trace[i]
            for kind in site.kinds:
                price = cost(kind, site.place)
                if not price and one.refused:
                    continue
                total = one.cost + price
                if total > self._faults:
                    continue
                if total > 1 and len(todo) > room + self._limit:  # they will never be run
                    self._left += 1
                    continue
                plan = {**one.plan, label: kind}
                (todo if price else free).append(
                    _Next(plan, total, i + 1, one.refused or not price)
                )
        todo.extendleft(reversed(free))  # they cost what their parent did, and so come next

    def _went(self, wishes: Wishes, plan: Mapping[str, str], states: States | None) -> Went:
        went = go(wishes, plan, states)
        self._ran += 1
        trial = went.trial
        for label in trial.hits:
            self._reached[kind_of(plan[label])] += 1
        for name in {*trial.mended}:
            self._persons[name] += 1
        return went

    @staticmethod
    def _check_hits(went: Went, plan: Mapping[str, str]) -> None:
        """See that a run has come to all points of its schedule, as another one had."""
        missed = [label for label in plan if label not in went.trial.hits]
        if missed:
            raise _undetermined(
                f"one run came to {missed[0]!r}, another one, the same so far, did not"
            )

    def _keep(self, wishes: Wishes, states: States | None, went: Went) -> None:
        """Keep what was found, once it was found a second time."""
        if went.message is None:
            return
        again = go(wishes, went.trial.plan, states)
        first, second = told(went.trial.story), told(again.trial.story)
        if first != second or again.message != went.message:
            pairs = zip([*first, str(went.message)], [*second, str(again.message)], strict=False)
            one, other = next((a, b) for a, b in pairs if a != b)
            raise _undetermined(
                f"the same schedule says {one.strip()!r}, and run again {other.strip()!r}"
            )
        finding = found(went)
        self.findings.setdefault((finding.operation, finding.message), finding)

    def find_blind_spots(
        self, wishes: Wishes, states: States | None, calm: Try, exempt: Collection[str]
    ) -> None:
        """Leave out each undo in turn, and find those that nobody misses."""
        blind: list[str] = []
        story: list[str] = []
        try:
            for name in undone(calm):
                if name not in exempt and (told_of := self._unmissed(wishes, states, calm, name)):
                    blind.append(name)
                    story = story or told_of
        finally:
            wishes.sabotaged = frozenset()
        if blind:
            names = ", ".join(blind)
            message = f"the check is blind: nobody notices if the undo of {names} is left out"
            hint = (
                "let state= or check= look at what these leave behind; of one that leaves nothing "
                f"say so: blind=({', '.join(map(repr, blind))},)"
            )
            when = [f"undo {name} does nothing" for name in blind[:1]]
            self.findings["", message] = Finding(message, "", when, story, hint, "")

    def _unmissed(self, wishes: Wishes, states: States | None, calm: Try, name: str) -> list[str]:
        """Tell a run in which an undo was left out, if nobody has noticed that in any; else []."""
        wishes.sabotaged = frozenset({f"undo {name}"})
        story: list[str] = []
        for label, site in reversed(calm.trace):
            for kind in _NOTICED.get(site.place, ()):
                if kind not in site.kinds:
                    continue
                went = self._went(wishes, {label: kind}, states)
                if went.message is not None:
                    return []
                if any(of.name == f"undo {name}" for _, of in went.trial.trace):
                    story = told(went.trial.story)
        return story


def undone(calm: Try) -> list[str]:
    """List the operations that have an undo."""
    names: list[str] = []
    for driven in calm.sagas:
        operations = driven.run.definition.operations
        all_names = driven.run.definition.names.all()
        names += [n for n, one in zip(all_names, operations, strict=False) if one.compensation]
    return [*dict.fromkeys(names)]


def _undetermined(problem: str) -> AssertionError:
    return AssertionError(
        f"not deterministic: {problem}. The runs of an exploration must differ by their faults "
        "alone: let the world, and what the saga calls, depend on nothing that differs from run to "
        "run, such as uuid4, the order of a set, threads, or what an earlier run left in a module"
    )
