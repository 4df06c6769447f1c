"""The compensation engine: what is owed, in which order, and how it adds up to an exception.

It is made on the first trouble of a run: a saga in which all goes well has none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from py_api_saga.exceptions import Report, SagaException, SagaStuck, as_text
from py_api_saga.status import SagaStatus, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from py_api_saga.definition import Definition

Attempt: TypeAlias = tuple[int, str, int, int]  # operation, kind, attempt, generation


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
        reopened: Stuck, and a person said "again".
        generations: Which generation of its idempotency key a (operation, kind) is at, from 2.
        undo_tries: How often a compensation was called.
        undone: What compensations returned, in the order in which they ended.
        undo_errors: What compensations raised in the end.
    """

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.errors: dict[int, BaseException] = {}
        self.reasons: list[BaseException] = []
        self.waiting: dict[int, float] = {}
        self.doubted: set[int] = set()
        self.crashed: set[int] = set()
        self.answered: set[int] = set()
        self.too_old: frozenset[int] = frozenset()
        self.stragglers: set[Attempt] = set()
        self.landed: set[int] = set()
        self.reopened: set[int] = set()
        self.generations: dict[tuple[int, str], int] = {}
        self.undo_tries: dict[int, int] = {}
        self.undone: dict[int, Any] = {}
        self.undo_errors: dict[int, BaseException] = {}

    def alive(self, i: int) -> bool:
        """Tell whether an abandoned attempt of an operation may still land."""
        return any(straggler[0] == i for straggler in self.stragglers)


class Debts:
    """The order of a rollback: an operation after all that were built on it."""

    def __init__(self, definition: Definition, owed: Sequence[bool]) -> None:
        """Count, for each operation, the owed ones that were built on it."""
        self._after = definition.after
        self._owed = owed
        self._settled: set[int] = set()
        self._blockers = [sum(map(owed.__getitem__, later)) for later in definition.followers]

    def free(self, i: int) -> bool:
        """Tell whether nothing that is built on an operation is owed any more."""
        return not self._blockers[i]

    def first(self) -> list[int]:
        """List what may be undone at once."""
        return [i for i, owed in enumerate(self._owed) if owed and not self._blockers[i]]

    def settle(self, i: int) -> list[int]:
        """Note that nothing is owed for an operation; list what may be undone since."""
        if i in self._settled or not self._owed[i]:
            return []
        self._settled.add(i)
        freed, blockers = [], self._blockers
        for j in self._after[i]:
            blockers[j] -= 1
            if not blockers[j]:
                freed.append(j)
        return freed


def failure(
    saga_id: str,
    definition: Definition,
    outcome: SagaStatus,
    statuses: list[Status],
    results: list[Any],
    trouble: Trouble,
) -> SagaException:
    """Add up what went wrong to the exception that the caller gets."""
    errors = dict(sorted(trouble.errors.items()))
    failed: int | None
    if errors:
        failed, error = next(iter(errors.items()))
    else:
        failed = statuses.index(Status.PENDING) if Status.PENDING in statuses else None
        error = trouble.reasons[0]
    # In a chain a rollback goes backwards; of a parallel one the predecessor told results and
    # errors in operation order, whatever ended first.
    backwards = definition.is_chain
    undone = sorted(trouble.undone.items(), key=lambda item: item[0], reverse=backwards)
    unable = sorted(trouble.undo_errors.items(), key=lambda item: item[0], reverse=backwards)
    kind = SagaStuck if outcome is SagaStatus.STUCK else SagaException
    exception = kind(
        error,
        None if failed is None else definition.operations[failed].label,
        [value for _, value in undone] or None,
        [as_text(raised, str) for _, raised in unable] or None,
    )
    exception._report = Report(  # noqa: SLF001 - set here alone, and read by its own class
        saga_id,
        outcome,
        tuple(definition.names.all()[: len(statuses)]),
        definition.after,
        statuses.copy(),
        results,
        failed,
        errors,
        trouble.undo_errors.copy(),
    )
    return exception
