"""Stand-ins for services of others, which the views ask by HTTP.

They answer in the process of the view, through the transport of its `httpx.Client`, so that
nothing has to be started. They do what a service should do for a saga: make an entry once for each
key, take it back under that key, say 404 if there is none, and refuse what arrives after that.
"""

import json
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import httpx

Entry = dict[str, Any]


class Service:
    """Keeps an entry for each key that it was PUT under, until that is DELETEd."""

    def __init__(self, prefix: str, trouble: Callable[[httpx.Request, Entry], object]) -> None:
        """Number entries behind a prefix; `trouble` gives a reason to refuse one, or raises."""
        self._prefix = prefix
        self._trouble = trouble
        self._entries: dict[str, Entry] = {}
        self._undone: set[str] = set()
        self._numbers = count(1)
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request, as a server does."""
        time.sleep(0.005)  # the way there and back
        key = request.url.path.rpartition("/")[2]
        with self._lock:
            if request.method == "DELETE":
                return self._delete(key, request)
            if key not in self._entries:
                entry = json.loads(request.content)
                if key in self._undone:
                    return httpx.Response(410, json={"error": "it was undone before it arrived"})
                if reason := self._trouble(request, entry):
                    return httpx.Response(422, json={"error": reason})
                self._entries[key] = {"id": f"{self._prefix}{next(self._numbers)}", **entry}
            if self._entries[key].get("address") == "nowhere":  # done, and nobody hears of it
                raise httpx.ReadTimeout("no answer", request=request)
            return httpx.Response(200, json=self._entries[key])

    def _delete(self, key: str, request: httpx.Request) -> httpx.Response:
        if key in self._entries:
            self._trouble(request, self._entries[key])
        self._undone.add(key)  # what arrives late is refused from now on
        return httpx.Response(204 if self._entries.pop(key, None) else 404)

    def entries(self) -> list[Entry]:
        """Return what has been entered and not taken back."""
        with self._lock:
            return list(self._entries.values())


def bad_card(request: httpx.Request, entry: Entry) -> str | None:
    """Refuse a card that is declined; be away when a refund to "no-refund" is asked for."""
    if request.method == "DELETE" and entry["card"] == "no-refund":
        raise httpx.ConnectError("the bank is closed", request=request)
    return "the card was declined" if entry["card"] == "declined" else None


def no_trouble(_request: httpx.Request, _entry: Entry) -> None:
    """Refuse nothing."""
