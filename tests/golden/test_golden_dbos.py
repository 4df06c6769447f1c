"""Sagas that an earlier version began on DBOS are gone on with by this one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from py_api_saga.engines.course import Course
from py_api_saga.engines.dbos_loop import Recorded, replayed, rows_of
from py_api_saga.engines.rows import Rows

RECORDED = sorted((Path(__file__).parent / "dbos").glob("*.json"))


def read(path: Path) -> Any:
    """Read what is on record of a saga."""
    return json.loads(path.read_text())


def replay(path: Path, steps: Any) -> tuple[bool, Recorded, Rows]:
    """Replay a saga with these steps: whether it ends with them, what it began, and its rows."""
    given, began = read(path)["given"]
    recorded = Recorded({number: output for number, _, output in steps})
    course = Course(path.stem, rows_of(given), began)
    is_over = replayed(course, recorded, began)
    return is_over, recorded, course.rows()


def test_all_kinds_are_on_record() -> None:
    """What befalls sagas: results passed on, retries, rollbacks, what lands late, answers."""
    assert {path.stem for path in RECORDED} == {
        *("success", "failure", "diamond", "retries", "late", "waits", "cancelled"),
    }


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_steps_are_replayed(path: Path) -> None:
    """By the same names in the same order, to the same end; else `saga.v2` is due."""
    told = read(path)

    is_over, recorded, rows = replay(path, told["steps"])

    assert is_over
    assert [recorded.names[number] for number, _, _ in told["steps"]] == [
        name for _, name, _ in told["steps"]
    ]
    assert rows == rows_of(told["result"])


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_saga_is_where_its_record_ends(path: Path) -> None:
    """Wherever it was cut off: it begins the next step, has no end, and is the longer the more."""
    told = read(path)
    lengths = []

    for count in range(len(told["steps"])):
        is_over, recorded, rows = replay(path, told["steps"][:count])
        assert not is_over
        assert max(recorded.names) > count or told["steps"][count][0] in recorded.names
        lengths.append(sum(len(body) for _, body in rows))

    assert lengths == sorted(lengths)
    assert lengths[0] < sum(len(body) for _, body in told["result"])


def test_other_steps_are_not_replayed() -> None:
    """What was called in another order leads to another end, so the above means something."""
    path = next(path for path in RECORDED if path.stem == "success")
    (one, _, first), (two, _, second), *rest = read(path)["steps"]

    is_over, _, rows = replay(path, [(one, "", second), (two, "", first), *rest])

    assert not is_over or rows != rows_of(read(path)["result"])
