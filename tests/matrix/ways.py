"""The ways to die: where a client is sent, and what is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from servers.dying import (
    Ledger,
    Rude,
    Service,
    Tunnel,
    dies_in_the_queue,
    full,
    nobody,
)
from servers.listener import Listener

from .certificate import Certificate
from .clients import BIG, SMALL


class Yard:
    """What all cells share: the service's certificate and a stranger's, in files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.own, self.stranger = Certificate(folder, "service"), Certificate(folder, "stranger")


class Place(NamedTuple):
    """Where a client is sent.

    Attributes:
        url: Of the request.
        ledger: What the service has seen and done.
        proxy: The URL of a proxy on the way there.
        trusts: Whether the client trusts the service's certificate.
    """

    url: str
    ledger: Ledger
    proxy: str | None = None
    trusts: bool = True


class Way(NamedTuple):
    """A way to die.

    Attributes:
        opens: Opens the place, for a stack to close.
        hangs: Whether the client has to wait for its timeout.
        body: What it sends.
        proxied: Whether there is a proxy on the way.
    """

    opens: Callable[[Yard, ExitStack], Place]
    hangs: bool = False
    body: bytes | str = SMALL
    proxied: bool = False


def _running(stack: ExitStack, listener: Any) -> Any:
    stack.callback(listener.close)
    return listener


def _nothing(
    opens: Callable[[], AbstractContextManager[str]], scheme: str = "http", *, hangs: bool = False
) -> Way:
    """Make a way at whose end there is an address, and no service."""

    def place(_: Yard, stack: ExitStack) -> Place:
        return Place(f"{scheme}://{stack.enter_context(opens())}/x", Ledger())

    return Way(place, hangs)


def _rude(manner: Any, scheme: str = "http") -> Way:
    """Make a way at whose end somebody accepts and takes no request."""

    def place(_: Yard, stack: ExitStack) -> Place:
        return Place(f"{scheme}://{_running(stack, Rude(manner)).address}/x", Ledger())

    return Way(place)


def _service(
    path: str,
    *,
    tls: bool = False,
    speaks: str = "",
    trusts: bool = True,
    hangs: bool = False,
    body: bytes | str = SMALL,
) -> Way:
    """Make a way to a service that dies at an instant."""

    def place(yard: Yard, stack: ExitStack) -> Place:
        service = _running(stack, Service(yard.own.serving() if tls else None))
        scheme = speaks or ("https" if tls else "http")
        return Place(f"{scheme}://{service.address}/{path}", service.ledger, None, trusts)

    return Way(place, hangs, body)


def _forwarded(path: str, *, hangs: bool = False) -> Way:
    """Make a way through a forward proxy, of which the client hears only what the proxy says."""

    def place(_: Yard, stack: ExitStack) -> Place:
        proxy = _running(stack, Service())
        return Place(f"http://service.invalid/{path}", proxy.ledger, proxy.url)

    return Way(place, hangs, SMALL, proxied=True)


def _tunnelled(path: str, proxy: Callable[[], Listener], *, hangs: bool = False) -> Way:
    """Make a way through a proxy that is asked to CONNECT."""

    def place(yard: Yard, stack: ExitStack) -> Place:
        service = _running(stack, Service(yard.own.serving()))
        way = _running(stack, proxy())
        return Place(f"{service.url}/{path}", service.ledger, f"http://{way.address}")

    return Way(place, hangs, SMALL, proxied=True)


def _no_proxy(_: Yard, stack: ExitStack) -> Place:
    service = _running(stack, Service())
    proxy = f"http://{stack.enter_context(nobody())}"
    return Place(f"{service.url}/ok", service.ledger, proxy)


def _no_name(_: Yard, __: ExitStack) -> Place:
    return Place("http://nobody.invalid/x", Ledger())


# Thirty-seven, by how far the request has come. Of the first twelve no service sees any.
UNSEEN: dict[str, Way] = {
    # not connected
    "refused": _nothing(nobody),
    "no such name": Way(_no_name),
    "connect timeout": _nothing(full, hangs=True),
    "in the queue, then dead": _nothing(dies_in_the_queue),
    # connected, and no more
    "accepted, FIN": _rude("fin"),
    "accepted, RST": _rude("rst"),
    "TLS: certificate refused": _service("ok", tls=True, trusts=False),
    "TLS: end in handshake": _rude("half", "https"),
    "TLS to a plain port": _service("ok", speaks="https", hangs=True),
    "proxy refused": Way(_no_proxy, proxied=True),
    "CONNECT answered 502": _tunnelled("ok", lambda: Rude("refuses")),
    "CONNECT: proxy dies": _tunnelled("ok", lambda: Rude("hears")),
}
WAYS: dict[str, Way] = UNSEEN | {
    # the request has come in, at least its head
    "headers-fin": _service("headers-fin"),
    "headers-rst": _service("headers-rst"),
    "headers-hang": _service("headers-hang", hangs=True),
    "upload-rst": _service("upload-rst", body=BIG),
    # the effect is made, and there is no answer
    "effect-fin": _service("effect-fin"),
    "effect-rst": _service("effect-rst"),
    "effect-hang": _service("effect-hang", hangs=True),
    # the effect is made, and there is half an answer, or a strange one
    "half-head": _service("half-head"),
    "half-length": _service("half-length"),
    "half-length-rst": _service("half-length-rst"),
    "half-chunk": _service("half-chunk"),
    "half-hang": _service("half-hang", hangs=True),
    "garbage": _service("garbage"),
    "badgzip": _service("badgzip"),
    "redirect-loop": _service("redirect-loop"),
    "redirect-dead": _service("redirect-dead"),
    # the same by TLS
    "TLS headers-fin": _service("headers-fin", tls=True),
    "TLS effect-fin": _service("effect-fin", tls=True),
    "TLS effect-rst": _service("effect-rst", tls=True),
    "TLS effect-hang": _service("effect-hang", tls=True, hangs=True),
    "TLS half-length": _service("half-length", tls=True),
    "TLS corrupt": _service("corrupt", tls=True),
    # the same by a forward proxy
    "proxy 502-after": _forwarded("502-after"),
    "proxy 504-after": _forwarded("504-after"),
    "proxy effect-fin": _forwarded("effect-fin"),
}

# And others of the same kinds.
MORE: dict[str, Way] = {
    "TLS: FIN in handshake": _rude("hears", "https"),
    "TLS to what speaks HTTP": _rude("plain", "https"),
    "effect-gone": _service("effect-gone"),
    "until-rst": _service("until-rst"),
    "continue-fin": _service("continue-fin"),
    "bad-chunk": _service("bad-chunk"),
    "huge-head": _service("huge-head"),
    "two-lengths": _service("two-lengths"),
    "no-json": _service("no-json"),
    "TLS half-chunk": _service("half-chunk", tls=True),
    "TLS half-length-rst": _service("half-length-rst", tls=True),
    "TLS half-hang": _service("half-hang", tls=True, hangs=True),
    "proxy effect-rst": _forwarded("effect-rst"),
    "proxy effect-hang": _forwarded("effect-hang", hangs=True),
    "proxy half-length": _forwarded("half-length"),
    "tunnel effect-fin": _tunnelled("effect-fin", Tunnel),
    "tunnel effect-rst": _tunnelled("effect-rst", Tunnel),
    "tunnel effect-hang": _tunnelled("effect-hang", Tunnel, hangs=True),
    "tunnel half-length": _tunnelled("half-length", Tunnel),
    "tunnel 502-after": _tunnelled("502-after", Tunnel),
    **{
        f"{status}-after": _service(f"{status}-after")
        for status in (300, 304, 408, 409, 500, 502, 503, 504, 507, 520, 599)
    },
    "redirect-nowhere": _service("redirect-nowhere"),
    "redirect-ftp": _service("redirect-ftp"),
    **{
        f"redirect-page,{then}": _service(f"redirect-page,{then}")
        for then in ("402-before", "404-before", "501-before", "headers-fin", "garbage")
    },
    "redirect-loop,402-before": _service("redirect-loop,402-before"),
    "redirect-loop,effect-fin": _service("redirect-loop,effect-fin"),
    "redirect-loop, streamed": _service("redirect-loop,ok", body="stream"),
    "effect-fin, streamed": _service("effect-fin", body="stream"),
    "effect-fin,402-before": _service("effect-fin,402-before"),
    "503-after,402-before": _service("503-after,402-before"),
    "503-after,effect-gone": _service("503-after,effect-gone"),
}

# What a service refuses in so many words has not happened.
REFUSALS: dict[str, Way] = {
    f"{status}-before": _service(f"{status}-before")
    for status in (400, 401, 402, 403, 404, 410, 422, 425, 429, 501, 505, 506, 508, 510, 511)
} | {"proxy 407-before": _forwarded("407-before")}
