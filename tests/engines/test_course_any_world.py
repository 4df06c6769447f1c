"""Any saga on an engine, whatever befalls it: `voyage.Voyage` says what holds of its course."""

import json
import os
import random
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from paths import SUPPORT, search_path
from voyage import Voyage, carried, main
from world import unmeasured

from py_api_saga import SagaStatus
from py_api_saga.engines.course import Course, NewerFormatError

EXAMPLES = int(os.environ.get("SAGA_EXAMPLES", "0")) or 300
SEEN = 200  # sagas that another process looks at


@pytest.mark.untraced
def test_every_saga_comes_to_an_end_whatever_befalls_it() -> None:
    """Losses, repeated news, answers, cancels, crashes: its rows say all, and nothing parks it.

    Whoever goes on from them, in another workflow, sees what the first one would have.
    """
    ended = set()
    for seed in range(EXAMPLES):
        voyage = Voyage(seed)
        voyage.live()
        ended.add(voyage.execution.saga)

    assert ended == {SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.STUCK}


@pytest.mark.untraced
def test_another_process_sees_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """To the byte, also where texts have other hashes: replay holds it against what it did."""
    main(SEEN)
    here = capsys.readouterr().out

    assert here.count("\n") == SEEN
    for seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, SUPPORT / "voyage.py", str(SEEN)],
            check=True,
            env={**unmeasured(), "PYTHONPATH": search_path(SUPPORT), "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert there.stdout == here


NONSENSE: tuple[Any, ...] = (
    *("defined", "started", "action", "ask", "", "lost", "letter", "note", "parked", "abort"),
    *("depot:do", "$tuple", "$result", "x:a:action", '["answered",1,null]', None, True, -1, 1, 2.5),
    *([], {}, [1], {"a": 1}, float("inf")),
)


def garbled(tree: Any, dice: random.Random) -> Any:
    """Give a tree in which something is missing, or is what it should not be."""
    if dice.random() < 0.15:
        return dice.choice(NONSENSE)
    if not isinstance(tree, (dict, list)):
        return tree
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree)
    kept = {
        key: garbled(item, dice) if dice.random() < 0.3 else item
        for key, item in items
        if dice.random() < 0.97
    }
    return kept if isinstance(tree, dict) else [*kept.values()]


@pytest.mark.untraced
def test_nothing_that_it_is_given_makes_a_course_raise() -> None:
    """Rows and news are input: a workflow that raised would be replayed for ever."""
    for seed in range(EXAMPLES // 2):
        dice = random.Random(seed)  # noqa: S311 - no secret
        voyage = Voyage(seed)
        voyage.live()
        rows = carried(voyage.course)
        place = dice.randrange(len(rows))
        at, body = rows[place]
        torn = body[: dice.randrange(len(body))]
        wrong = json.dumps(garbled(json.loads(body), dice)) if dice.random() < 0.9 else torn
        rows[place] = (dice.choice([at, 0.0, 1e9]), wrong)
        with suppress(NewerFormatError):
            course = Course("x", rows, 1e6)
            for line in [*dice.choices(voyage.lines, k=4)] if voyage.lines else ():
                course.calls(2e6)
                course.tell(json.dumps(garbled(json.loads(line), dice)), 2e6)
            again = Course("x", course.rows(), 3e6)
            again.calls(3e6)
            assert again.wakes() is None or not again.is_over
