"""What a person decides in the admin: the forms, and how each decision is written down.

A decision is recorded in the journal, over a connection of its own, and calls nothing: whoever
recovers next goes on. So a decision stands, whatever becomes of the request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from django import forms

from py_api_saga import clock, repair
from py_api_saga.exceptions import JournalError, SagaError
from py_api_saga.journal.changes import Summary
from py_api_saga.journal.format.functions import UnknownNameError
from py_api_saga.journal.format.json_text import MAX_VALUE, loads
from py_api_saga.journal.format.untagging import untagged
from py_api_saga.journal.format.values import Trees
from py_api_saga.journal.lasting import LastingJournal, View
from py_api_saga.status import MISSING, SagaStatus, Status
from py_api_saga.story.many import each_read
from py_api_saga.story.saga import fold
from py_api_saga.wording import as_text

MOST = 500  # sagas about which one decision may be
LONGEST = 20.0  # seconds after which the rest of them is left, as the web server would not wait
_NOTE = 2000  # characters

_STATUSES = (
    (Status.SUCCEEDED, "succeeded: the action took effect"),
    (Status.FAILED, "failed: the action took no effect"),
    (Status.COMPENSATED, "compensated: its effect was undone by hand"),
    (Status.SKIPPED, "skipped: its effect is to stand"),
)


class DecisionForm(forms.Form):  # type: ignore[misc]  # Django has no type hints
    """What every decision takes; `operations` are those that are stuck."""

    note = forms.CharField(
        max_length=_NOTE,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
        help_text="Why; it is on record with your name.",
    )

    def __init__(self, *args: Any, operations: Collection[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        if "operation" in self.fields:
            offered = [(name, name) for name in operations]
            if not self.fields["operation"].required:
                offered = [("", "all that are stuck"), *offered]
            self.fields["operation"].choices = offered
        self.order_fields(["operation", "status", "result", "new_key", "ended", "note"])

    def why(self) -> str:
        """Give the note."""
        return str(self.cleaned_data["note"])


class _EndedForm(DecisionForm):
    ended = forms.BooleanField(
        required=False,
        label="Calls that were given up have ended",
        help_text="For sure, with their process or otherwise: the journal can't know.",
    )


class RetryForm(_EndedForm):
    """How what is stuck is called once more."""

    operation = forms.ChoiceField(required=False)
    new_key = forms.BooleanField(
        required=False,
        label="Under a new idempotency key",
        help_text="Services take it for a new call, also if the first one has taken effect.",
    )


class ResolveForm(_EndedForm):
    """What came of an operation."""

    operation = forms.ChoiceField()
    status = forms.ChoiceField(
        choices=[("", "—"), *((status.value, words) for status, words in _STATUSES)],
        label="What came of it",
    )
    result = forms.CharField(
        required=False,
        label="What it returned",
        help_text='As JSON, if it succeeded: {"id": 7}, "RX-1" or null.',
    )

    def clean(self) -> dict[str, Any]:
        """See that there is a result if there has to be one."""
        given: dict[str, Any] = super().clean()
        has = bool(given.get("result", "").strip())
        if given.get("status") == Status.SUCCEEDED.value and not has:
            self.add_error("result", "What did it return? Write null if nothing.")
        elif given.get("status") and given["status"] != Status.SUCCEEDED.value and has:
            self.add_error("result", "Only what succeeded has a result.")
        return given


Decide = Callable[[LastingJournal, Summary, DecisionForm, str], SagaStatus]


class Decision(NamedTuple):
    """What may be decided about sagas.

    Attributes:
        verb: In URLs, permissions and messages.
        title: For whoever decides, of one saga and of many.
        does: What comes of it.
        form: What it takes.
        decide: Writes it down.
    """

    verb: str
    title: str
    does: str
    form: type[DecisionForm]
    decide: Decide


def _retry(journal: LastingJournal, seen: Summary, form: DecisionForm, who: str) -> SagaStatus:
    given = form.cleaned_data
    return repair.again(
        journal,
        seen.saga_id,
        given["operation"] or None,
        new_key=given["new_key"],
        ended=given["ended"],
        seen=seen,
        who=who,
        why=form.why(),
    )


def _compensate(journal: LastingJournal, seen: Summary, form: DecisionForm, who: str) -> SagaStatus:
    return repair.compensate(journal, seen.saga_id, seen=seen, who=who, why=form.why())


def _resolve(journal: LastingJournal, seen: Summary, form: DecisionForm, who: str) -> SagaStatus:
    given = form.cleaned_data
    status = Status(given["status"])
    result: Any = MISSING
    if status is Status.SUCCEEDED:
        try:
            result = untagged(loads(given["result"], MAX_VALUE), journal.names)
        except (ValueError, UnknownNameError) as error:
            message = f"what it returned is not JSON that the journal can read: {error}"
            raise repair.DecisionError(message) from error
    return repair.resolve(
        journal,
        seen.saga_id,
        given["operation"],
        status,
        result,
        ended=given["ended"],
        seen=seen,
        who=who,
        why=form.why(),
    )


DECISIONS = {
    decision.verb: decision
    for decision in (
        Decision(
            "retry",
            "Try again",
            "What is stuck is called once more. A saga that recovery has given up on is tried "
            "again.",
            RetryForm,
            _retry,
        ),
        Decision(
            "compensate",
            "Undo",
            "All that was done is undone. Refused where a saga has passed its pivot.",
            DecisionForm,
            _compensate,
        ),
        Decision(
            "resolve",
            "Say what came of an operation",
            "You know what the journal does not: whether the operation took effect.",
            ResolveForm,
            _resolve,
        ),
    )
}


class Chosen(NamedTuple):
    """A saga about which somebody decides, as it was shown.

    Attributes:
        saga_id: Which one.
        mark: What is another one once anybody has done anything about it.
    """

    saga_id: str
    mark: str

    @property
    def field(self) -> str:
        """The same, for a form."""
        return f"{self.mark}:{self.saga_id}"

    @classmethod
    def read(cls, field: str) -> Chosen:
        """Read it from one."""
        mark, _, saga_id = field.partition(":")
        return cls(saga_id, mark)


def chosen(seen: Summary) -> Chosen:
    """Give a saga as it is shown."""
    return Chosen(seen.saga_id, f"{seen.number}.{seen.status.value}.{seen.epoch}")


def stuck_operations(view: View, sagas: Sequence[Summary]) -> list[str]:
    """Name the operations that are stuck in any of some sagas."""
    names: dict[str, None] = {}
    values = Trees(view)
    for _, rows in each_read(view, sagas):
        try:
            recorded, execution, _ = fold(rows or (), values)
        except JournalError:
            continue
        for name, status in zip(recorded.definition.names.all(), execution.status, strict=True):
            if status is Status.STUCK:
                names[name] = None
    return list(names)


class Outcome(NamedTuple):
    """What came of a decision about one saga.

    Attributes:
        saga_id: Which one.
        status: Where it stands since; None if nothing was changed.
        problem: Why not, or "".
    """

    saga_id: str
    status: SagaStatus | None
    problem: str


def decide_each(
    journal: LastingJournal,
    decision: Decision,
    those: Sequence[Chosen],
    form: DecisionForm,
    who: str,
) -> list[Outcome]:
    """Write a decision down about each of some sagas, by itself; what fails keeps no other back."""
    until = clock.monotonic() + LONGEST
    outcomes = []
    for one in those:
        status, problem = None, ""
        if clock.monotonic() > until:
            problem = f"left, as the others took longer than {LONGEST:g} s: choose it again"
        else:
            try:
                status = _decide(journal, decision, one, form, who)
            except (SagaError, LookupError) as error:
                problem = as_text(error, str)
        outcomes.append(Outcome(one.saga_id, status, problem))
    return outcomes


def _decide(
    journal: LastingJournal, decision: Decision, one: Chosen, form: DecisionForm, who: str
) -> SagaStatus:
    seen = journal.find(one.saga_id)
    if seen is None:
        message = f"there is no saga {one.saga_id!r} any more"
        raise repair.DecisionError(message)
    if chosen(seen) != one:
        message = f"saga {one.saga_id!r} has changed since it was shown: look at it again"
        raise repair.DecisionError(message)
    return decision.decide(journal, seen, form, who)
