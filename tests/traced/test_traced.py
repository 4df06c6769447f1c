"""A short run of `python -m tests.traced`: every fault of one saga."""

from __future__ import annotations

import pytest

from traced.trial import tried


@pytest.mark.untraced
def test_as_many_spans_are_told_of_as_attempts_are_on_record() -> None:
    """Each with the outcome that the journal has, and below the run that made it."""
    found = tried("chain")

    assert found.schedules > 50
    assert found.calls.keys() >= {"succeeded", "failed", "retry", "in doubt", "happened", "let go"}
    assert found.runs.keys() == {"completed", "compensated", "stuck", "open"}


@pytest.mark.untraced
def test_a_span_that_is_lost_is_missed() -> None:
    """So that the test above can fail."""
    with pytest.raises(
        AssertionError, match=r"there is no span of .*'book', 'action', 1, 'failed'"
    ):
        tried("fan", lose=3, replay="book:refuses")
