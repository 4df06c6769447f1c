"""What may follow from what is told: the table lists all of it, and no more.

`dialogue.Dialogue` holds whatever a test tells the machine against the table, in any world.
"""

import os
import random
from typing import Any

import pytest
from dialogue import STORIES, Dialogue, Op, define
from fate import Fate

from py_api_saga import SagaStatus, Status
from py_api_saga.definition import Definition
from py_api_saga.entries import IN_DOUBT, KINDS, LATER, RETRY, UNSTORED, WORDS, Awaited, Setback
from py_api_saga.execution import Execution, IllegalMoveError
from py_api_saga.follows import ANOTHER, FOLLOWS, SAGA_FOLLOWS

# Worlds in which what is rare happens. `SAGA_EXAMPLES=60000` looks for others, and names them.
RARE: tuple[int, ...] = (
    3, 5, 6, 9, 10, 11, 16, 21, 24, 26, 37, 39, 62, 100, 108, 204, 271, 298, 307, 314, 317, 321,
    330, 339, 361, 410, 425, 441, 498, 511, 554, 584, 586, 664, 694, 712, 911, 937, 947, 1086,
    1092, 1114, 1193, 1227, 1266, 1315, 1433, 1454, 1594, 1673, 1717, 1785, 1846, 1865, 1927, 1985,
    1987, 2066, 2181, 2416, 2475, 2532, 2614, 2776, 2849, 3117, 3328, 3544, 3899, 5197, 5678, 6014,
    7793, 10151, 11059, 11552, 15359, 52819,
)  # fmt: skip
EXAMPLES = int(os.environ.get("SAGA_EXAMPLES", "0"))

TABLES: tuple[Any, ...] = (FOLLOWS, SAGA_FOLLOWS)
ROWS = [
    (status, event, after)
    for table in TABLES
    for status in table
    for event in table[status]
    for after in type(status)
    if after in table[status][event]
]


def definition(dice: random.Random) -> Definition:
    """Throw a saga of up to six operations, with or without a pivot."""
    count = dice.randint(1, 6)
    pivot = dice.choice([-1, -1, *range(count)])
    plan = []
    for i in range(count):
        after = set(dice.sample(range(i), dice.randint(0, min(i, 3))))
        if pivot >= 0:  # all others come before or after it
            after = set(range(i)) if i == pivot else after | {pivot} if i > pivot else after
        undo = dice.choice(["plain", "plain", "needs result", "none"])
        doubt: Any = dice.choice(["proceed", "proceed", "park", "ask"])
        plan.append(
            Op(tuple(sorted(after)), undo != "none", undo == "needs result", doubt, i == pivot)
        )
    on_crash: Any = dice.choice(["resume", "resume", "compensate"])
    return define(*plan, chain=dice.choice([False, False, True]), on_crash=on_crash)


class Swift(Fate):
    """A world in which nobody looks twice: that is what the others are for."""

    def look(self) -> None:
        """Believe it."""


def world(seed: int) -> Dialogue:
    """Live in a world to its end."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    fate = Swift(definition(dice), dice.randbytes(dice.randint(0, 150)))
    fate.live()
    return fate


@pytest.fixture(scope="module")
def lived() -> list[Dialogue]:
    """Tell all the stories, and live in all the worlds."""
    return [*[story() for story in STORIES], *map(world, RARE)]


@pytest.fixture(scope="module")
def reached(lived: list[Dialogue]) -> set[Any]:
    """Collect the lines of the tables that this has led to."""
    found = {row for dialogue in lived for row in dialogue.followed}
    new = []
    for seed in range(EXAMPLES):
        followed = world(seed).followed
        if not followed <= found:
            new.append(seed)
            found |= followed
    if new:
        print(f"RARE = {(*RARE, *new)}")  # noqa: T201 - for whoever asked
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}, {row[1]}, {row[2]}")
def test_each_line_is_reached(row: object, reached: set[Any]) -> None:
    """The table lists nothing that never follows."""
    assert row in reached


def test_the_tables_have_every_status_and_every_word() -> None:
    """A new one is not forgotten: what it may lead to is said, or that it is refused."""
    assert set(FOLLOWS) == set(Status)
    assert set(SAGA_FOLLOWS) == set(SagaStatus)
    for row in FOLLOWS.values():
        assert set(row) == {*WORDS, ANOTHER}
    for saga_row in SAGA_FOLLOWS.values():
        assert set(saga_row) == set(WORDS)


REFUSED = [(status, word) for status in FOLLOWS for word in WORDS if not FOLLOWS[status][word]]


@pytest.fixture(scope="module")
def standing(lived: list[Dialogue]) -> dict[Status, tuple[Execution, int]]:
    """Find a machine with an operation in each status."""
    found: dict[Status, tuple[Execution, int]] = {}
    for dialogue in lived:
        entries = dialogue.x.entries
        for end in range(len(entries) + 1):
            execution = Execution(dialogue.definition, entries[:end])
            for i, status in enumerate(execution.status):
                found.setdefault(status, (execution, i))
    return found


@pytest.mark.parametrize(("status", "word"), REFUSED)
def test_what_is_listed_as_refused_is(
    status: Status, word: Any, standing: dict[Status, tuple[Execution, int]]
) -> None:
    """Whatever the kind of the call, and with a value as it should be."""
    execution, i = standing[status]
    error = ValueError("wrong")
    values = {
        RETRY: Setback(error, 1.0),
        IN_DOUBT: Setback(error),
        UNSTORED: (None, error),
        LATER: Awaited(None),
    }
    value: Any = values.get(word, error)
    if word == "resolved":
        value = (Status.SUCCEEDED, None)
    for kind in KINDS:
        with pytest.raises(IllegalMoveError):
            execution.tell((word, i, kind, 1, 1, value))
    assert execution.status[i] is status
