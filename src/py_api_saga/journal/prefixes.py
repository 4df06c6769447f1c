"""Texts that begin alike, as a range of an index: from the prefix up to what `past` gives.

In the order of code points, which is that of the bytes in UTF-8, by which databases compare ids.
"""

from __future__ import annotations

_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)  # no text that is stored has any


def past(prefix: str) -> str | None:
    """Give the least text after all that begin with a prefix, or None if there is none."""
    for i in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[i]) + 1
        if code <= _LAST:
            return prefix[:i] + chr(_SURROGATES.stop if code in _SURROGATES else code)
    return None
