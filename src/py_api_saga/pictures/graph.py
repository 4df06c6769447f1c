"""What waits for what, as an SVG, if a saga is not a chain."""

from __future__ import annotations

from typing import Final

from py_api_saga.pictures.document import SIGNS
from py_api_saga.pictures.markup import Markup, tag
from py_api_saga.story.saga import Story

MOST: Final = 60  # operations: of more, nobody could follow the lines

_WIDTH, _HEIGHT = 150, 34  # of a box
_ACROSS, _DOWN = 210, 50  # from one to the next
_EDGE = 3
_LONGEST = 16  # characters of a name


def graph(story: Story) -> Markup | None:
    """Draw in which order operations go, and where each stands; None if they are a chain."""
    if story.recorded is None or story.execution is None or story.recorded.definition.is_chain:
        return None
    definition = story.recorded.definition
    names, after = definition.names.all(), definition.after
    if not 1 < len(names) <= MOST or not any(after):
        return None
    places = _places([[*others] for others in after])
    lines, boxes = [], []
    for i, name in enumerate(names):
        x, y = places[i]
        for other in after[i]:
            ax, ay = places[other][0] + _WIDTH, places[other][1] + _HEIGHT / 2
            middle, end = (ax + x) / 2, y + _HEIGHT / 2
            d = f"M{ax} {ay:g}C{middle:g} {ay:g} {middle:g} {end:g} {x - 5} {end:g}"
            lines += [tag("path", d=d), tag("path", d=f"M{x} {end:g}l-8 -4v8z", class_="head")]
        status = story.execution.status[i].value
        short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        words = tag("text", f"{SIGNS[status]} {short}", x=x + 10, y=y + 22)
        full = tag("title", f"{name}: {status.replace('_', ' ')}")
        box = tag("rect", x=x, y=y, width=_WIDTH, height=_HEIGHT, rx=7)
        boxes.append(tag("g", full, box, words, class_=f"s-{status}"))
    width = max(x for x, _ in places) + _WIDTH + _EDGE
    height = max(y for _, y in places) + _HEIGHT + _EDGE
    drawn = tag(
        "svg",
        *lines,
        *boxes,
        width=width,
        height=height,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label="The operations, each behind those that it comes after; listed below",
    )
    scrolled = tag("div", drawn, class_="graph", tabindex=0, role="region", aria_label="Graph")
    return tag("section", tag("h2", "What waits for what"), scrolled)


def _places(after: list[list[int]]) -> list[tuple[int, int]]:
    """Put each operation into a column behind all that it comes after, near to what it follows."""
    columns: list[list[int]] = []
    column: list[int] = []
    for i, others in enumerate(after):
        column.append(max((column[j] + 1 for j in others), default=0))
        columns += [[] for _ in range(column[i] + 1 - len(columns))]
        columns[column[i]].append(i)
    rows: dict[int, float] = {}
    for members in columns:
        # In the order of the middles of what they follow, so that lines cross less.
        near = {
            i: sum(rows[j] for j in after[i]) / len(after[i]) if after[i] else float(i)
            for i in members
        }
        ordered = sorted(members, key=lambda i: (near[i], i))
        rows |= {i: float(row) for row, i in enumerate(ordered)}
    most = max(map(len, columns))
    return [
        (
            _EDGE + column[i] * _ACROSS,
            int(_EDGE + (rows[i] + (most - len(columns[column[i]])) / 2) * _DOWN),
        )
        for i in range(len(after))
    ]
