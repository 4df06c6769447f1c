"""Which release this is."""

from __future__ import annotations


def installed() -> str:
    """Give the version of the distribution."""
    from importlib import metadata  # noqa: PLC0415 - 30 ms, needed by few commands

    try:
        return metadata.version("py-api-saga")
    except metadata.PackageNotFoundError:
        return "(from a checkout that is not installed)"
