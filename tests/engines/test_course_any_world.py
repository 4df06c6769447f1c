"""Any saga on an engine, whatever befalls it: `voyage.Voyage` says what holds of its course."""

import os
import subprocess
import sys

import pytest
from paths import SUPPORT, search_path
from voyage import Voyage, main
from world import unmeasured

from py_api_saga import SagaStatus

EXAMPLES = int(os.environ.get("SAGA_EXAMPLES", "0")) or 300
SEEN = 300  # sagas that another process looks at


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
