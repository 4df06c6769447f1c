"""HTML by construction: only `Markup` is markup, and every other text is text.

So nobody can forget to escape. Characters that cannot be seen, or that turn a line around, are
written as Python writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from py_api_saga.wording import in_line

_EMPTY = frozenset({"br", "input", "meta"})  # these have no end


class Markup(str):
    """HTML; only what is in this module makes it of what is none."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Give a value as HTML: what is none is escaped."""
    return value if type(value) is Markup else Markup(escape(in_line(str(value))))


def join(parts: Iterable[object]) -> Markup:
    """Put parts behind one another; None is nothing."""
    return Markup("".join([text(part) for part in parts if part is not None]))


def tag(name: str, /, *inside: object, **attributes: object) -> Markup:
    """Make an element.

    Args:
        name: Its name.
        inside: What is in it; None is nothing.
        attributes: `_` stands for `-`, but at the end for nothing: `class_`, `aria_label`. True
            for one that has no value; None and False leave it out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = key.rstrip("_").replace("_", "-")
        words.append(written if value is True else f'{written}="{text(value)}"')
    start = f"<{' '.join(words)}>"
    return Markup(start if name in _EMPTY else f"{start}{join(inside)}</{name}>")
