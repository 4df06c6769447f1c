"""Operations that note each arrival in a ledger outside of the journal, one line each."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from py_api_saga import current_operation


def _note(what: str, saga_id: str, step: int) -> None:
    line = {
        "what": what,
        "saga": saga_id,
        "step": step,
        "key": current_operation().idempotency_key,
        "process": os.getpid(),
        "at": time.monotonic(),
    }
    file = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, (json.dumps(line) + "\n").encode())  # whole, whoever else writes
    os.close(file)


def act(saga_id: str, step: int, seconds: float) -> int:
    """Take effect, and take a while."""
    _note("begins", saga_id, step)
    time.sleep(seconds)
    _note("acts", saga_id, step)
    return step


def refuse(saga_id: str, step: int) -> None:
    """Take no effect."""
    _note("refuses", saga_id, step)
    message = "no"
    raise ValueError(message)


def undo(saga_id: str, step: int) -> None:
    """Take it back."""
    _note("undoes", saga_id, step)


def noted(ledger: Path) -> list[dict[str, Any]]:
    """Read what was noted."""
    return [json.loads(line) for line in ledger.read_text().splitlines()]
