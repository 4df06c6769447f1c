"""What was decided on a page, written down: by the functions that the commands use."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from py_api_saga import clock, repair
from py_api_saga.cli.answers import DENIED
from py_api_saga.cli.sealed import refuse_sealed
from py_api_saga.durable.answering import answer
from py_api_saga.exceptions import RecordedError, SagaError
from py_api_saga.journal.changes import Summary
from py_api_saga.journal.format.json_text import MAX_VALUE, loads
from py_api_saga.journal.lasting import LastingJournal, View
from py_api_saga.pictures.addresses import AddressError
from py_api_saga.pictures.decisions import MOST, NOTE, TITLES, Outcome, field_of, way_of
from py_api_saga.status import MISSING, Status
from py_api_saga.story.remedies import Way
from py_api_saga.story.saga import read
from py_api_saga.story.waits import key_to_answer
from py_api_saga.story.words import in_shell
from py_api_saga.wording import as_text

LONGEST = 20.0  # seconds after which the rest of many is left, as nobody would wait
_FIELDS = MOST + 20
_MARK = '{"$'  # how a value begins that only a module can read


class Form(NamedTuple):
    """What was posted.

    Attributes:
        token: What proves that it comes from one of our pages.
        verb: What was decided.
        sagas: About which, each as it was shown.
        operation: About which operation, or empty.
        said: What came of that, or None.
        result: What it returned, as JSON; of what is answered as failed, the text of the error.
        note: Why.
        new_key: Whether it is called under a new key.
        ended: Whether calls that were given up have ended.
    """

    token: str
    verb: str
    sagas: Sequence[str]
    operation: str
    said: Status | None
    result: str
    note: str
    new_key: bool
    ended: bool


def read_form(body: str) -> Form:
    """Read what was posted.

    Raises:
        AddressError: It is not a form of ours.
    """
    try:
        pairs = parse_qsl(body, errors="strict", max_num_fields=_FIELDS)
    except ValueError as error:
        message = f"expected {_FIELDS} fields in UTF-8 at most"
        raise AddressError(message) from error
    fields = dict(pairs)
    said = fields.get("said")
    if said is not None and said not in {status.value for status in Status}:
        raise AddressError("said: expected the status of an operation")
    form = Form(
        fields.get("token", ""),
        fields.get("verb", ""),
        [value for name, value in pairs if name == "saga"],
        fields.get("operation", ""),
        None if said is None else Status(said),
        fields.get("result", ""),
        fields.get("note", "").strip(),
        fields.get("new_key") == "yes",
        fields.get("ended") == "yes",
    )
    if form.verb not in TITLES or not 0 < len(form.sagas) <= MOST:
        message = f"expected a decision about 1 to {MOST} sagas"
        raise AddressError(message)
    if not form.note or len(form.note) > NOTE:
        message = f"note: expected why, in 1 to {NOTE:,} characters"
        raise AddressError(message)
    return form


def decide(opened: Callable[[], LastingJournal], form: Form, who: str) -> list[Outcome]:
    """Write a decision down about each of some sagas; what fails keeps no other back.

    Raises:
        JournalError: The journal can't be opened.
    """
    until = clock.monotonic() + LONGEST
    outcomes = []
    with closing(opened()) as journal, journal.reader() as view:
        for field in form.sagas:
            saga_id, problem = field.partition(":")[2], ""
            if clock.monotonic() > until:
                problem = f"left, as the others took longer than {LONGEST:g} s: decide it again"
            else:
                try:
                    _decide(journal, view, field, form, who)
                except (SagaError, LookupError) as error:
                    problem = as_text(error, str)
            outcomes.append(Outcome(saga_id, problem))
    return outcomes


def _decide(journal: LastingJournal, view: View, field: str, form: Form, who: str) -> None:
    story = read(view, field.partition(":")[2])
    seen = story.seen
    if field_of(seen) != field:
        message = f"saga {seen.saga_id!r} has changed since it was shown: look at it again"
        raise repair.DecisionError(message)
    way = way_of(story, form.verb, form.operation, form.said)
    if way.ended and not form.ended:
        message = (
            f"saga {seen.saga_id!r}: a call that was given up may still live: this can be decided "
            "once it has ended for sure"
        )
        raise repair.DecisionError(message)
    given: dict[str, Any] = {"seen": seen, "who": who, "why": form.note}
    if way.verb == "retry":
        repair.again(journal, seen.saga_id, new_key=form.new_key, ended=form.ended, **given)
    elif way.verb == "resolve":
        assert way.status is not None  # noqa: S101 - each of this verb has one
        result = _result(journal, seen, way, form.result)
        repair.resolve(
            journal, seen.saga_id, way.operation, way.status, result, ended=form.ended, **given
        )
    elif way.verb == "answer":
        key = key_to_answer(story, way.operation, is_undo=way.is_undo)
        answer(
            journal, key, **_outcome(journal, seen, way, form), go_on=False, who=who, why=form.note
        )
    else:
        repair.compensate(journal, seen.saga_id, **given)


def _outcome(journal: LastingJournal, seen: Summary, way: Way, form: Form) -> dict[str, Any]:
    """Read an answer: what the call returned, or the text of what it failed with."""
    if way.status is Status.SUCCEEDED:
        return {"result": _result(journal, seen, way, form.result)}
    if not form.result.strip():
        raise repair.DecisionError("what it failed with: expected some words")
    return {"error": RecordedError(DENIED, form.result.strip())}


def _result(journal: LastingJournal, seen: Summary, way: Way, text: str) -> Any:
    """Read what an operation returned: plain JSON, for which nothing is imported."""
    if way.status is not Status.SUCCEEDED:
        return MISSING
    refuse_sealed(journal, [seen])
    try:
        result = loads(text, MAX_VALUE)
    except ValueError as error:
        message = f"what it returned: {error}"
        raise repair.DecisionError(message) from error
    if _MARK in json.dumps(result, separators=(",", ":")):
        names = f"{in_shell(seen.saga_id)} {in_shell(way.operation)}"
        message = (
            "what it returned: a value of a type of its own takes the command, which imports the "
            f"modules: saga {way.verb} {names} {way.options[0]} --modules …"
        )
        raise repair.DecisionError(message)
    return result
