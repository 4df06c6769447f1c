"""The machine: ask it what is `ready`, `tell` it what happened, read how the saga stands.

It does no I/O: it calls no user code, reads no clock, never sleeps, draws no random number. What
needs those is done by an executor and told to the machine as an entry; `entries` has the words.

Two rules make it what it is.

1.  **Its state is the fold of what it was told.** `Execution(definition, entries)` is the machine
    as it was, in whatever process: the live path and recovery are the same code. An entry that
    contradicts the run raises `IllegalMoveError` and changes nothing, so whatever checks an entry
    comes before its first change.

2.  **What needs a call is listed; what needs none happens while telling.** A call stays `ready`
    until somebody tells that it has STARTED. What follows without one (a rollback begins, an
    operation without a compensation is skipped, the saga ends) follows at once and is never told
    itself. All of it obeys the tables of moves in `status`; `follows` lists what may come of
    each entry in each status.

The life of an operation
    It is PENDING until all that it comes after has succeeded, and then ready. STARTED makes it
    RUNNING and puts its intent in `flying`, where it stays until somebody tells what came of the
    call. SUCCEEDED keeps the result, and what comes after it may be ready. RETRY leaves it RUNNING
    but not in flight: it waits (`Trouble.waiting`) and is ready again, its intent saying how long
    to wait yet. FAILED means that it has no effect, and has all be undone; IN_DOUBT that nobody
    knows. Once the pivot has succeeded (`passed`) nothing is undone any more: what fails for good
    is STUCK, and a person says what came of it (RESOLVED) or that it is called again (AGAIN).

    A call is known by its operation, kind, attempt and generation. Attempts count for each kind
    and never restart; the generation is that of the idempotency key, so a service takes two
    attempts of one generation for one request.

The life of a doubt
    It begins when nobody knows what came of an action: its reply was lost, its time was up, an
    interrupt struck it (IN_DOUBT), or its process died (RECOVERED, for all that was in flight; LOST
    for one call). The operation is in doubt, not the attempt: that the next one fails disproves
    nothing, so doubt stays until somebody knows (`Trouble.doubted`).

    What comes next depends on when that is. With a retry left it is called again, under the same
    key. Without one, all is undone: the operation is IN_DOUBT, which is owed like a success. What
    a crash cut off, or past the pivot an interrupt, has not failed yet, so it may be called again
    (`Trouble.recallable`). A question (`on_doubt=` a function) comes before either, once
    (`Trouble.asked`), and so does leaving it to a person (`on_doubt="park"`), which makes it STUCK.
    The pivot, and what comes behind it, can't be undone for a mere doubt: asked if there is a
    question, and else STUCK.

    An attempt whose time is up may still be running: a *straggler*, which may *land*. Until it
    has ended, in whatever way, nothing is asked (the answer might be out of date by the time it
    comes) and it is not called again in that direction. If it lands in success while the operation
    is IN_DOUBT, it has succeeded. If it lands behind its undo, that undo is owed once more, under
    the next generation (`Trouble.landed`).

The life of an answer
    A call may only have begun something, whose answer comes later, from elsewhere. LATER takes it
    out of `flying` into `awaited`: its operation stays RUNNING or COMPENSATING, and no process is
    needed for it. A saga that is to do nothing else is `suspended`, not at its end. ANSWERED and
    DENIED are the words of whoever answers. They beat what anybody else knows, and speak of a key,
    not of an attempt: of what was awaited they are its success and its failure, and what is denied
    leaves no doubt, whatever became of earlier attempts under that key.

    What is awaited ends without them when its time has come. A timer has succeeded. Anything else
    is `Trouble.overdue`: a compensation is STUCK; an action is in doubt, and since it may well have
    happened it is asked about before anything is undone. It is not called again by itself.

    As a rollback begins, what is awaited is in doubt and owed, and a timer has succeeded: it would
    have. An awaited pivot decides whether there is a rollback, as one in flight does. A crash
    changes nothing of what is awaited.

    Answers may come when nobody awaits them: late, before LATER was told, after a crash, or to what
    failed by an error of its own. A key `expects` one that was used, until somebody has heard for
    good what came of it. Such a success is taken in where the operation stands: in doubt, stuck for
    its doubt, or between two attempts, it has succeeded; behind its undo, or when it failed, it is
    owed once more, like what a straggler lands. Such a denial settles what is in doubt as FAILED,
    and is the end of a call that was to be made again. No key is answered twice, so whoever calls
    again what was denied takes the next one.

The life of a rollback
    First it is decided (`backward`), then it begins (`rolling`). In between no action starts, but
    those in flight are awaited and count. So is a pivot that may have happened: if it has, the
    saga has passed it, and the rollback is called off.

    As it begins, `debts` says what is owed: what has succeeded, is in doubt or is stuck. Each is
    settled once nothing that was built on it is owed: COMPENSATED by its compensation; SKIPPED if
    it has none; FAILED if it turns out that it did not happen; or STUCK, which holds up nobody: a
    rollback does all that it can. What a person says of it later settles it as well.

    The saga has ended when nothing is ready, in flight, waiting or awaited: COMPLETED, COMPENSATED,
    or STUCK if an operation is. Only a person, a straggler or an answer leads out of the last two.

What may start
    `_heap` holds the operations with a call to make: i itself going forward, its complement ~i in
    a rollback. So the least mark is the next call in either direction: in the order of declaration
    going forward, in the reverse of it going backward. There are never marks of both kinds: the
    heap is emptied when a rollback is decided, but for a pivot in doubt. What waits is not in it.

    `_blockers` counts what an operation still waits for: going forward those that it comes after
    and that have not succeeded, in a rollback those that were built on it and are owed. Who waits
    for one other at most has no count: it is free when that one is done, as always in a chain.
    `_owed` is what a rollback has not settled yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import Any, ClassVar, Final

from py_api_saga.calls import NEEDS
from py_api_saga.definition import Definition, Results, arrange
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
    Attempt,
    Entry,
    Kind,
    Word,
    attempt_of,
    failed,
    index_of,
    kind_of,
    started,
    succeeded,
    value_of,
    what_of,
)
from py_api_saga.heard import effective_keys, is_denied, is_open
from py_api_saga.placeholder import OWN
from py_api_saga.status import LEGAL, MISSING, SAGA_LEGAL, SagaStatus, Status
from py_api_saga.stuck import StuckReason
from py_api_saga.trouble import Trouble, debts

_OPEN = frozenset({Status.IN_DOUBT, Status.STUCK})  # nobody knows, or can go on
_LIVES = (
    "may still be running, in a call that was given up; if that has ended for sure, as with its "
    "process, say so: ended=True, or --ended"
)
_NO_ANSWER = "a question ends with happened, not happened or unknown"
_AWAITED = "is awaited: answer it"
# Looking up a member of an Enum costs 60 ns, a global 5.
_PENDING, _RUNNING, _SUCCEEDED, _FAILED, _IN_DOUBT = (
    Status.PENDING, Status.RUNNING, Status.SUCCEEDED, Status.FAILED, Status.IN_DOUBT,
)  # fmt: skip
_COMPENSATING, _COMPENSATED, _SKIPPED, _STUCK = (
    Status.COMPENSATING, Status.COMPENSATED, Status.SKIPPED, Status.STUCK,
)  # fmt: skip
_SAGA_RUNNING, _SAGA_COMPENSATING, _SAGA_COMPLETED, _SAGA_COMPENSATED, _SAGA_STUCK = (
    SagaStatus.RUNNING, SagaStatus.COMPENSATING, SagaStatus.COMPLETED, SagaStatus.COMPENSATED,
    SagaStatus.STUCK,
)  # fmt: skip


class IllegalMoveError(Exception):
    """An entry contradicts the table of moves; it was not taken in, and nothing was changed."""


# One for all chains, and for all runs until they move: nothing is ever added to these.
_UNBLOCKED: Final[dict[int, int]] = {}
_UNMOVED: Final[list[tuple[int, Status]]] = []
_UNAWAITED: Final[dict[int, Entry]] = {}


class Execution:
    """One run of a saga: the fold of its entries.

    Attributes:
        entries: What was told, in order.
        status, results, tries: By operation index; `tries` counts attempts of actions.
        saga: Where the saga as a whole stands.
        flying: The intents of the calls that were started and have not ended, by operation.
        awaited: What was told (LATER) of the calls whose answers are to come, by operation.
        backward: A rollback was decided; `rolling`: it has begun; `passed`: the pivot is behind.
        trouble: What went wrong, or None.
        TAKE: What takes in each word that is told of anything but a start or a success.
        watched: Whether somebody wants to know of every move.
        moves: The moves since this was last emptied, as (operation, status it has moved to);
            unless watched, only those to where a person may have to look.
    """

    __slots__ = (
        "_blockers", "_firsts", "_heap", "_owed", "awaited", "backward", "definition", "entries",
        "flying", "moves", "passed", "results", "rolling", "saga", "status", "tries", "trouble",
        "watched",
    )  # fmt: skip

    def __init__(
        self,
        definition: Definition,
        entries: Iterable[Entry] = (),
        watched: bool = False,  # noqa: FBT001, FBT002 - a keyword costs as much as all lists here
    ) -> None:
        """Fold entries, of which there are none at the start of a run."""
        size = len(definition.operations)
        self.definition = definition
        self.entries: list[Entry] = []
        self.status = [_PENDING] * size
        self.results: list[Any] = [MISSING] * size
        self.tries = [0] * size
        self.saga = _SAGA_RUNNING
        self.flying: dict[int, Entry] = {}
        self.awaited = _UNAWAITED
        self.backward = self.rolling = self.passed = False
        self.trouble: Trouble | None = None
        self.watched = watched
        self.moves: list[tuple[int, Status]] = [] if watched else _UNMOVED
        self._heap = [0]
        self._blockers = _UNBLOCKED
        self._firsts = definition.firsts
        if not definition.is_chain:
            after = definition.after
            self._heap = [i for i, others in enumerate(after) if not others]
            self._blockers = {i: len(others) for i, others in enumerate(after) if len(others) > 1}
        for entry in entries:
            self.tell(entry)

    # --- the verbs --------------------------------------------------------------------------------

    def ready(self, limit: int = 1 << 30) -> list[Entry]:
        """List the intents of calls that may start now; waiting retries come last.

        Declaration order; in a rollback the reverse. A call stays ready until its intent is told.
        The value of a waiting retry's intent is the seconds that it waits.
        """
        heap = self._heap
        marks = [heappop(heap) for _ in range(min(limit, len(heap)))]
        for mark in marks:
            heappush(heap, mark)
        intents = [self._intent(mark if mark >= 0 else ~mark) for mark in marks]
        if self.trouble is not None and self.trouble.waiting:
            waiting = sorted(self.trouble.waiting, reverse=self.rolling)
            intents += [self._intent(i) for i in waiting[: limit - len(intents)]]
        return intents

    def tell(self, entry: Entry) -> None:  # noqa: C901, PLR0912 - a call more is paid each time
        """Take in what happened.

        Raises:
            IllegalMoveError: It contradicts the table of moves; nothing was changed.
        """
        what, i, kind, attempt, generation, value = entry
        if what != SUCCEEDED:
            if what == STARTED:
                self._unlist_ready(entry)
                self.start(entry)
                return
            if what != UNSTORED or kind != COMPENSATION:
                _TAKE[what](self, entry)
                self.entries.append(entry)
                return
            value, _ = value  # nobody else goes on from what a compensation returned
        flight, trouble = self.flying.pop(i, None), self.trouble
        if flight is None:
            self._take_landing(entry, value)
        elif flight[3] != attempt or flight[2] != kind or flight[4] != generation:  # a straggler
            self.flying[i] = flight
            self._take_landing(entry, value)
        elif kind == ACTION:  # in flight, so the moves are legal: it is RUNNING or COMPENSATING
            self._succeed(i, value)
            if trouble is not None:
                trouble.errors.pop(i, None)
                if trouble.doubted:
                    trouble.doubted -= {i}
        elif kind == COMPENSATION and trouble is not None:
            trouble.undone[i] = value
            self.status[i] = _COMPENSATED
            if self.watched:
                self.moves.append((i, _COMPENSATED))
            if trouble.undo_errors:
                trouble.undo_errors.pop(i, None)
            if trouble.landed:
                self._undone(i)
            else:
                self._settle(i)
        else:
            self.flying[i] = flight
            raise IllegalMoveError(_NO_ANSWER)
        if not self._heap or (self.backward and not self.rolling):
            self._roll_back_or_end()
        self.entries.append(entry)

    def start(self, intent: Entry | None = None) -> Entry | None:  # noqa: C901 - as above
        """Tell an intent, by default the first that is ready without a wait; None if none is."""
        trouble = self.trouble
        if intent is None:
            if not self._heap:
                return None
            mark = heappop(self._heap)
            intent = self._firsts[mark]
            if trouble is not None:
                i = mark if mark >= 0 else ~mark
                again = self.status[i] is not _SUCCEEDED or i in trouble.undo_tries
                if again or trouble.generations:
                    intent = self._intent(i)
        _, i, kind, attempt, _, _ = intent
        if kind == ACTION:  # a legal move, or it would not have been ready
            self.status[i] = _RUNNING
            self.tries[i] = attempt
        elif kind == COMPENSATION and trouble is not None:
            self.status[i] = _COMPENSATING
            trouble.undo_tries[i] = attempt
        if self.watched and kind != ASK:
            self.moves.append((i, self.status[i]))
        self.flying[i] = intent
        if trouble is not None:
            if trouble.waiting or trouble.recallable or trouble.asked:
                self._forget_wait(i, kind, trouble)
            if self.saga is _SAGA_STUCK:
                self._move_saga(_SAGA_COMPENSATING if self.rolling else _SAGA_RUNNING)
        self.entries.append(intent)
        return intent

    def go_on(self, entry: Entry) -> Entry | None:
        """Tell that a call in flight has succeeded, and start the next one; None if none is ready.

        The same as `tell` and `start`, which it leaves all else to, in a third of the time where
        one call follows from the other alone: from one first attempt to the next in a chain that
        goes well, forward or back.

        Raises:
            IllegalMoveError: As `tell`.
        """
        _, i, kind, attempt, generation, value = entry
        trouble, status, entries = self.trouble, self.status, self.entries
        if attempt == generation == 1 and self.definition.is_chain and not self.watched:
            if trouble is None:
                j = i + 1
                goes_on = kind is ACTION and i in self.flying and j < len(status)
                if goes_on and i != self.definition.pivot:
                    self.results[i] = value
                    status[i], status[j] = _SUCCEEDED, _RUNNING
                    self.tries[j] = 1
                    intent = self._firsts[j]
                    self.flying = {j: intent}
                    entries.append(entry)
                    entries.append(intent)
                    return intent
            elif kind is COMPENSATION and i and not self._heap:
                j = i - 1
                intent = self._firsts[~j]
                if (
                    i in self._owed  # else a person has seen to it before, and to what follows
                    and self.flying.get(i) is self._firsts[~i]
                    and status[j] is _SUCCEEDED
                    and self.definition.operations[j].compensation is not None
                    and not (trouble.landed or trouble.generations or trouble.recallable)
                ):
                    trouble.undone[i] = value
                    trouble.undo_tries[j] = 1
                    status[i], status[j] = _COMPENSATED, _COMPENSATING
                    self._owed.remove(i)
                    del self.flying[i]  # beside which others may be, as a person or an answer said
                    self.flying[j] = intent
                    entries.append(entry)
                    entries.append(intent)
                    return intent
        self.tell(entry)
        return self.start()

    # --- what an executor reads -------------------------------------------------------------------

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to call and nothing to wait for: `saga` is the outcome."""
        waits = self.flying or self._heap or self.awaited
        return not (waits or (self.trouble and self.trouble.waiting))

    @property
    def suspended(self) -> bool:
        """Whether there is nothing to call, and nothing to wait for but answers."""
        if not self.awaited or self.flying or self._heap:
            return False
        return not (self.trouble and self.trouble.waiting)

    def returned(self) -> Results:
        """Give what the actions returned; None for what a person has resolved without a result."""
        results = self.results
        if self.trouble is not None:
            results = [None if result is MISSING else result for result in results]
        if self.definition.layout is not None:
            return arrange(self.definition.layout, results)
        return Results.of(results, self.definition.names)

    def is_flying(self, entry: Entry) -> bool:
        """Tell whether an entry speaks of a call in flight or awaited, and not of a straggler."""
        _, i, kind, attempt, generation, _ = entry
        flight = self.flying.get(i)
        if flight is None:
            return bool(self.awaited) and self._is_awaited(entry)
        _, _, of, number, key, _ = flight
        return of == kind and number == attempt and key == generation

    def generation(self, i: int, kind: str) -> int:
        """Give the generation of the key of an operation's action or compensation, from 1."""
        if self.trouble is None or not self.trouble.generations:
            return 1
        return self.trouble.generations.get((i, kind), 1)

    # --- how a call ends --------------------------------------------------------------------------

    def _succeed(self, i: int, value: Any) -> None:
        self.results[i] = value
        self.status[i] = _SUCCEEDED  # from RUNNING, IN_DOUBT or STUCK
        if self.watched:
            self.moves.append((i, _SUCCEEDED))
        if self.rolling:
            return
        if i == self.definition.pivot:
            self.passed, self.backward = True, False
        blockers = self._blockers
        for j in self.definition.followers[i]:
            if j in blockers:
                blockers[j] -= 1
                if blockers[j]:
                    continue
            heappush(self._heap, j)

    def _take_failure(self, entry: Entry) -> None:  # noqa: C901, PLR0912 - as above
        """Take in FAILED, RETRY or IN_DOUBT."""
        what, i, kind, _, _, value = entry
        error, wait, alive = value, None, False
        if what != FAILED:
            error, wait, alive = value.error, value.wait, value.alive
        if not self.is_flying(entry):
            self._forget_straggler(attempt_of(entry))
            return
        if kind == ASK:
            raise IllegalMoveError(_NO_ANSWER)
        if self.awaited and i in self.awaited:
            self._check_ends(self.awaited[i], entry)
            self._call_again(i)
            if kind == ACTION:
                self._trouble().overdue |= {i}
        trouble = self.trouble
        if trouble is None:  # `_trouble()`, in fewer steps
            trouble = self.trouble = Trouble()
        del self.flying[i]
        if alive:
            trouble.stragglers |= {attempt_of(entry)}
        if kind == COMPENSATION:
            trouble.undo_errors[i] = error  # a rollback may be left while this one waits
            if wait is not None and not alive:
                trouble.waiting[i] = wait
            else:
                self._move(i, _STUCK)
                self._settle(i)
        else:
            trouble.errors[i] = error
            if what == IN_DOUBT:
                trouble.doubted |= {i}
                if value.interrupted and self.passed:  # as after a crash: to be called again
                    trouble.recallable |= {i}
            if wait is not None and not alive and not self.backward:
                trouble.waiting[i] = wait
            else:
                self._give_up(i, trouble)
        self._roll_back_or_end()

    def _give_up(self, i: int, trouble: Trouble) -> None:
        """End an action without a further attempt: FAILED, or IN_DOUBT if that may be untrue."""
        # Behind the pivot nothing is undone; before it is known whether the pivot has happened
        # nobody knows which way there is: what is in doubt there is asked about, or stuck.
        if i in trouble.doubted:
            self._move(i, _IN_DOUBT)
            trouble.asked -= {i}
            self._ask_or_turn_back(i, trouble)
        elif self.passed:
            self._move(i, _STUCK)
        else:
            self._move(i, _FAILED)
            self.backward = True

    # --- a rollback begins, or all is over --------------------------------------------------------

    def _roll_back_or_end(self) -> None:
        """Begin the rollback once no call runs; end the saga once nothing is left."""
        if self.backward and not self.rolling:
            trouble, pivot = self.trouble or self._trouble(), self.definition.pivot
            while trouble.waiting:  # no action is tried again
                i, _ = trouble.waiting.popitem()
                self._give_up(i, trouble)
            # All else is taken off the list but the pivot while it may have happened: whether there
            # is a rollback at all is what it decides.
            if pivot >= 0 and self.status[pivot] is _IN_DOUBT and self._is_known_not(pivot):
                self._move(pivot, _FAILED)
            open_pivot = pivot >= 0 and (self.status[pivot] in _OPEN or pivot in self.awaited)
            self._heap = [pivot] if open_pivot and pivot in self._heap else []
            if not open_pivot and not self.flying:
                self._roll_back(trouble)
        if self.flying or self._heap or self.awaited:
            return
        if self.trouble is not None and self.trouble.waiting:
            return
        if not self.rolling and self.status.count(_SUCCEEDED) == len(self.status):
            self._move_saga(_SAGA_COMPLETED)
        elif self.rolling and _STUCK not in self.status:
            self._move_saga(_SAGA_COMPENSATED)
        else:
            self._move_saga(_SAGA_STUCK)

    def _is_known_not(self, i: int) -> bool:
        """Tell whether what was in doubt did not happen, and would be called again."""
        return i not in self._trouble().doubted and i not in self.flying

    def _roll_back(self, trouble: Trouble) -> None:
        if self.awaited:
            self._stop_awaiting(trouble)
        self.rolling = True
        self._move_saga(_SAGA_COMPENSATING)
        if trouble.asked:  # they may be asked again, since the answer decides something else now
            for i in trouble.asked - trouble.doubted:  # "not happened", and not called since
                if self.status[i] is _IN_DOUBT:
                    self._move(i, _FAILED)
            trouble.asked &= trouble.overdue  # a moment ago, and in vain
        self._owed, self._blockers, first = debts(self.definition, self.status)
        for i in first:
            if self.status[i] is _SUCCEEDED and self.definition.operations[i].compensation:
                heappush(self._heap, ~i)
            else:
                self._list_or_settle(i)
        for i in trouble.landed:  # when it had failed, and nothing was undone yet
            if self.status[i] is _FAILED:
                self._undone(i)

    def _settle(self, i: int) -> None:
        """Note that nothing is owed for an operation: what it was built on may be undone."""
        owed, blockers, definition = self._owed, self._blockers, self.definition
        settled = [i] if i in owed else []
        for k in settled:
            owed.remove(k)
            for j in definition.after[k]:  # they had succeeded, since something came after
                if j in blockers:
                    blockers[j] -= 1
                    if blockers[j]:
                        continue
                if definition.operations[j].compensation is None:
                    self._move(j, _SKIPPED)
                    settled.append(j)
                else:
                    heappush(self._heap, ~j)

    # --- moves ------------------------------------------------------------------------------------

    def _name(self, i: int) -> str:
        return self.definition.names.all()[i]

    def _trouble(self) -> Trouble:
        if self.trouble is None:
            self.trouble = Trouble()
        return self.trouble

    def _move(self, i: int, to: Status) -> None:
        """Move an operation to where what was told says, or to where nobody expected it."""
        status = self.status
        if to not in LEGAL[status[i]]:
            message = f"{self._name(i)}: {status[i].name} -> {to.name}"
            raise IllegalMoveError(message)
        status[i] = to
        # Most runs have nobody who watches, and none of the moves here: they are made in place, by
        # `start`, `tell` and `_succeed`, where the move is legal or the call was not in flight.
        if self.watched or to in _OPEN:
            if self.moves is _UNMOVED:
                self.moves = []
            self.moves.append((i, to))

    def _move_saga(self, to: SagaStatus) -> None:
        if to is not self.saga:
            if to not in SAGA_LEGAL[self.saga]:
                message = f"saga: {self.saga.name} -> {to.name}"
                raise IllegalMoveError(message)
            self.saga = to

    # --- which call is next, if any is ------------------------------------------------------------

    def _intent(self, i: int) -> Entry:
        trouble = self.trouble
        if trouble is None:
            return started(i, ACTION, self.tries[i] + 1, 1)
        if self.status[i] is _SUCCEEDED:
            attempt = trouble.undo_tries.get(i, 0) + 1  # not the first, if a person said so
            return started(i, COMPENSATION, attempt, self.generation(i, COMPENSATION))
        kind = self._kind(i)
        tries = trouble.undo_tries.get(i, 0) if kind == COMPENSATION else self.tries[i]
        attempt = tries + (kind != ASK)  # a question belongs to the attempt it asks about
        return started(i, kind, attempt, self.generation(i, kind), trouble.waiting.get(i))

    def _kind(self, i: int) -> Kind:
        """Say what the next call of an operation is."""
        trouble = self._trouble()
        if (
            self.status[i] is _IN_DOUBT
            and i not in trouble.asked
            and self.definition.operations[i].policy.ask is not None
            and not trouble.alive(i)  # nobody can say yet what it will have done
        ):
            return ASK
        return COMPENSATION if self.rolling else ACTION

    # To list an operation is to find out whether it has a call to make. If it has none, that is the
    # moment at which it is skipped or stuck; in a rollback it is settled by that.

    def _list_or_settle(self, i: int) -> None:
        """List the next call of an operation; if there is none, move it to where that leaves it."""
        end = None if self._kind(i) == ASK else self._end_without_call(i)
        if end is None:
            self._list(i)
            return
        if end is not self.status[i]:
            self._move(i, end)
        if self.rolling:
            self._settle(i)

    def _end_without_call(self, i: int) -> Status | None:
        """Say where an operation stays that is not to be called (again); None if it is."""
        status, operation = self.status[i], self.definition.operations[i]
        trouble = self._trouble()
        if self.rolling:
            if operation.compensation is None and status is not _COMPENSATING:
                return _SKIPPED
            parked = (
                (status is _IN_DOUBT and operation.policy.park)
                or (status is _COMPENSATING and i in trouble.too_old)
                # a call that had succeeded is made, and says itself what it lacks
                or (status is not _SUCCEEDED and self.lacks_result(i))
            )
        else:
            parked = status is _IN_DOUBT and (
                i not in trouble.recallable or operation.policy.park or i in trouble.too_old
            )
        return _STUCK if parked else None

    def lacks_result(self, i: int) -> bool:
        """Tell whether an operation's compensation needs a result that nobody knows."""
        undo = self.definition.operations[i].compensation
        return undo is not None and OWN in undo[NEEDS] and self.results[i] is MISSING

    def _list(self, i: int) -> None:
        """Put an operation among those that have a call to make."""
        heappush(self._heap, ~i if self.rolling else i)

    def _unlist(self, i: int) -> None:
        """Take an operation from those that have a call to make, if it is one of them."""
        mark = ~i if self.rolling else i
        if mark in self._heap:
            self._heap.remove(mark)
            heapify(self._heap)

    def _unlist_ready(self, intent: Entry) -> None:
        """Take an intent off the list of what is ready, if that is where it is from."""
        self._check_ready(intent)
        i, heap = index_of(intent), self._heap
        if heap and heap[0] == (~i if self.rolling else i):
            heappop(heap)
        else:
            self._unlist(i)

    def _check_ready(self, entry: Entry) -> None:
        """Refuse an intent that is not that of a call which may start now."""
        _, i, kind, attempt, generation, _ = entry
        mark, heap = ~i if self.rolling else i, self._heap
        listed = bool(heap) and (heap[0] == mark or mark in heap)
        if not listed and not (self.trouble and i in self.trouble.waiting):
            message = f"{self._name(i)}: no call is ready"
            raise IllegalMoveError(message)
        _, _, *expected, _ = self._intent(i)
        if [kind, attempt, generation] != expected:
            got = (kind, attempt, generation)
            message = f"{self._name(i)}: expected the intent {tuple(expected)}, got {got}"
            raise IllegalMoveError(message)

    def _forget_wait(self, i: int, kind: str, trouble: Trouble) -> None:
        """Forget what an operation has waited for."""
        trouble.waiting.pop(i, None)
        if kind != ASK:
            trouble.recallable -= {i}
            trouble.asked -= {i}

    # --- doubt ends -------------------------------------------------------------------------------

    def _take_answer(self, entry: Entry) -> None:
        """Take in HAPPENED, NOT_HAPPENED or UNKNOWN."""
        what, i, kind, _, _, value = entry
        if not self.is_flying(entry) or kind != ASK:
            message = f"{self._name(i)}: nobody asked"
            raise IllegalMoveError(message)
        trouble = self._trouble()
        del self.flying[i]
        if what == HAPPENED:
            self._succeed(i, value)
            trouble.doubted -= {i}
            if self.rolling:
                self._list_or_settle(i)
            elif not self.backward:  # else its doubt is why all is undone
                trouble.errors.pop(i, None)
        elif what == NOT_HAPPENED:
            trouble.doubted -= {i}
            if self.rolling:
                self._move(i, _FAILED)
                self._settle(i)
            elif i in trouble.recallable and not (self.backward and i == self.definition.pivot):
                trouble.asked |= {i}
                trouble.too_old -= {i}
                self._list_or_settle(i)
            else:
                self._give_up(i, trouble)
        else:
            trouble.asked |= {i}
            turns = not (self.rolling or self.passed or i == self.definition.pivot)
            if turns and i in trouble.overdue:
                self.backward = True
            else:
                self._list_or_settle(i)
        self._roll_back_or_end()

    # --- answers that come later ------------------------------------------------------------------

    def _is_awaited(self, entry: Entry) -> bool:
        """Tell whether an entry speaks of the attempt that has begun what is awaited."""
        later = self.awaited.get(index_of(entry))
        return later is not None and attempt_of(later) == attempt_of(entry)

    def awaits(self, i: int, kind: str, generation: int) -> bool:
        """Tell whether a call under this key is awaited."""
        later = self.awaited.get(i)
        if later is None:
            return False
        _, _, of, _, key, _ = later
        return of == kind and key == generation

    def expects(self, i: int, kind: str, generation: int) -> bool:
        """Tell whether an answer under a key would be taken in, though none is awaited.

        It was called and nobody has heard for good what came of it; or it failed, which whoever
        answers may know better. While a call of it runs, what that returns comes first.
        """
        if self.runs(i, kind) or self.awaits(i, kind, generation):
            return False
        return is_open(self.entries, i, kind, generation)

    def runs(self, i: int, kind: str) -> bool:
        """Tell whether a call of this kind runs, under whatever key, or it is asked about."""
        flight = self.flying.get(i)
        return flight is not None and kind_of(flight) in (kind, ASK)

    def _take_later(self, entry: Entry) -> None:
        """Take in that a call has only begun something."""
        _, i, kind, _, _, _ = entry
        if not self.is_flying(entry):  # of a straggler: it has ended
            self._forget_straggler(attempt_of(entry))
            return
        if kind == ASK:
            raise IllegalMoveError(_NO_ANSWER)
        if i in self.awaited:
            message = f"{self._name(i)} {_AWAITED}"
            raise IllegalMoveError(message)
        del self.flying[i]
        self.awaited = {**self.awaited, i: entry}
        self._roll_back_or_end()

    def _stop_awaiting(self, trouble: Trouble) -> None:
        """Await no action any more: a rollback begins. An answer may still come."""
        awaited, self.awaited = self.awaited, _UNAWAITED
        for i, later in sorted(awaited.items()):
            _, _, _, _, _, value = later
            if value.is_timer:
                self.results[i] = value.result
                self._move(i, _SUCCEEDED)
                trouble.errors.pop(i, None)
                trouble.doubted -= {i}
            else:
                trouble.doubted |= {i}
                self._move(i, _IN_DOUBT)

    def _ask_or_turn_back(self, i: int, trouble: Trouble) -> None:
        """Ask about an action in doubt before anything is undone, if that may be; else undo it."""
        asks = i in trouble.overdue and self.definition.operations[i].policy.ask is not None
        if self.passed or i == self.definition.pivot or (asks and not self.backward):
            self._list_or_settle(i)
        else:
            self.backward = True

    def _call_again(self, i: int) -> Entry:
        """Put what is awaited in flight, as if its call had not returned yet."""
        later = self.awaited[i]
        self.awaited = {j: other for j, other in self.awaited.items() if j != i}
        self.flying[i] = later
        return later

    def _tell_unkept(self, entry: Entry) -> None:
        """Take in what follows from another entry, and is not kept besides that.

        Also if an interrupt strikes meanwhile: then the machine is made anew from what is kept.
        """
        length = len(self.entries)
        try:
            self.tell(entry)
        finally:
            del self.entries[length:]

    def _check_ends(self, later: Entry, entry: Entry) -> None:
        """Refuse what does not end a call that is awaited."""
        timer, what, value = value_of(later).is_timer, what_of(entry), value_of(entry)
        if timer:
            ends = what == SUCCEEDED
        elif what == IN_DOUBT:
            ends = value.wait is None and not value.alive
        else:
            ends = what == FAILED and kind_of(entry) == COMPENSATION
        if not ends:
            message = f"{self._name(index_of(entry))} {_AWAITED}"
            raise IllegalMoveError(message)

    def _take_word(self, entry: Entry) -> None:
        """Take in ANSWERED or DENIED, which beat what anybody else knows."""
        what, i, kind, _, generation, value = entry
        if self.awaits(i, kind, generation):
            later = self._call_again(i)
            if what == DENIED and kind == ACTION:
                self._forget_doubt(i, generation)
            ended = succeeded if what == ANSWERED else failed
            self._tell_unkept(ended(later, value))  # the word is what is kept
            return
        if not self.expects(i, kind, generation):
            message = f"{self._name(i)}: no answer is expected"
            raise IllegalMoveError(message)
        if kind == COMPENSATION:
            self._end_undo(i, generation, what, value)
        elif what == ANSWERED:
            self._confirm(i, value)
        else:
            self._deny(i, generation, value)
        self._roll_back_or_end()

    def _end_undo(self, i: int, generation: int, what: Word, value: Any) -> None:
        """Take in an answer to a compensation that is not awaited, if it is the latest."""
        trouble, status = self._trouble(), self.status[i]
        if generation != self.generation(i, COMPENSATION) or i in self.awaited:
            return
        if status is _SUCCEEDED:  # a person said so, and it is to be called again
            self._move(i, _COMPENSATING)
            status = _COMPENSATING
        if status is _COMPENSATING or status is _STUCK:  # lost, between two attempts, or given up
            self._unlist(i)
            trouble.waiting.pop(i, None)
            if what == ANSWERED:
                trouble.undone[i] = value
                trouble.undo_errors.pop(i, None)
                self._move(i, _COMPENSATED)
                self._undone(i)
            else:
                trouble.undo_errors[i] = value
                if status is _COMPENSATING:
                    self._move(i, _STUCK)
                    self._settle(i)

    def _confirm(self, i: int, value: Any) -> None:
        """Take in that an action took effect which is not awaited, or not under that key."""
        trouble, status = self._trouble(), self.status[i]
        if status is _RUNNING or self._is_stuck_itself(i):
            if status is _RUNNING:  # between two attempts, or under another key
                trouble.waiting.pop(i, None)
                if i in self.awaited:
                    self.awaited = {j: it for j, it in self.awaited.items() if j != i}
            else:
                self._unlist(i)
            trouble.doubted -= {i}
            self._succeed(i, value)
            if self.rolling:
                self._list_or_settle(i)
            elif not self.backward:
                trouble.errors.pop(i, None)
        elif status is not _SUCCEEDED or self.results[i] is MISSING:  # else that was used already
            goes_forward = status is _IN_DOUBT and not self.backward
            self._land(i, value)
            if goes_forward:
                trouble.errors.pop(i, None)

    def _is_stuck_itself(self, i: int) -> bool:
        """Tell whether an operation is stuck for what its action did or may have done."""
        return self.status[i] is _STUCK and i not in self._trouble().undo_tries

    def _deny(self, i: int, generation: int, error: BaseException) -> None:
        """Take in that an action took no effect which is not awaited, or not under that key."""
        trouble, status = self._trouble(), self.status[i]
        is_sure = self._forget_doubt(i, generation)
        is_latest = generation == self.generation(i, ACTION)
        waits = i in trouble.waiting and not self.rolling
        if not (waits or status is _IN_DOUBT or self._is_stuck_itself(i)):
            return
        is_due = not self.rolling and i in self._heap and status is _STUCK  # a person said: again
        if not is_latest and (waits or is_due or not is_sure):
            return
        if i in trouble.errors or not self.backward:  # else something else is the cause
            trouble.errors[i] = error
        if waits:
            del trouble.waiting[i]
            self._give_up(i, trouble)
        elif is_sure:
            self._unlist(i)
            self._fail(i)
        elif not self.rolling:  # nobody calls it again under that key, and another one is in doubt
            trouble.recallable -= {i}
            self._unlist(i)
            if status is _IN_DOUBT:
                self._ask_or_turn_back(i, trouble)

    def _fail(self, i: int) -> None:
        """Note of what nobody knew about that it took no effect."""
        if self.passed:
            if self.status[i] is _IN_DOUBT:
                self._move(i, _STUCK)
            return
        self._move(i, _FAILED)
        if self.rolling:
            self._settle(i)
        else:
            self.backward = True

    def _forget_doubt(self, i: int, generation: int) -> bool:
        """Forget the doubt that a key has left; tell whether the action has surely no effect."""
        trouble = self.trouble
        if trouble is None:
            return True
        if trouble.generations and effective_keys(self.entries, i) - {generation}:
            if generation == self.generation(i, ACTION):
                trouble.overdue |= {i}
            return False
        trouble.doubted -= {i}
        return True

    # --- stragglers -------------------------------------------------------------------------------

    def _take_landing(self, entry: Entry, value: Any) -> None:
        """Take in that an abandoned attempt has succeeded after all, or what was awaited has."""
        _, i, kind, _, generation, _ = entry
        if self.awaited and self._is_awaited(entry):
            self._check_ends(self.awaited[i], entry)
            self._tell_unkept(succeeded(self._call_again(i), value))  # it is kept by whoever asked
            return
        self._forget_straggler(attempt_of(entry))
        if is_open(self.entries, i, kind, generation):  # else its answer has come
            if kind == COMPENSATION:
                self._land_undo(i, value)
            else:
                self._land(i, value)
        self._roll_back_or_end()

    def _land_undo(self, i: int, value: Any) -> None:
        """Take in that a compensation has landed, which helps only where nothing has come since."""
        trouble = self._trouble()  # a person may have decided, or it was called again
        if self.status[i] is _STUCK:
            trouble.undone[i] = value
            trouble.undo_errors.pop(i, None)
            self._move(i, _COMPENSATED)
            self._undone(i)

    def _land(self, i: int, value: Any) -> None:
        """Take in that an action has taken effect after all.

        That ends its doubt; behind its undo it is an effect that nobody has undone.
        """
        trouble, status = self._trouble(), self.status[i]
        if status is _IN_DOUBT:
            self._unlist(i)
            self._succeed(i, value)
            trouble.doubted -= {i}
            followers = self.definition.followers[i]
            if self.rolling and i not in self.flying and self._owed.isdisjoint(followers):
                self._list_or_settle(i)
            return
        self.results[i] = value
        undoing = status is _COMPENSATING or (
            status in (_COMPENSATED, _FAILED) and ~i not in self._heap  # else it is owed already
        )
        if undoing and self.definition.operations[i].compensation is not None:
            trouble.landed |= {i}
            if self.rolling and status is not _COMPENSATING:
                self._undone(i)

    def _forget_straggler(self, straggler: Attempt) -> None:
        """Forget an abandoned attempt, which has ended."""
        if self.trouble is None or straggler not in self.trouble.stragglers:
            i, _, attempt, _ = straggler
            message = f"{self._name(i)}: attempt {attempt} is not running"
            raise IllegalMoveError(message)
        self.trouble.stragglers -= {straggler}

    def _undone(self, i: int) -> None:
        """Settle an operation that is undone or, if it landed meanwhile, owe it once more."""
        trouble = self._trouble()
        if i in trouble.landed:
            trouble.landed -= {i}
            self._next_generation(i, COMPENSATION)
            self._list(i)
            self._move_saga(_SAGA_COMPENSATING)
        else:
            self._settle(i)

    def _next_generation(self, i: int, kind: str) -> None:
        generations = self._trouble().generations
        generations[i, kind] = generations.get((i, kind), 1) + 1

    # --- what befalls a run -----------------------------------------------------------------------

    def _take_unstored(self, entry: Entry) -> None:
        """Take in a success that nobody could go on from in another process."""
        _, i, _, _, _, (value, error) = entry
        if not self.is_flying(entry) or i in self.awaited:
            self._take_landing(entry, value)
            return
        trouble = self._trouble()
        trouble.errors[i] = error
        trouble.doubted -= {i}
        del self.flying[i]
        if self.rolling:  # an answer
            self._succeed(i, value)
            self._list_or_settle(i)
        elif self.passed or i == self.definition.pivot:
            self.results[i] = value
            self.passed, self.backward = True, False
            self._move(i, _STUCK)
        else:
            self._succeed(i, value)
            self.backward = True
        self._roll_back_or_end()

    def _take_abort(self, entry: Entry) -> None:
        """Take in that the run is to stop, which past the pivot is only noted."""
        if self.saga in (_SAGA_COMPLETED, _SAGA_COMPENSATED):
            message = "the saga has ended"
            raise IllegalMoveError(message)
        pivot = self.definition.pivot
        may_have_passed = pivot >= 0 and self.status[pivot] not in (_PENDING, _FAILED)
        if self.saga is _SAGA_STUCK and not self.rolling and may_have_passed:
            message = "the pivot may have happened: resolve it first"
            raise IllegalMoveError(message)
        _, _, _, _, _, reason = entry
        self._trouble().reasons.append(reason)
        if not self.passed:
            self.backward = True
        self._roll_back_or_end()

    def _take_recovered(self, entry: Entry) -> None:
        """Take in that the process died, and with it all that was in flight or abandoned."""
        trouble = self._trouble()
        trouble.stragglers = frozenset()
        trouble.asked = frozenset()
        _, _, _, _, _, too_old = entry
        trouble.too_old = frozenset(too_old)
        # A compensation in flight is called again: it must tolerate that. An action is in doubt.
        flying, self.flying = self.flying, {}
        for i, intent in flying.items():
            if kind_of(intent) == ACTION:
                trouble.doubted |= {i}
                self._move(i, _IN_DOUBT)
        for i in [i for i in trouble.waiting if i in trouble.doubted and not self.rolling]:
            del trouble.waiting[i]
            self._move(i, _IN_DOUBT)
        for i in trouble.waiting:  # due at once
            trouble.waiting[i] = 0.0
        self._turn_back_if_preferred()
        for i, status in enumerate(self.status):
            if i in flying or (status is _IN_DOUBT and not self.rolling):
                self._unlist(i)
                self._make_up_for(i, trouble)
        self._roll_back_or_end()

    def _take_lost(self, entry: Entry) -> None:
        """Take in that the process of one call died: what RECOVERED says, of that call alone."""
        _, i, kind, _, _, is_too_old = entry
        if not self.is_flying(entry) or i in self.awaited:  # what is awaited had no process
            self._forget_straggler(attempt_of(entry))
            return
        trouble = self._trouble()
        del self.flying[i]
        trouble.too_old = trouble.too_old | {i} if is_too_old else trouble.too_old - {i}
        if kind == ACTION:
            trouble.doubted |= {i}
            self._move(i, _IN_DOUBT)
        self._turn_back_if_preferred()
        self._make_up_for(i, trouble)
        self._roll_back_or_end()

    def _turn_back_if_preferred(self) -> None:
        """Go forward after a crash, unless the saga would rather be undone.

        What was decided before stays decided.
        """
        resumes = self.definition.on_crash == "resume" or self.passed
        if not resumes and self.saga is _SAGA_RUNNING:
            self.backward = True

    def _make_up_for(self, i: int, trouble: Trouble) -> None:
        """Have what a crash cut off, or left in doubt, be called again where that may be."""
        if not self.rolling:
            trouble.recallable |= {i} - trouble.overdue
            if self.backward and i != self.definition.pivot:
                return  # the rollback sees to it
        self._list_or_settle(i)

    # --- what a person decides --------------------------------------------------------------------

    def _take_resolved(self, entry: Entry) -> None:
        """Take in what a person knows of an operation that is stuck."""
        _, i, _, _, _, (status, result) = entry
        wrong = self._not_to_be(i, status)
        if wrong:
            message = f"{self._name(i)} {wrong}"
            raise IllegalMoveError(message)
        trouble = self._trouble()
        trouble.doubted -= {i}
        self._unlist(i)
        if status is _SUCCEEDED:
            self._succeed(i, result)
            if self.rolling:
                self._renew_key(i, COMPENSATION)
                self._list_or_settle(i)
            elif not self.backward:
                trouble.errors.pop(i, None)
        else:
            self._move(i, status)
            if self.rolling:
                self._settle(i)
            else:
                self.backward = True
        self._roll_back_or_end()

    def _not_to_be(self, i: int, status: Status) -> str:
        """Say why a person can't resolve an operation so, if that is so."""
        allowed = {_SUCCEEDED, _FAILED}
        if self.rolling:
            allowed |= {_COMPENSATED, _SKIPPED}
        if self.passed:
            allowed -= {_FAILED}
        if i in self.awaited:
            return _AWAITED
        if self.status[i] is not _STUCK or i in self.flying:
            stands = self.status[i].value.replace("_", " ")
            return f"is {stands}, and only what is stuck can be resolved"
        if status not in allowed:
            others = " or ".join(sorted(other.value for other in allowed))
            way = "has passed its pivot" if self.passed else "goes forward"
            why = "is being undone" if self.rolling else way
            return f"cannot be resolved as {status.value}, only as {others}: the saga {why}"
        if status is _SUCCEEDED and self.rolling and self._trouble().alive(i, COMPENSATION):
            return f"has a compensation that {_LIVES}"
        return ""

    def _take_again(self, entry: Entry) -> None:
        """Take in that a person wants a stuck operation to be called, whatever spoke against it."""
        _, i, _, _, _, new_key = entry
        trouble, wrong = self.trouble, ""
        if i in self.awaited:
            wrong = _AWAITED
        elif trouble is None or self.status[i] is not _STUCK or i in self.flying:
            wrong = "is not stuck"
        elif (~i if self.rolling else i) in self._heap:
            wrong = "is already due to be called again"
        elif trouble.alive(i):
            wrong = _LIVES
        elif self.backward and not self.rolling and i != self.definition.pivot:
            wrong = "is to be undone"
        if wrong:
            message = f"{self._name(i)} {wrong}"
            raise IllegalMoveError(message)
        assert trouble is not None  # noqa: S101 - it is stuck
        trouble.overdue -= {i}
        kind: Kind = COMPENSATION if self.rolling else ACTION
        if new_key:
            self._next_generation(i, kind)
        else:
            self._renew_key(i, kind)
        self._list(i)

    def _renew_key(self, i: int, kind: Kind) -> None:
        """Take the next key for a call if the last one was denied: nobody answers that again."""
        if is_denied(self.entries, i, kind, self.generation(i, kind)):
            self._next_generation(i, kind)

    # --- what is asked by whoever shows a saga, or lets a person decide ---------------------------

    @property
    def standing(self) -> SagaStatus:
        """Where the saga stands for those who look for work: with a call to make never STUCK."""
        if self.saga is _SAGA_STUCK and not self.at_rest:
            return _SAGA_COMPENSATING if self.rolling else _SAGA_RUNNING
        return self.saga

    @property
    def goes_back(self) -> bool:
        """Whether the saga is being undone, whatever comes."""
        return self.rolling or (self.backward and not self.pivot_in_doubt)

    @property
    def pivot_in_doubt(self) -> bool:
        """Whether the pivot may have happened: until that is known, nothing is undone."""
        pivot, trouble = self.definition.pivot, self.trouble
        runs = pivot in self.flying or pivot in self.awaited
        return runs or (trouble is not None and pivot in trouble.doubted)

    def may_be_called(self, i: int) -> bool:
        """Tell whether a call of a stuck operation would not lack what nobody knows."""
        return not (self.rolling and self.lacks_result(i))

    def succeeded_late(self, i: int) -> bool:
        """Tell whether a stuck operation was given up, and is known to have succeeded after all."""
        known = self.status[i] is _STUCK and self.results[i] is not MISSING
        return known and self.trouble is not None and i in self.trouble.doubted

    def stuck_reasons(self) -> dict[int, StuckReason]:
        """Say why each operation is stuck that is; `stuck` has the words for it."""
        return {i: self._stuck_reason(i) for i, at in enumerate(self.status) if at is _STUCK}

    def _stuck_reason(self, i: int) -> StuckReason:  # noqa: PLR0911 - one for each reason
        trouble, policy = self._trouble(), self.definition.operations[i].policy
        is_doubted = i in trouble.doubted
        if self.rolling and self.lacks_result(i):
            return "lacks a result"
        if i in trouble.undo_errors:
            return "compensation raised"
        if is_doubted and self.results[i] is not MISSING:
            return "landed late"
        if i in trouble.too_old:
            return "key too old"
        if is_doubted and i == self.definition.pivot:
            return "asked in vain" if i in trouble.asked else "not asked"
        if is_doubted and policy.park:
            return "parked"
        return "action raised"

    TAKE: ClassVar[dict[Word, Callable[[Execution, Entry], None]]] = {
        UNSTORED: _take_unstored,
        FAILED: _take_failure,
        RETRY: _take_failure,
        IN_DOUBT: _take_failure,
        LATER: _take_later,
        ANSWERED: _take_word,
        DENIED: _take_word,
        HAPPENED: _take_answer,
        NOT_HAPPENED: _take_answer,
        UNKNOWN: _take_answer,
        ABORT: _take_abort,
        RECOVERED: _take_recovered,
        LOST: _take_lost,
        RESOLVED: _take_resolved,
        AGAIN: _take_again,
    }


_TAKE = Execution.TAKE  # looking it up in the class costs ten times as much
