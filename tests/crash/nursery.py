"""A process that forks others, so that starting one takes a millisecond and not a hundred.

It has imported all that they need, has no threads and has opened no journal. It reads requests as
lines of JSON from its standard input, answers on its standard output, and ends with its input,
killing what it has started.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from . import jobs, services, shop

LIFETIME = 120  # seconds after which a child ends, whatever comes

_children: set[int] = set()


def _spawn(job: str, options: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        _children.add(pid)
        return pid
    code = 70
    try:
        signal.alarm(LIFETIME)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(2, 1)
        os.close(null)
        jobs.do(job, **options)
        code = 0
    except BaseException:  # noqa: BLE001 - its last words
        with suppress(Exception):
            jobs.tell("error", job, traceback.format_exc())
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _wait(pid: int, seconds: float) -> str:
    """Say how a child has ended: "0", an exit code, "-9", "stopped", or "late"."""
    until, pause = time.monotonic() + seconds, 0.0005
    while True:
        known, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if known and os.WIFSTOPPED(status):
            return "stopped"
        if known:
            _children.discard(pid)
            return str(os.waitstatus_to_exitcode(status))
        if time.monotonic() > until:
            return "late"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.005)


def main(folder: Path, *more: str) -> None:
    """Start the services, then do as told until there is no more to read.

    `more` are modules with jobs of others.
    """
    for module in more:
        import_module(module)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        os.close(0)
        os.dup2(2, 1)
        services.serve(folder, write)
        os._exit(0)
    _children.add(pid)
    os.close(write)
    with os.fdopen(read) as ports:
        shop.PORTS.update(json.loads(ports.readline()))
    gc.collect()
    gc.freeze()  # so that children share this memory
    try:
        for line in sys.stdin:
            request = json.loads(line)
            answer: object
            if "spawn" in request:
                answer = _spawn(request["spawn"], request["options"])
            else:
                answer = _wait(request["wait"], request["seconds"])
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    finally:
        for child in _children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
