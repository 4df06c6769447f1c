"""Which errors say that this process lacks something: nothing about a call, nor about a saga."""

from __future__ import annotations

from collections.abc import Iterator

from py_api_saga.exceptions import SagaError
from py_api_saga.wording import as_text


class LackingError(SagaError):
    """The saga names what this process lacks, and another one may have.

    Attributes:
        name: What it lacks, as "module:function".
        is_noted: The saga says so already.
    """

    def __init__(self, name: str, *, is_noted: bool) -> None:
        """Say what is lacking."""
        super().__init__(f"this process lacks {name}, which one of another release may have")
        self.name, self.is_noted = name, is_noted


_MOST = 100  # links of a chain that are looked at

# By name, also that of a base class: nothing is imported to know them.
_NAMES = frozenset(
    {
        "django.core.exceptions.AppRegistryNotReady",
        "django.core.exceptions.ImproperlyConfigured",
    }
)
# By text, of the two classes that these are raised as. What a text begins with, or ends with.
_BEGINNINGS = (
    "Working outside of application context",  # Flask
    "Working outside of request context",
    "Working outside of ",  # werkzeug, with what stands for the rest
    "There is no current event loop in thread ",  # asyncio, from here on
    "The future belongs to a different loop than ",
)
_ENDS = (
    "attached to a different loop",
    "is bound to a different event loop",
    "Event loop is closed",
    "no running event loop",
)
_TEXTED = (RuntimeError, ValueError)


def unready(error: BaseException, handled: BaseException | None = None) -> BaseException | None:
    """Give what says so: an error, what it was raised from, or one of its group; None if nothing.

    Args:
        error: What a call has raised.
        handled: What was being handled when all began; that, and what is behind it, is not looked
            at. `raise … from None` hides what it was raised in.
    """
    return next((link for link in _links(error, handled) if _says_so(link)), None)


def _links(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    found, seen = [error], {id(handled)}
    while found and len(seen) <= _MOST:
        link = found.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if link.__cause__ is not None:
            found.append(link.__cause__)
        elif link.__context__ is not None and not link.__suppress_context__:
            found.append(link.__context__)
        if isinstance(link, BaseExceptionGroup):
            found += reversed(link.exceptions)


def _says_so(error: BaseException) -> bool:
    kind = type(error)
    if any(f"{base.__module__}.{base.__qualname__}" in _NAMES for base in kind.__mro__):
        return True
    if kind not in _TEXTED:
        return False
    text = as_text(error, str).strip()
    return text.startswith(_BEGINNINGS) or text.endswith(_ENDS)
