"""The mail of sagas that wait for answers: the second format of the journal's tables."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

from py_api_saga.contrib.django.migrations import upgrade


class Migration(migrations.Migration):  # type: ignore[misc]  # Django has no type hints
    """Backwards nothing is dropped: what is on record of open sagas would be gone."""

    atomic = False  # else whoever runs sagas waits until the indexes are made
    dependencies: ClassVar[list[Any]] = [("py_api_saga", "0002_indexes")]
    operations: ClassVar[list[Any]] = [
        migrations.RunPython(upgrade, migrations.RunPython.noop),
    ]
