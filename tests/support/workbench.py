"""An engine in one process: a saga's course, and a worker's calls; nothing is kept anywhere."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from py_api_saga import SagaAssembler
from py_api_saga.engines.course import Course
from py_api_saga.engines.errand import Workshop
from py_api_saga.engines.rows import Rows
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.format.functions import Functions

ID = "x"


def workshop(modules: Sequence[str] = ("depot",), **options: Any) -> Workshop:
    """Set a worker up that has the depot."""
    return Workshop(Functions(modules), **options)


def written(
    saga: Any, codec: Any = None, modules: Sequence[str] = ("depot",), **options: Any
) -> Rows:
    """Give the rows that a saga begins with."""
    journal = MemoryJournal(modules=modules, codec=codec)
    saga.start(journal=journal, saga_id=ID, **options)
    return on_record(journal)


def on_record(journal: MemoryJournal) -> Rows:
    """Give the rows of a saga in a journal."""
    found = journal.find(ID)
    assert found is not None
    return [(row.at, row.body) for row in journal.rows([found.number])[found.number]]


def lines(rows: Rows) -> list[Any]:
    """Give what was told of a saga, without when it was, in order."""
    told = [line for _, body in rows for line in json.loads(body)][1:]
    return [without_facts(line) for line in told]


def without_facts(line: list[Any]) -> list[Any]:
    """Give a line without how long it took; and a moment to wait for without when that is."""
    what, *more = line[:6]
    while more and more[-1] is None:
        more.pop()
    if what == "later":
        more[-1] = [more[-1][0] is not None, *more[-1][1:]]
    return [what, *more]


class Bench:
    """Has calls made at a bench, and takes in what comes of them.

    Attributes:
        course: Of the saga.
        given_up: The lines of calls that were given up.
        texts: The errands.
    """

    def __init__(self, rows: Rows, shop: Workshop) -> None:
        self.course, self.shop = Course(ID, rows, time.time()), shop
        self.given_up: list[Any] = []
        self._news = asyncio.Event()
        self.texts: list[str] = []

    async def give_up(self, line: str) -> None:
        """Take in that a call takes too long."""
        self.given_up.append(json.loads(line))
        self.course.tell(line, time.time())
        self._news.set()

    def next(self) -> str:
        """Give the errand of the next call."""
        (asked,) = self.course.calls(time.time())
        self.texts.append(asked.text)
        return asked.text

    async def call(self, text: str) -> Any:
        """Have a call made, take in what came of it, and give that as well."""
        try:
            line = await self.shop.call(text, self.give_up)
            self.course.tell(line, time.time())
        finally:
            self._news.set()
        return json.loads(line)

    async def drive(self) -> Rows:
        """Have all calls made, until the saga is over or waits for an answer."""
        calls = set[asyncio.Task[Any]]()
        while True:
            asked = self.course.calls(time.time())
            self.texts += [one.text for one in asked]
            calls |= {asyncio.create_task(self.call(one.text)) for one in asked}
            wakes, execution = self.course.wakes(), self.course.execution
            if not calls and (wakes is None or execution is None or execution.suspended):
                return self.course.rows()
            pause = None if wakes is None else max(0.0, wakes - time.time())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), pause)
            self._news.clear()
            for one in [one for one in calls if one.done()]:
                calls.remove(one)
                one.result()


def driven(saga: SagaAssembler, shop: Workshop | None = None, **options: Any) -> Rows:
    """Run a saga at a bench."""

    async def drive() -> Rows:
        return await Bench(written(saga, **options), shop or workshop()).drive()

    return asyncio.run(drive())


def called(saga: SagaAssembler, shop: Workshop | None = None, **options: Any) -> Any:
    """Have the first call of a saga made, and give its line."""

    async def call() -> Any:
        bench = Bench(written(saga, **options), shop or workshop())
        return await bench.call(bench.next())

    return asyncio.run(call())
