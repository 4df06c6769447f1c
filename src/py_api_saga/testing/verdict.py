"""What fails a test as a block is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def verdict(amiss: Callable[[], str | None]) -> Iterator[None]:
    """Fail the test as a `with` block is left, if something is amiss by then.

    Also if the block itself raises, what a saga does, say, which the test may expect: that is the
    cause then. But an interrupt, or the end or skipping of a test, goes as it came.

    Args:
        amiss: Says what it is, or None.

    Raises:
        AssertionError: With what it has said; one of the block's own has it in a note.
    """
    try:
        yield
    except Exception as raised:
        why = amiss()
        if why is not None and not isinstance(raised, AssertionError):
            raise AssertionError(why) from raised
        if why is not None:
            raised.add_note(why)
        raise
    if (why := amiss()) is not None:
        raise AssertionError(why)
