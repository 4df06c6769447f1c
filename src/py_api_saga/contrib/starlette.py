"""At home in Starlette and FastAPI: `lifespan=saga_lifespan(journal)`, `Depends(sagas)`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias, Unpack

from py_api_saga.contrib.answers import Answers
from py_api_saga.contrib.arguments import FrameworkSaga
from py_api_saga.current import Around
from py_api_saga.durable.recovery import Crowd, crowd_of
from py_api_saga.exceptions import (
    SagaDefinitionError,
    SagaError,
    check_around,
    check_journal,
    refused,
)
from py_api_saga.journal.lasting import LastingJournal
from py_api_saga.journal.protocol import Journal
from py_api_saga.log import complain
from py_api_saga.saga_options import SagaOptions

try:
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route, Router
except ImportError as error:
    message = f"it needs Starlette: pip install 'py-api-saga[starlette]' ({error})"
    raise ImportError(message) from error

__all__ = ["Sagas", "dashboard", "install", "saga_lifespan", "sagas"]

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]
Stateless: TypeAlias = Callable[[Any], AbstractAsyncContextManager[None]]

_GRACE = 20.0  # seconds, once the server ends, for what recovery has begun
_AT_ONCE = 32  # sagas
_STATE = "sagas"  # what it is called in the state of a request


class Sagas:
    """What the sagas of an application have in common: `Depends(sagas)` gives it to a view.

    Attributes:
        journal: Where they are recorded.
        around: What is entered around each call, the outermost first.
    """

    def __init__(self, journal: Journal, around: Sequence[Around]) -> None:
        """Take both; `saga_lifespan` does so."""
        self.journal, self.around = journal, tuple(around)

    def saga(self, **options: Unpack[SagaOptions]) -> FrameworkSaga:
        """Start an empty saga.

        Args:
            options: As of `SagaAssembler.saga`; what is given as `around=` is inside of what all
                have in common.

        Returns:
            A `SagaAssembler`, which refuses what can't be an argument in a later process: rows of a
            database, its session, a request.
        """
        options["around"] = (*self.around, *check_around(options.get("around", ()), "saga"))
        options.setdefault("journal", self.journal)
        return FrameworkSaga.saga(**options)


def sagas(connection: HTTPConnection) -> Sagas:
    """Give a view what the sagas of its application have in common: `Depends(sagas)`.

    Raises:
        SagaDefinitionError: The application has no `saga_lifespan`, or that was not entered.
    """
    found = getattr(connection.state, _STATE, None)
    if isinstance(found, Sagas):
        return found
    message = (
        "sagas: expected an application with lifespan=saga_lifespan(journal), which has begun; in "
        "a test: with TestClient(app) as client"
    )
    raise SagaDefinitionError(message)


def saga_lifespan(
    journal: Journal, *, around: Sequence[Around] = (), inner: Lifespan | Stateless | None = None
) -> Lifespan:
    """Make a lifespan that recovers what dead processes have left, while the server answers.

    When the server ends, recovery begins nothing more; what it has begun has 20 s, and is left as
    it is then: it stays open in the journal, which is closed.

    Args:
        journal: Where the sagas are.
        around: What is entered around each call, the outermost first.
        inner: A lifespan of yours, in which all this is: what operations need, such as the engine
            of a database, is made in it. Its state is handed on.

    Returns:
        What `FastAPI(lifespan=)` and `Starlette(lifespan=)` take.

    Raises:
        SagaDefinitionError: `journal` is none; or `around` is not a list of functions.
    """
    common = Sagas(check_journal(journal, "saga_lifespan"), check_around(around, "saga_lifespan"))
    if inner is not None and not callable(inner):
        message = f"saga_lifespan: inner: expected a lifespan, got {type(inner).__name__}"
        raise SagaDefinitionError(message)

    outside = inner or _nothing

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with outside(app) as state, _recovering(common):
            yield {**(state or {}), _STATE: common}

    return lifespan


@asynccontextmanager
async def _nothing(_: object) -> AsyncIterator[None]:
    """Stand for the lifespan of an application that has none."""
    yield


@asynccontextmanager
async def _recovering(common: Sagas) -> AsyncIterator[None]:
    """Recover beside what is done in a block, and close the journal after it."""
    recovery = _Recovery(common)
    task = asyncio.create_task(recovery.work())
    try:
        yield
    finally:
        await recovery.end(task)
        close = getattr(common.journal, "close", None)
        if close is not None:
            await asyncio.to_thread(close)


class _Recovery:
    """What a server does once about sagas that others have left."""

    def __init__(self, common: Sagas) -> None:
        self._common = common
        self._crowd: Crowd | None = None
        self._is_told = False

    async def work(self) -> None:
        """Go on with all that is due."""
        common = self._common
        try:
            self._crowd = await crowd_of(common.journal, _AT_ONCE, around=common.around)
            if self._is_told:
                self._crowd.recovery.stop()
            await self._crowd.work()
        except SagaError as error:
            complain("the server goes on without recovery", error=error)

    async def end(self, task: asyncio.Task[None]) -> None:
        """Begin nothing more, and wait a while for the rest."""
        self._is_told = True
        if self._crowd is not None:
            self._crowd.recovery.stop()
        await asyncio.wait({task}, timeout=_GRACE)
        if self._crowd is not None and not task.done():
            left = self._crowd.let_be()
            complain("the server has ended, and recovery has left %d sagas as they are", left)


def dashboard(
    journal: LastingJournal,
    *,
    allowed: Callable[[Request], bool | Awaitable[bool]],
    values: bool = False,
    command: str = "saga",
) -> Router:
    """Give pages on which sagas are seen, and nothing is decided: `app.mount("/sagas", …)`.

    Starlette has no login, so there is none here: `allowed` asks yours.

    Args:
        journal: Where the sagas are; not one in memory.
        allowed: Tells of a request whether it may see them, or awaits that; else it gets a 403. It
            may raise as well.
        values: Whether to show arguments and results; else their types alone.
        command: How the commands begin that are listed.

    Returns:
        An application of its own.

    Raises:
        SagaDefinitionError: `journal` is none that outlasts its process.
    """
    from py_api_saga.pictures.board import Board  # noqa: PLC0415 - for whoever shows them

    if not hasattr(journal, "onlooker"):
        raise refused("dashboard: journal", "one in a file or a database", journal)
    board = Board(journal.onlooker, command=command, whole=values)

    async def page(request: Request) -> Response:
        may = allowed(request)
        if not (await may if isinstance(may, Awaitable) else may):
            return PlainTextResponse("you may not see sagas\n", 403)
        asked = request.path_params["page"], request.url.query
        answer = await asyncio.to_thread(board.answer, *asked)
        kind = f"{answer.kind}; charset=utf-8"
        return Response(answer.body, answer.status, dict(answer.headers), kind)

    return Router([Route("/{page:path}", page)])


def install(app: Starlette, *, refusals: Sequence[type[BaseException]] = ()) -> None:
    """Answer for what sagas raise in views; see `py_api_saga.contrib.answers` for what.

    Starlette takes the handler of the nearest class, so one of yours for `SagaException` comes
    first.

    Args:
        app: The application, FastAPI's too.
        refusals: The classes of your errors by which an operation says a final no: 409, not 502.

    Raises:
        SagaDefinitionError: `refusals` is not a list or tuple of classes of exceptions.
    """
    answers = Answers(refusals)

    async def answered(_: HTTPConnection, error: Exception) -> Response:
        assert isinstance(error, SagaError)  # noqa: S101 - it was registered for these
        answer = answers.to(error)
        return JSONResponse(dict(answer.body), answer.status, dict(answer.headers))

    app.add_exception_handler(SagaError, answered)
