"""Any graph, any outcome: failures, doubts, crashes, late landings, aborts and persons.

`fate.Fate` holds the promises. `SAGA_EXAMPLES=20000` tries new sagas, and for longer.
"""

import os
import random

import pytest
from drawn import definitions
from fate import Fate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from py_api_saga import SagaStatus
from py_api_saga.definition import Definition
from py_api_saga.entries import STARTED

EXAMPLES = int(os.environ.get("SAGA_EXAMPLES", "0"))


@pytest.mark.untraced
@settings(
    max_examples=EXAMPLES or 500,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(definitions(), st.integers(0, 1 << 32), st.integers(0, 150))
def test_every_promise_holds_in_any_world(definition: Definition, seed: int, wild: int) -> None:
    """Failures, doubts, crashes, landings and persons, in any order: `Fate` says what holds.

    Its script is random and `wild` bytes long: drawn by Hypothesis it would be rather peaceful.
    """
    Fate(definition, random.Random(seed).randbytes(wild)).live()  # noqa: S311  # no secret


@pytest.mark.untraced
@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(definitions())
def test_in_peace_every_saga_completes(definition: Definition) -> None:
    """Without trouble each operation is started once, in an order that respects the edges."""
    world = Fate(definition, b"")

    world.live()

    assert world.x.saga is SagaStatus.COMPLETED
    assert [entry[0] for entry in world.x.entries].count(STARTED) == len(definition.operations)
    assert world.x.trouble is None
