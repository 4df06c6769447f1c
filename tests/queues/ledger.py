"""What happened, as it is seen from outside: a file to which every process appends lines."""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from py_api_saga import current_operation

FILE = "LEDGER"  # the variable that names it


@dataclass(frozen=True)
class Line:
    """One thing that happened.

    Attributes:
        what: "begin" and "end" of a call; "effect" and "undone" of what it changed; "struck" by a
            time limit; "outcome" of a saga, with the word in `of`.
        order: Whose it is.
        of: The operation, or what `what` says.
        key: The idempotency key; of "undone", that of the action.
        who: The process and the thread.
    """

    what: str
    order: str
    of: str = ""
    key: str = ""
    who: tuple[int, int] = (0, 0)


def note(
    what: str,
    order: str,
    of: str = "",
    key: str = "",
    *,
    who: tuple[int, int] | None = None,
    file: Path | None = None,
) -> None:
    """Append a line, in one write: it is there or not, whoever is killed."""
    who = who or (os.getpid(), threading.get_native_id())
    text = json.dumps([what, order, of, key, who]) + "\n"
    descriptor = os.open(file or os.environ[FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


@contextmanager
def calling(order: str, name: str) -> Iterator[None]:
    """Note that the function of an operation is being called, as it sees itself."""
    note("begin", order, name, current_operation().idempotency_key)
    try:
        yield
    finally:
        note("end", order, name)


def take_effect(order: str, name: str) -> None:
    """Change what an operation changes."""
    note("effect", order, name, current_operation().idempotency_key)


def take_back(order: str, name: str) -> None:
    """Undo what an operation has changed, if it has."""
    note("undone", order, name, current_operation().action_key or "")


def read(file: Path | None = None) -> list[Line]:
    """Read all lines, in the order in which they came."""
    file = file or Path(os.environ[FILE])
    lines = file.read_text().splitlines() if file.exists() else []
    rows: list[list[Any]] = [json.loads(line) for line in lines]
    return [Line(what, order, name, key, tuple(who)) for what, order, name, key, who in rows]


def of(order: str, lines: list[Line]) -> list[Line]:
    """Pick the lines of an order."""
    return [line for line in lines if line.order == order]


def count(lines: list[Line], what: str, name: str) -> int:
    """Count the lines that say so of an operation."""
    return sum((line.what, line.of) == (what, name) for line in lines)


def standing(lines: list[Line]) -> list[str]:
    """Give the operations whose effect stands, in the order in which it came about.

    An effect counts once for each key, as it does at a service that honours the key.
    """
    effects = {line.key: line.of for line in lines if line.what == "effect"}
    undone = {line.key for line in lines if line.what == "undone"}
    return [name for key, name in effects.items() if key not in undone]


def contradictions(lines: list[Line]) -> Iterator[str]:
    """Say what must never be, of one order."""
    yield from _at_once(lines)
    undone: set[str] = set()
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in lines:
        if line.what == "begin":
            keys[line.of, line.key.partition(":")[0]].add(line.key)
        elif line.what == "undone":
            undone.add(line.key)
        elif line.what == "effect" and line.key in undone:
            yield f"{line.of} took effect after it was undone"
    for (name, saga), found in keys.items():
        if len(found) > 1:
            yield f"{saga}: {name} was called under {len(found)} keys"


def _at_once(lines: list[Line]) -> Iterator[str]:
    """Find calls that ran at once and must not, and those that did not come to an end."""
    running: dict[str, tuple[int, int]] = {}
    for line in lines:
        if line.what == "begin":
            for other in {line.of, UNDOES.get(line.of, line.of)} & running.keys():
                yield f"{line.of} began while {other} ran in {running[other]}: {line.who}"
            running[line.of] = line.who
        elif line.what == "end":
            running.pop(line.of, None)
        elif line.what == "killed":
            running = {name: who for name, who in running.items() if who[0] != line.who[0]}
    if running:
        yield f"{', '.join(running)} did not come to an end"


UNDOES = {"release": "reserve", "refund": "charge", "cancel": "book"}


def summary(lines: list[Line]) -> list[dict[str, Any]]:
    """Give lines in a form that is easily read."""
    return [{"what": line.what, "of": line.of, "by": line.who} for line in lines]
