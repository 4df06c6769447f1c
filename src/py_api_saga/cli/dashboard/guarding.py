"""Who is let in: by the name that was called, and with `--act` by a cookie that a token gave.

Every user of a machine reaches its loopback, and so does every page that a browser of one of them
has open. A page elsewhere that has its name mean 127.0.0.1 ("DNS rebinding") calls us by that name,
which gives it away. And cookies know no ports: another server of this machine gets those that were
set for `/`, so ours is set for a path that nobody can guess.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from py_api_saga import chance

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_BYTES = 24  # of what nobody can guess
_COOKIE = "saga"


def is_known(host: str, names: tuple[str, ...]) -> bool:
    """Tell whether a `Host` header has one of these names, with a port or without."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdecimal():
        name = host
    return name.lower() in names


class Lock:
    """What keeps everybody out but whoever has the address that was printed.

    Attributes:
        place: The path below which all pages are, `/…/`.
        form: What a form has to carry besides the cookie.
        tell: Called when there is another address.
    """

    def __init__(self) -> None:
        """Make it."""
        self.place = f"/{chance.digits(_BYTES)}/"
        self.form = chance.digits(_BYTES)
        self.tell: Callable[[], None] = lambda: None
        self._key = chance.digits(_BYTES)
        self._token = chance.digits(_BYTES)

    @property
    def address(self) -> str:
        """What lets in whoever opens it first."""
        return f"{self.place}?token={self._token}"

    def take(self, token: str) -> str | None:
        """Take a token, which is good once: give what sets the cookie, or None if it is wrong."""
        if not compare_digest(token.encode(), self._token.encode()):
            return None
        self._token = chance.digits(_BYTES)
        self.tell()
        return f"{_COOKIE}={self._key}; Path={self.place}; HttpOnly; SameSite=Strict"

    def opens(self, cookies: str) -> bool:
        """Tell whether a `Cookie` header has the key; it may have others' cookies as well."""
        pairs = (one.strip().partition("=") for one in cookies.split(";"))
        return any(
            name == _COOKIE and compare_digest(value.encode(), self._key.encode())
            for name, _, value in pairs
        )

    def is_ours(self, token: str) -> bool:
        """Tell whether a form is one of our pages'."""
        return compare_digest(token.encode(), self.form.encode())
