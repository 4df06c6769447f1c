"""The dashboard as whoever looks at it has it: a server in a thread, and what it answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlencode

import html5lib
from world import PATIENCE

from py_api_saga.cli.dashboard.answering import Acts
from py_api_saga.cli.dashboard.guarding import Lock
from py_api_saga.cli.dashboard.server import Server
from py_api_saga.pictures.board import Board
from py_api_saga.pictures.decisions import Hand


class Page:
    """What was answered.

    Attributes:
        status: Of HTTP.
        headers: All, as a browser takes them.
        html: The body.
    """

    def __init__(self, status: int, headers: Any, html: str) -> None:
        self.status, self.headers, self.html = status, headers, html

    @cached_property
    def tree(self) -> Any:
        """The page as a browser reads it; what is malformed is an error."""
        parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
        return parser.parse(self.html)

    def all(self, tag: str, **attributes: str) -> list[Any]:
        """Give all elements of a kind."""
        return [
            one
            for one in self.tree.iter(tag)
            if all(one.get(name.rstrip("_")) == value for name, value in attributes.items())
        ]

    @property
    def says(self) -> str:
        """What is to be read on it, less what is only read by machines."""
        (main,) = self.all("main")
        return " ".join(" ".join(main.itertext()).split())

    @property
    def title(self) -> str:
        """Its title."""
        return str(self.all("title")[0].text)

    def links(self) -> dict[str, str]:
        """Give where the words of each link lead."""
        return {"".join(one.itertext()): str(one.get("href")) for one in self.all("a")}

    def form(self) -> dict[str, str]:
        """Give what a form would send that nobody fills in."""
        fields = [one for one in self.all("input") if one.get("type") == "hidden"]
        return {str(one.get("name")): str(one.get("value")) for one in fields}


class Looker:
    """Somebody who looks at the pages of a server, as a browser would.

    Attributes:
        port: Of the server.
        home: What is before each address.
        cookie: What the server has set.
        acts: What it takes to decide there.
    """

    def __init__(self, port: int, home: str = "/") -> None:
        self.port, self.home, self.cookie = port, home, ""
        self.acts: Acts | None = None

    def get(self, address: str = "", method: str = "GET", **headers: str) -> Page:
        """Ask for a page."""
        return self.ask(method, address, None, headers)

    def post(self, fields: Any, address: str = "decide", **headers: str) -> Page:
        """Send a form, as one of the pages does."""
        given = {
            "Origin": f"http://127.0.0.1:{self.port}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", address, urlencode(fields), {**given, **named})

    def ask(self, method: str, address: str, body: str | None, headers: Any) -> Page:
        """Ask for anything."""
        if self.cookie:
            headers = {"Cookie": self.cookie, **headers}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, self.home + address, body, headers)
            answer: HTTPResponse = connection.getresponse()
            return Page(answer.status, answer.headers, answer.read().decode())


@contextmanager
def serving(
    journal: Any, *, acts: Acts | None = None, names: tuple[str, ...] = (), **options: Any
) -> Iterator[Looker]:
    """Serve the pages of a journal, for the time of a block."""
    reader: Callable[[], Any] = options.pop("reader", None) or journal.onlooker
    port = options.pop("port", 0)
    with Server(port, Board(reader, **options), names, acts) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Looker(server.port)
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def deciding(journal: Any, opened: Callable[[], Any], who: str = "ada@here") -> Iterator[Looker]:
    """Serve pages on which somebody decides, who has opened the address."""
    lock = Lock()
    acts = Acts(lock, Hand(who, lock.form), opened)
    with serving(journal, acts=acts) as looker:
        page = looker.get(lock.address.removeprefix("/"))
        assert page.status == 303
        looker.cookie = str(page.headers["Set-Cookie"]).partition(";")[0]
        looker.home, looker.acts = lock.place, acts
        yield looker


def hrefs(page: Page, words: str) -> list[str]:
    """Give where links lead that have these words."""
    return [href for says, href in page.links().items() if re.search(words, says)]
