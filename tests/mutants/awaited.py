"""Ways to break what waits for answers, in runs and journals; a test or a short proof notices."""

from __future__ import annotations

from .mutant import Edit, Mutant

ANSWER = "durable/test_answer.py"
AWAITED = "durable/test_awaited.py"
PROOFS = "awaited/test_awaited_proofs.py"
RUN = "durable/run.py"
QUERIES = "journal/sqlite/queries.sql"


def _one(breaks: str, caught_by: str, file: str, where: str, old: str, new: str) -> Mutant:
    return Mutant(breaks, caught_by, (Edit(file, where, old, new),))


MUTANTS = (
    # --- what an answer is worth
    _one(
        "takes an answer for read while no call fits it",
        f"{ANSWER}::test_an_answer_after_a_crash_makes_its_call_needless",
        "durable/reckoning.py",
        "is_waited_for",
        "execution.awaits(i, kind, generation) or execution.expects(i, kind, generation)\n",
        "execution.awaits(i, kind, generation)\n",
    ),
    _one(
        "takes an answer for read while its call runs",
        f"{PROOFS}::test_a_graph_loses_no_answer_whoever_is_killed",
        RUN,
        "DurableRun._read_mail",
        "                if call is None or not is_running(self.execution, call):\n",
        "                if call is None or not is_running(self.execution, call) "
        "or box.take(key):\n",
    ),
    _one(
        "reads no mail when a call is to be made again",
        f"{ANSWER}::test_an_answer_between_two_attempts_makes_a_third_needless",
        RUN,
        "DurableRun.tell",
        "            self._listens = True\n",
        "            pass\n",
    ),
    _one(
        "tells that an answer is late before it has looked into the mail",
        f"{ANSWER}::test_whoever_drives_the_saga_looks_into_the_mail_before_it_is_too_late",
        RUN,
        "DurableRun._look_for_due",
        "        if box.looked < max(map(due_of, due)):\n",
        "        if box.looked < 0:\n",
    ),
    _one(
        "undoes what is overdue without asking what came of it",
        f"{AWAITED}::test_what_is_overdue_is_asked_about_first",
        "execution.py",
        "Execution._ask_or_turn_back",
        "        asks = i in trouble.overdue and "
        "self.definition.operations[i].policy.ask is not None\n",
        "        asks = False\n",
    ),
    _one(
        "compares answers as they are sealed",
        f"{ANSWER}::test_the_same_answer_is_known_however_it_was_sealed",
        "durable/answering.py",
        "_Posted.check",
        "            if outcome_in(there.body, values) != outcome_in(self._body, values):\n",
        "            if there.body != self._body:\n",
    ),
    _one(
        "looks who drives a saga before the answer to it is on disk",
        f"{ANSWER}::test_whoever_answers_looks_who_drives_once_the_answer_is_on_disk",
        "durable/answering.py",
        "_Posted.claim",
        "if seen is None or journal.drives(seen) or not",
        "if seen is None or self._seen.owner or journal.drives(seen) or not",
    ),
    # --- suspension, and what is listed
    _one(
        "waits over an answer that is there already",
        f"{ANSWER}::test_an_answer_may_come_before_its_call_has_returned",
        "journal/changes.py",
        "Mailing.has_suspended",
        "        return self.suspends and self.mail is not None and not self.mail\n",
        "        return self.suspends and self.mail is not None\n",
    ),
    _one(
        "ends a saga over an answer that is there already",
        f"{ANSWER}::test_an_answer_in_the_last_compensation_is_not_left",
        "journal/changes.py",
        "Mailing.lets_go",
        "        return (self.suspends or ended) and not self.mail\n",
        "        return ended or (self.suspends and not self.mail)\n",
    ),
    _one(
        "counts timers as tries",
        f"{AWAITED}::test_timers_one_after_another_are_no_tries",
        QUERIES,
        "",
        "UPDATE saga SET owner = 0, tries = 0, due = ? WHERE",
        "UPDATE saga SET owner = 0, due = ? WHERE",
    ),
    _one(
        "keeps the due time that recovery has put there",
        f"{AWAITED}::test_a_saga_that_waits_is_driven_by_nobody",
        QUERIES,
        "",
        "UPDATE saga SET owner = 0, tries = 0, due = ? WHERE",
        "UPDATE saga SET owner = 0, tries = 0, due = 0 * ? WHERE",
    ),
    _one(
        "takes milliseconds for seconds, so that answers are hidden from recovery",
        f"{ANSWER}::test_what_only_posts_leaves_the_rest_to_a_worker",
        QUERIES,
        "",
        "WHERE taken = 0 AND saga > ? ORDER BY saga",
        "WHERE taken = 0 AND saga > ? AND at <= unixepoch() ORDER BY saga",
    ),
    _one(
        "writes a due time in seconds where milliseconds are read",
        f"{AWAITED}::test_a_saga_that_waits_is_driven_by_nobody",
        "journal/sqlite/writes.py",
        "RowWriter._look_into_mail",
        "            due = milliseconds(max(0.0, min(mailing.due, NEVER)))\n",
        "            due = int(max(0.0, min(mailing.due, NEVER)))\n",
    ),
    _one(
        "takes a suspension that seemed to fail for taken over",
        f"{AWAITED}::test_a_suspension_that_seemed_to_fail_is_one",
        "journal/sqlite/writes.py",
        "RowWriter._look_again",
        "        elif mailing.lets_go(ended=change.status is not None and "
        "change.status not in OPEN):\n",
        "        elif mailing is None:\n",
    ),
    # --- a later() that is wrong
    _one(
        "tries again what has begun something for which nobody can wait",
        "durable/test_awaited_wrongly.py::test_an_action_whose_later_is_wrong_is_undone",
        "executors/meaning.py",
        "meaning",
        "    if rule is not None and not isinstance(error, LaterError):\n",
        "    if rule is not None:\n",
    ),
)
