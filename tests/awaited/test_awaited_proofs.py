"""No answer is lost, whoever is killed: a short run of `python -m tests.awaited`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from crash.sweeps import chance_of

from awaited import kills, moments, races
from awaited.ground import Ground, grounds

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


@pytest.fixture(scope="module")
def the_ground() -> Iterator[Ground]:
    """A yard with journals in files, for all tests here."""
    with grounds(["sqlite"]) as made:
        yield made[0]


@pytest.fixture
def ground(the_ground: Ground) -> Iterator[Ground]:
    """The same, where nothing was wrong before."""
    the_ground.found.wrong.clear()
    yield the_ground
    assert not the_ground.found.wrong, the_ground.found.wrong[:10]


def test_no_answer_is_missed_by_both_sides(ground: Ground) -> None:
    """It comes as its call says `later()`: whoever drives finds it, or whoever answers goes on."""
    assert "20 completed" in races.race(ground, 20, 0.006, seed=1)


def test_of_two_answers_at_once_one_is_the_first(ground: Ground) -> None:
    """The other is a conflict, unless it says the same."""
    assert "'first': 12" in races.at_once(ground, 12)


@pytest.mark.parametrize(
    "strike",
    [kills.Strike("early", "driver"), kills.Strike("brief", "answerer", late=True)],
    ids=str,
)
def test_an_answer_that_was_sent_once_is_enough(ground: Ground, strike: kills.Strike) -> None:
    """Once it is on record, whoever is killed around the commits on either side."""
    assert kills.Sweep(ground, strike, 5).close()


def test_a_graph_loses_no_answer_whoever_is_killed(ground: Ground) -> None:
    """Two branches wait, and answers come while other calls run and write: each counts, once."""
    assert kills.Sweep(ground, kills.Strike("graph-early", "driver"), 4).close()


def test_sagas_lose_no_answer_killed_at_any_moment(ground: Ground) -> None:
    """Runners, answerers and a worker; some answers are refusals, or late, or come twice."""
    before = ground.found.ends.total()
    moments.moments(ground, chance_of(3), moments.ANY, 0.8)
    assert ground.found.ends.total() > before
