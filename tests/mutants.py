"""Break the library on purpose: `python -m tests.mutants` shows which test notices each break.

Each mutant is one replacement in a copy of the sources, on which `test_machine.py` must fail. It
takes a minute; `test_mutants.py` checks only that each mutant still finds its place. An argument
picks the mutants whose description holds it; `--world` lets only the random world look for them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent
SOURCE = TESTS.parent / "src" / "py_api_saga"
WORLD = "test_every_promise_holds_in_any_world"
TIMEOUT = 120  # seconds; the tests of the machine take a few
MOVES = "test_every_listed_move"


class Mutant(NamedTuple):
    """A way to break the library."""

    breaks: str  # what it does wrong
    file: str
    old: str  # a text that the file holds once
    new: str


MUTANTS = (
    # --- the order of things
    Mutant(
        "starts an action before what it comes after is done",
        "execution.py",
        "                if blockers[j]:\n                    continue\n            heappush",
        "                if False:\n                    continue\n            heappush",
    ),
    Mutant(
        "undoes an operation before what was built on it",
        "execution.py",
        "                    blockers[j] -= 1\n                    if blockers[j]:\n",
        "                    blockers[j] -= 1\n                    if False:\n",
    ),
    Mutant(
        "begins a rollback at both ends",
        "compensation.py",
        "[i for i in sorted(owed) if i not in blockers]",
        "sorted(owed)",
    ),
    Mutant(
        "starts actions after a rollback was decided",
        "execution.py",
        "            self._heap = [pivot] if open_pivot and pivot in self._heap else []\n",
        "",
    ),
    Mutant(
        "undoes while an action is in flight",
        "execution.py",
        "            if not open_pivot and not self.flying:",
        "            if not open_pivot:",
    ),
    Mutant(
        "rolls back in declaration order",
        "execution.py",
        "sorted(self.trouble.waiting, reverse=self.rolling)",
        "sorted(self.trouble.waiting)",
    ),
    Mutant(
        "lets a stuck compensation hold up the others",
        "execution.py",
        "                self._move(i, _STUCK)\n                self._settle(i)\n",
        "                self._move(i, _STUCK)\n",
    ),
    Mutant(
        "forgets a call that is ready when it is asked for it",
        "execution.py",
        "        for mark in marks:\n            heappush(heap, mark)\n",
        "",
    ),
    # --- failures and retries
    Mutant(
        "compensates the operation that declared failure",
        "execution.py",
        "            self._move(i, _FAILED)\n            self.backward = True",
        "            self._move(i, _IN_DOUBT)\n            self.backward = True",
    ),
    Mutant(
        "restarts the numbers of a compensation's attempts",
        "execution.py",
        "attempt = trouble.undo_tries.get(i, 0) + 1",
        "attempt = 1",
    ),
    Mutant(
        "restarts the numbers of an action's attempts after a crash",
        "execution.py",
        "        trouble.too_old = frozenset(entry[5])\n",
        "        trouble.too_old = frozenset(entry[5])\n"
        "        self.tries = [0] * len(self.tries)\n",
    ),
    Mutant(
        "retries an action though the saga rolls back",
        "execution.py",
        "            while trouble.waiting:\n",
        "            while False:\n",
    ),
    Mutant(
        "keeps the wait of a retry after a crash",
        "execution.py",
        "            trouble.waiting[i] = 0.0\n",
        "            pass\n",
    ),
    Mutant(
        "says COMPENSATED though something is stuck",
        "execution.py",
        "elif self.rolling and _STUCK not in self.status:",
        "elif self.rolling:",
    ),
    # --- doubt
    Mutant(
        "forgets a doubt when a later attempt fails",
        "execution.py",
        "            if wait is not None and not alive and not self.backward:\n",
        "            if what != IN_DOUBT:\n                trouble.doubted.discard(i)\n"
        "            if wait is not None and not alive and not self.backward:\n",
    ),
    Mutant(
        "calls again after a crash what was to be parked",
        "execution.py",
        "i not in trouble.crashed or operation.policy.park or i in trouble.too_old",
        "i not in trouble.crashed or i in trouble.too_old",
    ),
    Mutant(
        "calls again what is too old",
        "execution.py",
        "i not in trouble.crashed or operation.policy.park or i in trouble.too_old",
        "i not in trouble.crashed or operation.policy.park",
    ),
    Mutant(
        "calls a compensation again that is too old",
        "execution.py",
        "                or (status is _COMPENSATING and i in trouble.too_old)\n",
        "",
    ),
    Mutant(
        "compensates what was to be parked",
        "execution.py",
        "(status is _IN_DOUBT and operation.policy.park)",
        "False",
    ),
    Mutant(
        "compensates without the result that it needs",
        "execution.py",
        "                    and self.results[i] is MISSING\n",
        "                    and self.results[i] is None\n",
    ),
    Mutant(
        "asks, and believes NOT_HAPPENED, while a straggler lives",
        "execution.py",
        "            and not trouble.alive(i)  # nobody can say yet what it will have done\n",
        "",
    ),
    Mutant(
        "undoes what is known not to have happened",
        "execution.py",
        "                self._move(i, _FAILED)\n                self._settle(i)\n",
        "                self._enlist(i)\n",
    ),
    # --- stragglers
    Mutant(
        "loses a straggler",
        "execution.py",
        "            trouble.stragglers |= {(i, kind, attempt, generation)}\n",
        "            pass\n",
    ),
    Mutant(
        "calls an action again while its straggler lives",
        "execution.py",
        "            if wait is not None and not alive and not self.backward:",
        "            if wait is not None and not self.backward:",
    ),
    Mutant(
        "calls a compensation again while its straggler lives",
        "execution.py",
        "            if wait is not None and not alive:\n",
        "            if wait is not None:\n",
    ),
    Mutant(
        "undoes a late landing under the key that was used",
        "execution.py",
        "            self._next_generation(i, COMPENSATION)\n            self._push(i)\n",
        "            self._push(i)\n",
    ),
    Mutant(
        "does not undo what lands while it is undone",
        "execution.py",
        "undoing = status in (_COMPENSATING, _COMPENSATED, _FAILED)",
        "undoing = status in (_COMPENSATED, _FAILED)",
    ),
    Mutant(
        "forgets a landing when a late compensation ends",
        "execution.py",
        "                self._move(i, _COMPENSATED)\n                self._undone(i)\n",
        "                self._move(i, _COMPENSATED)\n",
    ),
    # --- the pivot, aborts, persons
    Mutant(
        "rolls back when something fails after the pivot",
        "execution.py",
        "        elif self.passed:\n            self._move(i, _STUCK)\n",
        "        elif False:\n            pass\n",
    ),
    Mutant(
        "rolls back when it is stopped after the pivot",
        "execution.py",
        "        if not self.passed:\n            self.backward = True\n",
        "        self.backward = True\n",
    ),
    Mutant(
        "rolls back while the pivot is in doubt",
        "execution.py",
        "open_pivot = pivot >= 0 and self.status[pivot] in _OPEN",
        "open_pivot = False",
    ),
    Mutant(
        "lets a person fail an operation after the pivot",
        "execution.py",
        "        if self.passed:\n            allowed -= {_FAILED}\n",
        "",
    ),
    Mutant(
        "does not free what came before when a person settles an operation",
        "execution.py",
        "            if self.rolling:\n                self._settle(i)\n            else:\n",
        "            if self.rolling:\n                pass\n            else:\n",
    ),
    Mutant(
        "goes backward after a crash though the pivot has passed",
        "execution.py",
        '== "resume" or self.passed',
        '== "resume"',
    ),
    # --- what it all adds up to
    Mutant(
        "names the last error instead of the first",
        "compensation.py",
        "failed, error = next(iter(errors.items()))",
        "failed, error = list(errors.items())[-1]",
    ),
    Mutant(
        "loses the errors of compensations",
        "compensation.py",
        "texts = [as_text(raised, str) for raised in undo_errors.values()]",
        "texts = None",
    ),
    # --- the executors
    Mutant(
        "tells of a call only when it has ended",
        "executors/orchestrator.py",
        "        intent = execution.start() if plain and not run.left else run.start()\n"
        "        if intent is None and plain and execution.trouble is not None:\n"
        "            intent = run.start()  # which knows what has waited\n"
        "        if recorder is not None and not run.commit(intent):\n"
        "            intent = None\n"
        "        if intent is not None:\n",
        "        intent = next(iter(run.execution.ready(1)), None)\n"
        "        if intent is not None:\n"
        "            told = attempt(run, intent)\n"
        "            run.start()\n"
        "            run.tell(told)\n"
        "        elif intent is not None:\n",
    ),
    Mutant(
        "swallows an interrupt",
        "executors/run.py",
        "            self.interrupt = interrupt\n",
        "            pass\n",
    ),
    Mutant(
        "takes a call past its timeout for one that has ended",
        "executors/attempt.py",
        "    return (IN_DOUBT, i, kind, number, generation, Doubt(late, alive=True))\n",
        "    return failed(run, intent, late, in_doubt=True)\n",
    ),
    Mutant(
        "takes a lost reply for a failure",
        "executors/attempt.py",
        "in_doubt or policy.doubtful.match(error)",
        "in_doubt",
    ),
    Mutant(
        "does not undo what lands when the run is over",
        "executors/run.py",
        "        if changed and self.execution.saga is SagaStatus.COMPENSATING:\n",
        "        if False:\n",
    ),
)


def places(mutant: Mutant) -> int:
    """Count the places that a mutant would change: one, or it needs a new text."""
    return (SOURCE / mutant.file).read_text(encoding="utf-8").count(mutant.old)


def caught_by(mutant: Mutant, *, world: bool) -> str:
    """Run the tests on a copy that is broken so, and say which was the first to fail, if any."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "py_api_saga"
        shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        broken = copy / mutant.file
        text = broken.read_text(encoding="utf-8")
        broken.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        # The stories that say what is wrong come first.
        for which in [WORLD] if world else [f"not {WORLD} and not {MOVES}", f"{WORLD} or {MOVES}"]:
            command = [
                sys.executable, "-m", "pytest", str(TESTS / "test_machine.py"), "-k", which, "-xq",
                "-o", "addopts=", "-p", "no:cacheprovider", "--no-header", "--tb=no",
            ]  # fmt: skip
            try:
                ran = subprocess.run(
                    command,
                    cwd=TESTS.parent,
                    env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=TIMEOUT,
                )
            except subprocess.TimeoutExpired:
                return "the tests, which did not end"
            failed = re.search(r"^(?:FAILED|ERROR) \S*?::(\w+)", ran.stdout, re.MULTILINE)
            if failed:
                return failed[1]
            if ran.returncode:
                return f"no test: {ran.stdout}{ran.stderr}"
    return ""


def main(arguments: list[str]) -> int:
    """Print a table of the mutants and the tests that caught them; 1 if one survives."""
    world = "--world" in arguments
    words = [word for word in arguments if word != "--world"]
    mutants = [m for m in MUTANTS if all(word in m.breaks for word in words)]
    lost = [mutant.breaks for mutant in mutants if places(mutant) != 1]
    if lost:
        print("no longer found once in the sources:", *lost, sep="\n  ")  # noqa: T201
        return 1
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, test in zip(
            mutants, pool.map(lambda m: caught_by(m, world=world), mutants), strict=True
        ):
            survivors += not test
            print(f"{mutant.breaks:66} {test or 'SURVIVES'}", flush=True)  # noqa: T201
    print(f"{len(mutants)} mutants, {survivors} survive")  # noqa: T201
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
