"""What all pages are made of: the document around them, and how statuses and times look."""

from __future__ import annotations

import pkgutil
import re
from base64 import b64encode
from collections.abc import Iterable
from functools import cache

from py_api_saga.pictures.markup import Markup, tag

# Where a bar begins and ends is a style attribute; with neither images nor fonts nor any other
# address allowed, no style can tell anybody anything.
_POLICY = ("default-src 'none'", "style-src 'unsafe-inline'", "base-uri 'none'")

SIGNS = {
    "completed": "✓",
    "compensated": "↩",
    "stuck": "■",
    "running": "▶",
    "compensating": "◀",
    "succeeded": "✓",
    "failed": "✗",
    "in_doubt": "?",
    "pending": "·",
    "skipped": "↷",
}


def document(
    title: object,
    *body: object,
    script: str = "",
    head: Iterable[object] = (),
    allow: str = "",
    nonce: str | None = None,
) -> str:
    """Give a whole page, which loads nothing: styles and script are in it.

    Args:
        title: Its title.
        body: What is in it.
        script: Allowed by its hash; no other runs.
        head: More for its head.
        allow: More directives of its policy, separated by semicolons; "" lets it load nothing, send
            no form, and be sent nowhere.
        nonce: With which a further policy, of whoever serves the page, allows styles and script.
    """
    made = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy(script, allow)),
            tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
            tag("meta", name="referrer", content="no-referrer"),
            tag("title", title),
            tag("style", style(), nonce=nonce),
            *head,
        ),
        tag("body", *body, tag("script", Markup(script), nonce=nonce) if script else None),
        lang="en",
    )
    return f"<!doctype html>\n{made}\n"


@cache
def policy(script: str = "", allow: str = "") -> str:
    """Give the policy of a page, as in `document`: what it may load, run and send."""
    directives = [*_POLICY, allow or "form-action 'none'"]
    if script:
        directives.append(f"script-src 'sha256-{_hash(script)}'")
    return "; ".join(directives)


@cache
def style(name: str = "style.css") -> Markup:
    """Give a style sheet, without what only its readers need."""
    read = pkgutil.get_data(__package__, name)
    sheet = re.sub(r"/\*.*?\*/", "", (read or b"").decode(), flags=re.DOTALL)
    sheet = re.sub(r"\s*([{};,>+\n])\s*", r"\1", sheet).replace("\n", "")
    return Markup(sheet.replace(": ", ":").replace(";}", "}"))


def _hash(script: str) -> str:
    from hashlib import sha256  # noqa: PLC0415 - few pages have a script

    return b64encode(sha256(script.encode()).digest()).decode()


def badge(status: str, *, small: bool = False) -> Markup:
    """Show a status as a sign and as its word, so that nobody needs to see its colour."""
    sign = tag("span", SIGNS[status], aria_hidden="true")
    word = f" {status.replace('_', ' ').upper()}"
    return tag("span", sign, word, class_=f"badge s-{status}{' small' * small}")
