"""Operations for the tests of Temporal, whose worker is in the process of the test."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

from world import PATIENCE

from py_api_saga import Later, current_operation, later

log: list[str] = []  # "+name" and "-name", in turn
calls: list[tuple[str, int]] = []  # key and attempt of each call
gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def forget() -> None:
    """Begin with a shop in which nothing has happened."""
    log.clear()
    calls.clear()
    gates.clear()


def _called() -> int:
    operation = current_operation()
    calls.append((operation.idempotency_key, operation.attempt))
    return operation.attempt


def do(name: str, *seen: Any) -> Any:
    """Do something, and give what was seen, or its name."""
    _called()
    log.append(f"+{name}")
    return seen[0] if seen else name


def undo(name: str) -> None:
    """Undo it."""
    _called()
    log.append(f"-{name}")


def wait(name: str, gate: str) -> str:
    """Do something once a gate is open."""
    _called()
    assert gates[gate].wait(PATIENCE)
    log.append(f"+{name}")
    return name


def wait_once(name: str, gate: str) -> str:
    """Wait for a gate at the first attempt only."""
    if _called() == 1:
        assert gates[gate].wait(PATIENCE)
        return name
    log.append(f"+{name}")
    return name


def refuse(name: str) -> None:
    """Fail."""
    _called()
    raise ValueError(f"{name} is not to be had")


def wait_and_refuse(name: str, gate: str) -> None:
    """Fail once a gate is open."""
    _called()
    assert gates[gate].wait(PATIENCE)
    raise ValueError(f"{name} is not to be had")


def fail_once(name: str) -> str:
    """Fail at the first attempt only."""
    if _called() == 1:
        raise ConnectionRefusedError(f"{name} is busy")
    log.append(f"+{name}")
    return name


def begin(name: str) -> Later:
    """Begin what is answered later."""
    _called()
    log.append(f"+{name}")
    return later(timeout=None)


def large(size: int) -> str:
    """Give a large result, of which each character is escaped in JSON."""
    return '"' * size


async def block(name: str, gate: str) -> str:
    """Do what a coroutine function must not: block its loop, until a gate is open."""
    _called()
    assert gates[gate].wait(PATIENCE)
    log.append(f"+{name}")
    return name


def begin_until(name: str, at: float) -> Later:
    """Begin what is over by itself at some time."""
    _called()
    log.append(f"+{name}")
    return later(until=at, result=name)
