"""At home in Flask: `sagas = Sagas(app, db=db)`, `sagas.saga("checkout")`, `flask saga worker`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from os import PathLike
from typing import Any, ClassVar, NamedTuple, Protocol, Unpack
from weakref import WeakKeyDictionary

from py_api_saga.contrib.answers import Answers
from py_api_saga.contrib.arguments import FrameworkSaga
from py_api_saga.contrib.configured import EXPECTED, check_modules, journal_at
from py_api_saga.current import Around, CurrentOperation
from py_api_saga.exceptions import JournalError, SagaDefinitionError, SagaError, refused
from py_api_saga.journal.lasting import View
from py_api_saga.journal.protocol import Journal
from py_api_saga.saga_options import SagaOptions

try:
    import click
    from flask import (
        Blueprint,
        Flask,
        Response,
        abort,
        current_app,
        has_app_context,
        jsonify,
        request,
    )
    from flask.cli import with_appcontext
except ImportError as error:
    message = f"it needs Flask: pip install 'py-api-saga[flask]' ({error})"
    raise ImportError(message) from error

__all__ = ["Sagas", "install"]

_NAME = "py_api_saga"  # of the extension


class Session(Protocol):
    """What is asked of a session that belongs to the context of an application."""

    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def remove(self) -> None: ...


class Database(Protocol):
    """What is asked of Flask-SQLAlchemy's `SQLAlchemy`."""

    @property
    def session(self) -> Session: ...


class Sagas:
    """The sagas of a Flask application, or of several that a factory makes.

    Reads `SAGA_JOURNAL` of its configuration: the path of a file (a relative one begins in the
    instance folder), a URL `postgresql://…`, or a journal; without it sagas are in memory. And
    `SAGA_MODULES`, a list of the modules in which the operations are. It is
    `app.extensions["py_api_saga"]`, and makes the command `flask saga`.

    In a thread of the library's each call has an application context of its own, inside of a copy
    of the caller's: `request` is the one of the view. With `db=` every call has one, also in the
    caller's thread, and with it a `db.session` of its own, which is committed if the call succeeds,
    rolled back if it fails, and removed.
    """

    def __init__(self, app: Flask | None = None, db: Database | None = None) -> None:
        """Take an application, or none yet: see `init_app`.

        Args:
            app: The application.
            db: The `SQLAlchemy` of Flask-SQLAlchemy, if operations use its session.

        Raises:
            SagaDefinitionError: As `init_app`; or `db` has no such session.
        """
        self._db = None if db is None else _checked(db)
        self._projects = WeakKeyDictionary[Flask, _Configured]()
        members = {"around": (self.around,), "sagas": self, "__doc__": FlaskSaga.__doc__}
        self._kind: type[FlaskSaga] = type("FlaskSaga", (FlaskSaga,), members)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Take an application in, once it is configured.

        Raises:
            SagaDefinitionError: It has sagas already; or a setting is of a wrong type, is missing
                beside another, or names a folder that can't be written.
        """
        if app.extensions.setdefault(_NAME, self) is not self or app in self._projects:
            message = f"app {app.name!r}: it has its sagas already; make one Sagas for it"
            raise SagaDefinitionError(message)
        self._projects[app] = _configured(app)
        app.cli.add_command(_saga())

    def saga(self, **options: Unpack[SagaOptions]) -> FlaskSaga:
        """Start an empty saga, in the journal of the application that runs it.

        It may be made at the top of a module, before there is an application.

        Args:
            options: As of `SagaAssembler.saga`; what is given as `around=` is inside of this.

        Returns:
            A `SagaAssembler`, which refuses what can't be an argument in a later process: rows of a
            database, its session, a request.
        """
        return self._kind.saga(**options)

    @property
    def journal(self) -> Any:  # with what the one that was configured has besides, such as within()
        """The journal of this application.

        Raises:
            SagaDefinitionError: It has none.
        """
        journal = self._found()[1].journal
        if journal is None:
            raise refused("SAGA_JOURNAL", f"{EXPECTED}, or a journal", None)
        return journal

    def dashboard(
        self, *, allowed: Callable[[], bool], values: bool = False, name: str = "sagas"
    ) -> Blueprint:
        """Give pages on which sagas are seen, and nothing is decided, as a blueprint.

        Flask has no login, so there is none here: `allowed` asks yours.

        Args:
            allowed: Tells whether whoever makes this request may see them; else they get a 403. It
                may raise as well, or `abort`, or lead to a login.
            values: Whether to show arguments and results; else their types alone.
            name: Of the blueprint.

        Returns:
            What `app.register_blueprint(…, url_prefix="/sagas")` takes.
        """
        from py_api_saga.pictures.board import Board  # noqa: PLC0415 - for whoever shows them

        def reader() -> View:
            journal: Any = self._found()[1].journal
            if not hasattr(journal, "onlooker"):
                raise JournalError("SAGA_JOURNAL names none: sagas in memory are not shown")
            view: View = journal.onlooker()
            return view

        board = Board(reader, command="flask saga", whole=values)
        pages = Blueprint(name, __name__)

        @pages.get("/", defaults={"page": ""})
        @pages.get("/<path:page>")
        def sagas(page: str) -> Response:
            if not allowed():
                abort(403)
            query = request.query_string.decode("ascii", "replace")
            answer = board.answer(page, query, nonce=getattr(request, "csp_nonce", None))
            kind = f"{answer.kind}; charset=utf-8"
            return Response(answer.body, answer.status, dict(answer.headers), content_type=kind)

        return pages

    @property
    def around(self) -> Around:
        """What is around each call: `recover(sagas.journal, around=[sagas.around])`.

        In an application's context it is for that one, wherever it is called.
        """
        app: Flask | None = None
        if has_app_context() and _real(current_app) in self._projects:
            app = _real(current_app)
        return _Around(self, app)

    def _found(self) -> tuple[Flask, _Configured]:
        """Find the application that is meant, and what its settings say."""
        known = list(self._projects.items())
        if has_app_context() and (app := _real(current_app)) in self._projects:
            return app, self._projects[app]
        if len(known) != 1:
            message = (
                f"Sagas: expected an application's context, since this is of {len(known)} "
                "applications: with app.app_context(), or init_app(app) first"
            )
            raise SagaDefinitionError(message)
        return known[0]

    @contextmanager
    def _within(self, app: Flask | None, operation: CurrentOperation) -> Iterator[None]:
        db = self._db
        if db is None and operation.where != "thread" and has_app_context():
            yield
            return
        with (app or self._found()[0]).app_context():
            if db is None:
                yield
                return
            session = db.session
            try:
                yield
                session.commit()
            except BaseException:
                session.rollback()
                raise
            finally:
                session.remove()


class FlaskSaga(FrameworkSaga):
    """A saga of a Flask application: its journal is that of the application that runs it."""

    sagas: ClassVar[Sagas]
    _given: Journal | None = None

    @property
    def journal(self) -> Journal | None:
        """What it was given, else the application's, if that has one."""
        if self._given is not None:
            return self._given
        return self.sagas._found()[1].journal  # noqa: SLF001 - its own

    @journal.setter
    def journal(self, journal: Journal | None) -> None:
        self._given = journal


class _Around:
    """What is around each call, in this application, or the one that is found then."""

    def __init__(self, sagas: Sagas, app: Flask | None) -> None:
        self._sagas, self._app = sagas, app

    def __call__(self, operation: CurrentOperation) -> AbstractContextManager[None]:
        return self._sagas._within(self._app, operation)  # noqa: SLF001 - a part of it

    def __repr__(self) -> str:
        return "Sagas.around"


class _Configured(NamedTuple):
    """What the settings of an application say."""

    journal: Journal | None
    modules: tuple[str, ...]


def _configured(app: Flask) -> _Configured:
    """Read the settings of an application."""
    named, modules = app.config.get("SAGA_JOURNAL"), app.config.get("SAGA_MODULES")
    names: tuple[str, ...] = ()
    if modules is not None or isinstance(named, (str, PathLike)):
        names = check_modules(modules, "SAGA_MODULES")
    if named is None:
        return _Configured(None, names)
    if isinstance(named, (str, PathLike)):
        return _Configured(journal_at(named, names, "SAGA_JOURNAL", app.instance_path), names)
    if isinstance(named, type) or not hasattr(named, "waiting"):
        raise refused("SAGA_JOURNAL", f"{EXPECTED}, or a journal", named)
    return _Configured(named, names)


def _checked(db: Database) -> Database:
    """Refuse what has no session that belongs to a context."""
    session = getattr(db, "session", None)
    if all(callable(getattr(session, name, None)) for name in ("commit", "rollback", "remove")):
        return db
    raise refused("Sagas: db", "the SQLAlchemy of Flask-SQLAlchemy", db)


def _real(app: Any) -> Flask:
    """Give an application itself, in the place of what stands for it in its context."""
    real: Flask = app._get_current_object()  # noqa: SLF001 - werkzeug has no other way
    return real


# --- the command ----------------------------------------------------------------------------------


class _Command:
    """What the command imports by name, in the context of an application.

    Attributes:
        journal: Of that application.
        around: What is around each call there.
    """

    @property
    def journal(self) -> Any:
        return _here().journal

    @property
    def around(self) -> Around:
        return _here().around


command = _Command()


def _here() -> Sagas:
    sagas: Sagas = current_app.extensions[_NAME]
    return sagas


def _saga() -> click.Command:
    """Make `flask saga`: the command `saga`, in this application's context."""

    @click.command(
        "saga",
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
        add_help_option=False,
        help="List, explain, recover and repair sagas: flask saga --help.",
        short_help="List, explain, recover and repair sagas.",
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    @with_appcontext
    def saga(context: click.Context, arguments: tuple[str, ...]) -> None:
        from py_api_saga.cli import main  # noqa: PLC0415 - argparse, for one command
        from py_api_saga.cli.commands import Project  # noqa: PLC0415 - as above

        names = f"{__name__}:command.journal", f"{__name__}:command.around"
        modules = _here()._found()[1].modules  # noqa: SLF001 - a part of it
        project = Project("flask saga", names[0], modules, names[1])
        context.exit(main(arguments, project))

    return saga


# --- answers --------------------------------------------------------------------------------------


def install(app: Flask, *, refusals: Sequence[type[BaseException]] = ()) -> None:
    """Answer for what sagas raise in views; see `py_api_saga.contrib.answers` for what.

    Flask takes the handler of the nearest class, so one of yours for `SagaException` comes first.

    Args:
        app: The application.
        refusals: The classes of your errors by which an operation says a final no: 409, not 502.

    Raises:
        SagaDefinitionError: `refusals` is not a list or tuple of classes of exceptions.
    """
    answers = Answers(refusals)

    def answered(error: SagaError) -> Response:
        answer = answers.to(error)
        response = jsonify(dict(answer.body))
        response.status_code = answer.status
        response.headers.update(answer.headers)
        return response

    app.register_error_handler(SagaError, answered)
