"""What all runs of one exploration have in common: what was asked for, its clock, and its sites."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from py_api_saga.calls import IS_ASYNC
from py_api_saga.entries import ACTION, ASK, COMPENSATION, Entry, Kind, index_of
from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.executors.run import Run
from py_api_saga.operation import PLAIN, Policy, call_of
from py_api_saga.retry import Retry
from py_api_saga.testing.faults import FAULTS, FIRST, Need, Place
from py_api_saga.testing.virtual import Clock

if TYPE_CHECKING:
    import asyncio

    from py_api_saga.testing.answers import Answers

_PLACES: Mapping[Kind, Place] = {ACTION: "action", COMPENSATION: "undo", ASK: "question"}
_WORDS: Mapping[Kind, str] = {ACTION: "", COMPENSATION: "undo ", ASK: "question of "}
# What may be worth another attempt to whoever decides by a function.
_LIKELY: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, OSError, ValueError)


_NO_NEEDS: tuple[Need, ...] = ("",)


class Refused(Exception):
    """What a refusal raises, unless `errors=` says what it is."""


class Site:
    """Where something can go wrong, however often a run comes there.

    Attributes:
        name: As a schedule has it: "charge", "undo charge", "charge/bank.charge".
        operation: The operation, or "".
        place: What kind of place it is.
        kinds: What can go wrong there.
    """

    __slots__ = ("kinds", "name", "operation", "place")

    def __init__(self, name: str, operation: str, place: Place, kinds: tuple[str, ...]) -> None:
        """Name it."""
        self.name, self.operation, self.place, self.kinds = name, operation, place, kinds


class Wishes:
    """What was asked for, and what is made once for all runs.

    Attributes:
        run, world, state, check: Functions of the test's.
        how: How a saga is run that the test returns.
        services: What may fail: `boundaries.Services`.
        errors: What a refusal raises, by service or operation.
        answers: Who answers a call whose answer comes later, by operation, or "undo " and that.
        without, ghosts: What is not to go wrong, or is.
        modules, on_crash: Of a journal, if there is one; the direction of recovery, if told.
        sabotaged: Names of sites whose undo is left out.
        clock, loop: Time, and the event loop of coroutine functions.
        begin: Is called as each run begins.
        look: `state` as it was given, which may have to be awaited.
        is_calm: What is run is the calm run, whose states are to be seen.
    """

    def __init__(
        self,
        run: Callable[[Any], object],
        world: Callable[[], Any],
        state: Callable[[Any], Any] | None,
        check: Callable[[Any, Any], object] | None,
        how: str,
        services: Any,
        errors: Mapping[str, Any],
        answers: Mapping[str, Answers],
        without: Collection[str],
        modules: Iterable[str] | None,
        on_crash: Any,
        *,
        ghosts: bool,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        begin: Callable[[], object],
        look: Callable[[Any], Any] | None,
    ) -> None:
        """Take what was asked for, once that was checked."""
        self.run, self.world, self.state, self.check, self.how = run, world, state, check, how
        self.services, self.errors, self.without = services, errors, frozenset(without)
        self.answers = answers
        self.modules = None if modules is None else tuple(modules)
        self.on_crash, self.ghosts, self.clock, self.loop = on_crash, ghosts, clock, loop
        self.begin, self.look = begin, look
        self.sabotaged: frozenset[str] = frozenset()
        self.is_calm = False
        self._sites: dict[Any, Site] = {}

    # --- sites ------------------------------------------------------------------------------------

    def site(self, run: Run, intent: Entry) -> Site:
        """Give the site of a call."""
        _, i, kind, _, _, _ = intent
        name, policy = run.definition.names.all()[i], run.operations[i].policy
        key: Any = (name, kind)
        if policy is not PLAIN or run.deadline is not None:
            key = (name, kind, *self._needs(policy, run))
        site = self._sites.get(key)
        if site is None:
            place = _PLACES[kind]
            needs = self._needs(policy, run)
            is_async = call_of(run.operations[i], kind)[IS_ASYNC]
            shown = f"{_WORDS[kind]}{name}"
            kinds = self.kinds(shown, place, needs)
            if is_async:  # it is cut off when its time is up, and never lands
                kinds = tuple([one for one in kinds if one != "late-effect"])
            site = self._sites[key] = Site(shown, name, place, kinds)
        return site

    def _needs(self, policy: Policy, run: Run) -> tuple[Need, ...]:
        """Say what an operation and its run have that a fault may need."""
        needs: list[Need] = [""]
        if policy.retry is not None:
            needs.append("retry")
        if policy.timeout is not None:
            needs.append("timeout")
            if self.ghosts:
                needs.append("ghosts")
        if policy.doubtful.includes(ConnectionResetError("injected")):
            needs.append("doubt")
        if run.deadline is not None:
            needs.append("deadline")
        return tuple(needs)

    def kinds(
        self, name: str, place: Place, needs: Collection[Need] = _NO_NEEDS
    ) -> tuple[str, ...]:
        """List what can go wrong at a place, of an operation that has what is needed."""
        return tuple(
            kind
            for kind, fault in FAULTS.items()
            if (at := fault.at.get(place)) is not None
            and at.need in needs
            and kind not in self.without
            and f"{name}:{kind}" not in self.without
        )

    def order(self, labels: list[str]) -> Site:
        """Give the site at which it is decided who is first."""
        key = ("order", *labels)
        site = self._sites.get(key)
        if site is None:
            kinds: tuple[str, ...] = ()
            if self.kinds("order", "order"):
                kinds = tuple(FIRST + label for label in dict.fromkeys(labels[1:]))
            site = self._sites[key] = Site("order", "", "order", kinds)
        return site

    def time_of(self, names: Sequence[str]) -> Site:
        """Give the site at which time passes until something is due; nothing goes wrong there."""
        return Site(f"time of {' and '.join(names)}", "", "order", ())

    def end(self, saga: str | None) -> Site:
        """Give the site just behind a saga."""
        name = f"end of {saga or 'the saga'}"
        site = self._sites.get(name)
        if site is None:
            site = self._sites[name] = Site(name, "", "end", self.kinds(name, "end"))
        return site

    def service(self, inside: Site, name: str, possible: tuple[str, ...]) -> Site:
        """Give the site of a call of a service within an operation, where these are possible."""
        key = (inside.name, name, possible)
        site = self._sites.get(key)
        if site is None:
            shown = f"{inside.name}/{name}"
            place: Place = "service" if inside.place == "action" else "service of undo"
            kinds = tuple([kind for kind in self.kinds(shown, place) if kind in possible])
            site = self._sites[key] = Site(shown, inside.operation, place, kinds)
        return site

    def answer(self, run: Run, intent: Entry, *, has_due: bool, is_timer: bool) -> Site | None:
        """Give the site of the answer to a call that comes later, or None if nobody gives it."""
        inside = self.site(run, intent)
        answers = self.answers.get(inside.name)
        if answers is None:
            return None
        needs: list[Need] = [""]
        ends = run.deadline is not None and not run.execution.passed
        is_pivot = run.operations[index_of(intent)].policy.pivot  # which no deadline gives up
        if has_due or (ends and inside.place == "action" and not is_pivot):
            needs.append("due")
        if answers.refuse is not None:
            needs.append("no")
        key = ("answer", inside.name, is_timer, *needs)
        site = self._sites.get(key)
        if site is None:
            place: Place = "answer" if inside.place == "action" else "answer of undo"
            place = "timer" if is_timer else place
            shown = f"answer of {inside.name}"
            kinds = self.kinds(shown, place, needs)
            site = self._sites[key] = Site(shown, inside.operation, place, kinds)
        return site

    # --- believable errors ------------------------------------------------------------------------

    def refusal(self, name: str, other: Exception | None = None) -> Exception:
        """Give what a service or an operation raises that refuses."""
        kind = self.errors.get(name)
        if kind is None:
            return other or Refused("injected")
        return made_error(kind, name)

    def transient(self, policy: Policy, site: Site, text: str) -> Exception:
        """Give an error that the user's policy calls again on, if it names one."""
        text = f"{text} (injected)"
        rule = policy.retry if site.place == "action" else policy.compensation_retry
        if rule is None:
            return Refused(text)
        on = rule.on
        kinds = on if isinstance(on, tuple) else (on,) if isinstance(on, type) else _LIKELY
        for kind in kinds:
            try:
                error: Exception = kind(text)
            except Exception:  # noqa: BLE001, S112 - one of the user's, made of something else
                continue
            if _is_worth_it(rule, error):
                return error
        return Refused(text)


def _is_worth_it(rule: Retry, error: Exception) -> bool:
    """Tell whether a first attempt that has failed so is made again."""
    try:
        return rule.after(error, 0, 0.0, 0.0) is not None
    except Exception:  # noqa: BLE001 - of the user's
        return False


def made_error(kind: Any, name: str) -> Exception:
    """Make what a refusal raises.

    Raises:
        SagaDefinitionError: What was given can't be made, or is not an exception.
    """
    try:
        error: object = kind("injected") if isinstance(kind, type) else kind()
    except TypeError:
        try:
            error = kind()
        except Exception as raised:
            message = (
                f"explore: errors: {name!r}: expected an exception type that can be made of one "
                f"text, or a function that makes one, got {type(raised).__name__}: {raised}"
            )
            raise SagaDefinitionError(message) from raised
    if isinstance(error, Exception):
        return error
    message = f"explore: errors: {name!r}: expected an exception, got {type(error).__name__}"
    raise SagaDefinitionError(message)


def deepcopied(state: Any) -> Any:
    """Give a state that does not change with the world; as it is if it can't be copied."""
    try:
        return deepcopy(state)
    except Exception:  # noqa: BLE001 - of the test's
        return state
