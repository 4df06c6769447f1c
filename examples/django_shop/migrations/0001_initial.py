"""The table of the orders."""

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):  # type: ignore[misc]  # Django has no type hints
    """As `makemigrations` has written it."""

    initial = True
    dependencies: ClassVar[list[Any]] = []
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "number",
                    models.CharField(max_length=50, primary_key=True, serialize=False),
                ),
                ("article", models.CharField(max_length=50)),
                ("status", models.CharField(default="new", max_length=10)),
                ("reservation", models.CharField(max_length=50, null=True)),
                ("payment", models.CharField(max_length=50, null=True)),
            ],
        ),
    ]
