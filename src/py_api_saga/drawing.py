"""A saga as a picture in text: Mermaid, which GitHub, GitLab and Sphinx render."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"[^\w .\-]")


def escaped(text: str) -> str:
    """Write all that Mermaid might read as syntax as entities (`#35;` is `#`)."""
    return _SPECIAL.sub(lambda match: f"#{ord(match[0])};", text)


def flowchart(operations: Sequence[tuple[str, str | None]], after: Sequence[Iterable[int]]) -> str:
    """Draw operations as boxes, their order as arrows, and what is written beside each below it.

    Args:
        operations: The name of each, and a second line for its box or None.
        after: For each operation the indexes of those that come before it.
    """
    lines = ["flowchart LR"]
    for index, (name, note) in enumerate(operations):
        label = escaped(name) + ("" if note is None else "<br/>" + escaped(note))
        lines.append(f'    o{index}["{label}"]')
    for index, before in enumerate(after):
        lines += [f"    o{other} --> o{index}" for other in before]
    return "\n".join(lines) + "\n"


def state_diagram(moves: Iterable[tuple[str, Iterable[str]]], start: str) -> str:
    """Draw a table of moves: each status with those that may follow it."""
    lines = ["stateDiagram-v2", f"    [*] --> {start}"]
    for status, following in moves:
        lines += [f"    {status} --> {other}" for other in following]
    return "\n".join(lines) + "\n"
