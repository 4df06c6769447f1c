"""Holds a server until standard input ends: `supervisor.py SIGNAL FOLDER COMMAND…`.

Then the server gets the signal, and some seconds later SIGKILL; and the folder, if one is named, is
removed. If the server ends by itself, so does this, and the folder stays for whoever looks.
It is a program of the standard library alone, which starts in an instant.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

PATIENCE = 10.0  # seconds


def main(number: str, folder: str, *command: str) -> None:
    """Start the server, wait for the end of the input, and end it."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def ended(*_: object) -> None:
        if server.poll() is not None:
            os._exit(1)

    signal.signal(signal.SIGCHLD, ended)
    ended()  # it may have been faster
    while os.read(0, 4096):
        pass
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    server.send_signal(int(number))
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
