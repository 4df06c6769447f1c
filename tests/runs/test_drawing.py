"""Looking at a saga: its `repr`, its Mermaid flowchart, and the state diagram of the docs."""

import re
import textwrap
from functools import partial
from typing import Any

import pytest
from world import World, failure_of, steps

from py_api_saga import SagaAssembler, Status
from py_api_saga.drawing import escaped, flowchart, state_diagram
from py_api_saga.status import LEGAL, SAGA_LEGAL


def reserve(*_: object) -> None:
    """Reserve."""


def release(*_: object) -> None:
    """Release."""


def charge(*_: object) -> None:
    """Charge."""


def courier(*_: object) -> None:
    """Book a courier."""


HOSTILE = [
    '"]; evil["',
    "a --> b",
    "<script>alert(1)</script>",
    "]",
    "#35;",
    "&quot;",
    "`code`",
    "line\nbreak",
    "tab\there",
    "click o0 javascript",
    "%% comment",
    "end",
    "🍵 tea",
    "naïve",
    "日本",
    "a;b",
    "{x}",
    "(x)",
    "|x|",
    "\\",
    "\x00",
    "\u2028",
    "**bold**",
]


# --- repr -----------------------------------------------------------------------------------------


def test_a_chain_is_drawn_with_arrows() -> None:
    """Each operation with what undoes it."""
    saga = SagaAssembler.saga(name="checkout")
    saga.operation((reserve, "mug"), release).operation(charge).operation(courier, release)

    assert repr(saga) == (
        "<SagaAssembler 'checkout': reserve ⇄ release → charge → courier ⇄ release>"
    )


def test_a_graph_is_drawn_with_what_comes_before() -> None:
    """No arrows, since it is not a chain."""
    saga = SagaAssembler.saga()
    saga.operation(reserve, release).operation(charge).operation(
        courier, after=["reserve", "charge"]
    )

    assert repr(saga) == (
        "<SagaAssembler: reserve ⇄ release, charge, courier (after reserve, charge)>"
    )


def test_an_empty_saga_says_so() -> None:
    """It can be printed at any time."""
    assert repr(SagaAssembler.saga()) == "<SagaAssembler: no operations>"


@pytest.mark.untraced
def test_a_long_saga_is_cut() -> None:
    """A line or two, however many there are."""
    saga = SagaAssembler.saga()
    for _ in range(12_345):
        saga.operation(reserve)

    assert repr(saga).endswith("reserve-8 … and 12,337 more>")
    assert len(repr(saga)) < 160


def test_a_subclass_and_a_child_are_named() -> None:
    """By their own names."""

    class Checkout(SagaAssembler):
        name = "shop"

    saga = Checkout.saga().operation(SagaAssembler.saga().operation(charge), name="payment")

    assert repr(saga) == "<Checkout 'shop': payment.charge>"


def test_arguments_are_not_shown() -> None:
    """They may be secrets."""
    saga = SagaAssembler.saga()
    saga.operation((reserve, "s3cret"), partial(release, "s3cret"), name="a")

    assert "s3cret" not in repr(saga) + saga.mermaid()


@pytest.mark.parametrize("undo", [partial(release), release, int, [].clear, type("Undo", (), {
    "__call__": lambda _: None})()])  # fmt: skip
def test_any_callable_can_be_shown(undo: Any) -> None:
    """Whether it has a name or not."""
    saga = SagaAssembler.saga().operation(reserve, undo)

    name = getattr(getattr(undo, "func", undo), "__name__", "Undo")
    assert repr(saga) == f"<SagaAssembler: reserve ⇄ {name}>"
    assert f"undo#58; {name}" in saga.mermaid()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_its_line(name: str) -> None:
    """A name with a line break in it does not forge a second line in a log."""
    saga = SagaAssembler.saga(name=name).operation(reserve, name=name)

    assert len(repr(saga).splitlines()) == 1


# --- mermaid --------------------------------------------------------------------------------------


def test_a_chain_as_a_flowchart() -> None:
    """Boxes with the undo below the name, and arrows in the order of declaration."""
    saga = SagaAssembler.saga().operation(reserve, release).operation(charge)
    saga.operation(courier, lambda: None)

    assert saga.mermaid() == textwrap.dedent(
        """\
        flowchart LR
            o0["reserve<br/>undo#58; release"]
            o1["charge"]
            o2["courier<br/>undo#58; #60;lambda#62;"]
            o0 --> o1
            o1 --> o2
        """
    )


def test_a_graph_as_a_flowchart() -> None:
    """Arrows for what was declared, and no others."""
    saga = SagaAssembler.saga().operation(reserve).operation(charge)
    saga.operation(courier, after=["reserve", "charge"])

    arrows = re.findall(r"o\d --> o\d", saga.mermaid())

    assert arrows == ["o0 --> o2", "o1 --> o2"]


def test_an_empty_flowchart() -> None:
    """Is one."""
    assert SagaAssembler.saga().mermaid() == "flowchart LR\n"


def test_a_child_in_a_flowchart() -> None:
    """Its operations with their own edges, behind what it comes after."""
    child = SagaAssembler.saga().operation(reserve).operation(charge)
    saga = SagaAssembler.saga().operation(courier).operation(child, name="packing", after="courier")

    text = saga.mermaid()

    assert 'o1["packing.reserve"]' in text
    assert re.findall(r"o\d --> o\d", text) == ["o0 --> o1", "o1 --> o2"]


SAFE = re.compile(r'    o\d+\["[\w .\-#;]*(<br/>[\w .\-#;]*)?"\]')


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_escaped(name: str) -> None:
    """Whatever Mermaid or HTML might read as syntax is written as an entity."""
    world = World()
    saga = SagaAssembler.saga()
    saga.operation(reserve, release, name=name)
    saga.operation((world.fail, "a", OSError()), name="next")

    for text in (saga.mermaid(), failure_of(lambda it: it.orchestrator_execute(), saga).mermaid()):
        lines = text.split("\n")
        assert lines[0] == "flowchart LR"
        assert SAFE.fullmatch(lines[1]), lines[1]
        assert lines[3:] == ["    o0 --> o1", ""]


@pytest.mark.parametrize("name", HOSTILE)
def test_an_escaped_name_can_be_read_back(name: str) -> None:
    """Mermaid shows `#` and a number as the character that it stands for."""
    shown = re.sub(r"#(\d+);", lambda match: chr(int(match[1])), escaped(name))

    assert shown == name


def test_a_hostile_function_name_is_escaped() -> None:
    """A function may be called anything, too."""

    def undo() -> None:
        pass

    undo.__name__ = '"]\nevil["'
    saga = SagaAssembler.saga().operation(reserve, undo, name="a")

    assert SAFE.fullmatch(saga.mermaid().split("\n")[1])
    assert len(repr(saga).splitlines()) == 1


def test_the_parts_of_a_flowchart() -> None:
    """Notes are optional, and several edges may end in one box."""
    assert flowchart([("a", None), ("b", "x"), ("c", None)], [(), (), (0, 1)]) == (
        'flowchart LR\n    o0["a"]\n    o1["b<br/>x"]\n    o2["c"]\n    o0 --> o2\n    o1 --> o2\n'
    )


def test_a_thousand_operations_can_be_drawn() -> None:
    """Each once."""
    saga = steps(World(), *[f"n{number}" for number in range(1000)])

    assert saga.mermaid().count("-->") == 999


def test_a_notebook_draws_a_saga_or_says_what_it_is() -> None:
    """It takes what it can show: JupyterLab draws Mermaid, others have the words."""
    saga = steps(World(), "a", "b")

    assert saga._repr_mimebundle_(include=None, exclude=None) == {
        "text/plain": repr(saga),
        "text/vnd.mermaid": saga.mermaid(),
    }


def test_a_notebook_has_only_words_for_more_lines_than_mermaid_draws() -> None:
    """It would show an error in the place of the picture."""
    few, many = (steps(World(), *[f"n{n}" for n in range(size)]) for size in (501, 502))

    assert "text/vnd.mermaid" in few._repr_mimebundle_()
    assert [*many._repr_mimebundle_()] == ["text/plain"]


# --- the state diagram ----------------------------------------------------------------------------


def test_the_state_diagram() -> None:
    """An arrow for each move, and where it begins."""
    moves = [("idle", ["busy"]), ("busy", ["idle", "broken"]), ("broken", [])]

    assert state_diagram(moves, "idle") == textwrap.dedent(
        """\
        stateDiagram-v2
            [*] --> idle
            idle --> busy
            busy --> idle
            busy --> broken
        """
    )


def test_the_state_diagram_of_the_table_of_moves() -> None:
    """All statuses and all legal moves are in it."""
    moves = [(status.name, [other.name for other in after]) for status, after in LEGAL.items()]

    text = state_diagram(moves, "PENDING")

    assert text.startswith("stateDiagram-v2\n    [*] --> PENDING\n")
    assert text.count("-->") == 1 + sum(map(len, LEGAL.values()))
    assert all(status.name in text for status in Status)
    assert set(LEGAL) == set(Status)
    assert len(SAGA_LEGAL) == 5
