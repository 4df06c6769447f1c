"""Which operation is running: known to the code it calls, however deep, without being passed."""

from __future__ import annotations

from contextvars import ContextVar

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
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
