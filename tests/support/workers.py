"""Processes of their own on a journal, to which a test speaks in lines."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from world import unmeasured

WORKER = """
import os, sys, time
from py_api_saga.journal.changes import *
from py_api_saga.journal.sqlite.journal import SQLiteJournal
from py_api_saga.status import SagaStatus

journal = SQLiteJournal(sys.argv[1])

def begin(saga_id):
    journal.write(create := Create(saga_id, "x", "[1]"))
    return create.check()

def append(claim, body, status=None):
    journal.write(change := Append(claim, body, status))
    return change.check()

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole, whatever threads say

def told():
    return sys.stdin.readline().strip()

"""


@contextmanager
def worker(path: Path, script: str, *, measured: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Run a process on the journal, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER + script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=None if measured else unmeasured(),
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """Wait for a line of a process."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], line: str = "") -> None:
    """Give a process a line."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
