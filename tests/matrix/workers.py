"""What worker processes do; they import this module, so it imports next to nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


def ready() -> None:
    """Be there."""


def act_and_die(effect: Path) -> None:
    """Take effect, and end the process without a word."""
    effect.touch()
    os._exit(1)


def act_and_stay(effect: Path) -> None:
    """Take effect, and do not come back."""
    effect.touch()
    time.sleep(60)


def act_and_hang_up(effect: Path, pipe: Any) -> None:
    """Take effect, and end in the place of an answer."""
    effect.touch()
    pipe.close()
