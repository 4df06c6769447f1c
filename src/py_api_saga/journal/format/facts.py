"""What is written down of how an entry came, for people: the machine knows nothing of it.

It is the seventh element of an entry, and may be missing in any: releases before did not write it,
and all of them leave it alone.

    [126, 17]   of the end of a call: it began 126 ms after the saga was created, and took 17 ms
    {"host": "web-3", "pid": 4711, "version": "0.1.0"}
                of the first entry of a process that has claimed a saga of another one: which it is
"""

# Without `from __future__ import annotations`, which would have those of named tuples compiled.
from typing import Any, NamedTuple

FACTS = 6  # where they are in an entry
_PAIR = 2


class Process(NamedTuple):
    """A process as it has named itself."""

    host: str
    pid: int
    version: str  # of this library


class Span(NamedTuple):
    """When a call began, and how long it took."""

    begin: float  # seconds since its saga was created; before that if a clock was set back
    length: float  # seconds, by a clock that nobody sets


def span_of(line: Any) -> Span | None:
    """Give the span of a line of a journal, which may be anything; None if it tells of none."""
    facts = line[FACTS] if len(line) > FACTS else None
    if type(facts) is not list or len(facts) < _PAIR:
        return None
    begin, length = facts[:_PAIR]
    if not (type(begin) in (int, float) and type(length) in (int, float)):
        return None
    return Span(begin / 1000, max(0.0, length / 1000))


def process_of(line: Any) -> Process | None:
    """Give the process that a line tells of, in the same way."""
    return process_in(line[FACTS] if len(line) > FACTS else None)


def process_in(facts: Any) -> Process | None:
    """Give the process that this names: the facts of a line, or a definition as it is written."""
    if type(facts) is not dict:
        return None
    host, pid, version = map(facts.get, Process._fields)
    if not (isinstance(host, str) and type(pid) is int and isinstance(version, str)):
        return None
    return Process(host, pid, version)
