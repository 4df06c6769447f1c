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
    HAPPENED,
    IN_DOUBT,
    LATER,
    NOT_HAPPENED,
    RECOVERED,
    RESOLVED,
    STARTED,
    SUCCEEDED,
    UNSTORED,
    Entry,
)

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


def doubted_keys(entries: Iterable[Entry], i: int) -> set[int]:
    """Give the generations of the keys under which an action may have taken effect."""
    doubted: set[int] = set()
    runs = 0  # under that key, or none
    for what, j, kind, _, generation, _ in entries:
        if what == RECOVERED:
            doubted |= {runs} - {0}
            runs = 0
        elif j != i:
            continue
        elif kind == ACTION:
            runs = generation if what == STARTED else 0
            if what in (IN_DOUBT, LATER):
                doubted.add(generation)
            elif what in _KNOWN:
                doubted.discard(generation)
        elif what in (HAPPENED, NOT_HAPPENED, RESOLVED):
            doubted.clear()
    return doubted
