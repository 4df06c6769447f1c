"""The command on an engine: what it does there, and what it refuses in a line."""

from __future__ import annotations

import json
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import depot
import letterbox
import pytest
from commands import Say, backwards, remedies, typed, written
from depot import do, fail, undo
from engine_here import EngineHere
from recorded import order
from world import PATIENCE, until

from py_api_saga import JournalError, SagaAssembler, SagaPending, SagaStatus, SagaStuck
from py_api_saga.cli.commands import COMMANDS

REFUSED = {one.name for one in COMMANDS if one.not_on_engine}
ENGINES = {"dbos": "DBOSEngine", "temporal": "TemporalEngine"}
NAMED = ("--engine", "dbos", "--url", "postgresql://ada@db/shop")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SAGA_JOURNAL", "SAGA_CODEC", "SAGA_ENGINE_URL", "TEMPORAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


@pytest.fixture
def engine() -> Iterator[EngineHere]:
    """One without a worker."""
    depot.reset()
    yield EngineHere(["depot"])
    depot.reset()


class Made:
    """Stands in the place of the engines' own modules: what they were made with, and the engine."""

    def __init__(self, engine: EngineHere) -> None:
        self.engine, self.calls = engine, list[tuple[str, str, dict[str, Any]]]()

    def module(self, kind: str) -> ModuleType:
        """Give a module whose engine is this one."""
        module = ModuleType(f"py_api_saga.engines.{kind}")

        def make(url: str, **options: Any) -> EngineHere:
            self.calls.append((kind, url, options))
            return self.engine

        setattr(module, ENGINES[kind], make)
        return module


@pytest.fixture
def made(engine: EngineHere, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Have `--engine` give the engine of this test."""
    made = Made(engine)
    for kind in ENGINES:
        monkeypatch.setitem(sys.modules, f"py_api_saga.engines.{kind}", made.module(kind))
    return made


def stuck(engine: EngineHere, saga_id: str = "x") -> None:
    """Leave an order whose second undo has failed."""
    depot.behaviour["c"] = fail(ValueError("no courier"))
    depot.behaviour["undo b"] = fail(OSError("no bank"))
    with engine.at_work(), pytest.raises(SagaStuck):
        order().orchestrator_execute(engine=engine, saga_id=saga_id)
    depot.behaviour.clear()


# --- which one, and with what ---------------------------------------------------------------------


def test_an_engine_is_made_late_of_what_is_typed(say: Say, made: Made) -> None:
    """Before or behind the command; what only reads lets nothing be named, and closes it."""
    assert say(*NAMED, "list") == (0, "no sagas\n")
    assert say("list", "--engine", "temporal", "--url", "db:7233")[0] == 0

    nothing: dict[str, Any] = {"modules": ("py_api_saga",), "aliases": {}, "codec": None}
    assert made.calls == [
        ("dbos", "postgresql://ada@db/shop", nothing),
        ("temporal", "db:7233", nothing),
    ]
    assert made.engine.closed == 2


def test_what_only_temporal_has_is_passed_on(
    say: Say, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is in the environment, so that nobody sees it among the processes; so is a URL."""
    monkeypatch.setenv("SAGA_ENGINE_URL", "cloud:7233")
    monkeypatch.setenv("TEMPORAL_API_KEY", "secret")

    where = ("--engine", "temporal", "--namespace", "shop", "--queue", "slow")
    assert say(*where, "--lost-after", "3", "--tls", "list")[0] == 0

    kind, url, options = made.calls[0]
    assert (kind, url) == ("temporal", "cloud:7233")
    assert {**options, "modules": None, "aliases": None, "codec": None} == {
        **dict.fromkeys(("modules", "aliases", "codec")),
        "namespace": "shop",
        "queue": "slow",
        "lost_after": 3.0,
        "tls": True,
        "api_key": "secret",
    }


def test_what_decides_can_name_what_the_modules_have(say: Say, made: Made) -> None:
    """A codec is passed on as well."""
    stuck(made.engine)

    said = say(
        *("resolve", "x", "b", "--compensated", "--note", "by hand", *NAMED),
        *("--modules", "depot", "--codec", "commands:backwards"),
    )

    assert said == (0, "x: COMPENSATED; it has ended\n")
    assert made.calls[0][2]["modules"] == ("depot",)
    assert made.calls[0][2]["codec"] is backwards


def test_an_engine_may_be_an_object_of_a_module(say: Say, tmp_path: Path) -> None:
    """With all that only it can say."""
    written(
        tmp_path / "engine_of_test.py",
        "from engine_here import EngineHere\nengine = EngineHere(['depot'])\n",
    )
    name = "engine_of_test:engine"
    stuck(import_module("engine_of_test").engine)

    assert say("list", "--journal", name)[0] == 4
    assert say("purge", "--older-than", "1d", "--journal", name)[0] == 2
    assert say("list", "--journal", name, "--tls")[0] == 2
    ended, said = say("worker", "--modules", "depot", "--journal", name, "--workers", "3")
    assert (ended, said) == (2, "saga: worker: --workers goes with a journal, not with an engine\n")
    del sys.modules["engine_of_test"]


def test_the_url_is_missing(say: Say) -> None:
    """Both ways to say it are in the message."""
    for kind, form in (("dbos", "postgresql://"), ("temporal", "HOST:PORT")):
        ended, said = say("list", "--engine", kind)
        assert ended == 2
        assert "--url" in said
        assert "SAGA_ENGINE_URL" in said
        assert form in said


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("list --url db:7233", "list: --url goes with --engine"),
        ("list --queue slow", "list: --queue goes with --engine"),
        ("list --namespace shop --journal a.db", "list: --namespace goes with --engine"),
        ("show x --tls", "show: --tls goes with --engine"),
        ("list --engine dbos --url db --journal a.db", "--engine and --journal: give one of them"),
        ("list --engine dbos --url db --tls", "--tls goes with --engine temporal, not with dbos"),
        ("retry x --lost-after 3", "retry: --lost-after goes with --engine"),
        ("why x --engine dbos --namespace a", "--namespace goes with --engine temporal, not with"),
        ("cancel x --engine dbos --url db --network", "--network goes with a journal, not with an"),
        ("doctor --engine dbos --new-owners", "--new-owners goes with a journal, not with an"),
        (
            "answer x a --result 1 --note so --go-on --modules depot --engine dbos --url db",
            "answer: --go-on goes with a journal, not with an engine",
        ),
        *(
            (f"worker --modules depot --engine dbos --url db {option}", f"{option[:6]}")
            for option in ("--workers 3", "--limit 3", "--interval 3", "--wait 0", "--network")
        ),
        *(
            (f"worker --modules depot --journal a.db {option}", "goes with an engine, not with a")
            for option in ("--concurrency 3", "--observer m:f", "--takeover", "--lease 3")
        ),
        (
            "worker --modules depot --engine temporal --url db:1 --takeover",
            "worker: --takeover goes with --engine dbos, not with temporal",
        ),
        (
            "worker --modules depot --engine dbos --url db --lease 3",
            "worker: --lease goes with --takeover",
        ),
        ("list --engine postgresql", "invalid choice: 'postgresql'"),
        ("worker --engine dbos --url db", "the following arguments are required: --modules"),
        ("worker --modules depot --engine dbos --url db --observer m", "expected MODULE:FUNCTION"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    line: str, says: str, say: Say, made: Made
) -> None:
    """One line says so, and nothing was opened."""
    ended, said = say(*shlex.split(line))

    assert ended == 2
    assert says in said
    assert [call for call in made.calls if "observer" not in line] == []


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_not_for_an_engine_says_what_to_use(name: str, say: Say, made: Made) -> None:
    """In a line; and the page says so as well."""
    ended, said = say(*typed(name), *NAMED)

    assert ended == 2
    assert said.startswith(f"saga: {name}: not on an engine: ")
    assert said.count("\n") == 1
    assert made.calls == []
    assert REFUSED.isdisjoint(re.findall(r"`saga (\S+)", said))


def test_an_extra_that_is_missing_is_said_as_the_library_says_it(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to install."""
    for kind in ENGINES:
        monkeypatch.delitem(sys.modules, f"py_api_saga.engines.{kind}", raising=False)
    for extra in ("dbos", "temporalio", "temporalio.client"):
        monkeypatch.setitem(sys.modules, extra, None)

    for kind in ENGINES:
        ended, said = say("list", "--engine", kind, "--url", "db:7233")
        assert ended == 1
        assert said.startswith(f"saga: --engine {kind}: ")
        assert f"pip install 'py-api-saga[{kind}]'" in said


def test_an_engine_that_is_not_fit_ends_the_command_before_anything_begins(
    say: Say, made: Made
) -> None:
    """Its own error names the cure."""
    made.engine.trouble = JournalError("DBOS has no tables there: dbos migrate")

    for line in (["list"], ["retry", "x"], ["doctor"], ["worker", "--modules", "depot"]):
        assert say(*line, *NAMED) == (1, "saga: DBOS has no tables there: dbos migrate\n")


# --- what is there --------------------------------------------------------------------------------


@pytest.mark.usefixtures("made")
def test_what_there_is_can_be_looked_at(say: Say, engine: EngineHere) -> None:
    """In a list, one by one, drawn, as a page."""
    with engine.at_work():
        order().orchestrator_execute(engine=engine, saga_id="done")
    stuck(engine, "bad")
    order().start(engine=engine, saga_id="new")

    ended, said = say("list", *NAMED)
    assert ended == 4
    assert [line.split()[::5] for line in said.splitlines() if line[0] != " "] == [
        ["ID", "DRIVEN"],
        ["new", "yes"],
        ["bad", "-"],
        ["done", "-"],
    ]
    assert "  b: its compensation raised OSError('no bank')" in said
    ended, said = say("list", *NAMED, "--status", "completed", "--newer-than", "1d")
    assert (ended, said.splitlines()[1].split()[0], "bad" in said) == (0, "done", False)
    ended, said = say("show", "done", *NAMED)
    assert (ended, "a  SUCCEEDED" in said) == (0, True)
    assert "flowchart" in say("graph", "bad", *NAMED)[1]
    ended, said = say("report", "--html", "-", *NAMED)
    assert (ended, "no bank" in said) == (4, True)
    ended, said = say("doctor", *NAMED)
    assert (ended, said.splitlines()[-1]) == (0, "it is there, and fit for sagas")
    assert json.loads(say("doctor", *NAMED, "--json")[1])["engine"] == "here"


@pytest.mark.usefixtures("made")
def test_a_saga_that_is_not_there_is_said(say: Say) -> None:
    """For what reads and what decides."""
    assert say("show", "x", *NAMED) == (
        1,
        "saga: there is no saga 'x' on an engine in this process\n",
    )
    for line in (["retry", "x"], ["cancel", "x"]):
        ended, said = say(*line, *NAMED)
        assert (ended, "there is no saga 'x'" in said) == (1, True)


@pytest.mark.usefixtures("made")
def test_one_that_cannot_be_read_keeps_no_other_from_being_listed(
    say: Say, engine: EngineHere
) -> None:
    """One of a newer release, say; why it can't is said of that one."""
    order().start(engine=engine, saga_id="x")
    (at, body), *_ = engine.flows["x"].rows
    engine.begin("newer", [(at, body.replace('"format":1', '"format":99', 1))])

    ended, said = say("list", *NAMED)
    assert (ended, [line.split()[:3] for line in said.splitlines()[1:]]) == (
        0,
        [["newer", "-", "RUNNING"], ["x", "depot", "RUNNING"]],
    )
    ended, said = say("why", "newer", *NAMED)
    assert (ended, "it cannot be read: " in said) == (1, True)
    ended, said = say("retry", "newer", *NAMED)
    assert (ended, "runs on its engine" in said) == (1, True)


@pytest.mark.usefixtures("made")
def test_remedies_name_the_engine_and_no_password(say: Say, engine: EngineHere) -> None:
    """What was typed, if it can be typed again; what the environment says is left out."""
    stuck(engine)

    begins = "saga --engine dbos --url postgresql://ada@db/shop"
    lines = remedies(say, "why", "x", *NAMED)
    assert lines[0] == f"{begins} retry x"
    assert all(line.startswith(f"{begins} ") for line in lines)
    assert not any("takeover" in line for line in lines)
    for url in ("postgresql://ada:secret@db/shop", "postgresql://db/shop?password=secret"):
        ended, said = say("why", "x", "--engine", "dbos", "--url", url)
        assert (ended, "secret" in said) == (0, False)
        assert "saga --engine dbos retry x" in said
    where = ("--engine", "temporal", "--url", "db:7233", "--namespace", "my shop", "--tls")
    assert "saga --engine temporal --url db:7233 --namespace 'my shop' --tls retry x" in "\n".join(
        remedies(say, "why", "x", *where)
    )


@pytest.mark.usefixtures("made")
def test_why_says_what_no_worker_has(say: Say, engine: EngineHere) -> None:
    """And of which call."""
    order().start(engine=engine, saga_id="x")
    said = say("why", "x", *NAMED)[1]
    assert "its engine drives it\n" in said
    assert "Its engine is at it; there is nothing to do, unless no worker runs." in said
    other = EngineHere(["errands"])
    other.flows = engine.flows

    with other.at_work():
        other.wait_for(lambda: bool(other.flows["x"].lacks))
        ended, said = say("why", "x", *NAMED)

    assert ended == 0
    assert "it waits for depot:do, which no worker has\n" in said
    assert "It waits for depot:do, which no worker has that has looked at it." in said
    assert re.search(r"a +RUNNING +waits for a worker that has depot:do\n", said)


@pytest.mark.usefixtures("made")
def test_a_call_that_was_given_up_and_still_runs_keeps_others_from_deciding(
    say: Say, engine: EngineHere
) -> None:
    """Why says since when; once it has ended, there are remedies again."""
    may_go = threading.Event()

    def late() -> None:
        may_go.wait(PATIENCE)
        raise OSError("the bank is late")

    depot.behaviour["b"] = late
    depot.behaviour["undo a"] = fail(ValueError("no"))
    saga = (
        SagaAssembler.saga(name="depot")
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b"), (undo, "b"), name="b", timeout=0.05)
    )
    with engine.at_work():
        with pytest.raises(SagaStuck):
            saga.orchestrator_execute(engine=engine, saga_id="x")
        still = r"b is still running since 20\d\d-\S+ \S+, though it was given up"
        ended, said = say("why", "x", *NAMED)
        assert (ended, bool(re.search(still, said))) == (0, True)
        assert "What can be done" not in said
        for line in (["retry", "x"], ["compensate", "x"], ["resolve", "x", "a", "--skipped"]):
            note = ["--note", "so"]
            ended, said = say(*line, *note, *NAMED)
            assert (ended, bool(re.search(still, said))) == (1, True)
        may_go.set()
        engine.wait_for(lambda: not engine.flows["x"].is_open)
        assert "What can be done" in say("why", "x", *NAMED)[1]


# --- what is decided ------------------------------------------------------------------------------


@pytest.mark.usefixtures("made")
def test_retry_begins_it_anew(say: Say, engine: EngineHere) -> None:
    """And the workers go on."""
    stuck(engine)

    assert say("retry", "x", "--note", "now", *NAMED) == (
        0,
        "x: COMPENSATING; the engine's workers undo what is left of it\n",
    )
    with engine.at_work():
        engine.wait_for(lambda: not engine.flows["x~2"].is_open)
    assert depot.log[-1] == "undo b"
    assert "COMPENSATED" in say("list", *NAMED)[1]
    ended, said = say("show", "x", *NAMED)
    assert (ended, "now" in said) == (0, True)


@pytest.mark.usefixtures("made")
def test_many_are_decided_about_at_once(say: Say, engine: EngineHere) -> None:
    """As they were listed; those that run can be cancelled."""
    stuck(engine, "x")
    stuck(engine, "y")

    ended, said = say("retry", "--all", "--error", "OSError", "--yes", *NAMED)
    assert (ended, said.splitlines()[-1]) == (0, "retry: 2 done, 0 skipped")
    assert [*engine.flows] == ["x", "y", "x~2", "y~2"]
    ended, said = say("cancel", "--all", "--yes", *NAMED)
    assert said.splitlines()[-1] == "cancel: 2 done, 0 skipped"


@pytest.mark.usefixtures("made")
def test_compensate_and_cancel(say: Say, engine: EngineHere) -> None:
    """A saga that runs is cancelled; one that is stuck going forward is given up."""
    may_go = threading.Event()
    depot.behaviour["a"] = lambda: may_go.wait(PATIENCE)
    order().start(engine=engine, saga_id="x")
    with engine.at_work():
        until(lambda: depot.log == ["a"])
        ended, said = say("compensate", "x", *NAMED)
        assert (ended, "`saga cancel x`" in said) == (1, True)
        ended, said = say("cancel", "x", "--note", "too late", *NAMED)
        assert ended == 0
        assert said.startswith("x: RUNNING; it is told to stop: what it has done is undone, unless")
        may_go.set()
        engine.wait_for(lambda: not engine.flows["x"].is_open)
    assert depot.log == ["a", "undo a"]
    ended, said = say("cancel", "x", *NAMED)
    assert (ended, "compensated" in said) == (1, True)


@pytest.mark.usefixtures("made")
def test_an_answer_is_given_and_the_workers_go_on(say: Say, engine: EngineHere) -> None:
    """Also to a saga that waits for nothing else."""
    saga = letterbox.order(timeout=3600.0)
    with engine.at_work():
        with pytest.raises(SagaPending):
            saga.orchestrator_execute(engine=engine, saga_id="x", wait=0.2)
        engine.wait_for(lambda: '"later"' in engine.flows["x"].rows[-1][1])
        assert "RUNNING  0s   0      waits until 20" in say("list", *NAMED)[1]
        said = say("why", "x", *NAMED)[1]
        assert "it waits for b, until" in said
        assert "It waits for an answer, until" in said
        assert "saga --engine dbos --url postgresql://ada@db/shop answer x b --result JSON" in said
        depot.behaviour.clear()
        line = ("answer", "x", "b", "--result", '"B"', "--note", "so they say")
        ended, said = say(*line, *NAMED)
        assert (ended, said.split("; ")[1].strip()) == (0, "the answer is on record")
        engine.wait_for(lambda: not engine.flows["x"].is_open)
        assert say(*line, *NAMED) == (0, "x: COMPLETED; it was answered so before\n")
    assert SagaStatus.COMPLETED.name in say("list", *NAMED)[1]
