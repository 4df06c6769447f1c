"""A saga that is written once and run with other arguments each time: where these are put in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from py_api_saga.calls import NEEDS, Call, Filling, Picking
from py_api_saga.definition import Definition, Names
from py_api_saga.operation import Operation
from py_api_saga.placeholder import Given, Hole, Placeholder, placeholders, resolve


class BoundDefinition(Definition):
    """A definition in whose arguments there are holes, and what one run puts there.

    Attributes:
        texts: What is kept of its text for the next run, by those who write it down.
    """

    __slots__ = ("texts",)

    texts: dict[Any, Any]


class Numbering:
    """Numbers what is given: each name, and each item or attribute of it that is wanted.

    Attributes:
        wanted: The placeholders, in the order of their numbers.
        fixed: What stands beside them in the arguments, and is the same in all runs. Their numbers
            are counted from the end, which makes them negative.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.wanted: list[Given] = []
        self.fixed: list[Any] = []
        self._known: dict[tuple[Any, ...], Hole] = {}

    def hole(self, placeholder: Placeholder) -> Placeholder:
        """Number a placeholder, unless it stands for a result."""
        if type(placeholder) is not Given:
            return placeholder
        name, path = placeholder.__saga_operation__, placeholder.__saga_path__
        if not all(type(key) in (str, int) for _, key in path):  # others may not be comparable
            self.wanted.append(placeholder)
            return Hole(len(self.wanted) - 1)
        if (name, *path) not in self._known:
            self.wanted.append(placeholder)
            self._known[name, *path] = Hole(len(self.wanted) - 1)
        return self._known[name, *path]

    def operation(self, operation: Operation) -> Operation:
        """Copy an operation, with the numbers in place of the names."""
        return mapped(operation, self._call)

    def _call(self, call: Call) -> Call:
        function, args, keywords, needs, is_async = call
        if type(needs) is not Filling:
            return call
        done: dict[int, Any] = {}
        args = tuple([resolve(arg, self.hole, done) for arg in args])
        keywords = {name: resolve(arg, self.hole, done) for name, arg in keywords.items()}
        if not keywords and (pick := self._pick(args)) is not None:
            needs = Picking(needs.names, pick)
        return function, args, keywords, needs, is_async

    def _pick(self, args: tuple[Any, ...]) -> Callable[[Any], tuple[Any, ...]] | None:
        """Make what picks arguments out of all values, in one call that runs no Python."""
        numbers: list[int] = []
        for arg in args:
            if type(arg) is Hole:
                numbers.append(arg.__saga_operation__)
            elif next(placeholders(arg), None) is not None:
                return None
            else:
                self.fixed.append(arg)
                numbers.append(-len(self.fixed))
        if len(numbers) > 1:
            return itemgetter(*numbers)
        return itemgetter(slice(numbers[0], numbers[0] + 1))


def users(operations: Sequence[Operation], names: Names) -> dict[str, list[str]]:
    """Map the name of each argument that is to be given to the operations that use it."""
    found: dict[str, list[str]] = {}
    for operation, name in zip(operations, names.all(), strict=False):
        for call in (operation.action, operation.compensation):  # a question is as its action
            if call is not None and isinstance(needs := call[NEEDS], Filling):
                for argument in needs.names:
                    using = found.setdefault(argument, [])
                    if name not in using[-1:]:
                        using.append(name)
    return found


def put(value: Any, values: Sequence[Any], done: dict[int, Any] | None = None) -> Any:
    """Rebuild an argument with what is given in place of the numbers."""

    def known(placeholder: Placeholder) -> Any:
        if type(placeholder) is Hole:
            return values[placeholder.__saga_operation__]
        return placeholder

    return resolve(value, known, {} if done is None else done)


def filled(operation: Operation, values: Sequence[Any]) -> Operation:
    """Copy an operation, with what is given in place of the numbers."""

    def fill(call: Call) -> Call:
        function, args, keywords, needs, is_async = call
        if not isinstance(needs, Filling):
            return call
        done: dict[int, Any] = {}
        args = tuple([put(arg, values, done) for arg in args])
        keywords = {name: put(arg, values, done) for name, arg in keywords.items()}
        return function, args, keywords, needs.results, is_async

    return mapped(operation, fill)


def mapped(operation: Operation, change: Callable[[Call], Call]) -> Operation:
    """Copy an operation with other calls."""
    undo, policy = operation.compensation, operation.policy
    if policy.ask is not None:
        policy = policy.asking(change(policy.ask))
    return Operation.of(
        operation.label,
        change(operation.action),
        None if undo is None else change(undo),
        operation.after,
        policy,
        operation.scope,
    )
