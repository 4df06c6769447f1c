"""The command itself: what is asked for, and what is served until it is told to end."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.dashboard.answering import Acts
from py_api_saga.cli.dashboard.guarding import Lock
from py_api_saga.cli.dashboard.server import HERE, Server
from py_api_saga.cli.deciding import who_decides
from py_api_saga.cli.opening import command, to_look_for, to_read, to_write
from py_api_saga.cli.printing import write
from py_api_saga.exceptions import SagaError
from py_api_saga.pictures.board import Board
from py_api_saga.pictures.decisions import Hand

_NO_LOGIN = (
    "whoever the proxy lets through sees all sagas without a login, and so does every user "
    "of this machine"
)


def main(arguments: argparse.Namespace) -> int:
    """Serve until it is told to end."""
    _see_usage(arguments)
    with to_read(arguments) as view:  # which says why, if there is no journal
        begins = command(arguments, view.place)
    with closing(to_look_for(arguments)) as journal:
        _serve(arguments, Board(journal.onlooker, command=begins, whole=arguments.values))
    return 0


def _serve(arguments: argparse.Namespace, board: Board) -> None:
    lock = Lock() if arguments.act else None
    acts = None
    if lock is not None:
        acts = Acts(lock, Hand(who_decides(arguments), lock.form), lambda: to_write(arguments))
    names = (arguments.host,) if arguments.host else ()
    with _listening(arguments.port, board, names, acts) as server, _ended_by_sigterm(server):
        _tell_where(f"http://{HERE}:{server.port}", lock)
        if arguments.behind_a_proxy:
            _say(_NO_LOGIN)
        server.serve_forever(poll_interval=0.1)


def _see_usage(arguments: argparse.Namespace) -> None:
    """Refuse what would let anybody decide.

    Raises:
        UsageError: The options do not go together.
    """
    if arguments.behind_a_proxy and not arguments.host:
        raise UsageError("--behind-a-proxy takes --host NAME: what the proxy calls it")
    if arguments.host and not arguments.behind_a_proxy:
        raise UsageError("--host goes with --behind-a-proxy: without one it is 127.0.0.1")
    if arguments.behind_a_proxy and arguments.act:
        message = (
            "--act is not for many: whoever the proxy lets through would decide in your name; "
            "decide with the commands, or in Django's admin"
        )
        raise UsageError(message)


@contextmanager
def _listening(
    port: int, board: Board, names: tuple[str, ...], acts: Acts | None
) -> Iterator[Server]:
    """Listen, for the time of a block.

    Raises:
        SagaError: Somebody else does.
    """
    try:
        server = Server(port, board, names, acts)
    except OSError as error:
        why = f"cannot be had: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            why = "is taken: give another one with --port, or --port 0 for any that is free"
        message = f"port {port} of {HERE} {why}"
        raise SagaError(message) from error
    with server:
        yield server


@contextmanager
def _ended_by_sigterm(server: Server) -> Iterator[None]:
    """Have a SIGTERM end the server, for the time of a block."""

    def end(*_: object) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()  # it waits for this thread

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell_where(home: str, lock: Lock | None) -> None:
    if lock is None:
        _say(f"{home}/")
        return
    _say(f"{home}{lock.address}", "  lets you in, once; whoever opens it decides in your name")
    lock.tell = lambda: _say(f"{home}{lock.address}", "  is the next, for another browser")


def _say(*lines: str) -> None:
    write(*lines)
    sys.stdout.flush()
