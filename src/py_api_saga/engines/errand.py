"""One call on a worker: whatever it needs has come with it, and its end goes back as one line.

A call comes as an *errand*, a JSON object that `course` writes and describes. In the worker an
`Errand` stands in for the run that the call belongs to, so that the same attempt is made as in any
process. What is known there of the saga is the operation and what its arguments want: it is the
only one here, number 0, whichever it is in the saga.

A worker that lacks what an errand names, or can't read it, or is not set up for its call, leaves it
to another one, and nothing is decided: `NotDeployed`. All else comes back as a line of a journal.

What a worker's observers are told, as it happens here and before the engine has recorded it; so
once more for a call that is made once more, and of each only by the worker that makes it:

    operation started, compensating   an attempt of an action, or of an undo, is about to be made
    succeeded, compensated            it returned
    attempt failed                    it raised, and is called again after `wait` seconds
    failed, stuck                     an action, or an undo, raised, and is not called again
    in doubt                          nobody knows what came of an action
    stuck                             an undo took over its timeout
    landed late                       what was given up has succeeded after all
    waiting                           it returned `later(…)`
    let go                            this worker lacks something for it; told once for each saga

Of questions (`on_doubt`) they hear nothing, nor of what the machine decides: that the saga began or
ended, that an answer came, or that an attempt was lost with its worker.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Protocol

from py_api_saga import clock
from py_api_saga.calls import IS_ASYNC
from py_api_saga.current import Around, Where, current
from py_api_saga.definition import Definition, Names
from py_api_saga.durable.run import recovering
from py_api_saga.durable.unready import unready
from py_api_saga.engines.course import MAX_LOSSES
from py_api_saga.engines.rows import MAX_VALUE
from py_api_saga.entries import (
    ACTION,
    COMPENSATION,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    LATER,
    LOST,
    NOT_HAPPENED,
    RETRY,
    SUCCEEDED,
    UNSTORED,
    Attempt,
    Entry,
    Kind,
    Setback,
    attempt_of,
    failed,
    interrupted,
    is_unready,
    kind_of,
    lost,
    started,
    value_of,
    what_of,
)
from py_api_saga.entries import later as told_later
from py_api_saga.events import Event, EventKind, emit
from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.executors import driving
from py_api_saga.executors.around import surround
from py_api_saga.executors.choreography import POOL
from py_api_saga.executors.event_loop import aattempt
from py_api_saga.executors.passage import Passage
from py_api_saga.executors.running import Notes, at_home
from py_api_saga.journal.format.definitions import read_operation
from py_api_saga.journal.format.entries import span_text, unkept, write_entry
from py_api_saga.journal.format.functions import Functions, NotStorableError, UnknownNameError
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.journal.format.values import Values
from py_api_saga.journal.protocol import Codec
from py_api_saga.keys import key_of
from py_api_saga.log import complain
from py_api_saga.observer import Observer
from py_api_saga.operation import Later, Operation, awaiting, call_of
from py_api_saga.placeholder import OWN
from py_api_saga.status import MISSING

if TYPE_CHECKING:
    from py_api_saga.executors.driving import CallWitness

_PARTING = 2.0  # seconds for a call that its worker leaves to come to its end
_MOST_NOTED = 1000  # sagas that were let go and of which that is remembered
_KINDS: dict[str, Kind] = {"action": ACTION, "compensation": COMPENSATION, "ask": "ask"}
# What came of a call for sure, also if it was cancelled.
_CERTAIN = frozenset({SUCCEEDED, UNSTORED, LATER, HAPPENED, NOT_HAPPENED})
GiveUp = Callable[[str], Awaitable[None]]


class NotDeployed(Exception):
    """This worker can't make a call that another one can; nothing was decided.

    Its text says what the call waits for: "shop2:charge2".
    """


class Workshop:
    """What a worker is set up with to make calls.

    Attributes:
        names: The functions and types that sagas may name.
        codec: What their values are sealed with, or None.
    """

    def __init__(
        self,
        names: Functions,
        codec: Codec | None = None,
        around: Sequence[Around] = (),
        observers: Sequence[Observer] = (),
        threads: int = 64,
    ) -> None:
        """Set it up.

        Args:
            names: The functions and types that sagas may name.
            codec: Of the engine that sagas are given to.
            around: Functions that give what is around each call, the outermost first; questions
                and compensations included.
            observers: What is told of the calls: see the module.
            threads: How many plain functions run at once. Not counted are those that were given up
                after their timeout and still live.
        """
        self.names, self.codec = names, codec
        self._values = _Values(self)
        self._around, self._observers = tuple(around), tuple(observers)
        self._places = asyncio.Semaphore(threads)
        self._let_go: dict[tuple[str, str], None] = {}
        self._came_back: dict[tuple[str, str, Attempt], int] = {}

    async def call(self, text: str, give_up: GiveUp) -> str:
        """Make a call and give the line that says what came of it.

        Cancelling this says that the worker ends. A call that has not come to its end shortly after
        that is LOST; its thread may live on.

        Args:
            text: An errand.
            give_up: Awaited with the line of a plain function whose time is up and which still
                runs: what this gives is then its real end, whenever that is. What it raises is
                logged, and changes nothing.

        Raises:
            NotDeployed: The call is for another worker, and was not made here, or has counted for
                nothing.
        """
        errand = self._read(text)
        try:
            return await self._called(errand, give_up)
        except NotDeployed:
            raise
        except Exception as error:  # noqa: BLE001 - whatever goes wrong around a call
            complain("saga %s: a call is lost", errand.saga_id, error=error)
            return dumps([LOST, *errand.tree["intent"]])

    async def _called(self, errand: Errand, give_up: GiveUp) -> str:
        """Make a call that could be read."""
        if errand.is_async:
            errand.tell_begin()
            making: _Making = _InTask(errand)
        else:
            try:
                await self._places.acquire()
            except asyncio.CancelledError:
                raise _ended() from None
            errand.tell_begin()
            making = _InThread(errand, self._places)
        try:
            entry = await self._end_of(errand, making, give_up)
        except asyncio.CancelledError:
            entry = await making.parted()
        finally:
            making.leave()
        if is_unready(entry) and errand.end is None:
            if errand.witness is not None:
                errand.witness.told(entry)
            self._let_go_of(errand, value_of(entry))
            entry = lost(attempt_of(errand.intent))
        return errand.told(entry)

    async def _end_of(self, errand: Errand, making: _Making, give_up: GiveUp) -> Entry:
        """Wait for the end of a call, also beyond its time."""
        entry = await making.end()
        if not is_alive(entry):
            return entry
        making.leave()
        try:
            await give_up(errand.told(entry))
        except Exception as error:  # noqa: BLE001 - of the engine, to which nothing better can be said
            complain(
                "saga %s: nobody could be told that a call took too long",
                errand.saga_id,
                error=error,
            )
        return await errand.landed()

    def _read(self, text: str) -> Errand:
        """Read an errand.

        Raises:
            NotDeployed: This worker lacks what it names, or can't read it.
        """
        try:
            tree = loads(text)
        except ValueError as error:
            raise NotDeployed("a worker of a release that can read its calls") from error
        try:
            errand = Errand(tree, self._values, self._observers)
            around = self._around
            if driving.onlooker is not None:
                errand.witness = driving.onlooker.sees_call(errand, tree.get("trace"))
                around = (errand.witness.around, *around)
            return surround(errand, around) if around else errand
        except Exception as error:
            lacking = _lacking(error, tree)
            self._note(tree, lacking, error)
            raise NotDeployed(lacking) from error

    def _let_go_of(self, errand: Errand, lacking: BaseException) -> None:
        """Leave a call to a worker that is set up for it, but not time after time.

        It was made, and may have done something before it found what it lacks: the machine counts
        an attempt that is LOST, and no other.

        Raises:
            NotDeployed: It is left.
        """
        call = errand.saga_id, errand.name_of(0), attempt_of(errand.intent)
        if len(self._came_back) >= _MOST_NOTED:
            self._came_back.clear()
        self._came_back[call] = times = self._came_back.get(call, 0) + 1
        if times > MAX_LOSSES:
            del self._came_back[call]
            return
        text = f"{_set_up(errand.name_of(0))} (here: {type(lacking).__name__})"
        self._note(errand.tree, text, lacking)
        raise NotDeployed(text) from lacking

    def _note(self, tree: Any, lacking: str, error: BaseException) -> None:
        """Tell the observers that a saga is let go, once: its call comes back again and again."""
        try:
            told = str(tree["saga"]), tree["saga_name"], tree["name"]
            _, kind, attempt, _ = tree["intent"]
        except (LookupError, TypeError, ValueError):  # what can't be read at all
            return
        key = told[0], lacking
        if key in self._let_go:
            return
        if len(self._let_go) >= _MOST_NOTED:
            self._let_go.clear()
        self._let_go[key] = None
        _tell(Event("let go", *told, attempt, error, direction=kind), self._observers)


def _set_up(name: object) -> str:
    return f"a worker that is set up for operation {name!r}"


def _lacking(error: Exception, tree: Any) -> str:
    """Say what a worker lacks that can't read an errand for this reason."""
    if isinstance(error, UnknownNameError):
        return error.name or str(error)
    name = tree.get("name") if type(tree) is dict else None
    if isinstance(error, SagaDefinitionError):  # of what is around its calls
        return f"{_set_up(name)} (here: {error})"
    return f"a worker that can read the call of operation {name!r} (here: {type(error).__name__})"


def _ended() -> NotDeployed:
    return NotDeployed("a worker that goes on")


def is_alive(entry: Entry) -> bool:
    """Tell whether an entry says of a call that it was given up and may still land."""
    value = value_of(entry)
    return what_of(entry) == IN_DOUBT and type(value) is Setback and value.alive


class _Making(Protocol):
    """The one attempt that an errand is for, while it is made."""

    async def end(self) -> Entry:
        """Wait for what comes of it."""

    async def parted(self) -> Entry:
        """Say what came of it, or that nobody here knows, since the worker ends.

        Raises:
            NotDeployed: Its call was not made.
        """

    def leave(self) -> None:
        """Let another one have its place, if it has one."""


class _InTask:
    """One of a coroutine function."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand
        self._task = asyncio.create_task(self._make(), context=_context())

    async def _make(self) -> Entry:
        return await aattempt(self._errand, self._errand.intent, asyncio.current_task())

    async def end(self) -> Entry:
        await asyncio.wait({self._task})
        return self._task.result()

    async def parted(self) -> Entry:
        self._task.cancel()
        with suppress(asyncio.CancelledError):  # of a worker that ends at once
            await asyncio.wait({self._task}, timeout=_PARTING)
        if self._task.done() and not self._task.cancelled():
            entry = await self.end()
            if what_of(entry) in _CERTAIN:
                return entry
        return lost(attempt_of(self._errand.intent))

    def leave(self) -> None:
        """It has none."""


class _InThread:
    """One of a plain function, in a thread of the pool."""

    def __init__(self, errand: Errand, places: asyncio.Semaphore) -> None:
        """Begin it, in a place that it has got."""
        self._errand, self._places = errand, places
        self._permit = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[Entry] = self._loop.create_future()
        self._has_place = True
        _context().run(POOL.make, errand, errand.intent, self._permit, self._tell)

    def _tell(self, entry: Entry) -> None:
        """Tell the loop what came of it, from its thread."""
        with suppress(RuntimeError):  # it was closed under the call
            self._loop.call_soon_threadsafe(self._done.set_result, entry)

    async def end(self) -> Entry:
        await asyncio.wait({self._done})
        return self._done.result()

    async def parted(self) -> Entry:
        if self._permit.acquire(blocking=False):
            raise _ended()
        with suppress(asyncio.CancelledError, TimeoutError):  # or of a worker that ends at once
            async with asyncio.timeout(_PARTING):
                entry = await self.end()
                return await self._errand.landed() if is_alive(entry) else entry
        return lost(attempt_of(self._errand.intent))

    def leave(self) -> None:
        if self._has_place:
            self._has_place = False
            self._places.release()


def _context() -> Context:
    """Give a context for one call, in which the sagas that it begins know where they are."""
    context = copy_context()
    context.run(recovering.set, (None, unready))
    return context


class Errand:
    """Stands in for the run of one call: what an attempt, and the operation, ask of it.

    Attributes:
        tree: What has come.
        intent: The call, of the only operation that is here.
        is_async: Whether it is one of a coroutine function.
        end: How it has ended that was given up, or None.
        witness: What sees the call, or None.
    """

    is_elsewhere = keeps_time = True
    gate = None

    def __init__(
        self, tree: dict[str, Any], values: Values, observers: tuple[Observer, ...]
    ) -> None:
        """Read it, in the loop in which the call is to be made.

        Raises:
            UnknownNameError: It names what is not here.
            Exception: Whatever a malformed tree makes of this.
        """
        self.tree, self.scribe, self._observers = tree, values, observers
        self.saga_id: str = tree["saga"]
        self.name: str | None = tree["saga_name"]
        self._place, word, number, generation = tree["intent"]
        kind = _KINDS[word]
        self.intent = started(0, kind, number, generation)
        operation = read_operation(tree["op"], values, values.names.callee)
        self.is_async = call_of(operation, kind)[IS_ASYNC]
        self.operations: tuple[Operation, ...] = (operation,)
        self._needs: dict[str, Any] = tree["results"]
        self.results = self._read_results(values)
        self.definition = Definition()
        self.definition.operations = self.operations
        needs = [operation.scope + need for need in self._needs if need != OWN]
        self.definition.names = Names.recorded([tree["name"], *needs], None)
        self.definition.values = ()
        until = tree.get("until")
        self._until: float | None = None if until is None else float(until)
        self.around: Sequence[Around] = ()
        self.passages: dict[Entry, Passage] | None = None
        self.notes: Notes | None = None
        self.end: Entry | None = None
        self.witness: CallWitness | None = None
        self._loop = asyncio.get_running_loop()
        self._landing = asyncio.Event()
        self._spans: dict[Attempt, tuple[float, float]] = {}

    def _read_results(self, values: Values) -> list[Any]:
        """Read the operation's own result, and those that its arguments want, by their numbers."""
        read = {need: values.read(_opened(tree, values)) for need, tree in self._needs.items()}
        return [read.pop(OWN, MISSING), *read.values()]

    # --- what comes of it -----------------------------------------------------------------------

    def told(self, entry: Entry) -> str:
        """Write down what came of the call, for the saga that it is of; observers are told first.

        What can't be kept becomes what is told in its stead, as on a journal.
        """
        entry = self._weighed(entry)
        if self.witness is not None:
            self.witness.told(entry)
        self._tell_end(entry)
        what, _, kind, number, generation, value = entry
        entry = (what, self._place, kind, number, generation, value)
        span = self._spans.get(attempt_of(self.intent))
        facts = "" if span is None else span_text(self.tree["created"], *span)
        try:
            return write_entry(entry, self.scribe, facts)
        except Exception as error:  # noqa: BLE001 - the call was made, whatever its value is like
            if not isinstance(error, NotStorableError):
                error = NotStorableError(f"to write it raised {type(error).__name__}")
            return write_entry(unkept(entry, self.name_of(0), error), self.scribe, facts)

    def _weighed(self, entry: Entry) -> Entry:
        """Say what it means that an undo was interrupted by itself: once more, then it is stuck."""
        value = value_of(entry)
        if type(value) is Setback and value.interrupted and kind_of(entry) == COMPENSATION:
            _, _, attempt, _ = attempt_of(entry)
            if attempt > 1:
                return failed(entry, value.error)
        if is_unready(entry):  # of what was given up, which no other worker can take over
            return failed(entry, value)
        return entry

    async def landed(self) -> Entry:
        """Wait for the end of what was given up."""
        await self._landing.wait()
        assert self.end is not None  # noqa: S101 - it has landed
        return self.end

    # --- what observers are told ----------------------------------------------------------------

    def tell_begin(self) -> None:
        """Tell the observers that the call begins."""
        kind = kind_of(self.intent)
        if kind == ACTION:
            self._emit("operation started")
        elif kind == COMPENSATION:
            self._emit("compensating")

    def _tell_end(self, entry: Entry) -> None:
        """Tell them how it has ended."""
        what, value = what_of(entry), value_of(entry)
        is_action = kind_of(entry) == ACTION
        if kind_of(entry) not in (ACTION, COMPENSATION):
            return
        if self.end is not None:  # what was given up
            if what == SUCCEEDED:
                self._emit("landed late")
        elif what in (SUCCEEDED, UNSTORED):
            self._emit("succeeded" if is_action else "compensated")
        elif what == LATER:
            self._emit("waiting")
        elif what in (RETRY, IN_DOUBT) and value.wait is not None:
            self._emit("attempt failed", value.error, value.wait)
        elif what == IN_DOUBT:
            self._emit("in doubt" if is_action else "stuck", value.error)
        elif what == FAILED:
            self._emit("failed" if is_action else "stuck", value)

    def _emit(
        self, kind: EventKind, error: BaseException | None = None, wait: float | None = None
    ) -> None:
        _, direction, attempt, _ = attempt_of(self.intent)
        about = self.saga_id, self.name, self.name_of(0)
        way: Any = direction
        _tell(Event(kind, *about, attempt, error, wait, None, way), self._observers)

    # --- what an attempt asks and tells: an `AskedRun` ------------------------------------------

    def begins(self) -> tuple[float, float]:
        """Note that the call begins, by two clocks."""
        return clock.time(), clock.monotonic()

    def begins_anew(self, intent: Entry) -> None:
        """Nothing is held up here."""

    def ended(self, intent: Entry, began: tuple[float, float]) -> None:
        """Note that the call has ended, just now."""
        at, since = began
        self._spans[attempt_of(intent)] = at, clock.monotonic() - since

    def begun(self, intent: Entry, later: Later) -> Entry:
        """Say what a call that returned `later(…)` waits for, by the clock of this machine."""
        return told_later(intent, awaiting(later, clock.time))

    def since_first(self, i: int, kind: str, now: float) -> float:  # noqa: ARG002 - it has come
        """Give the seconds since the first attempt of the call was told."""
        since: float = self.tree["since"]
        return max(0.0, clock.time() - since)

    def has_noted(self, _: Entry) -> bool:
        """Tell whether the attempt has noted a request that was not refused."""
        return bool(self.notes)

    def passage_of(self, intent: Entry) -> Passage | None:
        """Give how far an attempt has come that did not end well, and forget it."""
        passage = None if self.passages is None else self.passages.pop(intent, None)
        if passage is not None:
            passage.problem = None  # it knows the frames that know this
        return passage

    def lacks(self, error: BaseException) -> BaseException | None:
        """Give what says in an error that this worker is not set up for the call, or None."""
        return unready(error)

    def open_inbox(self) -> None:
        """What lands is heard in the loop."""

    def land(self, entry: Entry) -> None:
        """Tell, from its own thread, how a call has ended that was given up."""
        with suppress(RuntimeError):  # the loop was closed under it, with its worker
            self._loop.call_soon_threadsafe(self._land, entry)

    def _land(self, entry: Entry) -> None:
        self.end = entry
        self._landing.set()

    def stop(self, interrupt: BaseException) -> None:
        """Nothing is rolled back because a worker ends."""

    def check_goes(self, interrupt: BaseException) -> None:
        """Nothing is left open because something has struck before a call."""

    def fate_of(self, interrupt: BaseException, intent: Entry) -> Entry:
        """Say of a call around which something has struck that nobody knows what came of it."""
        return interrupted(intent, interrupt)

    # --- what a call sees of it: a `SeenRun` ----------------------------------------------------

    @property
    def names(self) -> Names:
        """Of the operation, and of those whose results came along."""
        return self.definition.names

    @property
    def values(self) -> tuple[Any, ...]:
        """What the run was given stands in its place already."""
        return ()

    def name_of(self, _: int) -> str:
        """Give the name of the operation."""
        name: str = self.tree["name"]
        return name

    def known(self) -> Mapping[str, Any]:
        """Give the results that came along, by name; asked for others it raises."""
        names = self.definition.names.all()
        pairs = zip(names, self.results, strict=True)
        return _Some({name: result for name, result in pairs if result is not MISSING})

    def key_of(self, intent: Entry) -> str:
        """Give the idempotency key of the call: a question has that of its action."""
        i, kind, _, generation = attempt_of(intent)
        return self.action_key(i) if kind != COMPENSATION else self._key(kind, generation)

    def action_key(self, _: int) -> str:
        """Give the idempotency key of the operation's action, as it is now."""
        return self._key(ACTION, self.tree["action_generation"])

    def origin(self, _: int) -> tuple[str, float]:
        """Give the first key of the operation's action, and when it was used first."""
        return self._key(ACTION, 1), self.tree["origin"]

    def _key(self, kind: str, generation: int) -> str:
        return key_of(self.saga_id, self.name_of(0), kind, generation)

    def remaining(self, kind: str, until: float | None) -> float | None:  # noqa: ARG002 - of one call
        """Give the seconds that are left for a call of a kind, whose own time is up then."""
        limits = [] if until is None else [until - clock.monotonic()]
        if self._until is not None:  # it has come with those calls only that it limits
            limits.append(self._until - clock.time())
        return max(0.0, min(limits)) if limits else None

    def where(self, i: int, kind: str, until: float | None) -> Where:  # noqa: ARG002 - of one call
        """Tell where the call is made."""
        if self.is_async:
            return "loop"
        return "caller" if at_home.get() is self else "thread"

    def notes_of(self, _: Entry) -> Notes:
        """Give what the attempt has noted; any thread of it may add to that."""
        if self.notes is None:
            self.notes = Notes()
        return self.notes


def _opened(tree: Any, values: Values) -> Any:
    """Open what is sealed in a result: that of a child saga is made of those of its operations."""
    if type(tree) is dict and tree.keys() == {"$results"}:
        items, places = tree["$results"]
        return {"$results": [[_opened(item, values) for item in items], places]}
    return values.open(tree)


class _Some(Mapping[str, Any]):
    """Those results of a saga that came along with a call; it has none to show of the others."""

    def __init__(self, results: dict[str, Any]) -> None:
        self._results = results

    def __getitem__(self, name: str) -> Any:
        if name in self._results:
            return self._results[name]
        raise _not_here(f"the result of {name!r}")

    def __iter__(self) -> Iterator[str]:
        raise _not_here("the results of all operations")

    def __len__(self) -> int:
        raise _not_here("the results of all operations")

    def __repr__(self) -> str:
        return f"<the results of {', '.join(map(repr, self._results)) or 'no operation'}>"


def _not_here(what: str) -> SagaDefinitionError:
    return SagaDefinitionError(
        f"on an engine, {what} did not come along: only those do that the arguments of the "
        'operation name; give it what it needs as an argument, result_of("…")'
    )


class _Values(Values):
    """Values on their way to an engine, which keeps less of one than a journal."""

    __slots__ = ()

    def write(self, value: object) -> str:
        """Write a value as JSON text; raises NotStorableError as a journal does, and sooner."""
        text = super().write(value)
        if len(text) > MAX_VALUE // 4 and len(text.encode()) > MAX_VALUE:
            message = (
                f"its JSON text is larger than {MAX_VALUE:,} bytes, and an engine keeps no more of "
                "a value: store a reference to it"
            )
            raise NotStorableError(message)
        return text

    def tree(self, value: object) -> Any:
        """Make a value a JSON tree; raises as `write` does."""
        return loads(self.write(value))


def _tell(event: Event, observers: tuple[Observer, ...]) -> None:
    """Tell the observers; nothing that one of them raises is about the call."""
    operating = current.get()
    current.set(None)  # an observer is not an operation
    try:
        emit(event, observers)
    except BaseException as error:  # noqa: BLE001 - a limit of a task queue, say
        complain("an observer raised on %r", event.kind, error=error)
    finally:
        current.set(operating)
