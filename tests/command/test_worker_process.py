"""A worker as a process of its own, with signals, and in real projects."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import errands
import pytest
from commands import Process, Say, errand, happened
from recorded import status
from world import output_of

from py_api_saga import SagaAssembler, SagaStatus, takeover
from py_api_saga.journal import SQLiteJournal


def test_a_worker_process_ends_after_what_it_has_begun(
    start: Callable[..., Process], journal: SQLiteJournal, tmp_path: Path
) -> None:
    """SIGTERM during a slow saga: that one ends, the other is not begun, and the status is 0."""
    errand(tmp_path, "one", "two").start(journal=journal, saga_id="x")
    errand(tmp_path, "three", "four").start(journal=journal, saga_id="y")
    journal.close()

    at_work = start("worker", "--modules", "errands", "--workers", "1", "--interval", "0.05")
    at_work.until("two")
    at_work.process.send_signal(signal.SIGTERM)
    at_work.until_said("told to end")
    assert at_work.process.poll() is None
    (tmp_path / "go").touch()
    ended, said = at_work.end()

    assert ended == 0
    assert "x: COMPLETED" in said
    assert "told to end; 1 thread still at work, for 20 s at most" in said
    assert (status(journal, "x"), status(journal, "y")) == (
        SagaStatus.COMPLETED,
        SagaStatus.RUNNING,
    )
    assert not (tmp_path / "three").exists()


def test_a_signal_just_before_the_worker_waits_ends_that_wait(journal: SQLiteJournal) -> None:
    """CPython runs its handler after the wait only, so the signal itself has to end that."""
    journal.close()
    code = """
    import ctypes, operator, selectors, signal, sys
    from functools import partial
    from py_api_saga import cli

    libc = ctypes.CDLL(None)
    libc.raise_ = libc["raise"]
    selector = selectors.DefaultSelector._selector_cls

    class Struck:
        def __init__(self):
            self.real = selector()

        def __getattr__(self, name):
            return getattr(self.real, name)

        def poll(self, *arguments):  # between the two no line of Python runs, and so no handler
            both = [partial(libc.raise_, signal.SIGTERM), partial(self.real.poll, *arguments)]
            return list(map(operator.call, both))[1]

    selectors.DefaultSelector._selector_cls = Struck
    sys.exit(cli.main(["worker", "--modules", "json", "--interval", "60"]))
    """
    assert output_of(code)[-1].endswith("ended")


def test_a_worker_process_that_is_told_twice_leaves_a_saga_that_goes_on(
    start: Callable[..., Process], journal: SQLiteJournal, tmp_path: Path, say: Say
) -> None:
    """To the journal it is like a crash: what was called is in doubt, and is called again."""
    errand(tmp_path, "one", "two").start(journal=journal, saga_id="x")
    journal.close()

    at_work = start("worker", "--modules", "errands", "--interval", "0.05")
    at_work.until("two")
    at_work.process.send_signal(signal.SIGTERM)
    at_work.until_said("told to end")
    at_work.process.send_signal(signal.SIGTERM)
    assert at_work.end()[0] == 128 + signal.SIGTERM

    assert json.loads(say("doctor", "--json")[1])["left_by_dead"] == 1
    assert say("doctor")[0] == 0
    (tmp_path / "go").touch()
    assert say("takeover", "x", "--modules", "errands") == (0, "x: COMPLETED\n")
    assert ("two", "is called, attempt 2") not in happened(say("show", "x")[1])
    assert ("linger", "is called, attempt 2") in happened(say("show", "x")[1])


FLASK = """
from flask import Flask, current_app

from py_api_saga import current_operation

application = Flask("shop")
CONTEXT = False

def note(line):
    with open("ledger", "a", encoding="utf-8") as ledger:
        print(line, current_operation().attempt, file=ledger)

def charge():
    if CONTEXT:
        with application.app_context():
            return note(f"charge in {current_app.name}")
    return note(f"charge in {current_app.name}")

def refund():
    note("refund")

def book():
    note("book")

def use_contexts():
    global CONTEXT
    CONTEXT = True
"""
DJANGO = """
from py_api_saga import current_operation

def note(line):
    with open("ledger", "a", encoding="utf-8") as ledger:
        print(line, current_operation().attempt, file=ledger)

def charge():
    from django.contrib.auth.models import User
    note(f"charge of {User.objects.model.__name__}")

def refund():
    note("refund")

def book():
    note("book")
"""
SETTINGS = "INSTALLED_APPS = ['django.contrib.contenttypes', 'django.contrib.auth']\n"


@pytest.mark.parametrize(
    ("code", "setup", "lacks", "did"),
    [
        (FLASK, "operations:use_contexts", "Working outside of application", "charge in shop"),
        (DJANGO, "django:setup", "AppRegistryNotReady", "charge of User"),
    ],
    ids=["Flask", "Django"],
)
def test_a_worker_of_a_real_project_neither_charges_nor_refunds_without_it(
    code: str, setup: str, lacks: str, did: str, start: Callable[..., Process], tmp_path: Path
) -> None:
    """Left by a killed process in the middle of a charge; done, once the process is set up."""
    (tmp_path / "operations.py").write_text(code, encoding="utf-8")
    (tmp_path / "settings.py").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    died = start(script=tmp_path / "shop.py")
    assert died.end()[0] == -signal.SIGKILL
    journal = SQLiteJournal(tmp_path / "sagas.db")
    with closing(journal):
        before = journal.select()
        assert len(before) == 3
        work = ("worker", "--journal", "sagas.db", "--modules", "operations", "--interval", "0.05")

        ended, said = start(*work).end()

        assert (ended, lacks in said) == (1, True)
        assert "--setup" in said.splitlines()[-1]
        assert not (tmp_path / "ledger").exists()
        assert [one._replace(epoch=0, owner=0) for one in journal.select()] == [
            one._replace(epoch=0, owner=0) for one in before
        ]

        able = start(*work, "--setup", setup)
        for number in range(3):
            able.until_said(f"x{number}: COMPLETED")
        able.process.send_signal(signal.SIGTERM)
        assert able.end()[0] == 0
    lines = (tmp_path / "ledger").read_text(encoding="utf-8").splitlines()
    assert sorted({line.rpartition(" ")[0] for line in lines}) == ["book", did]
    assert len(lines) == 6


SHOP = """
import os, signal

if "User" in open("operations.py").read():
    import django
    django.setup()
import operations
from py_api_saga import SagaAssembler
from py_api_saga.journal import SQLiteJournal

journal = SQLiteJournal("sagas.db", modules=["operations"])

def die(event):
    if event.kind == "operation started":
        os.kill(os.getpid(), signal.SIGKILL)

for number in range(3):
    saga = SagaAssembler.saga(name="shop", observers=[die] if number == 2 else [])
    saga.operation(operations.charge, operations.refund).operation(operations.book)
    if number < 2:
        saga.start(journal=journal, saga_id=f"x{number}")
    else:
        saga.orchestrator_execute(journal=journal, saga_id=f"x{number}")
"""


def test_a_worker_leaves_what_hangs_after_its_grace(
    start: Callable[..., Process], journal: SQLiteJournal, tmp_path: Path
) -> None:
    """As a crash would: what was called is in doubt, and its owner is dead."""
    errand(tmp_path, "one", "two").start(journal=journal, saga_id="x")
    slow = SagaAssembler.saga().operation((errands.alinger, str(tmp_path), "three"))
    slow.start(journal=journal, saga_id="y")
    journal.close()

    at_work = start("worker", "--modules", "errands", "--interval", "0.05", "--grace", "0.3")
    at_work.until("two")
    at_work.until("three")
    at_work.process.send_signal(signal.SIGINT)
    ended, said = at_work.end()

    assert ended == 1
    assert "at work: 8 sagas at once, every 0.05 s; it ends within 0.3 s of a signal" in said
    assert "told to end; 2 threads still at work, for 0.3 s at most" in said
    assert said.splitlines()[-1].endswith(
        "Z not over after 0.3 s: left as by a crash, for the next recovery"
    )
    (tmp_path / "go").touch()
    assert [takeover(journal, saga_id).outcome.name for saga_id in "xy"] == ["COMPLETED"] * 2
