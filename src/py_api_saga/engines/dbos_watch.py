"""What looks after the sagas of a worker: one thread, so that no step asks for news."""

from __future__ import annotations

import threading

from py_api_saga import clock
from py_api_saga.engines.dbos_lease import Identity
from py_api_saga.engines.dbos_server import Server, message_id
from py_api_saga.engines.dbos_shift import Shift
from py_api_saga.exceptions import JournalError
from py_api_saga.log import logger

EVERY = 0.2  # seconds
ORPHANED = 10.0  # seconds for which a saga is this worker's, and nobody here drives it


class Watch:
    """A thread that hands out what was posted to sagas, and keeps who the worker is.

    Attributes:
        fault: What has ended it though nobody has told it to.
    """

    def __init__(self, server: Server, identity: Identity, shift: Shift) -> None:
        """Take what it looks after; `begin` begins."""
        self._server, self._identity, self._shift = server, identity, shift
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._live, name="py-api-saga-watch", daemon=True)
        self._is_cut_off = False
        self._swept = clock.monotonic()
        self._driven: set[str] = set()  # since then
        self.fault: BaseException | None = None

    def begin(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Look once more, and end."""
        self._ends.set()
        self._thread.join()

    def _live(self) -> None:
        try:
            while not self._ends.wait(EVERY):
                self._look()
        except BaseException as error:  # noqa: BLE001 - whoever runs the worker is to know
            self.fault = error

    def _look(self) -> None:
        try:
            self._identity.beat()
            sagas = list(self._shift.sagas)
            self._driven.update(sagas)
            if (now := clock.monotonic()) > self._swept + ORPHANED:
                # What was driven a moment ago may be about to be over.
                self._server.give_orphans_back(self._shift.executor, [*self._driven], ORPHANED)
                self._swept, self._driven = now, set(sagas)
            if sagas:
                self._shift.tell(self._server.news(sagas))
            heard = self._shift.take_heard()
            if heard:
                self._server.heard([message_id(key, workflow) for workflow, key in heard])
        except JournalError as error:  # it is tried again; that it can't be is said once
            if not self._is_cut_off:
                logger().warning("%s", error)
            self._is_cut_off = True
        else:
            self._is_cut_off = False
