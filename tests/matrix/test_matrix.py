"""A call that has failed in a real client, and what the service has done: one cell of each kind.

A short run of `python -m tests.matrix`; `__init__.py` says how it works. What is asserted
holds however slow the machine is: a timeout that passes early makes another cell, not a wrong one.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from matrix import drivers, processes, services, streams
from matrix.cells import AGAIN, CLIENTS, HIDING, KNOWING, MANNERS, READING, Told, applies, run
from matrix.ways import MORE, REFUSALS, WAYS, Yard

pytestmark = [
    pytest.mark.untraced,  # other tests come to these lines, in less time
    # Some clients leave a socket to the collector when an answer breaks off.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Certificates, for all tests here; what clients have left open is not left to other tests."""
    yield Yard(tmp_path_factory.mktemp("certificates"))
    gc.collect()


def dealt(
    ways: Iterable[str], clients: Iterable[str], manners: Iterable[str]
) -> list[tuple[str, str, str]]:
    """Give each way the next client that can come there, and the next manner."""
    names, passed_on = itertools.cycle(clients), itertools.cycle(manners)
    return [
        (next(name for name in names if applies(name, way)), way, next(passed_on)) for way in ways
    ]


def check(told: Told) -> None:
    """Nothing that stands is called failed, and nothing that does not is called done."""
    assert told.excuse or not told.lost, told
    assert told.effects or told.outcome != "done", told


CELLS = dealt(WAYS | MORE, CLIENTS, MANNERS)
HANG = [cell for cell in CELLS if (WAYS | MORE)[cell[1]].hangs]


@pytest.mark.parametrize(("client", "way", "manner"), [cell for cell in CELLS if cell not in HANG])
def test_no_effect_is_called_failed(yard: Yard, client: str, way: str, manner: str) -> None:
    """At each instant, by one client after the other, and passed on in one manner or another."""
    check(run(yard, client, way, manner, graph=len(way) % 2 == 0))


def test_no_effect_is_called_failed_when_time_is_up(yard: Yard) -> None:
    """The same where a client waits for its timeout; all of these at once."""
    with ThreadPoolExecutor(len(HANG)) as pool:
        for told in pool.map(lambda cell: run(yard, *cell), HANG):
            check(told)


OF_OURS = dealt(WAYS | MORE, KNOWING, HIDING)
OURS_HANG = [cell for cell in OF_OURS if (WAYS | MORE)[cell[1]].hangs]


@pytest.mark.parametrize(
    ("client", "way", "manner"), [cell for cell in OF_OURS if cell not in OURS_HANG]
)
def test_clients_that_know_their_operation_need_no_error(
    yard: Yard, client: str, way: str, manner: str
) -> None:
    """Their notes tell, also where an error is hidden on purpose."""
    check(run(yard, client, way, manner, graph=len(way) % 2 == 0))


def test_they_need_none_when_time_is_up(yard: Yard) -> None:
    """The same where a client waits for its timeout; all of these at once."""
    with ThreadPoolExecutor(len(OURS_HANG)) as pool:
        for told in pool.map(lambda cell: run(yard, *cell), OURS_HANG):
            check(told)


SEVERAL = [way for way in MORE if "," in way or way.endswith("gone")]


@pytest.mark.parametrize(("client", "way", "manner"), dealt(SEVERAL, AGAIN, MANNERS))
def test_no_first_try_hides_behind_another(yard: Yard, client: str, way: str, manner: str) -> None:
    """A client that tries again by itself tells of its last try; the first may have arrived."""
    check(run(yard, client, way, manner))


@pytest.mark.parametrize(
    ("way", "client"), list(zip(REFUSALS, itertools.cycle(CLIENTS | KNOWING), strict=False))
)
def test_a_refusal_is_none(yard: Yard, client: str, way: str) -> None:
    """A service that says no has done nothing, and there is nothing to undo."""
    told = run(yard, client, way)

    assert (told.outcome, told.effects) == ("failed", 0), told


@pytest.mark.parametrize("client", READING)
def test_an_answer_that_cannot_be_read_is_not_a_refusal(yard: Yard, client: str) -> None:
    """The service has answered with a 201, and not with what was expected."""
    told = run(yard, client, "no-json")

    assert (told.outcome, told.effects) == ("in doubt", 1), told


ALONE: tuple[drivers.Family, ...] = (processes.cells, services.mail_cells, streams.cells)


def test_no_other_effect_is_called_failed() -> None:
    """Processes, mail, streams, all at once: what stands is in doubt, what was refused is not."""
    with ExitStack() as stack, ThreadPoolExecutor(8) as pool:  # none needs a server for all cells
        cells = [cell for family in ALONE for cell in family(stack, Path())]
        told = list(pool.map(lambda cell: drivers.run(*cell), cells))

    assert not [one for one in told if one.wrong]
    assert {bool(one.stands) for one in told} == {True, False}
