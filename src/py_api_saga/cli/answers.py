"""`saga answer`: what came of a call that has only begun something."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.deciding import value_of, who_decides
from py_api_saga.cli.opening import to_write
from py_api_saga.cli.printing import write
from py_api_saga.cli.recovering import line, status_of
from py_api_saga.cli.sealed import refuse_sealed
from py_api_saga.cli.setting_up import around_of, import_modules
from py_api_saga.durable.answering import Answered, answer
from py_api_saga.durable.recovery import Recovered
from py_api_saga.exceptions import RecordedError, SagaError
from py_api_saga.journal.changes import OPEN
from py_api_saga.journal.lasting import LastingJournal
from py_api_saga.story.saga import Story, read
from py_api_saga.story.waits import key_to_answer
from py_api_saga.wording import as_text

DENIED = "Denied"  # the class of what is told with --error: it is made here, and nowhere else


def main(arguments: argparse.Namespace) -> int:
    """Answer; with `--go-on` 4 if the saga is stuck then."""
    _check(arguments)
    import_modules(arguments)
    around = around_of(arguments)
    with closing(to_write(arguments, arguments.modules, arguments.alias)) as journal:
        with journal.reader() as view:
            story = read(view, arguments.saga_id)
        try:
            key = key_to_answer(story, arguments.operation, is_undo=arguments.compensation)
            refuse_sealed(journal, [story.seen])
            done = answer(
                journal,
                key,
                **_outcome(arguments, journal),
                go_on=arguments.go_on,
                around=around,
                who=who_decides(arguments),
                why=arguments.note,
            )
        except LookupError as error:
            raise SagaError(as_text(error, str)) from error
    if arguments.go_on and (done.error is not None or done.status not in OPEN):
        went = Recovered(done.saga_id, done.status, done.error)
        write(line(went))
        return status_of([went])
    write(_kept(story, done))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """See that there is one answer, and what it takes to go on, if that is asked for.

    Raises:
        UsageError: That is not so.
    """
    if (arguments.result is None) == (arguments.error is None):
        raise UsageError("answer: give one of --result JSON, --error TEXT")
    if arguments.go_on and not arguments.modules:
        raise UsageError("answer: --go-on makes the calls of the saga: give --modules")
    if arguments.around and not arguments.go_on:
        raise UsageError("answer: --around is around calls: it goes with --go-on")


def _outcome(arguments: argparse.Namespace, journal: LastingJournal) -> dict[str, Any]:
    if arguments.error is not None:
        return {"error": RecordedError(DENIED, arguments.error)}
    return {"result": value_of(arguments.result, journal, "answer: --result")}


def _kept(story: Story, done: Answered) -> str:
    """Say that the answer is on record, and who goes on."""
    words = f"{done.saga_id}: {done.status.name}; "
    if done.known:
        return f"{words}it was answered so before"
    words += "the answer is on record"
    if story.engine:
        return words + "; the engine's workers go on with it" * (done.status in OPEN)
    if story.driven:
        return f"{words}; the process that is at it takes it in"
    return f"{words}; `saga recover` or a worker goes on with it"
