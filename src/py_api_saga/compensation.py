"""The compensation engine: what is owed, in which order, and how it adds up to an exception.

It is made on the first trouble of a run: a saga in which all goes well has none of it.
"""

from __future__ import annotations

from itertools import compress, count

from py_api_saga.exceptions import SagaException, SagaStuck
from py_api_saga.status import SagaStatus, Status
from py_api_saga.wording import as_text

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from py_api_saga.definition import Definition
    from py_api_saga.entries import Attempt
    from py_api_saga.report import Why

_OWED = frozenset({Status.SUCCEEDED, Status.IN_DOUBT, Status.STUCK})  # when a rollback begins
_PENDING = Status.PENDING
_STUCK = SagaStatus.STUCK  # looking up a member of an Enum costs 60 ns, a global 5
_NOBODY: frozenset[int] = frozenset()  # a set that is filled costs more, and these hardly are


class Trouble:
    """What a run remembers once something went wrong; operations by index, kinds by name.

    Attributes:
        errors: What each action raised last, unless it succeeded after all.
        reasons: Why the run was told to stop: the deadline, an interrupt, a person.
        waiting: Operations between two attempts, with the seconds to wait.
        doubted: Actions of which an attempt ended in doubt. Sticky: only an answer, a landing or
            a person clears it.
        crashed: In doubt because a process died, so they may be called again.
        answered: Asked about what came of them, and nobody knew.
        too_old: Never to be called again under their old keys.
        stragglers: Attempts that were abandoned and may still land.
        landed: Landed when their undo had begun: owed once more.
        generations: Which generation of its idempotency key a (operation, kind) is at, from 2.
        undo_tries: How often a compensation was called.
        undone: What compensations returned, in the order in which they ended.
        undo_errors: What each compensation raised last, unless it succeeded after all.
    """

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.errors: dict[int, BaseException] = {}
        self.reasons: list[BaseException] = []
        self.waiting: dict[int, float] = {}
        self.doubted: set[int] = set()
        self.crashed: set[int] = set()
        self.answered: frozenset[int] = _NOBODY
        self.too_old: frozenset[int] = _NOBODY
        self.stragglers: frozenset[Attempt] = frozenset()
        self.landed: frozenset[int] = _NOBODY
        self.generations: dict[tuple[int, str], int] = {}
        self.undo_tries: dict[int, int] = {}
        self.undone: dict[int, Any] = {}
        self.undo_errors: dict[int, BaseException] = {}

    def copied(self) -> Trouble:
        """Copy what an exception tells of it."""
        trouble = Trouble()
        trouble.errors, trouble.reasons = self.errors.copy(), self.reasons.copy()
        trouble.undone, trouble.undo_errors = self.undone.copy(), self.undo_errors.copy()
        trouble.doubted = self.doubted.copy()
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
        started = statuses.index(_PENDING) if _PENDING in statuses else len(statuses)
        if started and statuses[started - 1] not in _OWED:
            started -= 1
        return set(range(started)), {}, [started - 1] if started else []
    owed = set(compress(count(), map(_OWED.__contains__, statuses)))
    blockers: dict[int, int] = {}
    for i in owed:
        for j in definition.after[i]:
            blockers[j] = blockers.get(j, 0) + 1
    return owed, blockers, [i for i in sorted(owed) if i not in blockers]


def failure(
    identify: Callable[[], str],
    definition: Definition,
    outcome: SagaStatus,
    statuses: list[Status],
    results: list[Any],
    trouble: Trouble,
    stuck: dict[int, Why],
) -> SagaException:
    """Add up what went wrong to the exception that the caller gets.

    Args:
        identify: Gives the id of the run.
        definition: What it was to do.
        outcome: How it ended.
        statuses: By operation; the exception keeps this and what follows.
        results: By operation.
        trouble: What went wrong.
        stuck: Why each operation is stuck that is.
    """
    errors = trouble.errors
    failed: int | None
    if errors:
        if len(errors) > 1:
            errors = dict(sorted(errors.items()))
        failed, error = next(iter(errors.items()))
    else:
        failed = statuses.index(Status.PENDING) if Status.PENDING in statuses else None
        if trouble.reasons:
            error = trouble.reasons[0]
        else:
            error = RuntimeError("the process that ran the saga died")
            if Status.STUCK in statuses:
                failed = statuses.index(Status.STUCK)
    kind = SagaStuck if outcome is _STUCK else SagaException
    undone, undo_errors, texts = None, trouble.undo_errors, None
    if trouble.undone:
        undone = [trouble.undone[i] for i in _in_order(trouble.undone, definition)]
    if undo_errors:
        undo_errors = {i: undo_errors[i] for i in _in_order(undo_errors, definition)}
        texts = [as_text(raised, str) for raised in undo_errors.values()]
    label = None if failed is None else definition.operations[failed].label
    exception = kind(error, label, undone, texts)
    exception._told = (  # noqa: SLF001 - set here alone, and read by its own class
        identify,
        outcome,
        definition.names.all,
        definition.after,
        statuses,
        results,
        failed,
        definition.pivot >= 0 and statuses[definition.pivot] is Status.SUCCEEDED,
        errors,
        undo_errors,
        [reason for reason in trouble.reasons if all(reason is not e for e in errors.values())]
        if errors and trouble.reasons
        else [],
        frozenset(trouble.doubted),
        stuck,
    )
    return exception


def _in_order(ended: Iterable[int], definition: Definition) -> list[int]:
    """Sort what was compensated: a chain goes backwards, at once is in operation order."""
    return sorted(ended, reverse=definition.is_chain)
