"""Threads where there may be no more: a process has a limit, and an interpreter an end.

A call that has no thread was not made, so it has not failed. A thread that is wanted is asked
for again shortly, since one may have ended meanwhile; at last whoever wants it does without.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from py_api_saga import clock

T = TypeVar("T")

MAX_THREADS = 256  # of one run, unless it says otherwise
SHORTLY = (0.01, 0.04, 0.2)  # seconds between one try and the next


def start(thread: threading.Thread) -> bool:
    """Start a thread, or tell that there can be no more.

    Raises:
        BaseException: What has struck meanwhile; the thread may have begun.
    """
    try:
        thread.start()
    except RuntimeError as error:
        # CPython raises nothing more special: "can't start new thread", or at the interpreter's
        # end "can't create new thread at interpreter shutdown".
        if thread.ident is None and "new thread" in str(error):
            return False
        raise
    return True


def soon(find: Callable[[], T]) -> T:
    """Give what is found now or shortly; what says that there is nothing is false."""
    for pause in SHORTLY:
        if found := find():
            return found
        clock.sleep(pause)
    return find()
