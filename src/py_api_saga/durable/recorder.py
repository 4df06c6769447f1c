"""A saga's place in a journal: its id, its definition, and the claim under which it is written."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from py_api_saga import chance, clock
from py_api_saga.definition import Definition
from py_api_saga.exceptions import SagaError
from py_api_saga.executors import driving
from py_api_saga.journal.changes import Claim, Create, Leave, Summary, Take, latest
from py_api_saga.journal.format.definitions import MAX_AGE, Plan, write_definition
from py_api_saga.journal.format.json_text import loads
from py_api_saga.journal.format.values import Values
from py_api_saga.journal.protocol import Journal


class Recorder:
    """Where one saga is on record, or is to be.

    Attributes:
        journal: Of the saga.
        saga_id: Of the saga.
        name: Of the saga, until it is in the journal.
        head: What it begins with there, a row of JSON, until it is in the journal: it is large.
        claim: Under which it is written; None until it is in the journal.
        deadline: When it is of no use any more to begin, on the monotonic clock, or None.
        values: How values are written.
    """

    __slots__ = ("claim", "deadline", "head", "journal", "name", "saga_id", "values")

    def __init__(
        self,
        journal: Journal,
        saga_id: str,
        values: Values,
        name: str | None = None,
        head: str = "",
        deadline: float | None = None,
    ) -> None:
        """Name the place; a first row holds the definition alone as yet."""
        self.journal, self.saga_id, self.values = journal, saga_id, values
        self.name, self.head = name, head
        self.deadline = deadline
        self.claim: Claim | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The definition as it would be read from the journal."""
        tree: dict[str, Any] = loads(self.head)[0][1]
        return tree

    def undriven(self) -> Create:
        """Give the change that writes the definition alone, for somebody else to run."""
        create = Create(self.saga_id, self.name, self.head, driven=False)
        create.until = latest(self.deadline)
        return create

    # --- owning ----------------------------------------------------------------------------------

    def let_go(self) -> None:
        """Have the claim count as never made once it is left, and this process make no other."""
        assert self.claim is not None  # noqa: S101 - a call was made
        self.claim.void = self.claim.barred = True

    def give_back(self, *, at_once: bool) -> None:
        """Drive the saga no longer, as is on record when this returns.

        Never raises an error of the journal: then it is left as it always is.

        Args:
            at_once: Whether recovery may take it at once, though it was recovery that had it.
        """
        claim = self.claim
        if claim is None or claim.over:
            return
        with suppress(SagaError):
            leave = Leave(claim)
            leave.until = latest()
            self.journal.write(leave)
            seen = self.journal.find(self.saga_id)
            late = at_once and seen is not None and seen.due > self.journal.now()
            if late and seen is not None and seen.epoch == claim.epoch:
                take = Take(seen)  # which puts off nothing, and does not count as a try
                take.until = leave.until
                self.journal.write(take)
                if take.error is None:
                    leave = Leave(take.check())
                    leave.until = take.until
                    self.journal.write(leave)

    def claim_again(self) -> Summary | None:
        """Claim what was left, unless somebody has gone on with it, and give where it stood."""
        old = self.claim
        seen = None if old is None else self.journal.find(self.saga_id)
        same = seen is not None and old is not None and seen.number == old.number
        if old is None or seen is None or not same or seen.epoch != old.epoch:
            return None
        take = Take(seen)
        self.journal.write(take)
        if take.error is not None:
            return None
        claim = take.check()
        if claim.rows != old.rows:
            self.journal.leave(claim)
            return None
        self.claim = claim
        return seen


def begin(
    journal: Journal,
    definition: Definition,
    name: str | None,
    saga_id: str | None,
    seconds: float | None,
    max_age: float | None,
    limit: int | None,
    in_loop: bool,  # noqa: FBT001 - of the executor
) -> Recorder:
    """Write a definition down, for a run that is about to begin.

    Raises:
        SagaDefinitionError: An argument or a function can't be stored.
    """
    until = deadline = None
    if seconds is not None:
        until, deadline = journal.now() + seconds, clock.monotonic() + seconds
    plan = Plan(name, until, MAX_AGE if max_age is None else max_age, limit, in_loop=in_loop)
    if driving.onlooker is not None:
        plan.trace = driving.onlooker.trace()
    values = Values(journal)
    head = write_definition(definition, plan, values)
    if saga_id is None:  # ordered in time, which keeps the index on it fast
        saga_id = f"{int(clock.time() * 1000):011x}{chance.digits(8)}"
    return Recorder(journal, saga_id, values, name, f"[{head}]", deadline)
