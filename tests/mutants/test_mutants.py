"""The mutants still fit the sources; `python -m tests.mutants` runs the tests on each of them."""

import pytest

from mutants import doubt, durable, machine, shut
from mutants.mutant import TESTS, Mutant, places

MUTANTS = (*machine.MUTANTS, *doubt.MUTANTS, *durable.MUTANTS, *shut.MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.breaks for mutant in MUTANTS])
def test_a_mutant_finds_its_place(mutant: Mutant) -> None:
    """The texts that it replaces stand in their files once, and it changes something."""
    assert places(mutant) == [1] * len(mutant.edits)
    assert all(edit.new != edit.old for edit in mutant.edits)


@pytest.mark.parametrize("mutant", durable.MUTANTS, ids=[m.breaks for m in durable.MUTANTS])
def test_what_notices_a_mutant_of_the_durable_code_is_a_test(mutant: Mutant) -> None:
    """It names one of the tests of crashes."""
    assert f"def {mutant.caught_by}(" in (TESTS / "crash/test_crash.py").read_text()


@pytest.mark.parametrize("mutant", shut.MUTANTS, ids=[m.breaks for m in shut.MUTANTS])
def test_what_notices_a_mutant_of_the_gate_is_a_test(mutant: Mutant) -> None:
    """It names one of those of the gate."""
    assert f"def {mutant.caught_by}(" in (TESTS / "journal/test_gate.py").read_text()


def test_the_mutants_are_told_apart() -> None:
    """Each breaks something else."""
    assert len({mutant.breaks for mutant in MUTANTS}) == len(MUTANTS)
