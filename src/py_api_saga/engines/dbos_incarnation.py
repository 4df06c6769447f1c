"""One saga in a worker's process, from when it was taken to when it is over, given back, or waits.

Whoever takes a saga that was begun elsewhere can't tell from DBOS whether a call without a record
was begun: DBOS runs such a step anew. So each incarnation of a workflow notes whether what it was
told was recorded by itself. As long as all of it was recorded by others, a call without a record
may be one that died with them: it is not made, it is told as LOST, and the machine decides.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dbos import DBOS
from dbos._error import DBOSWorkflowCancelledError, DBOSWorkflowConflictIDError

from py_api_saga import clock
from py_api_saga.engines.course import Asked, Course, NewerFormatError
from py_api_saga.engines.dbos_loop import (
    BEGIN,
    REST,
    STRAGGLER,
    WAIT,
    News,
    Told,
    drive,
    read_told,
    write_told,
)
from py_api_saga.engines.dbos_shift import LeftError, Shift
from py_api_saga.engines.errand import NotDeployed
from py_api_saga.engines.rows import Rows
from py_api_saga.engines.standing import saga_id_of
from py_api_saga.entries import Attempt
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.log import logger
from py_api_saga.wording import as_text

HANDED_ON = 2.0  # seconds before a saga is given back whose function is not here
LINGER = 5.0  # seconds that a saga waits in a worker; for longer it waits in the database
_LATE = 0.1  # seconds between two looks whether a lease has been renewed
_SOON = 0.5  # seconds until what was posted is surely heard


class Incarnation:
    """A workflow from when this process has taken it: the steps of the loop, made.

    Attributes:
        loop: Whose tasks its steps are.
        alarm: Set while something that was posted is not heard, and if another one has begun.
    """

    def __init__(self, shift: Shift, workflow: str, began: float) -> None:
        """Begin; `began` is when the saga was handed over, seconds since 1970."""
        self.loop = asyncio.get_running_loop()
        self._shift, self._workflow, self._began = shift, workflow, began
        self._max_age = 0.0
        self._is_heir = False  # something on record was recorded by others
        self._is_fresh = True  # nothing on record was recorded by us
        self._inbox: dict[str, list[str]] = {}
        self._heard: set[str] = set()
        self.alarm = asyncio.Event()  # there is something in the inbox that was not heard
        self._lacking: dict[asyncio.Task[Told], int] = {}  # steps that are not begun here
        self._left: asyncio.Task[Sequence[int]] | None = None
        self._running: set[asyncio.Task[Told]] = set()
        self._made: set[asyncio.Task[Told]] = set()  # whose record is ours
        self._lease = shift.lease()[1]
        self._is_leaving = False

    async def drive(self, rows: Rows) -> Rows:
        """Drive the saga as far as it goes here."""
        saga_id = saga_id_of(self._workflow)
        before = self._shift.sagas.get(self._workflow)
        self._shift.sagas[self._workflow] = self
        if before is not None:
            before.alarm.set()  # it finds that it is not at it any more
        try:
            try:
                course = Course(saga_id, rows, self._began)
            except NewerFormatError as error:  # a newer worker reads it
                await self._give_back(str(error), pause=HANDED_ON)
                raise LeftError from error
            self._max_age = course.max_age
            return await drive(course, self, self._began)
        except (DBOSWorkflowConflictIDError, DBOSWorkflowCancelledError) as error:
            # It is another's now, or somebody has cancelled it in DBOS: nothing is left to do here.
            raise LeftError from error
        except Exception as error:  # it would be the end of the workflow, and of the saga
            logger().exception("saga %s is given back, for another worker to try", self._workflow)
            lacks = f"a worker that can run it: {as_text(error, repr)}"
            await self._give_back(lacks, pause=HANDED_ON)
            raise LeftError from error
        finally:
            if self._shift.sagas.get(self._workflow) is self:
                del self._shift.sagas[self._workflow]
            for task in self._running:
                task.cancel()

    def hear(self, news: News) -> None:
        """Take in what was posted; in the thread of the loop."""
        for key, lines in news:
            if key in self._heard:
                self._shift.note_heard(self._workflow, key)
            else:
                self._inbox[key] = lines
                self.alarm.set()

    # --- the steps of the loop --------------------------------------------------------------------

    async def begin(self) -> Told:
        """See `Steps`."""
        return await self.told(self._step(BEGIN, self._begin))

    def call(self, asked: Asked) -> asyncio.Task[Told]:
        """See `Steps`."""
        task = self._step(asked.name, self._call, asked, self._may_have_begun())
        self._running.add(task)
        return task

    def straggler(self, attempt: Attempt) -> asyncio.Task[Told]:
        """See `Steps`."""
        task = self._step(STRAGGLER, self._straggler, attempt)
        self._running.add(task)
        return task

    async def rest(self, rows: Rows) -> None:
        """See `Steps`."""

        async def here() -> Rows:
            return rows

        await DBOS.reserve_step().run_async({"name": REST}, here)

    async def wait(self, running: Sequence[asyncio.Task[Told]], until: float | None) -> Told:
        """See `Steps`."""
        return await self.told(self._step(WAIT, self._wait, running, until))

    async def told(self, step: asyncio.Task[Told]) -> Told:
        """See `Steps`."""
        told = await step
        self._running.discard(step)
        if step in self._made:
            self._is_fresh = False
            self._made.discard(step)
        else:
            self._is_heir = True
        for key, _ in told.news:
            if key not in self._heard:
                self._heard.add(key)
                if self._inbox.pop(key, None) is not None:
                    self._shift.note_heard(self._workflow, key)
        if not self._inbox:
            self.alarm.clear()
        return told

    def _step(
        self, name: str, body: Callable[..., Awaitable[Told]], *args: Any
    ) -> asyncio.Task[Told]:
        """Begin a step, which is numbered here and now."""
        reserved = DBOS.reserve_step()
        return asyncio.ensure_future(self._recorded(reserved, name, body, *args))

    async def _recorded(self, reserved: Any, name: str, body: Any, *args: Any) -> Told:
        made: list[Told] = []

        async def here() -> list[Any]:
            told = await body(*args)
            made.append(told)
            return write_told(told)

        told = read_told(await reserved.run_async({"name": name}, here))
        if made:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - a coroutine of a task
            self._made.add(task)
        return told

    def _may_have_begun(self) -> bool:
        """Tell whether others may have begun a call that is not on record."""
        return self._is_heir and self._is_fresh

    # --- what is done in them ---------------------------------------------------------------------

    def _told(self, line: str = "", done: Sequence[int] = ()) -> Told:
        """Make what is recorded: what came of it, and what was posted and is not heard yet."""
        return Told(clock.time(), list(self._inbox.items()), line, done)

    async def _begin(self) -> Told:
        if not await self._may_go_on():
            await self._hand_on("", pause=0.0)
        return self._told()

    async def _call(self, asked: Asked, may_have_begun: bool) -> Told:  # noqa: FBT001 - of a step
        lost = dumps(["lost", *asked.attempt])
        if await self._is_lost(may_have_begun):
            return self._told(lost)
        shift = self._shift
        async with shift.slots:
            try:
                if await self._may_go_on():
                    return self._told(await self._made_here(asked, lost))
                lacks = ""
            except NotDeployed as missing:
                lacks = str(missing)
            except LeftError:
                raise
            except Exception:  # noqa: BLE001 - whatever goes wrong around it is not its outcome
                logger().exception("%s of saga %s is lost", asked.name, self._workflow)
                return self._told(lost)
        return await self._hand_on(lacks, HANDED_ON if lacks else 0.0)

    async def _is_lost(self, may_have_begun: bool) -> bool:  # noqa: FBT001 - of a step
        """Tell whether a call without a record may have been begun by others, and is not repeated.

        If nothing is on record, nobody knows, and a call is made again under its key; but not once
        that key may have been forgotten. That a saga was never taken before is known from the count
        of DBOS, which only a person resets who resumes it there.
        """
        shift = self._shift
        if not may_have_begun:
            if not self._is_fresh or clock.time() - self._began <= self._max_age:
                return False
            if await shift.asked(shift.server.taken, self._workflow) <= 1:
                return False
        if self._left is None:  # it may have been given back before that
            asked = shift.asked(shift.server.left, self._workflow, shift.executor)
            self._left = asyncio.ensure_future(asked)
        return DBOS.step_id not in await asyncio.shield(self._left)

    async def _made_here(self, asked: Asked, lost: str) -> str:
        """Make a call and give its line, which tells at its timeout that it was given up."""
        shift = self._shift
        first: asyncio.Future[str] = self.loop.create_future()  # what is known of it first
        key = (self._workflow, asked.attempt)

        async def give_up(line: str) -> None:
            shift.late[key] = task
            _settle(first, line)

        # In a context of its own: what it calls is not part of a step of DBOS's.
        task = self.loop.create_task(
            shift.workshop.call(asked.text, give_up), context=contextvars.Context()
        )
        shift.making[first] = lost
        task.add_done_callback(lambda _: _settle(first, ""))
        task.add_done_callback(lambda _: shift.making.pop(first))
        return await first or task.result()

    async def _straggler(self, attempt: Attempt) -> Told:
        """Await a call that was given up, where it is made; elsewhere it died with its process."""
        shift, key = self._shift, (self._workflow, attempt)
        lost = dumps(["lost", *attempt])
        task = shift.late.get(key)
        if task is None:
            return self._told(lost)
        cut = shift.is_cut.future()
        try:
            await _first_of(task, cut)
        finally:
            cut.cancel()
        if not task.done():
            shift.lost += 1
            return self._told(lost)
        del shift.late[key]
        return self._told(lost if task.exception() else task.result())

    async def _wait(self, running: Sequence[asyncio.Task[Told]], until: float | None) -> Told:
        """Wait until a step has ended, something was posted, or it is time."""
        ends = self._shift.ends.future()
        alarm = asyncio.ensure_future(self.alarm.wait())
        try:
            while True:
                if self._shift.sagas.get(self._workflow) is not self:
                    raise LeftError
                done = [place for place, task in enumerate(running) if task.done()]
                if any(running[place].cancelled() for place in done):
                    raise LeftError
                left = None if until is None else until - clock.time()
                if done or self._inbox or (left is not None and left <= 0):
                    return self._told(done=done)
                if not running:
                    if not await self._may_go_on():
                        await self._hand_on("", pause=0.0)
                    if left is None or left > LINGER:
                        await self._suspend(until)
                        left = _SOON  # there is something that is about to be heard
                told = () if self._shift.ends.is_set() else (ends,)
                await _first_of(*running, alarm, *told, within=left)
        finally:
            ends.cancel()
            alarm.cancel()

    # --- whether it is still ours, and how it is left ---------------------------------------------

    async def _may_go_on(self) -> bool:
        """See that this process may begin a call: the saga is its own; false if it ends."""
        shift = self._shift
        while True:
            if shift.ends.is_set():
                return False
            runs, count = shift.lease()
            if not runs:
                await shift.pause(_LATE)
            elif count == self._lease:
                break
            elif await shift.asked(shift.server.is_mine, self._workflow, shift.executor):
                self._lease = count  # it had run out, and others have not taken the saga meanwhile
            else:
                raise LeftError
        if self._is_leaving or shift.sagas.get(self._workflow) is not self:
            raise LeftError
        return True

    async def _hand_on(self, lacks: str, pause: float = HANDED_ON) -> Told:
        """Give the saga back, once nothing of it is made here any more."""
        shift, task, step = self._shift, asyncio.current_task(), DBOS.step_id
        assert task is not None and step is not None  # noqa: S101, PT018 - it is a step
        self._lacking[task] = step
        if pause and not shift.ends.is_set():
            ends = shift.ends.future()
            await _first_of(ends, within=pause)
            ends.cancel()
        # What is made here must be on record, stragglers too: it would be lost with this.
        while others := self._running - self._lacking.keys():
            await _first_of(*others)
            await shift.pause(_LATE)  # the loop takes it off, and may begin another one
            self._running = {task for task in self._running if not task.done()}
        self._is_leaving = True  # what the loop begins from now on is not made here
        await self._give_back(lacks, sorted(self._lacking.values()))
        raise LeftError

    async def _give_back(self, lacks: str, steps: Sequence[int] = (), pause: float = 0.0) -> None:
        """Put the saga back into its queue; whoever takes it goes on."""
        shift = self._shift
        await shift.pause(pause)
        if shift.sagas.get(self._workflow) is self:  # else it has begun anew, in this process
            server = shift.server
            await shift.asked(server.give_back, self._workflow, shift.executor, lacks, steps)

    async def _suspend(self, until: float | None) -> None:
        """Let the saga wait in the database, unless it has news."""
        shift, heard = self._shift, list(self._heard)
        if shift.sagas.get(self._workflow) is not self:
            raise LeftError
        is_left = await shift.asked(
            shift.server.suspend, self._workflow, shift.executor, until, heard
        )
        if is_left is None or is_left:
            raise LeftError


async def _first_of(*futures: asyncio.Future[Any], within: float | None = None) -> None:
    """Wait until one of them is done, whatever came of it."""
    await asyncio.wait(futures, timeout=within, return_when=asyncio.FIRST_COMPLETED)


def _settle(first: asyncio.Future[str], line: str) -> None:
    if not first.done():
        first.set_result(line)
