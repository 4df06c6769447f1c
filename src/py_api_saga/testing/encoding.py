"""Results as a journal would give them back, of runs that have none: `encoded_results`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from py_api_saga.calls import Call
from py_api_saga.executors.around import put_in
from py_api_saga.executors.driving import changing
from py_api_saga.executors.run import Run
from py_api_saga.journal.format.functions import NotStorableError
from py_api_saga.journal.format.json_text import loads
from py_api_saga.journal.format.values import Values
from py_api_saga.journal.memory import MemoryJournal
from py_api_saga.journal.protocol import Codec
from py_api_saga.operation import Happened, Later, Operation
from py_api_saga.testing.failing import UNDO
from py_api_saga.testing.verdict import verdict

__all__ = ["encoded_results"]


@contextmanager
def encoded_results(
    modules: Iterable[str] = (),
    *,
    aliases: Mapping[str, str] | None = None,
    codec: Codec | None = None,
) -> Iterator[None]:
    """Have each result go through the encoding of a journal and back, in a `with` block.

    For runs that have no journal, in whatever thread or loop of this process: what an operation
    returns comes to the others, and to the caller, as if it had been on record. A result that no
    journal could keep fails the test, where in memory nobody would notice; the run goes on with it.
    So does what `later(until=..., result=...)` has, in a run of `explore`.

    Args:
        modules: As those of a journal: names of modules whose types results may be of.
        aliases: As there.
        codec: As there.

    Raises:
        AssertionError: As the block is left, also by another error, which is then the cause: a
            journal can't keep a result. It names each such operation, and says what is wrong.
        TypeError, ValueError: An argument is none that a journal takes.
    """
    desk = _Desk(Values(MemoryJournal(modules, aliases, codec)))
    with verdict(desk.amiss), changing(desk.put_between):
        yield


class _Desk:
    """Takes results in and gives them out again; keeps in words what it had to refuse."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self.refused: dict[str, str] = {}

    def put_between(self, run: Run) -> None:
        """Have the results of a run come by here, unless it has a journal."""
        if type(run) is not Run:
            return
        names = run.definition.names.all()
        pairs = zip(names, run.definition.operations, strict=False)
        put_in(run, [self._by_way_of(name, operation) for name, operation in pairs])

    def amiss(self) -> str | None:
        """Say what was refused, or None."""
        return "\n".join(self.refused.values()) or None

    def _by_way_of(self, name: str, operation: Operation) -> Operation:
        undo, policy, label = operation.compensation, operation.policy, operation.label
        if policy.ask is not None:
            policy = policy.asking(_giving(policy.ask, partial(self._answer, name)))
        do = _giving(operation.action, partial(self._back, name))
        if undo is not None:
            undo = _giving(undo, partial(self._back, f"{UNDO}{name}"))
        return Operation.of(label, do, undo, operation.after, policy, operation.scope)

    def _answer(self, name: str, answer: Any) -> Any:
        """Give the answer of an `on_doubt` function, which may hold a result."""
        if isinstance(answer, Happened):
            return Happened(self._back(name, answer.result))
        return answer

    def _back(self, name: str, value: Any) -> Any:
        """Give a result as it would be read, or as it is if it can't be written."""
        if isinstance(value, Later):
            return value._replace(result=self._back(name, value.result))
        try:
            text = self._values.write(value)
        except NotStorableError as error:
            self.refused[name] = f"a journal can't keep the result of {name}: {error}"
            return value
        return self._values.read(loads(text))


def _giving(call: Call, change: Callable[[Any], Any]) -> Call:
    """Have a call give what is made of its result."""
    function, args, keywords, needs, is_async = call

    def give(*args: Any, **keywords: Any) -> Any:
        return change(function(*args, **keywords))

    async def agive(*args: Any, **keywords: Any) -> Any:
        return change(await function(*args, **keywords))

    giving: Callable[..., Any] = agive if is_async else give
    return giving, args, keywords, needs, is_async
