"""What can be executed: a saga, or one with the arguments that it was given."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Never, Protocol

from py_api_saga import loops
from py_api_saga.calls import FUNCTION, label_of
from py_api_saga.definition import Definition, Names, Results, chained
from py_api_saga.exceptions import SagaDefinitionError, check_no_engine, refused, seconds
from py_api_saga.executors.driving import executor
from py_api_saga.executors.orchestrator import make_calls
from py_api_saga.executors.run import Run
from py_api_saga.executors.threads import MAX_THREADS
from py_api_saga.journal.protocol import Journal, Within
from py_api_saga.operation import Operation

if TYPE_CHECKING:
    from py_api_saga.durable.recorder import Recorder

_MOST_LINES = 500  # see `_repr_mimebundle_`


def nobody(run: Run) -> None:
    """Stand for what drives a run late, where it is only written down."""


class Engine(Protocol):
    """What runs sagas by its own workers: a `DBOSEngine` or a `TemporalEngine`."""

    def execute(self, recorder: Recorder, wait: float | None) -> Results:
        """Run a saga as it is to be written down, and wait for its end for so many seconds."""

    async def aexecute(self, recorder: Recorder, wait: float | None) -> Results:
        """Like `execute`, without blocking the loop."""


class Executable:
    """Operations that can be run, in each of the four ways, or left to somebody else to run.

    Whoever is one has these attributes, `_chain`, `_graph` and `_run`.

    Attributes:
        _operations: The operations, in the order of their declaration.
        _names: Their names.
        _async: Where the first coroutine function stands, or nothing.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def _operations(self) -> Sequence[Operation]: ...

        @property
        def _names(self) -> Names: ...

        @property
        def _async(self) -> str: ...

        def _chain(self) -> Definition: ...

        def _graph(self) -> Definition: ...

        def _run(
            self,
            definition: Definition,
            saga_id: str | None,
            deadline: float | None,
            drive_late: Callable[[Run], object],
            journal: Journal | None = None,
            limit: int | None = None,
        ) -> Run: ...

    def orchestrator_execute(
        self,
        *,
        deadline: float | None = None,
        saga_id: str | None = None,
        journal: Journal | None = None,
        wait: float | None = None,
        engine: Engine | None = None,
    ) -> Results:
        """Run the operations one after the other, in this thread, or by the workers of an engine.

        If one fails, those before it are undone in reverse order.

        Args:
            deadline: Seconds until it stops: nothing more is started, what runs is awaited, and
                all is undone.
            saga_id: 1 to 128 letters, digits, "_", "." and "-", that name this run; it begins
                with another than "-", and is not "." or "..". In a journal an id is used once:
                given again, the call returns or raises what became of the run that has it, and
                nothing runs a second time.
            journal: Where the run is recorded, so that it survives the process; by default the
                saga's own.
            wait: Seconds for which to wait, in this thread, for answers to calls that returned
                `later(…)`, before `SagaPending` is raised; by default none. It is not a limit for
                the calls themselves. With an engine: for the end of the saga, which goes on there;
                by default as long as it takes.
            engine: Where it runs, instead of here: its workers make the calls. It needs a
                `saga_id`. Observers, and what is around each call, are those of the workers.

        Returns:
            What the actions returned, in operation order, also by name.

        Raises:
            SagaPending: It waits for answers (`later`), and nobody drives it meanwhile; or it runs
                on an engine, and has not ended yet. Call this once more with its id to have its
                results. Nothing is decided.
            SagaException: An operation failed, or the deadline passed; what was done is undone.
            SagaStuck: What was done can be neither finished nor undone without a person.
            SagaDefinitionError: There are no operations, a coroutine function is among them, or
                an argument is wrong or can't be stored; or an engine can't run it as it is, with
                its observers say; nothing has run.
            SagaInProgress: The run that has this id is driven elsewhere, or this one was taken
                over there.
            SagaConflict: The run that has this id has another name or other arguments.
            JournalError: The journal can't be written; recovery goes on with the run. Or another
                process has kept it for itself for as long as the deadline, or 30 s: it says that
                the run was not started then.
            BaseException: What was thrown in from outside, once what was done is undone: a
                KeyboardInterrupt, SystemExit, the time limit of a task queue, whatever a signal
                handler raises. With a journal, what it has cut off is left to recovery.
        """
        if engine is not None:
            if loops.looks:
                loops.say_if_blocked("orchestrator_execute")
            recorder = self._submitted(engine, journal, _named(saga_id), deadline, at_once=False)
            return engine.execute(recorder, wait)
        if self._async:
            self._refuse_async("orchestrator")
        if loops.looks:
            loops.say_if_blocked("orchestrator_execute")
        run = self._run(self._chain(), saga_id, deadline, make_calls, journal)
        if type(run) is Run and wait is None:
            return executor(None)(run)
        return _durably(run, None, wait)

    def choreography_execute(
        self,
        *,
        deadline: float | None = None,
        saga_id: str | None = None,
        max_workers: int | None = None,
        journal: Journal | None = None,
        wait: float | None = None,
        engine: Engine | None = None,
    ) -> Results:
        """Run the operations at once, in threads, each when those it comes after have succeeded.

        If one fails, nothing more is started, what runs is awaited, and what succeeded is undone,
        at once as well, each operation after those that came after it.

        Args:
            deadline: As in `orchestrator_execute`.
            saga_id: As in `orchestrator_execute`.
            max_workers: Calls at once; by default as many as there are operations, at most 256.
            journal: As in `orchestrator_execute`.
            wait: As there.
            engine: As there.

        Returns:
            What the actions returned, in operation order, also by name.

        Raises:
            SagaException: As in `orchestrator_execute`; all errors are in `operation_errors`, and
                the first of them in operation order is the cause.
            SagaStuck: As there.
            SagaDefinitionError: As there; or the pivot has operations neither before nor after
                it, or a compensation needs the result of an operation that its own does not
                come after.
            SagaPending, SagaInProgress, SagaConflict, JournalError, BaseException: As there.
        """
        if engine is not None:
            if loops.looks:
                loops.say_if_blocked("choreography_execute")
            recorder = self._submitted(
                engine, journal, _named(saga_id), deadline, at_once=True, max_workers=max_workers
            )
            return engine.execute(recorder, wait)
        if self._async:
            self._refuse_async("choreography")
        if loops.looks:
            loops.say_if_blocked("choreography_execute")
        limit = self._limit(max_workers)
        run = self._run(self._graph(), saga_id, deadline, make_calls, journal, limit)
        if type(run) is Run and wait is None:
            return executor(limit)(run)
        return _durably(run, limit, wait)

    async def aorchestrator_execute(
        self,
        *,
        deadline: float | None = None,
        saga_id: str | None = None,
        journal: Journal | None = None,
        wait: float | None = None,
        engine: Engine | None = None,
    ) -> Results:
        """Run the operations one after the other under asyncio, plain functions in threads.

        Cancelling it cancels the coroutine that runs, undoes what was done, and raises the
        `CancelledError` again; on an engine the saga goes on. All else is as in
        `orchestrator_execute`.
        """
        if engine is not None:
            recorder = self._submitted(engine, journal, _named(saga_id), deadline, at_once=False)
            return await engine.aexecute(recorder, wait)
        running = self._run_async(saga_id, deadline, journal, None, wait)
        del self  # built for this run alone, as most are, it takes memory until the run has ended
        return await running

    async def achoreography_execute(
        self,
        *,
        deadline: float | None = None,
        saga_id: str | None = None,
        max_workers: int | None = None,
        journal: Journal | None = None,
        wait: float | None = None,
        engine: Engine | None = None,
    ) -> Results:
        """Run the operations at once under asyncio, plain functions in threads.

        Cancelling it starts nothing more, awaits what runs, undoes what was done, and raises the
        `CancelledError` again; on an engine the saga goes on. All else is as in
        `choreography_execute`.
        """
        if engine is not None:
            recorder = self._submitted(
                engine, journal, _named(saga_id), deadline, at_once=True, max_workers=max_workers
            )
            return await engine.aexecute(recorder, wait)
        limit = self._limit(max_workers)
        running = self._run_async(saga_id, deadline, journal, limit, wait)
        del self  # as above
        return await running

    def start(
        self,
        *,
        saga_id: str | None = None,
        deadline: float | None = None,
        journal: Journal | Within | None = None,
        at_once: bool = False,
        engine: Engine | None = None,
    ) -> str:
        """Write the run down, and let whoever recovers next run it.

        Args:
            saga_id: As in `orchestrator_execute`; by default a random one.
            deadline: As there, from now on.
            journal: As there; or, of a journal in PostgreSQL, what its `within` gives: then the
                run is written down in a transaction of yours, and is there once that has committed.
            at_once: Whether it is to run as `choreography_execute` does it.
            engine: Where it runs, instead of a journal: its workers begin at once.

        Returns:
            The id of the run.

        Raises:
            SagaDefinitionError: As there; or there is no journal.
            SagaConflict, JournalError: As there.
            SagaInProgress: Another transaction has just started a run with this id, and has not
                ended.
            Exception: Of your driver, if your transaction can't go on.
        """
        recorder = self._to_start(saga_id, deadline, journal, engine, at_once=at_once)
        started: str = durable().start(recorder)
        return started

    async def astart(
        self,
        *,
        saga_id: str | None = None,
        deadline: float | None = None,
        journal: Journal | Within | None = None,
        at_once: bool = False,
        engine: Engine | None = None,
    ) -> str:
        """Like `start`, without blocking the loop."""
        loops.check_loop("astart")
        recorder = self._to_start(saga_id, deadline, journal, engine, at_once=at_once)
        started: str = await durable().astart(recorder)
        return started

    def _to_start(
        self,
        saga_id: str | None,
        deadline: float | None,
        journal: Journal | Within | None,
        engine: Engine | None,
        *,
        at_once: bool,
    ) -> Recorder:
        if engine is not None:
            return self._submitted(engine, journal, saga_id, deadline, at_once=at_once)
        check_no_engine(journal, "start")
        definition, limit = self._chain(), None
        if at_once:
            definition, limit = self._graph(), self._limit(None)
        written_to: Any = journal  # it need not be all that a run asks of a journal
        run: Any = self._run(definition, saga_id, deadline, nobody, written_to, limit)
        if type(run) is Run:
            raise refused("start: journal", "a journal, here or in the saga", None)
        recorder: Recorder = run.recorder
        return recorder

    def _submitted(
        self,
        engine: Engine,
        journal: object,
        saga_id: str | None,
        deadline: float | None,
        *,
        at_once: bool,
        max_workers: int | None = None,
    ) -> Recorder:
        """Write the run down for an engine, which nothing has been told yet.

        Raises:
            SagaDefinitionError: The engine could not run it as it is.
        """
        where: Any = engine
        if isinstance(engine, type) or not hasattr(engine, "aexecute"):
            raise refused("engine", "an engine, such as DBOSEngine(url, modules=[…])", engine)
        if journal is not None:
            raise refused("journal", "none beside an engine, which keeps the saga itself", journal)
        definition = self._graph() if at_once else self._chain()
        limit = self._limit(max_workers) if at_once else None
        run: Any = self._run(definition, saga_id, deadline, nobody, where, limit)
        given = [word for word in ("observers", "around") if getattr(run, word)]
        if given:
            message = (
                f"saga: {given[0]}: expected none on an engine, whose workers make the calls: give "
                f"them there (saga worker --{given[0].removesuffix('s')} MODULE:FUNCTION)"
            )
            raise SagaDefinitionError(message)
        recorder: Recorder = run.recorder
        return recorder

    def _run_async(
        self,
        saga_id: str | None,
        deadline: float | None,
        journal: Journal | None,
        limit: int | None,
        wait: float | None,
    ) -> Coroutine[Any, Any, Results]:
        loops.check_loop("aorchestrator_execute" if limit is None else "achoreography_execute")
        loop = _event_loop()
        definition = self._chain() if limit is None else self._graph()
        run = self._run(definition, saga_id, deadline, loop.finish_late, journal, limit)
        running: Coroutine[Any, Any, Results]
        if type(run) is Run and wait is None:
            running = loop.execute(run, limit)
        else:
            check_wait(run, wait)
            running = durable().aexecute(run, limit, loop.execute, wait)
        return running

    def _limit(self, max_workers: int | None) -> int:
        if max_workers is None:
            return min(max(len(self._operations), 1), MAX_THREADS)
        if type(max_workers) is not int or max_workers < 1:
            raise refused("max_workers", "a whole number of at least 1, or None", max_workers)
        return max_workers

    def _refuse_async(self, how: str) -> Never:
        message = f"{self._async}: expected plain functions; await a{how}_execute() instead"
        raise SagaDefinitionError(message)

    def mermaid(self) -> str:
        """Draw the operations, each with its undo, as a Mermaid flowchart.

        The arrows are the edges that were declared; a chain if there are none.
        """
        from py_api_saga.drawing import flowchart  # noqa: PLC0415 - few draw

        boxes = [
            (name, op.compensation and f"undo: {label_of(op.compensation[FUNCTION])}")
            for name, op in zip(self._names.all(), self._operations, strict=False)
        ]
        after: Sequence[Sequence[int]] = [operation.after for operation in self._operations]
        return flowchart(boxes, after if any(after) else chained(len(boxes))[0])

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Show it in a notebook: drawn where Mermaid is, as in JupyterLab since 4.1, else in words.

        Sources:
            Mermaid draws no more than 500 lines, unless it is set up to (`maxEdges`).
        """
        shown = {"text/plain": repr(self)}
        drawn = self.mermaid()
        if drawn.count("-->") <= _MOST_LINES:
            shown["text/vnd.mermaid"] = drawn
        return shown


def _named(saga_id: str | None) -> str:
    """Refuse to wait for a saga on an engine that nobody could ask after again."""
    if saga_id is None:
        expected = "an id, such as order-7: whoever asks after the saga on its engine needs it"
        raise refused("saga_id", expected, None)
    return saga_id


def _durably(run: Run, limit: int | None, wait: float | None) -> Results:
    """Run a saga that has a journal; who has none does not pay for importing what that needs."""
    check_wait(run, wait)
    results: Results = durable().execute(run, limit, wait)
    return results


def check_wait(run: Run, wait: object) -> None:
    """Refuse what can't be waited for.

    Raises:
        SagaDefinitionError: It is not a number of seconds, or the run has no journal.
    """
    if wait is not None and type(run) is Run:
        expected = "a journal (journal=...): without one a saga cannot wait for answers"
        raise refused("wait", expected, None)
    seconds(wait, "wait")


# What few need is imported by whoever needs it first. Afterwards an `import` in a function would
# cost half a microsecond each time, and a saga comes by several.
@cache
def durable() -> Any:
    """Give the module that begins runs which are on record."""
    from py_api_saga.durable import beginning  # noqa: PLC0415 - json: 6 ms to import

    return beginning


@cache
def _event_loop() -> Any:
    """Give the module that runs sagas in an event loop."""
    from py_api_saga.executors import event_loop  # noqa: PLC0415 - asyncio: 34 ms to import

    return event_loop
