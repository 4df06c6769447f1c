"""Sagas of a Flask project in Celery's tasks, as the how-to has them, with a real worker."""

from __future__ import annotations

from collections.abc import Iterator

from servers import shared

from py_api_saga import recover

# By the name that the worker has it by: what a journal holds is found by that in both.
from queues.flask_tasks import POOL, Order, db, make, place_order, sagas

from .matrix import Cell
from .workers import Queue

ORDERS, LOST = 12, 3  # of so many, the tasks of the last were never sent
CHILDREN = 2
COMMAND = (
    *("celery", "-A", "queues.flask_tasks", "worker", "--pool", "prefork"),
    *("--concurrency", str(CHILDREN), "--loglevel", "INFO"),
)


def everything(queue: Queue) -> Iterator[Cell]:
    """Place orders, of which one is rolled back, and send most of their tasks."""
    cell = Cell("a Flask project", durable=True, order="all")
    with shared.database() as database:
        app = make(database.url, database.schema)
        with app.app_context():
            db.create_all()
            sagas.journal.create_schema()
            for order in range(ORDERS):
                place_order(order)
            place_order(ORDERS, fails=True)
            with queue.working(COMMAND, SHOP_DATABASE=database.url, SHOP_SCHEMA=database.schema):
                sent = [queue.send("checkout", [order]) for order in range(ORDERS - LOST)]
                states = {queue.wait(task).state for task in sent}
                if states != {"SUCCESS"}:
                    cell.wrong.append(f"tasks ended {states}: {queue.said()[-2000:]}")
                count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
                there = database.ask(count, "flask-tasks")[0][0]
                if there > (CHILDREN + 1) * POOL:
                    cell.wrong.append(f"{there} connections are open")
            done = recover(sagas.journal, around=[sagas.around])
            if len(done) != LOST:
                cell.wrong.append(f"recovered {done}")
            rows = {row.id: row.status for row in db.session.scalars(db.select(Order))}
            if rows != dict.fromkeys(range(ORDERS), "placed"):
                cell.wrong.append(f"the orders are {rows}")
            db.session.remove()
            db.engine.dispose()
            sagas.journal.close()
    yield cell
