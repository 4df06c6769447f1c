"""What a monitor measures of a journal: as data, and in the text format of Prometheus.

What a process counts of its own sagas is lost with it; this is asked of the journal, so it is also
true of sagas whose process has died. It reads what is unfinished, and no more.

Source:
    https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from py_api_saga.journal.changes import Summary
from py_api_saga.story.attention import MANY, Attention
from py_api_saga.wording import in_line

MEASURED = "text/plain; version=0.0.4"  # the type of what `exposition` gives, which is UTF-8


_STUCK = "Sagas that are stuck: each needs a person."
_OPEN = "Sagas that have not ended."
_AGE = (
    "Seconds since the oldest saga was created that has not ended, and does not wait for an answer."
)
_WAITING = "Sagas that wait for an answer, and are not due."
_WAITED = "Seconds for which that one of them has waited that has waited for longest."
_OVERDUE = "Sagas that recovery should have taken by now."
_TRIED = f"Sagas that have not ended, and that recovery has tried {MANY} times or more."
_TRIES = "How often recovery has tried that saga which it has tried most, of those not ended."


class Gauge(NamedTuple):
    """One thing that is measured.

    Attributes:
        name: As Prometheus has it, such as "saga_open_age_seconds".
        unit: "1" for a number of things, "s" for seconds.
        says: What it is, in a sentence.
        values: By the name of the saga, an empty one for those that have none. Those names that
            have something unfinished, or one value of 0 under an empty name if nothing is.
    """

    name: str
    unit: str
    says: str
    values: Mapping[str, float]


def gauges(found: Attention) -> Sequence[Gauge]:
    """Measure what is unfinished in a journal, by the names of sagas.

    Args:
        found: What `attention` has found there.
    """
    those, waiting = found.unfinished, {seen.number for seen in found.waiting}
    at_work = [seen for seen in those if seen.number not in waiting]
    names = sorted({seen.name or "" for seen in (*those, *found.stuck, *found.overdue)}) or [""]

    def measured(
        sagas: Iterable[Summary], of: Callable[[float, Summary], float]
    ) -> Mapping[str, float]:
        values: dict[str, float] = dict.fromkeys(names, 0)
        for seen in sagas:
            values[seen.name or ""] = of(values[seen.name or ""], seen)
        return values

    def one_more(before: float, _: Summary) -> float:
        return before + 1

    def age(before: float, seen: Summary) -> float:
        return max(before, found.now - seen.created)

    def waited(before: float, seen: Summary) -> float:
        return max(before, found.now - seen.changed)

    def tries(before: float, seen: Summary) -> float:
        return max(before, seen.tries)

    return [
        Gauge(name, unit, says, measured(sagas, of))
        for name, unit, says, sagas, of in (
            ("saga_stuck", "1", _STUCK, found.stuck, one_more),
            ("saga_open", "1", _OPEN, those, one_more),
            ("saga_open_age_seconds", "s", _AGE, at_work, age),
            ("saga_waiting", "1", _WAITING, found.waiting, one_more),
            ("saga_waiting_age_seconds", "s", _WAITED, found.waiting, waited),
            ("saga_overdue", "1", _OVERDUE, found.overdue, one_more),
            ("saga_tried", "1", _TRIED, found.tried, one_more),
            ("saga_recovery_tries", "1", _TRIES, those, tries),
        )
    ]


def exposition(measured: Iterable[Gauge]) -> str:
    """Write gauges as Prometheus reads them; the label `saga_name` is the name of sagas."""
    lines = []
    for name, _, says, values in measured:
        lines += [f"# HELP {name} {says}", f"# TYPE {name} gauge"]
        lines += [
            f'{name}{{saga_name="{_label(of)}"}} {_number(value)}' for of, value in values.items()
        ]
    return "".join(f"{line}\n" for line in lines)


def _label(text: str) -> str:
    """Write the value of a label: whatever is in it ends neither that nor its line."""
    escaped = in_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return escaped.encode(errors="replace").decode()  # an unpaired surrogate is not UTF-8


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"
