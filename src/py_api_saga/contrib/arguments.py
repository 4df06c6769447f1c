"""What no operation is called with: what belongs to a request, a transaction or a thread.

An operation may be called again later, in another process, after a crash, when a request is long
over; and in a thread meanwhile. So it is given what it looks things up by. That is refused when a
saga is built, with the field to pass instead; what nobody has imported is not of such a kind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from py_api_saga.assembler import SagaAssembler
from py_api_saga.bound import BoundSaga
from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.placeholder import Placeholder

_DEPTH = 4  # of lists in lists


class FrameworkSaga(SagaAssembler):
    """A saga of a framework's project, which looks at the arguments of its operations."""

    if not TYPE_CHECKING:  # for type checkers, and for `help`, it is that of every saga

        def operation(self, *calls: Any, **options: Any) -> Any:
            """Add an operation; see `Saga.operation`."""
            for call, role in zip(calls, ("action", "compensation"), strict=False):
                _check(call, f"operation {self._position}: the {role}")
            if "compensation" in options:
                where = f"operation {self._position}: the compensation"
                _check(options["compensation"], where)
            return super().operation(*calls, **options)

        operation.__wrapped__ = SagaAssembler.operation

    def given(self, /, **arguments: Any) -> BoundSaga:
        """Give the operations what `given("…")` stands for in them; see `Saga.given`."""
        for name, value in arguments.items():
            _refuse(value, f"given(): {name}")
        return super().given(**arguments)


def _check(call: Any, where: str) -> None:
    """Look at the arguments of a call, in whichever form it is."""
    if isinstance(call, partial):
        args, keywords = call.args, call.keywords
    elif isinstance(call, (tuple, list)):
        if call and isinstance(call[0], partial):
            _check(call[0], where)
        args, keywords = tuple(call[1:]), {}
    else:
        return
    for position, value in enumerate(args, 1):
        _refuse(value, f"{where}: argument {position}")
    for name, value in keywords.items():
        _refuse(value, f"{where}: {name}")


def _refuse(value: object, where: str) -> None:
    for one in _inside(value, _DEPTH):
        instead = _instead_of(one)
        if instead is not None:
            kind = type(one)
            message = (
                f"{where}: expected what an operation can be called with again, later and "
                f"elsewhere, got a {kind.__module__}.{kind.__qualname__}: {instead}"
            )
            raise SagaDefinitionError(message)


def _inside(value: object, depth: int) -> Iterable[object]:
    kind = type(value)
    if kind in (list, tuple, set, frozenset, dict) and depth:
        parts: Any = value.values() if isinstance(value, dict) else value
        for part in parts:
            yield from _inside(part, depth - 1)
    elif not isinstance(value, Placeholder):
        yield value


def _instead_of(value: object) -> str | None:
    """Say what to pass instead of something; None if it is fine."""
    for module, names, words in _KINDS:
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(
            value, tuple([getattr(loaded, name) for name in names])
        ):
            return words(value)
    attributes = getattr(value, "__dict__", None) or {}
    state = attributes.get("_sa_instance_state")  # SQLAlchemy's mark of what it has mapped
    if state is not None:
        return _keys([column.name for column in state.mapper.primary_key])
    return None


def _of_a_model(value: Any) -> str:
    return _keys([value._meta.pk.attname])  # noqa: SLF001 - Django's documented API for models


def _keys(names: Sequence[str]) -> str:
    fields = " and ".join(f".{name}" for name in names)
    return f"pass its {fields}, and get it again in the operation"


def _saying(words: str) -> Callable[[object], str]:
    return lambda _: words


_FIELDS = _saying("pass the fields of the request that the operation needs, such as the user's id")
_OPENED = _saying(
    "pass none: whatever opens one for each call is given to the saga, as around=; or open it in "
    "the operation"
)
_ROWS = _saying("pass the primary keys as a list, and query again in the operation")
_KINDS: Sequence[tuple[str, tuple[str, ...], Callable[[object], str]]] = (
    ("django.db.models", ("Model",), _of_a_model),
    ("django.db.models", ("QuerySet", "Manager"), _ROWS),
    ("django.http", ("HttpRequest", "HttpResponseBase"), _FIELDS),
    ("werkzeug.wrappers", ("Request", "Response"), _FIELDS),
    ("starlette.requests", ("HTTPConnection",), _FIELDS),
    ("sqlalchemy.orm", ("Session", "scoped_session"), _OPENED),
    ("sqlalchemy.engine", ("Connection",), _OPENED),
    (
        "sqlalchemy.ext.asyncio",
        ("AsyncSession", "AsyncConnection", "async_scoped_session"),
        _OPENED,
    ),
)
