"""Sagas that an earlier version began on Temporal are gone on with by this one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from paths import search_path
from world import unmeasured

pytest.importorskip("temporalio")

from temporalio.client import WorkflowHistory

from py_api_saga.engines.temporal_history import History
from py_api_saga.engines.temporal_workflow import text_of

HERE = Path(__file__).parent
HISTORIES = sorted((HERE / "temporal").glob("*.json"))
REPLAY = HERE / "replay_temporal.py"


def replayed(*paths: Path, seed: str) -> subprocess.CompletedProcess[str]:
    """Replay histories in another process, with another order of what is hashed."""
    return subprocess.run(
        [sys.executable, str(REPLAY), *map(str, paths)],
        capture_output=True,
        text=True,
        env={**unmeasured(), "PYTHONPATH": search_path(), "PYTHONHASHSEED": seed},
        check=False,
    )


def test_histories_are_replayed() -> None:
    """Without a difference; else a new name is due, `saga.v2`, and the old one's workers stay."""
    assert {path.stem for path in HISTORIES} >= {
        *("success", "failure", "diamond", "retries", "late", "waits", "cancelled"),
    }

    ran = replayed(*HISTORIES, seed="1")

    assert ran.stdout.split() == [path.stem for path in HISTORIES], ran.stderr[-3000:]
    assert ran.returncode == 0


def test_other_history_is_not_replayed(tmp_path: Path) -> None:
    """What has been called in another order is found, so what is above means something."""
    other = tmp_path / "success.json"
    text = (HERE / "temporal" / "success.json").read_text()
    tree = json.loads(text)
    scheduled = [it for it in tree["events"] if "activityTaskScheduledEventAttributes" in it]
    del tree["events"][tree["events"].index(scheduled[0]) + 1 :]
    scheduled[0]["activityTaskScheduledEventAttributes"]["activityId"] = "7"
    other.write_text(json.dumps(tree))

    ran = replayed(other, seed="1")

    assert ran.returncode != 0
    assert "Nondeterminism" in ran.stderr


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_history_tells_what_its_workflow_came_to(path: Path) -> None:
    """Who reads it comes to the very rows that the workflow has given as its result."""
    events = WorkflowHistory.from_json(path.stem, path.read_text()).events
    result = events[-1].workflow_execution_completed_event_attributes.result.payloads[0]

    history = History(path.stem, events)

    assert text_of(history.rows()) == result.data.decode()
    assert history.at_rest


def test_history_of_a_newer_format_gives_what_its_workflow_was_given() -> None:
    """Whoever reads these rows is told that a newer version is needed."""
    path = HERE / "temporal" / "success.json"
    events = WorkflowHistory.from_json(path.stem, path.read_text()).events
    given = events[0].workflow_execution_started_event_attributes.input.payloads[0]
    given.data = given.data.replace(b'"format":1,', b'"format":99,')

    assert text_of(History(path.stem, events).rows()) == given.data.decode()
