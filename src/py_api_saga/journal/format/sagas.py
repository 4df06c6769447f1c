"""A saga as its rows tell it.

A row's body is a JSON list of entries. The first one of a saga is its definition, `["defined",
{…}]`. Two kinds are not entries of the machine: `["parked", {…}]` says why recovery has given up on
a saga, and `["note", {…}]` who changed it by hand, and why. Reading a saga gives whatever `find`
makes of the names of functions, so that it can be shown and answered for without importing a thing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from py_api_saga.calls import is_async
from py_api_saga.definition import Definition, Layout, Names, chained, graphed
from py_api_saga.doubtful import DOUBTFUL, ErrorTypes
from py_api_saga.exceptions import JournalError
from py_api_saga.execution import IllegalMoveError
from py_api_saga.journal.format.definitions import DEFINED, FORMAT, MAX_AGE, Plan
from py_api_saga.journal.format.entries import read_entry
from py_api_saga.journal.format.functions import UnknownNameError
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.operation import PLAIN, Operation, Policy
from py_api_saga.wording import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from py_api_saga.calls import Call
    from py_api_saga.entries import Entry
    from py_api_saga.journal.changes import Row
    from py_api_saga.journal.format.values import Values
    from py_api_saga.retry import Retry

MAX_BODY = 256 << 20  # bytes; a definition may have ten thousand operations, and no more than so
PARKED, NOTE = "parked", "note"


class Recorded(NamedTuple):
    """A saga as its rows tell it."""

    definition: Definition
    plan: Plan
    entries: list[Entry]
    times: list[float]  # of each entry, when it was made durable, seconds since 1970
    notes: list[tuple[float, str, dict[str, Any]]]  # when, NOTE or PARKED, and what it says
    tree: dict[str, Any]  # the definition as it is written


def read_rows(
    rows: Sequence[Row], values: Values, find: Callable[[str], Any] | None = None
) -> Recorded:
    """Read a saga.

    Args:
        rows: All of it, in order.
        values: How to read values.
        find: Gives the function that a name stands for. Without it no function is looked for and
            no argument is read: what there is can be told, and nothing can be called.

    Raises:
        JournalError: It contradicts itself, names what is not allowed or is not there any more,
            or is of a newer format.
    """
    with reading():
        return _read(rows, values, find or _Unresolved)


@contextmanager
def reading(what: str = "the journal's entries") -> Iterator[None]:
    """Have whatever malformed rows make of the code that reads them be a JournalError."""
    try:
        yield
    except UnknownNameError as error:
        raise JournalError(str(error)) from error
    except JournalError:
        raise
    except Exception as error:
        message = f"{what} cannot be read: {as_text(error, str)}"
        raise JournalError(message) from error


@contextmanager
def folding(what: str = "the journal's entries") -> Iterator[None]:
    """Have entries that the machine refuses be a JournalError."""
    try:
        yield
    except (IllegalMoveError, LookupError) as error:
        message = f"{what} contradict each other: {error}"
        raise JournalError(message) from error


class _Unresolved:
    """A function that is only a name."""

    def __init__(self, name: str) -> None:
        self.__name__ = name.rpartition(":")[2].rpartition(".")[2]
        self.name = name

    def __call__(self, *_: object, **__: object) -> object:
        message = f"{self.name} was not looked for"
        raise LookupError(message)


def _read(rows: Sequence[Row], values: Values, find: Callable[[str], Any]) -> Recorded:
    tree, lines = read_lines(rows)
    names, operations = [], []
    for item in tree["operations"]:
        names.append(str(item["name"]))
        operations.append(_read_operation(item, values, find))
    if not operations:
        message = "the saga has no operations"
        raise ValueError(message)
    layout = _read_layout(tree["layout"], len(operations)) if "layout" in tree else None
    is_chain = "limit" not in tree
    after, followers = chained(len(operations)) if is_chain else graphed(operations)
    pivots = [i for i, operation in enumerate(operations) if operation.policy.pivot]
    definition = Definition()
    definition.operations, definition.is_chain = tuple(operations), is_chain
    definition.after, definition.followers = after, followers
    definition.names, definition.layout = Names.of(names, layout), layout
    definition.pivot = pivots[0] if pivots else -1
    definition.on_crash = "compensate" if tree.get("on_crash") == "compensate" else "resume"
    plan = Plan(
        tree.get("name"),
        _seconds(tree, "until"),
        float(tree.get("max_doubt_age", MAX_AGE)),
        tree.get("limit"),
        bool(tree.get("asyncio")),
    )
    entries, times, notes = [], [], []
    for at, line in lines:
        if line[0] in (NOTE, PARKED):
            notes.append((at, line[0], line[1]))
        else:
            entries.append(read_entry(line, values, len(operations)))
            times.append(at)
    return Recorded(definition, plan, entries, times, notes, tree)


def read_lines(rows: Sequence[Row]) -> tuple[dict[str, Any], list[tuple[float, Any]]]:
    """Parse the rows of a saga: its definition, and all other entries with their times."""
    lines = []
    for number, row in enumerate(rows, 1):
        if row.n != number:
            message = f"row {number} of the saga is missing"
            raise JournalError(message)
        if len(row.body) > MAX_BODY:
            message = f"row {number} of the saga is larger than {MAX_BODY:,} characters"
            raise JournalError(message)
        try:
            lines += [(row.at, line) for line in loads(row.body)]
        except ValueError as error:
            message = f"the journal's entries cannot be read: row {number} is damaged: {error}"
            raise JournalError(message) from error
    if not lines or lines[0][1][0] != DEFINED:
        message = "the saga does not begin with its definition"
        raise JournalError(message)
    tree = lines[0][1][1]
    if tree["format"] != FORMAT:
        message = f"the saga is of format {tree['format']}, and this version reads {FORMAT}"
        raise JournalError(message)
    return tree, lines[1:]


def _read_operation(item: dict[str, Any], values: Values, find: Callable[[str], Any]) -> Operation:
    do = _read_call(item["do"], values, find)
    undo = _read_call(item["undo"], values, find) if "undo" in item else None
    name = item["name"]
    policy = PLAIN
    if not item.keys().isdisjoint(_POLICY):
        policy = _read_policy(item, do, find)
    after = tuple(map(int, item.get("after", ())))
    label, scope = str(item.get("label", name)), str(item.get("scope", ""))
    return Operation.of(label, do, undo, after, policy, scope)


_POLICY = {"retry", "compensation_retry", "timeout", "pivot", "doubtful", "park", "ask"}


_EMPTY: tuple[Any, ...] = ([], {}, ())  # arguments, keywords, names of results


def _read_call(tree: list[Any], values: Values, find: Callable[[str], Any]) -> Call:
    name, args, keywords, needs = (*tree, *_EMPTY[len(tree) - 1 :])
    function = find(str(name))
    needs = tuple(map(str, needs)) if needs else ()
    if find is _Unresolved:  # which no arguments are given to
        return function, (), {}, needs, False
    args = tuple(values.read(args)) if args else ()
    keywords = dict(values.read(keywords)) if keywords else {}
    return function, args, keywords, needs, is_async(function)


def _read_policy(item: dict[str, Any], do: Call, find: Callable[[str], Any]) -> Policy:
    ask: Call | None = None
    if "ask" in item:
        function = find(str(item["ask"]))
        _, args, keywords, needs, _ = do
        ask = (function, args, keywords, needs, is_async(function))
    return Policy(
        _read_retry(item.get("retry"), find),
        _read_retry(item.get("compensation_retry"), find),
        _seconds(item, "timeout"),
        bool(item.get("pivot")),
        _error_types(item["doubtful"], find) if "doubtful" in item else DOUBTFUL,
        bool(item.get("park")),
        ask,
    )


def _seconds(tree: dict[str, Any], field: str) -> float | None:
    seconds = tree.get(field)
    return None if seconds is None else float(seconds)


def _error_types(names: Iterable[str], find: Callable[[str], Any] | None = None) -> ErrorTypes:
    """Read names of exception types, of which those built in become themselves, and functions."""
    import builtins  # noqa: PLC0415

    types, others, predicates = [], [], []
    for name in map(str, names):
        if find is not None and ":" in name:
            predicates.append(find(name))
            continue
        module, _, kind = name.rpartition(".")
        found = getattr(builtins, kind, None) if module == "builtins" else None
        if isinstance(found, type) and issubclass(found, BaseException):
            types.append(found)
        else:
            others.append(name)
    return ErrorTypes(tuple(types), frozenset(others), tuple(predicates))


def _read_retry(tree: dict[str, Any] | None, find: Callable[[str], Any]) -> Retry | None:
    if tree is None:
        return None
    from py_api_saga.retry import Retry  # noqa: PLC0415 - see there

    on = tree["on"]
    options = {field: tree[field] for field in Retry.OPTIONS if field in tree}
    return Retry(find(on) if isinstance(on, str) else _error_types(on).match_all, **options)


def _read_layout(tree: dict[str, Any], count: int) -> Layout:
    items = tuple(
        item if isinstance(item, int) else _read_layout(item, count) for item in tree["items"]
    )
    if any(isinstance(item, int) and not 0 <= item < count for item in items):
        message = "a result is of an operation that there is not"
        raise ValueError(message)
    return Layout({str(name): int(place) for name, place in tree["places"].items()}, items)


# --- the same saga? --------------------------------------------------------------------------


def difference(recorded: dict[str, Any], given: dict[str, Any], values: Values) -> str | None:
    """Say in what a saga differs from the one that is recorded under its id; None if it does not.

    Operations that only one side has don't count: a deploy may lie between the two.
    """
    if recorded.get("name") != given.get("name"):
        return f"its name is {recorded.get('name')!r}, got {given.get('name')!r}"
    before = {item["name"]: item for item in recorded["operations"]}
    for item in given["operations"]:
        other = before.get(item["name"], {})
        for role, words in (("do", "action"), ("undo", "compensation")):
            calls = (item.get(role), other.get(role))
            if None not in calls and len({dumps(_arguments(call, values)) for call in calls}) > 1:
                return f"operation {item['name']!r}: the arguments of the {words} differ"
    return None


def _arguments(call: Sequence[Any], values: Values) -> list[Any]:
    return [_ordered(values.open(tree)) for tree in call[1:3]]


def _ordered(tree: Any) -> Any:
    """Put into one order what has none: dicts are equal in any, and so are sets."""
    kind = type(tree)
    if kind is list:
        return [*map(_ordered, tree)]
    if kind is not dict:
        return tree
    keys = sorted(tree)
    # `map` and not a comprehension, which takes twice as much of the stack.
    made = dict(zip(keys, map(_ordered, map(tree.get, keys)), strict=True))
    if len(keys) == 1 and keys[0] in _UNORDERED and type(made[keys[0]]) is list:
        made[keys[0]].sort(key=dumps)
    return made


_UNORDERED = frozenset({"$dict", "$set", "$frozenset"})


def digest(tree: dict[str, Any], values: Values) -> str:
    """Give a hash, 64 hexadecimal digits, of what `difference` compares."""
    import hashlib  # noqa: PLC0415 - only a purge needs it

    calls = [
        [item["name"], *(_arguments(item.get(role, ()), values) for role in ("do", "undo"))]
        for item in tree["operations"]
    ]
    return hashlib.sha256(dumps([tree.get("name"), calls]).encode()).hexdigest()
