"""The three queues: how their workers start and end, how a task is sent, and what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from .ledger import FILE

TESTS = Path(__file__).resolve().parent.parent
PATIENCE = 120.0  # seconds after which something hangs, on the slowest machine
PAUSE = 0.05  # seconds between two looks


class Answer(NamedTuple):
    """What a queue says became of a task: SUCCESS, or FAILURE with the name of an exception."""

    state: str
    error: str = ""


def wait_for(what: str, look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Look until there is something, and give it.

    Raises:
        TimeoutError: It does not come.
    """
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(PAUSE)


class Process:
    """A worker: its own process, with what it says in a file."""

    def __init__(self, command: Sequence[str], folder: Path, env: dict[str, str]) -> None:
        self.log = folder / f"log-{time.monotonic_ns()}"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.pid = self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def says(self, word: str, times: int = 1) -> None:
        """Wait until it has said a word, so many times."""

        def look() -> bool:
            if self.ended and self.said().count(word) < times:
                raise RuntimeError(f"it has ended:\n{self.said()[-3000:]}")
            return self.said().count(word) >= times

        wait_for(f"{word!r} in {self.log}", look)

    def said(self) -> str:
        """Give what it has said so far."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it as the kernel does it, and those that it has forked."""
        for pid in [*children_of(self.pid), self.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(PATIENCE)

    def end(self) -> None:
        """Ask it to end, and end it if it does not."""
        if not self.ended:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(PATIENCE / 4)
            except subprocess.TimeoutExpired:
                self.kill()


def children_of(pid: int) -> list[int]:
    """Give the processes that a process has started, theirs included, the eldest first."""
    found: list[int] = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            child, parent = (
                int(file.parent.name),
                int(file.read_text().rpartition(")")[2].split()[1]),
            )
            if parent == pid:
                found += [child, *children_of(child)]
    return found


class Queue(ABC):
    """A task queue, and its worker if it runs.

    Attributes:
        limit: The exception that it raises when a task's time is over.
        in_steps: A limit waits until the thread takes its next step: a long wait delays it.
        many: Workers that run at once.
    """

    name: str
    limit: str
    in_steps = False
    many = 1

    def __init__(self, folder: Path, socket: Path) -> None:
        self.folder = folder
        self.url = f"unix://{socket}"
        celery = f"redis+socket://{socket}"
        self.env = {name: value for name, value in os.environ.items() if name[:3] != "COV"} | {
            FILE: str(folder / "ledger"),
            "PYTHONPATH": os.pathsep.join(
                [str(folder), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            "PYTHONUNBUFFERED": "1",
            "CELERY_BROKER_URL": celery,
            "CELERY_RESULT_BACKEND": celery,
            "RQ_REDIS_URL": self.url,
            "REDIS_URL": self.url,
        }
        self.workers: list[Process] = []

    @contextmanager
    def working(self, command: Sequence[str] = (), **env: str) -> Iterator[None]:
        """Run its worker for the time of a block."""
        self.start(command, **env)
        try:
            yield
        finally:
            self.stop()

    def start(self, command: Sequence[str] = (), **env: str) -> None:
        """Start as many workers as it wants, and wait until they work."""
        words = [*(command or self.command())]
        words[0] = str(Path(sys.executable).with_name(words[0]))
        self.workers = [Process(words, self.folder, self.env | env) for _ in range(self.many)]
        for worker in self.workers:
            worker.says(self.ready())

    def stop(self) -> None:
        """End them."""
        for worker in self.workers:
            worker.end()
        self.workers = []

    def said(self) -> str:
        """Give what they have said."""
        return "\n".join(worker.said() for worker in self.workers)

    @abstractmethod
    def command(self) -> list[str]:
        """Give the words that start a worker of the matrix."""

    @abstractmethod
    def ready(self) -> str:
        """Give what a worker says when it works."""

    @abstractmethod
    def send(
        self, task: str, arguments: Sequence[Any], limit: int = 0, *, again: int = 0, hard: int = 0
    ) -> Any:
        """Send a task, and give what it is asked for by.

        Args:
            task: Its name.
            arguments: Its arguments.
            limit: Seconds until a time limit is raised in it, or 0.
            again: How often the queue shall run it again if it fails, where that is told here.
            hard: Seconds until its process is killed, or 0; Celery only.
        """

    @abstractmethod
    def answer(self, task: Any) -> Answer | None:
        """Say what became of a task, if anything has."""

    def wait(self, task: Any) -> Answer:
        """Wait for what becomes of a task."""
        found: Answer = wait_for(f"the answer of {self.name}", lambda: self.answer(task))
        return found


class Celery(Queue):
    """A prefork pool: each child takes one task at a time, the limit is a signal."""

    name = "celery"
    limit = "SoftTimeLimitExceeded"

    def __init__(self, folder: Path, socket: Path) -> None:
        super().__init__(folder, socket)
        url = self.env["CELERY_BROKER_URL"]
        make = import_module("celery").Celery
        self._app: Any = make(broker=url, backend=url, set_as_current=False)

    def command(self) -> list[str]:
        pool = ["--pool", "prefork", "--concurrency", "9"]
        return ["celery", "-A", "queues.celery_app", "worker", *pool, "--loglevel", "INFO"]

    def ready(self) -> str:
        return " ready."

    def send(
        self, task: str, arguments: Sequence[Any], limit: int = 0, *, again: int = 0, hard: int = 0
    ) -> Any:
        del again  # a task repeats itself, if at all
        options = {"soft_time_limit": limit, "time_limit": limit + 600} if limit else {}
        options |= {"time_limit": hard} if hard else {}
        return self._app.send_task(task, arguments, **options)

    def answer(self, task: Any) -> Answer | None:
        if not task.ready():
            return None
        error = type(task.result).__name__ if task.state == "FAILURE" else ""
        return Answer(task.state, error)


class RQ(Queue):
    """A work horse for each job, forked; the death penalty is a signal."""

    name = "rq"
    limit = "JobTimeoutException"
    many = 3

    def __init__(self, folder: Path, socket: Path) -> None:
        super().__init__(folder, socket)
        client = import_module("redis").Redis(unix_socket_path=str(socket))
        self._rq: Any = import_module("rq")
        self._queue: Any = self._rq.Queue(connection=client)

    def command(self) -> list[str]:
        return ["rq", "worker", "--config", "queues.rq_jobs"]

    def ready(self) -> str:
        return "Listening on default"

    def send(
        self, task: str, arguments: Sequence[Any], limit: int = 0, *, again: int = 0, hard: int = 0
    ) -> Any:
        assert not hard
        retry = self._rq.Retry(max=again) if again else None
        name = task if "." in task else f"queues.rq_jobs.{task}"
        return self._queue.enqueue(
            name, args=tuple(arguments), job_timeout=limit or 600, retry=retry
        )

    def answer(self, task: Any) -> Answer | None:
        result = task.latest_result()
        status = task.get_status().value
        if result is None or status not in {"finished", "failed"}:
            return None
        if result.type.name != "FAILED":
            return Answer("SUCCESS")
        said = result.exc_string.strip().splitlines()[-1]
        if said.startswith("Work-horse"):
            return Answer("FAILURE", "lost")
        lines = [line for line in result.exc_string.splitlines() if line[:1].strip()]
        named = [line.partition(":")[0] for line in lines if not line.startswith("Traceback")]
        raised = [name for name in named if " " not in name]
        return Answer("FAILURE", raised[-1].rpartition(".")[2])


class Dramatiq(Queue):
    """Threads; a limit is raised between two steps of one."""

    name = "dramatiq"
    limit = "TimeLimitExceeded"
    in_steps = True

    def __init__(self, folder: Path, socket: Path) -> None:
        super().__init__(folder, socket)
        self._message: Any = import_module("dramatiq").Message
        broker = import_module("dramatiq.brokers.redis").RedisBroker
        self._broker: Any = broker(url=self.url, middleware=[])
        self._backend: Any = import_module("dramatiq.results.backends").RedisBackend(url=self.url)
        self._errors: Any = import_module("dramatiq.results.errors")

    def command(self) -> list[str]:
        return ["dramatiq", "queues.dramatiq_app", "--processes", "1", "--threads", "12"]

    def ready(self) -> str:
        return "is ready for action"

    def send(
        self, task: str, arguments: Sequence[Any], limit: int = 0, *, again: int = 0, hard: int = 0
    ) -> Any:
        assert not hard
        options: dict[str, Any] = {"time_limit": limit * 1000} if limit else {}
        options |= {"max_retries": again} if again else {}
        queue = "cells" if task == "cell" else "default"
        message = self._message(queue, task, tuple(arguments), {}, options)
        return self._broker.enqueue(message)

    def answer(self, task: Any) -> Answer | None:
        try:
            self._backend.get_result(task)
        except self._errors.ResultMissing:
            return None
        except self._errors.ResultFailure as error:
            return Answer("FAILURE", error.orig_exc_type)
        return Answer("SUCCESS")


QUEUES: tuple[type[Queue], ...] = (Celery, RQ, Dramatiq)
