"""What is around each call: context managers, entered before it and left after it.

`surround` puts a `Surrounded` in the place of each of a run's functions. So every executor makes
them alike, in the thread or task of the call and inside of its time limit; and a run that has
nothing around its calls does not even look.

What came of an attempt depends on the moment in which an error has left it; `attempt` says how:

    ENTERING    the call was not made
    HELD        neither, and the gate of the run says that it is not to be: see `Gate`
    CALLING     it is an error of the call, as without all this
    LEAVING     the call had succeeded, and nobody knows whether that stands: a `LeavingError`

A run may have a gate, which each call has to pass as the last thing, once its arguments are there:
what lets a run make its calls may have ended while a call waited for its thread or its task.

The managers are left in any case. What they raise after an error is logged, and that they suppress
one is ignored. Each is a `with` of its own: a signal never strikes between entering it and knowing
that it is to be left. In one function that calls itself, since there may be any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from py_api_saga.calls import IS_ASYNC, Call
from py_api_saga.current import Around, current
from py_api_saga.entries import ACTION, ASK, COMPENSATION, Entry, index_of
from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.executors.calling import filled, is_awaitable, not_awaited
from py_api_saga.executors.passage import CALLING, HELD, LEAVING, Passage, is_strike
from py_api_saga.interrupts import is_interrupt
from py_api_saga.log import complain
from py_api_saga.operation import Operation

if TYPE_CHECKING:
    from py_api_saga.executors.running import AskedRun

    R = TypeVar("R", bound=AskedRun)


class Gate(Protocol):
    """What each call of a run has to pass, in its thread or task."""

    def is_open(self, run: Any) -> bool:
        """Tell whether a call may be made; asked before each, so it should be fast."""

    def wait(self, run: Any) -> None:
        """Return when it may.

        Raises:
            SagaError: It may not, nor may any other of this run, which has been told so.
        """

    async def await_(self, run: Any) -> None:
        """Like `wait`, without blocking the loop."""


_COROUTINE, _ASYNC_GENERATOR = 0x80, 0x200  # flags of code


def surround(run: R, around: Sequence[Around]) -> R:
    """Have each call of a run made inside of what these functions give.

    Args:
        run: The run, of which nothing has been called yet.
        around: The functions, the outermost first.

    Returns:
        That run.

    Raises:
        SagaDefinitionError: A plain function would need context managers that are to be awaited.
    """
    names, gate = run.definition.names.all(), run.gate
    run.operations = tuple(
        [
            _surrounded(operation, around, gate, f"operation {i + 1}, {names[i]!r}")
            for i, operation in enumerate(run.definition.operations)
        ]
    )
    run.around, run.passages = around, {}
    return run


def put_in(run: AskedRun, operations: Sequence[Operation]) -> None:
    """Put other calls in the place of those of a run, inside of what is around these.

    Args:
        run: The run, of which nothing has been called yet.
        operations: Its operations, with other functions.
    """
    run.definition.operations = run.operations = tuple(operations)
    if run.passages is not None:
        surround(run, run.around)


def exchanged(
    function: Callable[..., Any], another: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Callable[..., Any]:
    """Put another function in the place of one, inside of what is around it, if something is.

    Args:
        function: Of a call of a run.
        another: Makes it, of the one that is called there now.
    """
    return function.exchanged(another) if type(function) is Surrounded else another(function)


def _surrounded(
    operation: Operation, around: Sequence[Around], gate: Gate | None, where: str
) -> Operation:
    undo, policy = operation.compensation, operation.policy
    if policy.ask is not None:
        policy = policy.asking(_inside(policy.ask, ASK, around, gate, where))
    return Operation.of(
        operation.label,
        _inside(operation.action, ACTION, around, gate, where),
        undo and _inside(undo, COMPENSATION, around, gate, where),
        operation.after,
        policy,
        operation.scope,
    )


def _inside(call: Call, kind: str, around: Sequence[Around], gate: Gate | None, where: str) -> Call:
    """Put a call inside of what is around it."""
    if not call[IS_ASYNC]:
        for one in around:
            if _has_to_be_awaited(one):
                message = (
                    f"{where}: the {kind} is a plain function: expected context managers around "
                    f"it that need not be awaited, got those of {name_of(one)}"
                )
                raise SagaDefinitionError(message)
    return Surrounded(call, kind, around, gate), (), {}, (), call[IS_ASYNC]


def _has_to_be_awaited(around: Any) -> bool:
    """Tell, as far as one can before it is called, whether what it gives has to be awaited."""
    if isinstance(around, type):
        return hasattr(around, "__aenter__") and not hasattr(around, "__enter__")
    code = getattr(getattr(getattr(around, "func", around), "__wrapped__", None), "__code__", None)
    return code is not None and bool(code.co_flags & _ASYNC_GENERATOR)  # @asynccontextmanager


class Surrounded:
    """A call inside of what is around each call; it is called in its place, without arguments."""

    __slots__ = ("_around", "_call", "_gate", "_kind")

    def __init__(
        self, call: Call, kind: str, around: Sequence[Around], gate: Gate | None = None
    ) -> None:
        """Take a call of a kind, and the functions that give its managers, the outermost first."""
        self._call, self._kind, self._around, self._gate = call, kind, around, gate

    def exchanged(self, another: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Surrounded:
        """Give one that calls another function, which is made of the one that this calls."""
        function, args, keywords, needs, is_async = self._call
        call = another(function), args, keywords, needs, is_async
        return Surrounded(call, self._kind, self._around, self._gate)

    def __call__(self) -> Any:
        """Make the call, or give the coroutine that makes it."""
        found = current.get()
        assert found is not None  # noqa: S101 - whoever makes a call has set it
        make, run, intent, until = found
        passages: dict[Entry, Passage] = run.passages
        passage = passages[intent] = Passage(make(run, intent, until))
        if self._call[IS_ASYNC]:
            return self._awaited(run, intent, passage)
        try:
            value = self._inside(run, intent, passage, 0)
        except BaseException as error:
            if passage.problem is not error:
                passage.note(error, globals())
            raise
        del passages[intent]  # and no call here, after which a signal could strike
        return value

    async def _awaited(self, run: AskedRun, intent: Entry, passage: Passage) -> Any:
        passages = run.passages
        assert passages is not None  # noqa: S101 - it is among them
        try:
            value = await self._inside_awaited(run, intent, passage, 0)
        except BaseException as error:
            if passage.problem is not error:
                passage.note(error, globals())
            raise
        del passages[intent]
        return value

    def _inside(self, run: AskedRun, intent: Entry, passage: Passage, at: int) -> Any:
        """Enter the manager of this place, and those that follow it, and make the call."""
        if at == len(self._around):
            try:
                return self._made(run, intent, passage)
            except BaseException as error:
                passage.note(error, globals())
                raise
        manager = self._manager(passage, at)
        leave = type(manager).__exit__
        passage.theirs = type(manager).__enter__
        try:
            with manager:
                passage.theirs = None
                value = self._inside(run, intent, passage, at + 1)
                passage.moment, passage.theirs = LEAVING, leave
            passage.theirs = None
        except BaseException as error:
            if self._is_heard(passage, at, error, leave):
                raise
        if passage.problem is not None:
            raise passage.problem
        return value

    async def _inside_awaited(self, run: AskedRun, intent: Entry, passage: Passage, at: int) -> Any:
        """Do so under asyncio, with managers of either kind."""
        if at == len(self._around):
            try:
                return await self._made_awaited(run, intent, passage)
            except BaseException as error:
                passage.note(error, globals())
                raise
        manager = self._manager(passage, at)
        kind, leave = type(manager), None
        try:
            if hasattr(kind, "__aenter__"):
                leave = _coroutine(kind.__aexit__)
                passage.theirs = _coroutine(kind.__aenter__)
                async with manager:
                    passage.theirs = None
                    value = await self._inside_awaited(run, intent, passage, at + 1)
                    passage.moment, passage.theirs = LEAVING, leave
            else:
                leave = kind.__exit__
                passage.theirs = kind.__enter__
                with manager:
                    passage.theirs = None
                    value = await self._inside_awaited(run, intent, passage, at + 1)
                    passage.moment, passage.theirs = LEAVING, leave
            passage.theirs = None
        except BaseException as error:
            if self._is_heard(passage, at, error, leave):
                raise
        if passage.problem is not None:
            raise passage.problem
        return value

    def _is_heard(self, passage: Passage, at: int, error: BaseException, leave: object) -> bool:
        """Tell whether an error that comes out of a manager counts; one on top of another does not.

        Unless that is an interrupt, which counts as if it had struck the call.
        """
        if error is passage.problem:
            return True
        if passage.problem is None:
            passage.left = name_of(self._around[at])
            passage.note(error, globals())
            return True
        if is_interrupt(error) or is_strike(error, leave, globals()):
            passage.theirs = leave
            passage.note(error, globals())
            return True
        complain(
            "what is around each call, %s, raised as it was left, after the %s of operation %s had "
            "failed: that counts",
            name_of(self._around[at]),
            self._kind,
            passage.operation.operation,
            error=error,
        )
        return False

    def _manager(self, passage: Passage, at: int) -> Any:
        """Ask for a manager.

        Raises:
            TypeError: What was given is none, or one that has to be awaited.
        """
        around = self._around[at]
        passage.theirs = around
        manager = around(passage.operation)
        passage.theirs = _is_manager
        if not _is_manager(manager, is_async=self._call[IS_ASYNC]):
            raise TypeError(f"around: {name_of(around)} {_in_words(manager, self._call[IS_ASYNC])}")
        passage.theirs = None
        return manager

    def _filled(self, run: AskedRun, intent: Entry) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        i = index_of(intent)
        return filled(run, run.operations[i], i, self._call)

    def _made(self, run: AskedRun, intent: Entry, passage: Passage) -> Any:
        passage.moment = CALLING
        function, args, keywords, needs, _ = self._call
        if needs:
            passage.theirs = self._filled
            args, keywords = self._filled(run, intent)
        gate = self._gate
        if gate is not None and not gate.is_open(run):
            passage.moment, passage.theirs = HELD, None
            gate.wait(run)
            run.begins_anew(intent)
            passage.moment = CALLING
        passage.theirs = function
        value = function(*args, **keywords)
        if is_awaitable(value):
            raise not_awaited(run, index_of(intent), self._kind, value)
        passage.theirs = None
        return value

    async def _made_awaited(self, run: AskedRun, intent: Entry, passage: Passage) -> Any:
        passage.moment = CALLING
        function, args, keywords, needs, _ = self._call
        if needs:
            passage.theirs = self._filled
            args, keywords = self._filled(run, intent)
        gate = self._gate
        if gate is not None and not gate.is_open(run):
            passage.moment, passage.theirs = HELD, None
            await gate.await_(run)
            run.begins_anew(intent)
            passage.moment = CALLING
        passage.theirs = _coroutine(function)
        value = await function(*args, **keywords)
        passage.theirs = None
        return value


def _coroutine(function: Any) -> object:
    """Give a coroutine function as it is; what others give raises elsewhere."""
    if type(function) is FunctionType and function.__code__.co_flags & _COROUTINE:
        return function
    return "awaited"


def _is_manager(thing: object, *, is_async: bool) -> bool:
    kind = type(thing)
    if is_async and hasattr(kind, "__aenter__") and hasattr(kind, "__aexit__"):
        return True
    return hasattr(kind, "__enter__") and hasattr(kind, "__exit__")


def _in_words(thing: object, is_async: bool) -> str:  # noqa: FBT001 - of a call
    """Say what was given in the place of a context manager."""
    kind = type(thing).__name__
    if hasattr(type(thing), "__aenter__"):
        return f"returned an asynchronous context manager, {kind}, for a plain function"
    end = getattr(thing, "close", None)  # of a coroutine, say, that would warn
    if kind == "coroutine" and end is not None:
        end()
    hint = ""
    if kind in ("generator", "async_generator"):
        hint = "; is @contextmanager missing?"
    either = " or an asynchronous one" if is_async else ""
    return f"returned {kind}, expected a context manager{either}{hint}"


def name_of(around: object) -> str:
    """Name a function that is around each call."""
    name = getattr(around, "__qualname__", None)
    return name if isinstance(name, str) else type(around).__name__
