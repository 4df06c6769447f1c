"""What the views of each framework are asked, whatever they are written in: one table for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from py_api_saga.contrib import barrier

NOTHING = {"undone": "nothing"}


class Reply(NamedTuple):
    """An answer over HTTP."""

    status: int
    body: Any
    final: bool
    replay: bool
    location: str | None


class Client:
    """Asks the views of a bank, whose effects are rows of a table `effect`.

    Attributes:
        send: Sends a path, headers and a JSON body; gives status, JSON body and headers.
        count: Counts the effects that stand under a name.
    """

    def __init__(
        self,
        send: Callable[[str, dict[str, str], Any], tuple[int, Any, Any]],
        count: Callable[[str], int],
    ) -> None:
        self._send, self.count = send, count

    def post(self, path: str, key: str = "", undoes: str = "", **body: Any) -> Reply:
        """Send a request."""
        headers = {"Idempotency-Key": key, "Saga-Undoes": undoes}
        status, answer, got = self._send(path, {n: v for n, v in headers.items() if v}, body)
        final = got.get("Saga-Answer") == "final"
        replay = got.get("Idempotent-Replay") == "true"
        return Reply(status, answer, final, replay, got.get("Location"))


def charges_and_refunds_count_once(client: Client) -> None:
    """The table of what is received once, through views: see `test_barrier_received`."""
    first = client.post("/charges", "a", name="a")
    assert first == (201, {"id": "a"}, True, False, "/charges/a")
    assert client.post("/charges", "a", name="a") == (201, {"id": "a"}, True, True, "/charges/a")
    assert client.count("a") == 1
    assert client.post("/charges", "a", name="b")[0] == 422
    assert client.post("/charges?x=1", "a", name="a")[0] == 422
    assert client.post("/charges", name="a")[0] == 400

    assert client.post("/refunds", "a-", "a", name="a-")[:4] == (200, {}, True, False)
    assert client.post("/refunds", "a-", "a", name="a-")[:4] == (200, {}, True, True)
    assert client.count("a-") == 1
    assert client.post("/refunds", "b-", "b", name="b-")[:4] == (200, NOTHING, True, False)
    assert client.post("/charges", "b", name="b")[::2] == (410, True, None)
    assert client.count("b") == client.count("b-") == 0


def refusals_are_kept(client: Client, *, raised: bool = True) -> None:
    """Whether they are answered or raised; what passes, or fails, is not."""
    for how in ["answer", *(["raise"] if raised else [])]:
        key = f"r-{how}"
        status = client.post("/charges", key, name=key, how=how, status=404).status
        again = client.post("/charges", key, name=key, how=how, status=404)
        assert (status, again.status, again.final, again.replay) == (404, 404, True, True)
        for passing in (429, 502):
            key = f"p-{how}-{passing}"
            reply = client.post("/charges", key, name=key, how=how, status=passing)
            assert (reply.status, reply.final) == (passing, False)
            assert client.count(key) == 0
            body: dict[str, Any] = {"name": key, "how": how, "status": passing}
            assert client.post("/charges", key, **body).replay is False


def make(execute: Callable[[str], object], dialect: str) -> None:
    """Make the tables."""
    for statement in barrier.ddl(dialect):
        execute(statement)
    execute("CREATE TABLE effect (name varchar(300))")
