"""The tasks of a Celery worker: `celery -A queues.celery_app worker`."""

from __future__ import annotations

import asyncio
import signal
from importlib import import_module
from typing import Any

from . import shop

app: Any = import_module("celery").Celery("queues")
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)
shop.journal().find("nobody")  # opened before the fork: both sides must tolerate it


def cell(order: str, kind: str, durable: bool, wait: float) -> list[Any]:  # noqa: FBT001 - as it is sent
    """Run a saga, and note when the soft limit strikes."""
    with shop.hearing(signal.SIGUSR1, order):
        if kind == "asyncio":
            return asyncio.run(shop.arun(order, durable=durable))
        return shop.run(order, kind, durable=durable, wait=wait)


app.task(cell, name="cell")
