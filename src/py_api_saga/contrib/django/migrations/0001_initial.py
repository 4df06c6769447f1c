"""The tables of the journal: on its alias, if that is a PostgreSQL, and nowhere else."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models

from py_api_saga.contrib.django.configured import lasting_journal, settled
from py_api_saga.contrib.django.models import table


def make_tables(_: Any, editor: Any) -> None:
    """Make them, unless they are there: all of it may be run again."""
    if editor.connection.alias == settled().alias:
        journal: Any = lasting_journal()
        journal.migrate(editor.connection)


class Migration(migrations.Migration):  # type: ignore[misc]  # Django has no type hints
    """Backwards nothing is dropped: what is on record of open sagas would be gone."""

    initial = True
    dependencies: ClassVar[list[Any]] = []
    operations: ClassVar[list[Any]] = [
        migrations.RunPython(make_tables, migrations.RunPython.noop),
        migrations.CreateModel(
            name="Saga",
            fields=[
                (
                    "saga_id",
                    models.TextField(primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("number", models.BigIntegerField(unique=True)),
                ("name", models.TextField(null=True)),
                (
                    "status",
                    models.SmallIntegerField(
                        choices=[
                            (0, "RUNNING"),
                            (1, "COMPENSATING"),
                            (2, "STUCK"),
                            (3, "COMPLETED"),
                            (4, "COMPENSATED"),
                        ]
                    ),
                ),
                ("epoch", models.IntegerField()),
                ("owner", models.BigIntegerField()),
                ("tries", models.IntegerField()),
                ("created", models.BigIntegerField()),
                ("changed", models.BigIntegerField()),
                ("due", models.BigIntegerField()),
                ("digest", models.TextField(null=True)),
            ],
            options={
                "verbose_name": "saga",
                "verbose_name_plural": "sagas",
                "db_table": table(),
                "permissions": (
                    ("retry_saga", "Can have what is stuck tried again"),
                    ("compensate_saga", "Can have a saga undone"),
                    ("resolve_saga", "Can say what came of an operation"),
                    ("view_saga_values", "Can see arguments and results"),
                ),
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
    ]
