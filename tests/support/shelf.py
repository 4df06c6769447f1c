"""Models of a project of Django's, whose tables a test makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import django_project

django_project.set_up()

from django.db import connections, models  # noqa: E402 - after Django was set up


class Stock(models.Model):  # type: ignore[misc]  # noqa: DJ008 - nobody prints it; Django has no type hints
    """Pieces that are free."""

    free = models.IntegerField()

    class Meta:  # noqa: D106 - Django's
        app_label = "shelf"


class Hold(models.Model):  # type: ignore[misc]  # noqa: DJ008 - as above
    """A piece that is held, under a key."""

    key = models.CharField(max_length=255, unique=True)

    class Meta:  # noqa: D106 - Django's
        app_label = "shelf"


class Paid(models.Model):  # type: ignore[misc]  # noqa: DJ008 - as above
    """What was paid, under a key."""

    key = models.CharField(max_length=255, unique=True)

    class Meta:  # noqa: D106 - Django's
        app_label = "shelf"


MODELS = (Stock, Hold, Paid)


@contextmanager
def tables(alias: str) -> Iterator[None]:
    """Have them in a database, with ten pieces, for the time of a block."""
    with connections[alias].schema_editor() as editor:
        for model in MODELS:
            editor.create_model(model)
    Stock.objects.using(alias).create(free=10)
    try:
        yield
    finally:
        with connections[alias].schema_editor() as editor:
            for model in MODELS:
                editor.delete_model(model)
