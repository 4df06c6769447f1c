"""Runs the command `saga` in a process that dies with whoever has started it.

That one keeps the other end of its standard input open as long as it lives.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from py_api_saga import cli


def _die_with_it() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_die_with_it, daemon=True).start()
    sys.exit(cli.main(sys.argv[1:]))
