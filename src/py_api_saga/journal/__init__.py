"""Journals: give a saga one, and it survives the process that runs it."""

from typing import TYPE_CHECKING

from py_api_saga.journal.protocol import Codec, Journal, Within

if TYPE_CHECKING:
    from py_api_saga.journal.memory import MemoryJournal
    from py_api_saga.journal.postgresql.engine import SQLAlchemyJournal
    from py_api_saga.journal.postgresql.journal import PostgreSQLJournal
    from py_api_saga.journal.sqlite.journal import SQLiteJournal

__all__ = [
    "Codec",
    "Journal",
    "MemoryJournal",
    "PostgreSQLJournal",
    "SQLAlchemyJournal",
    "SQLiteJournal",
    "Within",
]


_LATE = {  # name -> its module
    "MemoryJournal": "memory",
    "PostgreSQLJournal": "postgresql.journal",
    "SQLAlchemyJournal": "postgresql.engine",
    "SQLiteJournal": "sqlite.journal",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import one when it is asked for: few programs need both journals, or a protocol."""
    module = _LATE.get(name, "protocol")
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415 - the reason is above

    return getattr(import_module(f"{__name__}.{module}"), name)
