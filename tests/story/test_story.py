"""A saga as data, from whatever journal it is in, and without a command."""

from typing import Any

import depot
import pytest
import recorded

from py_api_saga import SagaError
from py_api_saga.story.detail import headlines, in_full, picture
from py_api_saga.story.saga import read
from py_api_saga.story.why import explained


def test_a_saga_is_told_from_any_journal(journal: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A page or a test kit reads the journal that is open, of whatever kind; nothing is printed."""
    recorded.stuck(journal)

    story = read(journal, "x")
    told, why = in_full(story, whole=False), explained(story, "saga")

    assert [one["status"] for one in told["operations"]] == ["compensated", "stuck", "failed"]
    assert told["operations"][0]["result"] == "str"
    assert told["timeline"][0]["says"] == "written down: 3 operations"
    assert [one["what"] for one in told["timeline"][-2:]] == ["started", "succeeded"]
    assert why["operations"][1]["says"] == "its compensation raised OSError('no bank')"
    assert "saga retry x" in [remedy["command"] for remedy in why["remedies"]]
    assert headlines(story)[0].startswith("x (depot): STUCK since ")
    assert "STUCK" in picture(story)
    assert capsys.readouterr() == ("", "")


def test_values_are_told_if_they_are_asked_for(journal: Any) -> None:
    """They may be secrets, so they are their types otherwise."""
    recorded.stuck(journal)
    story = read(journal, "x")

    hidden, whole = in_full(story, whole=False), in_full(story, whole=True)

    assert hidden["operations"][0]["action"]["arguments"] == ["str", "str"]
    assert whole["operations"][0]["action"]["arguments"] == ["a", "secret"]
    assert "secret" not in str(hidden)


def test_a_saga_that_is_not_there_is_an_error_in_words(journal: Any) -> None:
    """It says where it was looked for."""
    with pytest.raises(SagaError, match="there is no saga 'y' in the journal") as raised:
        read(journal, "y")

    assert journal.place in str(raised.value)
    assert depot.log == []
