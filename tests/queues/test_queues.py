"""What `python -m tests.queues` judges by; the workers themselves run there.

Nothing here needs a queue: these tests see that a ledger which must not be is found out, and that
what the proof takes from the how-to is there.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from queues import ledger, operations, page
from queues.ledger import Line

ONE, OTHER = (1, 1), (2, 2)


def call(name: str, who: tuple[int, int] = ONE, key: str = "saga:key") -> list[Line]:
    """Give a call that takes effect."""
    return [
        Line("begin", "order", name, key, who),
        Line("effect", "order", name, key, who),
        Line("end", "order", name, "", who),
    ]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (call("charge"), []),
        (call("charge")[:2], ["charge did not come to an end"]),
        (
            [*call("charge")[:2], *call("charge", OTHER)],
            ["charge began while charge ran in (1, 1)"],
        ),
        (
            [*call("charge")[:2], *call("refund"), call("charge")[2]],
            ["refund began while charge ran"],
        ),
        (
            [*call("charge"), *call("charge", key="saga:other")],
            ["saga: charge was called under 2 keys"],
        ),
        ([*call("charge"), *call("charge", key="again:key")], []),
        (
            [Line("undone", "order", "charge", "saga:key"), *call("charge")],
            ["charge took effect after it was undone"],
        ),
        ([*call("charge")[:2], Line("killed", "order", who=ONE), *call("charge", OTHER)], []),
        (
            [*call("charge")[:2], Line("killed", "order", who=OTHER)],
            ["charge did not come to an end"],
        ),
    ],
)
def test_a_ledger_that_must_not_be_is_found_out(lines: list[Line], found: list[str]) -> None:
    """Calls at once, calls that run on, two keys for one call, an effect behind its undo."""
    said = list(ledger.contradictions(lines))

    assert len(said) == len(found)
    for words, expected in zip(said, found, strict=True):
        assert expected in words


def test_an_effect_stands_until_it_is_undone_and_counts_once_for_each_key() -> None:
    """As at a service that honours the key."""
    lines = [*call("reserve", key="saga:1"), *call("charge"), *call("charge", OTHER)]

    assert ledger.standing(lines) == ["reserve", "charge"]
    assert ledger.standing([*lines, Line("undone", "order", "charge", "saga:key")]) == ["reserve"]


def test_the_page_has_the_files_and_the_commands_of_each_queue(tmp_path: Path) -> None:
    """What the workers run is taken from it, and operations of ours have the names of its own."""
    commands = page.written(tmp_path)

    assert commands.keys() == {*page.TASKS, "saga"}
    for name in page.TASKS:
        assert commands[name][0] == name
        assert f"{name}_tasks" in " ".join(commands[name]) or name == "rq"
        assert (tmp_path / f"{name}_tasks.py").exists()
    shop = (tmp_path / "shop.py").read_text(encoding="utf-8")
    imports = next(node for node in ast.parse(shop).body if isinstance(node, ast.ImportFrom))
    assert {alias.name for alias in imports.names} <= vars(operations).keys()
