"""Operations that a journal can name: functions of a module, and a world that they change."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from py_api_saga import NOT_HAPPENED, Later, current_operation, happened

log: list[str] = []
standing: list[str] = []
keys: list[str] = []
behaviour: dict[str, Callable[[], Any]] = {}  # what a name does besides
_lock = threading.Lock()


def reset() -> None:
    """Forget all."""
    for thing in (log, standing, keys, behaviour):
        thing.clear()


def do(name: str, *_: Any, **__: Any) -> Any:
    """Take effect, once for each key."""
    result: Any = name.upper()
    key = current_operation().idempotency_key
    with _lock:
        log.append(name)
        again = key in keys
        keys.append(key)
    if name in behaviour:
        result = behaviour[name]()
    with _lock:
        if not again or name not in standing:
            standing.append(name)
    return result


def undo(name: str, *_: Any, **__: Any) -> Any:
    """Take an effect back, if it is there; or begin to."""
    begun = _undo(name)
    return begun if isinstance(begun, Later) else f"{name} undone"


def _undo(name: str) -> Any:
    with _lock:
        log.append(f"undo {name}")
        keys.append(current_operation().idempotency_key)
        if name in standing:
            standing.remove(name)
    return behaviour[f"undo {name}"]() if f"undo {name}" in behaviour else None


async def ado(name: str, *rest: Any) -> Any:
    """Take effect under asyncio, and await what it does besides."""
    await asyncio.sleep(0)
    result = do(name, *rest)
    return await result if isawaitable(result) else result


async def aundo(name: str, *_: Any) -> str:
    """Take it back there, in the same way."""
    await asyncio.sleep(0)
    result = _undo(name)
    if isawaitable(result):
        await result
    return f"{name} undone"


def ask(name: str, *_: Any, **__: Any) -> Any:
    """Look whether it stands."""
    log.append(f"ask {name}")
    if f"ask {name}" in behaviour:
        return behaviour[f"ask {name}"]()
    return happened(name.upper()) if name in standing else NOT_HAPPENED


async def aask(name: str, *_: Any, **__: Any) -> Any:
    """Look there."""
    await asyncio.sleep(0)
    return ask(name)


def fail(error: BaseException) -> Callable[[], Any]:
    """Make a behaviour that raises."""

    def raise_it() -> None:
        raise error

    return raise_it


def is_busy(error: Exception) -> bool:
    """Tell whether it is worth another attempt."""
    return "busy" in str(error)


def give() -> Any:
    """Give whatever it is told to."""
    return behaviour["give"]()


def is_lost(error: Exception) -> bool:
    """Judge what leaves doubt."""
    return error.args == ("lost",)
