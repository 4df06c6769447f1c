"""Sagas do the same wherever they run: in memory, in a file, in PostgreSQL, on DBOS, on Temporal.

This is a smoke run of the cases in `cases`, with workers in this process. All of them, with workers
that are killed, is `python -m tests.engines`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from servers.children import Missing, in_memory

from .cases import CASES, Case
from .places import ENGINES, JOURNALS, Place, opened

KINDS = (*JOURNALS, *ENGINES)
QUICK = [case for case in CASES if case.quick]


def _opened(stack: ExitStack, kind: Any, **options: Any) -> Place:
    """Open a place of a kind; what it needs is not on every machine."""
    folder = TemporaryDirectory(prefix="saga-test-", dir=in_memory(), ignore_cleanup_errors=True)
    try:
        return stack.enter_context(opened(kind, Path(stack.enter_context(folder)), **options))
    except Missing as missing:
        pytest.skip(f"there is no {missing}")


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place of each kind, with a worker in this process."""
    with ExitStack() as stack:
        made = _opened(stack, request.param)
        stack.enter_context(made.here())
        yield made


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_a_saga_does_the_same_in_each_place(place: Place, case: Case) -> None:
    """As the case says."""
    case.do(place, case.goods)
