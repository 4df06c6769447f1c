"""Runs the command `saga` in a process that dies with whoever has started it.

That one keeps the other end of its standard input open as long as it lives. If the environment
names an engine in `SAGA_TEST_POINTS`, it passes points at each of which it may die; then another
one comes in its stead at once, without the second that the imports take.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib import import_module

from engines.points import set_points
from py_api_saga import cli

POINTS = "SAGA_TEST_POINTS"


def _die_with_it() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _work() -> int:
    threading.Thread(target=_die_with_it, daemon=True).start()
    return cli.main(sys.argv[1:])


def _keep(kind: str) -> int:
    """Have a worker live, and another one after it as often as it dies."""
    import_module(f"py_api_saga.engines.{kind}_worker")
    set_points(kind)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # our child hears it as well
    parent = os.getppid()
    while True:
        child = os.fork()
        if not child:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            status = 70
            try:
                status = _work()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != -signal.SIGKILL or os.getppid() != parent:
            return status if status >= 0 else 128 - status


if __name__ == "__main__":
    kind = os.environ.get(POINTS)
    sys.exit(_keep(kind) if kind else _work())
