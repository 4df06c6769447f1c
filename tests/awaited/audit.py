"""What must hold in the end: the journal against what the bank and the operations have told.

Each effect stands once, or was undone once, as the end of its saga says; nothing that the bank
refused was paid back; each call was made under its key; no saga is open, and no answer left.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crash import checks

from .bank import KINDS, kind_of

ACTIONS = {"reserve", "charge", "charge2", "ship"}
CALLS = {"reserve": "action", "charge": "action", "ship": "action", "nap": "action"}
CALLS |= {
    "slow": "action",
    "fail": "action",
    "release": "compensation",
    "refund": "compensation",
    "unship": "compensation",
}
KEY = re.compile(r"([^:]+):([^:]+):(action|compensation)(:[2-9])?")


@dataclass
class Audit:
    """What was found.

    Attributes:
        wrong: What must not be, in words.
        ends: How many sagas have come to what.
        calls: How many were made.
        repeated: How many of them were made again under their key.
        answers: How many the bank has got rid of.
    """

    wrong: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    repeated: int = 0
    answers: int = 0

    def add(self, other: Audit) -> None:
        """Take in another one."""
        self.wrong += other.wrong
        self.ends += other.ends
        self.calls += other.calls
        self.repeated += other.repeated
        self.answers += other.answers


def audit(place: Path, ends: dict[str, set[str]] | None = None) -> Audit:
    """Look at a place when all is over; `ends` are what sagas may have come to, if not as usual."""
    found = Audit()
    checks.in_journal(place, verdict := checks.Verdict())
    found.wrong += verdict.wrong
    lines: dict[str, list[list[str]]] = defaultdict(list)
    for line in checks.told(place):
        if line[0] in ("error", "open", "untaken", "together"):
            found.wrong.append(" ".join(line))
        elif line[0] in ("call", "paid", "refused", "acked"):
            lines[line[2 if line[0] == "call" else 1].partition(":")[0]].append(line)
        found.answers += line[0] == "acked"
    for saga_id, status in verdict.status.items():
        found.ends[status] += 1
        expected = (ends or {}).get(saga_id) or KINDS[kind_of(saga_id)]
        told = lines.pop(saga_id, [])
        keys = Counter(line[2] for line in told if line[0] == "call")
        found.calls += keys.total()
        found.repeated += keys.total() - len(keys)
        wrong = [] if status in expected else [f"is {status}"]
        wrong += [*_effects(status, told), *_denied(saga_id, told), *_keys(told)]
        found.wrong += [f"{saga_id} {what}: {_story(told)}" for what in wrong]
    found.wrong += [f"{saga_id} is not in the journal: {told}" for saga_id, told in lines.items()]
    return found


def _story(told: Iterable[list[str]]) -> str:
    return " | ".join(" ".join(line) for line in told)


def _effects(status: str, told: list[list[str]]) -> Iterator[str]:
    """Say which effects stand that should not, or the other way round, or were undone twice."""
    standing, undone = _replayed(told)
    for name, stands in standing.items():
        if name in ACTIONS and stands != (status == "completed"):
            yield f"is {status}, and {name} {'stands' if stands else 'was undone'}"
        if undone[name] > 1:
            yield f"has undone {name} {undone[name]} times"
    called = {rest[1].split(":")[1] for word, *rest in told if word == "call"} & ACTIONS
    for name in (called | {"ship"}) - {name for name, stands in standing.items() if stands}:
        if status == "completed":
            yield f"is completed, and {name} does not stand"


def _replayed(told: list[list[str]]) -> tuple[dict[str, bool], Counter[str]]:
    """Go through the calls of a saga: what stands in the end, and how often each was undone.

    What is done under a key is done once. A call that the bank answers later takes effect when it
    says so, others at once; an undo that comes before does nothing.
    """
    standing: dict[str, bool] = {}
    undone: Counter[str] = Counter()
    seen: set[str] = set()
    for word, *rest in told:
        key = rest[1] if word == "call" else rest[0]
        name, kind = key.split(":")[1:3]
        at_once = word == "call" and not name.startswith("charge") and rest[0] != "fail"
        is_done = word == "paid" or at_once
        if kind == "action" and is_done and key not in seen:
            standing[name] = True
            seen.add(key)
        elif kind == "compensation" and word == "call" and key not in seen:
            undone[name] += standing.get(name, False)
            standing[name] = False
            seen.add(key)
    return standing, undone


def _denied(saga_id: str, told: list[list[str]]) -> Iterator[str]:
    """Say what was paid back though the bank had refused it, of what it had all the time for."""
    if "brief" in saga_id or "deadline" in saga_id:
        return
    refused = {rest[0] for word, *rest in told if word == "refused"}
    for word, *rest in told:
        if word == "call" and rest[0] == "refund" and rest[2] in refused:
            yield "paid back what the bank had refused"


def _keys(told: list[list[str]]) -> Iterator[str]:
    """Say which calls had not the key that their saga, operation and direction give them."""
    for word, *rest in told:
        if word == "call":
            name, key, action_key = rest
            known = KEY.fullmatch(key)
            if (
                known is None
                or known[3] != CALLS[name]
                or action_key != f"{known[1]}:{known[2]}:action"
            ):
                yield f"has called {name} under the key {key}"
