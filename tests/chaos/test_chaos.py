"""A short run of `python -m tests.chaos`: thirty sagas, with the barrier and without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers.children import Missing

from chaos.trial import Found, try_sagas


def tried(sagas: int, folder: Path, without: str = "") -> Found:
    """Try so many sagas."""
    try:
        return try_sagas(sagas, 1, folder, without)
    except Missing as missing:
        pytest.skip(f"there is no {missing}")


@pytest.mark.untraced
def test_thirty_sagas_leave_no_account_wrong(tmp_path: Path) -> None:
    """Though requests are lost, doubled and late, and both sides are killed."""
    found = tried(30, tmp_path)

    assert found.wrong == {}
    assert found.ends["completed"] > 0
    assert found.ends["compensated"] > 0
    assert found.network["driver killed"] > 0


@pytest.mark.untraced
def test_without_a_barrier_accounts_are_wrong(tmp_path: Path) -> None:
    """So that the test above can fail."""
    assert tried(30, tmp_path, "barrier").wrong != {}
