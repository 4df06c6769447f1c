"""Sagas of a Django project: `saga("checkout")`, in the journal that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Unpack

from py_api_saga.bound import BoundSaga
from py_api_saga.contrib.arguments import FrameworkSaga
from py_api_saga.contrib.django.around import Surroundings
from py_api_saga.contrib.django.atomic import refuse_atomic
from py_api_saga.contrib.django.configured import journal_if_any
from py_api_saga.current import Around
from py_api_saga.definition import Definition
from py_api_saga.executable import nobody
from py_api_saga.executors.run import Run
from py_api_saga.journal.protocol import Journal
from py_api_saga.observer import Observer
from py_api_saga.retry import Retry
from py_api_saga.saga_options import SagaOptions


class DjangoSaga(FrameworkSaga):
    """A saga of a Django project: `saga` makes one. Its class attributes are those of `Saga`.

    - Its journal is the one that `PY_API_SAGA` names, unless it is given another.
    - Calls in threads and in an event loop have the language, time zone and urlconf of where it was
      made, or was given its arguments; threads close their connections.
    - It is not run in a transaction of its caller's: `SagaInAtomicBlock`.
    """

    def __init__(
        self,
        retry_attempts: int | None = None,
        *,
        atomic: bool = False,
        **options: Unpack[SagaOptions],
    ) -> None:
        """Start an empty saga.

        Args:
            retry_attempts: As in `Saga`, as all `options` are.
            atomic: Whether it may be run in a transaction of its caller's.
            options: See `Saga`.

        Raises:
            SagaDefinitionError: An argument is not of its type, or out of range.
        """
        super().__init__(retry_attempts, **options)
        self._atomic = atomic
        self._inner, self.around = self.around, (Surroundings(), *self.around)

    def given(self, /, **arguments: Any) -> BoundSaga:
        """Give the operations what `given("…")` stands for in them; see `Saga.given`."""
        super().given(**arguments)  # which makes the template, and refuses wrong names
        assert self._template is not None  # noqa: S101 - as said
        here = type(self).__new__(type(self))  # the very operations: nobody can add to them
        here.__dict__.update(self.__dict__)
        here.around = (Surroundings(), *self._inner)
        return BoundSaga(here, self._template, arguments)

    def _run(
        self,
        definition: Definition,
        saga_id: str | None,
        deadline: float | None,
        drive_late: Callable[[Run], object],
        journal: Journal | None = None,
        limit: int | None = None,
    ) -> Run:
        if not self._atomic and drive_late is not nobody:
            refuse_atomic()
        if journal is None:
            journal = self.journal or journal_if_any()
        return super()._run(definition, saga_id, deadline, drive_late, journal, limit)


def saga(
    name: str | None = None,
    *,
    atomic: bool = False,
    retry: Retry | None = None,
    compensation_retry: Retry | None = None,
    observers: Sequence[Observer] = (),
    around: Sequence[Around] = (),
    journal: Journal | None = None,
    on_crash: Literal["resume", "compensate"] | None = None,
    max_doubt_age: float | None = None,
) -> DjangoSaga:
    """Start an empty saga of this project; see `DjangoSaga`.

    Args:
        name: What logs, events and exceptions call it, 1 to 64 characters.
        atomic: Whether it may be run in a transaction of its caller's, whose rollback would wipe
            what operations have written, also after the saga has said that it is done.
        retry: This and what follows are those of `Saga`.
        compensation_retry: See there.
        observers: See there.
        around: See there; inside of what this project has around each call.
        journal: In the place of the one that the settings name.
        on_crash: See there.
        max_doubt_age: See there.

    Raises:
        SagaDefinitionError: An argument is not of its type, or out of range.
    """
    return DjangoSaga(
        name=name,
        atomic=atomic,
        retry=retry,
        compensation_retry=compensation_retry,
        observers=observers,
        around=around,
        journal=journal,
        on_crash=on_crash,
        max_doubt_age=max_doubt_age,
    )
