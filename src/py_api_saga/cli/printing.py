"""What the commands write: text that no name or error can break out of, and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from py_api_saga.wording import in_line


def write(*lines: str) -> None:
    """Write lines; whatever is in them, each stays one line and commands no terminal."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(in_line(line).encode(encoding, "backslashreplace").decode(encoding))


def write_json(document: Any) -> None:
    """Write one JSON document, in ASCII."""
    print(json.dumps(document, indent=2))


def table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Align columns, the last one as it is."""
    rows = [[in_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
