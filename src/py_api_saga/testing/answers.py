"""What becomes of the answer to a call that has only begun something: data alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from py_api_saga.entries import Attempt, Entry, attempt_of

# When something is done about an answer; what has had no occasion is done at the end.
Moment: TypeAlias = Literal["early", "in time", "overdue", "undone", "end"]
# What that is: give it, give a refusal instead, or do what was begun and tell nobody.
Act: TypeAlias = Literal["answer", "refuse", "do"]

_PLANS: Final[Mapping[str | None, tuple[tuple[Moment, Act], ...]]] = {
    None: (("in time", "answer"),),
    "refuses": (("in time", "refuse"),),
    "lost": (("in time", "do"),),
    "late-effect": (("end", "do"),),
    "never": (),
    "answered-early": (("early", "answer"),),
    "answered-late": (("overdue", "answer"),),
    "answered-undone": (("undone", "answer"),),
    "answered-ended": (("end", "answer"),),
    "answered-twice": (("in time", "answer"), ("end", "answer")),
    "contradicted": (("in time", "answer"), ("end", "refuse")),
    "sooner": (("in time", "answer"),),
}


class Answers(NamedTuple):
    """Who answers a call.

    Attributes:
        give: Is given the world, and does what was begun; gives the result, or why it is denied.
        refuse: Is given the world, and turns down what was begun; gives the reason. Or None.
    """

    give: Callable[[Any], object]
    refuse: Callable[[Any], object] | None = None


class Reply:
    """What becomes of the answer to a call.

    Attributes:
        intent: The call.
        operation: Of which it is.
        label: The point at which that was decided.
        todo: What is to be done yet.
        is_given: Some answer was.
        is_done: What was begun is done, and nobody was told.
    """

    __slots__ = ("intent", "is_done", "is_given", "label", "operation", "todo")

    def __init__(
        self, intent: Entry, operation: str, label: str, fault: str | None, *, is_timer: bool
    ) -> None:
        """Do what a fault asks for; without one a timer is not answered."""
        self.intent, self.operation, self.label = intent, operation, label
        self.todo = [] if is_timer and fault is None else [*_PLANS[fault]]
        self.is_given = self.is_done = False

    @property
    def call(self) -> Attempt:
        """Which attempt of which call it is."""
        return attempt_of(self.intent)


Key: TypeAlias = tuple[int, str, int]  # operation, kind, generation: there is one answer for each


def key_of(intent: Entry) -> Key:
    """Give what an answer is for: any attempt under the same key."""
    i, kind, _, generation = attempt_of(intent)
    return i, kind, generation
