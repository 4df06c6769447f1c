"""The command on each engine as it is: what is typed reaches it, and what it says is said."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import depot
import pytest
from commands import Say, remedies
from recorded import order

pytest.importorskip("dbos")
pytest.importorskip("temporalio")

from py_api_saga.engines.dbos import DBOSEngine
from py_api_saga.engines.temporal import TemporalEngine

Options = Sequence[str]
NOBODY = "127.0.0.1:1"  # a port at which nobody answers


@pytest.fixture(params=["dbos", "temporal"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Options:
    """Give the options that name an empty engine; its URL is in the environment."""
    for name in ("SAGA_JOURNAL", "SAGA_CODEC", "TEMPORAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "dbos":
        monkeypatch.setenv("SAGA_ENGINE_URL", request.getfixturevalue("dbos_database"))
        return "--engine", "dbos"
    namespace = request.getfixturevalue("namespace")
    monkeypatch.setenv("SAGA_ENGINE_URL", namespace.address)
    return "--engine", "temporal", "--namespace", namespace.name


@pytest.fixture
def engine(where: Options) -> Iterator[Any]:
    """The same engine, without a worker."""
    url, modules = os.environ["SAGA_ENGINE_URL"], ["depot"]
    made: Any
    if where[1] == "dbos":
        made = DBOSEngine(url, modules=modules)
    else:
        made = TemporalEngine(url, modules=modules, namespace=where[3])
    with closing(made):
        yield made


def test_a_saga_that_no_worker_has_taken_can_be_looked_at_and_cancelled(
    say: Say, where: Options, engine: Any
) -> None:
    """It is there though nobody runs it, and hears of it once somebody does."""
    depot.reset()
    assert say("list", *where) == (0, "no sagas\n")
    order().start(engine=engine, saga_id="x")

    ended, said = say("list", *where)
    assert (ended, said.splitlines()[1].split()[:3]) == (0, ["x", "depot", "RUNNING"])
    assert "its engine drives it" in say("show", "x", *where)[1]
    begins = " ".join(["saga", *where])
    assert remedies(say, "why", "x", *where) == [f"{begins} cancel x"]
    ended, said = say("retry", "x", *where)
    assert (ended, "saga 'x' runs on its engine" in said) == (1, True)
    ended, said = say("cancel", "x", "--note", "too late", *where)
    assert (ended, "it is told to stop" in said) == (0, True)
    assert say("why", "y", *where)[0] == 1


def test_an_engine_that_is_there_is_fit(say: Say, where: Options) -> None:
    """Doctor says so, where it is, and with what."""
    ended, said = say("doctor", *where)

    assert ended == 0
    assert where[1] in said
    assert said.splitlines()[-1] == "it is there, and fit for sagas"


def test_an_alias_that_leads_out_of_the_modules_is_wrong_usage(say: Say, where: Options) -> None:
    """As with a journal."""
    ended, said = say("worker", *where, "--modules", "depot", "--alias", "old=other")

    assert (ended, "alias" in said) == (2, True)


def test_an_engine_that_is_not_there_is_said_in_a_line(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever wants it, a worker as well; a password is not repeated."""
    monkeypatch.delenv("SAGA_JOURNAL", raising=False)
    for kind, url in (("dbos", f"postgresql://ada:secret@{NOBODY}/shop"), ("temporal", NOBODY)):
        monkeypatch.setenv("SAGA_ENGINE_URL", url)
        for line in (["list"], ["cancel", "x"], ["worker", "--modules", "depot"]):
            ended, said = say(*line, "--engine", kind)
            assert (ended, NOBODY in said, "secret" in said) == (1, True, False)
            assert said.startswith("saga: ")
