"""Where things lie: the checkout, the tests, and what processes of their own find them by."""

from __future__ import annotations

import os
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent


def search_path(*folders: Path | str) -> str:
    """Give a PYTHONPATH of folders, and of what is in ours already."""
    there = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*map(str, folders), *([there] if there else [])])
