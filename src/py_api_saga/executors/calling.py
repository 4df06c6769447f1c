"""What a call is made of: its function, and its arguments with results in their places."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from py_api_saga.calls import Call, Filling, Picking
from py_api_saga.definition import Layout, arrange
from py_api_saga.executors.running import SeenRun
from py_api_saga.operation import Later, Operation
from py_api_saga.placeholder import OWN, Hole, Placeholder, found, resolve
from py_api_saga.status import MISSING

# Asking a type for an attribute that it lacks costs 400 ns.
NEVER_AWAITABLE = frozenset({type(None), bool, int, float, str, bytes, tuple, list, dict, set})


def is_awaitable(value: object) -> bool:
    """Tell whether what a plain function has returned is to be awaited."""
    returned = type(value)
    if returned in NEVER_AWAITABLE or returned is Later:  # which only pretends to be: see there
        return False
    return hasattr(returned, "__await__")


def not_awaited(run: SeenRun, i: int, kind: str, awaitable: Any) -> TypeError:
    """A plain function has returned an awaitable, which is closed."""
    with suppress(Exception):  # the user's; it is ended so that it does not warn, and no more
        end = getattr(awaitable, "close", None) or getattr(awaitable, "cancel", None)
        if end is not None:
            end()
    return TypeError(
        f"the {kind} of operation {run.name_of(i)!r} returned an awaitable, which a plain "
        "function must not: write it as `async def`, and run the saga under asyncio"
    )


def filled(
    run: SeenRun, operation: Operation, i: int, call: Call
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Put the results, and what the run was given, in the place of the placeholders.

    Raises:
        LookupError: A result is not known, since its operation was resolved without one.
    """
    _, args, keywords, needs, _ = call
    if type(needs) is Picking:
        return needs.pick(run.values), keywords
    values = run.values if type(needs) is Filling else ()
    results, names = run.results, run.names

    def known(placeholder: Placeholder) -> object:
        name = placeholder.__saga_operation__
        if type(placeholder) is Hole:
            return values[name]
        place = i if name == OWN else names.get(operation.scope + name)
        result = arrange(place, results) if isinstance(place, Layout) else results[place or 0]
        if result is MISSING:
            message = f"the result of {name or run.name_of(i)!r} is not known"
            raise LookupError(message)
        return found(placeholder, result)

    done: dict[int, Any] = {}
    args = tuple([resolve(arg, known, done) for arg in args])
    return args, {name: resolve(value, known, done) for name, value in keywords.items()}
