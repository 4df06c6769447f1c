"""What an error of a call means: pure, so that whoever makes calls elsewhere can ask as well."""

import ast
import inspect
from typing import Any

import pytest

from py_api_saga import Retry
from py_api_saga.entries import (
    ACTION,
    ASK,
    COMPENSATION,
    FAILED,
    IN_DOUBT,
    RETRY,
    UNKNOWN,
    Kind,
    started,
    value_of,
    what_of,
)
from py_api_saga.evidence import read_doubtful
from py_api_saga.exceptions import LaterError
from py_api_saga.executors import meaning as module
from py_api_saga.executors.meaning import meaning
from py_api_saga.operation import PLAIN, Policy

NO = ValueError("no")
LOST = TimeoutError("no answer")
WRONG = LaterError("later: expected either timeout= or until=, got both")
ALWAYS = Retry(Exception, attempts=None)
TWICE = Retry(ValueError, attempts=2, wait_initial=1.0, wait_max=9.0, wait_jitter=4.0)


def means(policy: Policy, kind: Kind, error: Exception, attempt: int = 1, **brought: Any) -> Any:
    """Ask what an error means, with what is brought, and give the word and the value."""
    given = {"elapsed": 0.0, "chance": 0.0, "handled": None, "noted": False} | brought
    entry = meaning(policy, started(0, kind, attempt, 1), error, **given)
    return what_of(entry), value_of(entry)


@pytest.mark.parametrize(
    ("policy", "kind", "error", "attempt", "word"),
    [
        (PLAIN, ACTION, NO, 1, FAILED),
        (PLAIN, ACTION, LOST, 1, IN_DOUBT),
        (PLAIN, COMPENSATION, LOST, 1, FAILED),  # which may be called again, so nobody asks
        (PLAIN, ASK, NO, 1, UNKNOWN),
        (Policy(retry=TWICE), ACTION, NO, 1, RETRY),
        (Policy(retry=TWICE), ACTION, NO, 2, FAILED),
        (Policy(retry=TWICE), COMPENSATION, NO, 1, FAILED),
        (Policy(compensation_retry=TWICE), COMPENSATION, NO, 1, RETRY),
        (Policy(doubtful=read_doubtful(ValueError, "here")), ACTION, NO, 1, IN_DOUBT),
        (Policy(doubtful=read_doubtful((), "here")), ACTION, LOST, 1, FAILED),
        (PLAIN, ACTION, WRONG, 1, IN_DOUBT),
        (Policy(doubtful=read_doubtful((), "here")), ACTION, WRONG, 1, IN_DOUBT),
        (Policy(compensation_retry=ALWAYS), COMPENSATION, WRONG, 1, FAILED),
    ],
)
def test_an_error_means_what_the_policy_says(
    policy: Policy, kind: Kind, error: Exception, attempt: int, word: str
) -> None:
    """By the kind of the call and the number of the attempt; no run is needed."""
    assert means(policy, kind, error, attempt)[0] == word


def test_a_wrong_later_is_not_tried_again_whatever_the_policy_says() -> None:
    """It has begun something, which another attempt would only begin once more."""
    word, doubt = means(Policy(retry=ALWAYS), ACTION, WRONG)

    assert (word, doubt.error, doubt.wait) == (IN_DOUBT, WRONG, None)
    assert means(Policy(retry=ALWAYS), ACTION, WRONG, noted=True)[1].wait is None


def test_what_was_sent_leaves_doubt_whatever_the_error() -> None:
    """With the wait until the next attempt, if there is one."""
    word, doubt = means(Policy(retry=TWICE), ACTION, NO, noted=True)

    assert (word, doubt.error, doubt.wait) == (IN_DOUBT, NO, 1.0)
    assert means(PLAIN, COMPENSATION, NO, noted=True)[0] == FAILED


def test_the_clock_and_the_chance_are_brought() -> None:
    """The jitter is that part of itself, and what has elapsed counts for the timeout."""
    policy = Policy(retry=Retry(ValueError, timeout=10.0, wait_initial=1.0, wait_jitter=4.0))

    assert means(policy, ACTION, NO, chance=0.5)[1].wait == 3.0
    assert means(policy, ACTION, NO, elapsed=9.0)[0] == RETRY
    assert means(policy, ACTION, NO, elapsed=9.5)[0] == FAILED


def test_what_the_caller_was_handling_is_none_of_the_calls() -> None:
    """What is behind an error counts, unless it was there before the call."""
    lost, error = TimeoutError("no answer"), ValueError("no")
    error.__context__ = lost

    assert means(PLAIN, ACTION, error)[0] == IN_DOUBT
    assert means(PLAIN, ACTION, error, handled=lost)[0] == FAILED


@pytest.mark.parametrize(
    ("answer", "word", "wait"), [(True, RETRY, 0.1), (False, FAILED, None), (7, RETRY, 7.0)]
)
def test_a_function_in_a_retry_is_asked_before(answer: Any, word: str, wait: float | None) -> None:
    """Once, by whoever made the call; what decides then has its answer, and asks nobody."""
    asked = []

    def again(error: Exception) -> Any:
        asked.append(error)
        return answer

    policy = Policy(retry=Retry(again, attempts=3, wait_jitter=0.0))

    answered = policy.with_answers(ACTION, NO, 1, None, noted=False)
    found = [means(answered, ACTION, NO) for _ in range(2)]

    assert asked == [NO]
    assert [said for said, _ in found] == [word, word]
    assert wait is None or found[0][1].wait == wait


def test_a_function_of_doubtful_is_asked_before() -> None:
    """Once; and not at all where doubt is certain, nor of a compensation."""
    asked = []

    def is_doubtful(error: Exception) -> bool:
        asked.append(error)
        return True

    policy = Policy(doubtful=read_doubtful(is_doubtful, "here"))

    policy.with_answers(ACTION, NO, 1, None, noted=True)
    policy.with_answers(COMPENSATION, NO, 1, None, noted=False)
    assert asked == []
    answered = policy.with_answers(ACTION, NO, 1, None, noted=False)

    assert [means(answered, ACTION, NO)[0] for _ in range(2)] == [IN_DOUBT, IN_DOUBT]
    assert asked == [NO]


def test_after_the_last_attempt_no_function_is_asked() -> None:
    """There is nothing to be decided."""
    policy = Policy(retry=Retry(lambda _: pytest.fail("it was asked"), attempts=2))

    assert means(policy.with_answers(ACTION, NO, 2, None, noted=False), ACTION, NO, 2)[0] == FAILED


def test_nothing_that_is_impure_is_imported() -> None:
    """No clock, no chance, no thread, no run."""
    imported = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module)
        assert not isinstance(node, ast.Import)

    ours = {"py_api_saga.entries", "py_api_saga.exceptions", "py_api_saga.operation"}
    assert imported == {"__future__", *ours}
