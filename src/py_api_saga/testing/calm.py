"""The calm run, in which nothing goes wrong: what all others are held against."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from typing import Any

from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.status import SagaStatus
from py_api_saga.testing.asked import check_points
from py_api_saga.testing.boundaries import part, unknown
from py_api_saga.testing.going import States, difference, entered, go, outcome_of
from py_api_saga.testing.telling import told
from py_api_saga.testing.trying import Try
from py_api_saga.testing.wishes import Wishes, deepcopied
from py_api_saga.trouble import Trouble
from py_api_saga.wording import as_text


def calm(wishes: Wishes) -> tuple[States | None, Try]:
    """Run what is explored twice while nothing goes wrong, and see that this makes sense.

    Raises:
        SagaDefinitionError: It runs no saga, or one that fails; or a world is not a new one.
        AssertionError: It does not go the same way twice.
    """
    _check_services(wishes)
    before = _before(wishes)
    wishes.is_calm = True
    try:
        first = _ran(wishes)
        again = _before(wishes)
        if wishes.state is not None and not _same(before, again):
            raise SagaDefinitionError(
                "explore: world: expected a new one for each schedule, but it stands as the run "
                f"before has left it: {difference(before, again)}"
            )
        second = _ran(wishes)
    finally:
        wishes.is_calm = False
    points = [[label for label, _ in trial.trace] for trial in (first, second)]
    for one, other in zip((*points[0], "its end"), (*points[1], "its end"), strict=False):
        if one != other:
            raise AssertionError(
                f"not deterministic: one calm run comes to {one}, another to {other}"
            )
    for one, other in zip(first.snapshots, second.snapshots, strict=False):
        if not _same(one, other):
            raise AssertionError(
                f"not deterministic: two calm runs leave different states: {difference(one, other)}"
            )
    if wishes.state is None:
        return None, first
    *between, after = first.snapshots
    return States(before, after, between), first


def _check_services(wishes: Wishes) -> None:
    """Refuse names of services that there are not."""
    with entered(wishes.world) as world:
        for name in wishes.services.in_world:
            if part(world, name) is None:
                raise SagaDefinitionError(
                    f"explore: services: {name!r}: expected an attribute of the world "
                    f"({type(world).__name__}), which has none of this name"
                )
        for module, name in wishes.services.in_modules:
            if not hasattr(module, name):
                raise unknown(f"{module.__name__}.{name}")


def _before(wishes: Wishes) -> Any:
    """Look at a new world, twice."""
    if wishes.state is None:
        return None
    with entered(wishes.world) as world:
        wishes.begin()
        first = deepcopied(wishes.state(world))
        second = wishes.state(world)
    if not _same(first, second):
        raise SagaDefinitionError(
            "explore: state: expected what equals itself when it is looked at again, got two looks "
            f"at one world that differ: {difference(first, second)}"
        )
    return first


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception as error:
        raise SagaDefinitionError(
            "explore: state: expected what can be compared, such as a dict of numbers and texts; "
            f"comparing raised {as_text(error)}"
        ) from error


def _ran(wishes: Wishes) -> Try:
    try:
        trial, endless, _ = go(wishes, {}, None)
    except Exception as error:
        raise _fails(as_text(error)) from error
    if endless is not None:
        raise _fails(endless)
    if not trial.sagas:
        raise SagaDefinitionError(
            "explore: run: expected a function that returns a saga or runs one in this thread, but "
            "it ran none; of one that it only starts, for a worker, return the saga itself"
        )
    story = "".join(f"\n{line}" for line in told(trial.story))
    outcome, raised = outcome_of(trial), trial.raised
    if outcome is not SagaStatus.COMPLETED:
        cause = _cause(trial)
        because = "" if cause is None else f" ({as_text(cause)})"
        raise _fails(f"the saga is {outcome.value}{because}{story}") from cause
    if raised is not None:
        raise _fails(f"{as_text(raised)}{story}") from raised
    return trial


def _fails(how: str) -> SagaDefinitionError:
    """What is explored already fails when nothing goes wrong."""
    return SagaDefinitionError(f"explore: run: it fails although nothing goes wrong: {how}")


def _cause(trial: Try) -> BaseException | None:
    """Give the first error of an action, or of an undo."""
    troubles = [driven.run.execution.trouble or Trouble() for driven in trial.sagas]
    errors = [(*trouble.errors.values(), *trouble.undo_errors.values()) for trouble in troubles]
    return next(chain.from_iterable(errors), None)


def check_names(wishes: Wishes, trial: Try, exempt: Collection[str]) -> None:
    """Refuse names of operations that there are not, and of what refuses."""
    operations = [name for driven in trial.sagas for name in driven.run.definition.names.all()]
    check_points(exempt, "blind", operations)
    check_points(wishes.answers, "answers", operations)
    named = [name.rpartition(":")[0] for name in wishes.without if ":" in name]
    check_points(named, "without", operations)
    services = {*wishes.services.in_world, *(name for _, name in wishes.services.in_modules)}
    reached = {site.name.rpartition(" ")[2] for _, site in trial.trace if "/" in site.name}
    for name in wishes.errors:  # a host, or a table, that only an undo comes to has a dot at best
        if name not in services | reached and name not in operations and "." not in name:
            known = ", ".join(dict.fromkeys([*sorted(services | reached), *operations]))
            raise SagaDefinitionError(
                f"explore: errors: {name!r}: expected the name of a service or an operation "
                f"({known})"
            )
