"""The application: a request is a saga of three steps. `?ID&SECONDS`, or `?ID&no` to be refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from operations import act, refuse, undo  # type: ignore[import-not-found]  # beside this one

from py_api_saga import SagaAssembler, SagaError, recover
from py_api_saga.journal import SQLiteJournal

journal = SQLiteJournal(os.environ["SAGA_JOURNAL"], modules=["operations"])
if "EARLY" in os.environ:
    recover(journal)  # in the master: whatever it opens, its workers inherit


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Run a saga, and say who has, and what became of it."""
    saga_id, how = environ["QUERY_STRING"].split("&")
    seconds = 0.0 if how == "no" else float(how)
    saga = SagaAssembler.saga(name="request", journal=journal)
    for step in range(3):
        if step == 2 and how == "no":
            saga.operation((refuse, saga_id, step), (undo, saga_id, step))
        else:
            saga.operation((act, saga_id, step, seconds * (step == 1)), (undo, saga_id, step))
    try:
        saga.orchestrator_execute(saga_id=saga_id)
        said = "completed"
    except SagaError as error:
        said = type(error).__name__
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {said}".encode()]
