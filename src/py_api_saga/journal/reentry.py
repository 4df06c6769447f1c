"""What is locked, and asked for again by whatever has interrupted the thread that holds it.

That is a signal handler, or a finalizer: it would wait for itself. So the locks are reentrant ones,
which know who holds them, and whoever would take one looks first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from py_api_saga.exceptions import JournalError


def ownership(lock: threading.RLock) -> Callable[[], bool]:
    """Give what tells whether the thread that calls it holds a lock.

    Not public, but what `threading.Condition` asks; to note the thread beside the lock would leave
    a gap between the two in which a signal may strike.
    """
    asked: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]  # noqa: SLF001
    return asked


def is_held(lock: threading.RLock) -> bool:
    """Tell whether this thread holds a lock."""
    return ownership(lock)()


def interrupted() -> JournalError:
    """A signal handler or a finalizer would wait for the thread that it has interrupted."""
    return JournalError(
        "do not use a journal in a signal handler or a finalizer, which may have interrupted it: "
        "set a flag there, or raise SystemExit"
    )
