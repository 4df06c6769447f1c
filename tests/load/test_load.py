"""A short run of `python -m tests.load`: one case of each kind of server."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers.children import Missing

from .cases import CASES
from .trial import try_case

SHORT = (
    "Django, gthread, choreography",
    "Flask, gthread, choreography",
    "FastAPI, uvicorn, choreography",
)


@pytest.mark.untraced
@pytest.mark.parametrize("name", SHORT)
def test_requests_at_once_leave_nothing_open_and_mix_nothing_up(name: str, tmp_path: Path) -> None:
    """Forty of them, ten at once, in a real server, on PostgreSQL."""
    [case] = [case for case in CASES if case.name == name]
    try:
        found = try_case(case, tmp_path, requests=40, at_once=10)
    except Missing as missing:
        pytest.skip(f"there is no {missing}")

    assert found.wrong == []
