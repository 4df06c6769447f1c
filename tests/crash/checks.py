"""What must hold afterwards, seen from outside: in the journal's file and in the ledgers."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .bases import Base, base_of

UNDOS = {"stock": "release", "payment": "refund", "courier": "cancel"}
ACTIONS = {"stock": "reserve", "payment": "charge", "courier": "book"}
STATUS = ("running", "compensating", "stuck", "completed", "compensated")
RESULTS = ("succeeded", "failed", "retry", "in doubt", "later", "answered", "denied")
UNDECIDED = ("in-progress", "pending")
ENDS = {3: "completed", 4: "compensated"}
SLACK = 1.0  # seconds that a renewal may have been under way when its process was killed


@dataclass
class Seen:
    """What a service's ledger says of one order."""

    effects: int = 0
    undos: int = 0


class Books:
    """The ledgers of the services and the log of what they were asked, read as they grow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._requests = 0
        self._upto = dict.fromkeys(ACTIONS, 0)
        self._ledgers: dict[str, sqlite3.Connection] = {}
        self.seen: dict[str, dict[str, Seen]] = defaultdict(lambda: defaultdict(Seen))
        self.asked: dict[str, list[list[Any]]] = defaultdict(list)
        self.times: dict[str, list[float]] = defaultdict(list)  # of what was asked

    def read(self) -> None:
        """Read what is new."""
        with (self._folder / "requests").open() as log:
            log.seek(self._requests)
            while (line := log.readline()).endswith("\n"):
                self._requests = log.tell()
                service, path, order, key, undoes, status, at = json.loads(line)
                self.asked[order].append([service, path, key, undoes, status])
                self.times[order].append(at)
        for service in ACTIONS:
            if service not in self._ledgers:
                path = self._folder / f"{service}.db"
                self._ledgers[service] = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            rows = self._ledgers[service].execute(
                "SELECT number, order_id, kind, what FROM entry WHERE number > ?",
                (self._upto[service],),
            )
            for number, order, kind, what in rows.fetchall():
                self._upto[service] = number
                seen = self.seen[order][service]
                if kind == "effect":
                    seen.effects += 1
                elif what != "came first":
                    seen.undos += 1

    def close(self) -> None:
        """Close the ledgers."""
        for ledger in self._ledgers.values():
            ledger.close()


@dataclass
class Verdict:
    """What was found in one journal.

    Attributes:
        wrong: What must not be, in words.
        lost: Effects that should stand and do not.
        double: Effects that were made twice, or stand though they should not.
        repeated: Calls that were made again under their key, though their saga retries nothing.
        together: Sagas for which two processes called at once.
        status: Of each saga, in a word.
        tries: How often recovery has claimed each.
    """

    wrong: list[str] = field(default_factory=list)
    lost: int = 0
    double: int = 0
    repeated: int = 0
    together: int = 0
    status: dict[str, str] = field(default_factory=dict)


def told(place: Path) -> list[list[str]]:
    """Give the lines that the processes of a place have told, as words."""
    file = place / "told"
    return [line.split(" ") for line in file.read_text().splitlines()] if file.exists() else []


def in_journal(place: Path, verdict: Verdict) -> None:
    """Look at a journal as its database sees it."""
    base = base_of(place)
    statuses, rows = _in_database(base) if base else _in_file(place / "sagas.db", verdict)
    verdict.status.update((saga_id, STATUS[status]) for saga_id, status in statuses)
    sagas: dict[int, list[Any]] = defaultdict(list)
    last: dict[int, int] = {}
    for saga, n, body in rows:
        if n != last.get(saga, 0) + 1:
            verdict.wrong.append(f"saga {saga} lacks a row")
        last[saga] = n
        sagas[saga] += json.loads(body)
    for saga, entries in sagas.items():
        verdict.wrong += [f"saga {saga}: {what}" for what in _contradictions(entries)]


Statuses = list[tuple[str, int]]
Rows = list[tuple[int, int, str]]


def _in_file(file: Path, verdict: Verdict) -> tuple[Statuses, Rows]:
    if not file.exists() or not (file.stat().st_size or Path(f"{file}-wal").exists()):
        return [], []
    with closing(sqlite3.connect(file)) as journal:
        found = [text for (text,) in journal.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            verdict.wrong.append(f"the journal is damaged: {found}")
        if not journal.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return [], []
        statuses = journal.execute("SELECT saga_id, status FROM saga").fetchall()
        return statuses, journal.execute(
            "SELECT saga, n, body FROM entry ORDER BY saga, n"
        ).fetchall()


def _in_database(base: Base) -> tuple[Statuses, Rows]:
    return (
        base.ask("SELECT saga_id, status FROM saga_saga"),
        base.ask("SELECT saga, n, body FROM saga_entry ORDER BY saga, n"),
    )


def _contradictions(entries: list[Any]) -> Iterator[str]:
    """Say which calls came of nothing, and which began though a rollback had begun."""
    begun, rolling = set(), False
    for entry in entries:
        if entry[0] == "started":
            begun.add(tuple(entry[1:5]))
            rolling = rolling or entry[2] == "compensation"
            if rolling and entry[2] == "action":
                yield f"{entry} after its rollback had begun"
        elif entry[0] in RESULTS and tuple(entry[1:5]) not in begun:
            yield f"{entry} of a call that nobody had begun"


def statuses(place: Path) -> list[tuple[str, str]]:
    """Give each saga and where it stands."""
    in_journal(place, verdict := Verdict())
    return list(verdict.status.items())


def check(place: Path, books: Books, *, stuck: Iterable[str] = ()) -> Verdict:
    """Look at a journal after recovery, and at all that its sagas have done."""
    verdict, lines = Verdict(), told(place)
    in_journal(place, verdict)
    books.read()
    for saga_id, status in verdict.status.items():
        if status not in ENDS.values() and not (status == "stuck" and saga_id in stuck):
            verdict.wrong.append(f"{saga_id} is {status}")
    for word, *rest in lines:
        # A process that was paused in a call makes it when its lease is over, under the same key.
        if word == "together" and base_of(place):
            verdict.together += 1
        elif word in ("error", "together", "unfinished"):
            verdict.wrong.append(f"{word}: {' '.join(rest)}")
        elif word == "told" and rest[1] in {*ENDS.values()} - {verdict.status.get(rest[0])}:
            verdict.lost += 1
            verdict.wrong.append(f"{rest[0]} was told to be {rest[1]} and is not in the file")
    for order, retries in {
        rest[0]: rest[-1] == "again" for word, *rest in lines if word == "begun"
    }.items():
        _check_order(order, verdict, books)
        if not retries:
            calls = Counter((service, path, key) for service, path, key, *_ in books.asked[order])
            verdict.repeated += calls.total() - len(calls)
    return verdict


# --- what callers are told ------------------------------------------------------------------------


def note_end(place: Path, pid: int) -> None:
    """Note that a process has been killed."""
    with (place / "told").open("a") as file:
        file.write(f"ended {pid} {time.monotonic()}\n")


@dataclass
class Answer:
    """What one process was told of a saga, and the time from its question to that."""

    pid: str
    begin: float
    end: float
    word: str
    more: str


def answers(place: Path, books: Books) -> tuple[int, list[str]]:
    """Hold all answers against one another, the ledgers and the journal; give what is wrong."""
    of, spans = _answers_of(place)
    in_journal(place, verdict := Verdict())
    books.read()
    wrong: list[str] = []
    for order, given in of.items():
        wrong += _contradict(order, given, verdict.status.get(order))
        wrong += _unjustified(order, given, [*spans[order], *spans["*"]])
        wrong += _called_after(order, given, books)
    return sum(map(len, of.values())), wrong


def _outlived(place: Path) -> float:
    """Give the seconds for which others may be told of a process that is dead."""
    base = base_of(place)
    return base.lease + SLACK if base else 0.0


def _answers_of(place: Path) -> tuple[dict[str, list[Answer]], dict[str, list[Answer]]]:
    """Give the answers of each saga, and who was at it when; "*" stands for all of them."""
    of: dict[str, list[Answer]] = defaultdict(list)
    spans: dict[str, list[Answer]] = defaultdict(list)
    asking: dict[str, tuple[str, float]] = {}
    outlived = _outlived(place)
    for word, *rest in told(place):
        if word == "holds":
            order, pid, begin = rest
            asking[pid] = order, float(begin)
        elif word == "answer":
            order, pid, begin, end, said, *more = rest
            answer = Answer(pid, float(begin), float(end), said, " ".join(more))
            asking.pop(pid, None)
            spans[order].append(answer)
            if order != "*":
                of[order].append(answer)
        elif word == "ended" and rest[0] in asking:  # it asked, and was killed
            order, start = asking.pop(rest[0])
            spans[order].append(Answer(rest[0], start, float(rest[1]) + outlived, "killed", ""))
    return of, spans


def _contradict(order: str, given: list[Answer], status: str | None) -> Iterator[str]:
    """Say which answers are not those that everybody gets, and the journal has."""
    final = {(answer.word, answer.more) for answer in given if answer.word not in UNDECIDED}
    if len(final) > 1:
        yield f"{order}: callers were told {final}"
    for word, more in final:
        if word != status:
            yield f"{order}: callers were told {word} {more}, and it is {status}"


def _unjustified(order: str, given: list[Answer], spans: list[Answer]) -> Iterator[str]:
    """Say who was told that somebody else is at it when nobody was."""
    for answer in given:
        if answer.word == "in-progress" and not any(
            other.pid != answer.pid and other.begin < answer.end and other.end > answer.begin
            for other in spans
        ):
            yield f"{order}: process {answer.pid} was told of another, and there was none"


def _called_after(order: str, given: list[Answer], books: Books) -> Iterator[str]:
    """Say what was called first after a caller was told that all is over."""
    over = min((answer.end for answer in given if answer.word in ENDS.values()), default=None)
    known = set()
    for (service, path, key, *_), at in zip(books.asked[order], books.times[order], strict=True):
        if over is not None and at > over and (service, path, key) not in known:
            yield f"{order}: {path} was called {at - over:.3f} s after it was told to be over"
        known.add((service, path, key))  # one that a dead process has sent may come again, late


def _check_order(order: str, verdict: Verdict, books: Books) -> None:
    """Hold the ledgers against what became of a saga."""
    status = verdict.status.get(order, "absent")
    for service in ACTIONS:
        seen = books.seen[order][service]
        if seen.effects > 1:
            verdict.double += 1
            verdict.wrong.append(f"{order}: {seen.effects} effects in {service}")
        if status == "completed" and not (seen.effects and not seen.undos):
            verdict.lost += 1
            verdict.wrong.append(f"{order} is completed, and nothing stands in {service}")
        if status in ("compensated", "absent") and seen.effects > seen.undos:
            verdict.double += 1
            verdict.wrong.append(f"{order} is {status}, and its effect stands in {service}")
    _check_sequence(order, status, verdict, books)
    _check_keys(order, verdict, books)


def _check_sequence(order: str, status: str, verdict: Verdict, books: Books) -> None:
    """See that calls respect the edges of the saga, in both directions."""
    first: dict[str, int] = {}
    for n, (_, path, *_) in enumerate(books.asked[order]):
        first.setdefault(path, n)
    if status == "completed" and not first.keys().isdisjoint(UNDOS.values()):
        verdict.wrong.append(f"{order} is completed, and was undone: {[*first]}")
    for before, after in (("reserve", "book"), ("charge", "book")):
        if after in first and first.get(before, 1 << 30) > first[after]:
            verdict.wrong.append(f"{order}: {after} was called before {before}")
    for before, after in (("cancel", "release"), ("cancel", "refund")):
        if before in first and after in first and first[before] > first[after]:
            verdict.wrong.append(f"{order}: {after} was called before {before}")


def _check_keys(order: str, verdict: Verdict, books: Books) -> None:
    """See that each call has the key that its saga, operation and direction give it."""
    for service, path, key, undoes, _ in books.asked[order]:
        name, kind = ACTIONS[service], "action" if undoes is None else "compensation"
        if key != f"{order}:{name}:{kind}" or undoes not in (None, f"{order}:{name}:action"):
            verdict.wrong.append(f"{order} has called {path} under the key {key!r}")
