"""Where Django looks for the journal's tables: `DATABASE_ROUTERS`, unless they are in "default"."""

from __future__ import annotations

from typing import Any

from py_api_saga.contrib.django.configured import settled

_APP = "py_api_saga"


class JournalRouter:
    """Leads what Django reads, writes and migrates of the journal's tables to its alias.

    `DATABASE_ROUTERS = ["py_api_saga.contrib.django.routers.JournalRouter"]`. It says nothing about
    other models.
    """

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        """Give the alias of the journal, for its model."""
        return (settled().alias or None) if model._meta.app_label == _APP else None  # noqa: SLF001 - Django's own name

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        """Give the same."""
        return self.db_for_read(model, **hints)

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool | None:
        """Tell that its migration belongs there, and nowhere else."""
        alias = settled().alias
        return db == alias if alias and app_label == _APP else None
