"""Redis, mail and gRPC: answers that are lost, and refusals."""

from __future__ import annotations

import smtplib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from servers.children import package
from servers.dying import Ledger, nobody
from servers.listener import PATIENCE, Listener
from servers.redis import redis

from .drivers import Case, Scenario
from .relays import ENDS, Ends, relayed

LIMIT = 0.5  # seconds of a timeout that passes


# --- Redis ----------------------------------------------------------------------------------------


def _redis_call(
    path: Path, command: tuple[Any, ...], *, awaits: bool, tries: int, limit: float = PATIENCE
) -> Callable[[], Any]:
    module = package("redis.asyncio" if awaits else "redis")
    retry = package("redis.asyncio.retry" if awaits else "redis.retry").Retry
    options: dict[str, Any] = {
        "unix_socket_path": str(path),
        "socket_timeout": limit,
        "retry": retry(package("redis.backoff").NoBackoff(), tries),  # it has some by default
    }

    def charge() -> None:
        with module.Redis(**options) as client:
            client.execute_command(*command)

    async def acharge() -> None:
        async with module.Redis(**options) as client:
            await client.execute_command(*command)

    return acharge if awaits else charge


def redis_cells(stack: ExitStack, folder: Path) -> Iterator[tuple[str, Scenario]]:
    """Start a Redis, and give each client at each of its instants."""
    behind = stack.enter_context(redis(folder))
    client = stack.enter_context(package("redis").Redis(unix_socket_path=str(behind)))

    def lost(name: str, ends: Ends, options: dict[str, Any], inner: ExitStack, place: Path) -> Case:
        path = place / "relay"
        relayed(inner, path, behind, b"INCRBY", b"\r\n", ends)
        charge = _redis_call(path, ("INCRBY", name, 1200), **options)
        return Case(charge, lambda: int(client.get(name) or 0) // 1200)

    def refused(name: str, options: dict[str, Any], _: ExitStack, __: Path) -> Case:
        client.set(name, "no number")
        charge = _redis_call(behind, ("INCRBY", name, 1200), **options)
        return Case(charge, lambda: client.get(name) != b"no number", refused=True)

    def absent(options: dict[str, Any], _: ExitStack, place: Path) -> Case:
        charge = _redis_call(place / "none", ("INCRBY", "x", 1), **options)
        return Case(charge, lambda: 0, refused=True)

    for awaits in (False, True):
        kind = "redis, asyncio" if awaits else "redis"
        for tries in (0, 2):
            for ends in ENDS:
                name = f"{kind}, {tries} more tries: {ends}"
                limit = LIMIT if ends == "silence" else PATIENCE
                options = {"awaits": awaits, "tries": tries, "limit": limit}
                yield name, partial(lost, name, ends, options)
        once = {"awaits": awaits, "tries": 0}
        yield f"{kind}: an error", partial(refused, f"{kind}: an error", once)
        yield f"{kind}: nobody listens", partial(absent, once)


# --- mail -----------------------------------------------------------------------------------------

Mail = Literal[
    "ends after DATA",
    "is silent after DATA",
    "ends at QUIT",
    "says 421 at QUIT",
    "ends at MAIL",
    "refuses RCPT",
    "refuses DATA",
    "is busy",
]


class PostOffice(Listener):
    """A mail server that takes one message per connection, in its own manner."""

    def __init__(self, manner: Mail) -> None:
        self.ledger, self._manner = Ledger(), manner
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        """Answer line by line."""
        if self._manner == "is busy":
            connection.sendall(b"421 busy\r\n")
            return
        connection.sendall(b"220 here\r\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                verb = line[:4].upper().decode()
                if verb == "DATA":
                    connection.sendall(b"354 go on\r\n")
                    for text in lines:
                        if text == b".\r\n":
                            break
                    if self._manner != "refuses DATA":
                        self.ledger.acted()
                answer = self._answer(verb)
                if answer is None:
                    if self._manner.startswith("is silent"):
                        self.drain(connection)
                    return
                connection.sendall(answer + b"\r\n")

    def _answer(self, verb: str) -> bytes | None:
        refusals = {"refuses RCPT": "RCPT", "refuses DATA": "DATA"}
        if self._manner.endswith(f"at {verb}" if verb != "DATA" else "after DATA"):
            return b"421 closing" if self._manner.startswith("says") else None
        if refusals.get(self._manner) == verb:
            return b"550 no"
        return b"221 bye" if verb == "QUIT" else b"250 well"


def mail_cells(_: ExitStack, __: Path) -> Iterator[tuple[str, Scenario]]:
    """Give smtplib at each of its instants."""

    def case(manner: Mail, stack: ExitStack, __: Path) -> Case:
        office = PostOffice(manner)
        stack.callback(office.close)
        host, _, port = office.address.partition(":")

        limit = LIMIT if manner == "is silent after DATA" else PATIENCE

        def charge() -> None:
            with smtplib.SMTP(host, int(port), timeout=limit) as client:
                client.sendmail("shop@example.org", ["ann@example.org"], "Subject: paid\r\n\r\n")

        refused = manner.startswith("refuses") or manner == "is busy"
        return Case(charge, lambda: office.ledger.effects, refused, manner == "ends at QUIT")

    def absent(stack: ExitStack, __: Path) -> Case:
        host, _, port = stack.enter_context(nobody()).partition(":")
        return Case(
            lambda: smtplib.SMTP(host, int(port), timeout=PATIENCE), lambda: 0, refused=True
        )

    for manner in get_args(Mail):
        yield f"smtplib: {manner}", partial(case, manner)
    yield "smtplib: nobody listens", absent


# --- gRPC -----------------------------------------------------------------------------------------

REFUSALS = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "PERMISSION_DENIED")
ABORTS = ("UNKNOWN", "INTERNAL", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED")
MANNERS = (
    *("outlives the deadline", "goes away", "raises", "answers too much"),
    *REFUSALS,
    *ABORTS,
)
BIG_ANSWER = 5_000_000  # bytes; a client takes 4 MiB
CALL = "/bank.Bank/Charge"
DIRECT = (("grpc.enable_http_proxy", 0),)  # whatever this machine's environment says


class Bank:
    """What a gRPC server does when it is called; it makes the effect unless it refuses."""

    def __init__(self, manner: str) -> None:
        self.ledger, self._manner = Ledger(), manner
        self.grpc = package("grpc")
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(4)
        self.server = self.grpc.server(self._pool)
        handler = self.grpc.unary_unary_rpc_method_handler(self._charge)
        handlers = self.grpc.method_handlers_generic_handler("bank.Bank", {"Charge": handler})
        self.server.add_generic_rpc_handlers((handlers,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def _charge(self, _: bytes, context: Any) -> bytes:
        if self._manner in REFUSALS:
            context.abort(getattr(self.grpc.StatusCode, self._manner), "no")
        self.ledger.acted()
        if self._manner == "outlives the deadline":
            self._over.wait(PATIENCE)
        if self._manner == "goes away":
            self.server.stop(0)
            self._over.wait(PATIENCE)
        if self._manner == "raises":
            raise RuntimeError("after the effect")
        if self._manner in ABORTS:
            context.abort(getattr(self.grpc.StatusCode, self._manner), "after the effect")
        return bytes(BIG_ANSWER if self._manner == "answers too much" else 2)

    def close(self) -> None:
        """End what waits, and the server."""
        self._over.set()
        self.server.stop(0).wait(PATIENCE)
        self._pool.shutdown()


def grpc_cells(_: ExitStack, __: Path) -> Iterator[tuple[str, Scenario]]:
    """Give grpc and grpc.aio at each of their instants."""

    def charging(kind: str, address: str, limit: float) -> Callable[[], Any]:
        module = package(kind)

        def charge() -> None:
            with module.insecure_channel(address, DIRECT) as channel:
                channel.unary_unary(CALL)(b"1200", timeout=limit)

        async def acharge() -> None:
            async with module.insecure_channel(address, DIRECT) as channel:
                await channel.unary_unary(CALL)(b"1200", timeout=limit)

        return acharge if kind == "grpc.aio" else charge

    def case(kind: str, manner: str, stack: ExitStack, _: Path) -> Case:
        bank = Bank(manner)
        stack.callback(bank.close)
        limit = LIMIT if manner == "outlives the deadline" else PATIENCE
        charge = charging(kind, f"127.0.0.1:{bank.port}", limit)
        return Case(charge, lambda: bank.ledger.effects, refused=manner in REFUSALS)

    def absent(kind: str, stack: ExitStack, _: Path) -> Case:
        return Case(charging(kind, stack.enter_context(nobody()), PATIENCE), lambda: 0)

    for kind in ("grpc", "grpc.aio"):
        package(kind)
        for manner in MANNERS:
            yield f"{kind}: {manner}", partial(case, kind, manner)
        yield f"{kind}: nobody listens", partial(absent, kind)
