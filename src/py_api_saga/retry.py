"""When to call again what has failed.

Written by hand: `dataclasses`, which would write half of it, takes longer to import than the whole
library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Never,
    Self,
    TypeAlias,
    TypeVar,
    dataclass_transform,
)

from py_api_saga.evidence import each_is
from py_api_saga.exceptions import MAX_SECONDS, refused, seconds
from py_api_saga.placeholder import Placeholder

if TYPE_CHECKING:
    from dataclasses import KW_ONLY, Field
    from datetime import timedelta

WAITS = ("wait_initial", "wait_max", "wait_jitter", "wait_exp_base")
T = TypeVar("T")
if TYPE_CHECKING:
    RetryWhen: TypeAlias = Callable[[Exception], bool | float | timedelta]
else:  # datetime would be a twentieth of what it takes to import the library
    RetryWhen = Callable[[Exception], Any]
RetryOn: TypeAlias = type[Exception] | tuple[type[Exception], ...] | RetryWhen


@dataclass_transform(frozen_default=True)
def _frozen(kind: type[T], /) -> type[T]:
    """Tell type checkers that a class is like a frozen dataclass."""
    return kind


class _AsDataclass:
    """What `dataclasses` asks of a class of its own, made when it asks: for `replace`, `fields`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, policy: Retry | None, owner: type[Retry]) -> Any:
        from dataclasses import field, make_dataclass  # noqa: PLC0415 - whoever asks has it

        types, options = Retry.__init__.__annotations__, Retry.__init__.__kwdefaults__ or {}
        fields: list[Any] = [("on", types["on"])]
        for name, default in options.items():
            fields.append((name, types[name], field(default=default, kw_only=True)))
        return getattr(make_dataclass("Retry", fields, frozen=True), self.name)


@_frozen
class Retry:
    """When to call again what has failed, and how long to wait before.

    The wait before attempt *n + 1* is `wait_initial * wait_exp_base ** (n - 1)` plus a random part
    of up to `wait_jitter`, together at most `wait_max`. Nothing waits after the last attempt.

    Args:
        on: Exception types that are worth another attempt, or a function that is given the
            error and returns whether to go on or, instead of the wait above, the seconds (or a
            `timedelta`) to wait, as a `Retry-After` header would say. An `ExceptionGroup` is of
            these types if each of its members is; what an error was raised from does not count.
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

    OPTIONS: ClassVar = ("attempts", "timeout", *WAITS)

    __slots__ = ("on", *OPTIONS)
    __match_args__ = ("on",)
    if TYPE_CHECKING:  # so that a dataclass can be made of it, with options that have defaults
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
        on: RetryOn
        _: KW_ONLY
        attempts: int | None = 3
        timeout: float | None = None
        wait_initial: float = 0.1
        wait_max: float = 5.0
        wait_jitter: float = 1.0
        wait_exp_base: float = 2.0
    else:
        __dataclass_fields__ = _AsDataclass()
        __dataclass_params__ = _AsDataclass()

    def __init__(
        self,
        on: RetryOn,
        *,
        attempts: int | None = 3,
        timeout: float | None = None,
        wait_initial: float = 0.1,
        wait_max: float = 5.0,
        wait_jitter: float = 1.0,
        wait_exp_base: float = 2.0,
    ) -> None:
        self.__setstate__(
            (on, attempts, timeout, wait_initial, wait_max, wait_jitter, wait_exp_base)
        )
        self._check()

    def _check(self) -> None:
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
        for name in WAITS:
            if getattr(self, name) is None:
                raise refused(f"Retry: {name}", "a number", None)
            seconds(getattr(self, name), f"Retry: {name}")

    def __getstate__(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in Retry.__slots__)

    def __setstate__(self, values: tuple[Any, ...]) -> None:
        for name, value in zip(Retry.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> Never:
        message = f"cannot assign to field {name!r}: a Retry is frozen; make another one"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> Never:
        message = f"cannot delete field {name!r}: a Retry is frozen"
        raise AttributeError(message)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        return hash(self.__getstate__())

    def __repr__(self) -> str:
        fields = zip(Retry.__slots__, self.__getstate__(), strict=True)
        return (
            f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in fields)})"
        )

    def __replace__(self, **changes: Any) -> Self:
        """Make another one, as `copy.replace` and `dataclasses.replace` do."""
        return type(self)(**{name: getattr(self, name) for name in Retry.__slots__} | changes)

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
        rule = self.with_answers(error, attempt)
        kinds: Any = rule.on
        if not (isinstance(error, kinds) or _each_is(error, kinds)):
            return None
        try:
            wait = rule.wait_initial * rule.wait_exp_base ** (attempt - 1)
        except OverflowError:  # beyond a thousand attempts or so
            wait = rule.wait_max
        wait = min(rule.wait_max, wait + rule.wait_jitter * chance)
        return None if rule.timeout is not None and elapsed + wait > rule.timeout else wait

    def with_answers(self, error: Exception, attempt: int) -> Retry:
        """Give what decides the same of this failed attempt, and asks no function of the user's.

        Raises:
            Exception: What the function in `on` raised. After the last attempt it is not asked.
            TypeError: That function returned something else than bool, number or timedelta.
        """
        is_last = self.attempts is not None and attempt >= self.attempts
        if isinstance(self.on, (type, tuple)) or is_last:
            return self
        again: object = self.on(error)
        if again is True:
            return self.__replace__(on=Exception)
        if again is False:
            return self.__replace__(on=())
        again = getattr(again, "total_seconds", lambda: again)()  # of a timedelta
        if isinstance(again, (int, float)) and 0 <= again <= MAX_SECONDS:
            seconds = float(again)
            return self.__replace__(
                on=Exception,
                wait_initial=seconds,
                wait_max=seconds,
                wait_jitter=0.0,
                wait_exp_base=1.0,
            )
        message = f"the function in Retry(on=...) must return a bool or seconds, got {again!r}"
        raise TypeError(message)


def _each_is(error: Exception, kinds: type[Exception] | tuple[type[Exception], ...]) -> bool:
    """Tell whether an error is a group, and each of its members, at any depth, is of these."""
    if not isinstance(error, BaseExceptionGroup):
        return False
    return each_is(error, lambda member: isinstance(member, kinds))


def immediately(attempts: int) -> Retry:
    """Read the predecessor's `retry_attempts`: attempts in all, with no wait, on any error."""
    return Retry(Exception, attempts=attempts, wait_initial=0, wait_max=0, wait_jitter=0)
