"""What may befall a saga: a world around the machine, which keeps books of its own.

In it calls take effect or not, processes die, replies are late, answers come from elsewhere and
persons decide, as a script of bytes says; every promise of the machine is checked against the
books.
"""

from __future__ import annotations

from collections import defaultdict
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from dialogue import NAMES, Dialogue, Watched, again, resolved, state

from py_api_saga import SagaStatus, Status
from py_api_saga.entries import (
    ABORT,
    ACTION,
    AGAIN,
    ANSWERED,
    ASK,
    COMPENSATION,
    DENIED,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    LATER,
    LOST,
    NOT_HAPPENED,
    RECOVERED,
    RESOLVED,
    RETRY,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    UNSTORED,
    Awaited,
    Setback,
)
from py_api_saga.execution import Execution
from py_api_saga.status import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from py_api_saga.definition import Definition
    from py_api_saga.entries import Attempt, Entry, Kind, Word

    Key = tuple[int, Kind, int]  # operation, kind, generation


_RESTING = {SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.STUCK}
_ENDED = {SagaStatus.COMPLETED, SagaStatus.COMPENSATED}
_SETTLED = {Status.PENDING, Status.FAILED, Status.COMPENSATED, Status.SKIPPED, Status.STUCK}
_EVERYTHING = (
    STARTED, SUCCEEDED, FAILED, RETRY, IN_DOUBT, HAPPENED, NOT_HAPPENED, UNKNOWN, ABORT, RESOLVED,
    AGAIN, LATER, ANSWERED, DENIED, LOST,
)  # fmt: skip


@dataclass
class Books:
    """What the world knows by itself of a run; a crash may take the last line away."""

    flight: dict[int, Entry] = field(default_factory=dict)
    late: set[Attempt] = field(default_factory=set)
    doubted: set[tuple[int, int]] = field(default_factory=set)  # operation, generation
    awaited: dict[int, Entry] = field(default_factory=dict)
    heard: dict[Key, bool] = field(default_factory=dict)  # of what was called: for good, or not
    taken: set[Key] = field(default_factory=set)  # the letters that were read
    worded: set[Key] = field(default_factory=set)  # and told
    overdue: set[int] = field(default_factory=set)  # not called again by themselves
    refused: set[int] = field(default_factory=set)  # from elsewhere, and nothing is owed
    asked: set[int] = field(default_factory=set)  # since the crash or the rollback began
    old: set[tuple[int, str]] = field(default_factory=set)  # never to be called under that key
    undone: set[tuple[int, int]] = field(default_factory=set)  # operation, generation
    tries: defaultdict[tuple[int, str], int] = field(default_factory=lambda: defaultdict(int))
    reopened: set[int] = field(default_factory=set)  # by a landing or a person
    owed_again: set[int] = field(default_factory=set)  # landed when it was undone or had failed
    accepted: set[int] = field(default_factory=set)  # a person let the effect stand
    passed: bool = False  # the pivot has succeeded
    rolled: bool = False  # a compensation was started
    stopped: bool = False  # an abort was told before the pivot was behind

    def kept(self) -> Books:
        """Keep a copy."""
        return replace(self, **{name: copy(value) for name, value in vars(self).items()})


class Fate(Dialogue):
    """What truly happens, as a script of bytes says; zero is the peaceful choice."""

    def __init__(self, definition: Definition, script: Sequence[int]) -> None:
        """Begin a run in a world that is wild as long as the script lasts."""
        super().__init__(definition)
        self.books = Books()
        self.before: Books | None = None  # the last verdict, while it may not be on disk
        self.effect = [False] * len(definition.operations)  # what the services would say
        self.keys: set[tuple[int, int]] = set()  # of compensations that took effect
        self.did: set[tuple[int, int]] = set()  # of actions that did
        self.letters: dict[Key, Word] = {}  # what was answered from elsewhere, once for each key
        self.early: set[int] = set()  # compensations in flight whose effect has been
        self._script = iter(script)
        self.wild = True
        self.calm = self.choose(4, 4, 16)  # how often all goes well, against six kinds of trouble
        self._below = _descendants(definition)

    def choose(self, *options: Any) -> Any:
        """Choose as the script says."""
        choice = next(self._script, None)
        if choice is None:
            self.wild, choice = False, 0
        return options[choice % len(options)]

    def live(self) -> None:
        """Let it all happen, until the script is read and nothing is left to do."""
        moves = {
            "land": self.let_land,
            "crash": self.die,
            "lose": self.lose_one,
            "abort": self.stop,
            "person": self.decide,
            "wrong": self.err,
            "answer": self.answer_later,
            "mail": self.read_mail,
            "due": self.let_be_due,
        }
        for _ in range(1000):
            x, calls = self.x, self.x.ready()
            self.check(calls)
            flight, stuck = sorted(self.books.flight), Status.STUCK in x.status
            options = ["start"] * 6 * bool(calls) + ["finish"] * 6 * bool(flight)
            options += ["land"] * 4 * bool(self.books.late)
            options += ["answer"] * 3 * bool(self.answerable(awaited=True))
            options += ["mail"] * 5 * bool(self.unread())
            if self.wild:
                options += ["wrong", "crash", "abort"] + ["person"] * 3 * stuck
                options += ["answer"] * bool(self.answerable())
                options += ["lose"] * 2 * bool(flight or self.books.late)
            options += ["due"] * 2 * bool(self.ripe())
            if not options:
                assert x.at_rest, "nothing is awaited for ever"
                break
            move = self.choose(*options)
            if move == "start":
                self.begin(self.choose(*calls))
            elif move == "finish":
                self.finish(self.choose(*flight))
            else:
                moves[move]()
        else:
            pytest.fail("the saga does not end")

    def told(self, entry: Entry, *, started: bool = False) -> None:
        """Tell the machine, which stays as ready as it was, apart from what was told."""
        x = self.x
        before, way = x.ready(), (x.backward, x.rolling)
        self.before = None
        if started:  # in one step
            self.follow(entry, partial(self.begins, entry))
        else:
            self.tell(entry)
        if x.rolling is not way[1]:
            self.books.asked &= self.books.overdue  # whoever was asked in vain is not asked twice
            self.await_no_more()
        if entry[0] not in (ABORT, RECOVERED) and way == (x.backward, x.rolling):
            after = {intent[:5] for intent in x.ready()}
            for intent in before:
                assert intent[1] == entry[1] or intent[:5] in after, "a call stays ready"

    def begins(self, intent: Entry) -> None:
        """Have the machine start the call that is ready first."""
        assert self.x.start() == intent

    # --- what happens ---

    def begin(self, intent: Entry) -> None:
        """Start a call."""
        _, i, kind, attempt, generation, _ = intent
        self.check_start(i, kind, attempt, generation)
        books = self.books
        if kind != ASK:
            books.tries[i, kind] = attempt
            books.heard[i, kind, generation] = False
        if kind == ACTION:
            books.asked.discard(i)
        elif kind == COMPENSATION:
            books.rolled = True
            if self.wild and self.choose(False, True):
                self.early.add(i)
                self.take_back(i, generation)
        books.flight[i] = intent
        self.told(intent, started=intent == self.x.ready()[0] and intent[5] is None)

    def take_back(self, i: int, generation: int) -> None:
        """Let a compensation take effect, once under each key."""
        if (i, generation) not in self.keys:
            self.keys.add((i, generation))
            self.effect[i] = False

    def finish(self, i: int) -> None:
        """End a call in flight."""
        kept = self.books.kept()
        intent = self.books.flight.pop(i)
        ways = {ACTION: self._finish_action, COMPENSATION: self._finish_undo, ASK: self._answer}
        what, value = ways[intent[2]](i, intent)
        self.early.discard(i)
        entry: Entry = (what, *intent[1:5], value)
        if what == LATER:
            self.books.awaited[i] = entry
        elif what in (SUCCEEDED, UNSTORED, HAPPENED):
            self.books.heard[self.key_of(intent)] = True
        if what == SUCCEEDED and self.definition.is_chain:
            self.check_go_on(entry)
        self.told(entry)
        self.before = kept

    def check_go_on(self, entry: Entry) -> None:
        """Check that to go on is to tell a success and to start what is next, in one step."""
        one, two = (Execution(self.definition, self.x.entries) for _ in range(2))
        one.tell(entry)
        assert two.go_on(entry) == one.start()
        assert state(two) == state(one)
        assert two.entries == one.entries

    def _finish_action(self, i: int, intent: Entry) -> tuple[Word, object]:
        books = self.books
        how = self.choose(
            *["ok"] * self.calm, "fail", "retry", "doubt", "doubt again", "alive", "alive again",
            "unstored", "later", "later", "timer",
        ) if self.wild else "ok"  # fmt: skip
        is_refused = self.letters.get(self.key_of(intent)) == DENIED  # and nobody has read it yet
        if is_refused and how in ("ok", "unstored"):
            how = "fail"
        if how in ("later", "timer"):
            return LATER, self.awaiting(timer=how == "timer")
        if how in ("ok", "unstored"):
            self.take_effect(i, intent[4])
            self.undoubt(i)
            if self.definition.operations[i].policy.pivot:
                books.stopped = False
            return self.success(f"{NAMES[i]} {intent[3]}", stored=how == "ok")
        if how == "fail":
            return FAILED, ValueError("failed")
        if how == "retry":
            return RETRY, Setback(ValueError("failed"), self.choose(0.0, 1.0))
        books.doubted.add((i, intent[4]))
        books.asked.discard(i)
        if self.choose(False, True) and not is_refused:
            self.take_effect(i, intent[4])
        if "alive" in how:
            books.late.add(intent[1:5])
        wait = 1.0 if "again" in how else None
        return IN_DOUBT, Setback(TimeoutError("in doubt"), wait, alive="alive" in how)

    def awaiting(self, *, timer: bool) -> Awaited:
        """Begin something, whose answer comes later, or which succeeds by itself."""
        return Awaited(1.0, is_timer=timer, result="in time" if timer else None)

    def take_effect(self, i: int, generation: int) -> None:
        """Let an action take effect, once under each key."""
        if (i, generation) not in self.did:
            self.did.add((i, generation))
            self.effect[i] = True

    def undoubt(self, i: int) -> None:
        """Know for sure what came of an action."""
        books = self.books
        books.doubted = {key for key in books.doubted if key[0] != i}
        books.refused.discard(i)

    def success(self, value: object, *, stored: bool) -> tuple[Word, object]:
        """Return a value, which may be one that no journal can keep."""
        return (SUCCEEDED, value) if stored else (UNSTORED, (value, TypeError("unstored")))

    def _finish_undo(self, i: int, intent: Entry) -> tuple[Word, object]:
        how = self.choose(
            "ok", "ok", "ok", "ok", "fail", "retry", "retry", "doubt", "doubt again", "alive",
            "alive again", "unstored", "later", "later", "timer",
        ) if self.wild else "ok"  # fmt: skip
        is_refused = self.letters.get(self.key_of(intent)) == DENIED
        if is_refused and how in ("ok", "unstored"):
            how = "fail"
        if how in ("later", "timer"):
            return LATER, self.awaiting(timer=how == "timer")
        if how in ("ok", "unstored"):
            self.take_back(i, intent[4])
            self.undone(i, intent[4])
            return self.success(None, stored=how == "ok")
        if self.choose(False, True) and not is_refused:
            self.take_back(i, intent[4])
        if how == "fail":
            return FAILED, ValueError("not undone")
        if how == "retry":
            return RETRY, Setback(ValueError("not undone"), 1.0)
        if "alive" in how:
            self.books.late.add(intent[1:5])
        wait = 1.0 if "again" in how else None
        return IN_DOUBT, Setback(TimeoutError("in doubt"), wait, alive="alive" in how)

    def undone(self, i: int, generation: int) -> None:
        """Note that a compensation was reported as done: once under each key."""
        assert (i, generation) not in self.books.undone, "nothing is undone twice per landing"
        self.books.undone.add((i, generation))
        self.books.old.discard((i, COMPENSATION))
        self.books.owed_again.discard(i)

    def _answer(self, i: int, _: Entry) -> tuple[Word, object]:
        books = self.books
        truth = HAPPENED if self.effect[i] else NOT_HAPPENED
        what = self.choose(truth, truth, UNKNOWN)
        books.asked.add(i)
        if what == UNKNOWN:
            return UNKNOWN, None
        self.undoubt(i)
        if what == NOT_HAPPENED:
            books.old.discard((i, ACTION))
            return NOT_HAPPENED, None
        if self.definition.operations[i].policy.pivot:
            books.stopped = False
        value = f"{NAMES[i]} asked"
        stored = self.choose(True, True, False)
        return (HAPPENED, value) if stored else self.success(value, stored=False)

    def let_land(self) -> None:
        """Let a straggler end."""
        attempt = self.choose(*sorted(self.books.late))
        i, kind, _, generation = attempt
        books, status = self.books, self.x.status[i]
        books.late.remove(attempt)
        key = (i, kind, generation)
        answer = self.letters.get(key)
        if answer == DENIED or (self.choose(False, True) and self.wild):
            what = self.choose(FAILED, RETRY, IN_DOUBT, LATER)
            error = ValueError("late")
            values: dict[Word, object] = {
                FAILED: error,
                RETRY: Setback(error, 1.0),
                IN_DOUBT: Setback(error),
                LATER: self.awaiting(timer=answer is None and self.choose(False, True)),
            }
            self.told((what, *attempt, values[what]))
            assert self.x.status[i] is status, "a late failure only ends the straggler"
            return
        if kind == COMPENSATION:
            self.take_back(i, generation)
            if status is Status.STUCK and not books.heard[key]:
                self.undone(i, generation)
        elif not books.heard[key]:
            self.take_effect(i, generation)
            self.note_late(i)
        books.heard[key] = True
        what, value = self.success("late", stored=self.choose(True, True, False))
        self.told((what, *attempt, value))

    def note_late(self, i: int) -> None:
        """Note that the machine hears late that an action took effect."""
        books, status = self.books, self.x.status[i]
        books.refused.discard(i)
        if status is Status.IN_DOUBT:
            self.undoubt(i)
        elif status in (Status.STUCK, Status.SUCCEEDED) and books.tries[i, COMPENSATION]:
            books.accepted.add(i)  # on record; a person looks at it anyway
        elif status not in (Status.STUCK, Status.SUCCEEDED, Status.SKIPPED):
            books.reopened.add(i)
            if self.definition.operations[i].compensation is not None:
                books.owed_again.add(i)

    # --- what comes from elsewhere ---

    def key_of(self, intent: Entry) -> Key:
        """Give the key of a call; a question asks about that of the last attempt."""
        _, i, kind, _, generation, _ = intent
        if kind != ASK:
            return (i, kind, generation)
        return (i, ACTION, max(g for j, of, g in self.books.heard if (j, of) == (i, ACTION)))

    def awaits(self, key: Key) -> bool:
        """Say whether a call under this key is awaited."""
        later = self.books.awaited.get(key[0])
        return later is not None and (later[1], later[2], later[4]) == key

    def is_expected(self, key: Key) -> bool:
        """Say whether an answer would be taken in that nobody awaits, as the books see it."""
        i, kind, _ = key
        flight = self.books.flight.get(i)
        runs = flight is not None and flight[2] in (kind, ASK)
        return not (runs or self.awaits(key) or self.books.heard.get(key, True))

    def answerable(self, *, awaited: bool = False) -> list[Key]:
        """List the keys that somebody may answer: once each."""
        keys = [key for key, known in self.books.heard.items() if not known]
        return [
            key for key in keys if key not in self.letters and (self.awaits(key) or not awaited)
        ]

    def answer_later(self) -> None:
        """Let somebody elsewhere say what came of a call, which is in the mail since."""
        key = self.choose(*(self.answerable(awaited=True) or self.answerable()))
        if self.wild and self.choose(False, True):
            key = self.choose(*self.answerable())
        i, kind, generation = key
        has_effect = (i, generation) in (self.did if kind == ACTION else self.keys)
        denies = not has_effect and self.choose(False, False, True)
        self.letters[key] = DENIED if denies else ANSWERED
        if not denies and kind == ACTION:
            self.take_effect(i, generation)
        elif not denies:
            self.take_back(i, generation)

    def unread(self) -> list[Key]:
        """List the letters that can be read: not while their call runs."""
        books = self.books
        return [
            key
            for key in self.letters
            if key not in books.taken
            and (self.awaits(key) or self.is_expected(key) or books.heard[key])
        ]

    def read_mail(self) -> None:
        """Tell what is in a letter, or leave it if that is known already."""
        key = self.choose(*self.unread())
        i, kind, generation = key
        kept = self.books.kept()
        books, what = self.books, self.letters[key]
        books.taken.add(key)
        if not self.awaits(key) and books.heard[key]:
            return
        books.worded.add(key)
        value = PermissionError("denied") if what == DENIED else "an answer"
        entry: Entry = (what, i, kind, books.tries[i, kind], generation, value)
        if kind == COMPENSATION:
            self._read_of_undo(key, what)
        elif what == ANSWERED:
            self._read_answer(key)
        else:
            self._read_denial(key)
        books.heard[key] = True
        if self.awaits(key):
            del books.awaited[i]
        self.told(entry)
        self.before = kept

    def _read_of_undo(self, key: Key, what: Word) -> None:
        i, _, generation = key
        unsettled = (Status.COMPENSATING, Status.STUCK, Status.SUCCEEDED)
        latest = generation == self.x.generation(i, COMPENSATION) and i not in self.books.awaited
        counts = self.awaits(key) or (latest and self.x.status[i] in unsettled)
        if what == ANSWERED and counts:
            self.undone(i, generation)

    def _read_answer(self, key: Key) -> None:
        books, x, i = self.books, self.x, key[0]
        if x.status[i] is Status.RUNNING or self.is_stuck_itself(i):
            self.undoubt(i)
            books.reopened.add(i)
            if i in books.awaited and not self.awaits(key):
                later = books.awaited.pop(i)  # under another key
                books.heard[i, ACTION, later[4]] = later[5].is_timer
        else:
            self.note_late(i)
        if i == self.definition.pivot and not x.rolling:
            books.stopped = False

    def _read_denial(self, key: Key) -> None:
        books, x, (i, _, generation) = self.books, self.x, key
        books.doubted.discard((i, generation))
        others = {number for place, number in books.doubted | self.did if place == i}
        if generation != x.generation(i, ACTION) or (i in books.awaited and not self.awaits(key)):
            return
        if others - {generation}:
            books.overdue.add(i)
        elif x.status[i] in (Status.RUNNING, Status.IN_DOUBT) or self.is_stuck_itself(i):
            books.refused.add(i)

    def is_stuck_itself(self, i: int) -> bool:
        """Say whether an operation is stuck, and nobody has called its compensation."""
        return self.x.status[i] is Status.STUCK and not self.books.tries[i, COMPENSATION]

    def ripe(self) -> list[int]:
        """List what may be too late, if need be: never before its letter is read."""
        books, places = self.books, []
        for i, (_, _, kind, _, generation, _) in sorted(books.awaited.items()):
            key = (i, kind, generation)
            if key in books.taken or (self.wild and key not in self.letters):
                places.append(i)
        return places

    def let_be_due(self) -> None:
        """Let the time of something awaited come."""
        books, x = self.books, self.x
        kept = books.kept()
        later = books.awaited.pop(self.choose(*self.ripe()))
        _, i, kind, _, generation, awaited = later
        if awaited.is_timer:
            self.in_time(later)
            books.heard[i, kind, generation] = True
            self.told((SUCCEEDED, *later[1:5], awaited.result))
            self.before = kept
            return
        pivot, asks = self.definition.pivot, self.definition.operations[i].policy.ask is not None
        turned = x.backward
        if kind == ACTION:
            books.doubted.add((i, generation))
            books.asked.discard(i)
            books.overdue.add(i)
        self.told((IN_DOUBT, *later[1:5], Setback(TimeoutError("overdue"))))
        if kind == COMPENSATION:
            assert x.status[i] is Status.STUCK
        elif asks and not turned:
            assert not x.backward, "asked first"
            assert ASK in {intent[2] for intent in x.ready() if intent[1] == i}
        else:
            assert x.backward is (turned or not (x.passed or i == pivot))
        self.before = kept

    def in_time(self, later: Entry) -> None:
        """Let a timer succeed by itself."""
        _, i, kind, _, generation, _ = later
        if kind == COMPENSATION:
            self.take_back(i, generation)
            self.undone(i, generation)
            return
        self.take_effect(i, generation)
        self.undoubt(i)
        if i == self.definition.pivot:
            self.books.stopped = False

    def await_no_more(self) -> None:
        """Let a rollback begin: what is awaited is in doubt, and a timer has succeeded."""
        books = self.books
        for i, later in list(books.awaited.items()):
            del books.awaited[i]
            generation, awaited = later[4], later[5]
            if awaited.is_timer:
                books.heard[i, ACTION, generation] = True
                if self.letters.get((i, ACTION, generation)) != DENIED:  # which nobody has read
                    self.in_time(later)
            else:
                books.doubted.add((i, generation))

    def die(self) -> None:
        """Let the process die, its last verdict unwritten or not, and the next one take over."""
        x, entries = self.x, list(self.x.entries)
        if self.before is not None and self.choose(False, True):
            self.books = self.before
            entries.pop()
        books = self.books
        self.x = Watched(self.definition, entries)
        if self.x.suspended and not books.late:
            self.before = None
            return  # nobody has lost anything
        self.leave_world(x)
        in_flight = {(i, intent[2]) for i, intent in books.flight.items()}
        books.doubted |= {
            (i, intent[4]) for i, intent in books.flight.items() if intent[2] == ACTION
        }
        books.flight.clear()
        books.late.clear()
        books.asked.clear()
        self.early.clear()
        everything = range(len(self.definition.operations))
        too_old = frozenset(self.choose((), (), everything, everything[::2]))
        old_undos = {(i, kind) for i, kind in in_flight if kind == COMPENSATION and i in too_old}
        self.told((RECOVERED, -1, "", 0, 0, too_old))
        waits = {intent[5] for intent in self.x.ready()}
        assert waits <= {None, 0.0}, "after a crash a retry is due at once"
        in_doubt = {i for i in too_old if self.x.status[i] is Status.IN_DOUBT}
        books.old = {(i, ACTION) for i in in_doubt} | old_undos

    def lose_one(self) -> None:
        """Let the process of one call die, in flight or given up, while those of others live."""
        books = self.books
        calls = [books.flight[i][1:5] for i in sorted(books.flight)]
        call = self.choose(*calls, *sorted(books.late))
        i, kind, _, generation = call
        too_old = self.choose(False, False, True)
        self.before = None
        if call in books.late:
            self.leave_late(self.x, call)
            books.late.remove(call)
            status = self.x.status[i]
            self.told((LOST, *call, too_old))
            assert self.x.status[i] is status, "it only ends the straggler"
            return
        self.leave_flight(i)
        del books.flight[i]
        books.old -= {(i, ACTION), (i, COMPENSATION)}
        if kind == ACTION:
            books.doubted.add((i, generation))
            books.asked.discard(i)
        self.early.discard(i)
        self.told((LOST, *call, too_old))
        if too_old and kind == COMPENSATION:
            books.old.add((i, COMPENSATION))
        elif too_old and self.x.status[i] is Status.IN_DOUBT:
            books.old.add((i, ACTION))

    def leave_world(self, x: Execution) -> None:
        """Let what the process has begun, or had abandoned, take effect or not."""
        for i in self.books.flight:
            self.leave_flight(i)
        for call in sorted(self.books.late):
            self.leave_late(x, call)

    def leave_flight(self, i: int) -> None:
        """Let what a dead process has begun take effect or not."""
        intent = self.books.flight[i]
        if self.letters.get(self.key_of(intent)) == DENIED:
            return
        if intent[2] == ACTION and self.choose(False, True):
            self.take_effect(i, intent[4])
        elif intent[2] == COMPENSATION and self.choose(False, True):
            self.take_back(i, intent[4])

    def leave_late(self, x: Execution, call: Attempt) -> None:
        """Let what a dead process had abandoned take effect or not."""
        i, kind, _, generation = call
        # What a dead straggler does to an operation that was undone, nobody can see.
        unseen = self.books.tries[i, COMPENSATION] or x.status[i] in _SETTLED - {Status.STUCK}
        if self.letters.get((i, kind, generation)) == DENIED:
            return
        if kind == ACTION and not unseen and self.choose(False, True):
            self.take_effect(i, generation)
        elif kind == COMPENSATION and self.choose(False, True):
            self.take_back(i, generation)

    def stop(self) -> None:
        """Tell the saga to stop, where that may be."""
        self.attempt((ABORT, -1, "", 0, 0, TimeoutError("stop")))

    def decide(self) -> None:
        """Let a person decide about an operation that is stuck: rightly, but not always legally."""
        x = self.x
        i = self.choose(*(i for i, status in enumerate(x.status) if status is Status.STUCK))
        if self.choose(False, False, True):
            self.stop()
            return
        status = self.choose(
            Status.SUCCEEDED, Status.FAILED, Status.COMPENSATED, Status.SKIPPED, None, None, None
        )
        entry = resolved(i, status, "known") if status else again(i, new_key=self.choose(0, 1) == 1)
        self.attempt(entry)

    def err(self) -> None:
        """Tell something that may make no sense at all."""
        i = self.choose(*range(len(self.definition.operations)))
        what = self.choose(*_EVERYTHING)
        kind = self.choose(ACTION, COMPENSATION, ASK)
        value: Any = ValueError("wrong")
        if what == RETRY:
            value = Setback(value, 1.0)
        elif what == IN_DOUBT:
            value = Setback(value)
        elif what == RESOLVED:
            value = (self.choose(*Status), None)
        elif what == LATER:
            value = self.awaiting(timer=False)
        entry = (what, i, kind, self.choose(1, 2, 3), self.choose(1, 2), value)
        if not self.allows(entry):
            self.refuse(entry)

    def attempt(self, entry: Entry) -> None:
        """Tell what may or may not be legal; the machine takes in just what the rules allow."""
        if not self.allows(entry):
            self.refuse(entry)
            return
        what, i, *_, value = entry
        books, pivot = self.books, self.definition.pivot
        if what == ABORT:
            books.stopped = pivot < 0 or self.x.status[pivot] is not Status.SUCCEEDED
        else:
            books.reopened.add(i)
            books.old -= {(i, ACTION), (i, COMPENSATION)}
            books.overdue.discard(i)
            books.refused.discard(i)
        if what == RESOLVED:
            self.undoubt(i)
            if value[0] is Status.SKIPPED:
                books.accepted.add(i)
            elif value[0] is not Status.SUCCEEDED:
                self.effect[i] = False
            elif not self.x.rolling:
                self.effect[i] = True
                books.stopped = books.stopped and i != pivot
        self.told(entry)

    def allows(self, entry: Entry) -> bool:
        """Say whether an entry is legal, as the books see it."""
        what, i, kind, *_, value = entry
        x, books = self.x, self.books
        if what == STARTED:
            return entry[1:5] in {intent[1:5] for intent in x.ready()}
        if what == ABORT:
            pivot = self.definition.pivot
            decided = pivot < 0 or x.status[pivot] in (Status.PENDING, Status.FAILED)
            asked_a_person = x.saga is SagaStatus.STUCK and not x.rolling
            return x.saga not in _ENDED and (decided or not asked_a_person)
        if what in (ANSWERED, DENIED) or (i in books.awaited and self.awaits((i, kind, entry[4]))):
            return self.allows_of_awaited(entry)
        flying = i in books.flight and books.flight[i][1:5] == entry[1:5]
        if what in (HAPPENED, NOT_HAPPENED, UNKNOWN):
            return flying and kind == ASK
        if what not in (RESOLVED, AGAIN):
            ends = flying and (kind != ASK or what == LOST)
            return ends or entry[1:5] in books.late
        return self.allows_person(i, None if what == AGAIN else value[0])

    def allows_of_awaited(self, entry: Entry) -> bool:
        """Say whether a word from elsewhere is legal, or one of what is awaited."""
        what, i, kind, attempt, generation, _ = entry
        key = (i, kind, generation)
        if what in (ANSWERED, DENIED):
            return self.awaits(key) or self.is_expected(key)
        later = self.books.awaited[i]
        if later[3] != attempt or what in (STARTED, RESOLVED, AGAIN):
            return False
        if later[5].is_timer:
            return what == SUCCEEDED
        return what == IN_DOUBT or (what == FAILED and kind == COMPENSATION)

    def allows_person(self, i: int, status: Status | None) -> bool:
        """Say whether a person may resolve an operation so, or call it again."""
        x, books = self.x, self.books
        if x.status[i] is not Status.STUCK or i in books.flight:
            return False
        alive = {late[1] for late in books.late if late[0] == i}
        if status is None:
            turning = x.backward and not x.rolling and i != self.definition.pivot
            return not (alive or turning or i in {intent[1] for intent in x.ready()})
        legal = {Status.SUCCEEDED, Status.FAILED}
        if x.rolling:
            legal |= {Status.COMPENSATED, Status.SKIPPED}
            legal -= {Status.SUCCEEDED} if COMPENSATION in alive else set()
        if x.passed:
            legal -= {Status.FAILED}
        return status in legal

    # --- what must hold ---

    def check_start(self, i: int, kind: str, attempt: int, generation: int) -> None:
        """Check that a call may start."""
        x, books, operation = self.x, self.books, self.definition.operations[i]
        status, alive = x.status[i], {late[1] for late in books.late if late[0] == i}
        in_flight = {intent[2] for intent in books.flight.values()}
        if kind == ASK:
            assert status is Status.IN_DOUBT, "only doubt is asked about"
            assert not alive, "while a straggler lives nothing is asked"
            assert attempt == books.tries[i, ACTION]
            assert i not in books.asked, "asked once"
            return
        same = {(late[0], late[1], late[3]) for late in books.late}
        assert (i, kind, generation) not in same, "never called again while the straggler lives"
        assert i not in books.awaited, "what is awaited is not called"
        assert i not in books.refused, "neither called again nor undone"
        assert (i, kind, generation) not in books.worded, "nobody answers under a key twice"
        assert attempt == books.tries[i, kind] + 1, "attempts count per kind and never restart"
        assert (i, kind) not in books.old, "what is too old is not called again"
        if status is Status.IN_DOUBT:
            assert not operation.policy.park, "what is parked is left to a person"
            assert operation.policy.ask is None or alive or i in books.asked, "asked first"
        if kind == ACTION:
            assert not books.rolled, "no action after the first compensation"
            assert i not in books.overdue, "never called again by itself"
            assert all(x.status[j] is Status.SUCCEEDED for j in self.definition.after[i])
            assert Status.FAILED not in x.status, "nothing starts after a failure"
            assert not books.stopped or i == self.definition.pivot, "nothing starts after an abort"
            return
        assert ACTION not in in_flight, "no compensation while an action is in flight"
        pivot = self.definition.pivot
        assert not books.passed, "nothing rolls back after the pivot"
        assert pivot < 0 or x.status[pivot] is not Status.IN_DOUBT
        assert pivot not in books.awaited or x.rolling, "it decides"
        assert status is not Status.FAILED or i in books.owed_again, "it declared failure"
        assert (i, generation) not in books.undone, "undone once"
        if operation.compensation is not None and operation.compensation[3]:
            known = x.results[i] is not MISSING
            assert known or i in books.reopened, "what it gets is known, or a person said so"
        for j in self._below[i] - books.reopened:
            assert x.status[j] in _SETTLED, "reverse order along edges"

    def check(self, calls: list[Entry]) -> None:
        """Check what must hold at any time."""
        x, books = self.x, self.books
        places = [intent[1] for intent in calls]
        assert len(set(places)) == len(places), "listed once"
        assert not set(places) & set(books.flight), "not listed while in flight"
        assert x.flying == books.flight
        asks = [i for i, intent in x.flying.items() if intent[2] == ASK]
        assert {x.status[i] for i in asks} <= {Status.IN_DOUBT}, "only doubt is asked about"
        assert x.trouble is None or not x.trouble.asked & set(x.flying), "asked before"
        assert all(x.is_flying(intent) for intent in books.flight.values())
        assert x.awaited == books.awaited
        assert not set(places) & set(books.awaited), "not listed while awaited"
        kinds = {later[2] for later in books.awaited.values()}
        assert kinds <= ({COMPENSATION} if x.rolling else {ACTION})
        assert x.suspended is (bool(books.awaited) and not calls and not books.flight)
        assert {key for key in books.heard if x.expects(*key)} == {
            key for key in books.heard if self.is_expected(key)
        }
        order = [
            (intent[5] is not None, -intent[1] if x.rolling else intent[1]) for intent in calls
        ]
        assert order == sorted(order), "declaration order, reversed in a rollback, retries last"
        limit = len(x.entries) % 3 + 1
        assert x.ready(limit) == calls[:limit], "a part of the list is its beginning"
        assert x.at_rest is not bool(calls or books.flight or books.awaited)
        for i, status in enumerate(x.status):
            doubted = any(place == i for place, _ in books.doubted)
            assert status is not Status.FAILED or not doubted, "doubt is sticky"
        pivot = self.definition.pivot
        books.passed |= pivot >= 0 and x.status[pivot] is Status.SUCCEEDED and not x.rolling
        if x.at_rest and not self.unread():  # those lead on
            self.check_rest()

    def check_rest(self) -> None:
        """Check what must hold when a saga has ended."""
        x, books = self.x, self.books
        assert x.saga in _RESTING, "every saga ends in one of three ways"
        assert (x.saga is SagaStatus.STUCK) is (Status.STUCK in x.status)
        if x.saga is SagaStatus.COMPLETED:
            assert set(x.status) == {Status.SUCCEEDED}
            assert all(self.effect), "all of it"
            assert not books.rolled
            assert MISSING not in x.results
        elif x.rolling:
            assert set(x.status) <= _SETTLED, "nothing owed is left"
            for i, operation in enumerate(self.definition.operations):
                if x.status[i] is Status.STUCK:
                    continue
                owed = self.effect[i] and operation.compensation is not None
                assert not owed or i in books.accepted, "nothing owed is left"
                skipped = x.status[i] is Status.SKIPPED
                assert not skipped or operation.compensation is None or i in books.accepted
                assert i not in books.owed_again or i in books.reopened
        else:
            for i, status in enumerate(x.status):
                assert status in (Status.SUCCEEDED, Status.STUCK, Status.PENDING)
                stuck_above = any(
                    i in self._below[j] for j, other in enumerate(x.status) if other is Status.STUCK
                )
                assert status is not Status.PENDING or stuck_above, "what does not depend goes on"


def _descendants(definition: Definition) -> list[set[int]]:
    """Give all that is built on each operation, also by way of others."""
    below: list[set[int]] = [set() for _ in definition.operations]
    for i in reversed(range(len(below))):
        for j in definition.followers[i]:
            below[i] |= {j} | below[j]
    return below
