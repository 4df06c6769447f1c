"""What the workers of both engines are told, and what whoever runs one asks of it.

`engine.worker(Work(…))` gives one (of DBOS also with `takeover=` and `lease=`): a `DBOSWorker` or a
`TemporalWorker`, with the functions, the codec and the queue of that engine. `saga worker --engine`
runs it until a signal says that it is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from py_api_saga.current import Around
from py_api_saga.observer import Observer

QUEUE = "sagas"  # where an engine keeps what its workers are to do


class Work(NamedTuple):
    """What a worker is told, whatever its engine.

    Attributes:
        around: What is entered around each call, the outermost first.
        observers: What is told of each call that this worker makes.
        concurrency: How many calls it makes at once.
        grace: Seconds for the calls that it makes, once it is told to end.
    """

    around: Sequence[Around] = ()
    observers: Sequence[Observer] = ()
    concurrency: int = 64
    grace: float = 20.0


class Worker(Protocol):
    """A process's part in an engine: it drives sagas there, and makes their calls.

    All is called in one thread, which may be the one that takes in signals; the work is done in
    others, so that nothing here waits for a call but `end`.

    Attributes:
        running: How many calls it makes now, those included that were given up after their timeout.
        fault: What has ended it though nobody has told it to; None while it works.
    """

    @property
    def running(self) -> int: ...  # noqa: D102 - described above
    @property
    def fault(self) -> BaseException | None: ...  # noqa: D102

    def begin(self) -> None:
        """Begin to work; returns once it does.

        Raises:
            SagaDefinitionError: What it was told makes no sense.
            JournalError: The engine is not there, or not fit for sagas; the text names the cure.
        """

    def end(self) -> int:
        """Begin no call any more, let those that run come to their end, and leave.

        What has not ended after the grace is told to its saga as LOST; it may live on as a thread.

        Returns:
            How many calls that is.
        """
