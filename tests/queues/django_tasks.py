"""A Django project's tasks, on Celery: `celery -A queues.django_tasks worker`.

As the how-to has it: a view starts the saga in its own transaction, and then sends the task.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from servers.shared import Database

from py_api_saga import Recovered, Saga

POOL = 4  # connections, in each process: of a task, and of the journal
SETTINGS = "queues.django_settings"


def shop() -> Any:
    """Give the model of an order, once there is a project."""
    from django.apps import apps  # noqa: PLC0415 - as it says
    from django.db import models  # noqa: PLC0415

    if "shop" in apps.all_models and "order" in apps.all_models["shop"]:
        return apps.all_models["shop"]["order"]
    meta = type("Meta", (), {"app_label": "shop"})
    status = models.CharField(max_length=20)
    return type("Order", (models.Model,), {"__module__": __name__, "Meta": meta, "status": status})


def note(order: int, status: str) -> None:
    """Write down what has become of an order."""
    shop().objects.filter(pk=order).update(status=status)


def saga(order: int) -> Saga:
    """Make the saga of an order."""
    from py_api_saga.contrib.django import saga  # noqa: PLC0415 - as above

    return (
        saga("checkout")
        .operation((note, order, "charged"), (note, order, "failed"), name="charge")
        .operation((note, order, "placed"), name="place")
    )


def place_order(order: int, *, fails: bool = False) -> None:
    """Write an order and its saga down, both or neither, as a view does."""
    from django.db import transaction  # noqa: PLC0415 - as above

    from py_api_saga.contrib.django import get_journal  # noqa: PLC0415

    with transaction.atomic():
        shop().objects.create(pk=order, status="new")
        saga(order).start(journal=get_journal().within(), saga_id=f"order-{order}")
        transaction.set_rollback(fails)


def begin(database: Database) -> dict[str, str]:
    """Make its tables, and give what its worker is told."""
    told = {"SHOP_DJANGO_DATABASE": database.url, "SHOP_DJANGO_SCHEMA": database.schema}
    os.environ.update(told, DJANGO_SETTINGS_MODULE=SETTINGS)
    import django  # noqa: PLC0415 - as above

    django.setup()
    from django.db import connection  # noqa: PLC0415

    from py_api_saga.contrib.django import get_journal  # noqa: PLC0415

    get_journal().create_schema()
    with connection.schema_editor() as editor:
        editor.create_model(shop())
    return {**told, "DJANGO_SETTINGS_MODULE": SETTINGS}


def finish() -> list[Recovered]:
    """Recover, as a periodic task does."""
    from py_api_saga.contrib.django import recover  # noqa: PLC0415 - as above

    return recover()


def orders() -> dict[int, str]:
    """Give the status of each order."""
    return dict(shop().objects.values_list("pk", "status"))


def end() -> None:
    """Close everything."""
    from django.db import connection  # noqa: PLC0415 - as above

    from py_api_saga.contrib.django import get_journal  # noqa: PLC0415

    connection.close()
    get_journal().close()
    for name in ("DJANGO_SETTINGS_MODULE", "SHOP_DJANGO_DATABASE", "SHOP_DJANGO_SCHEMA"):
        del os.environ[name]


if "SHOP_DJANGO_DATABASE" in os.environ:  # in the worker
    app: Any = import_module("celery").Celery("django_tasks")
    app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True)

    def checkout(order: int) -> None:
        """Make the saga sooner than its worker would."""
        saga(order).orchestrator_execute(saga_id=f"order-{order}")

    app.task(checkout, name="checkout")
