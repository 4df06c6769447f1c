"""One fault, in whatever runs a saga: `fail_at`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from py_api_saga.calls import Call
from py_api_saga.entries import attempt_of, kind_of
from py_api_saga.executors.around import put_in
from py_api_saga.executors.driving import changing
from py_api_saga.executors.run import Run
from py_api_saga.operation import Operation
from py_api_saga.testing.verdict import verdict
from py_api_saga.wording import in_line

__all__ = ["fail_at"]

UNDO = "undo "  # before the name of an operation: its compensation
_SHOWN = 20  # names in a message


@contextmanager
def fail_at(
    where: str,
    error: BaseException | type[BaseException],
    *,
    after: bool = False,
    times: int | None = 1,
) -> Iterator[None]:
    """Have an operation fail, in a `with` block, in whichever saga has it and however that is run.

    ::

        with pytest.raises(SagaException), fail_at("charge", ConnectionResetError, after=True):
            client.post("/checkout")

    It is as if the function of the operation had raised this: what is around the call, `Retry`,
    `doubtful=` and `on_doubt=` see no difference. It holds for all runs that this process begins
    in the block, in whatever thread or loop, in memory or with a journal, also in `recover`; what
    such a run calls after the block is called as it is. Several may be in one another, also for one
    operation: then the inner one fails first.

    A fault that did not happen is an error: a test would pass for the wrong reason.

    Args:
        where: The name of an operation, such as "charge"; or "undo charge", for its compensation.
        error: What is raised: an exception, or a class that makes one without arguments.
        after: Whether the function is called first, so that its effect stands and its answer is
            lost. If it raises itself, that counts, and this fault has not happened.
        times: How many of its calls fail, which are the first ones: attempts, and those of other
            runs. None for all of them.

    Raises:
        AssertionError: As the block is left, also by another error, which is then the cause: it has
            happened fewer times than that, or never; no saga was run that has such an operation.
        TypeError: `where` is not a text, `error` is neither an exception nor a class that can be
            made without arguments, or `times` is not a whole number.
        ValueError: `times` is less than 1.
    """
    fault = _Fault(where, error, after=after, times=times)
    with verdict(fault.amiss):
        try:
            with changing(fault.plant):
                yield
        finally:
            fault.end()


class _Fault:
    """What goes wrong, and how often it has; asked from any thread."""

    def __init__(self, where: str, error: object, *, after: bool, times: int | None) -> None:
        if not isinstance(where, str):
            expected = 'the name of an operation, such as "charge" or "undo charge"'
            message = f"fail_at: expected {expected}, got {type(where).__name__}"
            raise TypeError(message)
        self._where, self._after, self._times = where, after, _checked_times(times)
        self._error = _checked_error(error)
        self._lock = threading.Lock()
        self._is_over = False
        self._seen: dict[str, bool] = {}  # operations of what was run: whether they have an undo
        self._called = self._failed = 0
        self._last: Run | None = None  # of those that have such an operation

    # --- planting ------------------------------------------------------------------------------

    def plant(self, run: Run) -> None:
        """Put it into a run that has such an operation."""
        operations, names = [*run.definition.operations], run.definition.names.all()
        with self._lock:
            self._seen |= {
                name: one.compensation is not None
                for name, one in zip(names, operations, strict=False)
            }
        name = self._operation(names)
        if name not in names:
            return
        self._last = run
        i = names.index(name)
        old = operations[i]
        do, undo = old.action, old.compensation
        if name == self._where:
            do = self._failing(do)
        elif undo is not None:
            undo = self._failing(undo)
        operations[i] = Operation.of(old.label, do, undo, old.after, old.policy, old.scope)
        put_in(run, operations)

    def _operation(self, names: Sequence[str] | dict[str, bool]) -> str:
        """Give the operation that is meant, where there are these."""
        return self._where if self._where in names else self._where.removeprefix(UNDO)

    def _failing(self, call: Call) -> Call:
        function, args, keywords, needs, is_async = call

        def fail(*args: object, **keywords: object) -> object:
            self._begin()
            value = function(*args, **keywords) if self._after else None
            self._strike()
            return value if self._after else function(*args, **keywords)

        async def afail(*args: object, **keywords: object) -> object:
            self._begin()
            value = await function(*args, **keywords) if self._after else None
            self._strike()
            return value if self._after else await function(*args, **keywords)

        return afail if is_async else fail, args, keywords, needs, is_async

    # --- what happens --------------------------------------------------------------------------

    def _begin(self) -> None:
        with self._lock:
            self._called += not self._is_over

    def _strike(self) -> None:
        """Raise what is to be raised, unless that has been often enough."""
        with self._lock:
            if self._is_over or self._failed == self._times:
                return
            self._failed += 1
        if isinstance(self._error, type):
            raise self._error
        raise self._error.with_traceback(None)

    def end(self) -> None:
        """Let nothing more go wrong."""
        with self._lock:
            self._is_over = True

    def amiss(self) -> str | None:
        """Say why it has not happened, or not so often; None if it has."""
        if self._failed >= (self._times or 1):
            return None
        name = self._operation(self._seen)
        if not self._seen:
            why = "no saga was run in this block"
        elif name not in self._seen:
            there = ", ".join(map(in_line, [*self._seen][:_SHOWN]))
            why = f"nothing that was run has an operation {name!r}; there were {there}"
        elif name != self._where and not self._seen[name]:
            why = f"operation {name!r} has no compensation"
        elif not self._called:
            why = f"it was never called, so it did not fail{self._waits()}"
        elif not self._failed:
            why = f"it was called {_so_often(self._called)}, and raised an error of its own"
        else:
            why = (
                f"it failed {_so_often(self._failed)}, expected times={self._times}: it was not "
                "called so often"
            )
        return f"fail_at({self._where!r}): {why}"

    def _waits(self) -> str:
        """Say for what the last saga waits that has such an operation, if that is why."""
        run = self._last
        if run is None or not run.execution.awaited:
            return ""
        keys = [
            run.key(i, kind_of(later), attempt_of(later)[3])
            for i, later in sorted(run.execution.awaited.items())
        ]
        return (
            f"; the saga waits for {', '.join(map(repr, keys))}: in the block, answer that, "
            f"answer(journal, {keys[0]!r}, result=...), or let its time come, and recover"
        )


def _so_often(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _checked_times(times: object) -> int | None:
    if times is None:
        return None
    if type(times) is not int:
        message = f"fail_at: times: expected a whole number or None, got {type(times).__name__}"
        raise TypeError(message)
    if times < 1:
        message = f"fail_at: times: expected at least 1, or None for each call, got {times}"
        raise ValueError(message)
    return times


def _checked_error(error: object) -> BaseException | type[BaseException]:
    if isinstance(error, BaseException):
        return error
    if isinstance(error, type) and issubclass(error, BaseException):
        try:
            error()
        except Exception as problem:
            message = (
                f"fail_at: expected an exception, got the class {error.__name__}, which can't be "
                "made without arguments: make one"
            )
            raise TypeError(message) from problem
        return error
    message = f"fail_at: expected an exception, or a class of one, got {type(error).__name__}"
    raise TypeError(message)
