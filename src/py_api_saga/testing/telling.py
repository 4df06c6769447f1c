"""What an exploration has found, as it is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from py_api_saga.entries import Entry, Setback, value_of, what_of
from py_api_saga.status import SagaStatus
from py_api_saga.story.words import plural
from py_api_saga.testing.faults import FAULTS, hint, sentence
from py_api_saga.testing.going import Went, outcome_of
from py_api_saga.testing.trying import Try
from py_api_saga.testing.wishes import Site

MOST_SHOWN = 5  # findings
MOST_LINES = 30  # of a story, at its beginning and at its end


class Explored(NamedTuple):
    """What was explored, and how far.

    Attributes:
        schedules: How many runs there were.
        seconds: How long they took.
        kinds: How often each kind of fault came to pass, in the order of the table of faults; 0 for
            those that found no place. Without those that were left out.
        left: How many schedules were not run, since `limit=` or `seconds=` was reached; those that
            would have followed from these are not counted.
        needs_a_person: By operation, in how many schedules it was stuck and a person had to say
            `retry`, for a reason that excuses it.
    """

    schedules: int
    seconds: float
    kinds: Mapping[str, int]
    left: int
    needs_a_person: Mapping[str, int]

    def __str__(self) -> str:
        rate = f" ({self.schedules / self.seconds:,.0f}/s)" if self.seconds else ""
        parts = [f"{plural(self.schedules, 'schedule')} in {self.seconds:.2f} s{rate}"]
        if self.left:
            parts.append(f"{self.left:,} more not run")
        never = [kind for kind, times in self.kinds.items() if not times]
        if never:
            parts.append(f"never possible: {', '.join(never)}")
        if self.needs_a_person:
            stuck = [f"{name} ({times:,})" for name, times in self.needs_a_person.items()]
            parts.append(f"needs a person: {', '.join(stuck)}")
        return "; ".join(parts)


class Finding(NamedTuple):
    """A schedule after which something is wrong.

    Attributes:
        message: What is wrong.
        operation: Where the last fault was, or what is stuck.
        when: What goes wrong in it, in words, one fault after the other.
        story: What happened, line by line.
        hint: What that calls for.
        replay: What runs it again, given to `explore`.
    """

    message: str
    operation: str
    when: Sequence[str]
    story: Sequence[str]
    hint: str
    replay: str

    def __str__(self) -> str:
        lines = [self.message, "", f"   when {', and '.join(self.when)}", ""]
        lines += [f"   {line}" for line in _in_short(self.story)]
        lines += ["", f"   {self.hint}"] if self.hint else [""]
        if self.replay:
            lines.append(f'   replay="{self.replay}"')
        return "\n".join(lines)


class BrokenSagaError(AssertionError):
    """What `explore` has found; its text is the report, and the first line of that sums it up.

    Attributes:
        findings: Each of them, the smallest schedule of each cause.
        explored: How far it has come.
    """

    def __init__(self, findings: Sequence[Finding], explored: Explored) -> None:
        """Tell of these."""
        self.findings, self.explored = findings, explored
        shown = findings[:MOST_SHOWN]
        parts = [f"{number}. {finding}" for number, finding in enumerate(shown, 1)]
        if len(findings) > MOST_SHOWN:
            parts.append(f"and {plural(len(findings) - MOST_SHOWN, 'more finding')}")
        worst = findings[0].message.partition("\n")[0]
        headline = f"{plural(len(findings), 'finding')}: {worst}"  # all that a summary shows
        super().__init__("\n\n".join([headline, *parts, str(explored)]))

    def __reduce__(self) -> tuple[Any, ...]:  # to another process, as test runners with several do
        return BrokenSagaError, (self.findings, self.explored)


def found(went: Went) -> Finding:
    """Tell of a schedule after which something is wrong."""
    trial = went.trial
    plan = [(label, trial.plan[label], site) for label, site in trial.hits.items()]
    when = [sentence(kind, site.place, label) for label, kind, site in plan]
    operation, advice = went.operation, ""
    if plan:
        label, kind, site = plan[-1]
        operation = operation or site.operation or label
        advice = _unlike_others(trial, label, kind, site) or hint(kind, site.place, label)
    replay = ", ".join(f"{label}:{kind}" for label, kind in trial.plan.items())
    message = went.message or "nothing is wrong"
    return Finding(
        message, operation, when or ["nothing goes wrong"], told(trial.story), advice, replay
    )


def _unlike_others(trial: Try, label: str, kind: str, site: Site) -> str:
    """Say what a fault calls for where that is not what it mostly is; else nothing."""
    if (
        kind.startswith("crash")
        and not trial.returned
        and outcome_of(trial) is SagaStatus.COMPLETED
    ):
        return hint("crash-after", "end", label)
    driven = next((one for one in trial.sagas if site.operation in one.run.names.all()), None)
    if site.place not in ("action", "answer") or driven is None:
        return ""
    if driven.run.execution.passed and kind == "refuses" and site.place == "action":
        return (
            f"`{label}` comes after the pivot, when nothing is undone any more: it must not "
            f'refuse; if it never does, say so: without=("{site.name}:refuses",)'
        )
    undo = driven.run.operations[driven.run.names.all().index(site.operation)].compensation
    if undo is None and "undo is called" in hint(kind, site.place, label):
        return (
            f"`{site.operation}` may have happened, and has no undo: it needs one, or is to be the "
            "pivot, with an on_doubt= that asks"
        )
    return ""


def _in_short(story: Sequence[str]) -> list[str]:
    """Leave out the middle of what is too long to be read, as that of a run without an end is."""
    if len(story) <= 2 * MOST_LINES:
        return [*story]
    left_out = f"  … {plural(len(story) - 2 * MOST_LINES, 'more line')}"
    return [*story[:MOST_LINES], left_out, *story[-MOST_LINES:]]


def told(story: Sequence[tuple[str, Any]]) -> list[str]:
    """Tell what happened in a run, line by line."""
    return [_line(*event) for event in story]


def _line(name: str, event: Any) -> str:
    if name == "!":
        return f"! {sentence(*event)}"
    if event is None:
        return f"  {name}"
    return f"  {name:<24} {_outcome(event)}"


def _outcome(entry: Entry) -> str:
    what, value = what_of(entry), value_of(entry)
    if what == "succeeded":
        return "done"
    error = value.error if type(value) is Setback else value
    return f"{what}: {type(error).__name__}" if isinstance(error, BaseException) else what


def kinds_reached(reached: Mapping[str, int], left_out: Collection[str]) -> dict[str, int]:
    """Give how often each kind has come to pass that was wanted, in the order of the table."""
    return {kind: reached.get(kind, 0) for kind in FAULTS if kind not in left_out}
