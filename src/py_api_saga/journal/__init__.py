"""Journals: give a saga one, and it survives the process that runs it."""

from py_api_saga.journal.codec import Codec
from py_api_saga.journal.memory import MemoryJournal
from py_api_saga.journal.protocol import Journal
from py_api_saga.journal.sqlite import SQLiteJournal

__all__ = ["Codec", "Journal", "MemoryJournal", "SQLiteJournal"]
