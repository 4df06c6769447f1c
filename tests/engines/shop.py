"""A shop with one ledger, which honours keys, and the sagas that order there.

What is bought is an effect: it stands once, however often it was asked for under one key. Undoing
is idempotent about the effect, not about its own key: a rollback that comes first leaves a
tombstone, and the effect that comes after it is refused. Each call is on record before it does
anything, with its key and with the worker that makes it.

A call can be held at a gate, which is a file: so a test says what happens before what, and nothing
depends on how fast the machine is.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from world import PATIENCE

from py_api_saga import (
    NOT_HAPPENED,
    Later,
    SagaAssembler,
    current_operation,
    happened,
    later,
    result_of,
)

FOLDER, WORKER = "SAGA_TEST_SHOP", "SAGA_TEST_WORKER"
REPEATED = "done already "
LOOK = 0.005  # seconds between two looks at a gate
TABLES = """
CREATE TABLE hit(seq INTEGER PRIMARY KEY, key TEXT, worker TEXT, pid INT, attempt INT);
CREATE TABLE tombstone(key TEXT PRIMARY KEY);
CREATE TABLE effect(
    seq INTEGER PRIMARY KEY, goods TEXT, name TEXT, direction INT, key TEXT UNIQUE, worker TEXT
);
"""


class Declined(Exception):
    """The shop said no, and nothing has happened."""


class Unavailable(Exception):
    """The shop could not be asked now."""


class Hit(NamedTuple):
    """A call as the shop has seen it.

    Attributes:
        key: Its idempotency key; before that of a question is "ask ", and a second line tells of
            a call that has found its effect there.
        worker: Who made it, by name.
        pid: The process of that.
        attempt: Its number.
    """

    key: str
    worker: str
    pid: int
    attempt: int


# --- the ledger -----------------------------------------------------------------------------------


def _folder() -> Path:
    return Path(os.environ[FOLDER])


def _who() -> str:
    return os.environ.get(WORKER, "here")


@contextmanager
def _ledger(folder: Path | None = None) -> Iterator[sqlite3.Connection]:
    """Open the ledger; what a block does is one transaction."""
    path = (folder or _folder()) / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=PATIENCE)) as ledger:
        ledger.execute("PRAGMA synchronous = OFF")  # who dies is a process, not the machine
        ledger.execute("BEGIN IMMEDIATE")
        yield ledger
        ledger.execute("COMMIT")


def open_shop(folder: Path) -> None:
    """Open a shop, for this process and for those that it starts."""
    with closing(sqlite3.connect(folder / "ledger.db")) as ledger:
        ledger.execute("PRAGMA journal_mode = WAL")
        ledger.executescript(TABLES)
    os.environ[FOLDER] = str(folder)


class Books:
    """What whoever audits a shop sees."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _rows(self, query: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self._folder / "ledger.db", timeout=PATIENCE)) as ledger:
            return ledger.execute(query, values).fetchall()

    def hits(self, key: str = "%") -> list[Hit]:
        """Give the calls whose key is like that, in order."""
        query = "SELECT key, worker, pid, attempt FROM hit WHERE key LIKE ? ORDER BY seq"
        return [Hit(*row) for row in self._rows(query, key)]

    def effects(self, goods: str) -> list[str]:
        """Give what has been done for an order, as "+charge" and "-charge", in turn."""
        query = "SELECT name, direction FROM effect WHERE goods = ? ORDER BY seq"
        return [("+" if way > 0 else "-") + name for name, way in self._rows(query, goods)]

    def who(self, goods: str, name: str) -> str:
        """Tell which worker has done something for an order, "" if nobody has yet."""
        query = "SELECT worker FROM effect WHERE goods = ? AND name = ? AND direction > 0"
        found = self._rows(query, goods, name)
        return str(found[0][0]) if found else ""

    def stands(self) -> dict[str, Counter[str]]:
        """Give what stands of each order, and how often; what is undone does not."""
        found: dict[str, Counter[str]] = {}
        query = "SELECT goods, name, sum(direction) FROM effect GROUP BY goods, name"
        for goods, name, times in self._rows(query):
            standing = found.setdefault(goods, Counter())
            if times:
                standing[name] = times
        return found

    def open(self, gate: str) -> None:
        """Let those go on who wait at a gate, and who will."""
        (self._folder / f"gate-{gate}").touch()


def _hit(key: str) -> int:
    """Note a call, and give how many there were under this key."""
    with _ledger() as ledger:
        _note(ledger, key)
        return int(ledger.execute("SELECT count(*) FROM hit WHERE key = ?", (key,)).fetchone()[0])


def _note(ledger: sqlite3.Connection, key: str) -> None:
    ledger.execute(
        "INSERT INTO hit(key, worker, pid, attempt) VALUES (?, ?, ?, ?)",
        (key, _who(), os.getpid(), current_operation().attempt),
    )


def _is_open(gate: str) -> bool:
    return (_folder() / f"gate-{gate}").exists()


def _wait(gate: str | None) -> None:
    until = time.monotonic() + PATIENCE
    while gate is not None and not _is_open(gate):
        assert time.monotonic() < until, f"nobody has opened the gate {gate}"
        time.sleep(LOOK)


async def _await(gate: str | None) -> None:
    while gate is not None and not _is_open(gate):  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(LOOK)


def _take(goods: str, name: str) -> None:
    """Have an effect stand, once for each key; not if its rollback came first.

    Raises:
        Declined: That was so.
    """
    key = current_operation().idempotency_key
    with _ledger() as ledger:
        if ledger.execute("SELECT 1 FROM effect WHERE key = ?", (key,)).fetchone():
            _note(ledger, f"{REPEATED}{key}")
            return
        late = ledger.execute("SELECT 1 FROM tombstone WHERE key = ?", (key,)).fetchone()
        if not late:
            _enter(ledger, goods, name, 1, key)
    if late:
        raise Declined(f"{name} of {goods} comes too late")


def _give_back(goods: str, name: str) -> None:
    """Have an effect stand no more; if it never did, see that it can't come after this."""
    operation = current_operation()
    key, action = operation.idempotency_key, operation.action_key
    with _ledger() as ledger:
        if ledger.execute("SELECT 1 FROM effect WHERE key = ?", (key,)).fetchone():
            return
        stands = "SELECT coalesce(sum(direction), 0) FROM effect WHERE goods = ? AND name = ?"
        if ledger.execute(stands, (goods, name)).fetchone()[0] > 0:
            _enter(ledger, goods, name, -1, key)
        elif not ledger.execute("SELECT 1 FROM effect WHERE key = ?", (action,)).fetchone():
            ledger.execute("INSERT OR IGNORE INTO tombstone VALUES (?)", (action,))


def _enter(ledger: sqlite3.Connection, goods: str, name: str, way: int, key: str) -> None:
    ledger.execute(
        "INSERT INTO effect(goods, name, direction, key, worker) VALUES (?, ?, ?, ?, ?)",
        (goods, name, way, key, _who()),
    )


# --- what sagas call ------------------------------------------------------------------------------


def _do(  # one call: it is noted, waits, says no or does it, and waits
    goods: str, name: str, before: str | None, after: str | None, no: int, busy: int
) -> dict[str, str]:
    times = _hit(current_operation().idempotency_key)
    _wait(before)
    if no:
        raise Declined(f"no {name} for {goods}")
    if times <= busy:
        raise Unavailable(f"{name} is not to be had now")
    _take(goods, name)
    _wait(after)
    return {"id": f"{name}-{goods}"}


def _undo(goods: str, name: str, before: str | None, after: str | None, busy: int) -> str:
    times = _hit(current_operation().idempotency_key)
    _wait(before)
    if times <= busy:
        raise Unavailable(f"nobody takes {name} back now")
    _give_back(goods, name)
    _wait(after)
    return f"no {name}"


def buy(
    goods: str,
    name: str,
    *_: object,
    before: str | None = None,
    after: str | None = None,
    no: int = 0,
    busy: int = 0,
    lasts: float = 0.0,
) -> dict[str, str]:
    """Buy something of an order.

    Args:
        goods: The order.
        name: What.
        _: What else it is told, which does not matter.
        before: A gate to wait at before it has an effect.
        after: One to wait at when it has had it.
        no: Whether it is refused.
        busy: How many calls are told to come again.
        lasts: Seconds that it takes at least, half of them after its effect.
    """
    time.sleep(lasts / 2)
    made = _do(goods, name, before, after, no, busy)
    time.sleep(lasts / 2)
    return made


def give_back(
    goods: str,
    name: str,
    receipt: str | None = None,
    *,
    before: str | None = None,
    after: str | None = None,
    busy: int = 0,
) -> str:
    """Undo that; the receipt, if there is one, has to be that of what is undone."""
    assert receipt in (None, f"{name}-{goods}"), receipt
    return _undo(goods, name, before, after, busy)


async def abuy(
    goods: str, name: str, before: str | None = None, after: str | None = None
) -> dict[str, str]:
    """Buy it as a coroutine, which can be cancelled at its gates."""
    _hit(current_operation().idempotency_key)
    await _await(before)
    _take(goods, name)
    await _await(after)
    return {"id": f"{name}-{goods}"}


def buy_unclear(
    goods: str,
    name: str,
    *,
    happens: bool,
    asked: str | None = None,  # noqa: ARG001 - for whoever asks
) -> dict[str, str]:
    """Buy something of which nobody hears whether it was had."""
    _hit(current_operation().idempotency_key)
    if happens:
        _take(goods, name)
    raise TimeoutError("the line is dead")


def buy_later(
    goods: str,
    name: str,
    *,
    timeout: float | None = None,
    takes: bool = True,
    after: str | None = None,
) -> Later:
    """Begin to buy something; the shop will tell."""
    _hit(current_operation().idempotency_key)
    if takes:
        _take(goods, name)
    _wait(after)
    return later(timeout=timeout)


def give_back_later(goods: str, name: str) -> Later:
    """Begin to give it back."""
    _hit(current_operation().idempotency_key)
    _give_back(goods, name)
    return later(timeout=None)


def pause(seconds: float) -> Later:
    """Wait, while nobody does anything."""
    _hit(current_operation().idempotency_key)
    return later(until=time.time() + seconds, result={"waited": seconds})


def ask(goods: str, name: str, *_: object, asked: str | None = None, **_of: object) -> Any:
    """Tell whether something was bought, once a gate is open; it is told what the action is."""
    operation = current_operation()
    _hit(f"ask {operation.idempotency_key}")
    _wait(asked)
    with _ledger() as ledger:
        query = "SELECT 1 FROM effect WHERE key = ?"
        found = ledger.execute(query, (operation.action_key,)).fetchone()
    return happened({"id": f"{name}-{goods}"}) if found else NOT_HAPPENED


def large(goods: str, name: str, length: int) -> str:
    """Buy something with a long receipt."""
    _hit(current_operation().idempotency_key)
    _take(goods, name)
    return "x" * length


def unstorable(goods: str, name: str) -> object:
    """Buy something with a receipt that nobody can keep."""
    _hit(current_operation().idempotency_key)
    _take(goods, name)
    return object()


def nothing(*_: object) -> None:
    """Do nothing."""


# --- sagas ----------------------------------------------------------------------------------------

CHECKOUT = ("reserve", "charge", "ship")
Options = Mapping[str, Any]


def checkout(
    goods: str,
    *,
    calls: Mapping[str, Options] | None = None,
    undos: Mapping[str, Options] | None = None,
    options: Mapping[str, Options] | None = None,
    **saga: Any,
) -> SagaAssembler:
    """Make a saga that reserves, charges and ships an order.

    Args:
        goods: The order.
        calls: What the actions are told besides, by operation; a key "function" is another action.
        undos: What the compensations are told.
        options: Options of operations.
        saga: Options of the saga.
    """
    made = SagaAssembler.saga(name="checkout", **saga)
    before: Any = None
    for name in CHECKOUT:
        told = dict((calls or {}).get(name, {}))
        function = told.pop("function", buy)
        what: Any = (goods, name) if before is None else (goods, name, before)
        if function is not buy:  # others take no more
            what = (goods, name)
        undo = dict((undos or {}).get(name, {}))
        made.operation(
            partial(function, *what, **told),
            partial(undo.pop("function", give_back), goods, name, **undo),
            name=name,
            **(options or {}).get(name, {}),
        )
        before = result_of(name)["id"]
    return made


def diamond(
    goods: str, calls: Mapping[str, Options] | None = None, **options: Options
) -> SagaAssembler:
    """Make one whose charge and note come after reserve, at once, and whose ship after both."""
    made = SagaAssembler.saga(name="diamond")
    for name, after in (
        ("reserve", ()),
        ("charge", ("reserve",)),
        ("note", ("reserve",)),
        ("ship", ("charge", "note")),
    ):
        told = dict((calls or {}).get(name, {}))
        made.operation(
            partial(told.pop("function", buy), goods, name, **told),
            (give_back, goods, name),
            name=name,
            after=after,
            **options.get(name, {}),
        )
    return made


ALL, DIAMOND = Counter(CHECKOUT), Counter([*CHECKOUT, "note"])
