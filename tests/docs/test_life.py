"""The pages on the inside: held to what a saga really goes through, and to what is there."""

import json
import re
import subprocess
import sys
from typing import Any

import lives
import pytest
from inside import PLACE, is_there
from pages import PAGES
from paths import ROOT, search_path
from world import unmeasured

PAGE = PAGES["docs/explanation/life-of-a-call.md"]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
COLUMNS = ("chain", "choreography", "asyncio")
THREADS = ("caller", "loop", *dict.fromkeys(lives.THREADS.values()))
STEP = re.compile(rf"\b({'|'.join(THREADS)})\s+(?=`)|{PLACE.pattern}")

Steps = list[tuple[str, str]]


def steps(text: str) -> Steps:
    """Give the functions that a text names behind a thread, with that thread."""
    found: Steps = []
    thread, end = "", 0
    for step in STEP.finditer(text):
        if step[1]:
            thread = step[1]
        elif thread and not text[end : step.start()].strip(" \n→"):
            found.append((step[2], thread))
        else:
            thread = ""  # words have come between: a place, and no step
        end = step.end()
    return found


def told() -> dict[str, Steps]:
    """Give what the page tells of each life."""
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in rows[0]] == ["", *COLUMNS]
    lives_told = {
        column: [step for row in rows[2:] for step in steps(row[i])]
        for i, column in enumerate(COLUMNS, start=1)
    }
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[2:]:
        title, _, text = section.partition("\n")
        lives_told[title] = steps(text)
    return lives_told


TOLD = told()


@pytest.fixture(scope="module")
def noted() -> dict[str, Any]:
    """Give what was noted of each life, in a process of its own."""
    ran = subprocess.run(
        [sys.executable, lives.__file__],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
        env={**unmeasured(), "PYTHONPATH": search_path(ROOT / "src")},
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_what_the_page_names_is_there() -> None:
    """Each function, class and table, in that module."""
    places = PLACE.findall(PAGE)

    assert len(places) > 100
    assert [place for place in places if not is_there(place)] == []
    assert not is_there("execution:Execution.think")
    assert not is_there("nowhere:nothing")


def test_the_answers_for_contributors_name_what_is_there() -> None:
    """Ten questions on where something happens, each answered by a place in the code."""
    section = CONTRIBUTING.partition("## Where would you change")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")]

    assert len(rows) == 11, "a heading and ten questions"
    for question, answer in rows[1:]:
        assert not PLACE.search(question)
        assert PLACE.search(answer), question
    assert [place for place in PLACE.findall(CONTRIBUTING) if not is_there(place)] == []


def test_the_words_of_the_inside_are_at_home_where_the_glossary_says() -> None:
    """Each in one place, which is there."""
    rows = [line for line in PAGES["docs/glossary.md"].splitlines() if line.startswith("| ")][1:]

    assert len(rows) > 15
    homes = [place for row in rows for place in PLACE.findall(row)]
    assert len(homes) == len(rows)
    assert [place for place in homes if not is_there(place)] == []


@pytest.mark.parametrize("life", lives.LIVES)
def test_a_saga_goes_where_the_page_says(life: str, noted: dict[str, Any]) -> None:
    """Function by function, in this order and in this thread."""
    expected = TOLD[life]
    assert len(expected) > 5
    calls = iter(map(tuple, noted[life]))

    for i, step in enumerate(expected):
        assert step in calls, f"{step} does not come after {expected[max(0, i - 3) : i]}"
