"""Ways to break what is received once, and writes that count once; a test notices each."""

from __future__ import annotations

from .mutant import Edit, Mutant

RECEIVED = "contrib/test_barrier_received.py"
ONCE = "contrib/test_barrier_once.py"
MUTANTS = (
    Mutant(
        "forgets a write that is committed when the operation fails after it",
        f"{ONCE}::test_the_first_of_two_writes_does_not_stay_behind",
        (
            Edit(
                "contrib/barrier/writes.py",
                "_at_once",
                "        write.note()\n",
                "",
            ),
        ),
    ),
    Mutant(
        "lets a function write without its row",
        f"{ONCE}::test_what_a_function_ends_itself_is_not_written",
        (
            Edit(
                "contrib/barrier/table.py",
                "fill",
                "    return count == 1\n",
                "    return True\n",
            ),
        ),
    ),
    Mutant(
        "keeps no row of an undo for its action",
        f"{RECEIVED}::test_an_undo_of_what_never_came_does_nothing_and_bars_the_way",
        (
            Edit(
                "contrib/barrier/receiving.py",
                "Received._is_to_be_undone",
                'table.add_if_missing(hands, tombstone(action), "", Kept("-", UNDONE, None))\n',
                "pass\n",
            ),
        ),
    ),
    Mutant(
        "keeps no refusal",
        f"{RECEIVED}::test_a_refusal_is_kept_and_its_effect_is_not",
        (
            Edit(
                "contrib/barrier/receiving.py",
                "Received._settle",
                "        if status >= _FAILS or status in _PASSING:\n",
                "        if status >= _REFUSES:\n",
            ),
        ),
    ),
    Mutant(
        "keeps the effect of a refusal",
        f"{RECEIVED}::test_a_refusal_is_kept_and_its_effect_is_not",
        (
            Edit(
                "contrib/barrier/receiving.py",
                "Received._settle",
                "            savepoint.undo()\n",
                "            savepoint.keep()\n",
            ),
        ),
    ),
    Mutant(
        "takes no lock of the action",
        f"{RECEIVED}::test_what_is_in_flight_is_409_at_once",
        (
            Edit(
                "contrib/barrier/receiving.py",
                "Received._lock",
                '(f"action {action}", self._undoes is None)',
                '(f"action {action}", True)',
            ),
        ),
    ),
    Mutant(
        "undoes once more under a new key",
        f"{RECEIVED}::test_an_undo_under_a_new_key_is_the_same_undo",
        (
            Edit(
                "contrib/barrier/table.py",
                "first_of",
                '    return _LATER.sub(r"\\1", key)\n',
                "    return key\n",
            ),
        ),
    ),
    Mutant(
        "says that nothing was there when it may be forgotten",
        f"{RECEIVED}::test_what_is_forgotten_is_never_said_to_be_nothing",
        (
            Edit(
                "contrib/barrier/table.py",
                "may_be_forgotten",
                "    return horizon is not None and",
                "    return False and",
            ),
        ),
    ),
    Mutant(
        "lets an action come after its undo",
        f"{ONCE}::test_a_compensation_of_what_never_was_bars_the_way",
        (
            Edit(
                "contrib/barrier/writes.py",
                "_Write._is_to_be_undone",
                "if not table.add_if_missing(hands, self._action, self._action, tombstone):\n",
                "if table.find(hands, self._action) is not None:\n",
            ),
        ),
    ),
    Mutant(
        "says of a lost COMMIT that nothing has happened",
        f"{ONCE}::test_an_error_out_of_commit_is_in_doubt",
        (
            Edit(
                "contrib/barrier/writes.py",
                "_say",
                "            error.saga_outcome = outcome",
                '            error.saga_outcome = "not happened"',
            ),
        ),
    ),
)
