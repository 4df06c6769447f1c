"""What several tests of durable sagas need."""

from collections.abc import Iterator
from typing import Any

import depot
import pytest

from py_api_saga.journal import MemoryJournal


@pytest.fixture
def in_memory() -> Iterator[Any]:
    """A journal in memory: what takes a while is not waited for with each kind."""
    depot.reset()
    yield MemoryJournal(modules=["depot"])
    depot.reset()
