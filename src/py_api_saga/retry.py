"""When to call again what has failed, and which errors leave open what came of a call."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from py_api_saga.exceptions import refused
from py_api_saga.placeholder import Placeholder

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta


MAX_SECONDS = 1_000_000_000  # 31 years; the clocks that we wait on overflow at 292


def seconds(value: object, where: str) -> float | None:
    """Check an optional number of seconds."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and type(value) is not bool and 0 <= value <= MAX_SECONDS:
        return value
    raise refused(where, f"seconds (a number from 0 to {MAX_SECONDS:,}) or None", value)


class ErrorTypes(NamedTuple):
    """A set of exception types: classes and, for those of libraries not imported here, names."""

    types: tuple[type[BaseException], ...]
    names: frozenset[str] = frozenset()  # "module.Class"
    exempt: frozenset[str] = frozenset()  # likewise: what is not meant, though a base class is

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


@lru_cache(maxsize=64)  # a process meets few types of errors, and these again and again
def _is_among(meant: ErrorTypes, kind: type[BaseException]) -> bool:
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


RetryWhen: TypeAlias = "Callable[[Exception], bool | float | timedelta]"
RetryOn: TypeAlias = "type[Exception] | tuple[type[Exception], ...] | RetryWhen"


@dataclass(frozen=True, slots=True)
class Retry:
    """When to call again what has failed, and how long to wait before.

    The wait before attempt *n + 1* is `wait_initial * wait_exp_base ** (n - 1)` plus a random part
    of up to `wait_jitter`, together at most `wait_max`. Nothing waits after the last attempt.

    Args:
        on: Exception types that are worth another attempt, or a function that is given the
            error and returns whether to go on or, instead of the wait above, the seconds (or a
            `timedelta`) to wait, as a `Retry-After` header would say.
        attempts: Attempts in all; None for no limit.
        timeout: Seconds from the start of the first attempt after which none is started.
        wait_initial: Seconds.
        wait_max: Seconds.
        wait_jitter: Seconds.
        wait_exp_base: How many times longer each wait is than the one before.

    Raises:
        SagaDefinitionError: A value is out of range, or of the wrong type.

    Source:
        The names, the formula and the defaults of the waits are those of `stamina`.
    """

    on: RetryOn
    _: KW_ONLY
    attempts: int | None = 3
    timeout: float | None = None
    wait_initial: float = 0.1
    wait_max: float = 5.0
    wait_jitter: float = 1.0
    wait_exp_base: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what would be found out only in the middle of a failure."""
        expected = "exception types or a function of the error"
        on: Any = self.on  # whatever a caller without a type checker has given
        if isinstance(on, (tuple, type)):
            for kind in on if isinstance(on, tuple) else (on,):
                if not (isinstance(kind, type) and issubclass(kind, Exception)):
                    raise refused("Retry: on", expected, kind)
        elif not callable(on) or isinstance(on, Placeholder):
            raise refused("Retry: on", expected, on)
        if self.attempts is not None and (type(self.attempts) is not int or self.attempts < 1):
            raise refused("Retry: attempts", "a whole number of at least 1, or None", self.attempts)
        seconds(self.timeout, "Retry: timeout")
        for name in ("wait_initial", "wait_max", "wait_jitter", "wait_exp_base"):
            if getattr(self, name) is None:
                raise refused(f"Retry: {name}", "a number", None)
            seconds(getattr(self, name), f"Retry: {name}")

    def after(self, error: Exception, attempt: int, elapsed: float, chance: float) -> float | None:
        """Decide what follows a failed attempt: the seconds to wait, or None for "give up".

        Args:
            error: What the attempt raised.
            attempt: Its number, from 1.
            elapsed: Seconds since the first attempt began.
            chance: A random number in [0, 1), for the jitter.

        Raises:
            Exception: What the function in `on` raised.
            TypeError: That function returned something else than bool, number or timedelta.
        """
        if self.attempts is not None and attempt >= self.attempts:
            return None
        wait = self._wait(error, attempt, chance)
        if wait is None or (self.timeout is not None and elapsed + wait > self.timeout):
            return None
        return wait

    def _wait(self, error: Exception, attempt: int, chance: float) -> float | None:
        if isinstance(self.on, (type, tuple)):
            again: object = isinstance(error, self.on)
        else:
            again = self.on(error)
        if again is True:
            try:
                wait = self.wait_initial * self.wait_exp_base ** (attempt - 1)
            except OverflowError:  # beyond a thousand attempts or so
                wait = self.wait_max
            return min(self.wait_max, wait + self.wait_jitter * chance)
        if again is False:
            return None
        again = getattr(again, "total_seconds", lambda: again)()  # of a timedelta: 1 ms to import
        if isinstance(again, (int, float)) and 0 <= again <= MAX_SECONDS:
            return float(again)
        message = f"the function in Retry(on=...) must return a bool or seconds, got {again!r}"
        raise TypeError(message)


def immediately(attempts: int) -> Retry:
    """Read the predecessor's `retry_attempts`: attempts in all, with no wait, on any error."""
    return Retry(Exception, attempts=attempts, wait_initial=0, wait_max=0, wait_jitter=0)
