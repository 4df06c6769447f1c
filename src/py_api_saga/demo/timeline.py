"""The demo's timeline: what a saga does and undoes, a line each, as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal, TextIO

from py_api_saga import Event, SagaStatus

Colour = Literal["bold", "dim", "red", "green", "yellow"]

# What undoes each operation of the checkout.
UNDO: Mapping[str, str] = {"reserve": "release", "charge": "refund", "book": "cancel"}

_CODES: Mapping[Colour, str] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}

_ENDS: Mapping[SagaStatus, tuple[str, Colour]] = {
    SagaStatus.COMPLETED: ("completed", "green"),
    SagaStatus.COMPENSATED: ("compensated: what was done is undone", "yellow"),
    SagaStatus.STUCK: ("STUCK: a person must look", "red"),
}


def wants_colour(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether to colour: on a terminal that can, unless the user asked for none.

    Source:
        no-color.org: "when present and not an empty string".
    """
    return stream.isatty() and environment.get("TERM") != "dumb" and not environment.get("NO_COLOR")


def _in_words(error: BaseException | None) -> str:
    if isinstance(error, ConnectionResetError):
        return "the answer is lost"
    return str(error) or type(error).__name__


class Screen:
    """Lines of text, each written at once, with colour or without."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        """Write to `stream`; with `colour` false, `paint` changes nothing."""
        self._stream = stream
        self.colour = colour

    def paint(self, text: str, colour: Colour) -> str:
        """Return the text with codes around it that colour it."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.colour else text

    def line(self, text: str = "", *, indent: int = 3) -> None:
        """Write a line, so that it is seen now."""
        self._stream.write(f"{' ' * indent}{text}\n" if text else "\n")
        self._stream.flush()


class Timeline:
    """An observer that writes a line for whatever has come to an end, with its time.

    Seconds count from the start of the saga. Two lines whose times overlap happened at once.
    """

    def __init__(
        self,
        screen: Screen,
        undo: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the names of the compensations by the names of their operations."""
        self._screen = screen
        self._undo = undo
        self._width = max(map(len, ["saga", *undo, *undo.values()]))
        self._clock = clock
        self._saga_began = 0.0
        self._began: dict[str, float] = {}  # by operation; "" is the saga

    def __call__(self, event: Event, /) -> None:
        """Write what an event means."""
        # When the reader has left (`saga demo | head`), the saga goes on; the demo notices at the
        # next line of its own.
        with suppress(BrokenPipeError):
            if event.operation is not None:
                self._tell(event, event.operation)
            elif event.kind in ("saga started", "saga resumed"):
                self._saga_began = self._began[""] = self._clock()
            elif event.outcome is not None:
                self._line("", "saga", *_ENDS[event.outcome])

    def _tell(self, event: Event, operation: str) -> None:
        undo = self._undo.get(operation, "undo")
        match event.kind:
            case "operation started" | "compensating":
                self._began[operation] = self._clock()
            case "succeeded":
                self._line(operation, operation, "done", "green")
            case "attempt failed":
                again = f"{_in_words(event.error)}; asking again in {event.wait or 0:.1f} s"
                self._line(operation, operation, again, "yellow")
            case "failed":
                self._line(operation, operation, f"failed: {_in_words(event.error)}", "red")
            case "in doubt":
                self._line(operation, operation, "nobody knows whether it happened", "yellow")
            case "compensated":
                self._line(operation, undo, f"undid {operation}", "yellow")
            case "stuck":
                self._line(operation, undo, f"STUCK: {_in_words(event.error)}", "red")
            case "landed late":
                self._line(operation, operation, "happened after all", "yellow")

    def _line(self, operation: str, call: str, what: str, colour: Colour) -> None:
        now = self._clock()
        began = self._began.get(operation, now)
        times = f"{began - self._saga_began:5.2f} to {now - self._saga_began:4.2f} s"
        painted = self._screen.paint(what, colour)
        self._screen.line(
            f"{self._screen.paint(times, 'dim')}   {call:<{self._width}}   {painted}", indent=2
        )
