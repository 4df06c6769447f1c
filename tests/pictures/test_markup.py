"""Markup: that text becomes HTML nowhere but where a line says so."""

import html5lib
import pytest

from py_api_saga.pictures.document import document, style
from py_api_saga.pictures.markup import Markup, join, tag, text

HOSTILE = "<script>alert(1)</script>&amp;\"'`\u202e\x00\ud800\n</style><!--"


@pytest.mark.parametrize(
    "made",
    [
        text(HOSTILE),
        join([HOSTILE]),
        tag("p", HOSTILE),
        tag("p", title=HOSTILE),
        tag("p", str(tag("b")) + HOSTILE),
    ],
)
def test_what_is_not_markup_is_text(made: Markup) -> None:
    """Wherever it is put; also markup that became a text again, joined with another one."""
    assert "<script" not in made
    assert "<!--" not in made
    assert made.isprintable()
    made.encode()


def test_a_text_is_read_back_as_it_was() -> None:
    """By whoever parses HTML, in an element and in an attribute."""
    made = str(tag("p", "a < b & 'c' \"d\"", title="<&'\">"))

    (paragraph,) = html5lib.parseFragment(made, namespaceHTMLElements=False)

    assert paragraph.text == "a < b & 'c' \"d\""
    assert paragraph.get("title") == "<&'\">"


def test_what_turns_a_line_around_or_breaks_it_is_written_out() -> None:
    """As Python writes it; so an error of many lines stays one."""
    assert text("a\nb") == "a\\nb"
    assert text("\u202eabc") == "\\u202eabc"


def test_attributes_are_named_as_in_html() -> None:
    """`_` is `-`, and what is a word of Python's has one more at its end."""
    assert tag("i", class_="x", aria_label=1, hidden=True, id=None, open=False) == (
        '<i class="x" aria-label="1" hidden></i>'
    )
    assert tag("br") == "<br>"


def test_a_document_allows_a_script_by_its_hash_alone() -> None:
    """No other one runs, and nothing is loaded."""
    plain, scripted = document("t", "x"), document("t", "x", script="1 < 2")

    assert "script" not in plain
    assert "default-src 'none'" in plain.replace("&#x27;", "'")
    assert "script-src 'sha256-T8Xibs7zV8KTQdRXjpKJTlizX17SudRlddrZKaeFg9E='" in scripted.replace(
        "&#x27;", "'"
    )
    assert "<script>1 < 2</script>" in scripted


def test_the_style_has_no_address_in_it() -> None:
    """Nothing that a browser would fetch, and nothing that ends it."""
    assert style()
    assert not any(word in style() for word in ("url(", "@import", "</", "http"))
