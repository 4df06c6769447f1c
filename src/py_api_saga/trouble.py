"""What went wrong in a run, and what a rollback owes for it.

Made on the first trouble: a run in which all goes well has none of it.
"""

from __future__ import annotations

from itertools import compress, count
from typing import Any

from py_api_saga.definition import Definition
from py_api_saga.entries import Attempt
from py_api_saga.status import Status

_OWED = frozenset({Status.SUCCEEDED, Status.IN_DOUBT, Status.STUCK})  # when a rollback begins
_PENDING = Status.PENDING  # looking up a member of an Enum costs 60 ns, a global 5
_NOBODY: frozenset[int] = frozenset()
_NO_ATTEMPT: frozenset[Attempt] = frozenset()


class Trouble:
    """What a run remembers once something went wrong; operations by index, kinds by name.

    The machine alone writes to it. Each line says what something is for and, behind the semicolon,
    what clears it; `execution` tells the story that they belong to.

    What is to be told in the end:

    Attributes:
        errors: What each action raised last: the first of them is what the exception is raised
            from; cleared by a success, however it becomes known, while the saga goes forward.
        reasons: Why the run was told to stop: the deadline, an interrupt, a person; never cleared.
        undone: What compensations returned, in the order in which they ended; never cleared.
        undo_errors: What each compensation raised last; cleared by its success.

    Between two attempts:
        waiting: Operations that are called again, with the seconds to wait: actions going forward,
            compensations in a rollback; cleared when they are called, and for actions when a
            rollback is decided, which gives them up.
        undo_tries: How often a compensation was called; never cleared, so that no two attempts
            have the same number.
        generations: Which generation of its idempotency key a (operation, kind) is at, from 2: a
            person wanted another key, or an undo is owed twice; never cleared.

    In doubt:
        doubted: Actions of which an attempt ended in doubt. Sticky: a later attempt that fails
            disproves nothing; cleared by whoever knows: a success, an answer, a landing, a person.
        recallable: Those among them that may be called again without a retry, since nothing has
            failed: a crash ended the attempt, or past the pivot an interrupt; cleared by that call.
        asked: A question about them was answered, so it is not asked again, but they are called,
            undone or left to a person; cleared by the next call, a further doubt, a crash, and as
            a rollback begins.
        too_old: Never to be called again under their old keys, which services may have forgotten;
            set anew by each crash, and cleared for what is known not to have happened.

        overdue: Those whose answer was awaited and has not come in time, or whose latest key was
            denied while an older one is in doubt: asked about before anything is undone, and never
            called again by themselves; cleared when a person has them called again.

    Abandoned:
        stragglers: Attempts whose time is up and that may still land; cleared by their end, in
            whatever way, and by a crash, which ends all of them.
        landed: Operations whose action landed when they had failed, were undone or being undone:
            owed once more; cleared when that undo is listed.
    """

    # A set that is filled costs more, and these hardly are; nor is each failing saga to set them.
    doubted: frozenset[int] = _NOBODY
    recallable: frozenset[int] = _NOBODY
    asked: frozenset[int] = _NOBODY
    too_old: frozenset[int] = _NOBODY
    overdue: frozenset[int] = _NOBODY
    stragglers: frozenset[Attempt] = _NO_ATTEMPT
    landed: frozenset[int] = _NOBODY

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.errors: dict[int, BaseException] = {}
        self.reasons: list[BaseException] = []
        self.waiting: dict[int, float] = {}
        self.generations: dict[tuple[int, str], int] = {}
        self.undo_tries: dict[int, int] = {}
        self.undone: dict[int, Any] = {}
        self.undo_errors: dict[int, BaseException] = {}

    def copied(self) -> Trouble:
        """Copy what an exception tells of it."""
        trouble = Trouble()
        trouble.errors, trouble.reasons = self.errors.copy(), self.reasons.copy()
        trouble.undone, trouble.undo_errors = self.undone.copy(), self.undo_errors.copy()
        trouble.doubted = self.doubted
        return trouble

    def alive(self, i: int, *kinds: str) -> bool:
        """Tell whether an abandoned attempt of an operation, of these kinds, may still land."""
        return any(
            late == i and (not kinds or kind in kinds) for late, kind, _, _ in self.stragglers
        )


def debts(
    definition: Definition, statuses: list[Status]
) -> tuple[set[int], dict[int, int], list[int]]:
    """Say what a rollback owes as it begins.

    Returns:
        What is owed; how many of these were built on an operation, in a chain none since it is
        one at most; and those on which none was built, in operation order: these come first.
    """
    if definition.is_chain:  # each was built on the one before it, which had succeeded
        started = len(statuses)
        while started and statuses[started - 1] is _PENDING:
            started -= 1
        if started and statuses[started - 1] not in _OWED:
            started -= 1
        return {*range(started)}, {}, [started - 1] if started else []
    owed = set(compress(count(), map(_OWED.__contains__, statuses)))
    blockers: dict[int, int] = {}
    for i in owed:
        for j in definition.after[i]:
            blockers[j] = blockers.get(j, 0) + 1
    return owed, blockers, [i for i in sorted(owed) if i not in blockers]
