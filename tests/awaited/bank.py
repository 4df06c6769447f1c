"""Sagas that wait, and a bank that says its word later; each call is a line that is told.

The sagas are named by what they are, and by what the bank says: "chain", "graph refused".
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from pathlib import Path
from typing import Any

from crash.points import Here, tell

from py_api_saga import (
    NOT_HAPPENED,
    UNKNOWN,
    Later,
    SagaAssembler,
    current_operation,
    happened,
    later,
    result_of,
)

PATIENCE = 30.0  # seconds
BRIEF = 0.03  # seconds until an answer is too late, where it is to be
LINGERS = (0.0, 0.0, 0.004, 0.02)  # seconds for which calls last once the bank has their key
NAP = 0.02  # seconds that a timer takes


class Refused(Exception):
    """The bank said no."""


class NoDriverError(Exception):
    """What comes after the bank has failed."""


# --- the bank's books ---------------------------------------------------------------------------


def word_of(key: str) -> str:
    """Give what the bank says of a call, "paid" or "refused", as the name of its saga has it.

    A saga whose name holds "one" has two payments, of which it refuses the second.
    """
    saga_id, name, kind = key.split(":")[:3]
    refuses = "refused" in saga_id and kind == "action"
    return "refused" if refuses and not ("one" in saga_id and name == "charge") else "paid"


def decide(key: str) -> str:
    """Decide about a call, for ever: the books are written before anybody is told."""
    word = word_of(key)
    tell(word, key)
    Path(Here.place, f"{word}-{key}").touch()
    return word


def decided(key: str) -> str:
    """Look into the books: "" if they have nothing yet."""
    return next(
        (word for word in ("paid", "refused") if Path(Here.place, f"{word}-{key}").exists()), ""
    )


# --- operations ---------------------------------------------------------------------------------


def _call(name: str) -> str:
    operation = current_operation()
    key = operation.idempotency_key
    tell("call", name, key, operation.action_key)
    return key


def _ask_for(name: str) -> str:
    """Ask the bank, which may answer at once: the call may be overtaken by that."""
    key = _call(name)
    tell("asked", key)
    pipe = os.environ.get("SAGA_ASKED")
    if pipe:
        os.write(int(pipe), f"{key}\n".encode())
    return key


def _linger(key: str) -> None:
    """Be overtaken by the answer, or not: as long as the key of the call says.

    Long enough that other calls of a graph write meanwhile, which read the mail.
    """
    time.sleep(LINGERS[zlib.crc32(key.encode()) % len(LINGERS)])


def reserve(_: str) -> str:
    """Take effect at once."""
    return _call("reserve")


def release(_: str) -> None:
    """Take that back."""
    _call("release")


def charge(wait: float | None) -> Later:
    """Ask for money; the answer comes later."""
    _linger(_ask_for("charge"))
    return later(timeout=wait)


async def acharge(wait: float | None) -> Later:
    """Do so under asyncio."""
    key = _ask_for("charge")
    await asyncio.sleep(zlib.crc32(key.encode()) % 3 * 0.002)
    return later(timeout=wait)


def charge_answered(wait: float | None) -> Later:
    """Ask for money, and be answered before this has returned; others write meanwhile."""
    _await_answer(_ask_for("charge"))
    time.sleep(3 * max(LINGERS))
    return later(timeout=wait)


def _await_answer(key: str) -> None:
    until = time.monotonic() + PATIENCE
    while not Path(Here.place, f"acked-{key}").exists():
        assert time.monotonic() < until, "nobody answers"
        time.sleep(0.001)


def refund(_: str) -> None:
    """Give it back."""
    _call("refund")


async def arefund(_: str) -> None:
    """Do so under asyncio."""
    await asyncio.sleep(0)
    _call("refund")


def refund_later(_: str) -> Later:
    """Ask for it to be given back; the answer comes later."""
    _ask_for("refund")
    return later(timeout=None)


def look(_: float | None) -> Any:
    """Ask the bank what came of it: what it has not decided may happen yet."""
    key = current_operation().action_key
    tell("looked", key)
    return {"paid": happened(key), "refused": NOT_HAPPENED, "": UNKNOWN}[decided(key)]


def nap(_: str) -> Later:
    """Wait for a moment, without anybody's answer."""
    _call("nap")
    return later(until=time.time() + NAP, result="rested")


def ship(*_: object) -> str:
    """Take effect at once, as the last."""
    return _call("ship")


def unship(_: str) -> None:
    """Take that back."""
    _call("unship")


async def aship(*_: object) -> str:
    """Do so under asyncio."""
    await asyncio.sleep(0)
    return _call("ship")


def fail(*_: object) -> None:
    """Refuse, so that all is undone."""
    _call("fail")
    raise NoDriverError


def slow(saga_id: str) -> str:
    """Run while answers come."""
    key = _call("slow")
    if kind_of(saga_id) == "graph-early":  # what it writes then meets a call that was answered
        _await_answer(f"{saga_id}:charge2:action")
        time.sleep(1.5 * max(LINGERS))
    time.sleep(zlib.crc32(key.encode()) % 3 * 0.004)
    return key


# --- sagas --------------------------------------------------------------------------------------

_ENDS = {"completed"}, {"compensated"}, {"completed", "compensated"}
DONE, UNDONE, EITHER = _ENDS
# What a saga may have come to in the end.
KINDS: dict[str, set[str]] = {
    "chain": DONE,
    "refused": UNDONE,
    "brief": EITHER,
    "brief-refused": UNDONE,
    "brief-asked": EITHER,
    "brief-asked-refused": UNDONE,
    "backward": EITHER,
    "early": DONE,
    "undo": UNDONE,
    "nap": DONE,
    "naps": DONE,
    "asyncio": DONE,
    "asyncio-refused": UNDONE,
    "graph": DONE,
    "graph-early": DONE,
    "graph-one-refused": UNDONE,
    "graph-brief": EITHER,
    "asyncio-graph": DONE,
    "deadline": EITHER,
}


def kind_of(saga_id: str) -> str:
    """Give what kind of saga an id stands for."""
    return saga_id.rpartition(".")[0]


def saga_of(saga_id: str) -> tuple[SagaAssembler, str, dict[str, Any]]:
    """Make the saga of an id; give it, the name of the method that runs it, and its options."""
    kind = kind_of(saga_id)
    saga = SagaAssembler.saga(
        name=kind.replace("-", "_"), on_crash="compensate" if kind == "backward" else None
    )
    saga.operation((reserve, saga_id), (release, saga_id), name="reserve")
    is_graph, is_asyncio = "graph" in kind, "asyncio" in kind
    method = "choreography_execute" if is_graph else "orchestrator_execute"
    options = {"deadline": BRIEF} if kind == "deadline" else {}
    wait = BRIEF if "brief" in kind else None
    pay: Any = charge_answered if kind == "early" else acharge if is_asyncio else charge
    undo: Any = refund_later if kind == "undo" else arefund if is_asyncio else refund
    asked: dict[str, Any] = {"on_doubt": look} if "asked" in kind else {}
    if kind.startswith("nap"):
        for n in range(2 if kind == "nap" else 12):
            saga.operation((nap, saga_id), name=f"nap{n}", after=f"nap{n - 1}" if n else "reserve")
    else:
        after = () if is_graph else "reserve"
        saga.operation((pay, wait), (undo, saga_id), name="charge", after=after, **asked)
    joined: Any = [result_of("charge")] if not kind.startswith("nap") else []
    last: Any = fail if kind == "undo" else aship if is_asyncio else ship
    if is_graph:
        second = charge_answered if kind == "graph-early" else pay
        saga.operation((second, wait), (undo, saga_id), name="charge2", after=())
        saga.operation((slow, saga_id), name="slow", after=())
        joined += [result_of("charge2"), result_of("slow")]
        after_join: Any = ("reserve", "charge", "charge2", "slow")
    else:
        after_join = "charge" if joined else f"nap{1 if kind == 'nap' else 11}"
    saga.operation((last, *joined), (unship, saga_id), name="ship", after=after_join)
    return saga, f"{'a' * is_asyncio}{method}", options
