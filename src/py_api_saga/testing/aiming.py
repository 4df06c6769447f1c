"""What is called in the place of a function with which something goes wrong."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from functools import partial
from typing import Any

from py_api_saga.calls import FUNCTION, IS_ASYNC
from py_api_saga.entries import ACTION, COMPENSATION, Entry, Kind, attempt_of
from py_api_saga.executors.around import exchanged
from py_api_saga.executors.run import Run
from py_api_saga.operation import Later, Operation, call_of
from py_api_saga.testing.wishes import Site, Wishes

HEALS_AFTER = 20  # calls of what is out of order, for whoever never gives up


class Aims:
    """What has gone wrong in one run so far, and what does next.

    Attributes:
        down: What is out of order, by the name of its site, and for how many calls yet.
        interrupts: That were raised in calls.
        begun: What a call has returned that was lost, if its answer comes later; or None.
    """

    def __init__(self, wishes: Wishes) -> None:
        """Begin with all in order."""
        self._wishes = wishes
        self.down: dict[str, int] = {}
        self.interrupts: list[BaseException] = []
        self.begun: Later | None = None

    def are_due(self, site: Site, fault: str | None) -> bool:
        """Tell whether another function is to be called at a site."""
        return fault is not None or site.name in self.down or site.name in self._wishes.sabotaged

    def operations(
        self, run: Run, intent: Entry, site: Site, fault: str | None
    ) -> tuple[Operation, ...]:
        """Give a run's operations, of which one calls another function."""
        i, kind, _, _ = attempt_of(intent)
        call = call_of(run.operations[i], kind)
        before, after = self._errors(run.operations[i], site, fault, is_async=call[IS_ASYNC])
        is_left_out = site.name in self._wishes.sabotaged
        put = partial(
            _raising, before, after, self._lose, is_async=call[IS_ASYNC], is_left_out=is_left_out
        )
        return _with(run.operations, i, kind, exchanged(call[FUNCTION], put))

    def _lose(self, value: object) -> None:
        """Note what nobody is given."""
        if isinstance(value, Later):
            self.begun = value

    def _errors(  # noqa: PLR0911 - one for each kind
        self, operation: Operation, site: Site, fault: str | None, *, is_async: bool
    ) -> tuple[BaseException | None, BaseException | None]:
        """Give what is raised before a function is called, and what after it."""
        transient = partial(self._wishes.transient, operation.policy, site)
        down = self.down.get(site.name)
        if down is not None:
            if down > 1:
                self.down[site.name] = down - 1
            else:
                del self.down[site.name]
            return transient("it is still out of order"), None
        match fault:
            case "refuses":
                return self._wishes.refusal(site.operation), None
            case "flaky":
                return transient("it failed this once"), None
            case "down":
                self.down[site.name] = HEALS_AFTER
                return transient("it is out of order"), None
            case "doubt":
                return ConnectionResetError("the line broke (injected)"), None
            case "lost":
                return None, ConnectionResetError("its answer was lost (injected)")
            case "cancelled":
                kind = CancelledError if is_async else KeyboardInterrupt
                self.interrupts.append(kind("injected"))
                return None, self.interrupts[-1]
        return None, None


def _raising(
    before: BaseException | None,
    after: BaseException | None,
    lose: Callable[[object], None],
    function: Callable[..., Any],
    *,
    is_async: bool,
    is_left_out: bool,
) -> Callable[..., Any]:
    """Give a function that raises before or after it calls another one, if it does so at all."""
    if is_left_out:
        function = _nothing_awaited if is_async else _nothing

    def plain(*args: Any, **keywords: Any) -> Any:
        if before is not None:
            raise before
        value = function(*args, **keywords)
        if after is not None:
            lose(value)
            raise after
        return value

    async def awaited(*args: Any, **keywords: Any) -> Any:
        if before is not None:
            raise before
        value = await function(*args, **keywords)
        if after is not None:
            lose(value)
            raise after
        return value

    return awaited if is_async else plain


def _nothing(*_: object, **__: object) -> None:
    """Stand for an undo that is left out."""


async def _nothing_awaited(*_: object, **__: object) -> None:
    """Stand for one that is a coroutine function."""


def _with(
    operations: tuple[Operation, ...], i: int, kind: Kind, function: Callable[..., Any]
) -> tuple[Operation, ...]:
    """Give operations of which one calls another function."""
    operation = operations[i]
    call = (function, *call_of(operation, kind)[1:])
    action, undo, policy = operation.action, operation.compensation, operation.policy
    if kind == ACTION:
        action = call
    elif kind == COMPENSATION:
        undo = call
    else:
        policy = policy.asking(call)
    aimed = Operation.of(operation.label, action, undo, operation.after, policy, operation.scope)
    return (*operations[:i], aimed, *operations[i + 1 :])
