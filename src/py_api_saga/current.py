"""Which operation is running, and what it says of itself, to the code it calls, however deep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import ContextVar
from typing import Any, Literal, Protocol, Self, TypeAlias

Direction: TypeAlias = Literal["action", "compensation", "ask"]
Where: TypeAlias = Literal["caller", "loop", "thread"]


class Sending(Protocol):
    """One request, from before it is sent: the context manager that `sending()` gives."""

    def __enter__(self) -> Self:
        """Note that something may be sent from here on."""

    def __exit__(self, *_: object) -> None:
        """Nothing: what was noted stands, whether the block has raised or not."""

    def refused(self) -> None:
        """Strike this note, and no other: the service has said that it did not do it, for good."""


class CurrentOperation(Protocol):
    """The operation that is running, as `current_operation()` gives it.

    Attributes:
        saga_id: The id of the run: what was given as `saga_id=`, or a random one.
        saga_name: The name of the saga, or None.
        operation: The name of the operation.
        direction: "action", "compensation" or, in an `on_doubt` function, "ask".
        attempt: The number of this attempt of the action or the compensation, from 1.
        idempotency_key: The same for every attempt of this call and different from any other
            call's, at most 255 characters. Send it along, and the service can tell a repetition
            from a new request. A question has the key of the action it asks about.
        action_key: The key of the operation's action; in the action itself the same.
        results: The results so far: operation name to result, in operation order, a copy.
        where: "caller" if this call is made in the thread that runs the saga, "loop" for a
            coroutine function, in the event loop, and "thread" in a thread of this library's own,
            where nobody else closes what belongs to a thread.
    """

    @property
    def saga_id(self) -> str: ...  # noqa: D102 - described above
    @property
    def saga_name(self) -> str | None: ...  # noqa: D102
    @property
    def operation(self) -> str: ...  # noqa: D102
    @property
    def direction(self) -> Direction: ...  # noqa: D102
    @property
    def attempt(self) -> int: ...  # noqa: D102
    @property
    def idempotency_key(self) -> str: ...  # noqa: D102
    @property
    def action_key(self) -> str: ...  # noqa: D102
    @property
    def results(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def where(self) -> Where: ...  # noqa: D102

    def remaining(self) -> float | None:
        """Give the seconds that are left for this call, or None if nothing limits it.

        The lesser of the operation's `timeout=` and, for an action before the pivot, of the
        saga's `deadline=`; never negative.
        """

    def sending(self) -> Sending:
        """Give a context manager to send a request in: `with operation.sending() as request:`.

        Once it was entered, an error that the attempt ends with, in the block or after it, leaves
        the action in doubt, whatever the error is and whatever it says; unless `request.refused()`
        was called, since the answer was a final no. A success, and a compensation, ignore it. Any
        thread or task of the operation may send so, each request in a `with` of its own.
        """


# What is around each call: gives a context manager, which is entered before it and left after it;
# around a coroutine function it may have to be awaited.
Around: TypeAlias = Callable[
    [CurrentOperation], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]
]

# Set for each call, asked for by few: so it is not a `CurrentOperation`, but what makes one, and
# of what. None rather than unset, so that a run which ends can put back what it found.
Maker: TypeAlias = tuple[Callable[[Any, Any, Any], CurrentOperation], Any, Any, Any]
current: ContextVar[Maker | None] = ContextVar("py_api_saga", default=None)


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
