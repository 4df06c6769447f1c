"""What a statement of SQL writes to."""

from __future__ import annotations

import re

__all__ = ["UNREACHABLE", "write_in"]

UNREACHABLE = "injected: the database cannot be reached"
_WRITE = re.compile(
    r"\s*(INSERT|UPDATE|DELETE|REPLACE|MERGE)(?:\s+(?:OR\s+\w+|INTO|FROM|IGNORE|ONLY)\b)*"
    r"\s+[\"`\[]?([\w.]+)",
    re.IGNORECASE,
)


def write_in(statement: str) -> str | None:
    """Give what a statement writes, as "UPDATE stock"; None if it reads."""
    found = _WRITE.match(statement)
    return None if found is None else f"{found[1].upper()} {found[2]}"
