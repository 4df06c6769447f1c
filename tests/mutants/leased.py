"""Ways to break what makes a journal in PostgreSQL safe: the fence, the claim and the lease."""

from __future__ import annotations

from .mutant import Edit, Mutant

FOLDER = "journal/postgresql"
QUERIES = f"{FOLDER}/queries.sql"
LEASE = "journal/test_lease.py"
DATABASE = "journal/test_postgresql.py"
ANSWERS = "journal/test_postgresql_mail.py"
MUTANTS = (
    Mutant(
        "believes in any renewal that succeeds",
        f"{LEASE}::test_an_answer_after_the_old_lease_leaves_the_process_late",
        (
            Edit(
                f"{FOLDER}/lease.py",
                "Lease.renewed",
                "if not was_alive or clock.boottime() >= self.until:",
                "if not was_alive:",
            ),
        ),
    ),
    Mutant(
        "counts a lease from the answer on",
        f"{LEASE}::test_a_lease_is_counted_from_before_it_was_asked_for",
        (
            Edit(
                f"{FOLDER}/lease.py",
                "Lease.renewed",
                "max(self.until, sent + self.seconds * EARLY)",
                "max(self.until, clock.boottime() + self.seconds * EARLY)",
            ),
        ),
    ),
    Mutant(
        "appends without the lock",
        f"{DATABASE}::test_nobody_claims_a_saga_while_a_row_is_being_written",
        (
            Edit(
                QUERIES,
                "",
                "  ORDER BY s.number FOR NO KEY UPDATE OF s SKIP LOCKED\n), written AS (",
                "  ORDER BY s.number\n), written AS (",
            ),
        ),
    ),
    Mutant(
        "counts the rows in the statement that claims",
        f"{DATABASE}::test_a_claim_counts_rows_that_were_committed_before_its_lock",
        (
            Edit(
                QUERIES,
                "",
                "FROM free WHERE s.number = free.number RETURNING s.number;",
                "FROM free WHERE s.number = free.number\n"
                "RETURNING s.number, (SELECT max(n) FROM {p}entry WHERE saga = s.number);",
            ),
            Edit(
                f"{FOLDER}/writes.py",
                "Script.read",
                'taken = {number for (number,) in found.get("take", ())}',
                'taken = dict(found.get("take", ()))',
            ),
            Edit(
                f"{FOLDER}/writes.py",
                "Script.read",
                'rows: dict[int, int] = dict(found.get("last_rows", ()))',
                "rows = taken",
            ),
        ),
    ),
    Mutant(
        "waits for an id that somebody's transaction has begun",
        f"{DATABASE}::test_an_id_that_an_open_transaction_has_begun_is_not_waited_for",
        (
            Edit(
                QUERIES,
                "",
                "  WHERE pg_try_advisory_xact_lock(hashtextextended('{p}' || saga_id, 0))\n",
                "",
            ),
        ),
    ),
    Mutant(
        "claims from a process that comes back to life",
        f"{DATABASE}::test_a_claim_locks_the_lease_that_it_has_found_ended",
        (Edit(QUERIES, "", "ORDER BY o.number FOR SHARE SKIP LOCKED", "ORDER BY o.number"),),
    ),
    Mutant(
        "returns from a write though its lease has run out",
        f"{DATABASE}::test_a_lease_that_runs_out_after_the_commit_is_seen_at_the_return_of_write",
        tuple(
            Edit(
                f"{FOLDER}/journal.py",
                f"DatabaseJournal.{where}",
                "while bench.lease.is_late() and",
                "while not bench and",
            )
            for where in ("_confirm", "_aconfirm")
        ),
    ),
    Mutant(
        "does not look at its lease before a call",
        f"{DATABASE}::test_no_call_starts_under_a_lease_that_ended_while_it_waited_for_its_thread",
        (
            Edit(
                f"{FOLDER}/journal.py",
                "DatabaseJournal.is_in_time",
                "return not self.bench.lease.is_late()",
                "return True",
            ),
        ),
    ),
    Mutant(
        "lets a heartbeat compare what is being written",
        f"{DATABASE}::test_a_heartbeat_does_not_take_what_is_being_written_for_lost",
        (
            Edit(
                f"{FOLDER}/bench.py",
                "Bench.renew",
                "if self.lease.is_late() and self.turn.acquire(timeout=TURN):",
                "if self.lease.is_late():",
            ),
            Edit(f"{FOLDER}/bench.py", "Bench.renew", "self.turn.release()", "pass"),
        ),
    ),
    Mutant(
        "finds what is due by its own clock",
        f"{DATABASE}::test_what_is_put_off_is_so_by_the_clock_of_the_database",
        (
            Edit(
                f"{FOLDER}/journal.py",
                "DatabaseJournal.waiting",
                "now = self.now()",
                "now = clock.time()",
            ),
        ),
    ),
    Mutant(
        "takes a claim that it has left for one whose answer was lost",
        "journal/test_left_claims.py",
        (Edit(f"{FOLDER}/bench.py", "Bench._write", "releases, left)]", "releases)]"),),
    ),
    Mutant(
        "takes a renewal of a lease that had ended for one in time",
        f"{LEASE}::test_a_row_that_had_expired_leaves_the_process_late",
        (
            Edit(
                f"{FOLDER}/lease.py",
                "Lease.renewed",
                "            if not was_alive or clock.boottime() >= self.until:\n",
                "            if clock.boottime() >= self.until:\n",
            ),
        ),
    ),
    Mutant(
        "believes in a lease to its very end",
        f"{LEASE}::test_a_lease_ends_early_by_our_clock",
        (Edit(f"{FOLDER}/lease.py", "", "EARLY = 0.95", "EARLY = 1.0"),),
    ),
    Mutant(
        "waits for whoever has locked the row of a saga",
        f"{DATABASE}::test_a_row_that_a_person_has_locked_keeps_nobody_else_waiting",
        (
            Edit(
                QUERIES,
                "",
                "  ORDER BY s.number FOR NO KEY UPDATE OF s SKIP LOCKED\n), written AS (",
                "  ORDER BY s.number FOR NO KEY UPDATE OF s\n), written AS (",
            ),
        ),
    ),
    Mutant(
        "takes what is locked for taken over",
        f"{DATABASE}::test_a_row_that_a_person_has_locked_keeps_nobody_else_waiting",
        (
            Edit(
                f"{FOLDER}/writes.py",
                "Script._judge_append",
                "        elif body is None:\n            self.busy.append(change)\n",
                "        elif body is None:\n            change.error = taken_over(claim)\n",
            ),
        ),
    ),
    Mutant(
        "compares nothing when it was late",
        f"{DATABASE}::test_a_process_that_was_away_loses_what_others_have_taken",
        (
            Edit(
                f"{FOLDER}/bench.py",
                "Bench._compare",
                "        self.desk.lose(lost)\n",
                "",
            ),
        ),
    ),
    Mutant(
        "takes a commit whose answer was lost for none",
        f"{DATABASE}::test_a_commit_whose_answer_is_lost_counts_once",
        (
            Edit(
                f"{FOLDER}/writes.py",
                "Script.note_commit",
                "            change.tried = True\n",
                "            pass\n",
            ),
        ),
    ),
    Mutant(
        "goes on preparing statements",
        f"{DATABASE}::test_what_can_not_be_prepared_is_not_prepared_again",
        (Edit(f"{FOLDER}/server.py", "Server.note", "self.can_prepare = False", "self.x = False"),),
    ),
    Mutant(
        "names what it prepares as others do",
        f"{DATABASE}::test_no_statement_is_taken_for_what_another_process_has_prepared",
        (Edit(f"{FOLDER}/exchange.py", "_statement", "sha256(text)", "sha256(text[-9:])"),),
    ),
    Mutant(
        "asks twice for each transaction",
        f"{DATABASE}::test_a_transaction_takes_one_round_trip",
        (
            Edit(
                f"{FOLDER}/server.py",
                "Server.transact",
                "        _, told, *found, _ = exchange(",
                "        exchange(connection, [script[0], script[-1]], None, silence)\n"
                "        _, told, *found, _ = exchange(",
            ),
        ),
    ),
    Mutant(
        "answers without the lock",
        f"{ANSWERS}::test_an_answer_does_not_slip_in_while_its_saga_is_being_suspended",
        (
            Edit(
                QUERIES,
                "",
                "  ORDER BY s.number FOR NO KEY UPDATE OF s SKIP LOCKED\n)\nINSERT INTO {p}mail",
                "  ORDER BY s.number\n)\nINSERT INTO {p}mail",
            ),
        ),
    ),
    Mutant(
        "waits for whoever has locked the row of a saga that it answers",
        f"{ANSWERS}::test_an_answer_to_a_saga_whose_row_is_locked_keeps_nobody_waiting",
        (
            Edit(
                QUERIES,
                "",
                "  ORDER BY s.number FOR NO KEY UPDATE OF s SKIP LOCKED\n)\nINSERT INTO {p}mail",
                "  ORDER BY s.number FOR NO KEY UPDATE OF s\n)\nINSERT INTO {p}mail",
            ),
        ),
    ),
    Mutant(
        "reads the mail as it was before the lock",
        f"{ANSWERS}::test_what_is_read_of_the_mail_was_committed_before_the_lock",
        (
            Edit(
                QUERIES,
                "",
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;",
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE;",
            ),
        ),
    ),
    Mutant(
        "suspends a saga whose row it has not written",
        f"{ANSWERS}::test_a_suspension_after_a_row_that_nobody_tried_again_is_a_row_of_its_own",
        (Edit(QUERIES, "", "  WHERE e.xmin = pg_current_xact_id()::xid\n", ""),),
    ),
    Mutant(
        "takes a suspension whose answer was lost for taken over",
        f"{ANSWERS}::test_a_suspension_whose_answer_is_lost_counts_once",
        (
            Edit(
                f"{FOLDER}/writes.py",
                "Script._judge_append",
                "lets_go = mailing is not None and mailing.suspends and id(change) in self._before",
                "lets_go = False",
            ),
        ),
    ),
    Mutant(
        "purges over an answer that was given meanwhile",
        f"{ANSWERS}::test_a_purge_sees_an_answer_that_was_given_before_its_lock",
        tuple(
            Edit(
                QUERIES,
                "",
                f"  WHERE {more}s.xmax = pg_current_xact_id()::xid\n",
                f"  WHERE {other}\n",
            )
            for more, other in (("s.digest IS NULL AND ", "s.digest IS NULL"), ("", "true"))
        ),
    ),
    Mutant(
        "believes in no time that is far ahead",
        "journal/test_journal_conformance.py::test_a_saga_that_waits_is_due_when_it_says",
        (Edit(QUERIES, "", "WHERE status < 2 AND tries > 0 AND due", "WHERE status < 2 AND due"),),
    ),
)
