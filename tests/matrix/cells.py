"""A cell: one client at one instant, from within a saga, and whether it was told the truth."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Literal, NamedTuple

import httpx
import httpx2
from senders import SENDERS

from py_api_saga import SagaAssembler, SagaException, current_operation

from . import clients
from .clients import NotCharged, Target
from .ways import MORE, REFUSALS, WAYS, Way, Yard

# A timeout that nothing waits for may be long, so that a busy machine does not make it pass; one
# that is waited for is short. Whichever passes, the ledger says what is true.
LONG, SHORT = 20.0, 0.4

CLIENTS: dict[str, Callable[[Target], Any]] = {
    "requests": clients.by_requests,
    "urllib3": clients.by_urllib3,
    "httpx": partial(clients.by_httpx, httpx),
    "httpx, asyncio": partial(clients.by_async_httpx, httpx),
    "httpx2": partial(clients.by_httpx, httpx2),
    "httpx2, asyncio": partial(clients.by_async_httpx, httpx2),
    "aiohttp": partial(clients.by_aiohttp, total=False),
    "aiohttp, total": partial(clients.by_aiohttp, total=True),
    "http.client": clients.by_http_client,
    "urllib.request": clients.by_urllib,
}
# Those that try again by themselves, below the saga.
AGAIN: dict[str, Callable[[Target], Any]] = {
    "requests, again": partial(clients.by_requests, tries=2),
    "urllib3, again": partial(clients.by_urllib3, tries=2),
}
# Those that read an answer, with errors of their own for what is none.
READING: dict[str, Callable[[Target], Any]] = {
    "requests, json": partial(clients.by_requests, reads=True),
    "aiohttp, json": partial(clients.by_aiohttp, total=False, reads=True),
}
# Those that know their operation: they raise by themselves, and leave notes.
KNOWING: dict[str, Callable[[Target], Any]] = {
    f"{name}, saga": partial(
        clients.by_async_sender if sender.is_async else clients.by_sender, sender
    )
    for name, sender in SENDERS.items()
}
EVERY = CLIENTS | AGAIN | READING | KNOWING

Call = Callable[[], Any]
Outcome = Literal["done", "in doubt", "failed"]


# --- how people pass an error on ------------------------------------------------------------------


def bare(call: Call) -> Call:
    """As it is."""
    return call


def raised_from(call: Call) -> Call:
    """`raise NotCharged from error`."""

    def charge() -> None:
        try:
            call()
        except Exception as error:
            raise NotCharged from error

    async def acharge() -> None:
        try:
            await call()
        except Exception as error:
            raise NotCharged from error

    return acharge if _is_async(call) else charge


def raised_while_handling(call: Call) -> Call:
    """`except Exception: raise NotCharged`."""

    def charge() -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - as people write it
            raise NotCharged  # noqa: B904 - as above

    async def acharge() -> None:
        try:
            await call()
        except Exception:  # noqa: BLE001 - as above
            raise NotCharged  # noqa: B904 - as above

    return acharge if _is_async(call) else charge


def in_a_group(call: Call) -> Call:
    """Out of a task group, or of what is like one without asyncio, beside an error of another."""

    def charge() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - as what gathers errors does
            inner = ExceptionGroup("of one branch", [error])
            raise ExceptionGroup("of several branches", [ValueError(), inner]) from None

    async def acharge() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(call())

    return acharge if _is_async(call) else charge


def hidden(call: Call) -> Call:
    """`raise NotCharged from None`, which says that it did not happen."""

    def charge() -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - as people write it
            raise NotCharged from None

    async def acharge() -> None:
        try:
            await call()
        except Exception:  # noqa: BLE001 - as above
            raise NotCharged from None

    return acharge if _is_async(call) else charge


def noted(call: Call) -> Call:
    """Within `sending()`, and then an error that tells nothing."""

    def charge() -> None:
        with current_operation().sending():
            try:
                call()
            except Exception:  # noqa: BLE001 - as people write it
                raise NotCharged from None

    async def acharge() -> None:
        with current_operation().sending():
            try:
                await call()
            except Exception:  # noqa: BLE001 - as above
                raise NotCharged from None

    return acharge if _is_async(call) else charge


MANNERS: dict[str, Callable[[Call], Call]] = {
    "bare": bare,
    "raised from": raised_from,
    "raised while handling": raised_while_handling,
    "in a group": in_a_group,
    "noted": noted,
}


# Of these only what has left a note tells the truth.
HIDING: dict[str, Callable[[Call], Call]] = {"hidden": hidden}


def _is_async(call: Call) -> bool:
    return inspect.iscoroutinefunction(call)


# --- a cell ---------------------------------------------------------------------------------------


class Told(NamedTuple):
    """What a cell came to.

    Attributes:
        client: A name of `EVERY`.
        way: A name of `WAYS` or `MORE`.
        manner: A name of `MANNERS` or `HIDING`.
        outcome: What the saga has told.
        seen: How many requests the service has seen.
        effects: How many effects it has made.
        error: The error that the operation raised, in words.
    """

    client: str
    way: str
    manner: str
    outcome: Outcome
    seen: int
    effects: int
    error: str

    @property
    def lost(self) -> bool:
        """Whether the saga says that it did not happen, and it did."""
        return self.outcome == "failed" and self.effects > 0

    @property
    def excuse(self) -> str:
        """Why nobody can know better; empty if one can."""
        return "" if self.manner == "noted" else BEYOND.get((self.client, self.way), "")


def run(yard: Yard, client: str, way: str, manner: str = "bare", *, graph: bool = False) -> Told:
    """Run a cell: the truth is what the ledger says when the service has come to its end."""
    spec: Way = (WAYS | MORE | REFUSALS)[way]
    with ExitStack() as stack:
        place = spec.opens(yard, stack)
        target = Target(
            place.url,
            SHORT if spec.hangs else LONG,
            str((yard.own if place.trusts else yard.stranger).path),
            place.proxy,
            spec.body,
        )
        call = (MANNERS | HIDING)[manner](_calling(EVERY[client], target))
        outcome, error = told(call, graph=graph)
    requests = [request for request in place.ledger.requests if request.method == "POST"]
    return Told(client, way, manner, outcome, len(requests), place.ledger.effects, error)


def applies(client: str, way: str) -> bool:
    """Tell whether a client can come there: the lower one of the standard library has no proxy."""
    return not (client == "http.client" and (WAYS | MORE | REFUSALS)[way].proxied)


def _calling(send: Callable[[Target], Any], target: Target) -> Call:
    inner = send.func if isinstance(send, partial) else send
    if not inspect.iscoroutinefunction(inner):
        return lambda: send(target)

    async def acharge() -> Any:
        return await send(target)

    return acharge


def told(charge: Call, *, graph: bool = False) -> tuple[Outcome, str]:
    """Run a saga of one operation, and look at what it has done rather than at what it says."""
    undone: list[str] = []
    saga = SagaAssembler.saga().operation(charge, (undone.append, "charge"), name="charge")
    method = "choreography_execute" if graph else "orchestrator_execute"
    try:
        if _is_async(charge):
            asyncio.run(_awaiting(getattr(saga, f"a{method}")))
        else:
            getattr(saga, method)()
    except SagaException as raised:
        return "in doubt" if undone else "failed", _in_words(raised.__cause__)
    return "done", ""


async def _awaiting(execute: Callable[[], Awaitable[Any]]) -> None:
    await execute()


def _in_words(error: BaseException | None) -> str:
    words: list[str] = []
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        words.append(type(error).__name__)
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[-1]
        else:
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return " < ".join(words)


# --- what is beyond reach -------------------------------------------------------------------------

_STATUS = "the client raises nothing for a status, and the user's own error does not tell it"

BEYOND: dict[tuple[str, str], str] = {
    (client, way): _STATUS
    for client in ("urllib3", "http.client", "urllib3, again")
    for way in WAYS | MORE
    if way.endswith("-before") or "-after" in way
}
