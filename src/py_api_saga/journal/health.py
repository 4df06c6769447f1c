"""How a journal does: as data, whatever it is kept in."""

from typing import Any, NamedTuple


class Health(NamedTuple):
    """How a journal does."""

    facts: dict[str, Any]  # of where it is kept, by name, as JSON has them
    says: list[tuple[str, str]]  # the same for a person: a word each, and what there is to say
    sagas: dict[str, int]  # how many of each status; empty if they can't be counted
    left_by_dead: int | None  # open sagas whose process has died; None if nobody can tell
    refuses: list[str]  # why nothing is written
    damage: list[str]
    advice: list[str]  # what would be better otherwise, though nothing is wrong yet
