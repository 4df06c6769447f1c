"""Ways to break what a worker of an engine makes of a call; its tests notice each."""

from __future__ import annotations

from .mutant import Edit, Mutant


def _one(breaks: str, where: str, old: str, new: str, by: str) -> Mutant:
    edit = Edit("engines/errand.py", where, old, new)
    return Mutant(breaks, f"engines/test_errand.py::{by}", (edit,))


MUTANTS = (
    _one(
        "says of a coroutine whose worker ends what its cancellation has made of it",
        "_InTask.parted",
        "if what_of(entry) in _CERTAIN:",
        "if True:",
        "test_a_coroutine_whose_worker_ends_is_lost",
    ),
    _one(
        "counts a call that no thread has begun as lost with its worker",
        "_InThread.parted",
        "if self._permit.acquire(blocking=False):",
        "if False:",
        "test_a_call_that_no_thread_has_taken_is_left_to_another_worker",
    ),
    _one(
        "tells a call that was given up only when it has ended",
        "Workshop._end_of",
        "        if not is_alive(entry):\n            return entry\n",
        "        if is_alive(entry):\n            return await errand.landed()\n",
        "test_a_plain_function_that_takes_too_long_is_given_up_at_once",
    ),
    _one(
        "has a straggler keep its place among those that run at once",
        "Workshop._end_of",
        "        making.leave()\n",
        "        pass\n",
        "test_a_straggler_lets_another_call_have_its_place",
    ),
    _one(
        "leaves a straggler to another worker that this one is not set up for",
        "Workshop._called",
        "if is_unready(entry) and errand.end is None:",
        "if is_unready(entry):",
        "test_a_straggler_that_fails_only_ends",
    ),
    _one(
        "calls an undo that ends itself again and again",
        "Errand._weighed",
        "if attempt > 1:",
        "if attempt > 1000:",
        "test_an_undo_that_ends_itself_is_called_once_more_and_then_stuck",
    ),
    _one(
        "counts the time of all attempts from this one",
        "Errand.since_first",
        "return max(0.0, clock.time() - since)",
        "return 0.0",
        "test_a_retry_that_has_lasted_too_long_ends",
    ),
    _one(
        "asks about an action under a key of its own",
        "Errand.key_of",
        "if kind != COMPENSATION else",
        "if kind == ACTION else",
        "test_a_question_has_the_key_of_its_action",
    ),
    _one(
        "is short of results in silence",
        "_Some.__getitem__",
        'raise _not_here(f"the result of {name!r}")',
        "raise KeyError(name)",
        "test_what_did_not_come_along_is_refused_aloud",
    ),
    _one(
        "keeps a value that is too large for an engine",
        "_Values.write",
        "> MAX_VALUE:",
        "> 9 * MAX_VALUE:",
        "test_a_result_that_cannot_be_kept_is_told_as_such",
    ),
    _one(
        "tells each time that a saga is let go",
        "Workshop._note",
        "        if key in self._let_go:\n            return\n",
        "",
        "test_what_is_let_go_is_told_once",
    ),
)
