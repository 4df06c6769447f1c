"""Journals: give a saga one, and it survives the process that runs it."""

from typing import TYPE_CHECKING

from py_api_saga.journal.codec import Codec
from py_api_saga.journal.protocol import Journal

if TYPE_CHECKING:
    from py_api_saga.journal.memory import MemoryJournal
    from py_api_saga.journal.sqlite import SQLiteJournal

__all__ = ["Codec", "Journal", "MemoryJournal", "SQLiteJournal"]


def __getattr__(name: str) -> object:
    """Import a journal when it is asked for: few programs need both."""
    if name == "MemoryJournal":
        from py_api_saga.journal.memory import MemoryJournal  # noqa: PLC0415 - the reason is above

        return MemoryJournal
    if name == "SQLiteJournal":
        from py_api_saga.journal.sqlite import SQLiteJournal  # noqa: PLC0415 - likewise

        return SQLiteJournal
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
