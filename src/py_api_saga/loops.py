"""Event loops: whose runs in this thread, if any, and what that means for a saga."""

from __future__ import annotations

import sys

from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.log import complain

# How many runs are looked at yet. A look costs a hundredth of a small saga, and whoever blocks a
# loop does so from the beginning; so not all are. Looked at from outside, to save the call.
looks = 1000


def running() -> str | None:
    """Name the library whose event loop runs in this thread: asyncio, trio or none."""
    asyncio = sys.modules.get("asyncio.events")  # programs without a loop do not load it
    if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001 - it raises nothing if there is none
        return "asyncio"
    in_trio = getattr(sys.modules.get("trio.lowlevel"), "in_trio_run", None)
    return "trio" if in_trio is not None and in_trio() else None


def say_if_blocked(how: str) -> None:
    """Say once that a saga blocks the event loop in whose thread it runs.

    Args:
        how: The method that was called.
    """
    global looks  # noqa: PLW0603 - see there
    looks -= 1
    whose = running()
    if whose is not None:
        looks = 0
        advice = f"await a{how}()" if whose == "asyncio" else "call it by trio.to_thread.run_sync"
        complain(
            "%s() blocks the event loop of %s, in whose thread it was called, until the saga has "
            "ended: %s instead (this is said once)",
            how,
            whose,
            advice,
        )


def check_loop(how: str) -> None:
    """Refuse what is awaited under another library than asyncio, or under none.

    Args:
        how: What was called.

    Raises:
        SagaDefinitionError: No event loop of asyncio runs here.
    """
    whose = running()
    if whose != "asyncio":
        message = (
            f"{how}(): expected to be awaited under asyncio, got {whose or 'no event loop'}; "
            "elsewhere, run sagas of plain functions by orchestrator_execute() or "
            "choreography_execute(), in a thread"
        )
        raise SagaDefinitionError(message)
