"""The journal's table of sagas as a model: for the admin, and for links to it from your own models.

Django neither makes nor changes the table, and to write to it past the journal is an error.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.core.exceptions import ImproperlyConfigured
from django.db import models

from py_api_saga.contrib.django.configured import settled
from py_api_saga.journal.changes import NUMBER_OF, STATUS_OF, Summary
from py_api_saga.status import SagaStatus


def table() -> str:
    """Name the table, as the options of the journal have it."""
    try:
        settled_ = settled()
    except ImproperlyConfigured:  # which the system checks say
        return "saga_saga"
    if not settled_.alias:
        return "saga_saga"
    options = settled_.options
    return f'"{options.get("schema", "public")}"."{options.get("prefix", "saga_")}saga"'


class Saga(models.Model):  # type: ignore[misc]  # Django has no type hints
    """A saga at a glance; times are milliseconds since 1970, by the clock of the database."""

    saga_id = models.TextField("ID", primary_key=True)
    number = models.BigIntegerField(unique=True)
    name = models.TextField(null=True)  # noqa: DJ001 - a saga may have none
    status = models.SmallIntegerField(
        choices=[(number, status.name) for status, number in NUMBER_OF.items()]
    )
    epoch = models.IntegerField()
    owner = models.BigIntegerField()
    tries = models.IntegerField()
    created = models.BigIntegerField()
    changed = models.BigIntegerField()
    due = models.BigIntegerField()
    digest = models.TextField(null=True)  # noqa: DJ001 - as the table has it

    class Meta:
        """What may be done about sagas; nobody adds, changes or deletes one here."""

        managed = False
        db_table = table()
        default_permissions = ("view",)
        permissions = (
            ("retry_saga", "Can have what is stuck tried again"),
            ("compensate_saga", "Can have a saga undone"),
            ("resolve_saga", "Can say what came of an operation"),
            ("view_saga_values", "Can see arguments and results"),
        )
        verbose_name = "saga"
        verbose_name_plural = "sagas"

    def __str__(self) -> str:
        return str(self.saga_id)

    @property
    def standing(self) -> SagaStatus:
        """Where it stands."""
        return STATUS_OF[self.status]

    @property
    def since(self) -> datetime:
        """When its status changed last, or somebody claimed it."""
        return datetime.fromtimestamp(self.changed / 1000, UTC)

    @property
    def summary(self) -> Summary:
        """The same as the journal has it."""
        return Summary(
            self.number, self.saga_id, self.name, self.standing, self.owner, self.epoch,
            self.tries, self.created / 1000, self.changed / 1000, self.due / 1000, self.digest,
        )  # fmt: skip
