"""What makes the tables of the journal in the database of its alias."""

from __future__ import annotations

from typing import Any

from py_api_saga.contrib.django.configured import lasting_journal, settled


def upgrade(_: Any, editor: Any) -> None:
    """Add what tables of an earlier release lack: all of it may be run again."""
    if editor.connection.alias == settled().alias:
        journal: Any = lasting_journal()
        journal.upgrade(editor.connection)
