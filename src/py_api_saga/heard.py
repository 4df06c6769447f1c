"""What was heard of the calls under an idempotency key, as far as the entries of a run tell.

Nobody keeps books of this: it is looked up when an answer has come from elsewhere, or a call has
landed that was given up, so that it costs nothing to the many runs in which neither happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from py_api_saga.entries import (
    ACTION,
    ANSWERED,
    ASK,
    DENIED,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    LATER,
    NOT_HAPPENED,
    RECOVERED,
    RESOLVED,
    RETRY,
    STARTED,
    SUCCEEDED,
    UNSTORED,
    Entry,
)
from py_api_saga.status import Status

_KNOWN = frozenset({SUCCEEDED, UNSTORED, ANSWERED, DENIED})  # what came of it, for good
_HAPPENED = frozenset({HAPPENED, UNSTORED})  # how a question ends that knows so


def is_open(entries: Sequence[Entry], i: int, kind: str, generation: int) -> bool:
    """Tell whether a key was used, and nobody has heard for good what came of it.

    What failed is open as well: whoever answers may know better.
    """
    has_happened = False  # asked about what was started before that
    timer = 0  # the attempt that began one
    for what, j, of, attempt, key, value in reversed(entries):
        if j != i:
            continue
        if of == ASK:
            has_happened |= what in _HAPPENED and kind == ACTION
        elif of != kind:
            continue
        elif what == STARTED:
            if key == generation:  # a timer is counted as soon as a rollback begins
                return not has_happened and attempt != timer
            has_happened = False
        elif key == generation and what in _KNOWN:
            return False
        elif key == generation and what in (LATER, IN_DOUBT):  # that of a straggler is none
            timer = attempt if what == LATER and value.is_timer else 0
    return False


def is_denied(entries: Iterable[Entry], i: int, kind: str, generation: int) -> bool:
    """Tell whether somebody has said that what was called under a key took no effect."""
    return any(
        what == DENIED and j == i and of == kind and key == generation
        for what, j, of, _, key, _ in entries
    )


def effective_keys(entries: Iterable[Entry], i: int) -> set[int]:
    """Give the generations of the keys under which an action took effect, or may have."""
    keys: set[int] = set()
    denied: set[int] = set()  # for good, however a straggler under that key ends
    latest = runs = 0  # which key was used last; and whether a call under it runs
    for what, j, kind, _, generation, value in entries:
        if what == RECOVERED:
            keys |= {runs} - {0}
            runs = 0
        elif j != i:
            continue
        elif kind == ACTION:
            runs = 0
            if what == STARTED:
                latest = runs = generation
            elif what == DENIED:
                denied.add(generation)
            elif what not in (FAILED, RETRY):
                keys.add(generation)
        elif what in _HAPPENED and kind == ASK:
            keys.add(latest)
        elif what == NOT_HAPPENED or (what == RESOLVED and value[0] is not Status.SUCCEEDED):
            keys.clear()
    return keys - denied
