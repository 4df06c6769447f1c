"""A dialogue with the machine: sagas in a line, and stories told in words.

`Dialogue` speaks with the machine and checks after every entry that the moves it made are in the
table and that folding the entries again gives the same state.
"""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pytest

from py_api_saga import NOT_HAPPENED as NO
from py_api_saga import SagaAssembler, SagaStatus, Status, result_of
from py_api_saga.entries import (
    ABORT,
    ACTION,
    AGAIN,
    ANSWERED,
    ASK,
    COMPENSATION,
    DENIED,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    LATER,
    NOT_HAPPENED,
    RECOVERED,
    RESOLVED,
    RETRY,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    UNSTORED,
    Awaited,
    Setback,
    Word,
    index_of,
    what_of,
)
from py_api_saga.execution import Execution, IllegalMoveError
from py_api_saga.follows import ANOTHER, FOLLOWS, SAGA_FOLLOWS
from py_api_saga.status import LEGAL, MISSING, SAGA_LEGAL
from py_api_saga.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from py_api_saga.definition import Definition
    from py_api_saga.entries import Attempt, Entry, Kind
    from py_api_saga.follows import Event

NAMES = "abcdefgh"


# --- sagas ----------------------------------------------------------------------------------------


class Op(NamedTuple):
    """An operation, as far as the machine cares."""

    after: tuple[int, ...] = ()
    undo: bool = True
    needs_result: bool = False  # the compensation gets what the action returned
    on_doubt: Literal["proceed", "park", "ask"] = "proceed"
    pivot: bool = False


def _do() -> None:
    """Stand for an action; the machine calls nothing."""


def _undo(*_: object) -> None:
    """Stand for a compensation."""


def _ask() -> Any:
    """Stand for a question."""
    return NO


def define(
    *plan: Op, chain: bool = False, on_crash: Literal["resume", "compensate"] = "resume"
) -> Definition:
    """Write a saga of operations called a, b, c, …; a graph, unless it is to be a chain."""
    saga = SagaAssembler.saga()
    for name, op in zip(NAMES, plan, strict=False):
        saga.operation(
            _do,
            ((_undo, result_of()) if op.needs_result else _undo) if op.undo else None,
            name=name,
            after=[NAMES[j] for j in op.after],
            pivot=op.pivot,
            on_doubt=_ask if op.on_doubt == "ask" else op.on_doubt,
        )
    definition = saga._chain() if chain else saga._graph()  # noqa: SLF001  # what a run begins with
    definition.on_crash = on_crash
    return definition


# --- looking at the machine -----------------------------------------------------------------------

_STATE = (
    "status", "saga", "results", "tries", "flying", "awaited", "backward", "rolling", "passed",
)  # fmt: skip
_TROUBLE = (*vars(Trouble()), *Trouble.__annotations__)


def state(x: Execution) -> dict[str, Any]:
    """Take down all that can be seen of a machine."""
    seen = {name: copy(getattr(x, name)) for name in _STATE}
    seen.update(at_rest=x.at_rest, suspended=x.suspended, ready=x.ready())
    seen.update(trouble=x.trouble is not None)
    if x.trouble is not None:
        for name in _TROUBLE:
            seen[f"trouble.{name}"] = copy(getattr(x.trouble, name))
    return seen


def _rewritten(text: str) -> Any:
    """Give an equal string that is not the same object, as a journal would."""
    return "".join(list(text))


def replayed(x: Execution) -> Execution:
    """Fold the entries again, as they would come from a journal."""
    entries = [(_rewritten(e[0]), e[1], _rewritten(e[2]), *e[3:]) for e in x.entries]
    return Execution(x.definition, entries)


class _Noting(list[Any]):
    """Statuses that note each move."""

    def __init__(self, x: Watched, statuses: Iterable[Status]) -> None:
        super().__init__(statuses)
        self._x = x

    def __setitem__(self, i: Any, to: Any) -> None:
        self._x.seen.add((self[i], to))
        self._x.made.append((i, to))
        super().__setitem__(i, to)


class Watched(Execution):
    """A machine whose moves are noted, whatever code of it makes them."""

    def __init__(self, definition: Definition, entries: Iterable[Entry] = ()) -> None:
        """Fold entries."""
        self.seen: set[tuple[Status, Status]] = set()
        self.made: list[tuple[int, Status]] = []
        self.saga_seen: set[tuple[SagaStatus, SagaStatus]] = set()
        super().__init__(definition, entries, watched=True)

    def __setattr__(self, name: str, value: Any) -> None:
        """Note where the saga moves, and watch the list of statuses."""
        if name == "saga" and hasattr(self, "saga") and value is not self.saga:
            self.saga_seen.add((self.saga, value))
        elif name == "status":
            value = _Noting(self, value)
        super().__setattr__(name, value)


class Dialogue:
    """Speak with a machine: tell it something, and see that what must always hold does."""

    def __init__(self, definition: Definition) -> None:
        """Begin a run."""
        self.definition = definition
        self.x = Watched(definition)
        self.followed: set[tuple[Status | SagaStatus, Event, Status | SagaStatus]] = set()

    def tell(self, entry: Entry) -> None:
        """Tell the machine something that it must take in."""
        self.follow(entry, partial(self.x.tell, entry))

    def follow(self, entry: Entry, tell: Callable[[], object]) -> None:
        """Tell it, in whatever way, and check that what follows is in the table."""
        x, word, place = self.x, what_of(entry), index_of(entry)
        before, saga = list(x.status), x.saga
        tell()
        for i, (was, stands) in enumerate(zip(before, x.status, strict=True)):
            event: Event = word if place in (-1, i) else ANOTHER
            assert stands in FOLLOWS[was][event], (was, event, stands)
            self.followed.add((was, event, stands))
        assert x.saga in SAGA_FOLLOWS[saga][word], (saga, word, x.saga)
        self.followed.add((saga, word, x.saga))
        self.look()

    def look(self) -> None:
        """Check that the moves are in the table, and the state is the fold of the entries."""
        x = self.x
        for before, after in x.seen:
            assert after in LEGAL[before], (before, after)
        for saga_before, saga_after in x.saga_seen:
            assert saga_after in SAGA_LEGAL[saga_before], (saga_before, saga_after)
        assert x.moves == x.made, "who watches is told of every move"
        assert state(replayed(x)) == state(x), "the state is the fold of the entries"

    def refuse(self, entry: Entry) -> None:
        """Tell the machine something that it must not take in."""
        before, entries = state(self.x), list(self.x.entries)
        with pytest.raises(IllegalMoveError):
            self.x.tell(entry)
        assert state(self.x) == before, f"{entry}: an illegal entry changes nothing"
        assert self.x.entries == entries

    # --- a dialogue in words: operations by name, for tests to read like a story ---

    def intents(self, name: str) -> list[Entry]:
        """List what is ready of an operation."""
        return [intent for intent in self.x.ready() if intent[1] == NAMES.index(name)]

    def ready(self) -> str:
        """List what is ready: "a ?b -c" is an action, a question about b, the undo of c."""
        signs = {ACTION: "", COMPENSATION: "-", ASK: "?"}
        return " ".join(signs[kind] + NAMES[i] for _, i, kind, *_ in self.x.ready())

    def start(self, *names: str) -> Entry:
        """Begin what is ready of each operation; the last intent is returned."""
        for name in names:
            (intent,) = self.intents(name)
            self.tell(intent)
        return intent

    def end(self, what: Word, name: str, value: object = None) -> None:
        """Tell how the call of an operation ended."""
        self.tell((what, *self.x.flying[NAMES.index(name)][1:5], value))

    def do(self, *names: str) -> None:
        """Begin and succeed, one operation after the other."""
        for name in names:
            self.start(name)
            self.end(SUCCEEDED, name, f"{name} done")

    def fail(self, name: str, error: BaseException | None = None) -> None:
        """Begin and fail for good."""
        self.start(name)
        self.end(FAILED, name, error or ValueError(name))

    def retry(self, name: str, wait: float = 1.0) -> None:
        """Begin and fail, to be called again after a wait."""
        self.start(name)
        self.end(RETRY, name, Setback(ValueError(name), wait))

    def doubt(self, name: str, *, wait: float | None = None, alive: bool = False) -> Attempt:
        """Begin, and never learn what came of it."""
        self.start(name)
        return self.lose(name, wait=wait, alive=alive)

    def lose(self, name: str, *, wait: float | None = None, alive: bool = False) -> Attempt:
        """Never learn what came of a call in flight."""
        _, i, kind, attempt, generation, _ = self.x.flying[NAMES.index(name)]
        self.end(IN_DOUBT, name, Setback(TimeoutError(name), wait, alive=alive))
        return i, kind, attempt, generation

    def land(self, attempt: Attempt, what: Word = SUCCEEDED, value: object = "late") -> None:
        """Learn of an abandoned attempt after all."""
        self.tell((what, *attempt, value))

    def wait(self, *names: str, result: object = MISSING) -> None:
        """Begin, and be answered later; with a result it is a timer."""
        for name in names:
            self.start(name)
            self.begun(name, result=result)

    def begun(self, name: str, *, result: object = MISSING) -> None:
        """Learn that a call in flight has only begun something."""
        timer = result is not MISSING
        self.end(LATER, name, Awaited(1.0, is_timer=timer, result=result if timer else None))

    def answer(self, name: str, value: object = "answer", **key: Any) -> None:
        """Learn from elsewhere that a call took effect."""
        self.tell((ANSWERED, *self.call(name, **key), value))

    def deny(self, name: str, error: BaseException | None = None, **key: Any) -> None:
        """Learn from elsewhere that a call took no effect."""
        self.tell((DENIED, *self.call(name, **key), error or PermissionError(name)))

    def call(self, name: str, kind: Kind = ACTION, generation: int = 1) -> Attempt:
        """Give the last attempt that was started under a key."""
        key = (NAMES.index(name), kind, generation)
        tries = [e[3] for e in self.x.entries if (e[1], e[2], e[4]) == key and e[0] == STARTED]
        return (key[0], kind, max(tries, default=1), generation)

    def expects(self, name: str, kind: Kind = ACTION, generation: int = 1) -> bool:
        """Say whether an answer would be taken in, though none is awaited."""
        return self.x.expects(NAMES.index(name), kind, generation)

    def overdue(self, name: str) -> None:
        """Wait in vain."""
        later = self.x.awaited[NAMES.index(name)]
        self.tell((IN_DOUBT, *later[1:5], Setback(TimeoutError(name))))

    def due(self, name: str) -> None:
        """Let the time of a timer come."""
        later = self.x.awaited[NAMES.index(name)]
        self.tell((SUCCEEDED, *later[1:5], later[5].result))

    def abort(self) -> None:
        """Stop: a deadline, an interrupt, or a person's `compensate`."""
        self.tell((ABORT, -1, "", 0, 0, TimeoutError("stop")))

    def crash(self, *too_old: str) -> None:
        """Let the process die, and the next one take over."""
        self.x = Watched(self.definition, list(self.x.entries))
        self.tell((RECOVERED, -1, "", 0, 0, frozenset(map(NAMES.index, too_old))))

    def resolve(self, name: str, status: Status, value: object = None) -> None:
        """Let a person say how an operation stands."""
        self.tell(resolved(NAMES.index(name), status, value))

    def again(self, name: str, *, new_key: bool = False) -> None:
        """Let a person say: once more."""
        self.tell(again(NAMES.index(name), new_key=new_key))

    @property
    def saga(self) -> str:
        """Say how the saga stands, in a word."""
        return self.x.saga.value

    def stand(self) -> str:
        """Say how the operations stand, in words."""
        return " ".join(status.value for status in self.x.status)


def resolved(i: int, status: Status, value: object = None) -> Entry:
    """Say that a person decided."""
    return (RESOLVED, i, "", 0, 0, (status, value))


def again(i: int, *, new_key: bool = False) -> Entry:
    """Say that a person said: once more."""
    return (AGAIN, i, "", 0, 0, new_key)


def one(**options: Any) -> Dialogue:
    """Begin a saga of one operation."""
    return Dialogue(define(Op(**options)))


def chain(*plan: Op) -> Dialogue:
    """Begin a saga of operations in a row."""
    return Dialogue(define(*plan, chain=True))


def graph(*plan: Op) -> Dialogue:
    """Begin a saga of operations that wait for what they declare."""
    return Dialogue(define(*plan))


# --- stories --------------------------------------------------------------------------------------


def all_goes_well() -> Dialogue:
    """Succeed."""
    d = chain(Op(), Op())
    d.do("a", "b")
    return d


def a_failure_undoes_what_was_done() -> Dialogue:
    """Fail after a retry, and retry an undo as well."""
    d = chain(Op(), Op(undo=False), Op())
    d.do("a", "b")
    d.retry("c")
    d.fail("c")
    d.start("a")
    d.end(RETRY, "a", Setback(ValueError(), 0.0))
    d.do("a")
    return d


def a_person_finishes_what_stuck_behind_the_pivot() -> Dialogue:
    """Call again, then say that it happened."""
    d = chain(Op(pivot=True), Op(), Op())
    d.do("a")
    d.fail("b")
    d.again("b")
    d.fail("b")
    d.resolve("b", Status.SUCCEEDED)
    d.fail("c")
    d.resolve("c", Status.SUCCEEDED)
    return d


def what_was_parked_is_undone_by_a_person() -> Dialogue:
    """Say that it did not happen."""
    d = chain(Op(undo=False), Op(on_doubt="park"))
    d.do("a")
    d.start("b")
    d.crash()
    d.crash()
    d.resolve("b", Status.FAILED)
    return d


def a_parked_operation_is_compensated() -> Dialogue:
    """Compensate what is stuck; when that fails, say that it is undone."""
    d = one(on_doubt="park")
    d.start("a")
    d.crash()
    d.abort()
    d.fail("a")
    d.resolve("a", Status.COMPENSATED)
    return d


def a_parked_operation_has_nothing_to_undo() -> Dialogue:
    """Compensate what is stuck, where nothing can be undone."""
    d = one(on_doubt="park", undo=False)
    d.start("a")
    d.crash()
    d.abort()
    return d


def doubt_is_resolved_in_every_way() -> Dialogue:
    """Roll back with six operations in doubt, of every kind."""
    d = graph(*[Op(on_doubt="ask")] * 3, Op(undo=False), Op(on_doubt="park"), Op(), Op())
    d.start(*"abcdefg")
    for name in "abcdef":
        d.lose(name)
    d.end(FAILED, "g", ValueError("g"))
    answers: tuple[Word, ...] = (HAPPENED, NOT_HAPPENED, UNKNOWN)
    for name, answer in zip("abc", answers, strict=True):
        d.start(name)
        d.end(answer, name)
    for name in "acf":
        d.do(name)
    return d


def a_crash_calls_again() -> Dialogue:
    """Die, and go on."""
    d = one()
    d.start("a")
    d.crash()
    d.do("a")
    return d


def late_landings() -> Dialogue:
    """Land after an undo, and after a person said that it failed."""
    d = graph(Op(), Op(on_doubt="park"))
    d.start("a", "b")
    undone, failed = d.lose("a", alive=True), d.lose("b", alive=True)
    d.do("a")
    d.resolve("b", Status.FAILED)
    d.land(undone)
    d.do("a")
    d.land(failed)
    d.do("b")
    return d


_LATE: tuple[tuple[Word, Any], ...] = (
    (FAILED, ValueError("late")),
    (RETRY, Setback(ValueError("late"), 1.0)),
    (IN_DOUBT, Setback(ValueError("late"))),
    (UNSTORED, ("late", TypeError("late"))),
    (SUCCEEDED, "late"),
)


def what_ends_late_is_settled_already(*, pivot: bool) -> Dialogue:
    """Give attempts up, let a person say what came of them, and hear of them in every way."""
    names = "bcdef"
    d = graph(Op(pivot=pivot), *[Op((0,), on_doubt="park")] * len(names))
    d.do("a")
    d.start(*names)
    late = [d.lose(name, alive=True) for name in names]
    for name in names:
        d.resolve(name, Status.SUCCEEDED if pivot else Status.FAILED)
    for attempt, (word, value) in zip(late, _LATE, strict=True):
        d.land(attempt, word, value)
    return d


def an_answer_that_tells_nothing_takes_nothing_back() -> Dialogue:
    """Ask once more about a pivot that is known not to have happened, and learn nothing."""
    d = chain(Op(), Op(pivot=True, on_doubt="ask"), Op())
    d.do("a")
    d.start("b")
    d.crash()
    d.start("b")
    d.end(NOT_HAPPENED, "b")
    d.crash()
    d.start("b")
    d.abort()
    d.end(UNKNOWN, "b")
    d.do("a")
    return d


def a_person_decides_while_the_saga_goes_on() -> Dialogue:
    """Have two called again, and resolve the second when the first has succeeded."""
    d = graph(Op(pivot=True), Op((0,)), Op((0,)))
    d.do("a")
    d.fail("b")
    d.fail("c")
    d.again("b")
    d.start("b")
    d.again("c")
    d.end(SUCCEEDED, "b")
    d.resolve("c", Status.SUCCEEDED)
    return d


def what_is_denied_under_one_key_is_in_doubt_under_another() -> Dialogue:
    """Call what is parked again under another key, and learn that this one was refused."""
    d = one(undo=False, on_doubt="park")
    d.start("a")
    d.crash()
    d.again("a", new_key=True)
    d.wait("a")
    d.deny("a", generation=2)
    return d


STORIES = (
    all_goes_well, a_failure_undoes_what_was_done, a_person_finishes_what_stuck_behind_the_pivot,
    what_was_parked_is_undone_by_a_person, a_parked_operation_is_compensated,
    a_parked_operation_has_nothing_to_undo, doubt_is_resolved_in_every_way, a_crash_calls_again,
    late_landings, partial(what_ends_late_is_settled_already, pivot=True),
    partial(what_ends_late_is_settled_already, pivot=False),
    an_answer_that_tells_nothing_takes_nothing_back, a_person_decides_while_the_saga_goes_on,
    what_is_denied_under_one_key_is_in_doubt_under_another,
)  # fmt: skip
