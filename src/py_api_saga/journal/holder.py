"""Who keeps others from writing to a journal, as data, whatever it is kept in."""

from __future__ import annotations

from time import gmtime, localtime, strftime

from py_api_saga import clock


class Holder:
    """The process for which all others wait that want to write.

    Attributes:
        pid: Its number; 0 if it is not known.
        since: When it came, in seconds since 1970, a second early at most; None if it is not known.
        host: Where it is; empty if it is this machine.
    """

    __slots__ = ("host", "pid", "since")  # not a named tuple: each cold start would make its class

    def __init__(self, pid: int, since: float | None, host: str) -> None:
        """Name it."""
        self.pid, self.since, self.host = pid, since, host

    def is_as(self, other: Holder | None) -> bool:
        """Tell whether it is the same, and came at the same time."""
        mine = (self.pid, self.since, self.host)
        return other is not None and mine == (other.pid, other.since, other.host)

    def __str__(self) -> str:
        words = f"process {self.pid or 'unknown'}"
        if self.host:
            words += f" on {self.host}"
        if self.since is not None:
            seconds = max(0.0, clock.time() - self.since)
            words += f" (since {strftime('%H:%M:%S', localtime(self.since))}, {seconds:,.0f} s)"
        return words

    @property
    def came(self) -> str | None:
        """Since when, in UTC, as ISO 8601; None if it is not known."""
        return (
            None if self.since is None else strftime("%Y-%m-%dT%H:%M:%S.000Z", gmtime(self.since))
        )

    @property
    def remedy(self) -> str:
        """What lets others in."""
        if self.host:
            return "if it was paused or stopped there, let it go on; else end it"
        if not self.pid:
            return "find it (`lsof`, `fuser`) and let it go on, or end it"
        return f"if it is stopped, `kill -CONT {self.pid}` lets it go on; else end it"
