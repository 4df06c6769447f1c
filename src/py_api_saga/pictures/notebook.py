"""A saga in a notebook: Jupyter, and whatever else asks an object for its HTML."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import cast

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.lasting import LastingJournal, View
from py_api_saga.journal.protocol import Journal
from py_api_saga.pictures.markup import Markup, tag
from py_api_saga.pictures.page import page
from py_api_saga.story.detail import headlines
from py_api_saga.story.saga import Story, read

_AROUND = 620  # pixels of a page, about, without its operations and lines
_EACH = 150  # for each operation
_TALLEST = 900  # behind which it scrolls


class Picture:
    """What a saga looked like when it was drawn: the last line of a notebook's cell shows it.

    Attributes:
        saga_id: Of the saga.
        html: The whole page, to be kept in a file.
    """

    def __init__(self, story: Story, html: str) -> None:
        self.saga_id = story.seen.saga_id
        self.html = html
        self._words = "\n".join(headlines(story))
        operations = 0 if story.execution is None else len(story.execution.status)
        self._height = min(_AROUND + _EACH * operations, _TALLEST)

    def __repr__(self) -> str:
        return self._words

    def _repr_html_(self) -> str:
        """Give a frame with the page in it, so that neither has the styles of the other."""
        style = f"width:100%;height:{self._height}px;border:0"
        title = f"The saga {self.saga_id}"
        inside = Markup(escape(self.html))
        return tag("iframe", srcdoc=inside, style=style, title=title, sandbox="")


def picture(
    journal: Journal | LastingJournal | View, saga_id: str, *, whole: bool = False
) -> Picture:
    """Draw a saga as it stands, for a notebook.

    Nothing that the journal names is imported, and nothing is changed in it.

    Args:
        journal: Where it is.
        saga_id: Which one.
        whole: Whether to show arguments and results; else only their types.

    Raises:
        SagaError: There is no such saga; or values are to be shown, but were sealed by another
            codec, or tampered with.
        JournalError: The journal can't be read.
    """
    with _looked_at(journal) as source:
        story = read(source, saga_id)
    return Picture(story, page(story, whole=whole))


@contextmanager
def _looked_at(journal: Journal | LastingJournal | View) -> Iterator[Journal | View]:
    """Give a view of a journal where there is such a thing: it makes nothing, and waits for nobody.

    Raises:
        JournalError: There is no journal.
    """
    reader = getattr(journal, "reader", None)
    if reader is None:
        yield journal
        return
    lasting = cast("LastingJournal", journal)
    if why := lasting.missing():
        raise JournalError(why)
    with reader() as view:
        yield view
