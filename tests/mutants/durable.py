"""Ways to break the durable code; a test of crashes notices each."""

from __future__ import annotations

from .mutant import Edit, Mutant

CRASH = "crash/test_crash.py"
MUTANTS = (
    Mutant(
        "makes a call before its intent is written",
        f"{CRASH}::test_nothing_is_lost_wherever_a_process_is_killed",
        (
            Edit(
                "executors/turns.py",
                "turns",
                "        while run.prepare_write(intents):\n"
                "            yield WRITE\n"
                "        if intents:\n"
                "            yield intents\n",
                "        told = [*intents]\n"
                "        if told:\n"
                "            yield told\n"
                "            __import__('time').sleep(0.05)\n"
                "        while run.prepare_write(intents):\n"
                "            yield WRITE\n"
                "        if told:\n"
                "            pass\n",
            ),
        ),
    ),
    Mutant(
        "tells of an end that is not written",
        f"{CRASH}::test_nothing_is_lost_wherever_a_process_is_killed",
        (
            Edit(
                "executors/turns.py",
                "turns",
                "        while run.prepare_write(intents):\n",
                "        while intents and run.prepare_write(intents):\n",
            ),
        ),
    ),
    Mutant(
        "does not fence",
        f"{CRASH}::test_a_process_that_was_forced_out_writes_and_undoes_nothing",
        (
            Edit(
                "journal/sqlite/queries.sql",
                "",
                "SELECT number, ?, ?, ? FROM saga WHERE number = ? AND owner = ? AND epoch = ?;",
                "SELECT number, ?, ?, ? FROM saga WHERE number = ? AND ? AND ?;",
            ),
            Edit(
                "journal/sqlite/writes.py",
                "RowWriter._is_there",
                "if whose is None or whose[1] != claim.epoch or "
                "whose[0] not in (0, claim.owner):\n",
                "if whose is None:\n",
            ),
        ),
    ),
    Mutant(
        "does not see that a row was refused",
        f"{CRASH}::test_one_saga_that_was_taken_over_does_not_touch_its_batch",
        (
            Edit(
                "journal/sqlite/writes.py",
                "RowWriter._append_all",
                "        if connection.executemany(_APPEND, rows).rowcount != len(rows):\n"
                "            return False\n",
                "        connection.executemany(_APPEND, rows)\n",
            ),
        ),
    ),
    Mutant(
        "claims without a new epoch",
        f"{CRASH}::test_a_process_that_was_forced_out_writes_and_undoes_nothing",
        (
            Edit(
                "journal/sqlite/queries.sql",
                "",
                "SET owner = ?, epoch = epoch + 1,",
                "SET owner = ?, epoch = epoch + 0,",
            ),
            Edit(
                "journal/sqlite/writes.py",
                "RowWriter._taken",
                "claim.epoch = seen.number, self.owner, seen.epoch + 1",
                "claim.epoch = seen.number, self.owner, seen.epoch",
            ),
        ),
    ),
    Mutant(
        "takes every other process for dead",
        f"{CRASH}::test_a_process_that_is_paused_keeps_its_saga",
        (
            Edit(
                "journal/sqlite/owners.py",
                "Owners.alive",
                "            if not self._locked(owner, exclusive=False):\n"
                "                return True\n",
                "            if not self._locked(owner, exclusive=False):\n"
                "                return False\n",
            ),
        ),
    ),
    Mutant(
        "takes every other process for alive",
        f"{CRASH}::test_nothing_is_lost_wherever_a_process_is_killed",
        (
            Edit(
                "journal/sqlite/owners.py",
                "Owners.alive",
                "            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, owner)\n"
                "            return False\n",
                "            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, owner)\n"
                "            return True\n",
            ),
        ),
    ),
    Mutant(
        "probes its own lock",
        f"{CRASH}::test_a_process_that_looks_for_itself_stays_alive",
        (
            Edit(
                "journal/sqlite/owners.py",
                "Owners.alive",
                "        if owner in self._mine:\n            return True\n",
                "",
            ),
        ),
    ),
    Mutant(
        "makes keys of what only this process knows",
        f"{CRASH}::test_nothing_is_lost_wherever_a_process_is_killed",
        (
            Edit(
                "durable/run.py",
                "DurableRun._unique_id",
                "        return self.saga_id\n",
                "        return super()._unique_id\n",
            ),
        ),
    ),
    Mutant(
        "forgets that a crash left doubt",
        f"{CRASH}::test_doubt_outlives_a_refusal_after_the_crash",
        (
            Edit(
                "execution.py",
                "Execution._take_recovered",
                "            if kind_of(intent) == ACTION:\n"
                "                trouble.doubted |= {i}\n"
                "                self._move(i, _IN_DOUBT)\n",
                "            if kind_of(intent) == ACTION:\n"
                "                self._move(i, _IN_DOUBT)\n",
            ),
        ),
    ),
    Mutant(
        "undoes what has landed late under the key of the first undo",
        f"{CRASH}::test_what_lands_late_is_undone_under_another_key",
        (
            Edit(
                "execution.py",
                "Execution._undone",
                "            self._next_generation(i, COMPENSATION)\n",
                "",
            ),
        ),
    ),
    Mutant(
        "goes on though the journal could not be written",
        f"{CRASH}::test_a_commit_that_fails_once_is_followed_by_nothing",
        (
            Edit(
                "durable/run.py",
                "DurableRun.prepare_write",
                "            except SagaError as error:\n                self.lose(error)\n",
                "            except SagaError:\n                pass\n",
            ),
        ),
    ),
    Mutant(
        "goes on with a saga before what it has told is written",
        f"{CRASH}::test_nothing_is_lost_wherever_a_process_is_killed",
        (
            Edit(
                "durable/crew.py",
                "Crew._go_on",
                "                    self._unwritten.append(job)\n",
                "                    self._ready.append(job)\n",
            ),
        ),
    ),
    Mutant(
        "keeps what an exception has left",
        f"{CRASH}::test_a_saga_that_its_process_has_left_is_an_orphan_at_once",
        (
            Edit(
                "durable/run.py",
                "DurableRun._leave",
                "        if claim is not None and not claim.over:\n",
                "        if False:\n",
            ),
        ),
    ),
    Mutant(
        "recovers forward though a rollback had begun",
        f"{CRASH}::test_a_rollback_is_finished_wherever_it_is_killed",
        (
            Edit(
                "durable/knowing.py",
                "_resume",
                "            recorded.entries,\n",
                "            [e for e in recorded.entries if e[0] not in ('failed', 'in doubt') "
                "and e[2] != 'compensation'],\n",
            ),
        ),
    ),
    Mutant(
        "recovers with nothing around the calls",
        "durable/test_around_on_record.py::test_whoever_goes_on_brings_what_is_around",
        (
            Edit(
                "durable/recovery.py",
                "",
                "                surround(run, self._around)\n",
                "                pass\n",
            ),
        ),
    ),
    Mutant(
        "runs a completed saga again",
        f"{CRASH}::test_a_saga_that_has_ended_is_not_run_again",
        (
            Edit(
                "durable/beginning.py",
                "_known_results",
                "    there = _knowing().known(run)\n",
                "    from py_api_saga.executors.run import Run\n"
                "    there = _knowing().known(run)\n"
                "    if isinstance(there, Results):\n"
                "        return drive(Run(run.definition, run.name, (), run.saga_id, None, print), "
                "None)\n",
            ),
        ),
    ),
    Mutant(
        "does not sync the journal",
        f"{CRASH}::test_an_intent_is_synced_before_its_call",
        (
            Edit(
                "journal/sqlite/connecting.py",
                "",
                '("power", "wal"): ("FULL", 2)',
                '("power", "wal"): ("OFF", 0)',
            ),
        ),
    ),
    Mutant(
        "syncs the journal only at checkpoints",
        f"{CRASH}::test_an_intent_is_synced_before_its_call",
        (
            Edit(
                "journal/sqlite/connecting.py",
                "",
                '("power", "wal"): ("FULL", 2)',
                '("power", "wal"): ("NORMAL", 1)',
            ),
        ),
    ),
    Mutant(
        "keeps its connection open over a fork",
        f"{CRASH}::test_forks_under_load_keep_to_their_own_sagas",
        (
            Edit(
                "journal/sqlite/file.py",
                "JournalFile.pause",
                "            if not is_interrupted:\n",
                "            if is_interrupted:\n",
            ),
        ),
    ),
    Mutant(
        "lets a child of a fork use the file of its parent",
        f"{CRASH}::test_forks_under_load_keep_to_their_own_sagas",
        (
            Edit(
                "journal/sqlite/file.py",
                "JournalFile.is_usable",
                "        return not self.lost and self.process == os.getpid()\n",
                "        return not self.lost\n",
            ),
        ),
    ),
    Mutant(
        "lets a child have a lock that a thread of its parent holds",
        f"{CRASH}::test_a_fork_waits_for_who_is_inside_a_lock",
        (
            Edit(
                "definition.py",
                "",
                'if hasattr(os, "register_at_fork"):  # pragma: no branch - there is no fork on '
                "Windows\n",
                "if False:\n",
            ),
            Edit(
                "process.py",
                "OwnLock.own",
                "        process = os.getpid()\n",
                "        process = 0\n",
            ),
        ),
    ),
    Mutant(
        "does not count the tries of recovery",
        f"{CRASH}::test_a_poisonous_saga_is_parked_and_the_others_finish",
        (
            Edit(
                "durable/recovery.py",
                "Recovery._batch",
                "Take(seen, counted=True,",
                "Take(seen, counted=False,",
            ),
        ),
    ),
    Mutant(
        "never begins the WAL anew",
        f"{CRASH}::test_readers_that_overlap_for_ever_do_not_let_the_wal_grow",
        (
            Edit(
                "journal/sqlite/file.py",
                "JournalFile._restart_wal",
                "self._wal_size() < self.big_wal:\n",
                "self.count:\n",
            ),
        ),
    ),
)
