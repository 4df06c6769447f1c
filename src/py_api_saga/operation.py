"""An operation as data: its calls and its policy, validated.

What is wrong is refused here, when an operation is added, in words that say where, what was
expected and what came; never with an argument's value, which may be a secret.
"""

from __future__ import annotations

from collections import namedtuple
from functools import partial
from types import FunctionType, MethodType

from py_api_saga.context import SagaResults, is_coroutine_function
from py_api_saga.doubtful import DOUBTFUL, ErrorTypes
from py_api_saga.entries import ACTION
from py_api_saga.exceptions import SagaDefinitionError, refused
from py_api_saga.interrupts import is_interrupt
from py_api_saga.log import complain
from py_api_saga.placeholder import OWN, SCANNED, Given, Placeholder, placeholders

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Final, Literal, TypeAlias

    from py_api_saga.retry import Retry


# --- asking what came of a call in doubt -----------------------------------------------------


class Happened(namedtuple("Happened", "result")):  # noqa: PYI024 - a typed one takes 0.2 ms more
    """The action took effect, and this was its result."""

    __slots__ = ()


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


class Filling:
    """What has to be put into the arguments of a call, if that is not results alone.

    Iterated it gives the operations whose results these are, as the tuple does that stands in its
    place where nothing else is wanted.

    Attributes:
        results: These operations.
        names: Of what each run is given.
        pick: Makes the arguments of what a run was given, if each of them is a whole value or the
            same in all runs; None if there is more to it, or as long as the values have no numbers.
    """

    __slots__ = ("names", "pick", "results")

    def __init__(
        self,
        results: tuple[str, ...],
        names: tuple[str, ...],
        pick: Callable[[Sequence[Any]], tuple[Any, ...]] | None = None,
    ) -> None:
        """Say what is wanted."""
        self.results, self.names, self.pick = results, names, pick

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __reduce__(self) -> tuple[Any, ...]:  # what slots lack for the old pickle protocols
        return Filling, (self.results, self.names, self.pick)


Needs: TypeAlias = "tuple[str, ...] | Filling"

# A function, its arguments and keywords, the operations whose results stand in these, and whether
# it is a coroutine function. A plain tuple: there are two in each operation, and any other object
# costs as much as all the rest of reading one. Who wants one part says which; who wants several
# unpacks it.
Call: TypeAlias = "tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any], Needs, bool]"


FUNCTION: Final = 0
ARGS: Final = 1
KEYWORDS: Final = 2
NEEDS: Final = 3
IS_ASYNC: Final = 4

_NO_KEYWORDS: Mapping[str, Any] = {}
# Most arguments are of these types, which is seen faster than that they are none of SCANNED.
ATOMS = frozenset({int, str, float, bool, bytes, type(None)})


def plain_call(function: Any = None, *args: Any) -> Call | None:
    """Read a plain function with as many arguments as it takes; None if it is anything else."""
    if type(function) is not FunctionType:
        return None
    known = getattr(function, "saga_results", None)  # or whatever the user calls so
    if type(known) is not SagaResults or known.code is not function.__code__:
        function.saga_results = known = SagaResults(function)  # type: ignore[attr-defined]
    spare = known.takes - len(args)
    if spare and not 0 < spare <= len(function.__defaults__ or ()):
        return None
    needs: Needs = ()
    for arg in args:
        if type(arg) not in ATOMS and isinstance(arg, SCANNED):
            needs = needs_of(args)
            break
    return function, args, _NO_KEYWORDS, needs, known.is_async


def read_call(value: Any, role: str, position: int) -> Call:
    """Read an action or a compensation in any of its forms and check it against its signature.

    Args:
        value: A callable, a tuple or list of a callable and its arguments, or a partial.
        role: "action", "compensation" or "on_doubt".
        position: Of the operation in its saga, from 1; for messages.

    Raises:
        SagaDefinitionError: It can't be called, or not with these arguments.
    """
    function, *args = value if isinstance(value, (tuple, list)) and value else (value,)
    return plain_call(function, *args) or _read_odd_call(function, tuple(args), role, position)


def needs_of(args: Iterable[object], more: Iterable[object] = ()) -> Needs:
    """Collect what stands in the arguments and keywords of a call, and is not known yet."""
    results, names = dict[str, None](), dict[str, None]()
    for arg in (*args, *more):
        for placeholder in placeholders(arg):
            found = names if type(placeholder) is Given else results
            found[placeholder.__saga_operation__] = None
    if results or names:  # to put these in their place, where it is too late to import anything
        import copy  # noqa: F401, PLC0415 - 0.6 ms, and many sagas have no placeholders
    return Filling(tuple(results), tuple(names)) if names else tuple(results)


def own(needs: Needs, name: str) -> Needs:
    """Say of an operation's own result, that its compensation wants, that it is its own."""
    results = tuple([OWN if need == name else need for need in needs])
    return Filling(results, needs.names) if type(needs) is Filling else results


def _read_odd_call(function: Any, args: tuple[Any, ...], role: str, position: int) -> Call:
    """Read a call of anything but a plain function with the right number of arguments."""
    import inspect  # noqa: PLC0415 - 9 ms, and most calls do without

    where = f"operation {position}: the {role}"
    keywords: Mapping[str, Any] = _NO_KEYWORDS
    if type(function) is partial:  # its arguments may hold placeholders
        args, keywords, function = (*function.args, *args), function.keywords, function.func
    if not callable(function) or isinstance(function, Placeholder):
        error = SagaDefinitionError("Please add function in operation argument.")
        got = type(function).__name__
        error.add_note(
            f"{where} must be a callable or a tuple (callable, *args), got {got}; if that is what "
            "a function has returned, it was called here, at once: instead of "
            'operation(reserve("mug")) write operation((reserve, "mug"))'
        )
        raise error
    if _is(function, inspect.isgeneratorfunction) or _is(function, inspect.isasyncgenfunction):
        raise refused(where, "a function that returns", "a generator function")
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
    if type(function) is FunctionType:  # of a partial
        function.saga_results = SagaResults(function)  # type: ignore[attr-defined]
    return function, args, keywords, needs_of(args, keywords.values()), is_async(function)


def is_async(function: Any) -> bool:
    """Tell whether a callable is a coroutine function, or calls one."""
    if type(function) is FunctionType:
        return is_coroutine_function(function)
    from inspect import iscoroutinefunction  # noqa: PLC0415 - as above

    return _is(function, iscoroutinefunction)


def _is(function: Any, test: Callable[[Any], bool]) -> bool:
    """Test a callable: a function, a partial or method of one, or an object with a `__call__`."""
    while isinstance(function, partial):
        function = function.func
    return test(function) or (
        not isinstance(function, (type, FunctionType, MethodType))
        and test(getattr(type(function), "__call__", None))  # noqa: B004 - not a test for callable
    )


def label_of(function: Any) -> str:
    """Name a callable as the predecessor did: by `__name__`, or else by its type."""
    try:
        label = function.__name__
    except AttributeError:
        return type(function).__name__
    return label if isinstance(label, str) else type(function).__name__


# --- operations --------------------------------------------------------------------------------


class Policy:
    """What to do when an operation goes wrong; most operations share one.

    Attributes:
        retry, compensation_retry: When to call again, or None.
        timeout: Seconds for each attempt, or None.
        pivot: It is the pivot.
        doubtful: The errors that leave open what came of it.
        park: On doubt, leave it to a person.
        ask: On doubt, ask this, or None.
    """

    def __init__(
        self,
        retry: Retry | None = None,
        compensation_retry: Retry | None = None,
        timeout: float | None = None,
        pivot: bool = False,  # noqa: FBT001, FBT002 - as it is given to an operation
        doubtful: ErrorTypes = DOUBTFUL,
        park: bool = False,  # noqa: FBT001, FBT002
        ask: Call | None = None,
    ) -> None:
        """By default do nothing."""
        self.retry, self.compensation_retry, self.timeout = retry, compensation_retry, timeout
        self.pivot, self.doubtful, self.park, self.ask = pivot, doubtful, park, ask

    def falling_back_on(self, other: Policy) -> Policy:
        """Copy it, with another one's retries where it has none."""
        return Policy(
            self.retry or other.retry,
            self.compensation_retry or other.compensation_retry,
            self.timeout,
            self.pivot,
            self.doubtful,
            self.park,
            self.ask,
        )

    def asking(self, ask: Call | None) -> Policy:
        """Copy it, with another question."""
        policy = self.falling_back_on(PLAIN)
        policy.ask = ask
        return policy

    def answered(
        self,
        kind: str,
        error: Exception,
        attempt: int,
        handled: BaseException | None,
        *,
        noted: bool,
    ) -> Policy:
        """Give what decides the same of this error, and asks no function of the user's.

        Whoever has made a call asks these: what the error means (`executors.meaning`) is then
        decided anywhere.

        Args:
            kind: Of the call.
            error: What it raised.
            attempt: The number of the attempt, from 1.
            handled: What its caller was handling, which is none of the call's.
            noted: Whether doubt is certain without asking.

        Raises:
            BaseException: An interrupt that has struck the function in a `Retry`. One that fails
                means that there is no further attempt, and is logged.
        """
        policy = self.falling_back_on(self)
        if kind != ACTION:
            policy.compensation_retry = _answered(self.compensation_retry, error, attempt)
            return policy
        policy.retry = _answered(self.retry, error, attempt)
        if not noted:
            policy.doubtful = self.doubtful.answered(error, handled)
        return policy


def _answered(rule: Retry | None, error: Exception, attempt: int) -> Retry | None:
    try:
        return None if rule is None else rule.answered(error, attempt)
    except BaseException as raised:
        if is_interrupt(raised):
            raise
        complain("the function in Retry(on=...) raised: no further attempt", error=raised)
        return None


PLAIN = Policy()  # of an operation for which nothing was asked


class Operation:
    """One local transaction of a saga: its action and, optionally, what undoes it.

    Whoever makes one sets all its attributes: a constructor in Python costs as much as reading a
    call. `Operation.of` is one for those who make few.

    Attributes:
        label: What exceptions call it: its name or, as the predecessor did, the function's.
        action: What it does.
        compensation: What undoes it, or None.
        after: The operations it was declared to come after.
        policy: What to do when it goes wrong.
        scope: "packing.": the child saga in which its placeholders name operations.
    """

    __slots__ = ("action", "after", "compensation", "label", "policy", "scope")

    label: str
    action: Call
    compensation: Call | None
    after: tuple[int, ...]
    policy: Policy
    scope: str

    @classmethod
    def of(
        cls,
        label: str,
        action: Call,
        compensation: Call | None,
        after: tuple[int, ...],
        policy: Policy,
        scope: str,
    ) -> Operation:
        """Make one."""
        operation = cls()
        operation.label, operation.action, operation.compensation = label, action, compensation
        operation.after, operation.policy, operation.scope = after, policy, scope
        return operation

    def __reduce__(self) -> tuple[Any, ...]:  # what slots lack for the old pickle protocols
        values = (self.label, self.action, self.compensation, self.after)
        return Operation.of, (*values, self.policy, self.scope)
