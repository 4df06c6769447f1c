"""Points that a worker passes: it may be told to die at one, by number.

What it passes is a file of lines of one length, so that whoever writes one is told its number,
whatever other worker writes at the same moment.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from .shop import FOLDER

LINE = 48  # bytes
# Before each of these is called, and when it has returned. What is the engines' own is what makes
# something durable: there a worker dies between what it has done and the record of it.
ALL = (
    ("py_api_saga.engines.course", "Course", ("calls", "tell")),
    ("py_api_saga.engines.errand", "Workshop", ("call",)),
    ("engines.shop", "", ("_hit", "_take", "_give_back")),
)
OF_ENGINES = {
    "dbos": (
        (
            "dbos._sys_db",
            "SystemDatabase",
            ("record_operation_result", "update_workflow_outcome", "start_queued_workflows"),
        ),
    ),
    "temporal": (
        (
            "temporalio.bridge.worker",
            "Worker",
            ("complete_workflow_activation", "complete_activity_task"),
        ),
    ),
}
_QUIET = {"start_queued_workflows"}  # called all the time: a point only if it has found something


def pass_point(name: str) -> None:
    """Pass one, or die at it."""
    folder = Path(os.environ[FOLDER])
    file = os.open(folder / "points", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{name[: LINE - 1]:<{LINE - 1}}\n".encode())
        number = os.lseek(file, 0, os.SEEK_CUR) // LINE
    finally:
        os.close(file)
    try:
        fatal = int((folder / "fatal").read_text())
    except FileNotFoundError:
        return
    if number == fatal:
        os.kill(os.getpid(), signal.SIGKILL)


def _wrapped(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **options: Any) -> Any:
            pass_point(f"{name} begins")
            result = await function(*args, **options)
            pass_point(f"{name} has ended")
            return result

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        if name not in _QUIET:
            pass_point(f"{name} begins")
        result = function(*args, **options)
        if name not in _QUIET or result:
            pass_point(f"{name} has ended")
        return result

    return called


def set_points(kind: str) -> None:
    """Have this process pass them, as a worker for an engine of this kind."""
    for module, owner, names in (*ALL, *OF_ENGINES[kind]):
        place: Any = import_module(module)
        if owner:
            place = getattr(place, owner)
        for name in names:
            setattr(place, name, _wrapped(name, getattr(place, name)))


class Points:
    """Those of a place, as whoever strikes there sees them."""

    def __init__(self, folder: Path) -> None:
        self._passed, self._fatal = folder / "points", folder / "fatal"

    def begin(self, fatal: int = 0) -> None:
        """Count from one again; at this number whoever passes it dies."""
        self._fatal.write_text(str(fatal))
        self._passed.write_bytes(b"")

    @property
    def passed(self) -> list[str]:
        """Give the names of those that were passed."""
        return [line.strip() for line in self._passed.read_text().splitlines()]
