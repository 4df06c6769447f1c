"""The indexes that were added to the journal's tables since they were made, where they are."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

from py_api_saga.contrib.django.migrations import upgrade


class Migration(migrations.Migration):  # type: ignore[misc]  # Django has no type hints
    """Backwards nothing is dropped: they harm nobody."""

    atomic = False  # else whoever runs sagas waits until they are made
    dependencies: ClassVar[list[Any]] = [("py_api_saga", "0001_initial")]
    operations: ClassVar[list[Any]] = [
        migrations.RunPython(upgrade, migrations.RunPython.noop),
    ]
