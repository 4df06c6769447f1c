"""Processes that are killed, paused, forked or starved, and what must hold all the same.

A short run of `python -m tests.crash`; `__init__.py` says how it works.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from world import output_of

from crash import checks, harness, sweeps
from crash.harness import Yard, open_yard
from crash.services import TROUBLES

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


@pytest.fixture(scope="module")
def the_yard() -> Iterator[Yard]:
    """Services and a nursery, for all tests here."""
    with open_yard() as yard:
        yield yard


@pytest.fixture
def yard(the_yard: Yard) -> Iterator[Yard]:
    """The same, where nothing was wrong before."""
    the_yard.wrong.clear()
    yield the_yard
    assert not the_yard.wrong, the_yard.wrong[:10]


def told(place: Path, word: str) -> list[list[str]]:
    """Give what was told with a word."""
    lines = [rest for first, *rest in checks.told(place) if first == word]
    return [[rest[0], " ".join(rest[1:])] for rest in lines] if word == "told" else lines


def summary(place: Path, saga_id: str) -> dict[str, Any]:
    """Give the summary of a saga as it is in the file."""
    with closing(sqlite3.connect(place / "sagas.db")) as journal:
        journal.row_factory = sqlite3.Row
        (row,) = journal.execute("SELECT * FROM saga WHERE saga_id = ?", (saga_id,)).fetchall()
        return dict(row)


# --- killed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "step", "begin"),
    [
        ("chain", 1, 1),
        ("chain undone", 3, 1),
        ("graph", 2, 2),
        ("graph undone", 4, 3),
        ("backward", 4, 3),
        ("pivot", 3, 2),
        ("asyncio", 4, 1),
        ("asyncio graph", 3, 2),
        ("asyncio undone", 4, 2),
        ("awaited graph", 6, 1),
        ("awaited undo", 9, 3),
    ],
)
def test_nothing_is_lost_wherever_a_process_is_killed(
    yard: Yard, mode: str, step: int, begin: int
) -> None:
    """At each commit and each step of a call, and its recovery at one more: all or nothing."""
    assert sweeps.every_point(yard, mode, step=step, begin=begin) > 20


@pytest.mark.parametrize("mode", ["chain", "graph"])
def test_a_rollback_is_finished_wherever_it_is_killed(yard: Yard, mode: str) -> None:
    """Though the service that failed would work again: what has begun to be undone is undone."""
    sweeps.every_rollback(yard, mode, step=4)


@pytest.mark.parametrize("mode", ["chain", "graph undone"])
def test_a_recovery_may_be_killed_anywhere_as_often_as_it_likes(yard: Yard, mode: str) -> None:
    """Each of its points, twice over, and the next one goes on."""
    at = sweeps.undisturbed(yard, mode).index("answer there") + 6
    for point in range(1, 25, 3):
        sweeps.strike(yard, mode, at, [point, 25 - point], twice=False)


def test_a_process_that_dies_in_the_middle_of_a_write_leaves_a_whole_journal(yard: Yard) -> None:
    """A torn write is as if it had not begun."""
    sweeps.torn_writes(yard, "chain undone", range(700, 90_000, 9_000))


def test_processes_may_be_killed_at_any_moment(yard: Yard) -> None:
    """Several of them on one journal, each with threads that run and recover sagas."""
    sweeps.any_moment(yard, sweeps.chance_of(7), seconds=1.5, workers=2)


def test_callers_who_meet_on_a_saga_are_told_the_same(yard: Yard) -> None:
    """Killed and paused, they get the answers that ledgers and journal bear out, and each once."""
    assert sweeps.many_callers(yard, sweeps.chance_of(5), seconds=1.5, callers=4, orders=12)
    assert not yard.wrong


@pytest.mark.parametrize("mode", ["chain", "asyncio undone"])
def test_two_recoverers_share_the_work(yard: Yard, mode: str) -> None:
    """Released at the same instant, they finish each saga once."""
    sweeps.two_recoverers(yard, sweeps.chance_of(3), mode, sagas=6)


def test_doubt_outlives_a_refusal_after_the_crash(yard: Yard) -> None:
    """A call that took effect, and is refused when it is made again, is undone all the same."""
    place = yard.place()
    yard.do("run", place, ends="-9", sagas=[("doubt", "unclear", {})])
    yard.do("recover", place)

    assert yard.holds(place)["doubt"] == "compensated"
    assert yard.books.seen["doubt"]["courier"] == checks.Seen(1, 1)


def test_what_lands_late_is_undone_under_another_key(yard: Yard) -> None:
    """The undo that came before it was answered, and its key would do nothing more."""
    place = yard.place()
    yard.do("late", place)

    keys = [rest[-1] for word in ("note", "unnote") for rest in told(place, word)]
    assert keys == ["late:a:action", "late:a:compensation", "late:a:compensation:2"]
    assert yard.holds(place) == {"late": "compensated"}


def test_a_saga_that_has_ended_is_not_run_again(yard: Yard) -> None:
    """Whoever gives its id gets what became of it, and no service is asked."""
    place = yard.place()
    sagas: list[Any] = [("ended", "chain", {}), ("undone", "chain undone", {})]
    for _ in range(3):
        yard.do("run", place, sagas=sagas)
        yard.do("recover", place)

    assert told(place, "told") == [["ended", "completed"], ["undone", "compensated"]] * 3
    assert yard.holds(place) == {"ended": "completed", "undone": "compensated"}
    assert len(yard.books.asked["ended"]) == 3


# --- paused --------------------------------------------------------------------------------------


def test_a_process_that_is_paused_keeps_its_saga(yard: Yard) -> None:
    """A recovery leaves it alone, and it finishes when it wakes up."""
    place = yard.place()
    at = sweeps.undisturbed(yard, "chain").index("answer there") + 1
    paused = yard.start("run", place, sagas=[("paused", "chain", {})], at=at, how="stop")
    assert paused.wait() == "stopped"
    yard.do("recover", place)
    yard.do("run", place, sagas=[("paused", "chain", {})])
    assert not told(place, "recovered")
    assert told(place, "told") == [["paused", "in progress"]]
    paused.send(signal.SIGCONT)

    assert paused.wait() == "0"
    assert summary(place, "paused")["epoch"] == 1
    assert yard.holds(place)["paused"] == "completed"


@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
def test_others_wait_for_whoever_is_paused_inside_the_gate(yard: Yard, end: signal.Signals) -> None:
    """And go on when it does, or when it is dead; nothing is lost."""
    place, first, second = yard.place(), f"first-{end}", f"second-{end}"
    at = sweeps.undisturbed(yard, "chain").index("answer there") + 3
    run: dict[str, Any] = {"sagas": [(first, "chain", {})]}
    holder = yard.start("run", place, at=at, how="stop", **run)
    assert holder.wait() == "stopped"
    assert told(place, "struck") == [["before", "a", "commit"]]
    waiting = yard.start("run", place, sagas=[(second, "chain", {})])
    assert waiting.wait(0.3) == "late"
    holder.send(end)

    assert holder.wait() == ("0" if end == signal.SIGCONT else "-9")
    assert waiting.wait() == "0"
    yard.do("recover", place)
    assert yard.holds(place) == {first: "completed", second: "completed"}


@pytest.mark.parametrize("mode", ["chain", "graph", "asyncio", "chain undone"])
def test_a_process_that_was_forced_out_writes_and_undoes_nothing(yard: Yard, mode: str) -> None:
    """It wakes up in the middle of its calls, and hears that the saga was taken over."""
    place, order = yard.place(), f"forced-{mode.replace(' ', '-')}"
    # All that it has begun are in their calls, so that it does not stop in a commit, at its gate.
    at = ("answer there", 2 if mode == "graph" else 1)
    hanging = yard.start("run", place, at=at, how="stop", sagas=[(order, mode, {})])
    assert hanging.wait() == "stopped"
    (place / f"calling-{order}").unlink()  # two may call here: what is forced may be awake
    yard.do("takeover", place, saga_id=order)
    rows = summary(place, order)
    yard.books.read()
    asked = len(yard.books.asked[order])
    hanging.send(signal.SIGCONT)

    assert hanging.wait() == "0"
    assert told(place, "told") == [[order, "in progress"]]
    assert summary(place, order) == rows
    assert rows["epoch"] == 2
    yard.books.read()
    late = [path for _, path, *_ in yard.books.asked[order][asked:]]
    assert not {*late} - {"reserve", "charge"}  # of which the intents were written before
    assert yard.holds(place)[order] == ("compensated" if "undone" in mode else "completed")


def test_a_process_that_looks_for_itself_stays_alive(yard: Yard) -> None:
    """To recover in the process that runs a saga does not give it up to others."""
    place = yard.place()
    running = yard.start("oneself", place)
    running.hear("looked")
    yard.do("recover", place)
    (place / "go").touch()

    assert running.wait() == "0"
    assert not told(place, "recovered")
    assert yard.holds(place) == {"mine": "completed"}


# --- forked and interrupted ----------------------------------------------------------------------


def test_forks_under_load_keep_to_their_own_sagas(yard: Yard) -> None:
    """Sixty forks and a pool of processes, while threads commit: nobody hangs, nothing is lost."""
    place = yard.place()
    yard.do("fork", place, forks=60)

    told_so = {saga for saga, outcome in told(place, "told") if outcome == "completed"}
    assert len(told_so) == len(told(place, "told")) > 66
    assert summary(place, "parent")["epoch"] == 1
    assert set(yard.holds(place)) == told_so


@pytest.mark.parametrize("where", ["definition", "run"])
def test_a_fork_waits_for_who_is_inside_a_lock(where: str) -> None:
    """Else the child would have it locked for ever, by a thread that it has not."""
    code = f"""
    import os, signal, threading, time, warnings
    from py_api_saga import definition
    from py_api_saga.executors import run

    warnings.simplefilter("ignore")  # Python's own, of threads and forks
    inside, lock = threading.Barrier(2), {where}._naming

    def hold():
        with lock:
            inside.wait()
            time.sleep(0.3)

    threading.Thread(target=hold).start()
    inside.wait()
    child = os.fork()
    if not child:
        signal.alarm(5)
        lock.acquire()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert output_of(code) == ["0"]


def test_an_interrupted_leader_leaves_no_follower_behind(yard: Yard) -> None:
    """Ctrl-C and Ctrl-C again during a group commit: the others go on, and nothing is lost."""
    place = yard.place()
    yard.do("interrupted", place, times=60, seed=5)
    yard.do("recover", place)

    _, interrupted, _ = map(int, told(place, "interrupted")[0])
    assert interrupted == 60
    yard.holds(place)


def test_a_saga_that_its_process_has_left_is_an_orphan_at_once(yard: Yard) -> None:
    """Though the process lives on: it may go on with it itself."""
    place = yard.place()
    yard.do("fails", place, commit=6, recovers=True)

    ((order, outcome),) = told(place, "told")
    assert outcome.startswith("journal")
    assert [rest[:2] for rest in told(place, "recovered")] == [[order, "compensated"]]
    yard.holds(place)


def test_one_saga_that_was_taken_over_does_not_touch_its_batch(yard: Yard) -> None:
    """Of 64 that commit at once, 63 complete, and one is told."""
    place = yard.place()
    running = yard.start("batch", place, sagas=64)
    running.hear("waits", "b-63")
    yard.do("steal", place, saga_id="b-17")
    (place / "go").touch()

    assert running.wait() == "0"
    outcomes = {rest[0]: rest[1] for rest in told(place, "told")}
    assert [saga for saga, outcome in outcomes.items() if outcome != "completed"] == ["b-17"]
    assert len(outcomes) == 64
    yard.do("recover", place)
    assert set(yard.holds(place).values()) == {"completed"}


# --- many ----------------------------------------------------------------------------------------


def test_readers_that_overlap_for_ever_do_not_let_the_wal_grow(yard: Yard) -> None:
    """The leader begins it anew above its limit, here of 512 KiB."""
    place = yard.place()
    yard.do("read", place, sagas=120, big=1 << 19)

    ((highest, reads),) = told(place, "wal")
    assert int(reads) > 20
    assert 1 << 19 < int(highest) < 6 << 20  # 9 MiB if it never does; readers may delay it
    yard.holds(place)


def test_eight_processes_share_a_journal(yard: Yard) -> None:
    """Each runs a hundred sagas."""
    place = yard.place()
    processes = [
        yard.start("note", place, prefix=str(k), sagas=100, threads=2, operations=1)
        for k in range(8)
    ]

    assert [process.wait() for process in processes] == ["0"] * 8
    notes = told(place, "note")
    assert len(notes) == len({tuple(note) for note in notes}) == 800
    assert list(yard.holds(place).values()) == ["completed"] * 800


@pytest.mark.parametrize("graph", [False, True])
def test_ten_thousand_operations_survive_a_kill(yard: Yard, graph: bool) -> None:  # noqa: FBT001
    """What was done is not done again, but for the calls that were in flight."""
    place = yard.place()
    number = 10_000 if graph else 4_000
    yard.do("count", place, ends="-9", operations=number, stop=number - 500, graph=graph)
    yard.do("count", place, operations=number, stop=number - 500, graph=graph)

    counted, _, last, distinct = map(int, told(place, "counted")[0])
    assert counted == distinct <= 500 + 300
    assert last == number - 1
    assert yard.holds(place) == {"big": "completed"}


def test_a_poisonous_saga_is_parked_and_the_others_finish(yard: Yard) -> None:
    """It kills whoever recovers it, until it has been tried ten times."""
    place = yard.place()
    yard.do("poisoned", place, sagas=40, which=7)
    for _ in range(30):
        process = yard.start("recover", place, max_tries=10)
        if process.wait() == "0":
            break

    assert len(told(place, "poison")) == 10
    status = yard.holds(place, stuck=["p-7"])
    assert status.pop("p-7") == "stuck"
    assert set(status.values()) == {"completed"}
    assert len(status) == 39


# --- services that fail --------------------------------------------------------------------------


def test_services_may_fail_before_and_after_their_effect(yard: Yard) -> None:
    """With an answer or without one: retried under one key, or undone."""
    sweeps.failing_services(yard, ("graph", "asyncio", "again", "asyncio again"), TROUBLES)


# --- the disk ------------------------------------------------------------------------------------


def test_a_full_disk_stops_a_saga_and_loses_nothing(yard: Yard) -> None:
    """At whichever write: the caller is told, nothing further is called, recovery goes on."""
    heard = sweeps.full_disks(yard, "chain undone", range(4_096, 240_000, 20_000))

    assert {words.partition(":")[0] for words in heard} == {"compensated", "journal"}
    assert all("cannot be written: " in words for words in heard if words != "compensated")


def test_a_commit_that_fails_once_is_followed_by_nothing(yard: Yard) -> None:
    """No call after it, and no undo, though the disk works again: the saga stays for recovery."""
    for at in range(1, 10):
        place = yard.place()
        yard.do("fails", place, commit=at)
        order = told(place, "begun")[0][0]
        yard.books.read()
        asked = [path for _, path, *_ in yard.books.asked[order]]
        words = told(place, "told")[0][1]
        assert words.split(":")[0] == ("compensated" if at > 8 else "journal"), (at, asked)
        if at <= 8:
            assert len(asked) == max(0, at - 3), (at, asked)
        yard.do("recover", place)
        yard.check(place)


# --- the code has changed, or somebody else wrote the journal ------------------------------------


def killed(yard: Yard, order: str, point: str = "answer there") -> Path:
    """Leave a saga of which the first call is in flight."""
    place = yard.place()
    at = sweeps.undisturbed(yard, "chain").index(point) + 1
    yard.do("run", place, ends="-9", sagas=[(order, "chain", {})], at=at)
    return place


def test_a_renamed_function_is_parked_until_an_alias_says_its_new_name(yard: Yard) -> None:
    """With the alias it goes on; without one a person is told which name is missing."""
    alias = {"crash.shop:reserve": "crash.shop:make_reservation"}
    place = killed(yard, "renamed")
    yard.do("recover", place, change="renamed", aliases=alias)
    assert yard.holds(place)["renamed"] == "completed"

    place = killed(yard, "lost")
    yard.do("recover", place, change="renamed")
    assert "crash.shop:reserve" in " ".join(told(place, "recovered")[0])
    assert checks.check(place, yard.books, stuck=["lost"]).status["lost"] == "stuck"


def test_a_changed_signature_is_a_failed_call(yard: Yard) -> None:
    """It raises TypeError, and what was done before is undone."""
    place = killed(yard, "changed")
    yard.do("recover", place, change="signature")

    assert "TypeError" in " ".join(told(place, "cause")[0])
    assert yard.holds(place)["changed"] == "compensated"


def test_a_module_that_is_gone_parks_its_sagas_only(yard: Yard) -> None:
    """The others go on."""
    place = killed(yard, "gone")
    forge(place, "crash.shop:charge", "crash.gone:charge")
    yard.do("run", place, ends="-9", sagas=[("here", "chain", {})], at=14)
    yard.do("recover", place, modules=["crash.shop", "crash.gone"])

    status = checks.check(place, yard.books, stuck=["gone"]).status
    assert status == {"gone": "stuck", "here": "completed"}
    assert "crash.gone" in " ".join(next(r for r in told(place, "recovered") if r[0] == "gone"))


def forge(place: Path, old: str, new: str) -> None:
    """Put something else into the journal than was there."""
    with closing(sqlite3.connect(place / "sagas.db")) as journal, journal:
        found = journal.execute(
            "UPDATE entry SET body = replace(body, ?, ?) WHERE instr(body, ?)", (old, new, old)
        )
        assert found.rowcount == 1


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "builtins:exec",
        "crash.shop:os.system",
        "crash.shop:asyncio.create_subprocess_shell",
        "crash.shop:reserve.__globals__",
        "crash.shop:MODES",
        "crash.shop:Trouble.__subclasses__",
        "crash.trap:Trap",
        "crash.shop.trap:Trap",
        "/srv/trap.py:Trap",
        "../trap:Trap",
        "trap:Trap",
    ],
)
def test_a_name_in_a_journal_opens_no_door(yard: Yard, name: str) -> None:
    """Nothing that `modules=` does not offer is imported or called; the saga is parked."""
    order = "forged-" + re.sub(r"\W+", "-", name)
    place = killed(yard, order, "before connecting")
    forge(place, '"crash.shop:reserve"', f'"{name}"')
    yard.do("recover", place)

    assert checks.check(place, yard.books, stuck=[order]).status[order] == "stuck"
    assert not yard.books.asked[order]
    assert not (place / "trap").exists()


# --- synced --------------------------------------------------------------------------------------


def test_an_intent_is_synced_before_its_call(tmp_path: Path) -> None:
    """Seen from the kernel: the WAL is written, then synced, then somebody connects."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    code = "import sys; from crash import traced; traced.main(sys.argv[1])"
    ran = subprocess.run(
        [
            *(strace, "-f", "-y", "-e", "trace=fsync,fdatasync,pwrite64,connect", "-o", str(trace)),
            *(sys.executable, "-c", code, str(tmp_path)),
        ],
        env=harness.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    if "PTRACE" in ran.stderr or "ptrace" in ran.stderr:
        pytest.skip("processes may not be traced here")
    assert ran.returncode == 0, ran.stderr
    lines = trace.read_text().splitlines()
    calls = [n for n, line in enumerate(lines) if "connect(" in line and "sin_port" in line]
    assert len(calls) == 3
    before = 0
    for n in calls:
        kinds = [
            line.split("(")[0].split()[-1] for line in lines[before:n] if "sagas.db-wal>" in line
        ]
        assert "pwrite64" in kinds, lines[before:n]
        assert kinds[-1] in ("fsync", "fdatasync"), kinds
        before = n
