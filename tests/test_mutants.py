"""The mutants still fit the sources; `python -m tests.mutants` runs the tests on each of them."""

import pytest
from mutants import MUTANTS, Mutant, places


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.breaks for mutant in MUTANTS])
def test_a_mutant_finds_its_place(mutant: Mutant) -> None:
    """The text that it replaces stands in its file once, and it changes something."""
    assert places(mutant) == 1
    assert mutant.new != mutant.old


def test_the_mutants_are_told_apart() -> None:
    """Each breaks something else."""
    assert len({mutant.breaks for mutant in MUTANTS}) == len(MUTANTS)
