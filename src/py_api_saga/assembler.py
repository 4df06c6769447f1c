"""The fluent sentence: each operation next to its undo, then one word to run them all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import is_
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal, Never, Self, Unpack, overload

from py_api_saga.bound import BoundSaga, Template
from py_api_saga.calls import (
    ARGS,
    FUNCTION,
    IS_ASYNC,
    KEYWORDS,
    NEEDS,
    Call,
    Filling,
    label_of,
    own,
    plain_call,
    read_call,
)
from py_api_saga.current import Around
from py_api_saga.definition import (
    NONE_GIVEN,
    Definition,
    Layout,
    Names,
    chained,
    graphed,
    reachable,
)
from py_api_saga.evidence import DOUBTFUL, DoubtfulError, read_doubtful
from py_api_saga.exceptions import (
    MAX_NAME,
    SagaDefinitionError,
    SagaException,
    check_around,
    check_beginning,
    check_no_engine,
    refused,
    seconds,
)
from py_api_saga.executable import Executable, durable, nobody
from py_api_saga.executors.around import surround
from py_api_saga.executors.orchestrator import make_calls
from py_api_saga.executors.run import Run
from py_api_saga.filling import Numbering, users
from py_api_saga.journal.protocol import Journal
from py_api_saga.observer import Observer
from py_api_saga.operation import PLAIN, OnDoubt, Operation, Policy
from py_api_saga.placeholder import OWN, Placeholder
from py_api_saga.retry import Retry, immediately
from py_api_saga.saga_options import SagaOptions
from py_api_saga.wording import in_line

if TYPE_CHECKING:
    from py_api_saga.typed_call import (
        A1,
        A2,
        A3,
        A4,
        A5,
        A6,
        A7,
        A8,
        B1,
        B2,
        B3,
        B4,
        B5,
        B6,
        B7,
        B8,
        TypedCall,
    )


# Compiled when it is first used: 0.3 ms at import.
_SAGA_ID = r"(?!\.{1,2}\Z)[A-Za-z0-9_.][A-Za-z0-9_.\-]{0,127}"
_NOT_GIVEN: Any = type("NotGiven", (), {"__repr__": lambda _: "<not given>"})()
_PROCEED: Literal["proceed"] = "proceed"
_SHOWN = 8  # operations in a repr
_ENDLESS = float("inf")


class Saga(Executable):
    """Operations, each next to its undo, that run all or in the end not at all.

    Every argument of the constructor can also be an attribute of a subclass, and is overridden
    by an argument; for one operation, by an argument of `operation`.

    Attributes:
        name: What logs, events and exceptions call it, 1 to 64 characters, or None.
        retry_attempts: Attempts of each action in all, without a wait, whatever it raises.
        retry: When to try a failed action again; instead of `retry_attempts`.
        compensation_retry: When to try a failed compensation again; by default never.
        observers: Functions of an `Event`, told what happens while it runs.
        around: What is entered around each call, the outermost first: functions of the
            `CurrentOperation` that give a context manager, or under asyncio one that is awaited.
            Those of the class are around those that a saga is given. Nothing of it is recorded.
        journal: Where its runs are recorded, so that they survive the process; None for memory.
        on_crash: What recovery does with a run that a process has left before anything failed:
            "resume" goes forward, "compensate" undoes it.
        max_doubt_age: Seconds after which recovery no longer calls again, under its old key,
            what a crash has left in doubt: services forget keys. By default 12 hours.
    """

    name: str | None = None
    retry_attempts: int | None = None
    retry: Retry | None = None
    compensation_retry: Retry | None = None
    observers: Sequence[Observer] = ()
    around: Sequence[Around] = ()
    journal: Journal | None = None
    on_crash: Literal["resume", "compensate"] = "resume"
    max_doubt_age: float | None = None

    _template: Template | None = None  # of an instance, once it was given something
    _has_holes: bool  # there may be a `given` in its operations

    _operations: list[Operation]
    _names: Names
    _async: str  # where the first coroutine function stands

    def __init__(
        self,
        retry_attempts: int | None = None,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        compensation_retry: Retry | None = None,
        observers: Sequence[Observer] = (),
        around: Sequence[Around] = (),
        journal: Journal | None = None,
        on_crash: Literal["resume", "compensate"] | None = None,
        max_doubt_age: float | None = None,
    ) -> None:
        """Start an empty saga.

        Raises:
            SagaDefinitionError: An argument, or the attribute of the class, is not of its type
                or out of range, or both `retry_attempts` and `retry` are given.
        """
        self._operations = []
        self._names = names = Names()
        names.given, names.good, names.table = NONE_GIVEN, 0, None
        self._children: tuple[tuple[int, str, Layout], ...] = ()  # where each begins
        self._has_holes = False
        self._pivot = -1
        self._async = ""
        self._policy = PLAIN
        if name is not None or self.name is not None:
            self.name = _saga_name(name if name is not None else self.name)
        if observers or self.observers:
            self.observers = _observers(observers or self.observers)
        if around:  # what the class has is looked at when the saga is run: that is cheaper
            self.around = (*check_around(self.around, "saga"), *check_around(around, "saga"))
        if journal is not None or on_crash is not None or max_doubt_age is not None:
            self._endure(journal, on_crash, max_doubt_age)
        if retry_attempts is None and retry is None:
            retry_attempts, retry = self.retry_attempts, self.retry
        if compensation_retry is None:
            compensation_retry = self.compensation_retry
        if retry_attempts is not None or retry is not None or compensation_retry is not None:
            if retry_attempts is not None:
                if retry is not None:
                    raise refused("saga", "retry_attempts or retry", "both")
                retry = _attempts(retry_attempts)
            self._policy = Policy(
                _retry(retry, "saga: retry"), _retry(compensation_retry, "saga: compensation_retry")
            )

    def _endure(self, journal: Any, on_crash: Any, max_doubt_age: float | None) -> None:
        """Take in what concerns a crash."""
        if journal is not None:
            check_no_engine(journal, "saga")
            self.journal = check_beginning(journal, "saga")
        if on_crash is not None:
            self.on_crash = _on_crash(on_crash)
        if max_doubt_age is not None:
            self.max_doubt_age = seconds(max_doubt_age, "saga: max_doubt_age")

    def __copy__(self) -> Self:
        """Make a saga of the same operations, which can be added to on its own."""
        clone = type(self).__new__(type(self))
        clone.__dict__.update(
            self.__dict__,
            _operations=self._operations.copy(),
            _names=self._names.copied(),
        )
        return clone

    # --- building --------------------------------------------------------------------------------

    @overload
    def operation(
        self,
        action: TypedCall[A1, A2, A3, A4, A5, A6, A7, A8],
        compensation: TypedCall[B1, B2, B3, B4, B5, B6, B7, B8] | None = None,
        *,
        name: str | None = None,
        after: str | Iterable[str] = (),
        retry: Retry | None = None,
        compensation_retry: Retry | None = None,
        timeout: float | None = None,
        pivot: bool = False,
        doubtful: DoubtfulError | Iterable[DoubtfulError] = ...,
        on_doubt: OnDoubt = "proceed",
    ) -> Self: ...

    @overload
    def operation(
        self,
        action: Saga | BoundSaga,
        *,
        name: str | None = None,
        after: str | Iterable[str] = (),
    ) -> Self: ...

    def operation(  # noqa: C901, D417, PLR0912 - checks in a row: a call more is paid each time
        self,
        action: Any = _NOT_GIVEN,
        compensation: Any = None,
        *excess: Never,
        **options: Any,  # those of `_options`: each one that is spelled out is paid each time
    ) -> Self:
        """Add an operation: what to do, and what undoes it.

        A call is a callable, a tuple or list `(callable, *arguments)`, or a `functools.partial`.
        Arguments may hold `result_of("…")`; they are kept by reference. What runs under asyncio
        may be a coroutine function.

        Args:
            action: The call to make, or a whole saga, whose operations are taken in as
                `name.operation`; a saga takes `name` and `after` and nothing else.
            compensation: The call that undoes it, best by what is known before the action is
                called; None if the action has no effect. The last operation needs one too, since
                its answer may be lost. It must be idempotent, and tolerate that the action may
                not have happened.
            name: 1 to 64 characters without ":" and ".", unique in the saga. By default the name
                of the function, with a number from 2 if that is taken.
            after: Names of operations declared before that must have succeeded first. Counts
                where operations run at once; else they run in the order of their declaration.
            retry: When to try the action again; by default as the saga says.
            compensation_retry: When to try the compensation again; by default as the saga says.
            timeout: Seconds for each attempt of the action and of the compensation. A plain
                function that has one runs in a thread of its own; where the process can have no
                more threads, in the caller's, and without a limit.
            pivot: Whether this is the go/no-go operation: once it has succeeded nothing is
                undone any more, and what fails after it leaves the saga stuck.
            doubtful: Errors after which the action may have happened all the same: exception
                types, their names as "module.Class", or functions that are given what the action
                has raised; one that raises itself counts as doubt. Types and names are also looked
                for in groups, and in what an error was raised from or in the handling of. By
                default `leaves_doubt`.
            on_doubt: What to do about an action in doubt when rolling back: "proceed" to
                compensate it, "park" to leave it to a person, or a function, called like the
                action, that returns `happened(result)`, `NOT_HAPPENED` or `UNKNOWN`.

        Returns:
            The saga itself.

        Raises:
            SagaDefinitionError: Anything is wrong with these; nothing was added.
        """
        if excess:
            raise SagaDefinitionError("Only two operations (action, compensation) are allowed.")
        do = plain_call(*action) if type(action) is tuple else plain_call(action)
        if do is None:
            if action is _NOT_GIVEN:
                raise SagaDefinitionError("Operation can not be empty")
            if isinstance(action, Saga):
                return self._add_child(action, compensation, options)
            if isinstance(action, BoundSaga):
                return self._add_child(action.whole, compensation, options, action)
            do = read_call(action, "action", self._position)
        undo = None
        if compensation is not None:
            if type(compensation) is tuple:
                undo = plain_call(*compensation)
            if undo is None:
                undo = read_call(compensation, "compensation", self._position)
        function, _, _, needs, is_async = do
        before: tuple[int, ...] = ()
        name, policy = None, self._policy
        if options or needs:
            name, before, policy = self._read_options(do, self._position, options)
        if name is not None:
            label = name
        elif type(function) is FunctionType:
            label = function.__name__
        else:
            label = label_of(function)
        if undo is not None:
            if undo[NEEDS]:
                undo = self._check_undo(undo, name or self._names.preview(label), self._position)
            if undo[IS_ASYNC] and not self._async:
                self._note_async("compensation", self._position)
        if is_async and not self._async:
            self._note_async("action", self._position)
        if name is None:
            self._names.append(label)
        else:
            self._names.give(name)
        operation = Operation()
        operation.label, operation.action, operation.compensation = label, do, undo
        operation.after, operation.policy, operation.scope = before, policy, ""
        if options:
            if policy.pivot:
                self._pivot = self._position - 1
            if policy.ask is not None and policy.ask[IS_ASYNC]:
                self._note_async("on_doubt", self._position)
        self._operations.append(operation)
        return self

    @property
    def _position(self) -> int:
        """Where the next operation will stand, from 1."""
        return len(self._operations) + 1

    def _options(  # the signature of `operation`, and the order in which the rest has its options
        self,
        action: Any = _NOT_GIVEN,  # noqa: ARG002
        compensation: Any = None,  # noqa: ARG002
        *excess: Never,  # noqa: ARG002
        name: str | None = None,
        after: str | Iterable[str] = (),
        retry: Retry | None = None,
        compensation_retry: Retry | None = None,
        timeout: float | None = None,
        pivot: bool = False,
        doubtful: Any = DOUBTFUL,
        on_doubt: OnDoubt = _PROCEED,
    ) -> Any:
        return name, after, retry, compensation_retry, timeout, pivot, doubtful, on_doubt

    _NOTHING_ASKED = _options(_NOT_GIVEN)[2:]  # besides a name, and what it comes after
    _options.__qualname__ = operation.__qualname__  # whom the error for an unknown option names
    # What `help` and `inspect.signature` show; a Signature would have inspect imported, 9 ms.
    operation.__wrapped__ = _options  # type: ignore[attr-defined]

    def _read_options(
        self, do: Call, position: int, options: dict[str, Any]
    ) -> tuple[str | None, tuple[int, ...], Policy]:
        """Give the name of an operation, the operations that it comes after, and its policy."""
        name, after, *asked = self._options(**options)
        self._has_holes = self._has_holes or type(do[NEEDS]) is Filling
        policy = self._policy
        if not all(map(is_, asked, self._NOTHING_ASKED)):
            policy = self._policy_of(do, position, *asked)
        before = self._edges(after, do[NEEDS], position) if do[NEEDS] or after != () else ()
        return None if name is None else self._check_name(name, position), before, policy

    def _policy_of(
        self,
        do: Call,
        position: int,
        retry: Retry | None,
        compensation_retry: Retry | None,
        timeout: float | None,
        pivot: bool,  # noqa: FBT001 - as it was given
        doubtful: Any,
        on_doubt: OnDoubt,
    ) -> Policy:
        """Check what was asked for one operation, and fill in what the saga says."""
        where, default = f"operation {position}:", self._policy
        again = _retry(retry, f"{where} retry")
        undo_again = _retry(compensation_retry, f"{where} compensation_retry")
        timeout = seconds(timeout, f"{where} timeout")
        pivot = self._check_pivot(pivot, position)
        doubtful = read_doubtful(doubtful, f"{where} doubtful")
        park, ask = _on_doubt(on_doubt, do, position)
        return Policy(
            retry=default.retry if again is None else again,
            compensation_retry=default.compensation_retry if undo_again is None else undo_again,
            timeout=timeout,
            pivot=pivot,
            doubtful=doubtful,
            park=park,
            ask=ask,
        )

    def _add_child(
        self,
        child: Saga,
        compensation: object,
        options: dict[str, Any],
        bound: BoundSaga | None = None,
    ) -> Self:
        """Add the operations of a child saga as they are now, as `name.operation`."""
        position = self._position
        name, after, *asked = self._options(**options)
        if compensation is not None or not all(map(is_, asked, self._NOTHING_ASKED)):
            where = f"operation {position}, a child saga"
            message = f"{where}: expected name and after, got other options as well"
            raise SagaDefinitionError(message)
        import hashlib  # noqa: F401, PLC0415 - 1 ms, for the keys of long names: see `Run.key`

        if not child._operations:
            _refuse_empty()
        if child._pivot >= 0:
            self._check_pivot(True, position)  # noqa: FBT003
        before = self._edges(after, (), position)
        for need in () if bound is None else bound.results:
            self._needed(need, f"operation {position}, a child saga that was given", position)
        if name is None:
            name = self._names.preview(child.name or "saga")
        else:
            self._check_name(name, position)
        layout, places = child._layout().shifted(position - 1), dict(child._names.places)
        shared, prefix = [*child._names.shared], f"{name}."  # the child may be this saga
        self._adopt(child, prefix, before, bound)
        self._children += ((position - 1, name, layout),)
        self._names.add(name, layout)
        for key, place in places.items():
            if not isinstance(place, int):
                self._names.add(prefix + key, place.shifted(position - 1))
        self._names.shared.update([prefix + other for other in shared])
        if child._pivot >= 0:
            self._pivot = child._pivot + position - 1
        if child._async:
            self._async = self._async or f"{child._async}, in the child saga {name!r}"
        return self

    def _adopt(
        self, child: Saga, prefix: str, before: tuple[int, ...], bound: BoundSaga | None
    ) -> None:
        """Add the operations of a child saga under their new names, with what they were given."""
        operations, names = tuple(child._operations), child._names.all().copy()
        base = len(self._operations)
        follows: Sequence[tuple[int, ...]] = chained(len(operations))[0]
        if any(operation.after for operation in operations):
            follows = [operation.after for operation in operations]
        for i, own_operation in enumerate(operations):
            after = tuple([j + base for j in follows[i]]) or before
            name, scope = prefix + names[i], prefix + own_operation.scope
            operation = own_operation
            if bound is not None:
                operation, scope = bound.filled(own_operation, scope, name)
                needs = [need for need in operation.action[NEEDS] if need in bound.results]
                after = tuple(dict.fromkeys((*after, *self._edges((), needs, base + 1))))
            self._names.give(name)
            self._operations.append(
                Operation.of(
                    prefix + operation.label,
                    operation.action,
                    operation.compensation,
                    after,
                    self._inherited(operation.policy),
                    scope,
                )
            )
        self._has_holes = self._has_holes or bool(users(self._operations[base:], self._names))

    def _inherited(self, policy: Policy) -> Policy:
        """Let this saga's retries hold where the child and its operation say nothing."""
        return policy if self._policy is PLAIN else policy.falling_back_on(self._policy)

    def _check_name(self, name: Any, position: int) -> str:
        where = f"operation {position}: name"
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or {":", "."} & {*name}:
            raise refused(where, f'1 to {MAX_NAME} characters without ":" and "."', name)
        if self._names.get(name) is not None:
            raise refused(where, "a name that no other operation has", name)
        return name

    def _check_pivot(self, pivot: object, position: int) -> bool:
        if not isinstance(pivot, bool):
            raise refused(f"operation {position}: pivot", "True or False", pivot)
        if pivot and self._pivot >= 0:
            other = self._names.all()[self._pivot]
            message = f"operation {position}: a saga has one pivot, and {other!r} is it"
            raise SagaDefinitionError(message)
        return pivot

    def _place(self, name: object, position: int, where: str) -> int | Layout:
        """Find the operation or child saga that a name means."""
        if not isinstance(name, str):
            raise refused(f"operation {position}: {where}", "the name of an operation", name)
        place = self._names.get(name)
        if name in self._names.shared:
            message = (
                f"operation {position}: {where} {name!r}: several operations share this name; "
                "give them names of their own with name="
            )
            raise SagaDefinitionError(message)
        if place is None:
            known = ", ".join(list(self._names.places)[:_SHOWN]) or "none"
            message = (
                f"operation {position}: {where}: expected the name of an operation declared "
                f"before ({known}), got {name[:MAX_NAME]!r}"
            )
            raise SagaDefinitionError(message)
        return place

    def _edges(
        self, after: str | Iterable[str], needs: Iterable[str], position: int
    ) -> tuple[int, ...]:
        """Give the operations that an operation comes after."""
        names = (after,) if isinstance(after, str) else after
        try:
            places = [self._place(name, position, "after") for name in names]
        except TypeError:
            raise refused(f"operation {position}: after", "names of operations", after) from None
        places += [
            self._needed(name, f"operation {position}: the action", position) for name in needs
        ]
        edges = [i for place in places for i in self._ends(place)]
        return tuple(dict.fromkeys(edges))

    def _needed(self, name: str, where: str, position: int) -> int | Layout:
        """Find the operation whose result an action needs."""
        if name == OWN:
            message = (
                f"{where}: result_of() is the operation's own result, which only its compensation "
                "can have"
            )
            raise SagaDefinitionError(message)
        return self._place(name, position, "result_of")

    def _ends(self, place: int | Layout) -> Iterable[int]:
        """Give the last operations of a child saga, after which nothing in it comes."""
        if isinstance(place, int):
            return (place,)
        inside = list(place.indexes())
        followed = {j for i in inside for j in self._operations[i].after}
        return [i for i in inside if i not in followed]

    def _check_undo(self, undo: Call, name: str, position: int) -> Call:
        """Check the names in a compensation; the operation's own becomes `OWN`."""
        function, args, keywords, needs, is_async = undo
        for need in needs:
            if need not in (OWN, name):
                self._place(need, position, "result_of")
        self._has_holes = self._has_holes or type(needs) is Filling
        return function, args, keywords, own(needs, name), is_async

    def _note_async(self, role: str, position: int) -> None:
        self._async = self._async or f"operation {position}: the {role} is a coroutine function"

    def given(self, /, **arguments: Any) -> BoundSaga:
        """Give the operations what `given("…")` stands for in them, for one run or several.

        The saga itself stays as it is: it is written once, for all runs. What can be checked of it
        is checked the first time.

        Args:
            arguments: A value for each name; it is not copied. It holds no placeholder, unless
                another saga takes this one in: `operation(child.given(article=result_of("pick")))`
                fills what the child wants by what is known in the other saga.

        Returns:
            The operations with these arguments, which can be executed.

        Raises:
            SagaDefinitionError: A name is missing, or nothing uses it; an argument does not have
                such an item or attribute as is wanted of it; or there are no operations.
        """
        template = self._template
        if template is None or template.size != len(self._operations):
            self._template = template = self.__copy__()._as_template()  # noqa: SLF001 - ours
        return BoundSaga(self, template, arguments)

    def _as_template(self) -> Template:
        """Put numbers in the place of the names of what is given, in a copy nobody else has."""
        numbering = Numbering()
        self._operations = [*map(numbering.operation, self._operations)]
        self._template = None
        return Template(self, numbering)

    # --- running ---------------------------------------------------------------------------------

    def _run(
        self,
        definition: Definition,
        saga_id: str | None,
        deadline: float | None,
        drive_late: Callable[[Run], object],
        journal: Journal | None = None,
        limit: int | None = None,
    ) -> Run:
        if self._has_holes and type(definition) is Definition:
            self._refuse_holes()
        if saga_id is not None:
            _check_saga_id(saga_id)
        if deadline is not None:
            seconds(deadline, "deadline")
        observers = tuple(self.observers)
        if journal is None:
            journal = self.journal
        elif self.journal is not None and hasattr(journal, "await_rest"):
            raise refused(
                "saga: journal", "none beside an engine, which keeps the saga itself", None
            )
        if journal is None:
            run: Run = Run(definition, self.name, observers, saga_id, deadline, drive_late)
            around = self.around
            return surround(run, check_around(around, "saga")) if around else run
        definition.on_crash = _on_crash(self.on_crash)
        age = seconds(self.max_doubt_age, "saga: max_doubt_age")
        in_loop = drive_late is not make_calls and drive_late is not nobody
        journal = check_beginning(journal, "saga")
        begun = durable()
        recorder = begun.begin(
            journal, definition, self.name, saga_id, deadline, age, limit, in_loop
        )
        run = begun.DurableRun(definition, self.name, observers, deadline, drive_late, recorder)
        around = self.around
        return surround(run, check_around(around, "saga")) if around else run

    def _refuse_holes(self) -> None:
        """Refuse to run what wants arguments that were not given."""
        wanted = users(self._operations, self._names)
        if wanted:  # a hole may have been in an operation that was refused
            uses = [f"{name} (in {', '.join(using[:_SHOWN])})" for name, using in wanted.items()]
            message = (
                f"the saga wants arguments that it was not given: {', '.join(uses[:_SHOWN])}; "
                f"give them and run what that returns: saga.given({next(iter(wanted))}=…)"
            )
            raise SagaDefinitionError(message)

    def _chain(self) -> Definition:
        definition = Definition()
        definition.operations = operations = tuple(self._operations)
        if not operations:
            _refuse_empty()
        definition.after, definition.followers, definition.firsts = chained(len(operations))
        definition.is_chain = True
        definition.names, definition.pivot = self._names, self._pivot
        definition.layout = self._layout() if self._children else None
        definition.on_crash = "resume"
        return definition

    def _layout(self) -> Layout:
        """Lay out the results: a place for each operation, and one for each child saga."""
        names, places, items = self._names.all(), dict[str, int](), list[int | Layout]()
        children = {start: (name, child) for start, name, child in self._children}
        i = 0
        while i < len(names):
            if i in children:
                name, child = children[i]
                places[name] = len(items)
                items.append(child)
                i += len(list(child.indexes()))
            else:
                if not self._names.sharing(names[i], len(names)):
                    places[names[i]] = len(items)
                items.append(i)
                i += 1
        return Layout(places, tuple(items))

    def _graph(self) -> Definition:
        definition = self._chain()
        operations, pivot = definition.operations, definition.pivot
        after, followers = graphed(operations)
        if pivot >= 0:
            names = self._names.all()
            around = reachable(pivot, after) | reachable(pivot, followers) | {pivot}
            for i in range(len(operations)):
                if i not in around:
                    message = (
                        f"operation {i + 1}, {names[i]!r}: expected to come before or after "
                        f"the pivot {names[pivot]!r}, got neither; say which with after="
                    )
                    raise SagaDefinitionError(message)
        for i, operation in enumerate(operations):
            if operation.compensation is not None and operation.compensation[NEEDS]:
                self._check_ancestors(i, operation, operation.compensation, after)
        definition.after, definition.followers, definition.is_chain = after, followers, False
        return definition

    def _check_ancestors(
        self, i: int, operation: Operation, undo: Call, after: Sequence[Sequence[int]]
    ) -> None:
        known = reachable(i, after)
        for need in undo[NEEDS]:
            place = i if need == OWN else self._names.get(operation.scope + need)
            if place is not None and place != i and not known.issuperset(self._ends(place)):
                message = (
                    f"operation {i + 1}, {self._names.all()[i]!r}: the compensation uses "
                    f"result_of({need!r}), which need not be known when operations run at once: "
                    f"expected an operation that this one comes after; say so with after="
                )
                raise SagaDefinitionError(message)

    # --- looking ---------------------------------------------------------------------------------

    def __repr__(self) -> str:
        names = self._names.all()
        shown = [_described(op, i, names) for i, op in enumerate(self._operations[:_SHOWN])]
        more = len(self._operations) - len(shown)
        arrow = ", " if any(operation.after for operation in self._operations) else " → "
        flow = arrow.join(shown) + (f" … and {more:,} more" if more else "")
        name = f" {self.name!r}" if self.name else ""
        return f"<{type(self).__name__}{name}: {flow or 'no operations'}>"


class SagaAssembler(Saga):
    """A `Saga` under the predecessor's name, with its `saga()` and its `SagaException`."""

    SagaException = SagaException

    @classmethod
    def saga(cls, retry_attempts: int | None = None, **options: Unpack[SagaOptions]) -> Self:
        """Start an empty saga; the arguments are those of the constructor."""
        return cls(retry_attempts, **options) if options else cls(retry_attempts)


def _refuse_empty() -> Never:
    raise SagaDefinitionError("Set operation first to execute the saga.")


def _on_crash(value: Any) -> Literal["resume", "compensate"]:
    if value in ("resume", "compensate"):
        checked: Literal["resume", "compensate"] = value
        return checked
    raise refused("saga: on_crash", '"resume" or "compensate"', value)


def _described(operation: Operation, i: int, names: Sequence[str]) -> str:
    text = in_line(names[i])
    if operation.compensation is not None:
        text += f" ⇄ {in_line(label_of(operation.compensation[FUNCTION]))}"
    if operation.after:
        text += f" (after {', '.join(in_line(names[j]) for j in operation.after)})"
    return text


def _check_saga_id(saga_id: object) -> None:
    if not isinstance(saga_id, str) or not re.fullmatch(_SAGA_ID, saga_id):
        expected = (
            '1 to 128 letters, digits, "_", "." and "-"; not "-" at the beginning, which would be '
            'an option of a command, nor "." or "..", which are folders'
        )
        raise refused("saga_id", expected, saga_id)


def _saga_name(name: object) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
        raise refused("saga: name", f"1 to {MAX_NAME} characters", name)
    return name


def _observers(observers: object) -> tuple[Observer, ...]:
    if not isinstance(observers, (list, tuple)) or not all(map(callable, observers)):
        raise refused("saga: observers", "a list or tuple of functions of an event", observers)
    return tuple(observers)


def _attempts(value: Any) -> Retry | None:
    """Read `retry_attempts` as the predecessor did, less what never worked."""
    if not isinstance(value, (int, float)):
        message = f"`retry_attempts` cannot be {type(value)} type. Integer type is required."
        raise SagaDefinitionError(message)
    if not 0 <= value < _ENDLESS or value != int(value):  # NaN is not within either
        raise refused("saga: retry_attempts", "a whole number, not negative", value)
    return immediately(int(value) or 1)


def _retry(value: object, where: str) -> Retry | None:
    if value is None:
        return None
    if isinstance(value, Retry):
        return value
    raise refused(where, "a Retry or None", value)


def _on_doubt(value: Any, do: Call, position: int) -> tuple[bool, Call | None]:
    """Read `on_doubt=`: whether to park, and what to ask."""
    if isinstance(value, str) and value in ("proceed", "park"):
        return value == "park", None
    if isinstance(value, (str, Placeholder)) or not callable(value):
        where = f"operation {position}: on_doubt"
        raise refused(
            where, '"proceed", "park" or a function that is called like the action', value
        )
    call = partial(value, *do[ARGS], **do[KEYWORDS])
    return False, read_call(call, "on_doubt", position)
