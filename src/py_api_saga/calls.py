"""A function and its arguments: what an action, a compensation and a question are.

What is wrong is refused here, when an operation is added, in words that say where, what was
expected and what came; never with an argument's value, which may be a secret. How a function is
called is found out once, and kept on the function: in what the predecessor called `saga_results`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final, TypeAlias

from py_api_saga.current import current_operation
from py_api_saga.exceptions import SagaDefinitionError, refused
from py_api_saga.placeholder import OWN, SCANNED, Given, Placeholder, placeholders


class Filling:
    """What has to be put into the arguments of a call, if that is not results alone.

    Iterated it gives the operations whose results these are, as the tuple does that stands in its
    place where nothing else is wanted.

    Attributes:
        results: These operations.
        names: Of what each run is given.
    """

    __slots__ = ("names", "results")

    def __init__(self, results: tuple[str, ...], names: tuple[str, ...]) -> None:
        """Say what is wanted."""
        self.results, self.names = results, names

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __reduce__(self) -> tuple[Any, ...]:  # what slots lack for the old pickle protocols
        return Filling, (self.results, self.names)


class Picking(Filling):
    """A filling in which each argument is a whole value that a run was given, or always the same.

    Attributes:
        pick: Makes the arguments, in one call that runs no Python, of what a run was given.
    """

    __slots__ = ("pick",)

    def __init__(
        self, names: tuple[str, ...], pick: Callable[[Sequence[Any]], tuple[Any, ...]]
    ) -> None:
        """Say what is wanted, and how it is had."""
        super().__init__((), names)
        self.pick = pick

    def __reduce__(self) -> tuple[Any, ...]:
        return Picking, (self.names, self.pick)


Needs: TypeAlias = tuple[str, ...] | Filling

# A function, its arguments and keywords, the operations whose results stand in these, and whether
# it is a coroutine function. A plain tuple: there are two in each operation, and any other object
# costs as much as all the rest of reading one. Who wants one part says which; who wants several
# unpacks it.
Call: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any], Needs, bool]


FUNCTION: Final = 0
ARGS: Final = 1
KEYWORDS: Final = 2
NEEDS: Final = 3
IS_ASYNC: Final = 4


# --- how a function is called ------------------------------------------------------------------


# Flags of code that can't be checked by counting, since it takes *args (0x4) or **keywords (0x8),
# or that is not a function to call and be done: generators, also asynchronous ones (0x20, 0x200).
_ODD = 0x4 | 0x8 | 0x20 | 0x200
_COROUTINE = 0x80


def is_coroutine_function(function: FunctionType) -> bool:
    """Tell whether a function is one by its code, or because somebody has marked it so."""
    if function.__code__.co_flags & _COROUTINE:
        return True
    marks = vars(function)
    if not marks or not marks.keys() - {"saga_results"}:
        return False
    from inspect import iscoroutinefunction  # noqa: PLC0415 - 9 ms, and few functions are marked

    return iscoroutinefunction(function)


class SagaResults(Sequence["Any"]):
    """The predecessor's `function.saga_results`: the results so far, in operation order.

    One object for each function and all runs. It holds no results: it looks at the context it is
    read in. What it holds is how its function is called, which takes longer to find out.

    Attributes:
        code: The code that this is true of, or None: a decorator may copy a function's attributes.
        takes: How many arguments; -1 if they can't simply be counted.
        is_async: Whether it is a coroutine function.
    """

    __slots__ = ("code", "is_async", "takes")

    def __init__(self, function: FunctionType | None = None) -> None:
        """Look at a function; at none where it was pickled, and will be looked at again."""
        self.code, self.is_async, self.takes = None, False, -1
        if function is not None:
            self.code = code = function.__code__
            self.is_async = is_coroutine_function(function)
            if not (code.co_flags & _ODD or code.co_kwonlyargcount):
                self.takes = code.co_argcount

    def __reduce__(self) -> tuple[type[SagaResults], tuple[()]]:
        return SagaResults, ()

    def _list(self) -> list[Any]:
        return list(current_operation().results.values())

    def __getitem__(self, index: Any) -> Any:
        return self._list()[index]

    def __len__(self) -> int:
        return len(self._list())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._list())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SagaResults) or self._list() == other

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: list[Any]) -> list[Any]:
        return self._list() + other

    def copy(self) -> list[Any]:
        """Give a list of them, as the predecessor's list did."""
        return self._list()

    def __repr__(self) -> str:
        try:
            return repr(self._list())
        except LookupError:
            return "<saga_results: no operation is running here>"


def mark(function: Any) -> None:
    """Give a function its `saga_results` that is called without having been read as a call."""
    if type(function) is FunctionType and not hasattr(function, "saga_results"):
        function.saga_results = SagaResults(function)  # type: ignore[attr-defined]  # as below


# --- reading -----------------------------------------------------------------------------------


_NO_KEYWORDS: Mapping[str, Any] = {}
# Most arguments are of these types, which is seen faster than that they are none of SCANNED.
ATOMS = frozenset({int, str, float, bool, bytes, type(None)})


def plain_call(function: Any = None, *args: Any) -> Call | None:
    """Read a plain function with as many arguments as it takes; None if it is anything else."""
    if type(function) is not FunctionType:
        return None
    try:
        known: Any = function.saga_results  # type: ignore[attr-defined]  # whatever is called so
    except AttributeError:
        known = None
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
    call = plain_call(function, *args) or _method_call(function, tuple(args))
    return call or _read_odd_call(function, tuple(args), role, position)


def _method_call(method: Any, args: tuple[Any, ...]) -> Call | None:
    """Read a method of an object that is a plain function; None if it is anything else."""
    if type(method) is not MethodType:
        return None
    call = plain_call(method.__func__, None, *args)  # not its object, which might be a list
    if call is None:
        return None
    _, _, keywords, needs, is_async = call
    return method, args, keywords, needs, is_async


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
    if fault := misfit(function, args, keywords):
        raise SagaDefinitionError(f"{where} cannot be called with these arguments: {fault}")
    if type(function) is FunctionType:  # of a partial
        function.saga_results = SagaResults(function)  # type: ignore[attr-defined]
    return function, args, keywords, needs_of(args, keywords.values()), is_async(function)


def misfit(function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> str:
    """Say why a callable can't be called with these arguments; empty if it can, or can't tell."""
    import inspect  # noqa: PLC0415 - as above

    # Many builtins have no signature. Of one that has, `ast` parses the text, which in some
    # releases of 3.11 and 3.12 fails where two threads do so at once (python/cpython#106905).
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError, SystemError):
        return ""
    try:
        signature.bind(*args, **keywords)
    except TypeError as error:
        return str(error)
    return ""


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
