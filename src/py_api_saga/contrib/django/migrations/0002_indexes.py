"""The indexes that were added to the journal's tables since they were made, where they are."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

from py_api_saga.contrib.django.configured import lasting_journal, settled


def add_indexes(_: Any, editor: Any) -> None:
    """Add them, unless they are there: all of it may be run again."""
    if editor.connection.alias == settled().alias:
        journal: Any = lasting_journal()
        journal.add_indexes(editor.connection)


class Migration(migrations.Migration):  # type: ignore[misc]  # Django has no type hints
    """Backwards nothing is dropped: they harm nobody."""

    atomic = False  # else whoever runs sagas waits until they are made
    dependencies: ClassVar[list[Any]] = [("py_api_saga", "0001_initial")]
    operations: ClassVar[list[Any]] = [
        migrations.RunPython(add_indexes, migrations.RunPython.noop),
    ]
