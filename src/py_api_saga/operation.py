"""A saga as data: calls, operations, policies, and the order they stand in. All of it validated.

What is wrong is refused here, when an operation is added, in words that say where, what was
expected and what came; never with an argument's value, which may be a secret.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, TypeAlias

from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.placeholder import OWN, SCANNED, Placeholder, placeholders

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

MAX_NAME = 64  # characters, so that saga, operation and kind fit a key of 255


def refuse(where: str, expected: str, got: object) -> NoReturn:
    """Raise the error for a wrong value; only numbers, words and None are shown."""
    shown = type(got).__name__
    if got is None or type(got) in (bool, int, float):
        shown = repr(got)
    elif isinstance(got, str):
        shown = repr(got if len(got) <= MAX_NAME else got[:MAX_NAME] + "…")
    raise SagaDefinitionError(f"{where}: expected {expected}, got {shown}")


def seconds(value: object, where: str) -> float | None:
    """Check an optional number of seconds."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and type(value) is not bool and 0 <= value < math.inf:
        return value
    refuse(where, "seconds (a finite number, not negative) or None", value)


# --- policies ------------------------------------------------------------------------------


class ErrorTypes(NamedTuple):
    """A set of exception types: classes and, for those of libraries not imported here, names."""

    types: tuple[type[BaseException], ...]
    names: frozenset[str] = frozenset()  # "module.Class"
    exempt: frozenset[str] = frozenset()  # likewise: what is not meant, though a base class is

    def match(self, error: BaseException) -> bool:
        """Tell whether an error, or the reason that its library wraps, is one of them."""
        names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
        if not self.exempt.isdisjoint(names):
            return False
        if not isinstance(error, self.types) and self.names.isdisjoint(names):
            return False
        inner = error.args[0] if error.args else None  # requests: ConnectionError(MaxRetryError)
        reason = getattr(inner, "reason", None)
        return not (isinstance(reason, Exception) and _qualified(reason) in self.exempt)


def _qualified(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


# What may leave an action's outcome unknown: the request may have arrived though no reply came.
# A connection that was never made is none of these: requests raises its ConnectionError for that
# too, with urllib3's reason inside.
DOUBTFUL = ErrorTypes(
    (TimeoutError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError),
    frozenset(
        {
            "requests.exceptions.ReadTimeout",
            "requests.exceptions.ConnectionError",
            "requests.exceptions.ChunkedEncodingError",
            "httpx.ReadTimeout",
            "httpx.WriteTimeout",
            "httpx.ReadError",
            "httpx.WriteError",
            "httpx.CloseError",
            "httpx.RemoteProtocolError",
        }
    ),
    frozenset(
        {
            "requests.exceptions.ConnectTimeout",
            "requests.exceptions.SSLError",
            "urllib3.exceptions.NewConnectionError",
            "urllib3.exceptions.ConnectTimeoutError",
            "urllib3.exceptions.NameResolutionError",
        }
    ),
)


def error_types(value: object, where: str) -> ErrorTypes:
    """Read `doubtful=`: exception types, or names of them as "module.Class"."""
    if isinstance(value, ErrorTypes):
        return value
    given = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    types, names = [], set()
    for item in given:
        if isinstance(item, type) and issubclass(item, BaseException):
            types.append(item)
        elif isinstance(item, str) and "." in item:
            names.add(item)
        else:
            refuse(where, 'exception types or their names as "module.Class"', item)
    return ErrorTypes(tuple(types), frozenset(names))


RetryOn: TypeAlias = (
    "type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool | float | timedelta]"
)


@dataclass(frozen=True, slots=True)
class Retry:
    """When to call again what has failed, and how long to wait before.

    The wait before attempt *n + 1* is `wait_initial * wait_exp_base ** (n - 1)` plus a random part
    of up to `wait_jitter`, together at most `wait_max`. Nothing waits after the last attempt.

    Args:
        on: Exception types that are worth another attempt, or a function that is given the
            error and returns whether to go on or, instead of the wait above, the seconds (or a
            `timedelta`) to wait, as a `Retry-After` header would say.
        attempts: Attempts in all; None for no limit.
        timeout: Seconds from the start of the first attempt after which none is started.
        wait_initial: Seconds.
        wait_max: Seconds.
        wait_jitter: Seconds.
        wait_exp_base: How many times longer each wait is than the one before.

    Raises:
        SagaDefinitionError: A value is out of range, or of the wrong type.

    Source:
        The names, the formula and the defaults of the waits are those of `stamina`.
    """

    on: RetryOn
    _: KW_ONLY
    attempts: int | None = 3
    timeout: float | None = None
    wait_initial: float = 0.1
    wait_max: float = 5.0
    wait_jitter: float = 1.0
    wait_exp_base: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what would be found out only in the middle of a failure."""
        expected = "exception types or a function of the error"
        on: Any = self.on  # whatever a caller without a type checker has given
        if isinstance(on, (tuple, type)):
            for kind in on if isinstance(on, tuple) else (on,):
                if not (isinstance(kind, type) and issubclass(kind, Exception)):
                    refuse("Retry: on", expected, kind)
        elif not callable(on) or isinstance(on, Placeholder):
            refuse("Retry: on", expected, on)
        if self.attempts is not None and (type(self.attempts) is not int or self.attempts < 1):
            refuse("Retry: attempts", "a whole number of at least 1, or None", self.attempts)
        seconds(self.timeout, "Retry: timeout")
        for name in ("wait_initial", "wait_max", "wait_jitter", "wait_exp_base"):
            if getattr(self, name) is None:
                refuse(f"Retry: {name}", "a number", None)
            seconds(getattr(self, name), f"Retry: {name}")

    def after(self, error: Exception, attempt: int, elapsed: float, chance: float) -> float | None:
        """Decide what follows a failed attempt: the seconds to wait, or None for "give up".

        Args:
            error: What the attempt raised.
            attempt: Its number, from 1.
            elapsed: Seconds since the first attempt began.
            chance: A random number in [0, 1), for the jitter.

        Raises:
            Exception: What the function in `on` raised.
            TypeError: That function returned something else than bool, number or timedelta.
        """
        if self.attempts is not None and attempt >= self.attempts:
            return None
        wait = self._wait(error, attempt, chance)
        if wait is None or (self.timeout is not None and elapsed + wait > self.timeout):
            return None
        return wait

    def _wait(self, error: Exception, attempt: int, chance: float) -> float | None:
        if isinstance(self.on, (type, tuple)):
            again: object = isinstance(error, self.on)
        else:
            again = self.on(error)
        if again is True:
            try:
                wait = self.wait_initial * self.wait_exp_base ** (attempt - 1)
            except OverflowError:  # beyond a thousand attempts or so
                wait = self.wait_max
            return min(self.wait_max, wait + self.wait_jitter * chance)
        if again is False:
            return None
        if isinstance(again, timedelta):
            again = again.total_seconds()
        if isinstance(again, (int, float)) and 0 <= again < math.inf:
            return float(again)
        message = f"the function in Retry(on=...) must return a bool or seconds, got {again!r}"
        raise TypeError(message)


def immediately(attempts: int) -> Retry | None:
    """Read the predecessor's `retry_attempts`: attempts in all, with no wait, on any error."""
    return None if attempts == 1 else Retry(
        Exception, attempts=attempts, wait_initial=0, wait_max=0, wait_jitter=0
    )


# --- asking what came of a call in doubt -----------------------------------------------------


class Happened(NamedTuple):
    """The action took effect, and this was its result."""

    result: Any


def happened(result: object = None) -> Happened:
    """Answer, in an `on_doubt` function, that the action took effect, and with which result."""
    return Happened(result)


class _Answer:
    """One of two constant answers; pickles and copies are the constant itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __reduce__(self) -> str:
        return self._name


NOT_HAPPENED = _Answer("NOT_HAPPENED")
UNKNOWN = _Answer("UNKNOWN")
Answer: TypeAlias = "Happened | _Answer"
OnDoubt: TypeAlias = 'Literal["proceed", "park"] | Callable[..., Answer | Awaitable[Answer]]'


# --- calls -----------------------------------------------------------------------------------


class Call(NamedTuple):
    """A function and its arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    keywords: Mapping[str, Any]
    needs: tuple[str, ...]  # the operations whose results stand in the arguments
    is_async: bool


_NO_KEYWORDS: Mapping[str, Any] = {}
# Flags of code that can't be checked by counting, since it takes *args (0x4) or **keywords (0x8),
# or that is no function to call and be done: generators and coroutines (0x20, 0x80, 0x200).
_ODD = 0x4 | 0x8 | 0x20 | 0x80 | 0x200
_new = tuple.__new__  # what `Call(...)` does, without its Python frame: 100 ns less, twice


def read_call(value: Any, role: str, position: int) -> Call:
    """Read an action or a compensation in any of its forms and check it against its signature.

    Args:
        value: A callable, a tuple or list of a callable and its arguments, or a partial.
        role: "action", "compensation" or "on_doubt".
        position: Of the operation in its saga, from 1; for messages.

    Raises:
        SagaDefinitionError: It can't be called, or not with these arguments.
    """
    kind = type(value)
    if (kind is tuple or kind is list) and value:
        function, args = value[0], tuple(value[1:])
    else:
        function, args = value, ()
    if type(function) is FunctionType:
        code = function.__code__
        count = len(args)
        if (
            not code.co_flags & _ODD
            and not code.co_kwonlyargcount
            and count <= code.co_argcount
            and (count == code.co_argcount or count >= code.co_argcount - _defaults(function))
        ):
            for arg in args:
                if isinstance(arg, SCANNED):
                    return _new(Call, (function, args, _NO_KEYWORDS, _needs(args, ()), False))
            return _new(Call, (function, args, _NO_KEYWORDS, (), False))
    return _read_odd_call(function, args, role, position)


def _defaults(function: FunctionType) -> int:
    return len(function.__defaults__ or ())


def _needs(args: Iterable[object], more: Iterable[object]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for arg in (*args, *more) for name in placeholders(arg)))


def _read_odd_call(function: Any, args: tuple[Any, ...], role: str, position: int) -> Call:
    """Read a call that is no plain function with the right number of arguments."""
    where = f"operation {position}: the {role}"
    if not callable(function) or isinstance(function, Placeholder):
        error = SagaDefinitionError("Please add function in operation argument.")
        got = type(function).__name__
        error.add_note(f"{where} must be a callable or a tuple (callable, *args), got {got}")
        raise error
    keywords: Mapping[str, Any] = _NO_KEYWORDS
    if type(function) is partial:  # its arguments may hold placeholders
        args, keywords, function = (*function.args, *args), function.keywords, function.func
    if _is(function, inspect.isgeneratorfunction) or _is(function, inspect.isasyncgenfunction):
        refuse(where, "a function that returns", "a generator function")
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # many builtins have none
        pass
    else:
        try:
            signature.bind(*args, **keywords)
        except TypeError as error:
            message = f"{where} cannot be called with these arguments: {error}"
            raise SagaDefinitionError(message) from None
    is_async = _is(function, inspect.iscoroutinefunction)
    return Call(function, args, keywords, _needs(args, keywords.values()), is_async)


def _is(function: Any, test: Callable[[Any], bool]) -> bool:
    """Test a callable: a function, a partial or method of one, or an object with a `__call__`."""
    while isinstance(function, partial):
        function = function.func
    return test(function) or (
        not isinstance(function, (type, FunctionType, MethodType))
        and test(getattr(type(function), "__call__", None))  # noqa: B004 - not a test for callable
    )


# --- operations --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do when an operation goes wrong; most operations share one."""

    retry: Retry | None = None
    compensation_retry: Retry | None = None
    timeout: float | None = None  # seconds, for each attempt
    pivot: bool = False
    doubtful: ErrorTypes = DOUBTFUL
    park: bool = False  # on doubt, leave it to a person
    ask: Call | None = None  # on doubt, ask this


PLAIN = Policy()  # of an operation for which nothing was asked


@dataclass(slots=True)
class Operation:
    """One local transaction of a saga: its action and, optionally, what undoes it."""

    name: str  # unique in the saga
    label: str  # what exceptions call it, as the predecessor did: the function's name
    action: Call
    compensation: Call | None
    after: tuple[int, ...]  # the operations it was declared to come after
    policy: Policy
    scope: str = ""  # "packing.": the child saga in which its placeholders name operations


class Layout(NamedTuple):
    """Where the results of a saga with child sagas lie: an operation's index, or a child's."""

    places: Mapping[str, Any]  # name -> position in items
    items: tuple[int | Layout, ...]

    def shifted(self, by: int) -> Layout:
        """Move it behind other operations."""
        items = (i + by if isinstance(i, int) else i.shifted(by) for i in self.items)
        return Layout(self.places, tuple(items))

    def extended(self, name: str, item: int | Layout) -> Layout:
        """Add an operation or a child behind the others."""
        return Layout({**self.places, name: len(self.items)}, (*self.items, item))

    def indexes(self) -> Iterable[int]:
        """Yield the operations in it."""
        for item in self.items:
            if isinstance(item, int):
                yield item
            else:
                yield from item.indexes()


def arrange(layout: Layout, values: Sequence[Any]) -> Results:
    """Lay results out, those of child sagas in `Results` of their own."""
    items = (values[i] if isinstance(i, int) else arrange(i, values) for i in layout.items)
    return Results(items, layout.places)


class Results(list[Any]):
    """The results of a saga, in operation order; also by name: `results["charge"]`.

    A child saga's place holds the child's own `Results`.
    """

    __slots__ = ("_places",)

    def __init__(self, values: Iterable[Any], places: Mapping[str, int | Layout]) -> None:
        """Take the values, and the position of each name among them."""
        super().__init__(values)
        self._places = places

    def __getitem__(self, key: Any) -> Any:
        """Give a result by position or by name, or a plain list for a slice.

        Raises:
            KeyError: No operation has this name.
            IndexError: There are fewer operations.
        """
        if isinstance(key, str):
            position = self._places[key]
            if not isinstance(position, int) or position >= len(self):  # the saga has grown since
                raise KeyError(key)
            return super().__getitem__(position)
        return super().__getitem__(key)

    def __reduce__(self) -> tuple[Any, ...]:
        return Results, (list(self), dict(self._places))


class Definition(NamedTuple):
    """What one run of a saga is to do: its operations and their order, by index."""

    operations: tuple[Operation, ...]
    after: Sequence[Sequence[int]]
    followers: Sequence[Sequence[int]]
    is_chain: bool
    places: Mapping[str, int | Layout]  # what a placeholder's name stands for
    layout: Layout | None = None  # of the results, if there are child sagas
    pivot: int = -1
    on_crash: Literal["resume", "compensate"] = "resume"


def chained(count: int) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Give `after` and `followers` of operations that run in the order of their declaration."""
    links: list[tuple[int, ...]] = list(zip(range(count), strict=False))  # [(0,), (1,), …]
    return [(), *links[:-1]], [*links[1:], ()]


def graphed(operations: Sequence[Operation]) -> tuple[list[tuple[int, ...]], list[list[int]]]:
    """Give `after` and `followers` of operations that wait for what they declare and no more."""
    followers: list[list[int]] = [[] for _ in operations]
    for i, operation in enumerate(operations):
        for j in operation.after:
            followers[j].append(i)
    return [operation.after for operation in operations], followers


def reachable(start: int, edges: Sequence[Sequence[int]]) -> set[int]:
    """Collect all that can be reached from an operation along the edges."""
    found, todo = set[int](), [start]
    while todo:
        new = [i for i in edges[todo.pop()] if i not in found]
        found.update(new)
        todo += new
    return found
