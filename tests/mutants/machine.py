"""Ways to break the machine and its executors; some test in `tests/machine` notices each."""

from __future__ import annotations

from .mutant import Edit, Mutant

WORLD = "test_every_promise_holds_in_any_world"
MOVES = "test_every_listed_move"
STORIES = f"test_machine_ and not {MOVES}"  # by their files; they say what is wrong, so come first


def _one(breaks: str, file: str, where: str, old: str, new: str) -> Mutant:
    return Mutant(breaks, "machine", (Edit(file, where, old, new),))


MUTANTS = (
    # --- the order of things
    _one(
        "starts an action before what it comes after is done",
        "execution.py",
        "Execution._succeed",
        "                if blockers[j]:\n                    continue\n            heappush",
        "                if False:\n                    continue\n            heappush",
    ),
    _one(
        "undoes an operation before what was built on it",
        "execution.py",
        "Execution._settle",
        "                    blockers[j] -= 1\n                    if blockers[j]:\n",
        "                    blockers[j] -= 1\n                    if False:\n",
    ),
    _one(
        "begins a rollback at both ends",
        "trouble.py",
        "debts",
        "[i for i in sorted(owed) if i not in blockers]",
        "sorted(owed)",
    ),
    _one(
        "starts actions after a rollback was decided",
        "execution.py",
        "Execution._roll_back_or_end",
        "            self._heap = [pivot] if open_pivot and pivot in self._heap else []\n",
        "",
    ),
    _one(
        "undoes while an action is in flight",
        "execution.py",
        "Execution._roll_back_or_end",
        "            if not open_pivot and not self.flying:",
        "            if not open_pivot:",
    ),
    _one(
        "rolls back in declaration order",
        "execution.py",
        "Execution.ready",
        "sorted(self.trouble.waiting, reverse=self.rolling)",
        "sorted(self.trouble.waiting)",
    ),
    _one(
        "lets a stuck compensation hold up the others",
        "execution.py",
        "Execution._take_failure",
        "                self._move(i, _STUCK)\n                self._settle(i)\n",
        "                self._move(i, _STUCK)\n",
    ),
    _one(
        "forgets a call that is ready when it is asked for it",
        "execution.py",
        "Execution.ready",
        "        for mark in marks:\n            heappush(heap, mark)\n",
        "",
    ),
    # --- failures and retries
    _one(
        "compensates the operation that declared failure",
        "execution.py",
        "Execution._give_up",
        "            self._move(i, _FAILED)\n            self.backward = True",
        "            self._move(i, _IN_DOUBT)\n            self.backward = True",
    ),
    _one(
        "restarts the numbers of a compensation's attempts",
        "execution.py",
        "Execution._intent",
        "attempt = trouble.undo_tries.get(i, 0) + 1",
        "attempt = 1",
    ),
    _one(
        "restarts the numbers of an action's attempts after a crash",
        "execution.py",
        "Execution._take_recovered",
        "        trouble.too_old = frozenset(too_old)\n",
        "        trouble.too_old = frozenset(too_old)\n"
        "        self.tries = [0] * len(self.tries)\n",
    ),
    _one(
        "retries an action though the saga rolls back",
        "execution.py",
        "Execution._roll_back_or_end",
        "            while trouble.waiting:  # no action is tried again\n",
        "            while False:\n",
    ),
    _one(
        "keeps the wait of a retry after a crash",
        "execution.py",
        "Execution._take_recovered",
        "            trouble.waiting[i] = 0.0\n",
        "            pass\n",
    ),
    _one(
        "says COMPENSATED though something is stuck",
        "execution.py",
        "Execution._roll_back_or_end",
        "elif self.rolling and _STUCK not in self.status:",
        "elif self.rolling:",
    ),
    # --- doubt
    _one(
        "forgets a doubt when a later attempt fails",
        "execution.py",
        "Execution._take_failure",
        "            if wait is not None and not alive and not self.backward:\n",
        "            if what != IN_DOUBT:\n                trouble.doubted -= {i}\n"
        "            if wait is not None and not alive and not self.backward:\n",
    ),
    _one(
        "calls again after a crash what was to be parked",
        "execution.py",
        "Execution._end_without_call",
        "i not in trouble.recallable or operation.policy.park or i in trouble.too_old",
        "i not in trouble.recallable or i in trouble.too_old",
    ),
    _one(
        "calls again what is too old",
        "execution.py",
        "Execution._end_without_call",
        "i not in trouble.recallable or operation.policy.park or i in trouble.too_old",
        "i not in trouble.recallable or operation.policy.park",
    ),
    _one(
        "calls a compensation again that is too old",
        "execution.py",
        "Execution._end_without_call",
        "                or (status is _COMPENSATING and i in trouble.too_old)\n",
        "",
    ),
    _one(
        "compensates what was to be parked",
        "execution.py",
        "Execution._end_without_call",
        "(status is _IN_DOUBT and operation.policy.park)",
        "False",
    ),
    _one(
        "compensates without the result that it needs",
        "execution.py",
        "Execution.lacks_result",
        "OWN in undo[NEEDS] and self.results[i] is MISSING\n",
        "OWN in undo[NEEDS] and self.results[i] is None\n",
    ),
    _one(
        "asks, and believes NOT_HAPPENED, while a straggler lives",
        "execution.py",
        "Execution._kind",
        "            and not trouble.alive(i)  # nobody can say yet what it will have done\n",
        "",
    ),
    _one(
        "undoes what is known not to have happened",
        "execution.py",
        "Execution._take_answer",
        "                self._move(i, _FAILED)\n                self._settle(i)\n",
        "                self._list_or_settle(i)\n",
    ),
    # --- stragglers
    _one(
        "loses a straggler",
        "execution.py",
        "Execution._take_failure",
        "            trouble.stragglers |= {attempt_of(entry)}\n",
        "            pass\n",
    ),
    _one(
        "calls an action again while its straggler lives",
        "execution.py",
        "Execution._take_failure",
        "            if wait is not None and not alive and not self.backward:",
        "            if wait is not None and not self.backward:",
    ),
    _one(
        "calls a compensation again while its straggler lives",
        "execution.py",
        "Execution._take_failure",
        "            if wait is not None and not alive:\n",
        "            if wait is not None:\n",
    ),
    _one(
        "undoes a late landing under the key that was used",
        "execution.py",
        "Execution._undone",
        "            self._next_generation(i, COMPENSATION)\n            self._list(i)\n",
        "            self._list(i)\n",
    ),
    _one(
        "does not undo what lands while it is undone",
        "execution.py",
        "Execution._land",
        "undoing = status is _COMPENSATING or (",
        "undoing = (",
    ),
    _one(
        "forgets a landing when a late compensation ends",
        "execution.py",
        "Execution._land_undo",
        "            self._move(i, _COMPENSATED)\n            self._undone(i)\n",
        "            self._move(i, _COMPENSATED)\n",
    ),
    # --- answers that come later
    _one(
        "takes an answer that nobody awaits for the end of a straggler",
        "execution.py",
        "Execution._take_word",
        "        if not self.expects(i, kind, generation):\n",
        "        self._forget_straggler(attempt_of(entry))\n"
        "        if not self.expects(i, kind, generation):\n",
    ),
    _one(
        "undoes what was denied, since an attempt before it had left doubt",
        "execution.py",
        "Execution._take_word",
        "                self._forget_doubt(i, generation)\n",
        "                pass\n",
    ),
    _one(
        "forgets with a denial the doubt about another key",
        "execution.py",
        "Execution._forget_doubt",
        "        if trouble.generations and effective_keys(",
        "        if False and effective_keys(",
    ),
    _one(
        "knows what is awaited by its attempt, not by its key",
        "execution.py",
        "Execution._take_word",
        "        if self.awaits(i, kind, generation):\n",
        "        if self._is_awaited(entry):\n",
    ),
    _one(
        "expects a second answer under one key",
        "heard.py",
        "",
        "_KNOWN = frozenset({SUCCEEDED, UNSTORED, ANSWERED, DENIED})",
        "_KNOWN = frozenset({SUCCEEDED, UNSTORED})",
    ),
    _one(
        "expects no answer to what was lost with its process",
        "execution.py",
        "Execution.expects",
        "        if self.runs(i, kind) or self.awaits(i, kind, generation):\n",
        "        if self.runs(i, kind) or self.awaits(i, kind, generation) or (\n"
        "            self.trouble is not None and i in self.trouble.recallable\n"
        "        ):\n",
    ),
    _one(
        "expects an answer while its call runs",
        "execution.py",
        "Execution.runs",
        "        return flight is not None and kind_of(flight) in (kind, ASK)\n",
        "        return False\n",
    ),
    _one(
        "forgets what was said not to have happened and is answered before the rollback",
        "execution.py",
        "Execution._roll_back",
        "            if self.status[i] is _FAILED:\n                self._undone(i)\n",
        "            pass\n",
    ),
    _one(
        "takes the wait of a compensation for that of its action",
        "execution.py",
        "Execution._deny",
        "        waits = i in trouble.waiting and not self.rolling\n",
        "        waits = i in trouble.waiting\n",
    ),
    _one(
        "goes backward as soon as an answer is too late",
        "execution.py",
        "Execution._ask_or_turn_back",
        "        if self.passed or i == self.definition.pivot or (asks and not self.backward):\n",
        "        if self.passed or i == self.definition.pivot:\n",
    ),
    _one(
        "asks twice about what is overdue",
        "execution.py",
        "Execution._roll_back",
        "            trouble.asked &= trouble.overdue ",
        "            trouble.asked = frozenset() ",
    ),
    _one(
        "calls again after a crash what is overdue",
        "execution.py",
        "Execution._make_up_for",
        "            trouble.recallable |= {i} - trouble.overdue\n",
        "            trouble.recallable |= {i}\n",
    ),
    _one(
        "ends the saga while something is awaited",
        "execution.py",
        "Execution._roll_back_or_end",
        "        if self.flying or self._heap or self.awaited:\n",
        "        if self.flying or self._heap:\n",
    ),
    _one(
        "rolls back while the pivot is awaited",
        "execution.py",
        "Execution._roll_back_or_end",
        "(self.status[pivot] in _OPEN or pivot in self.awaited)",
        "self.status[pivot] in _OPEN",
    ),
    _one(
        "loses in a crash what is awaited",
        "execution.py",
        "Execution._take_recovered",
        "        flying, self.flying = self.flying, {}\n",
        "        flying, self.flying = {**self.flying, **self.awaited}, {}\n"
        "        self.awaited = {}\n",
    ),
    _one(
        "doubts a timer that a rollback has overtaken",
        "execution.py",
        "Execution._stop_awaiting",
        "            if value.is_timer:\n",
        "            if False:\n",
    ),
    _one(
        "undoes twice what lands when it was answered",
        "execution.py",
        "Execution._take_landing",
        "        if is_open(self.entries, i, kind, generation):  # else its answer has come\n",
        "        if True:\n",
    ),
    _one(
        "owes two undos for what lands under two keys",
        "execution.py",
        "Execution._land",
        " and ~i not in self._heap",
        "",
    ),
    _one(
        "calls again under a key that was denied",
        "execution.py",
        "Execution._renew_key",
        "            self._next_generation(i, kind)\n",
        "            pass\n",
    ),
    _one(
        "forgets in a rollback what else is in flight",
        "execution.py",
        "Execution.go_on",
        "                    self.flying[j] = intent\n",
        "                    self.flying = {j: intent}\n",
    ),
    # --- the pivot, aborts, persons
    _one(
        "rolls back when something fails after the pivot",
        "execution.py",
        "Execution._give_up",
        "        elif self.passed:\n            self._move(i, _STUCK)\n",
        "        elif False:\n            pass\n",
    ),
    _one(
        "rolls back when it is stopped after the pivot",
        "execution.py",
        "Execution._take_abort",
        "        if not self.passed:\n            self.backward = True\n",
        "        self.backward = True\n",
    ),
    _one(
        "calls a pivot that did not happen though it was stopped",
        "execution.py",
        "Execution._roll_back_or_end",
        "is _IN_DOUBT and self._is_known_not(pivot):",
        "is None:",
    ),
    _one(
        "rolls back while the pivot is in doubt",
        "execution.py",
        "Execution._roll_back_or_end",
        "open_pivot = pivot >= 0 and (self.status[pivot] in _OPEN or pivot in self.awaited)",
        "open_pivot = False",
    ),
    _one(
        "lets a person fail an operation after the pivot",
        "execution.py",
        "Execution._not_to_be",
        "        if self.passed:\n            allowed -= {_FAILED}\n",
        "",
    ),
    _one(
        "does not free what came before when a person settles an operation",
        "execution.py",
        "Execution._take_resolved",
        "            if self.rolling:\n                self._settle(i)\n            else:\n",
        "            if self.rolling:\n                pass\n            else:\n",
    ),
    _one(
        "goes backward after a crash though the pivot has passed",
        "execution.py",
        "Execution._turn_back_if_preferred",
        '== "resume" or self.passed',
        '== "resume"',
    ),
    # --- one call is lost
    _one(
        "loses all calls with one of them",
        "execution.py",
        "Execution._take_lost",
        "        del self.flying[i]\n",
        "        self.flying = {}\n",
    ),
    _one(
        "takes what is lost for not made",
        "execution.py",
        "Execution._take_lost",
        "            trouble.doubted |= {i}\n",
        "",
    ),
    _one(
        "calls again what is lost though its key is too old",
        "execution.py",
        "Execution._take_lost",
        "trouble.too_old | {i} if is_too_old",
        "trouble.too_old if is_too_old",
    ),
    _one(
        "takes a key for too old since an earlier one was",
        "execution.py",
        "Execution._take_lost",
        "else trouble.too_old - {i}",
        "else trouble.too_old",
    ),
    _one(
        "forgets that another key is too old",
        "execution.py",
        "Execution._take_lost",
        "else trouble.too_old - {i}",
        "else frozenset()",
    ),
    _one(
        "goes forward with a call lost though the saga would rather be undone",
        "execution.py",
        "Execution._take_lost",
        "        self._turn_back_if_preferred()\n",
        "",
    ),
    _one(
        "calls nothing again but actions that are lost",
        "execution.py",
        "Execution._take_lost",
        "        self._make_up_for(i, trouble)\n",
        "        if kind == ACTION:\n            self._make_up_for(i, trouble)\n",
    ),
    _one(
        "makes up for a call that is lost before a rollback, which does as well",
        "execution.py",
        "Execution._make_up_for",
        "            if self.backward and i != self.definition.pivot:\n",
        "            if False:\n",
    ),
    _one(
        "leaves a pivot that is lost to the rollback that it decides about",
        "execution.py",
        "Execution._make_up_for",
        "            if self.backward and i != self.definition.pivot:\n",
        "            if self.backward:\n",
    ),
    _one(
        "does not begin a rollback when the last call is lost",
        "execution.py",
        "Execution._take_lost",
        "        self._make_up_for(i, trouble)\n        self._roll_back_or_end()\n",
        "        self._make_up_for(i, trouble)\n",
    ),
    _one(
        "waits for a straggler whose process died",
        "execution.py",
        "Execution._take_lost",
        "            self._forget_straggler(attempt_of(entry))\n            return\n",
        "            return\n",
    ),
    _one(
        "loses what is awaited with a process",
        "execution.py",
        "Execution._take_lost",
        "        if not self.is_flying(entry) or i in self.awaited:",
        "        if i in self.awaited:\n            self._call_again(i)\n"
        "        if not self.is_flying(entry):",
    ),
    _one(
        "takes the straggler of a key that was denied for a doubt",
        "heard.py",
        "effective_keys",
        "    return keys - denied\n",
        "    return keys\n",
    ),
    # --- what it all adds up to
    _one(
        "names the last error instead of the first",
        "outcome.py",
        "failure",
        "failed = min(errors)\n",
        "failed = max(errors)\n",
    ),
    _one(
        "loses the errors of compensations",
        "outcome.py",
        "failure",
        "texts = [as_text(trouble.undo_errors[i], str) for i in order]",
        "texts = None",
    ),
    # --- the executors
    _one(
        "tells of a call only when it has ended",
        "executors/orchestrator.py",
        "_made_at_once",
        "    intent = None if run.left else execution.start()\n"
        "    while intent is not None:\n"
        "        entry = attempt(run, intent)\n",
        "    while not run.left and (ready := execution.ready(1)):\n"
        "        entry = attempt(run, *ready)\n"
        "        execution.start()\n"
        "        run.tell(entry)\n"
        "    intent = None\n"
        "    while intent is not None:\n"
        "        entry = attempt(run, intent)\n",
    ),
    _one(
        "swallows an interrupt",
        "executors/run.py",
        "Run.stop",
        "            self.interrupt = interrupt\n",
        "            pass\n",
    ),
    _one(
        "takes a call past its timeout for one that has ended",
        "executors/attempt.py",
        "_given_up",
        "    return in_doubt(intent, late, alive=True)\n",
        "    return meant(run, intent, late, is_doubtful=True)\n",
    ),
    _one(
        "takes a lost reply for a failure",
        "executors/meaning.py",
        "meaning",
        "kind == ACTION and (noted or policy.doubtful.includes(error, handled))",
        "kind == ACTION and noted",
    ),
    _one(
        "does not undo what lands when the run is over",
        "executors/run.py",
        "Run._go_on_late",
        "        if changed and self.execution.saga is SagaStatus.COMPENSATING:\n",
        "        if False:\n",
    ),
)
