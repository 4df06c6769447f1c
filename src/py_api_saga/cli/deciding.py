"""What a person decides about a saga: `saga retry`, `compensate`, `cancel` and `resolve`."""

from __future__ import annotations

import argparse
import getpass
import os
import socket
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from typing import Any

from py_api_saga import repair
from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.deciding_all import decide_all, is_about_all
from py_api_saga.cli.engine import is_engine
from py_api_saga.cli.opening import to_write
from py_api_saga.cli.printing import write
from py_api_saga.cli.sealed import refuse_sealed
from py_api_saga.cli.setting_up import import_modules
from py_api_saga.exceptions import SagaError
from py_api_saga.journal.changes import OPEN, Summary
from py_api_saga.journal.format.functions import UnknownNameError
from py_api_saga.journal.format.json_text import MAX_VALUE, loads
from py_api_saga.journal.format.untagging import untagged
from py_api_saga.journal.format.values import Trees
from py_api_saga.journal.lasting import LastingJournal
from py_api_saga.status import MISSING, SagaStatus, Status
from py_api_saga.story.saga import fold
from py_api_saga.wording import as_text

_NEXT = {
    SagaStatus.RUNNING: "`saga recover` goes on with it",
    SagaStatus.COMPENSATING: "`saga recover` undoes what is left of it",
    SagaStatus.STUCK: "`saga why` says what else it needs",
    SagaStatus.COMPLETED: "it has ended",
    SagaStatus.COMPENSATED: "it has ended",
}


_ON_ENGINE = {
    **_NEXT,
    SagaStatus.RUNNING: "the engine's workers go on with it",
    SagaStatus.COMPENSATING: "the engine's workers undo what is left of it",
}


def retry(arguments: argparse.Namespace) -> int:
    """Call once more what is stuck."""

    def decide(journal: LastingJournal, saga_id: str, who: str, seen: Summary | None) -> SagaStatus:
        return repair.again(
            journal,
            saga_id,
            arguments.operation,
            new_key=arguments.new_key,
            ended=arguments.ended,
            seen=seen,
            who=who,
            why=arguments.note,
        )

    return _one_or_all(arguments, "retry", {SagaStatus.STUCK}, decide)


def compensate(arguments: argparse.Namespace) -> int:
    """Undo a saga."""

    def decide(journal: LastingJournal, saga_id: str, who: str, seen: Summary | None) -> SagaStatus:
        return repair.compensate(journal, saga_id, seen=seen, who=who, why=arguments.note)

    return _one_or_all(arguments, "compensate", {SagaStatus.STUCK}, decide)


def cancel(arguments: argparse.Namespace) -> int:
    """Undo a saga that waits for recovery; say what to use for one that does not."""

    def decide(journal: LastingJournal, saga_id: str, who: str, seen: Summary | None) -> SagaStatus:
        return repair.cancel(journal, saga_id, seen=seen, who=who, why=arguments.note)

    return _one_or_all(arguments, "cancel", OPEN, decide)


def _one_or_all(
    arguments: argparse.Namespace,
    verb: str,
    among: Collection[SagaStatus],
    decide: Callable[[LastingJournal, str, str, Summary | None], SagaStatus],
) -> int:
    """Decide about the saga whose id is given, or about all that are chosen."""
    if is_about_all(arguments):
        who = who_decides(arguments)
        return decide_all(
            arguments, verb, among, lambda journal, seen: decide(journal, seen.saga_id, who, seen)
        )
    return _decide(arguments, lambda journal, who: decide(journal, arguments.saga_id, who, None))


def resolve(arguments: argparse.Namespace) -> int:
    """Say what came of an operation."""
    status = _status(arguments)
    import_modules(arguments)

    def decide(journal: LastingJournal, who: str) -> SagaStatus:
        result = MISSING
        if status is Status.SUCCEEDED:
            seen = journal.find(arguments.saga_id)
            refuse_sealed(journal, [] if seen is None else [seen])
            result = value_of(arguments.succeeded, journal, "resolve: --succeeded")
        return repair.resolve(
            journal,
            arguments.saga_id,
            arguments.operation,
            status,
            result,
            ended=arguments.ended,
            who=who,
            why=arguments.note,
        )

    return _decide(arguments, decide, arguments.modules)


def _status(arguments: argparse.Namespace) -> Status:
    given = {
        Status.SUCCEEDED: arguments.succeeded is not None,
        Status.FAILED: arguments.failed,
        Status.COMPENSATED: arguments.compensated,
        Status.SKIPPED: arguments.skipped,
    }
    chosen = [status for status, is_given in given.items() if is_given]
    if len(chosen) != 1:
        message = "resolve: give one of --succeeded JSON, --failed, --compensated, --skipped"
        raise UsageError(message)
    return chosen[0]


def value_of(text: str, journal: LastingJournal, where: str) -> Any:
    """Read a result as a journal has it: plain JSON, or with tags.

    Raises:
        UsageError: It is neither.
    """
    try:
        return untagged(loads(text, MAX_VALUE), journal.names)
    except (ValueError, UnknownNameError) as error:
        message = f"{where}: {error}"
        raise UsageError(message) from error


def _decide(
    arguments: argparse.Namespace,
    decide: Callable[[LastingJournal, str], SagaStatus],
    modules: list[str] | None = None,
) -> int:
    with closing(to_write(arguments, modules or ())) as journal:
        try:
            status = decide(journal, who_decides(arguments))
        except LookupError as error:
            message = as_text(error, str)
            operation = getattr(arguments, "operation", None)
            if operation is not None and journal.find(operation) is not None:
                message += f"; {operation!r} is another saga: one at a time, or many with --all"
            raise SagaError(message) from error
        following = _following(journal, arguments, status)
    write(f"{arguments.saga_id}: {status.name}; {following}")
    return 0


def _following(journal: LastingJournal, arguments: argparse.Namespace, status: SagaStatus) -> str:
    """Say what follows a decision about a saga, which stands so since."""
    if is_engine(journal):
        if arguments.command == "cancel" and status in OPEN:
            return (
                "it is told to stop: what it has done is undone, unless it has passed its pivot, "
                "or ends before it hears of that"
            )
        return _ON_ENGINE[status]
    return _way(journal, arguments.saga_id) if status is SagaStatus.RUNNING else _NEXT[status]


def _way(journal: LastingJournal, saga_id: str) -> str:
    """Say what recovery does with an open saga."""
    seen = journal.find(saga_id)
    assert seen is not None  # noqa: S101 - a decision about it was written down
    _, execution, _ = fold(journal.rows([seen.number])[seen.number], Trees(journal))
    if execution.goes_back:
        return "it will be undone: `saga recover` does it"
    if execution.backward:
        return "`saga recover` finds out whether its pivot happened, and undoes it if not"
    return _NEXT[SagaStatus.RUNNING]


def who_decides(arguments: argparse.Namespace) -> str:
    """Say who decides: as given, or whoever is at the keyboard: the login name and the machine."""
    if arguments.who:
        return str(arguments.who)
    name = f"user {os.getuid()}" if hasattr(os, "getuid") else "somebody"
    with suppress(Exception):  # in a container, nobody may have a name
        name = getpass.getuser()
    return f"{name}@{socket.gethostname()}"
