"""Which errors leave open what came of a call."""

from __future__ import annotations

from py_api_saga.exceptions import refused

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from typing import Any


class ErrorTypes:
    """A set of exception types: classes and, for those of libraries not imported here, names.

    Attributes:
        types: Classes.
        names: As "module.Class".
        exempt: Likewise: what is not meant, though a base class is.
    """

    def __init__(
        self,
        types: tuple[type[BaseException], ...],
        names: frozenset[str] = frozenset(),
        exempt: frozenset[str] = frozenset(),
    ) -> None:
        """Mean these."""
        self.types, self.names, self.exempt = types, names, exempt

    def __repr__(self) -> str:
        names = [kind.__name__ for kind in self.types]
        return f"<{', '.join([*names, *sorted(self.names)])}>"

    def match(self, error: BaseException) -> bool:
        """Tell whether an error, or the reason that its library wraps, is one of them."""
        kind: Any = type(error)
        if not _is_among(self, kind):
            return False
        try:  # requests: ConnectionError(MaxRetryError(…, reason=…)); any error may look odd
            reason = getattr(error.args[0], "reason", None) if error.args else None
        except Exception:  # noqa: BLE001 - a property of the user's may raise anything
            return True
        return not (isinstance(reason, Exception) and _name_of(type(reason)) in self.exempt)


# A process meets few types of errors, and these again and again. By id, since the metaclass of one
# may compare in its own way; what is in here is kept, so that its id stays its own.
_known: dict[tuple[int, int], tuple[ErrorTypes, type, bool]] = {}
_MOST = 64


def _is_among(meant: ErrorTypes, kind: type[BaseException]) -> bool:
    key = id(meant), id(kind)
    known = _known.get(key)
    if known is None:
        if len(_known) >= _MOST:
            _known.clear()
        known = _known[key] = meant, kind, _is_one(meant, kind)
    return known[2]


def _is_one(meant: ErrorTypes, kind: type[BaseException]) -> bool:
    names = [_name_of(base) for base in kind.__mro__]
    if not meant.exempt.isdisjoint(names):
        return False
    return issubclass(kind, meant.types) or not meant.names.isdisjoint(names)


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


# What may leave an action's outcome unknown: the request may have arrived though no reply came.
# A connection that was never made is none of these: requests raises its ConnectionError for that
# too, with urllib3's reason inside.
DOUBTFUL = ErrorTypes(
    (TimeoutError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError),
    frozenset(
        {
            "requests.exceptions.ReadTimeout",
            "requests.exceptions.ConnectionError",
            "requests.exceptions.ChunkedEncodingError",
            "httpx.ReadTimeout",
            "httpx.WriteTimeout",
            "httpx.ReadError",
            "httpx.WriteError",
            "httpx.CloseError",
            "httpx.RemoteProtocolError",
        }
    ),
    frozenset(
        {
            "requests.exceptions.ConnectTimeout",
            "requests.exceptions.SSLError",
            "urllib3.exceptions.NewConnectionError",
            "urllib3.exceptions.ConnectTimeoutError",
            "urllib3.exceptions.NameResolutionError",
        }
    ),
)


def error_types(value: object, where: str) -> ErrorTypes:
    """Read `doubtful=`: exception types, or names of them as "module.Class"."""
    if isinstance(value, ErrorTypes):
        return value
    given = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    types, names = [], set()
    for item in given:
        if isinstance(item, type) and issubclass(item, BaseException):
            types.append(item)
        elif isinstance(item, str) and "." in item:
            names.add(item)
        else:
            raise refused(where, 'exception types or their names as "module.Class"', item)
    return ErrorTypes(tuple(types), frozenset(names))
