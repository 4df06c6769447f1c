"""Which operation is running: known to the code it calls, however deep, without being passed."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FunctionType
    from typing import Any, TypeAlias

    from py_api_saga.operating import CurrentOperation

# Set for each call, asked for by few: so it is not a `CurrentOperation`, but what makes one, and
# of what. None rather than unset, so that a run which ends can put back what it found.
Maker: TypeAlias = "tuple[Callable[[Any, Any, Any], CurrentOperation], Any, Any, Any]"
current: ContextVar[Maker | None] = ContextVar("py_api_saga", default=None)

# Set while a saga that is on record is gone on with, also for what its operations call: the loop
# of its coroutine functions, if there is one for several sagas; and what gives, of an error, what
# says in it that this process is not set up, or None.
Unready: TypeAlias = "Callable[[BaseException], BaseException | None]"
recovering: ContextVar[tuple[Any, Unready] | None] = ContextVar(
    "py_api_saga_recovering", default=None
)


def current_operation() -> CurrentOperation:
    """Give the operation that is running in this context.

    Raises:
        LookupError: No operation is running. In a unit test of an operation,
            `with py_api_saga.testing.operation():` supplies one.
    """
    running = current.get()
    if running is None:
        message = (
            "no operation is running here: current_operation() works inside the functions that "
            "a saga calls; in a test, use `with py_api_saga.testing.operation():`"
        )
        raise LookupError(message)
    make, *parts = running
    return make(*parts)


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
