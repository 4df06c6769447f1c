"""Whether an error leaves doubt about its call: it may have happened all the same.

Here it is decided, in `DoubtfulErrors.includes`: what the error says itself (`saga_outcome`) comes
first, then what `doubtful=` says of the operation. Without that the evidence decides, in
`leaves_doubt`: an error is seldom alone. It may be a group, it was raised from another one or while
another one was handled, and libraries wrap what they were told by those below them. Each of these
is a *link*. `error_details` says what one link tells by itself, and `known_errors` has the names of
those of which more is known: an error of a library that is to leave doubt, or none, is added there.

The links below one are looked at in any case, but for those of a saga, which knows what it did.
Who asks is `executors.meaning`, when a call has raised something.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from py_api_saga.current import current
from py_api_saga.error_details import (
    ALONE,
    EXCUSED,
    SAGA,
    TIMED,
    args_of,
    cause_of,
    context_of,
    details,
    is_bare,
    is_of,
    is_plain,
    is_suppressed,
    members_of,
    outcome_of,
    read,
    traceback_of,
)
from py_api_saga.exceptions import RecordedError, SagaDefinitionError, SagaError, refused
from py_api_saga.kinds import lineage, name_of
from py_api_saga.known_errors import STREAM, UNSENT, WRAPPER
from py_api_saga.log import complain
from py_api_saga.placeholder import Placeholder

Predicate: TypeAlias = Callable[[Exception], bool]
DoubtfulError: TypeAlias = type[BaseException] | str | Predicate
Outside: TypeAlias = Callable[[BaseException], bool] | None
# Of a link: whether it leaves doubt, how those below it stand, and what else is to be seen.
Said: TypeAlias = tuple[bool, str, Sequence[BaseException]]

__all__ = ["leaves_doubt"]  # what a journal may name

MOST_LINKS = 100  # one below the other: where so many are, nobody knows what they hide
MOST_SEEN = 100_000  # in all
_OVER = "over"  # what is below a link is not looked at
_OUR_FRAMES = "py_api_saga.executors."


# --- what `doubtful=` says ----------------------------------------------------------------------


class DoubtfulErrors:
    """A set of errors: classes, names of those of libraries not imported here, and functions.

    Attributes:
        types: Classes.
        names: As "module.Class".
        predicates: Functions of an error; of what a call raised, and of nothing below that.
    """

    def __init__(
        self,
        types: tuple[type[BaseException], ...],
        names: frozenset[str] = frozenset(),
        predicates: tuple[Predicate, ...] = (),
    ) -> None:
        """Mean these."""
        self.types, self.names, self.predicates = types, names, predicates

    def __repr__(self) -> str:
        names = [kind.__name__ for kind in self.types]
        functions = [getattr(it, "__qualname__", type(it).__name__) for it in self.predicates]
        return f"<{', '.join([*names, *sorted(self.names), *functions])}>"

    def includes(self, error: Exception, handled: BaseException | None = None) -> bool:
        """Tell whether an error leaves doubt: what it says itself comes before what is meant.

        Args:
            error: What a call raised.
            handled: What its caller was handling, which is below the error but none of the call's.
        """
        if self is DOUBTFUL and is_plain(error, handled):
            return False
        try:
            said = outcome_of(error)
            if said is None:
                said = self._match(error, outside_of(handled))
        except Exception as raised:  # noqa: BLE001 - an error may be odder than any we know
            complain("an error could not be judged: its action is in doubt", error=raised)
            return True
        return said

    def with_answers(self, error: Exception, handled: BaseException | None) -> DoubtfulErrors:
        """Give what says the same of this error, and asks no function of the user's."""
        return _Said(self.includes(error, handled)) if self.predicates else self

    def _match(self, error: Exception, outside: Outside) -> bool:
        if (self.types or self.names) and _hides(error, outside, self._means):
            return True
        return any(_says(predicate, error) for predicate in self.predicates)

    def includes_all_of(self, error: Exception) -> bool:
        """Tell whether an error is one of these or, of a group, each of its members is."""
        return each_is(error, self._means)

    def _means(self, error: BaseException) -> bool:
        if type(error) is RecordedError:
            return error.kind in (*self.names, *map(name_of, self.types))
        bases = lineage(type(error))
        return any(base is meant for base in bases for meant in self.types) or any(
            name_of(base) in self.names for base in bases
        )


def _says(predicate: Predicate, error: Exception) -> bool:
    """Ask a function of the user's; doubt if it raises, or gives what would have to be awaited."""
    try:
        said = predicate(error)
        if hasattr(type(said), "__await__"):
            close = getattr(said, "close", None)
            if close is not None:
                close()
            message = "it returned an awaitable"
            raise TypeError(message)  # noqa: TRY301 - handled as if it had raised it
        return bool(said)
    except Exception as raised:  # noqa: BLE001 - of the user's
        complain("a function in doubtful= raised: the action is in doubt", error=raised)
        return True


class _Said(DoubtfulErrors):
    """What was said of one error."""

    def __init__(self, said: bool) -> None:  # noqa: FBT001 - it is all that there is
        super().__init__(())
        self._said = said

    def includes(self, _: Exception, __: BaseException | None = None) -> bool:
        """Tell what was said."""
        return self._said


class _Default(DoubtfulErrors):
    """What leaves doubt unless `doubtful=` is given. There is one, also in a pickle or a copy."""

    def __repr__(self) -> str:  # which a signature shows
        return "<leaves_doubt: TimeoutError, ConnectionResetError, httpx.ReadTimeout, …>"

    def __reduce__(self) -> str:
        return "DOUBTFUL"

    def _match(self, error: Exception, outside: Outside) -> bool:
        return _leaves_doubt(error, outside)


DOUBTFUL = _Default(())


def read_doubtful(value: object, where: str) -> DoubtfulErrors:
    """Read `doubtful=`: exception types, names of them as "module.Class", functions of an error."""
    if isinstance(value, DoubtfulErrors):
        return value
    given = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    types, names, predicates = [], set(), []
    for item in given:
        if isinstance(item, type) and issubclass(item, BaseException):
            types.append(item)
        elif isinstance(item, str) and "." in item and ":" not in item:
            names.add(item)
        elif callable(item) and not isinstance(item, (type, Placeholder)):
            predicates.append(_plain(item, where))
        else:
            expected = 'exception types, their names as "module.Class", or functions of an error'
            raise refused(where, expected, item)
    return DoubtfulErrors(tuple(types), frozenset(names), tuple(predicates))


def _plain(function: Any, where: str) -> Any:
    """Refuse a function whose answer would have to be awaited: doubt is settled at once."""
    import inspect  # noqa: PLC0415 - 9 ms, and few sagas have such a function

    inner = function
    while isinstance(inner, partial):
        inner = inner.func
    for code in (inner, getattr(type(inner), "__call__", None)):  # noqa: B004 - no test for callable
        if inspect.iscoroutinefunction(code):
            what = "a coroutine function"
        elif inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
            what = "a generator function"
        else:
            continue
        message = f"{where}: expected a function that returns whether it is in doubt, got {what}"
        raise SagaDefinitionError(message)
    return function


# --- the evidence: what decides by default -------------------------------------------------------


def leaves_doubt(error: BaseException) -> bool:
    """Tell whether an action that raised an error may have happened all the same.

    It decides where `doubtful=` does not say otherwise. Call it in a function of yours that
    `doubtful=` is given and that decides a bit differently, or in an action. In both, what the
    caller of the saga was handling when the action began does not count.

    Args:
        error: What was raised. What it was raised from, or in the handling of, counts as well, and
            so does each member of a group.

    Returns:
        Whether nothing proves that it did not happen, of an error that leaves this open.
    """
    said = outcome_of(error)
    return _leaves_doubt(error, _of_callers()) if said is None else said


def outside_of(error: BaseException | None) -> Outside:
    """Tell links of what a caller is handling, whose contexts it was handling too."""
    outside = set[int]()
    while error is not None and id(error) not in outside:
        outside.add(id(error))
        error = context_of(error)
    return (lambda link: id(link) in outside) if outside else None


def _of_callers() -> Outside:
    """Tell links of what the callers of the attempt that runs here are handling.

    Whoever handles an error has caught it in a frame of theirs, which is the first it has passed.
    To note at the beginning of each attempt what is being handled would cost each of them.
    """
    frame = None if current.get() is None else sys._getframe(2)  # noqa: SLF001
    while frame is not None and not str(frame.f_globals.get("__name__")).startswith(_OUR_FRAMES):
        frame = frame.f_back
    callers = set[int]()
    while frame is not None and (frame := frame.f_back) is not None:
        callers.add(id(frame))

    def is_outside(link: BaseException) -> bool:
        traceback = traceback_of(link)
        return traceback is not None and id(traceback.tb_frame) in callers

    return is_outside if callers else None


def _leaves_doubt(error: BaseException, outside: Outside) -> bool:
    """Tell whether an error is, or hides, one that leaves open whether its call has happened."""
    wrappers: list[BaseException] = []
    inside: dict[int, list[BaseException]] = {}
    known: set[int] = set()

    def judge(link: BaseException, stands: str, held: list[BaseException]) -> Said:
        kind, doubt, more = details(link, stands)
        if doubt is None:
            wrappers.append(link)
        elif kind is not None:
            known.add(id(link))
        # What a library has wrapped it holds; redis-py lets it be raised beside.
        beside = () if kind is WRAPPER else _beside(link)
        inside[id(link)] = [*held, *beside, *_members_of(link)]
        if kind is SAGA:
            return bool(doubt), _OVER, more
        if kind is UNSENT or (kind is STREAM and stands is EXCUSED):
            below = EXCUSED
        else:
            below = TIMED if type(link) is TimeoutError else ALONE
        return bool(doubt), below, more

    return _walk(error, outside, judge) or not all(
        _knows(wrapper, inside, known) for wrapper in wrappers
    )


def _knows(wrapper: BaseException, inside: dict[int, list[BaseException]], known: set[int]) -> bool:
    """Tell whether something known is inside of what a library wraps its errors in."""
    todo: list[BaseException] = [*inside[id(wrapper)]]
    seen = {id(wrapper)}
    while todo:
        link = id(todo.pop())
        if link in known:
            return True
        if link not in seen:
            seen.add(link)
            todo += inside.get(link, ())
    return False


def links_of(error: BaseException) -> list[BaseException]:
    """Give an error and all that it hides, what is outermost first; but not what is its caller's.

    To be called by a function that a call's error is judged by, as `leaves_doubt` is.
    """
    links: list[BaseException] = []

    def judge(link: BaseException, _: str, __: object) -> Said:
        links.append(link)
        return False, _OVER if is_of(link, SagaError) else ALONE, ()

    _walk(error, _of_callers(), judge)
    return links


# --- the walk --------------------------------------------------------------------------------


def _walk(
    error: BaseException,
    outside: Outside,
    judge: Callable[[BaseException, str, list[BaseException]], Said],
) -> bool:
    """Look at an error and the links below it until one leaves doubt, or there are too many.

    Args:
        error: What the call raised.
        outside: Tells of a link whether it is none of the call's, but of its caller's.
        judge: Is given a link, how it stands to the one above it, and the links that it holds.
    """
    todo = [(error, 0, ALONE)]
    seen: dict[tuple[int, str], BaseException] = {}  # kept, so that their ids stay their own
    while todo:
        link, depth, stands = todo.pop()
        if (id(link), stands) in seen:
            continue
        if depth > MOST_LINKS or len(seen) > MOST_SEEN:
            return True
        seen[id(link), stands] = link
        held = _held_by(link)
        doubt, below, more = judge(link, stands, held)
        if doubt:
            return True
        todo += [(other, depth + 1, ALONE) for other in more]
        if below is _OVER:
            continue
        for other in (*held, *_beside(link)):
            if outside is None or not outside(other):
                todo.append((other, depth + 1, below))
        todo += [(member, depth, ALONE) for member in _members_of(link)]
    return False


def _held_by(link: BaseException) -> list[BaseException]:
    """Give what an error was made of, as libraries and `raise … from` put it there."""
    held = [cause_of(link)]
    if not is_bare(link):
        held += [read(link, name) for name in ("reason", "original_error", "orig")]
    for arg in args_of(link)[:4]:
        kind = type(arg)
        if kind is not str and kind is not int:
            held.append(arg if issubclass(kind, BaseException) else read(arg, "reason"))
    return [thing for thing in held if thing is not None and is_of(thing, BaseException)]


def _beside(link: BaseException) -> Sequence[BaseException]:
    """Give what was being handled when an error was raised, unless it was raised `from` another."""
    context = None if is_suppressed(link) else context_of(link)
    return () if context is None else (context,)


def _members_of(link: BaseException) -> Sequence[BaseException]:
    return members_of(link) if is_of(link, BaseExceptionGroup) else ()


def _hides(
    error: BaseException, outside: Outside, is_meant: Callable[[BaseException], bool]
) -> bool:
    """Tell whether an error is, or hides, one that is meant."""

    def judge(link: BaseException, _: str, __: object) -> Said:
        return is_meant(link), _OVER if is_of(link, SagaError) else ALONE, ()

    return _walk(error, outside, judge)


# --- groups ----------------------------------------------------------------------------------


def each_is(error: BaseException, is_meant: Callable[[BaseException], bool]) -> bool:
    """Tell whether an error is meant or, of a group, each of its members is, at any depth."""
    todo = [error]
    while todo:
        link = todo.pop()
        if not is_meant(link):
            members = _members_of(link)
            if not members:
                return False
            todo += members
    return True
