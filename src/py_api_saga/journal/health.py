"""How a journal does, and who keeps others from writing to it: as data, whatever it is kept in."""

from collections import namedtuple
from time import gmtime, localtime, strftime
from typing import Any, NamedTuple

from py_api_saga import clock


class Holder(namedtuple("Holder", "pid since host")):  # noqa: PYI024 - a typed one takes 1 ms more
    """The process for which all others wait that want to write."""

    pid: int  # 0 if it is not known
    since: float | None  # seconds since 1970, a second early at most; None if it is not known
    host: str  # empty if it is this machine

    __slots__ = ()

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


class Health(NamedTuple):
    """How a journal does."""

    facts: dict[str, Any]  # of where it is kept, by name, as JSON has them
    says: list[tuple[str, str]]  # the same for a person: a word each, and what there is to say
    sagas: dict[str, int]  # how many of each status; empty if they can't be counted
    left_by_dead: int | None  # open sagas whose process has died; None if nobody can tell
    refuses: list[str]  # why nothing is written
    damage: list[str]
    advice: list[str]  # what would be better otherwise, though nothing is wrong yet
