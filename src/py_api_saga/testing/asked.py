"""What `explore` was asked for, checked: what makes no sense is refused before anything is run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from inspect import isclass
from typing import Any, Literal, TypeAlias

from py_api_saga.exceptions import SagaDefinitionError, refused, seconds
from py_api_saga.executors.driving import stand_in
from py_api_saga.testing.answers import Answers
from py_api_saga.testing.faults import FAULTS, FIRST
from py_api_saga.testing.trying import Try
from py_api_saga.testing.wishes import made_error

How: TypeAlias = Literal["orchestrator", "choreography"]

HOWS: tuple[How, ...] = ("orchestrator", "choreography")
MOST_FAULTS = 3


def check_functions(run: Any, world: Any, state: Any, check: Any) -> None:
    """Refuse what can't be called, and that nothing is looked at."""
    if type(stand_in.get()) is Try:
        raise SagaDefinitionError("explore: it was called within another explore()")
    for name, function in (("run", run), ("world", world)):
        if not callable(function):
            raise refused(f"explore: {name}", "a function", function)
    for name, function in (("state", state), ("check", check)):
        if function is not None and not callable(function):
            raise refused(f"explore: {name}", "a function or None", function)
    if state is None and check is None:
        raise SagaDefinitionError(
            "explore: expected state= or check=, which say what is right, got neither"
        )


def check_numbers(faults: object, limit: object, budget: object) -> None:
    """Refuse what is out of range."""
    if type(faults) is not int or not 1 <= faults <= MOST_FAULTS:
        raise refused("explore: faults", f"a whole number from 1 to {MOST_FAULTS}", faults)
    if type(limit) is not int or limit < 0:
        raise refused("explore: limit", "a whole number, not negative", limit)
    seconds(budget, "explore: seconds")


def check_flags(ghosts: object, on_crash: object, replay: object) -> None:
    """Refuse what is not one of a few values."""
    if type(ghosts) is not bool:
        raise refused("explore: ghosts", "True or False", ghosts)
    if on_crash not in ("resume", "compensate", None):
        raise refused("explore: on_crash", '"resume", "compensate" or None', on_crash)
    if replay is not None and not isinstance(replay, str):
        raise refused("explore: replay", 'points and faults, as "charge:lost", or None', replay)


def names_of(value: Any, where: str, expected: str) -> tuple[str, ...]:
    """Read names, of which one may stand alone."""
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Collection) and not isinstance(names, Iterable):
        raise refused(f"explore: {where}", expected, value)
    names = tuple(names)
    for name in names:
        if not isinstance(name, str):
            raise refused(f"explore: {where}", expected, name)
    return names


def hows_of(how: Any) -> tuple[How, ...]:
    """Read how sagas are run."""
    expected = '"orchestrator", "choreography", or both'
    hows: Any = names_of(how, "how", expected)
    for one in hows:
        if one not in HOWS:
            raise refused("explore: how", expected, one)
    if not hows:
        raise SagaDefinitionError(f"explore: how: expected {expected}, got none of them")
    return tuple(dict.fromkeys(hows))


def errors_of(errors: Any) -> Mapping[str, Any]:
    """Read what refusals raise, each of which is made once to see that it can be."""
    if errors is None:
        return {}
    if not isinstance(errors, Mapping):
        raise refused("explore: errors", "exception types by service or operation", errors)
    for name, kind in errors.items():
        if not isinstance(name, str):
            raise refused("explore: errors", "names of services or operations", name)
        if not callable(kind) or (isclass(kind) and not issubclass(kind, Exception)):
            raise refused(
                f"explore: errors: {name!r}",
                "an exception type, or a function that makes one",
                kind,
            )
        made_error(kind, name)
    return errors


def answers_of(answers: Any) -> dict[str, Answers]:
    """Read who answers."""
    if answers is None:
        return {}
    if not isinstance(answers, Mapping):
        raise refused("explore: answers", "functions of the world by operation", answers)
    read: dict[str, Answers] = {}
    for name, given in answers.items():
        if not isinstance(name, str):
            raise refused("explore: answers", "names of operations", name)
        functions = given if isinstance(given, tuple) else (given,)
        if not 1 <= len(functions) <= len(Answers._fields) or not all(map(callable, functions)):
            expected = "a function of the world, or two: of an answer, and of a refusal"
            raise refused(f"explore: answers: {name!r}", expected, given)
        read[name] = Answers(*functions)
    return read


def without_of(without: Any) -> tuple[str, ...]:
    """Read what is not to go wrong; the points are looked at once they are known."""
    names = names_of(without, "without", 'kinds of faults, or "operation:kind"')
    for name in names:
        check_kind(name.rpartition(":")[2], f"without: {name!r}")
    return names


def check_kind(kind: str, where: str) -> None:
    """Refuse what is not a kind of fault."""
    if kind not in FAULTS and not kind.startswith(FIRST):
        raise SagaDefinitionError(
            f"explore: {where}: expected a kind of fault ({', '.join(FAULTS)}), got {kind!r}"
        )


def plan_of(replay: str) -> dict[str, str]:
    """Read a schedule as a report names it: "charge/bank.charge:lost, undo charge#2:twice"."""
    plan: dict[str, str] = {}
    part = ""
    for piece in replay.split(","):
        part = f"{part},{piece}" if part else piece.strip()
        point, _, kind = part.rpartition(":")
        kind = kind.strip()
        if point and (kind in FAULTS or kind.startswith(FIRST)):
            if point in plan:
                raise SagaDefinitionError(f"explore: replay: {point!r} is named twice")
            plan[point] = kind
            part = ""
    if part or (replay.strip() and not plan):
        point, _, kind = part.rpartition(":")
        if point:
            check_kind(kind.strip(), "replay")
        wrong = part or replay
        raise SagaDefinitionError(
            f'explore: replay: expected points and faults, as "charge:lost", got {wrong!r}'
        )
    return plan


def check_points(names: Iterable[str], where: str, known: Collection[str]) -> None:
    """Refuse names of operations, or of points in them, that there are not."""
    for name in names:
        bare = name.removeprefix("answer of ").removeprefix("undo ").removeprefix("question of ")
        bare = bare.partition("/")[0]
        if bare not in known and not bare.startswith(("end", "order")):
            raise SagaDefinitionError(
                f"explore: {where}: expected the name of an operation ({', '.join(known)}), "
                f"got {name!r}"
            )
