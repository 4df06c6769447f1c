"""What the commands write: text that no name or error can break out of, and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from py_api_saga.exceptions import SagaError
from py_api_saga.wording import in_line


def write(*lines: str) -> None:
    """Write lines; whatever is in them, each stays one line and commands no terminal."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(in_line(line).encode(encoding, "backslashreplace").decode(encoding))


def write_json(document: Any) -> None:
    """Write one JSON document, in ASCII."""
    print(json.dumps(document, indent=2))


def write_page(file: str, page: str) -> None:
    """Write a page of HTML into a file, or with `-` to the output.

    Only what is a page of HTML is replaced: a name that was mistyped must not cost a journal.

    Raises:
        SagaError: The file can't be written, or is there and is something else.
    """
    if file == "-":  # of whatever encoding that is
        sys.stdout.write(page.encode("ascii", "xmlcharrefreplace").decode())
        return
    path = Path(file)
    try:
        if path.is_file() and not _is_page(path):
            message = f"{file!r} is there, and is not a page of HTML: give another name"
            raise SagaError(message)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        message = f"cannot write {file!r}: {error.strerror}"
        raise SagaError(message) from error


def _is_page(path: Path) -> bool:
    with path.open("rb") as there:
        begins = there.read(len(_DOCTYPE))
    return not begins or begins.lower() == _DOCTYPE


_DOCTYPE = b"<!doctype html>"


def table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Align columns, the last one as it is."""
    rows = [[in_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
