"""`saga worker` for an engine: drive sagas there, and make their calls, until a signal comes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from py_api_saga.cli.ending import Alive, Ending, leave_now, log
from py_api_saga.cli.setting_up import observers_of
from py_api_saga.current import Around
from py_api_saga.exceptions import SagaError
from py_api_saga.story.words import error_words, plural

if TYPE_CHECKING:
    from py_api_saga.engines.engine import Engine
    from py_api_saga.engines.worker import Work, Worker

_LOOK = 1.0  # seconds between two looks whether it still works
_MARGIN = 10.0  # seconds beyond the grace, to tell what is lost and take leave
_LEFT = "left as by a crash; its engine gives what it had to other workers"


def work(engine: Engine, arguments: argparse.Namespace, around: Sequence[Around]) -> int:
    """Work for an engine until told to end.

    Raises:
        SagaError: It can't be reached, or is not fit; or it has sent this worker away.
    """
    grace = arguments.grace
    told = _told(arguments, around)
    alive, ending = Alive(arguments.alive), Ending(grace + _MARGIN, _LEFT, lambda: None)
    with ending.listening(), closing(engine):
        worker = _worker(engine, arguments, told)
        alive.touch()
        worker.begin()
        try:
            log(
                f"at work for {engine.place}: {plural(told.concurrency, 'call')} at once; they "
                f"have {grace:g} s from a signal on"
            )
            while not ending.is_told and worker.fault is None:
                ending.wait(_LOOK)
                alive.touch()
            _say_that_it_ends(worker, grace)
        finally:  # whatever happens, nothing more begins
            ending.begin()
            left = worker.end()
        if left:
            leave_now(f"{plural(left, 'call')} had not ended after {grace:g} s: told as lost")
        log("ended")
    if worker.fault is not None:
        message = f"{engine.place}: this worker cannot go on: {error_words(worker.fault)}"
        raise SagaError(message)
    return 0


def _say_that_it_ends(worker: Worker, grace: float) -> None:
    why = "told to end" if worker.fault is None else "it cannot go on"
    at_work = worker.running
    most = f", for {grace:g} s at most" if at_work else ""
    log(f"{why}; {plural(at_work, 'call')} still at work{most}")


def _told(arguments: argparse.Namespace, around: Sequence[Around]) -> Work:
    from py_api_saga.engines.worker import Work  # noqa: PLC0415 - of those that have an engine

    observers = observers_of(arguments)
    work = Work(around, observers, grace=arguments.grace)
    return (
        work if arguments.concurrency is None else work._replace(concurrency=arguments.concurrency)
    )


def _worker(engine: Engine, arguments: argparse.Namespace, told: Work) -> Worker:
    """Make the worker of this engine, with the options that only it has."""
    given = {name: getattr(arguments, name) for name in ("takeover", "lease")}
    return engine.worker(told, **{name: value for name, value in given.items() if value})
