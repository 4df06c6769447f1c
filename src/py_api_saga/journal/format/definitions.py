"""What a saga is to do, as JSON and back: the entry that begins it.

Functions are names, and so are the types of errors. What could not be found or read again after a
crash is refused here, before anything has run.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from py_api_saga.calls import ARGS, FUNCTION, KEYWORDS, Call
from py_api_saga.definition import Definition, Layout, Names, chained, graphed
from py_api_saga.evidence import DOUBTFUL, DoubtfulErrors
from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.filling import BoundDefinition, filled
from py_api_saga.journal.format.functions import NotStorableError
from py_api_saga.journal.format.json_text import MAX_VALUE, dumps
from py_api_saga.journal.format.values import Values
from py_api_saga.operation import PLAIN, Operation, Policy
from py_api_saga.process import identity
from py_api_saga.retry import Retry

# Of a name: the function that it stands for, and whether that is a coroutine function.
Find: TypeAlias = Callable[[str], tuple[Any, bool]]

FORMAT = 1
DEFINED = "defined"
MAX_DEFINITION = 255 << 20  # characters: of a row, 1 << 20 more are read
MAX_AGE = 12 * 3600.0  # seconds: services forget idempotency keys after about a day


class Plan:
    """What of a run the definition does not say, and recovery must know.

    Attributes:
        name: Of the saga.
        until: The deadline, seconds since 1970.
        max_age: Seconds after which a call in doubt is not made again under its key.
        limit: Calls at once; None for a chain.
        in_loop: It was started under asyncio.
        trace: What it is part of, as a W3C `traceparent`, or None: to be written, and never read
            here, since anything may be there.
    """

    # Not a named tuple: to make that takes ten times as long, at each cold start.
    __slots__ = ("in_loop", "limit", "max_age", "name", "trace", "until")

    def __init__(
        self,
        name: str | None,
        until: float | None,
        max_age: float,
        limit: int | None,
        *,
        in_loop: bool,
    ) -> None:
        """Say it all."""
        self.name, self.until, self.max_age = name, until, max_age
        self.limit, self.in_loop = limit, in_loop
        self.trace: str | None = None


def write_definition(definition: Definition, plan: Plan, values: Values) -> str:
    """Write the entry that begins a saga as JSON text.

    Raises:
        SagaDefinitionError: An argument or a function can't be stored; says which, and why.
    """
    tree = _head(definition, plan)
    text = None
    if type(definition) is BoundDefinition:
        text = _given_text(tree, definition, values)
    if text is None:
        operations = definition.operations
        if type(definition) is BoundDefinition:
            operations = tuple([filled(operation, definition.values) for operation in operations])
        names = definition.names.all()
        tree["operations"] = _trees(operations, names, values, is_chain=definition.is_chain)
        text = _text_of(tree, names, operations, values)
    return f'["{DEFINED}",{text}]'


def _head(definition: Definition, plan: Plan) -> dict[str, Any]:
    """Give all of it but the operations."""
    tree: dict[str, Any] = {"format": FORMAT, "name": plan.name, "operations": []}
    if not definition.is_chain:
        tree["limit"] = plan.limit
    if definition.layout is not None:
        tree["layout"] = _layout_tree(definition.layout)
    if definition.on_crash != "resume":
        tree["on_crash"] = definition.on_crash
    if plan.until is not None:
        tree["until"] = plan.until
    if plan.max_age != MAX_AGE:
        tree["max_doubt_age"] = plan.max_age
    if plan.in_loop:
        tree["asyncio"] = True
    if plan.trace is not None:
        tree["trace"] = plan.trace
    tree |= identity()
    return tree


def _trees(
    operations: Sequence[Operation], names: Sequence[str], values: Values, *, is_chain: bool
) -> list[dict[str, Any]]:
    return [
        _operation_tree(operation, name, values, is_chain)
        for operation, name in zip(operations, names, strict=False)  # there may be more
    ]


_NOWHERE_ELSE = '"operations":[]'  # in a text of JSON, where quotes in a name are escaped


def _given_text(tree: dict[str, Any], definition: BoundDefinition, values: Values) -> str | None:
    """Write a definition by the stencil of its saga; None if there is more to it.

    What is large, sealed or can't be stored is left to those who write all of it, and say why.
    """
    if values.seals:
        return None
    key = (values.names.key, definition.is_chain)
    try:
        stencil = definition.texts.get(key)
        if stencil is None:
            from py_api_saga.journal.format.stencils import Blanks  # noqa: PLC0415 - most need none

            blanks = Blanks(values)
            names, is_chain = definition.names.all(), definition.is_chain
            trees = _trees(definition.operations, names, blanks, is_chain=is_chain)
            stencil = definition.texts[key] = blanks.stencil(trees)
        operations = stencil.filled(definition.values, values)
    except (NotStorableError, SagaDefinitionError):
        return None
    before, _, behind = dumps(tree).partition(_NOWHERE_ELSE)
    text = f'{before}"operations":[{operations}]{behind}'
    if len(text) > MAX_VALUE:
        return None
    if not text.isascii():
        _check_names(text)
    return text


def _text_of(
    tree: dict[str, Any], names: Sequence[str], operations: Sequence[Operation], values: Values
) -> str:
    """Write the tree of a definition, and see that neither it nor a part is too large."""
    text = dumps(tree)
    if len(text) > MAX_VALUE:  # else no part of it can be too large
        for name, operation in zip(names, operations, strict=False):
            _check_arguments(operation.action, f"operation {name!r}: the action", values)
            if operation.compensation is not None:
                where = f"operation {name!r}: the compensation"
                _check_arguments(operation.compensation, where, values)
    if len(text) > MAX_DEFINITION:
        message = f"all arguments together are larger than {MAX_DEFINITION:,} characters as JSON"
        raise SagaDefinitionError(f"{message}: store references to what is large")
    if not text.isascii():
        _check_names(text)
    return text


def _check_names(text: str) -> None:
    """See that a definition can be written to a file; values are never the reason if not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        message = (
            "the name of the saga or of an operation contains an unpaired surrogate, which is not "
            "valid Unicode"
        )
        raise SagaDefinitionError(message) from None


def _operation_tree(
    operation: Operation,
    name: str,
    values: Values,
    is_chain: bool,  # noqa: FBT001 - as the definition says
) -> dict[str, Any]:
    do = _call_tree(operation.action, name, "action", values)
    tree: dict[str, Any] = {"name": name, "do": do}
    undo = operation.compensation
    if undo is not None:
        tree["undo"] = _call_tree(undo, name, "compensation", values)
    if operation.label != name:
        tree["label"] = operation.label
    if operation.after and not is_chain:
        tree["after"] = operation.after
    if operation.scope:
        tree["scope"] = operation.scope
    if operation.policy is not PLAIN:
        _add_policy(tree, operation.policy, name, values)
    return tree


def _call_tree(call: Call, name: str, role: str, values: Values) -> list[Any]:
    function, args, keywords, wanted, _ = call
    needs = tuple(wanted)
    try:
        tree: list[Any] = [values.names.of(function)]
        if args or keywords:
            tree.append(values.items(args))
        if keywords or needs:
            tree.append(values.tree({**keywords}) if keywords else {})
    except NotStorableError as error:
        where = f"operation {name!r}: the {role}"
        _name(function, where, values)
        _check_arguments(call, where, values)
        message = f"{where}: its arguments, together: {error}"
        raise SagaDefinitionError(message) from None
    if needs:
        tree.append(needs)
    return tree


def _name(function: object, where: str, values: Values) -> str:
    try:
        return values.names.of(function)
    except NotStorableError as error:
        message = f"{where}: {error}"
        raise SagaDefinitionError(message) from None


def _check_arguments(call: Call, where: str, values: Values) -> None:
    """Say which argument can't be stored, if one can't."""
    numbered = [(f"argument {number}", arg) for number, arg in enumerate(call[ARGS], 1)]
    named = [(f"argument {name!r}", value) for name, value in call[KEYWORDS].items()]
    for which, value in numbered + named:
        try:
            values.write(value)
        except NotStorableError as error:
            message = f"{where}: {which}, of type {type(value).__name__}: {error}"
            raise SagaDefinitionError(message) from None


def _add_policy(tree: dict[str, Any], policy: Policy, name: str, values: Values) -> None:
    where = f"operation {name!r}:"
    if policy.retry is not None:
        tree["retry"] = _retry_tree(policy.retry, f"{where} retry", values)
    if policy.compensation_retry is not None:
        retry = policy.compensation_retry
        tree["compensation_retry"] = _retry_tree(retry, f"{where} compensation_retry", values)
    if policy.timeout is not None:
        tree["timeout"] = policy.timeout
    if policy.pivot:
        tree["pivot"] = True
    if policy.doubtful is not DOUBTFUL:
        tree["doubtful"] = _doubtful_tree(policy.doubtful, f"{where} doubtful", values)
    if policy.park:
        tree["park"] = True
    if policy.ask is not None:
        tree["ask"] = _name(policy.ask[FUNCTION], f"{where} on_doubt", values)


def _doubtful_tree(meant: DoubtfulErrors, where: str, values: Values) -> list[str]:
    functions = [_name(predicate, where, values) for predicate in meant.predicates]
    return sorted({*map(_type_name, meant.types), *meant.names, *functions})


def _type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _retry_tree(retry: Retry, where: str, values: Values) -> dict[str, Any]:
    on: Any = retry.on
    tree: dict[str, Any] = {}
    if isinstance(on, (type, tuple)):
        kinds = on if isinstance(on, tuple) else (on,)
        tree["on"] = [_type_name(kind) for kind in kinds]
    elif isinstance(getattr(on, "__self__", None), DoubtfulErrors):  # read from a journal before
        tree["on"] = sorted({*map(_type_name, on.__self__.types), *on.__self__.names})
    else:
        tree["on"] = _name(on, where, values)
    defaults = Retry(Exception)  # not those of a subclass: what is read is a plain Retry
    for field in Retry.OPTIONS:
        value = getattr(retry, field)
        if value != getattr(defaults, field):
            tree[field] = value
    return tree


def _layout_tree(layout: Layout) -> dict[str, Any]:
    items = [item if isinstance(item, int) else _layout_tree(item) for item in layout.items]
    return {"places": dict(layout.places), "items": items}


# --- reading -------------------------------------------------------------------------------------


def read_definition(
    tree: dict[str, Any], values: Values, find: Find | None = None
) -> tuple[Definition, Plan]:
    """Read what `write_definition` has written.

    Args:
        tree: What follows "defined".
        values: How to read values.
        find: Gives the function that a name stands for, and whether that is a coroutine function.
            Without it no function is looked for and no argument is read.

    Raises:
        Exception: Whatever a malformed tree makes of the code that reads it.
    """
    find = find or _unresolved
    names, operations = [], []
    for item in tree["operations"]:
        names.append(str(item["name"]))
        operations.append(read_operation(item, values, find))
    if not operations:
        message = "the saga has no operations"
        raise ValueError(message)
    layout = _read_layout(tree["layout"], len(operations)) if "layout" in tree else None
    is_chain = "limit" not in tree
    after: Sequence[Sequence[int]]
    followers: Sequence[Sequence[int]]
    after, followers, firsts = chained(len(operations))
    if not is_chain:
        after, followers = graphed(operations)
    pivots = [i for i, operation in enumerate(operations) if operation.policy.pivot]
    definition = Definition()
    definition.operations, definition.is_chain = tuple(operations), is_chain
    definition.after, definition.followers, definition.firsts = after, followers, firsts
    definition.names, definition.layout = Names.recorded(names, layout), layout
    definition.pivot = pivots[0] if pivots else -1
    definition.on_crash = "compensate" if tree.get("on_crash") == "compensate" else "resume"
    plan = Plan(
        tree.get("name"),
        _seconds(tree, "until"),
        float(tree.get("max_doubt_age", MAX_AGE)),
        tree.get("limit"),
        in_loop=bool(tree.get("asyncio")),
    )
    return definition, plan


class _Unresolved:
    """A function that is only a name."""

    def __init__(self, name: str) -> None:
        self.__name__ = name.rpartition(":")[2].rpartition(".")[2]
        self.name = name

    def __call__(self, *_: object, **__: object) -> object:
        message = f"{self.name} was not looked for"
        raise LookupError(message)


def _unresolved(name: str) -> tuple[_Unresolved, bool]:
    return _Unresolved(name), False


def read_operation(item: dict[str, Any], values: Values, find: Find) -> Operation:
    """Read one operation, as `read_definition` reads each of them."""
    do = _read_call(item["do"], values, find)
    undo = _read_call(item["undo"], values, find) if "undo" in item else None
    name = item["name"]
    policy = PLAIN
    if not item.keys().isdisjoint(_POLICY):
        policy = _read_policy(item, do, find)
    after = tuple(map(int, item.get("after", ())))
    label, scope = str(item.get("label", name)), str(item.get("scope", ""))
    return Operation.of(label, do, undo, after, policy, scope)


_POLICY = frozenset(vars(PLAIN))  # each is written under the name that it has there


_EMPTY: tuple[Any, ...] = ([], {}, ())  # arguments, keywords, names of results


def _read_call(tree: list[Any], values: Values, find: Find) -> Call:
    name, args, keywords, needs = (*tree, *_EMPTY[len(tree) - 1 :])
    function, is_async = find(str(name))
    needs = tuple(map(str, needs)) if needs else ()
    if find is _unresolved:  # which no arguments are given to
        return function, (), {}, needs, False
    args = tuple(values.read(args)) if args else ()
    keywords = dict(values.read(keywords)) if keywords else {}
    return function, args, keywords, needs, is_async


def _read_policy(item: dict[str, Any], do: Call, find: Find) -> Policy:
    ask: Call | None = None
    if "ask" in item:
        function, is_async = find(str(item["ask"]))
        _, args, keywords, needs, _ = do
        ask = (function, args, keywords, needs, is_async)
    return Policy(
        retry=_read_retry(item.get("retry"), find),
        compensation_retry=_read_retry(item.get("compensation_retry"), find),
        timeout=_seconds(item, "timeout"),
        pivot=bool(item.get("pivot")),
        doubtful=_read_errors(item["doubtful"], find) if "doubtful" in item else DOUBTFUL,
        park=bool(item.get("park")),
        ask=ask,
    )


def _seconds(tree: dict[str, Any], field: str) -> float | None:
    seconds = tree.get(field)
    return None if seconds is None else float(seconds)


def _read_errors(names: Iterable[str], find: Find | None = None) -> DoubtfulErrors:
    """Read names of exception types, of which those built in become themselves, and functions."""
    types, others, predicates = [], [], []
    for name in map(str, names):
        if find is not None and ":" in name:
            predicates.append(find(name)[0])
            continue
        module, _, kind = name.rpartition(".")
        found = getattr(builtins, kind, None) if module == "builtins" else None
        if isinstance(found, type) and issubclass(found, BaseException):
            types.append(found)
        else:
            others.append(name)
    return DoubtfulErrors(tuple(types), frozenset(others), tuple(predicates))


def _read_retry(tree: dict[str, Any] | None, find: Find) -> Retry | None:
    if tree is None:
        return None
    on = tree["on"]
    options = {field: tree[field] for field in Retry.OPTIONS if field in tree}
    kinds = find(on)[0] if isinstance(on, str) else _read_errors(on).includes_all_of
    return Retry(kinds, **options)


def _read_layout(tree: dict[str, Any], count: int) -> Layout:
    items = tuple(
        item if isinstance(item, int) else _read_layout(item, count) for item in tree["items"]
    )
    if any(isinstance(item, int) and not 0 <= item < count for item in items):
        message = "a result is of an operation that there is not"
        raise ValueError(message)
    return Layout({str(name): int(place) for name, place in tree["places"].items()}, items)
