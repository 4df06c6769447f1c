"""To lose all calls one by one is to lose the process that makes them, in any world."""

import os
import random
from typing import Any

import pytest
from dialogue import state
from drawn import definitions
from fate import Fate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from py_api_saga.definition import Definition
from py_api_saga.entries import FAILED, Entry, attempt_of, lost, recovered
from py_api_saga.execution import Execution

EXAMPLES = int(os.environ.get("SAGA_EXAMPLES", "0"))

# What a takeover does besides, to calls that were not lost: it does not trust what they had heard.
_OF_ALL = ("asked", "recallable", "too_old")


class Torn(Fate):
    """A world in which, at any time, all that is under way may be lost: one by one, or at once."""

    def look(self) -> None:
        """Believe what the others look at."""

    def check(self, calls: list[Entry]) -> None:  # noqa: ARG002 - others check those
        """Lose all that is under way in both ways, and go on as if nothing had been."""
        trouble = self.x.trouble
        late = [] if trouble is None else sorted(trouble.stragglers)
        flights = [attempt_of(intent) for intent in self.x.flying.values()]
        for straggler in late:
            self.lose_late(straggler)
        waits = trouble is not None and (trouble.waiting or trouble.asked)  # these alone differ
        if (late or flights) and not waits:
            self.dice = random.Random(len(self.x.entries))  # noqa: S311 - no secret
            self.lose_all(late, flights)

    def lose_late(self, straggler: Any) -> None:
        """Lose what was given up: it is as if it had failed."""
        one, other = (Execution(self.definition, self.x.entries) for _ in range(2))
        one.tell(lost(straggler, too_old=self.dice.random() < 0.5))
        other.tell((FAILED, *straggler, ValueError("late")))
        assert state(one) == state(other)

    def lose_all(self, late: list[Any], flights: list[Any]) -> None:
        """Lose everything, what was given up first."""
        self.dice.shuffle(late)
        self.dice.shuffle(flights)
        calls = [*late, *flights]
        too_old = frozenset(i for i, *_ in calls if self.dice.random() < 0.3)
        one, other = (Execution(self.definition, self.x.entries) for _ in range(2))
        for call in calls:
            one.tell(lost(call, too_old=call[0] in too_old))
        other.tell(recovered(too_old))
        seen, expected = state(one), state(other)
        for name in _OF_ALL:
            seen.pop(f"trouble.{name}", None)
            expected.pop(f"trouble.{name}", None)
        assert seen == expected

    dice = random.Random(0)  # noqa: S311 - no secret


@pytest.mark.untraced
@settings(
    max_examples=EXAMPLES or 300,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(definitions(), st.integers(0, 1 << 32), st.integers(0, 150))
def test_to_lose_all_calls_is_to_lose_the_process(
    definition: Definition, seed: int, wild: int
) -> None:
    """In whatever order they are lost: all stands, and is ready, as after RECOVERED.

    If what was given up is lost first: a rollback that begins asks nothing about what may land yet.
    """
    Torn(definition, random.Random(seed).randbytes(wild)).live()  # noqa: S311  # no secret
