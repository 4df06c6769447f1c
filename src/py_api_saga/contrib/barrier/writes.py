"""Local writes of an operation that count once: `once`.

The row of the write is inserted before the effect, so that whoever makes the same call a second
time waits for the first; both are committed together. A compensation inserts the row of the action
if that is not there, so that the action can't come any more.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from itertools import count
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, overload

from py_api_saga import clock
from py_api_saga.contrib.barrier import table
from py_api_saga.contrib.barrier.connections import (
    Autocommit,
    Hands,
    hands_of,
    is_of,
    is_of_database,
)
from py_api_saga.contrib.barrier.opening import AOpened, Opened, aopened, opened
from py_api_saga.contrib.barrier.table import DONE, MAX_KEY, ONCE, UNDONE, Kept, first_of, own
from py_api_saga.current import current, current_operation
from py_api_saga.entries import index_of
from py_api_saga.journal.format.functions import Functions, NotStorableError
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.journal.format.values import Values
from py_api_saga.operation import Later, later

P = ParamSpec("P")
R = TypeVar("R")

_NEW: Final = object()
_LATER: Final = "$later"  # no value is written with this key: what begins so in one is escaped
_calls = count()  # tells two calls apart, of which one may be where the other was in memory
_WRITES = ("INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "TRUNCATE")


class OnceError(RuntimeError):
    """Nothing was written: `once` was used where it can't count, or its value can't be stored."""

    saga_outcome = "not happened"


class AlreadyUndone(Exception):
    """The action was undone before it came, so it must not write any more; nothing was written."""

    saga_outcome = "not happened"


class _Nameless:
    """What values are written with where there is no journal."""

    names = Functions()
    codec = None


_NAMELESS = _Nameless()


# --- how it is used ------------------------------------------------------------------------------


@overload
def once(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def once(
    function: Callable[..., R], /, *args: Any, name: str | None = None, using: Any = "default"
) -> R: ...
@overload
def once(
    *, name: str | None = None, using: Any = "default"
) -> Callable[[Callable[..., R]], Callable[..., R]]: ...
def once(function: Any = None, /, *args: Any, name: str | None = None, using: Any = None) -> Any:
    """Have a function write to the database once, however often the saga calls its operation.

    `@once` or `@once(using=Session)` stands above an operation or a compensation;
    `once(function, *args, using=Session)` is a call in one. A transaction is opened, which notes
    the call, calls the function and commits both, with what it has returned. The second time the
    function is not called, and the first value is given.

    In a compensation the function is called only if the action has written. If it has not, it never
    will: from then on it raises `AlreadyUndone`. The two belong together by their names.

    Args:
        function: What writes. With SQLAlchemy it is given the session or connection first, and a
            coroutine function is awaited. Without other arguments it is decorated, and not called.
        args: The others that it is called with.
        name: Of the write: an operation that has several gives each a name, and its undo the same.
        using: Where it writes: an alias of Django's, "default" without one; or SQLAlchemy's
            `sessionmaker`, `scoped_session` or `Engine`, or for a coroutine function
            `async_sessionmaker`, `async_scoped_session` or `AsyncEngine`.

    Returns:
        What the function returns; it must be something that a journal may keep. None in a
        compensation that has found nothing to undo.

    Raises:
        OnceError: No operation is running, or it is a question of `on_doubt`; a transaction is open
            already, or the connection is in autocommit; a second write has the same name; the
            function wrote to another alias than `using`; its value can't be stored.
        AlreadyUndone: The action was undone before.
        TypeError: A coroutine function, and `using` is not one to await, as Django's `atomic`; or
            the other way round.
        Exception: What the function raises, or the database. What the database raises before
            COMMIT says that nothing has happened, and what comes out of COMMIT is in doubt. So is
            whatever the operation raises once a write of it has been committed.
    """
    if function is None:
        return lambda decorated: _decorated(decorated, name, using)
    if not callable(function):
        message = f"once: expected a function first, got {type(function).__name__}"
        raise TypeError(message)
    if args or name is not None or using is not None:
        return _called(function, args, {}, name, "default" if using is None else using)
    if current.get() is not None and _is_defined(function):
        message = (
            f"once({function.__qualname__}) with nothing else decorates a function, and calls "
            "nothing: call what it gives, or name the write: once(function, name=…)"
        )
        raise OnceError(message)
    return _decorated(function, name, using)


def _is_defined(function: Any) -> bool:
    """Tell whether a function is there already, and not just being decorated in its module."""
    return getattr(function, "__globals__", {}).get(function.__name__) is function


def _decorated(function: Any, name: str | None, using: Any) -> Any:
    using = "default" if using is None else using
    _check(function, using)
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def later(*args: Any, **keywords: Any) -> Any:
            return await _called(function, args, keywords, name, using)

        return later

    @wraps(function)
    def at_once(*args: Any, **keywords: Any) -> Any:
        return _called(function, args, keywords, name, using)

    return at_once


def _check(function: Any, using: Any) -> None:
    """Refuse what can be seen to be wrong before anything runs."""
    is_later = inspect.iscoroutinefunction(function)
    if is_later and isinstance(using, str):
        message = (
            "once: a coroutine function can't be within Django's atomic, which is of one thread: "
            "make it a plain function, which a saga under asyncio may have as an operation"
        )
        raise TypeError(message)
    later = "sqlalchemy.ext.asyncio"
    awaited = is_of(using, later, "async_sessionmaker", "AsyncEngine", "async_scoped_session")
    plain = not awaited and (
        is_of(using, "sqlalchemy.orm", "sessionmaker", "scoped_session")
        or is_of(using, "sqlalchemy", "Engine")
    )
    if (is_later and plain) or (awaited and not is_later):
        message = (
            "once: a coroutine function needs using= of an async_sessionmaker or AsyncEngine, and "
            "a plain one of what is not to be awaited; got a "
            f"{'coroutine' if is_later else 'plain'} function with {type(using).__qualname__}"
        )
        raise TypeError(message)


# --- one call ------------------------------------------------------------------------------------


def _called(
    function: Any, args: tuple[Any, ...], keywords: dict[str, Any], name: str | None, using: Any
) -> Any:
    """Make the call, or give what is to be awaited for it."""
    _check(function, using)
    write = _Write(function, name)  # here, where all calls of an operation are seen
    if inspect.iscoroutinefunction(function):
        return _later(write, function, args, keywords, using)
    return _at_once(write, function, args, keywords, using)


class _Write:
    """A write that is to count once, in the operation that is running."""

    def __init__(self, function: Any, name: str | None) -> None:
        try:
            operation = current_operation()
        except LookupError:
            message = (
                "once: no operation is running here, so there is no call that could count once; in "
                "a test, use `with py_api_saga.testing.operation():`"
            )
            raise OnceError(message) from None
        if operation.direction == "ask":
            message = "once: a function of on_doubt asks what has happened, and must write nothing"
            raise OnceError(message)
        running = current.get()
        assert running is not None  # noqa: S101 - it is the one of the operation above
        _, run, intent, _ = running
        end = "" if name is None else f";{name}"
        self._name = function.__qualname__
        # For whoever looks into the table: it may have another name in the next release.
        self._fingerprint = f"{ONCE}{function.__module__}.{self._name}"[:MAX_KEY]
        # A call that is made under a new key still counts once.
        first, self._since = run.origin(index_of(intent))
        self._action = own("once", first + end)
        self._is_undo = operation.direction == "compensation"
        undo = own("once", first_of(operation.idempotency_key) + end)
        self._key = undo if self._is_undo else self._action
        self._what = f"operation {operation.operation!r}"
        self._values = run.scribe or Values(_NAMELESS)
        self._sending = operation.sending()
        self._number(run.notes_of(intent).numbers, name)

    def note(self) -> None:
        """Note that it stands, or is about to: whatever the operation raises, that is in doubt."""
        self._sending.__enter__()

    def _number(self, numbers: dict[str, int], name: str | None) -> None:
        """Refuse a second write of the same name in one attempt, in whichever thread or task."""
        number = next(_calls)
        if numbers.setdefault(self._key, number) != number:
            named = "without a name" if name is None else f"named {name!r}"
            message = (
                f"{self._what} has two writes {named}, which can't be told apart: give each a name "
                "of its own, once(…, name='stock'), and its undo the same"
            )
            raise OnceError(message)

    def begin(self, hands: Hands) -> Any:
        """Insert the row; give the first value, or `_NEW` if the function is to be called."""
        hands.check()
        row = Kept(self._fingerprint, DONE, None)
        action = "" if self._is_undo else self._key
        if not table.add_if_missing(hands, self._key, action, row):
            return self._known(hands)
        if self._is_undo and not self._is_to_be_undone(hands):
            self.keep(hands, None)
            return None
        return _NEW

    def _known(self, hands: Hands) -> Any:
        kept = table.find(hands, self._key)
        if kept is not None and kept.status == UNDONE:
            message = f"the action of {self._what} was undone before it came; nothing was written"
            raise AlreadyUndone(message)
        self.note()
        try:
            return self._read(loads("" if kept is None else kept.answer or ""))
        except Exception as error:
            message = f"{self._what}: once({self._name}) has written, and its value can't be read"
            unread = OnceError(message)
            unread.saga_outcome = "in doubt"
            raise unread from error

    def _text_of(self, value: object) -> str:
        """Write a value; of an answer that comes later, until when, and not for how long."""
        if type(value) is not Later:
            return self._values.write(value)
        due = value.until if value.timeout is None else clock.time() + value.timeout
        tree = [due, value.until is not None, self._values.tree(value.result)]
        return dumps({_LATER: tree})

    def _read(self, tree: Any) -> Any:
        """Read what `_text_of` has written."""
        if not (isinstance(tree, dict) and _LATER in tree):
            return self._values.read(tree)
        due, is_timer, result = tree[_LATER]
        if due is None:
            return later(timeout=None)
        if is_timer:
            return later(until=due, result=self._values.read(result))
        return later(timeout=max(0.0, due - clock.time()))

    def _is_to_be_undone(self, hands: Hands) -> bool:
        """Tell whether the action has written; if not, see that it never will."""
        tombstone = Kept("-", UNDONE, None)
        if not table.add_if_missing(hands, self._action, self._action, tombstone):
            kept = table.find(hands, self._action)
            return kept is not None and kept.status == DONE
        if table.may_be_forgotten(hands, self._since):
            message = (
                f"nobody remembers whether the action of {self._what} has written, since rows of "
                "the barrier were forgotten: look, and resolve it"
            )
            raise OnceError(message)
        return False

    def keep(self, hands: Hands, value: object) -> None:
        """Put the value into the row."""
        try:
            text = self._text_of(value)
        except NotStorableError as error:
            message = (
                f"{self._what}: the value of a write that counts once can't be stored: {error}"
            )
            raise OnceError(message) from None
        if not table.fill(hands, self._key, text):
            message = (
                f"{self._what}: once({self._name}) was rolled back by its function, and what that "
                "wrote since would not count once: catch an error around a savepoint instead"
            )
            raise OnceError(message)


def _at_once(
    write: _Write, function: Any, args: tuple[Any, ...], keywords: dict[str, Any], using: Any
) -> Any:
    transaction = _open(using)
    try:
        _check_new(transaction.connection)
        try:
            value = _within(transaction, write, function, args, keywords)
        except BaseException as error:
            transaction.rollback(error)
            _say(error)
            raise
        write.note()
        try:
            transaction.commit()
        except Exception as error:
            transaction.rollback(error)
            _say(error, "in doubt")
            raise
    finally:
        transaction.close()
    return value


def _within(
    transaction: Opened,
    write: _Write,
    function: Any,
    args: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    hands = hands_of(transaction.connection)
    value = write.begin(hands)
    if value is _NEW:
        with _alone(transaction.connection), hands.alone():
            value = function(*transaction.given, *args, **keywords)
            transaction.send()
        write.keep(hands_of(transaction.connection), value)  # of the transaction as it is now
    return value


async def _later(
    write: _Write, function: Any, args: tuple[Any, ...], keywords: dict[str, Any], using: Any
) -> Any:
    try:
        transaction = await aopened(using)
    except Exception as error:
        _say(error)
        raise
    try:
        _check_new(transaction.connection)
        try:
            value = await _later_within(transaction, write, function, args, keywords)
        except BaseException as error:
            await transaction.rollback()
            _say(error)
            raise
        write.note()
        try:
            await transaction.commit()
        except Exception as error:
            await transaction.rollback()
            _say(error, "in doubt")
            raise
    finally:
        await transaction.close()
    return value


async def _later_within(
    transaction: AOpened,
    write: _Write,
    function: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    wait = transaction.connection.run_sync
    hands = await wait(hands_of)
    value = await wait(lambda _: write.begin(hands))
    if value is _NEW:
        with hands.alone():
            value = await function(*transaction.given, *args, **keywords)
            await transaction.send()
        await wait(lambda connection: write.keep(hands_of(connection), value))
    return value


def _open(using: Any) -> Opened:
    try:
        if isinstance(using, str):
            _check_atomic(using)
        return opened(using)
    except Exception as error:
        _say(error)
        raise


def _check_atomic(alias: str) -> None:
    """Refuse to be within somebody's transaction, whose commit would not be ours."""
    from django.db import connections  # noqa: PLC0415 - see `connections`

    connection = connections[alias]
    blocks = getattr(connection, "atomic_blocks", ())
    if connection.in_atomic_block and not (blocks and getattr(blocks[-1], "_from_testcase", False)):
        message = (
            f"once: the alias {alias!r} is in a block of `atomic`, whose commit is not ours: run "
            "the saga outside of it (with ATOMIC_REQUESTS: @transaction.non_atomic_requests)"
        )
        raise OnceError(message)


def _check_new(connection: Any) -> None:
    if isinstance(connection, str) or not hasattr(connection, "in_transaction"):
        return
    is_open = connection.in_transaction
    if is_open() if callable(is_open) else is_open:
        message = (
            "once: a transaction is open in this session or connection: what is in it would be "
            "committed along, or rolled back. Commit it first, or give once a sessionmaker"
        )
        raise OnceError(message)


def _say(error: BaseException, outcome: str = "not happened") -> None:
    """Note in an error what it means for the call, if nobody else can tell."""
    is_said = isinstance(error, OnceError | AlreadyUndone | Autocommit) or (
        getattr(error, "saga_outcome", None) == "in doubt"  # by a write within this one
    )
    if not is_said and (outcome == "in doubt" or is_of_database(error)):
        with suppress(Exception):  # an error may take no attributes
            error.saga_outcome = outcome  # type: ignore[attr-defined]


@contextmanager
def _alone(connection: Any) -> Iterator[None]:
    """Refuse writes to other aliases of Django's, which would not be committed along."""
    if not isinstance(connection, str):
        yield
        return
    from django.db import connections  # noqa: PLC0415 - see `connections`

    with ExitStack() as guarded:
        for alias in connections:
            if alias != connection:
                guarded.enter_context(connections[alias].execute_wrapper(_Guard(alias, connection)))
        yield


class _Guard(NamedTuple):
    """What each statement on another alias passes."""

    alias: str
    using: str

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: Any, context: Any
    ) -> Any:
        if any(word in _WRITES for word in str(sql).upper().split()[:1]):
            message = (
                f"once: a write to the alias {self.alias!r} within once(using={self.using!r}) "
                "would not be committed along: give it a once of its own, with a name and "
                f"using={self.alias!r}"
            )
            raise OnceError(message)
        return execute(sql, params, many, context)
