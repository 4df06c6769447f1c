"""The mutants still fit the sources; `python -m tests.mutants` runs the tests on each of them."""

import pytest

from mutants import (
    awaited,
    course,
    doubt,
    durable,
    errand,
    facts,
    leased,
    machine,
    projects,
    received,
    sessions,
    shut,
)
from mutants.mutant import TESTS, Edit, Mutant, NotFoundError, Sources, library

MUTANTS = (
    *machine.MUTANTS,
    *doubt.MUTANTS,
    *sessions.MUTANTS,
    *projects.MUTANTS,
    *durable.MUTANTS,
    *shut.MUTANTS,
    *leased.MUTANTS,
    *received.MUTANTS,
    *facts.MUTANTS,
    *awaited.MUTANTS,
    *course.MUTANTS,
    *errand.MUTANTS,
)
FILES = {
    "one.py": "def f():\n    return 1\n\n\nclass C:\n    def f(self):\n        return 1\n",
    "two.py": "class C:\n    @staticmethod\n    def g():\n        return 1\n\n\nx = 1\n",
    "data.sql": "SELECT 1",
    "deep/three.py": "def f():\n    return 1\n",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.breaks for mutant in MUTANTS])
def test_a_mutant_finds_its_place(mutant: Mutant) -> None:
    """The texts that it replaces stand in their functions once, and it changes something."""
    for edit in mutant.edits:
        assert library().place_of(edit)
        assert edit.new != edit.old


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.breaks for mutant in MUTANTS])
def test_what_notices_a_mutant_is_there(mutant: Mutant) -> None:
    """It names a folder of tests, a file of them, or one of them."""
    file, _, test = mutant.caught_by.partition("::")
    assert (TESTS / file).exists()
    assert not test or f"\ndef {test}(" in (TESTS / file).read_text(encoding="utf-8")


def test_the_mutants_are_told_apart() -> None:
    """Each breaks something else."""
    assert len({mutant.breaks for mutant in MUTANTS}) == len(MUTANTS)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Read these few files instead of the library."""
    root = tmp_path_factory.mktemp("sources")
    for file, text in FILES.items():
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_text(text, encoding="utf-8")
    return Sources(root)


@pytest.mark.parametrize(
    ("file", "where", "old", "found"),
    [
        ("one.py", "f", "return 1", ("one.py", "f")),
        ("one.py", "C.f", "return 1", ("one.py", "C.f")),
        ("one.py", "C.g", "@staticmethod", ("two.py", "C.g")),
        ("gone.py", "C.f", "return 1", ("one.py", "C.f")),
        ("gone.py", "C", "return 1", None),  # two classes of that name hold it
        ("one.py", "f", "return 2", None),
        ("gone.py", "f", "return 1", None),
        ("gone.py", "h", "return 1", None),
        ("sql/data.sql", "", "SELECT 1", ("data.sql", "")),
        ("two.py", "", "1", None),
        ("two.py", "", "x = 1", ("two.py", "")),
    ],
)
def test_a_mutant_follows_a_function_to_another_file(
    sources: Sources, file: str, where: str, old: str, found: tuple[str, str] | None
) -> None:
    """It is looked for in its function, and in those of the same name elsewhere; never guessed."""
    edit = Edit(file, where, old, "")

    if found is None:
        with pytest.raises(NotFoundError, match="not found once in"):
            sources.place_of(edit)
        return
    place = sources.place_of(edit)
    name = found[1].rpartition(".")[2]
    assert place.file == found[0]
    assert sources.texts[place.file][place.start : place.end].count(old) == 1
    assert not name or f"def {name}(" in sources.texts[place.file][place.start : place.end]
