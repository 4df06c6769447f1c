"""Operations for processes of their own: what they do shows in a folder."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

LONGEST = 20.0  # seconds, after which a test that has forgotten them must not wait any more


def note(folder: str, what: str) -> str:
    """Leave a file."""
    Path(folder, what).touch()
    return what


def take_back(folder: str, what: str) -> None:
    """Remove it."""
    Path(folder, what).unlink(missing_ok=True)


def linger(folder: str, what: str) -> str:
    """Leave a file, and return once there is one that is called "go"."""
    note(folder, what)
    until = time.monotonic() + LONGEST
    while not Path(folder, "go").exists() and time.monotonic() < until:
        time.sleep(0.01)
    return what


async def alinger(folder: str, what: str) -> str:
    """Do so under asyncio."""
    note(folder, what)
    until = time.monotonic() + LONGEST
    while not Path(folder, "go").exists() and time.monotonic() < until:  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)
    return what
