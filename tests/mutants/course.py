"""Ways to break the course of a saga on an engine; its tests notice each."""

from __future__ import annotations

from .mutant import Edit, Mutant

STORIES = "engines/test_course.py"
WORLD = "engines/test_course_any_world.py"


def _one(
    breaks: str, where: str, old: str, new: str, by: str = STORIES, *, of: str = "course"
) -> Mutant:
    return Mutant(breaks, by, (Edit(f"engines/{of}.py", where, old, new),))


MUTANTS = (
    # --- which call is next
    _one(
        "makes one call more at once than the saga allows",
        "Course._starts",
        "        while len(execution.flying) < limit and",
        "        while len(execution.flying) <= limit and",
    ),
    _one(
        "makes a call again before its wait is over",
        "Course._starts",
        " or self._due_of(intent) > now:\n",
        ":\n",
    ),
    _one(
        "makes those calls again first that are declared first, whenever they are due",
        "Course._starts",
        "sorted(execution.ready(), key=self._due_of)",
        "execution.ready()",
    ),
    _one(
        "counts a wait from the beginning of the saga",
        "Course._note",
        "            self._due[i] = at + value.wait\n",
        "            self._due[i] = value.wait\n",
    ),
    _one(
        "sleeps though a call is to be made again",
        "Course.wakes",
        "            times += [self._due.get(i, 0.0) for i in trouble.waiting]\n",
        "            pass\n",
    ),
    _one(
        "sleeps though an answer is overdue",
        "Course.wakes",
        "        times = [due_of(later) for later in execution.awaited.values()]\n",
        "        times = []\n",
    ),
    _one(
        "sleeps through the deadline",
        "Course.wakes",
        "            times.append(until)\n",
        "            pass\n",
    ),
    _one(
        "does not look at the deadline when something is told",
        "Course._take",
        "        self._check_deadline(now)\n",
        "",
    ),
    _one(
        "calls though it is parked",
        "Course.calls",
        "        if execution is None or self._parked is not None:\n",
        "        if execution is None:\n",
    ),
    # --- losses
    _one(
        "takes what was in flight for made still, by whoever goes on",
        "Course._open",
        "            self._tell(recovered(old), now)\n",
        "            pass\n",
    ),
    _one(
        "takes no key for too old when it goes on",
        "Course._open",
        "recovered(old)",
        "recovered()",
    ),
    _one(
        "waits for stragglers of another workflow",
        "Course._open",
        "                self._tell(lost(straggler), now)\n",
        "                pass\n",
    ),
    _one(
        "takes no key for too old when a call is lost",
        "Course._end",
        "lost(attempt_of(entry), too_old=is_old)",
        "lost(attempt_of(entry))",
    ),
    _one(
        "counts the age of a key from its last use",
        "Course._note",
        "            self._first.setdefault((i, kind, generation), at)\n",
        "            self._first[i, kind, generation] = at\n",
    ),
    _one(
        "counts what a person has called again from the first call",
        "Course._note",
        "            self._since = {call: since for call, since in self._since.items() "
        "if call[0] != i}\n",
        "            pass\n",
    ),
    _one(
        "calls for ever what kills each process",
        "Course._end",
        "        if losses >= MAX_LOSSES:\n",
        "        if losses < 0:\n",
    ),
    _one(
        "counts all losses of a call, however it ended meanwhile",
        "Course._note",
        "        elif what != STARTED and self._losses:\n",
        "        elif what == AGAIN:\n",
    ),
    _one(
        "counts the losses at which a person has looked",
        "Course._open",
        "            if at <= looked_at:\n",
        "            if at < 0:\n",
    ),
    # --- how it ends
    _one(
        "is over while something that was given up may land",
        "Course.is_over",
        "        return self.at_rest and not self.stragglers\n",
        "        return self.at_rest\n",
    ),
    _one(
        "is at rest, once parked, while calls are in flight",
        "Course.at_rest",
        "            return len(execution.flying) <= self._unheard\n",
        "            return True\n",
    ),
    _one(
        "waits, once parked, for calls of which it can't take in the end",
        "Course.at_rest",
        "            return len(execution.flying) <= self._unheard\n",
        "            return not execution.flying\n",
    ),
    _one(
        "lists stragglers in an order of the process",
        "Course.stragglers",
        "        return sorted(execution.trouble.stragglers)\n",
        "        return list(execution.trouble.stragglers)\n",
        WORLD,
    ),
    # --- news that come twice, or make no sense
    _one(
        "believes what is told of a call that has ended",
        "Course._take",
        "            if self._is_expected(execution, entry):\n",
        "            if execution:\n",
    ),
    _one(
        "believes twice that a call was given up",
        "Course._is_expected",
        "attempt in trouble.stragglers and not is_alive",
        "attempt in trouble.stragglers",
    ),
    _one(
        "cancels a saga twice",
        "Course._cancel",
        "        if execution.backward or execution.at_rest:\n            return\n",
        "",
    ),
    _one(
        "is parked by a cancel that comes too late",
        "Course._cancel",
        "        with suppress(IllegalMoveError):  # then it needs a person, who decides\n",
        "        if entry:\n",
    ),
    # --- answers from elsewhere
    _one(
        "reads an answer while its call runs",
        "Course._hear",
        "            if call is not None and is_running(execution, call):\n",
        "            if call is not None and not execution:\n",
    ),
    _one(
        "loses the answers that are yet to be looked at when another workflow goes on",
        "Course.rows",
        "        if self._letters:\n",
        "        if not rows:\n",
    ),
    _one(
        "forgets which answers came too late",
        "Course._take_letters",
        "        self._useless = {letter.key for letter in useless_in(rows)}\n",
        "",
    ),
    _one(
        "believes the last answer under a key",
        "Course._post",
        "        if key in self._letters or key in self._useless:\n            return\n",
        "",
    ),
    _one(
        "forgets who has answered",
        "Course._answer",
        "            self._pages.add(dumps(note), now)\n",
        "            pass\n",
    ),
    _one(
        "takes in what is overdue though another answer has given it up",
        "Course._tell_due",
        "            if execution.awaited.get(i) is later:",
        "            if later:",
    ),
    # --- sizes
    _one(
        "keeps a result of any size",
        "Course._end",
        "        elif not has_room(size_of(line), self._left):\n",
        "        elif not line:\n",
    ),
    _one(
        "counts the bytes of a text as its letters",
        "Pages.add",
        "        self.size += size_of(line) + 1\n",
        "        self.size += len(line) + 1\n",
        of="rows",
    ),
    _one(
        "makes calls without end that have no room",
        "fitting",
        "value.wait is not None and left < -_SPARE",
        "value.wait is not None and not left",
        of="fitting",
    ),
    # --- what a worker is told
    _one(
        "gives an undo the deadline of its action",
        "Course._asked",
        "        if self._plan.until is not None and kind == ACTION and not execution.passed:\n",
        "        if self._plan.until is not None and not execution.passed:\n",
    ),
    _one(
        "sends the results along that an action wants when it is undone",
        "Course._asked",
        'item["undo" if kind == COMPENSATION else "do"][3:]',
        'item["do"][3:]',
    ),
    _one(
        "does not say that nobody knows a result",
        "Course._tree",
        '        return {"$missing": True} if known is MISSING else known\n',
        "        return None if known is MISSING else known\n",
    ),
    _one(
        "begins a row of its own when another workflow goes on",
        "Pages.add",
        "            if self._closed and self._closed[-1][0] == now:\n",
        "            if False:\n",
        of="rows",
    ),
)
