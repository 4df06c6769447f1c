"""`saga purge`: what ended long ago is deleted."""

from __future__ import annotations

import depot
from commands import Say, alter, run
from depot import fail
from recorded import order, seen, stuck

from py_api_saga import SagaStatus
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Create


def test_what_ended_long_ago_is_purged(say: Say, journal: SQLiteJournal) -> None:
    """Its rows go, its id and its end stay; what is open or stuck is not touched."""
    order().start(journal=journal, saga_id="y")
    body = journal.rows([seen(journal, "y").number])[1][0].body
    journal.write(*(Create(f"x{n}", "depot", body, driven=False) for n in range(249)))
    alter(journal, "UPDATE saga SET status = 3")
    stuck(journal, "stuck")
    depot.behaviour["c"] = fail(ValueError())
    run(order(), journal, "undone")
    purge = ["purge", "--older-than"]

    assert say(*purge, "30d") == (0, "purged 0 sagas\n")
    assert say(*purge, "0s", "--dry-run") == (0, "would purge 251 sagas\n")
    assert say(*purge, "0s", "--status", "compensated") == (0, "purged 1 saga\n")
    assert say(*purge, "0s") == (0, "purged 250 sagas\n")
    assert say(*purge, "0s") == (0, "purged 0 sagas\n")

    found = seen(journal, "x7")
    assert (found.status, found.digest is None) == (SagaStatus.COMPLETED, False)
    assert journal.rows([found.number])[found.number] == []
    assert say("why", "stuck")[0] == 0
    assert "b  STUCK" in say("show", "stuck")[1]

    assert say(*purge, "0s", "--forget") == (0, "purged 251 sagas\n")
    assert journal.find("x7") is None


def test_what_cannot_be_purged_is_named(say: Say, journal: SQLiteJournal) -> None:
    """The others are purged all the same."""
    for saga_id in ("x", "y", "z"):
        run(order(), journal, saga_id)
    alter(journal, "UPDATE entry SET body = 'no' WHERE saga = 1 AND n = 1")
    alter(journal, "DELETE FROM entry WHERE saga = 3 AND n = 1")

    ended, said = say("purge", "--older-than", "0s")

    assert ended == 1
    assert "purged 1 saga\n" in said
    assert "x: left as it is: JournalError(" in said
    assert "saga 'z' cannot be read: row 1 of the saga is missing; only forget=True (--f" in said
    assert seen(journal, "x").digest is None
    assert say("purge", "--older-than", "0s", "--forget") == (0, "purged 3 sagas\n")


def test_what_is_sealed_is_purged_with_its_codec(say: Say, sealed: SQLiteJournal) -> None:
    """Its digest is of what is inside; who forgets it needs none."""
    run(order(), sealed)
    run(order(), sealed, "y")
    run(order(), SQLiteJournal(sealed.path, modules=["depot"]), "plain")
    purge = ["purge", "--older-than", "0s"]

    ended, said = say(*purge)
    assert (ended, said.count("left as it is: its values are sealed: give the codec")) == (1, 2)
    assert said.startswith("purged 1 saga\n")
    ended, said = say(*purge, "--codec", "commands:deaf")  # the other codec is what it needs
    assert (ended, "cannot open what is sealed" in said, "--forget" in said) == (1, True, False)
    assert say(*purge, "--codec", "commands:backwards") == (0, "purged 2 sagas\n")
    run(order(), sealed, "z")
    assert say(*purge, "--forget") == (0, "purged 4 sagas\n")
