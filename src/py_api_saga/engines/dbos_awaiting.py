"""Waiting for sagas on DBOS to come to rest."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from py_api_saga import clock
from py_api_saga.engines.dbos_server import Server
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import PATIENCE


class Awaiting:
    """Whoever waits for sagas to come to rest: one query for all of them, the rarer the longer."""

    def __init__(self, server: Server) -> None:
        """Take the database that is asked."""
        self._server = server
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Future[Any]]] = {}
        self._since: dict[str, float] = {}
        self._thread: threading.Thread | None = None

    def begin(self, workflow: str) -> Future[Any]:
        """Begin to wait for a saga."""
        waiting: Future[Any] = Future()
        with self._lock:
            self._waiting.setdefault(workflow, []).append(waiting)
            self._since[workflow] = clock.monotonic()
            if self._thread is None:
                looking = threading.Thread(target=self._live, name="py-api-saga-await", daemon=True)
                looking.start()  # there may be no room for it
                self._thread = looking
        return waiting

    def end(self, workflow: str, waiting: Future[Any]) -> None:
        """Wait no longer."""
        with self._lock:
            left = [one for one in self._waiting.pop(workflow, []) if one is not waiting]
            if left:
                self._waiting[workflow] = left
            else:
                self._since.pop(workflow, None)

    def _live(self) -> None:
        try:
            self._look()
        except BaseException as error:  # noqa: BLE001 - whoever waits is to know
            with self._lock:
                self._thread, workflows = None, list(self._waiting)
            for workflow in workflows:
                self._settle(workflow, error)

    def _look(self) -> None:
        pause = threading.Event()
        answered = clock.monotonic()
        while True:
            with self._lock:
                workflows = list(self._waiting)
                if not workflows:
                    self._thread = None
                    return
                youngest = clock.monotonic() - max(self._since.values())
            now = clock.monotonic()
            try:
                found = self._server.resting(workflows)
                answered = now
            except JournalError as error:  # the sagas go on, perhaps while it starts anew
                found = dict.fromkeys(workflows, error) if now - answered > PATIENCE else {}
            for workflow, rows in found.items():
                self._settle(workflow, rows)
            # A fiftieth of how long whoever began last has waited: 20 ms at first, at most 0.5 s.
            pause.wait(min(max(youngest / 50, 0.02), 0.5))

    def _settle(self, workflow: str, rows: Any) -> None:
        with self._lock:
            waiting = self._waiting.pop(workflow, [])
            self._since.pop(workflow, None)
        for one in waiting:
            if isinstance(rows, BaseException):
                one.set_exception(rows)
            else:
                one.set_result(rows)
