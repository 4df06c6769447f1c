"""A saga as data: its operations, their names, their order, and the shape of its results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, Final, Literal, SupportsIndex, TypeAlias

from py_api_saga.entries import ACTION, COMPENSATION, STARTED, Entry
from py_api_saga.exceptions import MAX_NAME
from py_api_saga.operation import Operation
from py_api_saga.process import OwnLock

_SHOWN = 20  # names in a message
_NO_NAME = str.maketrans(":.", "__")
NONE_GIVEN: Final[frozenset[int]] = frozenset()  # one for all: an empty one takes 216 bytes
_naming = OwnLock()

if hasattr(os, "register_at_fork"):  # pragma: no branch - there is no fork on Windows
    # A child has a lock of its own, but also what another thread may be in the middle of.
    os.register_at_fork(before=_naming.acquire, after_in_parent=_naming.release)


class Names(list[str]):
    """The names of a saga's operations, made when they are first asked for.

    Most runs never need one, and a name costs as much as the rest of adding an operation. They
    come out the same whenever they are made: in the order of the operations.

    As a list it holds what the name of each operation is made of: a name, or that of a function.
    No arguments of calls: who keeps the results keeps this as well.

    Whoever makes one by `Names()` sets its attributes, as each saga does: a constructor in Python
    costs a small one 1 %. `Names.of` is one for all others.

    Attributes:
        given: Which are names that were given, rather than those of functions.
        good: So many are names as they stand.
        table: What is known of them, once that is needed.
    """

    # Without slots the first attribute that is set takes 336 bytes: a subclass of list has none of
    # the room for attributes that other objects are made with.
    __slots__ = ("given", "good", "table")

    given: AbstractSet[int] | range
    good: int
    table: _Table | None

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        return super().__reduce_ex__(max(2, int(protocol)))  # the older ones know no slots

    @classmethod
    def of(cls, labels: Iterable[str]) -> Names:
        """Make them of the names of functions."""
        names = cls(labels)
        names.given, names.good, names.table = NONE_GIVEN, 0, None
        return names

    @classmethod
    def recorded(cls, given: Iterable[str], layout: Layout | None) -> Names:
        """Make names that were made before, with those of the child sagas in a layout."""
        names = cls.of(given)
        names.given = range(len(names))
        if layout is not None:
            names._add_children("", layout)  # noqa: SLF001 - its own
        return names

    def _add_children(self, prefix: str, layout: Layout) -> None:
        for name, position in layout.places.items():
            item = layout.items[position]
            if not isinstance(item, int):
                self.add(prefix + name, item)
                self._add_children(f"{prefix}{name}.", item)

    def all(self) -> list[str]:
        """Give the names of all operations there are."""
        if self.table is None:
            if self.good < len(self):
                labels = self[:]  # another thread may add to these
                if self._are_good(labels):
                    self.good = len(labels)
            if self.good == len(self):  # as nearly always; a table takes half a kilobyte
                return self
        return self._tabulated().names

    def _are_good(self, labels: list[str]) -> bool:
        """Tell whether what names are made of are names: usual ones, and each once."""
        if len(set(labels)) < len(labels) or "" in labels:
            return False
        text = "".join(labels)
        usual = "." not in text and ":" not in text and max(map(len, labels)) <= MAX_NAME
        return usual or len(self.given) == len(labels)

    def _tabulated(self) -> _Table:
        """Give the table, and see that it knows all there are."""
        table = self.table
        if table is None or len(table.names) < len(self):
            with _naming.own:
                if self.table is None:
                    self.table = _Table()
                table = self.table
                for i in range(len(table.names), len(self)):
                    table.add(i, self[i], given=i in self.given)
        return table

    @property
    def places(self) -> dict[str, int | Layout]:
        """What a name stands for: an operation, by index, or a child saga."""
        return self._tabulated().places

    @property
    def shared(self) -> set[str]:
        """Names of functions that are the actions of several operations."""
        return self._tabulated().shared

    def sharing(self, name: str, size: int) -> list[str]:
        """List the operations, of so many, of which each might be meant by a name.

        These are the actions of one function; empty if one of them was given that name.
        """
        table = self._tabulated()
        if name not in table.numbered or table.places.get(name) in self.given:
            return []
        numbered = [other for other, i in table.numbered[name].items() if i < size]
        return [name, *numbered] if numbered else []

    def positions(self, size: int) -> dict[str, int]:
        """Map the names of so many operations to their positions, less what may mean several."""
        names = self.all()[:size]
        shared = self.shared
        return {
            name: i
            for i, name in enumerate(names)
            if name not in shared or not self.sharing(name, size)
        }

    def give(self, name: str) -> None:
        """Add an operation under a name; one without a name is appended."""
        if not isinstance(self.given, set):
            self.given = set(self.given)
        self.given.add(len(self))
        self.append(name)

    def copied(self) -> Names:
        """Make names that begin with the same ones and go on by themselves."""
        names = Names.of(self)
        names.given = set(self.given)
        names.table = self.table and self.table.copied()
        return names

    def get(self, name: str) -> int | Layout | None:
        """Find the operation or child saga that has a name."""
        return self.places.get(name)

    def add(self, name: str, child: Layout) -> None:
        """Let a name stand for a child saga."""
        self.places[name] = child

    def preview(self, label: str) -> str:
        """Give the name that an operation would get if it were added now."""
        return self._tabulated().unused(label, len(self))[0]


class _Table:
    """The names of operations, once somebody needs them.

    Attributes:
        names: In operation order.
        places: What each stands for, and what those of child sagas do.
        shared: See `Names`.
        numbers: Name to the last number behind it.
        numbered: Name to those that were made of it so, and the operation of each.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.places: dict[str, int | Layout] = {}
        self.shared: set[str] = set()
        self.numbers: dict[str, int] = {}
        self.numbered: dict[str, dict[str, int]] = {}

    def copied(self) -> _Table:
        """Copy it."""
        table = _Table()
        table.names, table.places = self.names.copy(), self.places.copy()
        table.shared, table.numbers = self.shared.copy(), self.numbers.copy()
        table.numbered = {name: made.copy() for name, made in self.numbered.items()}
        return table

    def add(self, i: int, name: str, *, given: bool) -> None:
        """Name an operation; done again after an interrupt, it comes out the same."""
        if not given:
            name, of, number = self.unused(name, i)
            if number:
                self.shared.add(of)
                self.numbers[of] = number
                self.numbered.setdefault(of, {})[name] = i
        self.places[name] = i
        self.names.append(name)

    def unused(self, label: str, i: int) -> tuple[str, str, int]:
        """Make a name that no other has; of which name, and with which number, or 0 for none."""
        name = label
        if "." in label or ":" in label or not 0 < len(label) <= MAX_NAME:
            name = label.translate(_NO_NAME)[:MAX_NAME] or "operation"
        if self.places.get(name, i) == i:
            return name, name, 0
        short, number = name[: MAX_NAME - 6], self.numbers.get(name, 2)
        while self.places.get(numbered := f"{short}-{number}", i) != i:
            number += 1
        return numbered, name, number


class Layout:
    """Where the results of a saga with child sagas lie: an operation's index, or a child's."""

    def __init__(self, places: Mapping[str, int], items: tuple[int | Layout, ...]) -> None:
        """Lay out items, and say at which position a name has its own."""
        self.places, self.items = places, items

    def shifted(self, by: int) -> Layout:
        """Move it behind other operations."""
        items = (i + by if isinstance(i, int) else i.shifted(by) for i in self.items)
        return Layout(self.places, tuple(items))

    def indexes(self) -> Iterable[int]:
        """Yield the operations in it."""
        for item in self.items:
            if isinstance(item, int):
                yield item
            else:
                yield from item.indexes()


def arrange(layout: Layout, values: Sequence[Any]) -> Results:
    """Lay results out, those of child sagas in `Results` of their own."""
    items = (values[i] if isinstance(i, int) else arrange(i, values) for i in layout.items)
    return Results.of(items, layout.places)


class Results(list["Any"]):
    """The results of a saga, in operation order; also by name: `results["charge"]`.

    A child saga's place holds the child's own `Results`.
    """

    __slots__ = ("_places",)

    _places: Mapping[str, int] | Names

    @classmethod
    def of(cls, values: Iterable[Any], places: Mapping[str, int] | Names) -> Results:
        """Take the values, and the position of each name among them."""
        results = cls(values)
        results._places = places
        return results

    def __getitem__(self, key: Any) -> Any:
        """Give a result by position or by name, or a plain list for a slice.

        Raises:
            KeyError: No operation has this name, or several share it that were given none.
            IndexError: There are fewer operations.
        """
        if isinstance(key, str):
            return super().__getitem__(_position(key, self._places, len(self)))
        return super().__getitem__(key)

    def __reduce__(self) -> tuple[Any, ...]:
        return Results.of, (list(self), positions(self))


def _position(name: str, places: Mapping[str, int] | Names, size: int) -> int:
    """Find the one result, among so many, that a name means; raises KeyError."""
    if isinstance(places, Names) and (sharing := places.sharing(name, size)):
        message = (
            f"{name}: several operations share this name, and none was given it: "
            f"{', '.join(sharing)}; give them names of their own with name="
        )
        raise KeyError(message)
    position = places.get(name)
    if not isinstance(position, int) or position >= size:
        names = places.all()[:size] if isinstance(places, Names) else list(places)
        message = f"{name}: expected the name of an operation ({', '.join(names[:_SHOWN])})"
        raise KeyError(message)
    return position


def positions(results: Results) -> Mapping[str, int]:
    """Map the names in results to their positions."""
    places = results._places  # noqa: SLF001 - a method would stand among those of a list
    return places.positions(len(results)) if isinstance(places, Names) else places


class Definition:
    """What one run of a saga is to do: its operations and their order, by index.

    Whoever makes one sets its attributes: a constructor in Python costs as much as they do.

    Attributes:
        operations: The operations, in the order of their declaration.
        after: For each operation, those that it comes after.
        followers: For each operation, those that come after it.
        firsts: The intents of the first attempts, which are the same in all runs. Each is where its
            mark in the machine's heap points to: i is an action, ~i a compensation, from the end.
        names: Their names.
        layout: That of the results, if there are child sagas.
        pivot: The pivot, or -1.
        is_chain: Whether each operation comes after the one before it.
        on_crash: What recovery does with the run if nothing has failed.
        values: What is given to this run, by number, if the arguments of its calls are not whole.
    """

    __slots__ = (
        "after", "firsts", "followers", "is_chain", "layout", "names", "on_crash", "operations",
        "pivot", "values",
    )  # fmt: skip

    operations: tuple[Operation, ...]
    after: Sequence[Sequence[int]]
    followers: Sequence[Sequence[int]]
    firsts: tuple[Entry, ...]
    names: Names
    layout: Layout | None
    pivot: int
    is_chain: bool
    on_crash: Literal["resume", "compensate"]
    values: tuple[Any, ...]


Ways: TypeAlias = tuple[tuple[int, ...], ...]


@lru_cache(maxsize=16)  # the sagas of a process are of a few sizes
def chained(count: int) -> tuple[Ways, Ways, tuple[Entry, ...]]:
    """Give `after`, `followers` and `firsts` of operations that run as they were declared."""
    links: list[tuple[int, ...]] = list(zip(range(count), strict=False))  # [(0,), (1,), …]
    actions: list[Entry] = [(STARTED, i, ACTION, 1, 1, None) for i in range(count)]
    undos: list[Entry] = [(STARTED, i, COMPENSATION, 1, 1, None) for i in reversed(range(count))]
    return ((), *links[:-1]), (*links[1:], ()), (*actions, *undos)


def graphed(operations: Sequence[Operation]) -> tuple[list[tuple[int, ...]], list[list[int]]]:
    """Give `after` and `followers` of operations that wait for what they declare and no more."""
    followers: list[list[int]] = [[] for _ in operations]
    for i, operation in enumerate(operations):
        for j in operation.after:
            followers[j].append(i)
    return [operation.after for operation in operations], followers


def reachable(start: int, edges: Sequence[Sequence[int]]) -> set[int]:
    """Collect all that can be reached from an operation along the edges."""
    found, todo = set[int](), [start]
    while todo:
        new = [i for i in edges[todo.pop()] if i not in found]
        found.update(new)
        todo += new
    return found
