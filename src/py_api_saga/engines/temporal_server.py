"""The server of Temporal, and what it says when it does not do what it is asked.

Its client lives in an event loop in a thread of ours, so that whoever has no loop can ask it, and
whoever has one does not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from threading import Lock
from typing import Any, TypeAlias, TypeVar

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from py_api_saga.engines.loop_thread import LoopThread
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import PATIENCE

T = TypeVar("T")

ANSWER = timedelta(seconds=PATIENCE)  # for the server to give one
_FAREWELL = 5.0  # seconds for what is in its loop to end; a worker that is there would not
Question: TypeAlias = Callable[[Client], Coroutine[Any, Any, T]]

_CURES = {
    RPCStatusCode.UNAVAILABLE: "is it running, and is that its address?",
    RPCStatusCode.DEADLINE_EXCEEDED: "it does not answer: is it overloaded, or away?",
    RPCStatusCode.PERMISSION_DENIED: "it does not let us: see the API key, or the certificate",
    RPCStatusCode.UNAUTHENTICATED: "it does not let us: see the API key, or the certificate",
}


def first_line(error: object) -> str:
    """Give the first line of what was said: what follows is of no use to people."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class Server:
    """A namespace of Temporal, for whoever asks it something.

    Attributes:
        place: Where it is, for messages.
    """

    def __init__(
        self, target: str, namespace: str, *, tls: bool | TLSConfig | None, api_key: str | None
    ) -> None:
        """Say where it is; nothing is connected yet."""
        self.place = f"Temporal at {target}, namespace {namespace!r}"
        self._target, self._namespace = target, namespace
        self._tls, self._api_key = tls, api_key
        self._lock = Lock()
        self._thread: LoopThread | None = None
        self._client: Client | None = None

    def thread(self) -> LoopThread:
        """Give the thread with the loop that its client lives in."""
        with self._lock:
            if self._thread is None:
                self._thread = LoopThread("saga-temporal")
            return self._thread

    def close(self) -> None:
        """Let go of the connection and the thread; it connects again when it is used."""
        with self._lock:
            thread, self._thread, self._client = self._thread, None, None
        if thread is not None:
            thread.end(_FAREWELL)

    def ask(self, question: Question[T]) -> T:
        """Ask it something, and wait for what it says.

        Raises:
            JournalError: It can't be reached, or says that something is wrong.
        """
        return self.thread().call(self._asked(question))

    async def aask(self, question: Question[T]) -> T:
        """Like `ask`, without blocking the loop."""
        return await self.thread().acall(self._asked(question))

    async def _asked(self, question: Question[T]) -> T:
        try:
            return await question(await self._connected())
        except RPCError as error:
            raise self._trouble(error) from None

    async def _connected(self) -> Client:
        """Give the client, which is connected when it is first asked for."""
        if self._client is None:
            connecting = Client.connect(
                self._target, namespace=self._namespace, tls=self._tls, api_key=self._api_key
            )
            try:
                self._client = await asyncio.wait_for(connecting, PATIENCE)
            except (RuntimeError, TimeoutError) as error:
                message = (
                    f"{self.place} can't be reached: {first_line(error)}; is it running, and is "
                    "that its address? On a developer's machine: temporal server start-dev "
                    "--db-filename FILE"
                )
                raise JournalError(message) from None
        return self._client

    def _trouble(self, error: RPCError) -> JournalError:
        """Say what it has said, and what helps."""
        cure = _CURES.get(error.status, "")
        if "namespace" in error.message.lower() and error.status is RPCStatusCode.NOT_FOUND:
            cure = "there is no such namespace: temporal operator namespace create --namespace …"
        says = f"{error.status.name.lower()}: {first_line(error.message)}"
        return JournalError(f"{self.place}: {says}{cure and '; '}{cure}")

    def check(self) -> None:
        """See that it is there, with the namespace.

        Raises:
            JournalError: Nobody answers, or there is no such namespace.
        """

        async def look(client: Client) -> None:
            async for _ in client.list_workflows("", page_size=1, rpc_timeout=ANSWER):
                break

        self.ask(look)
