"""Ways to break what is done at a shut gate; a test of the gate notices each."""

from __future__ import annotations

from .mutant import Edit, Mutant

GATE = "journal/test_gate.py"
MUTANTS = (
    Mutant(
        "withdraws what is being written",
        f"{GATE}::test_what_is_being_written_is_not_refused",
        (
            Edit(
                "journal/sql/group_commit.py",
                "GroupCommit.withdraw",
                "                    if not batch.entered:\n",
                "                    if batch:\n",
            ),
        ),
    ),
    Mutant(
        "looks after nobody in a loop",
        f"{GATE}::test_a_new_saga_gives_up_at_a_shut_gate",
        (
            Edit(
                "journal/sql/group_commit.py",
                "GroupCommit._shut",
                "                loop.call_soon_threadsafe(batch.look_after, loop)\n",
                "                pass\n",
            ),
        ),
    ),
    Mutant(
        "gives up a saga that runs",
        f"{GATE}::test_a_saga_that_runs_waits_without_limit",
        (
            Edit(
                "durable/run.py",
                "DurableRun._prepare_pending",
                "        self._standing = status\n        return",
                "        self._standing = status\n"
                "        append.until = latest(recorder.deadline)\n        return",
            ),
        ),
    ),
    Mutant(
        "keeps the gate though nobody wants to write any more",
        f"{GATE}::test_who_waits_for_nobody_any_more_lets_the_next_one_in",
        (
            Edit(
                "journal/sqlite/file.py",
                "JournalFile.record",
                "                    if is_entered:\n",
                "                    if is_open and not is_entered:\n"
                "                        self.gate._is_inside = False\n"
                "                    if is_entered:\n",
            ),
        ),
    ),
    Mutant(
        "keeps the turn while it stands in line",
        f"{GATE}::test_a_journal_that_is_closed_while_the_gate_is_shut_is_opened_anew",
        (
            Edit(
                "journal/sqlite/file.py",
                "JournalFile.stand_in_line",
                "        gate.wait(line)\n"
                "        with self.turn:\n"
                "            gate.step_out(line)\n",
                "            gate.wait(line)\n            gate.step_out(line)\n",
            ),
        ),
    ),
)
