"""What the sagas of these tests change: a world with a log, and processes of their own."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NoReturn

import pytest

from py_api_saga import Event, SagaAssembler, SagaException

# Seconds after which a test gives up. None of them waits that long when all is well, and none gives
# up too soon on a machine that has ten times as much to do as it can.
PATIENCE = 180.0
HOUR = 3600.0  # seconds
Execute = Callable[..., Any]


class World:
    """A place that operations change: what stands in it, and what was called, in order.

    Each name is an effect. Doing it twice makes it stand twice; undoing it is idempotent about the
    effect, as a compensation must be.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.standing: list[str] = []
        self._changed = threading.Condition()

    def note(self, line: str) -> None:
        """Write a line into the log."""
        with self._changed:
            self.log.append(line)
            self._changed.notify_all()

    def do(self, name: str) -> str:
        """Take effect."""
        with self._changed:
            self.log.append(name)
            self.standing.append(name)
            self._changed.notify_all()
        return name.upper()

    def undo(self, name: str) -> str:
        """Take an effect back, however often it was made, or do nothing if there is none."""
        with self._changed:
            self.log.append(f"undo {name}")
            self.standing = [other for other in self.standing if other != name]
            self._changed.notify_all()
        return f"{name} undone"

    def fail(self, name: str, error: BaseException) -> NoReturn:
        """Change nothing, and say so."""
        self.note(name)
        raise error

    def wait_for(self, line: str, times: int = 1) -> str:
        """Wait until a line is in the log, so many times, and give it."""
        with self._changed:
            there = self._changed.wait_for(lambda: self.log.count(line) >= times, PATIENCE)
        assert there, f"{line!r} was not in {self.log} {times} times"
        return line

    def gate(self, name: str, opened: threading.Event) -> str:
        """Note that it has begun, wait, and only then take effect."""
        self.note(f"{name} begins")
        assert opened.wait(PATIENCE)
        return self.do(name)


class Watch:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def of(self, kind: str) -> list[Event]:
        """Give the events of a kind."""
        return [event for event in self.events if event.kind == kind]

    def wait_for(self, kind: str, operation: str | None = None, times: int = 1) -> None:
        """Wait for an event."""

        def seen() -> bool:
            found = [e for e in self.events if e.kind == kind and e.operation == operation]
            return len(found) >= times

        with self._changed:
            assert self._changed.wait_for(seen, PATIENCE), [e.kind for e in self.events]

    @property
    def lines(self) -> list[str]:
        """Give what happened to which operation, in words."""
        return [f"{e.operation or 'saga'}: {e.kind}" for e in self.events]


class Clock:
    """The library's monotonic clock, which a test sets forward.

    A limit that is far away cannot strike too early, however slow the machine is.
    """

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """Give the time, in seconds."""
        return time.monotonic() + self.ahead

    def forward(self, seconds: float) -> None:
        """Let so much time have passed."""
        self.ahead += seconds


def steps(world: World, *names: str, **options: Any) -> SagaAssembler:
    """Make a saga of operations that take effect one after the other, in any executor."""
    saga = SagaAssembler.saga(**options)
    for index, name in enumerate(names):
        after = names[index - 1 : index] if index else ()
        saga.operation((world.do, name), (world.undo, name), name=name, after=after)
    return saga


def failure_of(execute: Execute, saga: SagaAssembler, **options: Any) -> SagaException:
    """Run a saga that must fail, and give its exception."""
    with pytest.raises(SagaException) as caught:
        execute(saga, **options)
    return caught.value


def statuses(error: SagaException) -> dict[str, str]:
    """Give what became of each operation, in a word."""
    return {name: report.status.name for name, report in error.operations.items()}


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so; it is an error if it never is."""
    limit = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < limit, "it never came to that"
        time.sleep(0.002)


def until_gone(run: Callable[[], Sequence[weakref.ref[Any]]]) -> None:
    """Do something and wait until nothing is alive of what it gives references to.

    The thread of a call may hold on to it for a moment after it has told how it ended.
    """
    gc.freeze()  # what is older needs no look: ten times faster
    try:
        references = run()

        def are_gone() -> bool:
            gc.collect()
            return all(reference() is None for reference in references)

        until(are_gone)
    finally:
        gc.unfreeze()


def in_time(function: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Call a function in a thread of its own, so that a test which deadlocks fails instead."""
    outcome: list[Any] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]
    return outcome[0]


def fork_in_c() -> int:
    """Fork as uWSGI does it: nobody is told."""
    child: int = ctypes.PyDLL(None).fork()  # which keeps the GIL, so that the child has it
    return child


def in_child(action: Callable[[], object], fork: Callable[[], int] = os.fork) -> str:
    """Give what an action says in a forked child; an error is its text."""
    read, write = os.pipe()
    child = fork()
    if child == 0:
        try:
            text = str(action())
        except BaseException as error:  # noqa: BLE001 - all of it is reported
            text = repr(error)
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


def unmeasured() -> dict[str, str]:
    """Give an environment in which a process is not measured: measuring it takes twice as long."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}


class Script:
    """A Python program in a process of its own, that the test can hear and interrupt."""

    def __init__(self, code: str, *, measured: bool = False) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the script
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-W", "error", "-c", textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=None if measured else unmeasured(),
        )

    @property
    def stdout(self) -> IO[str]:
        """What it prints."""
        assert self.process.stdout is not None
        return self.process.stdout

    def hear(self, line: str) -> None:
        """Wait until it prints a line; it is an error if it ends, or prints another one."""
        said = self.stdout.readline().rstrip("\n")
        assert said == line, f"expected {line!r}, got {said!r}; {self._complaints()}"

    def say(self, line: str) -> None:
        """Write a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, *, code: int = 0) -> list[str]:
        """Wait for its end and give the rest of what it has printed, line by line."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        lines = self.stdout.read().splitlines()
        assert self.process.wait(PATIENCE) == code, (lines, self._complaints())
        return lines

    def close(self) -> None:
        """End it, if it has not ended."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _complaints(self) -> str:
        self.process.kill()
        self.process.wait()
        self.errors.seek(0)
        return self.errors.read()


@contextlib.contextmanager
def script(code: str, *, measured: bool = False) -> Iterator[Script]:
    """Run a program for the time of a block.

    What is sent signals must not be measured: one that strikes in the tracer of the coverage is
    lost. Of the others those are that come to lines which no test reaches in its own process.
    """
    running = Script(code, measured=measured)
    killer = threading.Timer(PATIENCE, running.process.kill)
    killer.daemon = True
    killer.start()
    try:
        yield running
    finally:
        killer.cancel()
        running.close()


def output_of(code: str, *, measured: bool = False) -> list[str]:
    """Run a program to its end and give what it has printed, line by line."""
    with script(code, measured=measured) as running:
        return running.end()
