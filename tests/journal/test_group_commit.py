"""The queue of a database, whoever writes its batches."""

import threading

import pytest
from world import PATIENCE, until

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import Claim, Leave
from py_api_saga.journal.sql.desk import Desk
from py_api_saga.journal.sql.group_commit import Batch, GroupCommit


class Struck(BaseException):
    """What a signal handler raises."""


class Writer:
    """Settles a batch of two, and is not done with it before it is let go on."""

    def __init__(self, desk: Desk) -> None:
        self.turn = threading.RLock()
        self.goes_on = threading.Event()
        self._desk = desk

    def record(self, batch: Batch) -> bool:
        until(lambda: len(batch.changes) == 2)
        assert batch.enter()
        with self._desk.lock:
            for change in batch.changes:
                self._desk.settle(change)
        assert self.goes_on.wait(PATIENCE)
        batch.finish(lambda: JournalError("nothing is left"), None)
        return True

    def stand_in_line(self, _: Batch) -> None:
        raise NotImplementedError

    def hindrance(self) -> str:
        return "it is shut"


def test_who_is_struck_when_its_change_is_settled_does_not_wait_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The batch takes another transaction for others; the interrupt goes out at once."""
    desk = Desk()
    writer = Writer(desk)
    queue = GroupCommit(desk, writer)
    first, second = Leave(Claim("")), Leave(Claim(""))
    leading = threading.Thread(target=queue.write, args=([first],), daemon=True)
    leading.start()
    until(lambda: queue.batch.changes)

    def follow(*_: object) -> bool:
        until(lambda: second.settled)
        raise Struck

    with monkeypatch.context() as striking:
        striking.setattr(Batch, "follow", follow)
        with pytest.raises(Struck):
            queue.write([second])
    assert leading.is_alive()
    writer.goes_on.set()
    leading.join(PATIENCE)

    assert first.settled
    queue.withdraw([first, second])  # too late
    assert (first.error, second.error) == (None, None)
