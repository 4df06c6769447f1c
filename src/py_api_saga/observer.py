"""What is told of a run as it goes on."""

from typing import Protocol

from py_api_saga.events import Event


class Observer(Protocol):
    """A function of one event.

    It is called in the thread that drives the saga, in the order of the events, and should return
    fast. What it raises is logged and changes nothing.
    """

    def __call__(self, event: Event, /) -> object:
        """Take notice of an event."""
