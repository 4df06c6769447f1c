"""The actors of a dramatiq worker: `python -m dramatiq queues.dramatiq_app`."""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Any

from . import shop
from .ledger import note

LOST = int(os.environ.get("LOST_AFTER", "60000"))  # ms without a sign of life

dramatiq: Any = import_module("dramatiq")
middleware: Any = import_module("dramatiq.middleware")
time_limit: Any = import_module("dramatiq.middleware.time_limit")
results: Any = import_module("dramatiq.results")
async_to_sync: Any = import_module("dramatiq.asyncio").async_to_sync
_url = os.environ["REDIS_URL"]
broker = import_module("dramatiq.brokers.redis").RedisBroker(
    url=_url,
    middleware=[
        time_limit.TimeLimit(interval=100),
        middleware.ShutdownNotifications(),
        middleware.Retries(max_retries=0),
        middleware.AsyncIO(),
        results.Results(backend=import_module("dramatiq.results.backends").RedisBackend(url=_url)),
    ],
    maintenance_chance=1_000_000,  # it looks for lost workers at each command
    heartbeat_timeout=LOST,
)
dramatiq.set_broker(broker)

_running: dict[int, str] = {}  # which order a thread works on
_strike = time_limit.raise_thread_exception


def _heard(thread: int, error: Any) -> None:
    """Note the strike when it is on its way: it comes with the thread's next step."""
    order = _running.get(thread)
    _strike(thread, error)
    if order is not None:
        note("struck", order)


time_limit.raise_thread_exception = _heard


def cell(order: str, kind: str, durable: bool, wait: float) -> list[Any]:  # noqa: FBT001 - as it is sent
    """Run a saga in a thread that a limit may strike."""
    _running[threading.get_ident()] = order
    try:
        if kind == "asyncio":
            run: Any = async_to_sync(shop.arun)(order, durable=durable)
            return list(run)
        return shop.run(order, kind, durable=durable, wait=wait)
    finally:
        del _running[threading.get_ident()]


dramatiq.actor(cell, actor_name="cell", queue_name="cells", store_results=True)
