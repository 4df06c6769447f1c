"""Sagas in a Flask application: contexts, sessions, settings, answers."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, g, has_request_context, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from py_api_saga import (
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    current_operation,
    given,
    recover,
)
from py_api_saga.contrib.flask import Sagas, install
from py_api_saga.exceptions import LeavingError
from py_api_saga.journal import MemoryJournal, SQLiteJournal


class Base(DeclarativeBase):
    """The tables of the shop."""


db = SQLAlchemy(model_class=Base)


class Row(Base):
    """What an operation has written."""

    __tablename__ = "row"
    key: Mapped[str] = mapped_column(primary_key=True)
    note: Mapped[str]


class Refused(Exception):
    """A service has said no."""


sagas = Sagas(db=db)
seen: list[tuple[object, ...]] = []


def write(note: str) -> str:
    """Write a row, which is there once what is around this has committed."""
    seen.append((db.session.registry(), threading.get_ident(), getattr(g, "user", None)))
    db.session.add(Row(key=current_operation().action_key, note=note))
    db.session.flush()
    return request.args["user"] if has_request_context() else "nobody"


def erase(*_: object) -> None:
    """Take it back."""
    db.session.execute(
        text("DELETE FROM row WHERE key = :key"), {"key": current_operation().action_key}
    )


def refuse(*_: object) -> None:
    """Write a row, and say no."""
    write("refused")
    raise Refused


def clash(_: str) -> None:
    """Write two rows of one key, which only the commit is told."""
    db.session.add(Row(key="same", note="one"))
    db.session.connection()


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    """Nothing was called yet; and no application of another test is there."""
    seen.clear()
    sagas._projects.clear()  # noqa: SLF001 - as if they were gone, which the collector would do
    yield
    seen.clear()


def app_with(folder: Path, **settings: Any) -> Flask:
    """Make a shop whose database and journal are in a folder."""
    app = Flask("test_flask", instance_path=str(folder))
    app.config.update(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/shop.db",
        SAGA_JOURNAL="sagas.db",
        SAGA_MODULES=["test_flask"],
        TESTING=True,
    )
    app.config.update(settings)
    db.init_app(app)
    sagas.init_app(app)
    with app.app_context():
        db.create_all()

    @app.get("/<how>")
    def run(how: str) -> Any:
        g.user = request.args["user"]
        db.session.add(Row(key="view", note="the view's own"))
        order = request.args.get("id")
        lasts: dict[str, Callable[[str], object]] = {"undone": refuse, "clash": clash}
        last = lasts.get(request.args.get("last", ""), write)
        saga = sagas.saga(name="shop").operation((write, "a"), erase, name="a")
        saga.operation((last, "b"), erase, name="b")
        return list(getattr(saga, f"{how}_execute")(saga_id=order))

    return app


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """A shop."""
    app = app_with(tmp_path)
    yield app
    with app.app_context():
        sagas.journal.close()
        db.engine.dispose()


def rows_of(app: Flask) -> dict[str, str]:
    """Give what is in the shop's database."""
    with app.app_context():
        return {row.key: row.note for row in db.session.scalars(db.select(Row))}


HOW = pytest.mark.parametrize("how", ["orchestrator", "choreography"])


# --- contexts and sessions ------------------------------------------------------------------------


@HOW
def test_every_call_has_a_session_of_its_own_and_its_rows_are_committed(
    app: Flask, how: str
) -> None:
    """Also in the thread of the view, whose own session is neither used nor committed."""
    reply = app.test_client().get(f"/{how}?user=ada&id=x")

    assert reply.get_json() == ["ada", "ada"]
    assert rows_of(app) == {"x:a:action": "a", "x:b:action": "b"}
    sessions = {id(session) for session, _, _ in seen}
    assert len(sessions) == 2
    assert {user for _, _, user in seen} == {None}  # `g` is of the context, which is another one
    at = {thread for _, thread, _ in seen}
    assert (threading.get_ident() in at) is (how == "orchestrator")


@HOW
def test_what_fails_is_rolled_back_and_what_was_done_is_undone(app: Flask, how: str) -> None:
    """A row of the action that failed would stay otherwise: nobody undoes what did not happen."""
    with pytest.raises(SagaException) as caught:
        app.test_client().get(f"/{how}?user=ada&last=undone")

    assert isinstance(caught.value.operation_error, Refused)
    assert caught.value.outcome is SagaStatus.COMPENSATED
    assert rows_of(app) == {}


def test_a_commit_that_fails_leaves_doubt(app: Flask) -> None:
    """Nobody knows what a failed commit has done, so the action is undone as well."""
    with app.app_context():
        db.session.add(Row(key="same", note="first"))
        db.session.commit()
    with pytest.raises(SagaException) as caught:
        app.test_client().get("/orchestrator?user=ada&last=clash")

    assert isinstance(caught.value.operation_error, LeavingError)
    assert caught.value.operations["b"].status.name == "COMPENSATED"
    assert rows_of(app) == {"same": "first"}


def test_without_a_database_the_caller_s_thread_has_the_view_s_context(tmp_path: Path) -> None:
    """And a thread of ours one of its own, in which the request is still the view's."""
    app, own = Flask("test_flask", instance_path=str(tmp_path)), Sagas()
    own.init_app(app)
    users: list[object] = []

    def look() -> None:
        users.append((getattr(g, "user", None), request.args["user"], current_app.name))

    @app.get("/<how>")
    def run(how: str) -> Any:
        g.user = request.args["user"]
        getattr(own.saga().operation(look), f"{how}_execute")()
        return ""

    app.test_client().get("/orchestrator?user=ada")
    app.test_client().get("/choreography?user=bob")

    assert users == [("ada", "ada", "test_flask"), (None, "bob", "test_flask")]


def test_what_is_given_as_around_is_inside_of_the_context(app: Flask) -> None:
    """So that it can use the session that the call will use."""
    inside: list[object] = []

    class Look:
        def __enter__(self) -> None:
            inside.append(db.session.registry())

        def __exit__(self, *_: object) -> None: ...

    with app.app_context():
        saga = sagas.saga(around=[lambda _: Look()])
        saga.operation((write, "a"), erase).orchestrator_execute()

    assert inside == [seen[0][0]]


def test_what_belongs_to_a_request_is_refused_as_an_argument(app: Flask) -> None:
    """When the saga is built: a row, the session, the request itself."""
    with app.test_request_context():
        row = Row(key="x", note="y")
        for wrong, words in (
            (row, "pass its .key"),
            (db.session, "around="),
            (request, "pass the fields of the request"),
        ):
            with pytest.raises(SagaDefinitionError, match=words):
                sagas.saga().operation((write, wrong))  # type: ignore[misc]
            with pytest.raises(SagaDefinitionError, match=words):
                LATER.given(note=wrong)


# --- recovery -------------------------------------------------------------------------------------

LATER = sagas.saga(name="later").operation((write, given("note")), erase, name="a")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("is_inside", [True, False])
def test_recovery_has_a_context_for_each_call(
    app: Flask,
    workers: int,
    is_inside: bool,  # noqa: FBT001
) -> None:
    """In the application's context, and where there is none at all; in threads and without."""
    with app.app_context():
        LATER.given(note="later").start(saga_id="x")
        if is_inside:
            done = recover(sagas.journal, around=[sagas.around], max_workers=workers)
    if not is_inside:
        done = recover(sagas.journal, around=[sagas.around], max_workers=workers)

    assert [one.outcome for one in done] == [SagaStatus.COMPLETED]
    assert rows_of(app) == {"x:a:action": "later"}


def test_a_saga_at_the_top_of_a_module_is_of_the_application_that_runs_it(tmp_path: Path) -> None:
    """A factory that is called again, as tests do, makes another one, with its own journal."""
    apps = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        apps[name] = app_with(tmp_path / name)
        with apps[name].app_context():
            LATER.given(note=name).start(saga_id=name)
    for name, app in apps.items():
        with app.app_context():
            assert [one.saga_id for one in sagas.journal.select()] == [name]
            around = sagas.around
        recover(
            SQLiteJournal(tmp_path / name / "sagas.db", modules=["test_flask"]), around=[around]
        )
        assert rows_of(app) == {f"{name}:a:action": name}


def test_of_several_applications_one_must_be_meant(tmp_path: Path) -> None:
    """Outside of a context nobody could say which journal it is."""
    apps = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        apps.append(app_with(tmp_path / name))

    with pytest.raises(SagaDefinitionError, match="expected an application's context"):
        _ = sagas.journal


def test_a_saga_may_have_another_journal(app: Flask) -> None:
    """Given to it, or to its run."""
    mine = MemoryJournal(modules=["test_flask"])
    with app.app_context():
        sagas.saga(journal=mine).operation((write, "a"), erase).orchestrator_execute(saga_id="x")

        assert mine.find("x") is not None
        assert sagas.journal.find("x") is None


# --- settings -------------------------------------------------------------------------------------


def test_without_a_journal_sagas_are_in_memory(tmp_path: Path) -> None:
    """And whoever asks for it is told which setting there is."""
    app = Flask("test_flask", instance_path=str(tmp_path))
    own = Sagas(app)
    with app.app_context():
        assert own.saga().operation(list).orchestrator_execute() == [[]]
        assert app.extensions["py_api_saga"] is own
        with pytest.raises(SagaDefinitionError, match="SAGA_JOURNAL: expected the path of a file"):
            _ = own.journal


def test_a_journal_itself_may_be_the_setting(tmp_path: Path) -> None:
    """As tests give one in memory."""
    mine = MemoryJournal(modules=["test_flask"])
    app = app_with(tmp_path, SAGA_JOURNAL=mine, SAGA_MODULES=None)
    with app.app_context():
        assert sagas.journal is mine


def test_a_relative_path_begins_in_the_instance_folder(tmp_path: Path) -> None:
    """Not where the process was started: the server and the worker would have two journals."""
    app = app_with(tmp_path, SAGA_JOURNAL="kept/sagas.db")
    with app.app_context():
        LATER.given(note="a").start()
        sagas.journal.close()
    assert (tmp_path / "kept" / "sagas.db").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"SAGA_JOURNAL": 7}, "SAGA_JOURNAL: expected .* or a journal, got 7"),
        ({"SAGA_JOURNAL": SQLiteJournal}, "SAGA_JOURNAL: expected .* or a journal"),
        ({"SAGA_JOURNAL": ":memory:"}, "SAGA_JOURNAL: "),
        ({"SAGA_JOURNAL": "mysql://u:secret@h/d"}, "SAGA_JOURNAL: .*got mysql://…: no journal"),
        ({"SAGA_JOURNAL": "/nowhere/at/all/sagas.db"}, "which is not there"),
        ({"SAGA_JOURNAL": "shop.db/sagas.db"}, "SAGA_JOURNAL: "),
        ({"SAGA_MODULES": None}, "SAGA_MODULES: expected a list of the modules"),
        ({"SAGA_MODULES": []}, "SAGA_MODULES: expected a list of the modules"),
        ({"SAGA_MODULES": "test_flask"}, "SAGA_MODULES: expected a list of the modules"),
        ({"SAGA_MODULES": [7]}, "SAGA_MODULES: expected names of modules, got 7"),
        ({"SAGA_MODULES": ["no module"]}, "SAGA_JOURNAL: "),
    ],
)
def test_a_wrong_setting_is_refused_when_the_application_is_made(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    """In words that name it, and never show a password."""
    (tmp_path / "shop.db").touch()
    with pytest.raises(SagaDefinitionError, match=words) as caught:
        app_with(tmp_path, **settings)
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Before the first saga."""
    (tmp_path / "kept").mkdir(mode=0o500)
    with pytest.raises(SagaDefinitionError, match="which this user may not"):
        app_with(tmp_path, SAGA_JOURNAL="kept/sagas.db")


def test_a_folder_that_may_not_be_written_is_refused_to_root_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that is mounted for reading."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SagaDefinitionError, match="which this user may not"):
        app_with(tmp_path)


def test_an_application_has_its_sagas_once(app: Flask) -> None:
    """Two would disagree about the journal."""
    with pytest.raises(SagaDefinitionError, match="it has its sagas already"):
        Sagas(app, db=db)
    with pytest.raises(SagaDefinitionError, match="it has its sagas already"):
        sagas.init_app(app)


@pytest.mark.parametrize("wrong", [object(), Base, "db"])
def test_what_has_no_session_is_refused_as_a_database(wrong: Any) -> None:
    """At once, and not in the first call."""
    with pytest.raises(SagaDefinitionError, match="Sagas: db: expected the SQLAlchemy"):
        Sagas(db=wrong)


def test_a_url_names_a_journal_in_postgresql(tmp_path: Path) -> None:
    """Nothing is connected to before it is used."""
    app = app_with(tmp_path, SAGA_JOURNAL="postgresql+psycopg://u:secret@nowhere.invalid/shop")
    with app.app_context():
        assert sagas.journal.place == "postgresql://u@nowhere.invalid/shop"


# --- answers --------------------------------------------------------------------------------------


def test_what_sagas_raise_is_answered(app: Flask) -> None:
    """A refusal by which nothing stands is a final 409."""
    install(app, refusals=[Refused])

    reply = app.test_client().get("/orchestrator?user=ada&last=undone")

    assert (reply.status_code, reply.headers["Saga-Answer"]) == (409, "final")
    assert reply.get_json() == {"error": "this was refused"}


def test_a_handler_of_ones_own_for_a_nearer_class_comes_first(app: Flask) -> None:
    """Whichever was registered first."""
    install(app)

    @app.errorhandler(SagaException)
    def mine(error: SagaException) -> tuple[str, int]:
        return str(error.operation_name), 418

    assert app.test_client().get("/orchestrator?user=ada&last=undone").status_code == 418


# --- the command ----------------------------------------------------------------------------------


def test_the_command_is_that_of_the_library_in_the_application_s_context(app: Flask) -> None:
    """It knows the journal, the modules and what is around each call."""
    with app.app_context():
        LATER.given(note="later").start(saga_id="x")
        sagas.journal.close()
    run = app.test_cli_runner().invoke

    listed = run(args=["saga", "list"])
    assert (listed.exit_code, "x" in listed.output.split()) == (0, True)
    recovered = run(args=["saga", "recover", "--workers", "2"])
    assert (recovered.exit_code, recovered.output) == (0, "x: COMPLETED\n")
    assert rows_of(app) == {"x:a:action": "later"}
    assert run(args=["saga", "show", "nobody"]).exit_code == 1
    assert "flask saga" in run(args=["saga", "--help"]).output


def test_the_command_of_an_application_without_a_journal_says_so(tmp_path: Path) -> None:
    """In the words of the setting."""
    app = Flask("test_flask", instance_path=str(tmp_path))
    Sagas(app)

    said = app.test_cli_runner().invoke(args=["saga", "list"])

    assert said.exit_code == 1
    assert "SAGA_JOURNAL: expected the path of a file" in said.output


def test_what_is_around_each_call_has_a_name(app: Flask) -> None:
    """In the log, that is, and in messages."""
    with app.app_context():
        assert repr(sagas.around) == "Sagas.around"


@pytest.mark.parametrize(
    ("module", "lacking", "words"),
    [
        ("flask", "flask", "it needs Flask: pip install 'py-api-saga[flask]'"),
        ("starlette", "starlette", "it needs Starlette: pip install 'py-api-saga[starlette]'"),
    ],
)
def test_what_is_not_installed_is_named_with_the_command_that_does_it(
    module: str, lacking: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the extra."""
    for name in [lacking, *(one for one in sys.modules if one.startswith(f"{lacking}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"py_api_saga.contrib.{module}", raising=False)
    with pytest.raises(ImportError, match=re.escape(words)):
        import_module(f"py_api_saga.contrib.{module}")


def test_a_driver_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the application is made, if its journal needs it."""
    for name in [*sys.modules]:
        if name.startswith("py_api_saga.journal.postgresql"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SagaDefinitionError, match=r"SAGA_JOURNAL: .*pip install"):
        app_with(tmp_path, SAGA_JOURNAL="postgresql://nowhere.invalid/shop")
