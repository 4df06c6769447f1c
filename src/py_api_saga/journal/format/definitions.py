"""What a saga is to do, as JSON: the entry that begins it.

Functions are names, and so are the types of errors. What could not be found or read again after a
crash is refused here, before anything has run.
"""

from __future__ import annotations

from collections import namedtuple

from py_api_saga.calls import ARGS, FUNCTION, KEYWORDS
from py_api_saga.doubtful import DOUBTFUL, ErrorTypes
from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.filling import BoundDefinition, filled
from py_api_saga.journal.format.functions import NotStorableError
from py_api_saga.journal.format.json_text import MAX_VALUE, dumps
from py_api_saga.journal.format.stencils import Blanks
from py_api_saga.operation import PLAIN

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from py_api_saga.calls import Call
    from py_api_saga.definition import Definition, Layout
    from py_api_saga.journal.format.values import Values
    from py_api_saga.operation import Operation, Policy
    from py_api_saga.retry import Retry

FORMAT = 1
DEFINED = "defined"
MAX_DEFINITION = 255 << 20  # characters: of a row, 1 << 20 more are read
MAX_AGE = 12 * 3600.0  # seconds: services forget idempotency keys after about a day


class Plan(namedtuple("Plan", "name until max_age limit in_loop")):  # noqa: PYI024 - a typed one takes 0.5 ms more
    """What of a run the definition does not say, and recovery must know."""

    name: str | None  # of the saga
    until: float | None  # the deadline, seconds since 1970
    max_age: float  # seconds after which a call in doubt is not made again under its key
    limit: int | None  # calls at once; None for a chain
    in_loop: bool  # it was started under asyncio

    __slots__ = ()


def write_definition(definition: Definition, plan: Plan, values: Values) -> str:
    """Write the entry that begins a saga as JSON text.

    Raises:
        SagaDefinitionError: An argument or a function can't be stored; says which, and why.
    """
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


def _doubtful_tree(meant: ErrorTypes, where: str, values: Values) -> list[str]:
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
    elif isinstance(getattr(on, "__self__", None), ErrorTypes):  # read from a journal before
        tree["on"] = sorted({*map(_type_name, on.__self__.types), *on.__self__.names})
    else:
        tree["on"] = _name(on, where, values)
    from py_api_saga.retry import Retry  # noqa: PLC0415 - there is one

    defaults = Retry(Exception)  # not those of a subclass: what is read is a plain Retry
    for field in Retry.OPTIONS:
        value = getattr(retry, field)
        if value != getattr(defaults, field):
            tree[field] = value
    return tree


def _layout_tree(layout: Layout) -> dict[str, Any]:
    items = [item if isinstance(item, int) else _layout_tree(item) for item in layout.items]
    return {"places": dict(layout.places), "items": items}
