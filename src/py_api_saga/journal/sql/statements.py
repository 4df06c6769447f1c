"""SQL kept as text, with names: `-- name: create`, what it does as comments, and the statement."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

_MARK = "-- name: "


def parse(text: str) -> dict[str, str]:
    """Give the statements of a text by name, in order, each without what is said before it."""
    statements = {}
    for part in ("\n" + text).split("\n" + _MARK)[1:]:
        name, _, statement = part.partition("\n")
        while statement.startswith("--"):
            statement = statement.partition("\n")[2]
        statements[name.strip()] = statement.strip().removesuffix(";")
    return statements


def read(module: Mapping[str, Any], file: str) -> Mapping[str, str]:
    """Give the statements of a file that lies beside a module, also if that is inside an archive.

    Args:
        module: What the module calls `globals()`.
        file: The name of the file.
    """
    loader = module["__loader__"]  # as in `pkgutil.get_data`: 1 ms to import
    path = os.path.join(os.path.dirname(module["__file__"]), file)  # noqa: PTH118, PTH120 - pathlib: 5 ms
    data: bytes = loader.get_data(path)
    return parse(data.decode())
