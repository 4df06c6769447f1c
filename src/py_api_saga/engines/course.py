"""The course of a saga on an engine: what its workflow replays.

It is a function of what it is told: no clock, no loop, no I/O, no user code. Texts go in and come
out, in the format of journals: a workflow's argument is the rows of a saga, the result of a call is
an entry, and the workflow's result is the rows with all entries. Values stay as they are written,
sealed ones stay sealed, and nothing is imported for them.

A call goes to a worker as an *errand*, a JSON object:

    saga, saga_name     the id of the saga, and its name or null
    created             when it was created, seconds since 1970
    name                of the operation
    op                  its part of the definition, without what this call does not need
    intent              [operation, kind, attempt, generation]
    action_generation   the generation of its action's key
    since               when this call was made first under its key, or since a person had it made
                        again; seconds since 1970
    origin              when its action was called first, seconds since 1970
    until               the deadline, seconds since 1970, if it counts for this call
    results             by name, those that its arguments want: trees as journals have them, perhaps
                        sealed; of a child saga {"$results": [[tree, ...], {name: place}]}
    trace               what the saga is part of, if its definition says so
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from py_api_saga.clock import NEVER
from py_api_saga.definition import Layout
from py_api_saga.durable.reckoning import (
    FirstIntents,
    calls_by_key,
    due_of,
    is_answered,
    is_running,
    is_too_old,
    is_waited_for,
    may_time_out,
    overdue,
    too_old,
    unanswered,
)
from py_api_saga.engines.fitting import fitting, has_room, short
from py_api_saga.engines.rows import (
    LETTER,
    MAX_SAGA,
    MAX_VALUE,
    TREES,
    Pages,
    Rows,
    letters_in,
    readable,
    size_of,
    useless_in,
    without_letters,
)
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
    RETRY,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    UNSTORED,
    Attempt,
    Entry,
    Kind,
    Setback,
    abort,
    attempt_of,
    index_of,
    lost,
    recovered,
)
from py_api_saga.exceptions import JournalError
from py_api_saga.execution import Execution, IllegalMoveError
from py_api_saga.journal.format.definitions import FORMAT
from py_api_saga.journal.format.entries import read_entry, write_entry
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.journal.format.sagas import NOTE, PARKED, folding, read_rows, reading
from py_api_saga.keys import key_of
from py_api_saga.placeholder import OWN
from py_api_saga.status import MISSING
from py_api_saga.wording import as_text

_NO_ANSWER = "an answer is of no kind that this version knows"
_FROM_ELSEWHERE = (f'["{LETTER}"', f'["{NOTE}"', f'["{ABORT}"')  # and not of a call in flight
_NOT_FOR_AN_UNDO = frozenset({"after", "pivot"})  # of an operation's part of the definition
_NOT_FOR_AN_ACTION = _NOT_FOR_AN_UNDO | {"undo"}
# What is told of a call by whoever makes it.
_ENDS = frozenset(
    (SUCCEEDED, UNSTORED, FAILED, LATER, RETRY, IN_DOUBT, HAPPENED, NOT_HAPPENED, UNKNOWN, LOST)
)

MAX_LOSSES: Final = 10  # of a call, in a row: what kills each process is not called for ever


class NewerFormatError(Exception):
    """The saga is of a format that this version does not know: leave it to a newer one."""


class Asked(NamedTuple):
    """A call that a worker is to make.

    Attributes:
        name: Of the operation.
        kind: Of the call.
        attempt: Which one it is.
        text: What the worker must know, JSON.
    """

    name: str
    kind: Kind
    attempt: Attempt
    text: str


class Course:
    """One saga, as an engine drives it.

    It never raises: what it can't take in parks the saga, with a reason in its row.
    """

    def __init__(self, saga_id: str, rows: Rows, now: float) -> None:
        """Begin a saga, or go on with one that nobody makes calls of any more.

        Args:
            saga_id: Its id.
            rows: All of it. What was in flight is lost, and so is what was given up and not ended.
            now: Seconds since 1970.

        Raises:
            NewerFormatError: It is of a newer format; a newer version reads it.
        """
        self.saga_id = saga_id
        self._letters: dict[str, str] = {}  # answers that are yet to be looked at
        self._calls: dict[str, Attempt] = {}  # by key, of the first `_called` entries
        self._called = 0
        self._mail_size = 0  # of these, in bytes
        self._posted = now  # when the last of them came
        self._useless: set[str] = set()  # keys of those that came when the end was known
        self._due: dict[int, float] = {}  # of calls that wait, by operation
        self._first: FirstIntents = {}
        self._since: FirstIntents = {}  # as before, or since a person had it called again
        self._losses: dict[tuple[int, str], int] = {}  # of each call, in a row
        self._parked: str | None = None
        self._unheard = 0  # calls in flight whose end could not be taken in
        self.execution: Execution | None = None
        self._pages = Pages([])
        try:
            with reading("the rows of the saga"), folding("the rows of the saga"):
                self._open(rows, now)
        except JournalError as error:
            if _is_newer(rows):
                raise NewerFormatError(str(error)) from None
            self._park(str(error), now)

    def _open(self, rows: Rows, now: float) -> None:
        self._pages = Pages([(at, body) for at, body in rows])
        recorded = read_rows(readable(rows), TREES)
        self._take_letters(rows)
        self._items, self._plan = recorded.tree["operations"], recorded.plan
        self._limit = recorded.plan.limit or 1
        self._head = (
            f'{{"saga":{dumps(self.saga_id)},"saga_name":{dumps(self._plan.name)},'
            f'"created":{rows[0][0]!r}'
        )
        if "trace" in recorded.tree:
            self._head += f',"trace":{dumps(recorded.tree["trace"])}'
        self.definition = recorded.definition
        execution = Execution(recorded.definition, recorded.entries)
        looked_at = max([at for at, kind, _ in recorded.notes if kind == NOTE], default=0.0)
        for entry, at in zip(recorded.entries, recorded.times, strict=True):
            self._note(entry, at)
            if at <= looked_at:
                self._losses.clear()
        self.execution = execution
        if recorded.notes and recorded.notes[-1][1] == PARKED:
            self._parked = str(recorded.notes[-1][2].get("reason"))
        if execution.flying:
            old = too_old(execution, self._first, now - self._plan.max_age)
            self._tell(recovered(old), now)
        else:
            for straggler in self.stragglers:  # nobody is left to tell of them
                self._tell(lost(straggler), now)

    def _take_letters(self, rows: Rows) -> None:
        """Take the answers out of the rows that are yet to be looked at."""
        self._useless = {letter.key for letter in useless_in(rows)}
        for key, body in letters_in(rows):
            self._letters[key] = body
            self._mail_size += size_of(dumps([LETTER, key, body]))
        if self._letters:
            self._pages = Pages(without_letters(rows))

    # --- how it stands --------------------------------------------------------------------------

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to call and nothing to wait for: the outcome stands."""
        execution = self.execution
        if execution is None:
            return True
        if self._parked is not None:
            return len(execution.flying) <= self._unheard
        return execution.at_rest

    @property
    def is_over(self) -> bool:
        """Whether it is at rest, and nothing that was given up may still land."""
        return self.at_rest and not self.stragglers

    @property
    def stragglers(self) -> Sequence[Attempt]:
        """The attempts that were given up and have not ended."""
        execution = self.execution
        if execution is None or execution.trouble is None:
            return ()
        return sorted(execution.trouble.stragglers)

    @property
    def must_know(self) -> bool:
        """Whether a call whose process died is more than called again under its key."""
        if self.execution is None:
            return False
        policies = [operation.policy for operation in self.definition.operations]
        asks = any(policy.park or policy.ask is not None for policy in policies)
        return asks or self.definition.on_crash != "resume"

    @property
    def max_age(self) -> float:
        """For how many seconds a call may be made again under its key."""
        return NEVER if self.execution is None else self._plan.max_age

    def rows(self) -> Rows:
        """Give all of it: the workflow's result, or the argument of whoever goes on."""
        rows = self._pages.all()
        if self._letters:
            lines = [dumps([LETTER, key, body]) for key, body in self._letters.items()]
            rows.append((self._posted, f"[{','.join(lines)}]"))
        return rows

    # --- what is to be done ---------------------------------------------------------------------

    def calls(self, now: float) -> list[Asked]:
        """Tell that the calls have started that may, and give what whoever makes them must know."""
        asked: list[Asked] = []
        execution = self.execution
        if execution is None or self._parked is not None:
            return asked
        try:
            self._check_deadline(now)
            self._hear(now)
            self._tell_due(now)
            for intent in self._starts(execution, now):
                self._pages.add(write_entry(intent, TREES), now)
                self._note(intent, now)
                self._unheard += 1
                asked.append(self._asked(execution, intent))
                self._unheard -= 1
        except Exception as error:  # noqa: BLE001 - whatever a malformed definition makes of this
            self._park(as_text(error, str), now)
        return asked

    def wakes(self) -> float | None:
        """Give when `calls` is to be asked again though nothing was told; None for never."""
        execution = self.execution
        if execution is None or self._parked is not None:
            return None
        times = [due_of(later) for later in execution.awaited.values()]
        trouble, until = execution.trouble, self._plan.until
        if trouble is not None and trouble.waiting and len(execution.flying) < self._limit:
            times += [self._due.get(i, 0.0) for i in trouble.waiting]
        if until is not None and not execution.flying and self._may_time_out(execution):
            times.append(until)
        first = min(times, default=NEVER)
        return None if first >= NEVER else first

    def tell(self, line: str, now: float) -> None:
        """Take in what came of a call, what a person wants, or an answer.

        What is told twice, and what nobody waits for, is ignored.

        Args:
            line: JSON: an entry of a call, as a worker writes it; ["lost", operation, kind,
                attempt, generation]; ["abort", -1, "", 0, 0, [kind, text]], which cancels;
                ["letter", key, body], an answer as journals have it in their mail; or a note.
            now: Seconds since 1970.
        """
        try:
            self._take(line, now)
        except Exception as error:  # noqa: BLE001 - whatever a malformed line makes of this
            self._unheard += not line.startswith(_FROM_ELSEWHERE)
            self._park(as_text(error, str), now)

    # --- telling --------------------------------------------------------------------------------

    def _take(self, line: str, now: float) -> None:
        tree = loads(line)
        what = tree[0]
        execution = self.execution
        if what == NOTE:
            self._add(tree, line, now)
            self._losses.clear()
        if what == NOTE or execution is None:
            return
        self._check_deadline(now)
        if what == LETTER:
            _, key, body = tree
            self._post(key, body, now)
        elif what == ABORT:
            self._cancel(execution, tree, now)
        elif what in _ENDS:
            entry = read_entry(tree, TREES, len(self._items))
            if self._is_expected(execution, entry):
                self._end(execution, entry, line, now)
        else:
            message = f"{what!r} is not told of a call"
            raise ValueError(message)
        self._hear(now)

    def _add(self, tree: Any, line: str, now: float) -> None:
        """Add what is not an entry."""
        self._pages.add(line if has_room(size_of(line), self._left) else dumps(short(tree)), now)

    def _cancel(self, execution: Execution, tree: Any, now: float) -> None:
        """Stop the saga, unless it is being undone already, or at rest."""
        if execution.backward or execution.at_rest:
            return
        if not has_room(size_of(dumps(tree)), self._left):
            tree = short(tree)
        entry, line = self._read(dumps(tree))
        with suppress(IllegalMoveError):  # then it needs a person, who decides
            self._tell(entry, now, line)

    def _is_expected(self, execution: Execution, entry: Entry) -> bool:
        """Tell whether an entry says something new: of a call in flight, or of a straggler."""
        what, i, _, _, _, value = entry
        attempt = attempt_of(entry)
        flight = execution.flying.get(i)
        if flight is not None and attempt_of(flight) == attempt:
            return True
        trouble = execution.trouble
        is_alive = what == IN_DOUBT and value.alive
        return trouble is not None and attempt in trouble.stragglers and not is_alive

    def _end(self, execution: Execution, entry: Entry, line: str, now: float) -> None:
        """Take in how a call ended."""
        what, i, kind, _, _, _ = entry
        if what == LOST:
            latest = now - self._plan.max_age
            is_old = is_too_old(execution, self._first, i, latest)
            entry = lost(attempt_of(entry), too_old=is_old)
            line = write_entry(entry, TREES)
        elif not has_room(size_of(line), self._left):
            name = self._items[i]["name"]
            entry, line = self._read(fitting(entry, loads(line), self._left, name))
        self._tell(entry, now, line)
        losses = self._losses.get((i, kind), 0)
        if losses >= MAX_LOSSES:
            call = {COMPENSATION: "the undo of ", ASK: "the question about "}.get(kind, "")
            reason = f"{call}{self._items[i]['name']} was lost with its process {losses} times"
            self._park(f"{reason} in a row", now)

    @property
    def _left(self) -> int:
        """For how many bytes there is room, with the answers that are yet to be looked at."""
        return MAX_SAGA - self._pages.size - self._mail_size

    def _read(self, line: str) -> tuple[Entry, str]:
        return read_entry(loads(line), TREES, len(self._items)), line

    def _tell(self, entry: Entry, now: float, line: str | None = None) -> None:
        assert self.execution is not None  # noqa: S101 - asked by the callers
        if line is None:  # as whoever reads it will have it
            entry, line = self._read(write_entry(entry, TREES))
        self.execution.tell(entry)
        self._pages.add(line, now)
        self._note(entry, now)

    def _note(self, entry: Entry, at: float) -> None:
        """Keep what the machine does not: when something was told, and how often in a row."""
        what, i, kind, _, generation, value = entry
        if what == LOST:
            self._losses[i, kind] = self._losses.get((i, kind), 0) + 1
        elif what != STARTED and self._losses:
            self._losses.pop((i, kind), None)
        if what == STARTED:
            self._first.setdefault((i, kind, generation), at)
            self._since.setdefault((i, kind, generation), at)
        elif what == AGAIN:
            self._since = {call: since for call, since in self._since.items() if call[0] != i}
        elif type(value) is Setback and value.wait is not None:
            self._due[i] = at + value.wait

    def _park(self, reason: str, now: float) -> None:
        if self._parked is None:
            self._parked = reason
            self._pages.add(dumps([PARKED, {"reason": reason}]), now)

    def _may_time_out(self, execution: Execution) -> bool:
        trouble = execution.trouble
        return not (trouble and trouble.reasons) and may_time_out(execution)

    def _check_deadline(self, now: float) -> None:
        until, execution = self._plan.until, self.execution
        if until is None or now < until or execution is None or self._parked is not None:
            return
        if self._may_time_out(execution):
            self._tell(abort(TimeoutError("the deadline of the saga has passed")), now)

    # --- answers from elsewhere -----------------------------------------------------------------

    def _key(self, i: int, kind: str, generation: int) -> str:
        return key_of(self.saga_id, self._items[i]["name"], kind, generation)

    def _post(self, key: str, body: str, now: float) -> None:
        """Put an answer into the mail, once for each key."""
        if key in self._letters or key in self._useless:
            return
        size = size_of(dumps([LETTER, key, body]))
        if size > min(MAX_VALUE, self._left):
            self._say(f"refuse the answer to {key}", "it is too large", now)
            return
        self._letters[key], self._posted = body, now
        self._mail_size += size

    def _hear(self, now: float) -> None:
        """Take in what the letters say, but for those whose call is in flight."""
        execution = self.execution
        if not self._letters or execution is None:
            return
        entries, calls = execution.entries, self._calls
        calls.update(calls_by_key(entries[self._called :], self._key))
        self._called = len(entries)
        for key, body in [*self._letters.items()]:
            call = calls.get(key)
            if call is not None and is_running(execution, call):
                continue
            del self._letters[key]
            self._mail_size -= size_of(dumps([LETTER, key, body]))
            if call is None:
                self._say(f"refuse the answer to {key}", "no call was made under it", now)
            elif is_waited_for(execution, call):
                self._answer(key, call, body, now)
            elif not is_answered(execution.entries, call):
                self._useless.add(key)
                self._pages.add(dumps([LETTER, key, body, True]), now)

    def _answer(self, key: str, call: Attempt, body: str, now: float) -> None:
        """Take in an answer that somebody waits for, or would believe."""
        try:
            what, value, note, *_ = loads(body)
            tree = [what, *call] if value is None else [what, *call, value]
            entry, line = self._read(dumps(tree))
            if what not in (ANSWERED, DENIED):
                raise ValueError(_NO_ANSWER)  # noqa: TRY301 - as what `loads` and reading raise
        except (ValueError, TypeError, LookupError) as error:
            self._say(f"refuse the answer to {key}", as_text(error, str), now)
            return
        self._tell(entry, now, line)
        if note is not None:
            self._pages.add(dumps(note), now)

    def _say(self, did: str, why: str, now: float) -> None:
        """Note what was done by nobody who has a name."""
        tree = [NOTE, {"who": "the engine", "why": why, "did": did}]
        self._add(tree, dumps(tree), now)

    def _tell_due(self, now: float) -> None:
        """Tell which calls have waited long enough for an answer."""
        execution = self.execution
        if execution is None or not execution.awaited:
            return
        for later in overdue(execution, now):
            i = index_of(later)
            if execution.awaited.get(i) is later:  # else what was told of another has given it up
                self._tell(unanswered(later, self._items[i]["name"]), now)

    # --- calls ----------------------------------------------------------------------------------

    def _starts(self, execution: Execution, now: float) -> Iterator[Entry]:
        """Tell the intents that may start now, and give each; those that have waited come last."""
        limit = self._limit
        while len(execution.flying) < limit and (intent := execution.start()) is not None:
            yield intent
        trouble = execution.trouble
        if trouble is None or not any(self._due.get(i, 0.0) <= now for i in trouble.waiting):
            return
        for intent in sorted(execution.ready(), key=self._due_of):
            if len(execution.flying) >= limit or self._due_of(intent) > now:
                return
            execution.tell(intent)
            yield intent

    def _due_of(self, intent: Entry) -> float:
        return self._due.get(index_of(intent), 0.0)

    def _asked(self, execution: Execution, intent: Entry) -> Asked:
        """Write an errand."""
        i, kind, attempt, generation = call = attempt_of(intent)
        item = self._items[i]
        unneeded = _NOT_FOR_AN_UNDO if kind == COMPENSATION else _NOT_FOR_AN_ACTION
        op = {key: tree for key, tree in item.items() if key not in unneeded}
        text = (
            f'{self._head},"name":{dumps(item["name"])},"op":{dumps(op)},'
            f'"intent":[{i},"{kind}",{attempt},{generation}],'
            f'"action_generation":{execution.generation(i, ACTION)},'
            f'"since":{self._since[i, kind, generation]!r},'
            f'"origin":{self._first.get((i, ACTION, 1), 0.0)!r}'
        )
        if self._plan.until is not None and kind == ACTION and not execution.passed:
            text += f',"until":{self._plan.until!r}'
        wanted = item["undo" if kind == COMPENSATION else "do"][3:]
        results = {need: self._result(i, need) for need in wanted[0]} if wanted else {}
        return Asked(item["name"], kind, call, f'{text},"results":{dumps(results)}}}')

    def _result(self, i: int, need: str) -> Any:
        """Give the result that an argument of an operation wants, as a tree."""
        if need == OWN:
            return self._tree(i)
        scope = self._items[i].get("scope", "")
        return self._tree(self.definition.names.get(scope + need))

    def _tree(self, place: int | Layout | None) -> Any:
        if isinstance(place, Layout):
            return {"$results": [[self._tree(item) for item in place.items], dict(place.places)]}
        assert self.execution is not None and place is not None  # noqa: S101, PT018 - refused before
        known = self.execution.results[place]
        return {"$missing": True} if known is MISSING else known


def _is_newer(rows: Rows) -> bool:
    try:
        return bool(loads(rows[0][1])[0][1]["format"] > FORMAT)
    except Exception:  # noqa: BLE001 - rows may be anything
        return False
