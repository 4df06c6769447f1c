"""Draw the tables of the machine, and two sagas: `python docs/draw.py`.

The tables as pictures, as Mermaid text, and what may follow from what is told in Markdown; the
sagas as the library draws them on a page. What it writes into `docs/_generated/` is committed; a
test compares it with the tables and with what the library draws. The pictures are SVG, so that a
page shows them without loading anything from anywhere.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from enum import Enum
from math import hypot
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar
from unittest import mock

from py_api_saga import (
    JournalError,
    Retry,
    SagaAssembler,
    SagaException,
    recover,
)
from py_api_saga.drawing import state_diagram
from py_api_saga.durable import run
from py_api_saga.follows import FOLLOWS, SAGA_FOLLOWS, Event
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.changes import Change
from py_api_saga.journal.format import definitions
from py_api_saga.pictures.document import badge, style
from py_api_saga.pictures.markup import tag
from py_api_saga.pictures.timeline import timeline
from py_api_saga.release import VERSION
from py_api_saga.status import LEGAL, SAGA_LEGAL
from py_api_saga.story.saga import read
from py_api_saga.testing import Clock

SVG = "http://www.w3.org/2000/svg"  # a name, not an address
FOLDER = Path(__file__).parent / "_generated"

WIDTH, HEIGHT = 138, 34  # of a box
GAP = 7  # between a move and the move back
DECIDES = "a person decides, or it lands late"
LOOP = 34  # how high a move to itself rises above its box

AnyStatus = TypeVar("AnyStatus", bound=Enum)
Point = tuple[float, float]
Table = Mapping[str, tuple[str, ...]]


class Plan(NamedTuple):
    """How to lay a table out: what no table can know.

    Attributes:
        size: Width and height of the picture.
        start: The status that everything begins with.
        boxes: The middle of each status.
        bends: Moves that are not drawn straight, with the point that bends them.
        loops: How far the move of a status to itself is drawn from the middle of its box.
        decided: The status out of which only a person (or what lands late) leads; its moves are
            listed beside it, since arrows to almost everywhere would hide the others.
    """

    size: tuple[int, int]
    start: str
    boxes: Mapping[str, Point]
    bends: Mapping[tuple[str, str], Point]
    loops: Mapping[str, float] = {}
    decided: str = "STUCK"


OPERATION = Plan(
    size=(1060, 490),
    start="PENDING",
    boxes={
        "PENDING": (110, 215),
        "RUNNING": (310, 215),
        "SUCCEEDED": (520, 85),
        "IN_DOUBT": (520, 215),
        "FAILED": (520, 345),
        "SKIPPED": (740, 85),
        "COMPENSATING": (740, 215),
        "COMPENSATED": (950, 215),
        "STUCK": (690, 440),
    },
    bends={("RUNNING", "STUCK"): (310, 440)},
    loops={"RUNNING": -24, "COMPENSATING": 28},
)
SAGA = Plan(
    size=(860, 310),
    start="RUNNING",
    boxes={
        "RUNNING": (130, 160),
        "COMPLETED": (420, 60),
        "COMPENSATING": (420, 160),
        "COMPENSATED": (710, 160),
        "STUCK": (420, 260),
    },
    bends={},
)

STYLE = """\
  <style>
    text { font: 14px ui-monospace, "DejaVu Sans Mono", monospace; fill: #1f2933; }
    .box text { text-anchor: middle; dominant-baseline: central; }
    .note { font: italic 13px "DejaVu Sans", sans-serif; fill: #52606d; }
    rect { fill: #ffffff; stroke: #52606d; stroke-width: 1.5; }
    rect.page { stroke: none; }
    path { fill: none; stroke: #52606d; stroke-width: 1.5; marker-end: url(#head); }
    path.decided { stroke-dasharray: 4 4; }
    .SUCCEEDED rect, .COMPLETED rect { fill: #e3f5e6; stroke: #2f7d43; }
    .COMPENSATED rect, .SKIPPED rect { fill: #e4eefb; stroke: #2f5f9e; }
    .FAILED rect { fill: #f1f3f5; }
    .IN_DOUBT rect { fill: #fff4d6; stroke: #a97900; }
    .STUCK rect { fill: #fde4e1; stroke: #b3261e; stroke-width: 2.5; }
  </style>
  <defs>
    <marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8"
            orient="auto"><path d="M0,1 L10,5 L0,9 z" style="fill: #52606d; stroke: none"/></marker>
  </defs>
"""


def table_of(legal: Mapping[AnyStatus, Iterable[AnyStatus]]) -> Table:
    """Name the statuses of a table, each row in the order in which they are declared."""
    order = list(type(next(iter(legal))))
    return {
        status.name: tuple(other.name for other in order if other in set(legal[status]))
        for status in order
    }


def picture(table: Table, plan: Plan, title: str) -> str:
    """Draw a table as SVG.

    Raises:
        KeyError: The plan has no place for a status.
    """
    width, height = plan.size
    lines = [
        f'<svg xmlns="{SVG}" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"  <title>{title}</title>",
        STYLE.rstrip("\n"),
        f'  <rect class="page" width="{width}" height="{height}" rx="8"/>',
    ]
    x, y = plan.boxes[plan.start]
    lines.append(f'  <path d="M{x - WIDTH / 2 - 36:g},{y:g} H{x - WIDTH / 2:g}"/>')
    for status, following in table.items():
        if status != plan.decided:
            lines += [arrow(table, plan, status, other) for other in following]
    lines += decisions(table[plan.decided], plan)
    for status in table:
        x, y = plan.boxes[status]
        lines.append(
            f'  <g class="box {status}"><rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" '
            f'width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
            f'<text x="{x:g}" y="{y:g}">{status}</text></g>'
        )
    return "\n".join([*lines, "</svg>", ""])


def arrow(table: Table, plan: Plan, status: str, other: str) -> str:
    """Draw one move: straight, bent as the plan says, or as a loop above the box."""
    begin, end = plan.boxes[status], plan.boxes[other]
    if status == other:
        x, y = begin[0] + plan.loops.get(status, 0), begin[1] - HEIGHT / 2
        return (
            f'  <path d="M{x - 20:g},{y:g} C{x - 32:g},{y - LOOP:g} '
            f'{x + 32:g},{y - LOOP:g} {x + 20:g},{y:g}"/>'
        )
    bend = plan.bends.get((status, other))
    if bend is not None:
        (x1, y1), (x2, y2) = border(begin, bend), border(end, bend)
        return f'  <path d="M{x1:g},{y1:g} Q{bend[0]:g},{bend[1]:g} {x2:g},{y2:g}"/>'
    if status in table[other] and other != plan.decided:
        dx, dy = end[0] - begin[0], end[1] - begin[1]
        side = GAP / hypot(dx, dy)
        begin = (begin[0] + dy * side, begin[1] - dx * side)
        end = (end[0] + dy * side, end[1] - dx * side)
    (x1, y1), (x2, y2) = border(begin, end), border(end, begin)
    return f'  <path d="M{x1:.0f},{y1:.0f} L{x2:.0f},{y2:.0f}"/>'


def border(middle: Point, toward: Point) -> Point:
    """Give the point where a line from the middle of a box leaves the box."""
    (x, y), (dx, dy) = middle, (toward[0] - middle[0], toward[1] - middle[1])
    scale = min(
        WIDTH / 2 / abs(dx) if dx else float("inf"), HEIGHT / 2 / abs(dy) if dy else float("inf")
    )
    return x + dx * scale, y + dy * scale


def decisions(following: Iterable[str], plan: Plan) -> list[str]:
    """Draw one dotted arrow out of a status, to the list of all that may follow."""
    x, y = plan.boxes[plan.decided]
    x += WIDTH / 2
    names = list(following)
    rows = [names[i : i + 2] for i in range(0, len(names), 2)]
    top = y - 9 * len(rows) + 5
    lines = [
        f'  <path class="decided" d="M{x:g},{y:g} h40"/>',
        f'  <text class="note" x="{x + 50:g}" y="{top - 18:g}">{DECIDES}</text>',
    ]
    for i, row in enumerate(rows):
        end = "," if i < len(rows) - 1 else ""
        text = ", ".join(row) + end
        lines.append(f'  <text x="{x + 50:g}" y="{top + 19 * i:g}">{text}</text>')
    return lines


def drawings() -> dict[str, str]:
    """Give the name and the content of each file."""
    operation, saga = table_of(LEGAL), table_of(SAGA_LEGAL)
    return {
        "operation_statuses.svg": picture(operation, OPERATION, "The statuses of an operation"),
        "operation_statuses.mmd": state_diagram(operation.items(), OPERATION.start),
        "saga_statuses.svg": picture(saga, SAGA, "The statuses of a saga"),
        "saga_statuses.mmd": state_diagram(saga.items(), SAGA.start),
        "operation_events.inc": events(FOLLOWS, "an operation that is"),
        "saga_events.inc": events(SAGA_FOLLOWS, "a saga that is"),
        "saga_undone.svg": undone(),
        "saga_recovered.svg": recovered(),
    }


def events(table: Mapping[AnyStatus, Mapping[Event, AbstractSet[AnyStatus]]], head: str) -> str:
    """Write down what may follow from what is told, as a table in Markdown."""
    lines = [f"| {head} | is told | and is then |", "|---|---|---|"]
    for status, row in table.items():
        words: dict[str, list[str]] = {}
        for event, after in row.items():
            names = [other.name for other in type(status) if other in after]
            then = "*as it was*" if after == {status} else " or ".join(names)
            words.setdefault(then or "*refused*", []).append(event)
        ordered = sorted(words.items(), key=lambda item: item[0] == "*refused*")
        for number, (then, told) in enumerate(ordered):
            lines.append(f"| {'' if number else status.name} | {', '.join(told)} | {then} |")
    return "\n".join(lines) + "\n"


# --- sagas ----------------------------------------------------------------------------------------

WIDE = 860  # pixels of a saga's picture
LOOK_FOR = 30.0  # seconds until recovery finds what a dead process has left


class Unavailable(Exception):
    """The courier does not answer."""


def steps(*failing: str) -> ModuleType:
    """Make a module with the functions of an order, which take some time; some of them fail."""
    shop = ModuleType("shop")

    def made(name: str, seconds: float) -> Callable[[str], None]:
        def step(order: str) -> None:
            time.sleep(seconds)
            if name in failing:
                message = f"no van for {order}"
                raise Unavailable(message)

        step.__name__ = step.__qualname__ = name
        step.__module__ = shop.__name__
        setattr(shop, name, step)
        return step

    for name, seconds in (
        *(("reserve", 0.12), ("charge", 0.21), ("book_courier", 0.16)),
        *(("release", 0.12), ("refund", 0.18), ("cancel_courier", 0.1)),
    ):
        made(name, seconds)
    return shop


def checkout(shop: Any, order: str) -> SagaAssembler:
    """Put the functions together, as the first example of the documentation does."""
    again = Retry(attempts=2, on=Unavailable, wait_initial=0.1, wait_jitter=0)
    return (
        SagaAssembler.saga(name="checkout")
        .operation((shop.reserve, order), (shop.release, order))
        .operation((shop.charge, order), (shop.refund, order))
        .operation((shop.book_courier, order), (shop.cancel_courier, order), retry=again)
    )


class Mortal(MemoryJournal):
    """A journal whose process dies with a call under way: nothing more of it is written."""

    rows_left = 1 << 30

    def write(self, *changes: Change) -> None:
        """Write as many rows as are left."""
        self.rows_left -= 1
        if self.rows_left < 0:
            message = "the process has died"
            raise JournalError(message)
        super().write(*changes)


def undone() -> str:
    """Draw an order for which there is no courier."""
    shop = steps("book_courier")
    with at_home(shop) as journal, called("web-1", 4711), suppress(SagaException):
        checkout(shop, "order-7").orchestrator_execute(journal=journal, saga_id="order-7")
    return saga_picture(journal, "order-7", 416)


def recovered() -> str:
    """Draw an order whose process died while it charged, and with which another one went on."""
    shop = steps()
    with at_home(shop) as journal:
        journal.rows_left = 2
        with suppress(JournalError), called("web-1", 4711):
            checkout(shop, "order-9").orchestrator_execute(journal=journal, saga_id="order-9")
        journal.rows_left = 1 << 30
        time.sleep(LOOK_FOR)
        with called("web-2", 815):
            recover(journal, max_workers=0)
    return saga_picture(journal, "order-9", 430)


@contextmanager
def called(host: str, pid: int) -> Iterator[None]:
    """Have this process write down that it is another one."""
    with ExitStack() as stack:
        for module in (definitions, run):
            named = {"host": host, "pid": pid, "version": VERSION}
            stack.enter_context(mock.patch.object(module, "identity", lambda named=named: named))
        yield


@contextmanager
def at_home(shop: ModuleType) -> Iterator[Mortal]:
    """Make a journal that finds the functions of a shop, at a time that only passes for it."""
    sys.modules[shop.__name__] = shop
    try:
        with Clock(datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()):
            yield Mortal(modules=[shop.__name__])
    finally:
        del sys.modules[shop.__name__]


def saga_picture(journal: Mortal, saga_id: str, height: int) -> str:
    """Put what a page shows of a saga into an SVG, which a page can show as an image."""
    story = read(journal, saga_id)
    sheet = re.sub(r"@media ?\(max-width.*?(?=@media print)", "", style())  # the width is fixed
    title = tag("div", tag("h1", saga_id), badge(story.seen.status.value), class_="title")
    body = f'<body xmlns="http://www.w3.org/1999/xhtml">{title}{timeline(story)}</body>'
    return (
        f'<svg xmlns="{SVG}" viewBox="0 0 {WIDE} {height}" width="{WIDE}" height="{height}">'
        f"<title>The saga {saga_id}</title><style>{sheet}body{{padding:4px 20px}}</style>"
        f'<foreignObject width="{WIDE}" height="{height}">{body}</foreignObject></svg>\n'
    )


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in drawings().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
