"""Sagas of a project in Celery's tasks, as the how-to has them, with a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Protocol

from servers import shared

from py_api_saga import Recovered

from .matrix import Cell
from .workers import Queue

ORDERS, LOST = 12, 3  # of so many, the tasks of the last were never sent
CHILDREN = 2
# By the names that the worker has them by: what a journal holds is found by those in both.
PROJECTS = ("queues.flask_tasks", "queues.django_tasks")


class Project(Protocol):
    """A module with a project on a database, whose connections have its own name there."""

    @property
    def POOL(self) -> int: ...  # noqa: N802 - connections that each process may have open

    def begin(self, database: shared.Database) -> dict[str, str]:
        """Make its tables, and give what its worker is told."""

    def place_order(self, order: int, *, fails: bool = False) -> None:
        """Write an order and its saga down, both or neither, as a view does."""

    def finish(self) -> list[Recovered]:
        """Recover, as a periodic task does."""

    def orders(self) -> dict[int, str]:
        """Give the status of each order."""

    def end(self) -> None:
        """Close everything."""


def everything(queue: Queue) -> Iterator[Cell]:
    """Try each of them."""
    for name in PROJECTS:
        project: Project = import_module(name)
        yield _tried(queue, name, project)


def _tried(queue: Queue, name: str, project: Project) -> Cell:
    """Place orders, of which one is rolled back, and send most of their tasks."""
    cell = Cell(f"a project, {name.rpartition('.')[2]}", durable=True, order="all")
    command = (
        *("celery", "-A", name, "worker", "--pool", "prefork"),
        *("--concurrency", str(CHILDREN), "--loglevel", "INFO"),
    )
    with shared.database() as database:
        told = project.begin(database)
        for order in range(ORDERS):
            project.place_order(order)
        project.place_order(ORDERS, fails=True)
        with queue.working(command, **told):
            sent = [queue.send("checkout", [order]) for order in range(ORDERS - LOST)]
            states = {queue.wait(task).state for task in sent}
            if states != {"SUCCESS"}:
                cell.wrong.append(f"tasks ended {states}: {queue.said()[-2000:]}")
            count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
            there = database.ask(count, name)[0][0]
            if not 0 < there <= (CHILDREN + 1) * project.POOL:
                cell.wrong.append(f"{there} connections are open")
        done = project.finish()
        if len(done) != LOST:
            cell.wrong.append(f"recovered {done}")
        rows = project.orders()
        if rows != dict.fromkeys(range(ORDERS), "placed"):
            cell.wrong.append(f"the orders are {rows}")
        project.end()
    return cell
