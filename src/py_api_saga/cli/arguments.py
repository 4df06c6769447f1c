"""What the words of a command line stand for: ages, statuses, numbers, renamed functions."""

from __future__ import annotations

import argparse
import math
import re

from py_api_saga.status import SagaStatus

_AGE = re.compile(r"(\d{1,9})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PORTS = 65535
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252})")
_SLOWEST = 3.0  # seconds for an answer of the demo's services; its `post` waits 5
_LONGEST = 86400.0  # seconds between two rounds of a worker, or for which it waits


class UsageError(Exception):
    """The command can't be run as it was typed."""


def age(text: str) -> float:
    """Read an age, such as 30d, 12h or 5m, as seconds."""
    found = _AGE.fullmatch(text)
    if found is None:
        message = f"expected an age such as 30d, 12h, 5m or 90s, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return float(int(found[1]) * _SECONDS[found[2]])


def words(text: str) -> str:
    """Read a text that must say something."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"expected some words, got {text!r}")
    return text


def count(text: str) -> int:
    """Read a number from 1."""
    if not text.isdecimal() or not 1 <= int(text[:10]) <= 10**9:
        message = f"expected a number from 1, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def threads(text: str) -> int:
    """Read a number from 0."""
    return 0 if text == "0" else count(text)


def port(text: str) -> int:
    """Read the number of a port."""
    if not (text.isascii() and text.isdecimal() and int(text[:10]) <= _PORTS):
        message = f"expected the number of a port, 0 to {_PORTS}, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def host(text: str) -> str:
    """Read what a server is called."""
    if not _HOST.fullmatch(text):
        message = f"expected a name such as sagas.example.org, without a port, got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return text.lower()


def pace(text: str) -> float:
    """Read how long the services of the demo take to answer."""
    return _between(text, 0.0, _SLOWEST)


def patience(text: str) -> float:
    """Read how long a worker waits for something."""
    return _between(text, 0.0, _LONGEST)


def interval(text: str) -> float:
    """Read how long a worker waits between two rounds."""
    return _between(text, 0.01, _LONGEST)


def _between(text: str, least: float, most: float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not least <= seconds <= most:
        raise argparse.ArgumentTypeError(f"expected {least:g} to {most:g}, got {text!r}")
    return seconds


def statuses(text: str) -> list[SagaStatus]:
    """Read statuses of sagas, separated by commas."""
    return [_status(word, list(SagaStatus)) for word in text.split(",")]


def ends(text: str) -> list[SagaStatus]:
    """Read statuses of sagas that have ended, in the same way."""
    allowed = [SagaStatus.COMPLETED, SagaStatus.COMPENSATED]
    return [_status(word, allowed) for word in text.split(",")]


def _status(word: str, allowed: list[SagaStatus]) -> SagaStatus:
    for status in allowed:
        if word.strip().lower() == status.value:
            return status
    known = ", ".join(status.value for status in allowed)
    raise argparse.ArgumentTypeError(f"expected some of {known}, got {word!r}")


def alias(text: str) -> tuple[str, str]:
    """Read what something is called now: OLD=NEW."""
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f"expected OLD=NEW, got {text!r}")
    return old, new
