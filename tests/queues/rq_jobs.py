"""The jobs of RQ's workers; also their settings, so that it is imported before they fork."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from . import shop

shop.journal().find("nobody")  # opened before the fork: both sides must tolerate it


def cell(order: str, kind: str, durable: bool, wait: float) -> list[Any]:  # noqa: FBT001 - as it is sent
    """Run a saga, and note when the death penalty strikes."""
    with shop.hearing(signal.SIGALRM, order):
        if kind == "asyncio":
            return asyncio.run(shop.arun(order, durable=durable))
        return shop.run(order, kind, durable=durable, wait=wait)
