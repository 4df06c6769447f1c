"""What an operation that is running says of itself; for checkers and readers only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Direction: TypeAlias = Literal["action", "compensation", "ask"]


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

    def remaining(self) -> float | None:
        """Give the seconds that are left for this call, or None if nothing limits it.

        The lesser of the operation's `timeout=` and, for an action before the pivot, of the
        saga's `deadline=`; never negative.
        """
