"""What is answered to a request: who may ask, and then a page, or what came of a decision."""

from __future__ import annotations

import sys
from collections.abc import Callable
from email.message import Message
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from py_api_saga.cli.dashboard.deciding import decide, read_form
from py_api_saga.cli.dashboard.guarding import Lock, is_known
from py_api_saga.exceptions import SagaError
from py_api_saga.journal.lasting import LastingJournal
from py_api_saga.pictures.addresses import AddressError, of_saga
from py_api_saga.pictures.board import GUARDED, TEXT, Answer, Board, Shell
from py_api_saga.pictures.decisions import Hand, decided
from py_api_saga.wording import as_text

_LARGEST = 256 << 10  # bytes of a form
_FORM = "application/x-www-form-urlencoded"
_LOCKED = "open the address that `saga dashboard --act` has printed last: it lets you in, once"


class Request(NamedTuple):
    """What came.

    Attributes:
        method: GET, HEAD or POST.
        target: What stands behind it.
        headers: All.
        body: Reads so many bytes of what follows.
    """

    method: str
    target: str
    headers: Message
    body: Callable[[int], bytes]


class Acts(NamedTuple):
    """What it takes to decide on the pages.

    Attributes:
        lock: Keeps everybody else out.
        hand: Whoever decides.
        opened: Opens the journal to write.
    """

    lock: Lock
    hand: Hand
    opened: Callable[[], LastingJournal]


class RefusedError(Exception):
    """A request gets no page, but a line.

    Attributes:
        answer: Which one.
    """

    def __init__(self, status: int, says: str, **headers: str) -> None:
        """Say why."""
        super().__init__(says)
        self.answer = line(status, says, **headers)


def line(status: int, says: str, **headers: str) -> Answer:
    """Answer with a line."""
    return Answer(status, TEXT, f"{says}\n", {**GUARDED, **headers})


def answered(request: Request, board: Board, names: tuple[str, ...], acts: Acts | None) -> Answer:
    """Answer; whatever goes wrong is said, and no traceback is shown.

    Args:
        request: What came.
        board: The pages.
        names: By which this server may be called.
        acts: What it takes to decide; None where nobody does.
    """
    try:
        _see_called_by(names, request.headers)
        url = _address(request.target)
        if acts is None:
            _see_shows(request.method)
            return board.answer(url.path.removeprefix("/"), url.query)
        if (request.method, url.path) == ("GET", acts.lock.place) and "token=" in url.query:
            return _let_in(url.query, acts.lock)
        page = _see_let_in(url.path, request.headers, acts.lock)
        if request.method != "POST":
            return board.answer(page, url.query, hand=acts.hand)
        return _decided(page, _form(request), acts)
    except RefusedError as refused:
        return refused.answer
    except Exception as error:  # noqa: BLE001 - a page that cannot be made is to be no traceback
        print(f"saga: {request.target}: {as_text(error)}", file=sys.stderr)
        says = f"{type(error).__name__}, which should not be: see what the terminal says"
        return Shell().sorry(500, "The page cannot be made", says)


# --- who may ask ----------------------------------------------------------------------------------


def _see_called_by(names: tuple[str, ...], headers: Message) -> None:
    hosts = headers.get_all("Host", [])
    if len(hosts) != 1 or not is_known(hosts[0], names):
        raise RefusedError(403, f"expected to be called {' or '.join(names)}")


def _see_shows(method: str) -> None:
    if method == "POST":
        raise RefusedError(405, "these pages only show: see --act", Allow="GET, HEAD")


def _address(target: str) -> SplitResult:
    try:
        return urlsplit(target)
    except ValueError as error:
        raise RefusedError(400, "the address makes no sense") from error


def _see_let_in(path: str, headers: Message, lock: Lock) -> str:
    """Give what is asked for of whoever was let in."""
    cookies = "; ".join(headers.get_all("Cookie", []))
    if not path.startswith(lock.place) or not lock.opens(cookies):
        raise RefusedError(403, _LOCKED)
    return path.removeprefix(lock.place)


def _let_in(query: str, lock: Lock) -> Answer:
    token = dict(parse_qsl(query)).get("token", "")
    cookie = lock.take(token)
    if cookie is None:
        raise RefusedError(403, _LOCKED)
    return _led("./", **{"Set-Cookie": cookie})


def _led(where: str, **headers: str) -> Answer:
    """Lead on to a page."""
    return Answer(303, TEXT, "", {**GUARDED, "Location": where, **headers})


# --- what was decided -----------------------------------------------------------------------------


def _form(request: Request) -> str:
    """Read a form that one of our pages has sent."""
    headers = request.headers
    origin = f"http://{headers['Host']}"
    if headers.get("Origin") != origin:
        raise RefusedError(403, f"expected a form of these pages: Origin: {origin}")
    if headers.get_content_type() != _FORM:
        raise RefusedError(415, f"expected {_FORM}")
    length = headers.get("Content-Length", "")
    if not (length.isascii() and length.isdecimal()):
        raise RefusedError(411, "expected to be told the length of the form")
    if len(length) > len(str(_LARGEST)) or int(length) > _LARGEST:
        raise RefusedError(413, f"expected a form of {_LARGEST:,} bytes at most")
    try:
        return request.body(int(length)).decode(errors="replace")
    except TimeoutError as error:
        raise RefusedError(408, "expected all of the form by now") from error


def _decided(page: str, body: str, acts: Acts) -> Answer:
    """Write down what a form says, and lead to what came of it."""
    shell = Shell(acts.hand)
    if page != "decide":
        raise RefusedError(404, "nothing is decided there")
    try:
        form = read_form(body)
        if not acts.lock.is_ours(form.token):
            raise RefusedError(403, "expected a form of these pages, as they are now")
        outcomes = decide(acts.opened, form, acts.hand.who)
    except AddressError as error:
        return shell.sorry(400, "That form makes no sense", str(error))
    except SagaError as error:
        return shell.sorry(503, "The journal cannot be written", as_text(error, str))
    if len(outcomes) > 1:
        return shell.page(*decided(form.verb, outcomes))
    (one,) = outcomes
    if one.problem:
        return shell.sorry(409, "This was not decided", one.problem)
    return _led(of_saga(one.saga_id))
