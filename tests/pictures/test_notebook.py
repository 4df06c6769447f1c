"""A saga in a notebook."""

from pathlib import Path
from typing import Any

import html5lib
import pytest
import recorded

from py_api_saga import JournalError, SagaError
from py_api_saga.journal import SQLiteJournal
from py_api_saga.pictures import picture


def test_a_picture_is_a_page_in_a_frame(journal: Any) -> None:
    """So that neither has the styles of the other; where nothing is drawn, it is words."""
    recorded.stuck(journal)

    drawn = picture(journal, "x")

    (frame,) = html5lib.parseFragment(drawn._repr_html_(), namespaceHTMLElements=False)
    assert frame.tag == "iframe"
    assert frame.get("srcdoc") == drawn.html
    assert frame.get("sandbox") == ""  # no script, no form, nothing of the notebook's
    assert drawn.html.startswith("<!doctype html>")
    assert repr(drawn).startswith("x (depot): STUCK since ")
    assert "secret" not in drawn.html
    assert "secret" in picture(journal, "x", whole=True).html


def test_a_journal_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A name that was mistyped leaves nothing behind."""
    with pytest.raises(JournalError, match="there is no journal"):
        picture(SQLiteJournal(tmp_path / "sagas.db"), "x")

    assert [*tmp_path.iterdir()] == []


def test_what_there_is_not_is_not_drawn(journal: Any) -> None:
    """It says where it was looked for."""
    recorded.stuck(journal)

    with pytest.raises(SagaError, match="there is no saga 'y' in the journal"):
        picture(journal, "y")
