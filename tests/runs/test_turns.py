"""The one loop: what it asks for, turn by turn; who does that is told nothing else."""

from contextvars import copy_context
from typing import Any

import depot
import pytest
from recorded import chain

from py_api_saga import Retry, SagaAssembler, SagaException
from py_api_saga.entries import index_of, kind_of
from py_api_saga.executors.attempt import attempt
from py_api_saga.executors.run import Run
from py_api_saga.executors.turns import WAIT, WRITE, turns

pytestmark = pytest.mark.usefixtures("open_journal")  # which clears the depot


def asked(run: Run, limit: int = 1) -> list[Any]:
    """Do what each turn asks for, in this thread, and give what was asked."""
    found: list[Any] = []
    for turn in turns(run, limit):
        if turn == WRITE:
            found.append("write")
            run.write()
        elif turn == WAIT:
            found.append("wait")
            run.pause()
        else:
            found.append([f"{kind_of(intent)} {run.name_of(index_of(intent))}" for intent in turn])
            for intent in turn:
                run.tell(copy_context().run(attempt, run, intent))
    return found


def run_of(saga: Any, *, graph: bool = False, **options: Any) -> Run:
    """Begin a run of a saga, which nobody drives yet."""
    definition = saga._graph() if graph else saga._chain()  # noqa: SLF001
    run: Run = saga._run(definition, "x", None, print, **options)  # noqa: SLF001
    return run


def test_in_memory_it_asks_for_calls_alone() -> None:
    """One after the other, then nothing more; and all is done."""
    run = run_of(chain("a", "b"))

    assert asked(run) == [["action a"], ["action b"]]
    assert len(run.finish()) == 2


def test_on_record_each_call_is_asked_for_once_it_is_written(journal: Any) -> None:
    """So is the end, before anybody hears of it."""
    run = run_of(chain("a", "b"), journal=journal)

    assert asked(run) == ["write", ["action a"], "write", ["action b"], "write"]
    assert len(run.finish()) == 2


def test_what_is_ready_at_once_is_asked_for_at_once_as_far_as_the_limit_goes() -> None:
    """With a limit of two, two of three."""
    saga = SagaAssembler.saga()
    for name in "abc":
        saga.operation((depot.do, name), name=name)

    assert asked(run_of(saga, graph=True), 2) == [["action a", "action b"], ["action c"]]


def test_a_rollback_is_more_of_the_same() -> None:
    """Its calls are asked for as those before it were; a wait where there is one."""
    saga = SagaAssembler.saga().operation((depot.do, "a"), (depot.undo, "a"), name="a")
    again = Retry(ValueError, attempts=2, wait_initial=0.01, wait_jitter=0.0)
    saga.operation((depot.do, "b"), name="b", retry=again)
    depot.behaviour["b"] = depot.fail(ValueError("no"))
    run = run_of(saga)

    found = asked(run)

    assert found == [["action a"], ["action b"], "wait", ["action b"], ["compensation a"]]
    with pytest.raises(SagaException):
        run.finish()


def test_whoever_hears_for_a_run_may_leave_it_as_it_is() -> None:
    """As a task does where the rollback begins, which is for another one."""
    run = run_of(chain("a"))

    class Deaf:
        def look(self) -> bool:
            return True

        def close(self) -> bool:
            raise AssertionError

    assert list(turns(run, 1, Deaf())) == []
    assert depot.log == []
