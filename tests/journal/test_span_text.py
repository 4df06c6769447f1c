"""When a call began, and how long it took, as a journal keeps it."""

import pytest

from py_api_saga.journal.format.entries import span_text


@pytest.mark.parametrize(
    ("began", "kept"),
    [
        (100.006, "[6,15]"),
        (99.999, "[0,15]"),  # by the estimate of another machine's clock
        (99.2, "[0,15]"),
        (40.0, "[-60000,15]"),  # the clock was set back
    ],
)
def test_a_call_does_not_begin_a_moment_before_its_saga(began: float, kept: str) -> None:
    """But what a clock said that was set back is kept: whoever reads it is to know."""
    assert span_text(100.0, began, 0.015) == kept
