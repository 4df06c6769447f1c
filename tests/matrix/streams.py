"""What else the standard library sends by: XML-RPC, plain sockets, asyncio's streams."""

from __future__ import annotations

import asyncio
import socket
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from servers.dying import Service

from .drivers import Case, Scenario

LIMIT = 0.5  # seconds of a timeout that passes

Charging = Callable[[str, str], Callable[[], Any]]


def by_xmlrpc(address: str, path: str) -> Callable[[], Any]:
    """Charge by XML-RPC."""

    def charge() -> None:
        with xmlrpc.client.ServerProxy(f"http://{address}/{path}") as bank:
            bank.charge(1200)

    return charge


def by_socket(address: str, path: str) -> Callable[[], Any]:
    """Charge by a socket."""

    def charge() -> None:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port)), LIMIT) as connection:
            connection.sendall(f"POST /{path} HTTP/1.1\r\n\r\n".encode())
            connection.recv(1)

    return charge


def by_streams(read: Callable[[asyncio.StreamReader], Any], address: str, path: str) -> Any:
    """Charge by a stream, and read the answer in one of its ways."""

    async def charge() -> None:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1000)
        try:
            writer.write(f"POST /{path} HTTP/1.1\r\n\r\n".encode())
            await asyncio.wait_for(read(reader), LIMIT)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    return charge


BY: dict[str, tuple[Charging, str]] = {
    "xmlrpc.client": (by_xmlrpc, "effect-fin effect-rst 502-after half-length garbage"),
    "socket": (by_socket, "effect-rst effect-hang"),
    "readexactly": (
        partial(by_streams, lambda reader: reader.readexactly(1000)),
        "effect-fin effect-rst effect-hang half-length half-hang",
    ),
    "readuntil": (
        partial(by_streams, lambda reader: reader.readuntil(b"\0")),
        "effect-fin effect-rst effect-hang half-length half-hang huge-head",
    ),
}


def cells(_: ExitStack, __: Path) -> Iterator[tuple[str, Scenario]]:
    """Give each at its instants."""
    for name, (charging, paths) in BY.items():
        for path in paths.split():
            yield f"{name}: {path}", partial(_case, charging, path)


def _case(charging: Charging, path: str, stack: ExitStack, _: Path) -> Case:
    service = Service()
    stack.callback(service.close)
    return Case(charging(service.address, path), lambda: service.ledger.effects)
