"""Make the table of the barrier."""

from django.db import migrations, models


class Migration(migrations.Migration):  # type: ignore[misc]  # Django has no type hints
    """Make it on each alias that a router lets it."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="BarrierRow",
            fields=[
                ("key", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("action", models.CharField(max_length=255)),
                ("fingerprint", models.CharField(max_length=255)),
                ("status", models.IntegerField()),
                ("answer", models.TextField(null=True)),
                ("at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "barrier row",
                "db_table": "saga_barrier",
                "indexes": [models.Index(fields=["action"], name="saga_barrier_action")],
            },
        ),
    )
