"""Ways to break what is written down of calls and processes, and what pages count by."""

from __future__ import annotations

from .mutant import Edit, Mutant

FACTS = "durable/test_facts.py"
CONFORMANCE = "journal/test_journal_conformance.py"
PROMETHEUS = "command/test_prometheus.py"
MUTANTS = (
    Mutant(
        "measures what was given up until it was",
        f"{FACTS}::test_what_was_given_up_has_none_until_it_lands",
        (
            Edit(
                "executors/attempt.py",
                "clocked",
                "if until is None and run.operations[index_of(intent)].policy.timeout is not None:",
                "if until is None and run.operations[index_of(intent)].policy.timeout == 0:",
            ),
        ),
    ),
    Mutant(
        "measures a call with what has held it up",
        f"{FACTS}::test_what_holds_a_call_up_is_not_in_its_time",
        (
            Edit(
                "durable/run.py",
                "DurableRun.ended",
                "began if self._held is None else self._held.pop(attempt, began)",
                "began",
            ),
        ),
    ),
    Mutant(
        "looks at the clock when a call is told of, and not when it has ended",
        f"{FACTS}::test_side_by_side_each_has_its_own",
        (
            Edit(
                "durable/run.py",
                "DurableRun.ended",
                "at, clock.monotonic() - since",
                "at, since",
            ),
            Edit(
                "durable/run.py",
                "DurableRun._span_of",
                "return span_text(claim.created, *span)",
                "return span_text(claim.created, span[0], clock.monotonic() - span[1])",
            ),
        ),
    ),
    Mutant(
        "names a process only where it recovers",
        f"{FACTS}::test_whoever_begins_what_was_only_started_says_so",
        (
            Edit(
                "durable/run.py",
                "DurableRun._prepare_pending",
                "if not (self._is_named or lines):",
                'if not (self._is_named or lines) and what == "recovered":',
            ),
        ),
    ),
    Mutant(
        "leaves the last row of a coroutine to nobody",
        "durable/test_durable.py::test_a_failure_with_nothing_to_undo_is_on_record",
        (
            Edit(
                "executors/event_loop.py",
                "_Driver._is_for_another",
                "execution.rolling is not self._is_backward and not execution.at_rest",
                "execution.rolling is not self._is_backward",
            ),
        ),
    ),
    Mutant(
        "shows the last saga of a page again on the next one",
        f"{CONFORMANCE}::test_pages_follow_each_other_without_a_gap",
        (Edit("journal/sqlite/queries.sql", "", "AND number < :below", "AND number <= :below"),),
    ),
    Mutant(
        "does so in PostgreSQL",
        f"{CONFORMANCE}::test_pages_follow_each_other_without_a_gap",
        (
            Edit(
                "journal/postgresql/queries.sql",
                "",
                "AND number < %(below)s::bigint",
                "AND number <= %(below)s::bigint",
            ),
        ),
    ),
    Mutant(
        "counts in PostgreSQL no more than are asked for, of all",
        f"{CONFORMANCE}::test_sagas_are_counted_by_status",
        (
            Edit(
                "journal/postgresql/queries.sql",
                "",
                "LIMIT %(most)s::bigint + (SELECT sum(many) FROM counted)) AS first;",
                "LIMIT %(most)s::bigint) AS first;",
            ),
        ),
    ),
    Mutant(
        "lets a name break out of its label",
        f"{PROMETHEUS}::test_no_name_breaks_out_of_its_label",
        (
            Edit(
                "story/gauges.py",
                "_label",
                """.replace('"', '\\\\"')""",
                "",
            ),
        ),
    ),
)
