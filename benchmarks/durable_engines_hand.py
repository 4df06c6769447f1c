"""The saga of `durable_engines.py` as it is written by hand on each engine, and its worker.

`durable_engines_hand.py dbos|temporal` works until a signal ends it; the environment says where.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import short
from dbos import DBOS
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

WORKFLOW, QUEUE = "hand", "hand"
NUMBERS = (1, 2, 3)
AT_ONCE = 64  # calls of a worker, as of ours
LIMIT = timedelta(seconds=60)


@activity.defn(name="hand.step")
def step(name: str, number: int) -> Any:
    """Make one call."""
    return getattr(short, name)(number)


@workflow.defn(name=WORKFLOW)
class OnTemporal:
    """The saga as a workflow of Temporal's."""

    @workflow.run
    async def run(self) -> list[Any]:
        """Do all of it, or undo what was done."""
        results: list[Any] = []
        try:
            for number in NUMBERS:
                result = await workflow.execute_activity(
                    step,
                    args=["do", number],
                    start_to_close_timeout=LIMIT,
                    heartbeat_timeout=LIMIT,
                    retry_policy=RetryPolicy(maximum_attempts=1),
                )
                results.append(result)
        except Exception:
            for number in reversed(NUMBERS[: len(results)]):
                await workflow.execute_activity(
                    step, args=["undo", number], start_to_close_timeout=LIMIT
                )
            raise
        return results


async def on_temporal() -> None:
    """Work for it."""
    loop, enough = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, enough.set)
    client = await Client.connect(
        os.environ["SAGA_ENGINE_URL"], namespace=os.environ["SAGA_BENCH_NAMESPACE"]
    )
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[OnTemporal],
        activities=[step],
        activity_executor=ThreadPoolExecutor(AT_ONCE),
        max_concurrent_activities=AT_ONCE,
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await enough.wait()


def on_dbos() -> None:
    """Work for it; the saga as a workflow of DBOS's."""

    @DBOS.step()
    def make(name: str, number: int) -> Any:
        return getattr(short, name)(number)

    @DBOS.workflow(name=WORKFLOW)
    def hand() -> list[Any]:
        results: list[Any] = []
        try:
            for number in NUMBERS:
                results.append(make("do", number))  # noqa: PERF401 - one after the other, as they come
        except Exception:
            for number in reversed(NUMBERS[: len(results)]):
                make("undo", number)
            raise
        return results

    DBOS(
        config={
            "name": QUEUE,
            "system_database_url": os.environ["SAGA_ENGINE_URL"],
            "application_version": QUEUE,
            "executor_id": f"hand-{os.getpid()}",
            "run_migrations": False,
            "log_level": "ERROR",
            "sys_db_pool_size": 10,
            "max_executor_threads": AT_ONCE,
        }
    )
    DBOS.listen_queues([QUEUE])
    DBOS.launch()
    DBOS.register_queue(
        QUEUE, worker_concurrency=AT_ONCE, polling_interval_sec=0.05, on_conflict="always_update"
    )
    enough = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: enough.set())
    enough.wait()
    DBOS.destroy(workflow_completion_timeout_sec=2)


if __name__ == "__main__":
    if sys.argv[1] == "dbos":
        on_dbos()
    else:
        asyncio.run(on_temporal())
