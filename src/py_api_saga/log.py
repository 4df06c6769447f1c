"""The log `py_api_saga`: what becomes of sagas, and what the user's code has done wrong.

`logging` is imported when there is something to log: 6 ms, and a program that has not imported it
has set nothing up that would show what is below a warning.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from py_api_saga.interrupts import is_limit

if TYPE_CHECKING:
    from logging import Logger

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40  # those of `logging`


_log: Logger | None = None  # once something has asked for it


def logger() -> Logger:
    """Give the log `py_api_saga`."""
    global _log  # noqa: PLW0603 - a cache
    if _log is None:
        import logging  # noqa: PLC0415 - the reason is above

        _log = logging.getLogger("py_api_saga")
    return _log


def is_heard() -> bool:
    """Tell whether the log takes more than warnings."""
    log = _log  # each saga asks
    if log is None:
        if "logging" not in sys.modules:
            return False
        log = logger()
    return log.isEnabledFor(INFO)


def complain(text: str, *values: object, error: BaseException | None = None) -> None:
    """Log what the user's code has done wrong; a log that raises changes nothing either."""
    try:
        logger().log(ERROR if error else WARNING, text, *values, exc_info=error)
    except Exception as raised:
        if is_limit(raised):
            raise
