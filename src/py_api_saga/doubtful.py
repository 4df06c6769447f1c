"""Which errors leave open what came of a call: what `doubtful=` says, and by default `evidence`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from py_api_saga.error_details import is_plain, outcome_of
from py_api_saga.evidence import Outside, among, each_is, in_doubt, outside_of
from py_api_saga.exceptions import RecordedError, SagaDefinitionError, refused
from py_api_saga.known_errors import lineage, name_of
from py_api_saga.log import complain
from py_api_saga.placeholder import Placeholder

Predicate: TypeAlias = Callable[[Exception], bool]
DoubtfulError: TypeAlias = type[BaseException] | str | Predicate


class ErrorTypes:
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

    def match(self, error: Exception, handled: BaseException | None = None) -> bool:
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

    def answered(self, error: Exception, handled: BaseException | None) -> ErrorTypes:
        """Give what says the same of this error, and asks no function of the user's."""
        return _Said(self.match(error, handled)) if self.predicates else self

    def _match(self, error: Exception, outside: Outside) -> bool:
        if (self.types or self.names) and among(error, outside, self._means):
            return True
        return any(_says(predicate, error) for predicate in self.predicates)

    def match_all(self, error: Exception) -> bool:
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


class _Said(ErrorTypes):
    """What was said of one error."""

    def __init__(self, said: bool) -> None:  # noqa: FBT001 - it is all that there is
        super().__init__(())
        self._said = said

    def match(self, _: Exception, __: BaseException | None = None) -> bool:
        """Tell what was said."""
        return self._said


class _Default(ErrorTypes):
    """What leaves doubt unless `doubtful=` is given. There is one, also in a pickle or a copy."""

    def __repr__(self) -> str:  # which a signature shows
        return "<leaves_doubt: TimeoutError, ConnectionResetError, httpx.ReadTimeout, …>"

    def __reduce__(self) -> str:
        return "DOUBTFUL"

    def _match(self, error: Exception, outside: Outside) -> bool:
        return in_doubt(error, outside)


DOUBTFUL = _Default(())


def error_types(value: object, where: str) -> ErrorTypes:
    """Read `doubtful=`: exception types, names of them as "module.Class", functions of an error."""
    if isinstance(value, ErrorTypes):
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
    return ErrorTypes(tuple(types), frozenset(names), tuple(predicates))


def _plain(function: Any, where: str) -> Any:
    """Refuse a function whose answer would have to be awaited: doubt is settled at once."""
    import inspect  # noqa: PLC0415 - 9 ms, and few sagas have such a function
    from functools import partial  # noqa: PLC0415 - as above

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
