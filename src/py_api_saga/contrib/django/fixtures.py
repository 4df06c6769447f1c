"""A fixture for pytest-django: `pytest_plugins = ["py_api_saga.contrib.django.fixtures"]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def saga_journal(db: Any) -> Iterator[Any]:  # noqa: ARG001 - a `TestJournal`; and pytest-django's
    """Have sagas of this test recorded in memory, and run in its thread: see `sagas_in_test`."""
    from py_api_saga.contrib.django.testing import sagas_in_test  # noqa: PLC0415 - Django's settings

    with sagas_in_test() as journal:
        yield journal
