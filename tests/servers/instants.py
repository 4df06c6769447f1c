"""The instants at which a service dies, by the word in a path that names each."""

from __future__ import annotations

from typing import Literal, NamedTuple

HALF = b'HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"id":'
OK = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def answer(status: int, *headers: str) -> bytes:
    """Give an answer without a body."""
    lines = [f"HTTP/1.1 {status} X", *headers, "Content-Length: 0", "", ""]
    return "\r\n".join(lines).encode()


class Instant(NamedTuple):
    """What a service does with a request before it dies.

    Attributes:
        reads: Of the request: its head, some of its body, or all of it.
        acts: Whether it makes the effect that it was asked for.
        says: What it sends then; PATH and DEAD stand for the path and for an address at which
            nobody listens.
        ends: What it does to the connection; "gone" is a service that goes down as a whole.
    """

    reads: Literal["head", "some", "all"]
    acts: bool
    says: bytes
    ends: Literal["stays", "fin", "rst", "silence", "garbled", "gone"]


INSTANTS = {
    "headers-fin": Instant("head", False, b"", "fin"),
    "headers-rst": Instant("head", False, b"", "rst"),
    "headers-hang": Instant("head", False, b"", "silence"),
    "upload-rst": Instant("some", False, b"", "rst"),
    "ok": Instant("all", True, OK, "stays"),
    "effect-fin": Instant("all", True, b"", "fin"),
    "effect-rst": Instant("all", True, b"", "rst"),
    "effect-hang": Instant("all", True, b"", "silence"),
    "effect-gone": Instant("all", True, b"", "gone"),
    "half-head": Instant("all", True, b"HTTP/1.1 201 Cre", "fin"),
    "half-length": Instant("all", True, HALF, "fin"),
    "half-length-rst": Instant("all", True, HALF, "rst"),
    "half-hang": Instant("all", True, HALF, "silence"),
    "half-chunk": Instant(
        "all",
        True,
        b'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{"id":',
        "fin",
    ),
    "until-rst": Instant("all", True, b'HTTP/1.1 201 Created\r\n\r\n{"id":', "rst"),
    "continue-fin": Instant("all", True, b"HTTP/1.1 100 Continue\r\n\r\n", "fin"),
    "bad-chunk": Instant(
        "all", True, b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}", "fin"
    ),
    "garbage": Instant("all", True, b"\x00\x01garbage\r\n\r\n", "fin"),
    "huge-head": Instant(
        "all", True, b"HTTP/1.1 201 Created\r\nX-Long: " + b"x" * 150_000 + b"\r\n\r\n", "fin"
    ),
    "two-lengths": Instant(
        "all",
        True,
        b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "fin",
    ),
    "no-json": Instant(
        "all",
        True,
        b"HTTP/1.1 201 Created\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\n<p>",
        "stays",
    ),
    "badgzip": Instant(
        "all",
        True,
        b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        "stays",
    ),
    "corrupt": Instant("all", True, b"", "garbled"),
    "redirect-loop": Instant("all", True, answer(307, "Location: PATH"), "stays"),
    "redirect-page": Instant("all", True, answer(303, "Location: PATH"), "stays"),
    "redirect-dead": Instant("all", True, answer(303, "Location: http://DEAD/"), "stays"),
    "redirect-nowhere": Instant("all", True, answer(303, "Location: http://[::1/"), "stays"),
    "redirect-ftp": Instant("all", True, answer(303, "Location: ftp://DEAD/"), "stays"),
    "429-wait": Instant("all", False, answer(429, "Retry-After: 7"), "stays"),
    "409-final": Instant("all", False, answer(409, "Saga-Answer: final"), "stays"),
    "page": Instant("all", False, answer(200), "stays"),
    # "…-after" has made its effect and says, or somebody on the way says, that it has not.
    **{f"{n}-after": Instant("all", True, answer(n), "stays") for n in range(300, 600)},
    **{f"{n}-before": Instant("all", False, answer(n), "stays") for n in range(300, 600)},
}
