"""A saga that was written once, with the arguments of one run: `CHECKOUT.given(article="mug")`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Never

from py_api_saga.calls import ATOMS, Call, needs_of, own
from py_api_saga.definition import Definition, Names
from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.executable import Executable
from py_api_saga.executors.run import Run
from py_api_saga.filling import BoundDefinition, Numbering, filled, mapped, users
from py_api_saga.interrupts import is_limit
from py_api_saga.journal.protocol import Journal
from py_api_saga.operation import Operation
from py_api_saga.placeholder import (
    OWN,
    PLAIN_ERRORS,
    SCANNED,
    Hole,
    Placeholder,
    found,
    placeholders,
    resolve,
)

_SHOWN = 8  # names in a message


class Template:
    """What is the same in all runs of a saga, and is made and checked once.

    Two threads may each make one of the same saga: either will do.

    Attributes:
        saga: A copy of the saga, to which nothing is added, with numbers in the place of names.
        size: How many operations there are.
        names: Of the arguments.
        wanted: What each number stands for.
        pick: Gives the values of these, if no item or attribute is among them; raises KeyError if
            one is missing.
        fixed: What is the same in all runs, and comes behind that.
        chain: The definition.
        texts: What journals keep of its text.
    """

    __slots__ = ("_graph", "chain", "fixed", "names", "pick", "saga", "size", "texts", "wanted")

    def __init__(self, saga: Executable, numbering: Numbering) -> None:
        """Make one of such a copy.

        Raises:
            SagaDefinitionError: There are no operations.
        """
        self.saga, self.wanted = saga, numbering.wanted
        self.fixed = (*numbering.fixed[::-1],)
        self.names = frozenset([placeholder.__saga_operation__ for placeholder in self.wanted])
        self.pick: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None = None
        if not any(placeholder.__saga_path__ for placeholder in self.wanted):
            self.pick = _picking([placeholder.__saga_operation__ for placeholder in self.wanted])
        self.chain = saga._chain()  # noqa: SLF001 - a saga's own, here and below
        self.size = len(self.chain.operations)
        self.texts: dict[Any, Any] = {}
        self._graph: Definition | None = None

    @property
    def graph(self) -> Definition:
        """The definition for what runs at once.

        Raises:
            SagaDefinitionError: It can't be run so.
        """
        if self._graph is None:
            self._graph = self.saga._graph()  # noqa: SLF001
        return self._graph

    def uses(self, name: str) -> str:
        """Say which operations use an argument."""
        return _listed(users(self.chain.operations, self.chain.names)[name])


class BoundSaga(Executable):
    """A saga with the arguments of one run, which `Saga.given` returns: it can be executed.

    It has the operations that the saga had then. What the saga says besides (`name`, `observers`,
    `around`, `journal`, `on_crash`, `max_doubt_age`) is read when it is executed. It never changes,
    may be executed any number of times and by several threads at once, and can be copied; a copy
    is the very object. It keeps the arguments themselves, no copies of them.

    Its methods are those of `Saga` with the same names. `operation` takes it in the place of an
    action, as a child saga.
    """

    __slots__ = ("_arguments", "_async", "_held", "_saga", "_template", "_values")

    _arguments: Mapping[str, Any]
    _async: str
    _held: tuple[str, ...]  # names of arguments that hold placeholders
    _saga: Executable
    _template: Template
    _values: tuple[Any, ...]

    def __init__(self, saga: Executable, template: Template, arguments: Mapping[str, Any]) -> None:
        """Put arguments to a saga; `Saga.given` does so.

        Raises:
            SagaDefinitionError: A name is missing or unknown, or an argument has no such item or
                attribute as the saga wants of it.
        """
        values: tuple[Any, ...]
        if template.pick is None or len(arguments) != len(template.names):
            values = _parts(arguments, template)
        else:
            try:
                values = template.pick(arguments)
            except KeyError:
                _refuse_names(template, arguments)
        self._saga, self._template, self._arguments = saga, template, arguments
        self._async = template.saga._async  # noqa: SLF001 - as above
        self._values = values + template.fixed
        self._held = ()
        if not ATOMS.issuperset(map(type, arguments.values())):
            self._held = _held(arguments)

    def __copy__(self) -> BoundSaga:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return BoundSaga, (self._saga, self._template, self._arguments)

    def __repr__(self) -> str:
        names = _listed([*self._arguments])
        return f"<BoundSaga of {self._template.saga!r}, given {names or 'nothing'}>"

    # --- what `Executable` asks for --------------------------------------------------------------

    @property
    def _operations(self) -> tuple[Operation, ...]:
        return self._template.chain.operations

    @property
    def _names(self) -> Names:
        return self._template.chain.names

    def _chain(self) -> Definition:
        return self._bound(self._template.chain)

    def _graph(self) -> Definition:
        return self._bound(self._template.graph)

    def _bound(self, whole: Definition) -> BoundDefinition:
        if self._held:
            message = (
                f"given(): {self._held[0]}: expected a value, got one that holds a placeholder, "
                "which only a saga that takes this one in can fill: operation(child.given(…))"
            )
            raise SagaDefinitionError(message)
        definition = BoundDefinition()
        definition.operations, definition.names = whole.operations, whole.names
        definition.after, definition.followers = whole.after, whole.followers
        definition.firsts = whole.firsts
        definition.layout, definition.pivot = whole.layout, whole.pivot
        definition.is_chain, definition.on_crash = whole.is_chain, whole.on_crash
        definition.values, definition.texts = self._values, self._template.texts
        return definition

    def _run(
        self,
        definition: Definition,
        saga_id: str | None,
        deadline: float | None,
        drive_late: Callable[[Run], object],
        journal: Journal | None = None,
        limit: int | None = None,
    ) -> Run:
        return self._saga._run(definition, saga_id, deadline, drive_late, journal, limit)  # noqa: SLF001

    # --- as a child of another saga --------------------------------------------------------------

    @property
    def whole(self) -> Any:  # a `Saga`, which is a floor above
        """The saga that it was when it was given its arguments, with holes."""
        return self._template.saga

    @property
    def results(self) -> list[str]:
        """List the operations, of the saga that takes it in, whose results are in the arguments."""
        held = [placeholders(self._arguments[name]) for name in self._held]
        names = [p.__saga_operation__ for found in held for p in found if type(p) is Placeholder]
        return [*dict.fromkeys(names)]

    def filled(self, operation: Operation, scope: str, name: str) -> tuple[Operation, str]:
        """Give an operation of `whole` with its arguments, and its scope, in another saga.

        Args:
            operation: The operation.
            scope: Where the names in its placeholders are looked for, in the other saga.
            name: Its name there.
        """
        if not self._held:
            return filled(operation, self._values), scope
        moved = bool(self.results)  # then names are those of the other saga, also the child's own
        before, own_name = (scope, name) if moved else ("", name.removeprefix(scope))

        def known(placeholder: Placeholder) -> Any:
            other = placeholder.__saga_operation__
            if type(placeholder) is Hole:
                return self._values[other]
            path = placeholder.__saga_path__
            return placeholder if other == OWN else Placeholder(before + other, path)

        def fill(call: Call) -> Call:
            function, args, keywords, needs, is_async = call
            if not needs:
                return call
            done: dict[int, Any] = {}
            args = tuple([resolve(arg, known, done) for arg in args])
            keywords = {key: resolve(arg, known, done) for key, arg in keywords.items()}
            needs = own(needs_of(args, keywords.values()), own_name)
            return function, args, keywords, needs, is_async

        return mapped(operation, fill), "" if moved else scope


def _refuse_names(template: Template, arguments: Mapping[str, Any]) -> Never:
    """Say which names were expected and used where, and which of them are not what was given."""
    known = dict.fromkeys([placeholder.__saga_operation__ for placeholder in template.wanted])
    expected = [f"{name} (in {template.uses(name)})" for name in known]
    missing = [name for name in known if name not in arguments]
    unknown = [name for name in arguments if name not in known]
    parts = [f"expected {_listed(expected) or 'no arguments'}"]
    if missing:
        parts.append(f"got no {_listed(missing)}")
    if unknown:
        parts.append(f"got {_listed(unknown)}, which nothing uses")
    message = f"given(): {'; '.join(parts)}"
    raise SagaDefinitionError(message)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + " …" * (len(names) > _SHOWN)


def _held(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """List the arguments that hold placeholders."""
    scanned = [(name, arg) for name, arg in arguments.items() if isinstance(arg, SCANNED)]
    return tuple([name for name, arg in scanned if next(placeholders(arg), None) is not None])


def _picking(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Make what gives the values of so many names, in one call that runs no Python for many."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda arguments: tuple([arguments[name] for name in names])


def _parts(arguments: Mapping[str, Any], template: Template) -> tuple[Any, ...]:
    """Give the values that are wanted of arguments, some of which may be items or attributes.

    Raises:
        SagaDefinitionError: A name is missing or unknown, or an argument has no such part.
    """
    if arguments.keys() != template.names:
        _refuse_names(template, arguments)
    return tuple([_part(placeholder, arguments, template) for placeholder in template.wanted])


def _part(placeholder: Placeholder, arguments: Mapping[str, Any], template: Template) -> Any:
    """Give what is wanted of an argument: all of it, an item or an attribute."""
    name = placeholder.__saga_operation__
    try:
        return found(placeholder, arguments[name])
    except Exception as error:
        if is_limit(error):
            raise
        problem = f"{placeholder!r} is not there: {type(error).__name__} was raised"
        if type(error) in PLAIN_ERRORS:
            problem = str(error.args[0])
        message = f"given(): {problem}; it is used in {template.uses(name)}"
        raise SagaDefinitionError(message) from error
