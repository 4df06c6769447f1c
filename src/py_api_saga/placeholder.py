"""Arguments that are not known when a saga is written down.

`result_of("charge")["id"]` is known once another operation has run, `given("order")["id"]` once the
arguments of a run are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

OWN = ""  # what `result_of()` names: the operation that the compensation belongs to

_CURE = (
    "is not known yet: it is a placeholder until the operation has run. Pass it to an "
    "operation as an argument (whole, or in a list, tuple or dict) and work with it there"
)


def result_of(operation: str = OWN) -> Any:  # Any: it stands for a value of any type
    """Stand for the result of an operation, as an argument of a later call.

    Items and attributes of the result are named as on the result itself:
    `result_of("charge")["id"]`, `result_of("reserve").shelf`. It is replaced at the time of the
    call, also inside lists, tuples and dicts at any depth, and orders the two operations in a
    choreography. The result of a child saga is the `Results` of the child.

    Args:
        operation: The name of an operation that was declared before. Without it, the result of
            the operation's own action, in its compensation.

    Raises:
        SagaDefinitionError: From `operation(...)`, which refuses names that are unknown, come
            later or are shared by several operations.
        TypeError: If the placeholder is used as if it were the result: formatted, compared,
            called, iterated, counted with, or tested for truth.
    """
    if not isinstance(operation, str):
        message = f"result_of(): expected the name of an operation, got {type(operation).__name__}"
        raise TypeError(message)
    return Placeholder(operation)


def given(name: str, /) -> Any:  # as `result_of`
    """Stand for an argument that each run of a saga is given anew, by `saga.given(name=…)`.

    Items and attributes of it are named as on the argument itself: `given("order")["id"]`. It may
    stand in the arguments of actions and of compensations, also inside lists, tuples and dicts at
    any depth; it is not the result of an operation that has the same name, and orders nothing.

    Args:
        name: An identifier, by which the argument is given. One name may stand in many places.

    Raises:
        TypeError: The name is not a string; or the placeholder is used as if it were the argument:
            formatted, compared, called, iterated, counted with, or tested for truth.
        ValueError: The name is not an identifier.
    """
    if not isinstance(name, str):
        message = f"given(): expected the name of an argument, got {type(name).__name__}"
        raise TypeError(message)
    if not name.isidentifier():
        message = f"given(): expected an identifier, got {name[:_LONGEST]!r}"
        raise ValueError(message)
    if not name.isascii():  # Python writes the names of arguments in one form, and so do we
        from unicodedata import normalize  # noqa: PLC0415 - few names need it

        name = normalize("NFKC", name)
    return Given(name)


def _refuse(self: Placeholder, *_: object) -> NoReturn:
    message = f"{self!r} {_CURE}."
    raise TypeError(message)


class Placeholder:
    """What `result_of` returns. Its slots have dunder names: any other name is the result's."""

    __slots__ = ("__saga_operation__", "__saga_path__")
    __saga_word__ = "result_of"

    __saga_operation__: Any  # a text, but for a `Hole`

    def __init__(self, operation: Any, path: tuple[tuple[bool, Any], ...] = ()) -> None:
        """Stand for the result of `operation`, then each (is an attribute, key) of the path."""
        self.__saga_operation__ = operation
        self.__saga_path__ = path

    def __getitem__(self, key: object) -> Placeholder:
        """Stand for an item of the result."""
        return type(self)(self.__saga_operation__, (*self.__saga_path__, (False, key)))

    def __getattr__(self, name: str) -> Placeholder:
        """Stand for an attribute of the result."""
        if name.startswith("__") and name.endswith("__"):  # protocols ask for these, people do not
            raise AttributeError(name)
        return type(self)(self.__saga_operation__, (*self.__saga_path__, (True, name)))

    def __repr__(self) -> str:
        name = self.__saga_operation__
        steps = (f".{key}" if attribute else f"[{key!r}]" for attribute, key in self.__saga_path__)
        return f"{self.__saga_word__}({repr(name) * (name != OWN)}){''.join(steps)}"

    def __reduce__(self) -> tuple[type[Placeholder], tuple[Any, ...]]:
        return type(self), (self.__saga_operation__, self.__saga_path__)

    def __copy__(self) -> Placeholder:
        return self

    def __deepcopy__(self, _: object) -> Placeholder:
        return self

    __str__ = __format__ = __bool__ = __len__ = __iter__ = __call__ = __contains__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = _refuse
    __int__ = __float__ = __complex__ = __index__ = __bytes__ = __round__ = __fspath__ = _refuse
    __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = _refuse
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = _refuse
    __neg__ = __pos__ = __abs__ = __invert__ = __and__ = __or__ = __xor__ = _refuse
    __rand__ = __ror__ = __rxor__ = __reversed__ = _refuse
    __setitem__ = __delitem__ = _refuse


class Given(Placeholder):
    """What `given` returns; its name is that of an argument."""

    __slots__ = ()
    __saga_word__ = "given"


class Hole(Placeholder):
    """A `Given` in a saga that is ready to be run: its name is the number of the value."""

    __slots__ = ()


_LONGEST = 64  # characters of a name in a message
_SHOWN = 20  # names of a result
PLAIN_ERRORS = (KeyError, IndexError, AttributeError, TypeError)
SCANNED = (Placeholder, list, tuple, dict)  # the types of arguments that may hold a placeholder


def placeholders(value: object) -> Iterator[Placeholder]:
    """Yield each placeholder in a value."""
    todo, seen = [value], set[int]()
    while todo:
        value = todo.pop()
        if isinstance(value, Placeholder):
            yield value
        elif isinstance(value, SCANNED) and id(value) not in seen:
            seen.add(id(value))  # a list may hold itself
            todo.extend(value.values() if isinstance(value, dict) else value)


def found(placeholder: Placeholder, known: Any) -> Any:
    """Go along the path of a placeholder, or say where that ends and what is there."""
    name, path = placeholder.__saga_operation__, placeholder.__saga_path__
    for step, (attribute, key) in enumerate(path):
        try:
            known = getattr(known, key) if attribute else known[key]
        except Exception as error:
            kind, there = type(error), type(placeholder)(name, path[:step])
            message = f"{placeholder!r} is not there: {there!r} is {_described(known)}"
            if kind not in PLAIN_ERRORS:  # a type of the user's, which may be made otherwise
                error.add_note(message)
                raise
            raise kind(message) from error
    return known


def _described(value: Any) -> str:
    """Say what a result is and has: its type, and the names in it; never what is under these."""
    words = f"of the type {type(value).__name__}"
    if isinstance(value, dict):
        names = [repr(key) for key in value if isinstance(key, (str, int))]
        return f"{words} and has {', '.join(names[:_SHOWN]) or 'no names'}" + _more(names)
    if isinstance(value, (str, bytes, list, tuple)):
        return f"{words} and has the length {len(value)}"
    names = [name for name in getattr(value, "__dict__", ()) if not name.startswith("_")]
    return words + (f" and has {', '.join(names[:_SHOWN])}" if names else "") + _more(names)


def _more(names: list[str]) -> str:
    return f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""


def resolve(value: Any, known: Callable[[Placeholder], object], done: dict[int, Any]) -> Any:
    """Rebuild a value with something in place of the placeholders; the rest is not copied.

    Args:
        value: An argument.
        known: Gives what a placeholder stands for.
        done: What was rebuilt before, by id: lists may be shared, and hold themselves.
    """
    if isinstance(value, Placeholder):
        return known(value)
    if not isinstance(value, SCANNED):
        return value
    if id(value) in done:
        return done[id(value)]
    if next(placeholders(value), None) is None:
        done[id(value)] = value
        return value
    if isinstance(value, tuple):
        items = [resolve(item, known, done) for item in value]
        make: Callable[[list[Any]], Any] = getattr(type(value), "_make", type(value))  # namedtuple
        rebuilt = make(items)
    else:  # a copy keeps a subclass, and what a defaultdict defaults to
        from copy import copy  # noqa: PLC0415 - 2 ms, and few values need it

        done[id(value)] = rebuilt = copy(value)
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            rebuilt[key] = resolve(item, known, done)
    done[id(value)] = rebuilt
    return rebuilt
