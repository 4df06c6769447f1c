"""What the sagas call: the clients of the services, which pass a point at each step of a call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

from py_api_saga import Later, Retry, SagaAssembler, current_operation, later, result_of

from .points import Here, calling, point, tell

PORTS: dict[str, int] = {}
PATIENCE = 20.0  # seconds
NAMES = ("reserve", "charge", "book")
UNDOS = {"reserve": "release", "charge": "refund", "book": "cancel"}
SERVICE = {"reserve": "stock", "charge": "payment", "book": "courier"}


class Refused(Exception):
    """A service said no."""


class Trouble(Exception):
    """A service failed, and nobody knows whether it did what it was asked."""


def _request(name: str, path: str, body: dict[str, Any]) -> tuple[str, dict[str, str]]:
    operation = current_operation()
    if path != name:
        body["undoes"] = operation.action_key
    return json.dumps(body), {"Idempotency-Key": operation.idempotency_key}


def _answered(status: int, text: bytes) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(text)
    if status == 500 or body.get("error") == "busy":
        raise Trouble(str(body))
    if status >= 400:
        raise Refused(str(body))
    return body


def _call(name: str, path: str, order: str, **more: Any) -> dict[str, Any]:
    text, headers = _request(name, path, {"order": order, **more})
    with calling(order):
        point("before connecting")
        with closing(HTTPConnection("127.0.0.1", PORTS[SERVICE[name]], PATIENCE)) as connection:
            connection.request("POST", f"/{path}", text, headers)
            point("request sent")
            assert isinstance(connection.sock, socket.socket)
            connection.sock.recv(1, socket.MSG_PEEK)
            point("answer there")
            response = connection.getresponse()
            answer = response.read()
            point("answer read")
    return _answered(response.status, answer)


async def _acall(name: str, path: str, order: str, **more: Any) -> dict[str, Any]:
    text, headers = _request(name, path, {"order": order, **more})
    head = f"POST /{path} HTTP/1.0\r\nContent-Length: {len(text)}\r\n"
    head += "".join(f"{header}: {value}\r\n" for header, value in headers.items())
    with calling(order):
        point("before connecting")
        reader, writer = await asyncio.open_connection("127.0.0.1", PORTS[SERVICE[name]])
        with closing(writer):
            writer.write(f"{head}\r\n{text}".encode())
            await writer.drain()
            point("request sent")
            answer = await reader.read(1)
            point("answer there")
            answer += await reader.read()
            point("answer read")
    if not answer:
        raise ConnectionResetError("the line broke")
    line, _, rest = answer.partition(b"\r\n")
    return _answered(int(line.split()[1]), rest.partition(b"\r\n\r\n")[2])


def reserve(order: str, trouble: str) -> dict[str, Any]:
    """Take a mug off the shelf."""
    return _call("reserve", "reserve", order, trouble=trouble, item="mug", quantity=1)


def release(order: str) -> None:
    """Put it back."""
    _call("reserve", "release", order)


def charge(order: str, trouble: str) -> dict[str, Any]:
    """Take the money."""
    return _call("charge", "charge", order, trouble=trouble, cents=1200, card="")


def refund(order: str) -> None:
    """Give it back."""
    _call("charge", "refund", order)


def book(order: str, trouble: str, city: str, shelf: str) -> dict[str, Any]:
    """Book a courier, who does not go everywhere."""
    return _call("book", "book", order, trouble=trouble, city=city, shelf=shelf)


def cancel(order: str) -> None:
    """Send him away."""
    _call("book", "cancel", order)


async def areserve(order: str, trouble: str) -> dict[str, Any]:
    """Do it under asyncio."""
    return await _acall("reserve", "reserve", order, trouble=trouble, item="mug", quantity=1)


async def arelease(order: str) -> None:
    """Undo it there."""
    await _acall("reserve", "release", order)


async def acharge(order: str, trouble: str) -> dict[str, Any]:
    """Do it under asyncio."""
    return await _acall("charge", "charge", order, trouble=trouble, cents=1200, card="")


async def arefund(order: str) -> None:
    """Undo it there."""
    await _acall("charge", "refund", order)


async def abook(order: str, trouble: str, city: str, shelf: str) -> dict[str, Any]:
    """Do it under asyncio."""
    return await _acall("book", "book", order, trouble=trouble, city=city, shelf=shelf)


async def acancel(order: str) -> None:
    """Undo it there."""
    await _acall("book", "cancel", order)


# --- what is answered later, by a webhook ---------------------------------------------------------


def _begun() -> Later:
    """Say that the service has been asked, and will tell what came of it."""
    tell("asked", current_operation().idempotency_key)
    point("asked")
    return later(timeout=None)


def charge_later(order: str, trouble: str) -> Later:
    """Ask for the money."""
    _call("charge", "charge", order, trouble=trouble, cents=1200, card="")
    return _begun()


def refund_later(order: str) -> Later:
    """Ask for it to be given back."""
    _call("charge", "refund", order)
    return _begun()


async def acharge_later(order: str, trouble: str) -> Later:
    """Ask for the money under asyncio."""
    await _acall("charge", "charge", order, trouble=trouble, cents=1200, card="")
    return _begun()


def unclear(order: str, trouble: str, city: str, shelf: str) -> dict[str, Any]:
    """Book a courier the first time, and be told no from then on."""
    key = current_operation().idempotency_key
    first = Here.place / f"first-{order}"
    if not first.exists():
        first.touch()
        _call("book", "book", order, trouble=trouble, city=city, shelf=shelf)
        tell("unclear", key)
        os.kill(os.getpid(), signal.SIGKILL)
    raise Refused("no driver")


MODES: dict[str, dict[str, Any]] = {
    "chain": {},
    "graph": {"graph": True},
    "chain undone": {"city": "Atlantis"},
    "graph undone": {"graph": True, "city": "Atlantis"},
    "backward": {"on_crash": "compensate"},
    "pivot": {"pivot": True, "on_crash": "compensate"},
    "asyncio": {"asyncio": True},
    "asyncio graph": {"asyncio": True, "graph": True},
    "asyncio undone": {"asyncio": True, "graph": True, "city": "Atlantis"},
    "again": {"retry": True},
    "unclear": {"book": "unclear"},
    "asyncio again": {"asyncio": True, "retry": True},
    "awaited": {"charge": "charge_later"},
    "awaited graph": {"graph": True, "charge": "charge_later"},
    "awaited asyncio": {"asyncio": True, "charge": "charge_later"},
    "awaited undone": {"charge": "charge_later", "city": "Atlantis"},
    "awaited undo": {"refund": "refund_later", "city": "Atlantis"},
}


def checkout(order: str, mode: str, troubles: dict[str, str]) -> SagaAssembler:
    """Make the saga of an order: reserve and charge, then book."""
    how = MODES[mode]
    prefix = "a" if how.get("asyncio") else ""
    call = globals()
    retry = None
    if how.get("retry"):
        retry = Retry((Trouble, ConnectionError), attempts=3, wait_initial=0.001, wait_jitter=0)
    saga = SagaAssembler.saga(name="checkout", on_crash=how.get("on_crash"), retry=retry)
    doubtful = (Trouble, ConnectionResetError)
    for name in NAMES:
        action = [call[prefix + how.get(name, name)], order, troubles.get(name, "")]
        if name == "book":
            action += [how.get("city", "Bern"), result_of("reserve")["shelf"]]
        undo = (call[prefix + how.get(UNDOS[name], UNDOS[name])], order)
        saga.operation(
            tuple(action),
            undo,
            name=name,
            after="charge" if name == "book" else (),
            pivot=name == "charge" and how.get("pivot", False),
            doubtful=doubtful,
        )
    return saga


# --- operations without a service -----------------------------------------------------------------


class _Again(threading.Event):
    """Something was undone more than once."""

    first = False


undone_again = _Again()


def note(order: str, what: str, wait: float = 0.0) -> str:
    """Write a line into a file of effects."""
    if wait:
        time.sleep(wait)
    tell("note", order, what, current_operation().idempotency_key)
    return what


def unnote(order: str, what: str) -> None:
    """Write a line that says that it is undone."""
    tell("unnote", order, what, current_operation().idempotency_key)
    if undone_again.first:
        undone_again.set()
    undone_again.first = True


async def wait_for(file: str) -> None:
    """Wait until there is a file."""
    tell("waits", current_operation().saga_id)
    until = time.monotonic() + PATIENCE
    while not (Here.place / file).exists():
        assert time.monotonic() < until
        await asyncio.sleep(0.005)


def poison(order: str) -> None:
    """End the process, whichever calls."""
    tell("poison", order)
    os.kill(os.getpid(), signal.SIGKILL)


def tick(_: int) -> None:
    """Do nothing."""


def count(number: int, stop: int) -> None:
    """Do nothing but count, and end the process at one number, once."""
    if number == stop and not (Here.place / "stopped").exists():
        (Here.place / "stopped").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    with _counting:
        _counted.append(number)


def uncount(number: int) -> None:
    """Do nothing."""


_counting = threading.Lock()
_counted: list[int] = []
