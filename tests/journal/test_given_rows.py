"""What a journal holds of a saga that was written once: what it would hold had it been built."""

from collections.abc import Callable
from functools import partial
from typing import Any

import depot
import pytest
from depot import ask, do, undo
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from recorded import KINDS, Reversed, opening

from py_api_saga import Retry, SagaAssembler, SagaConflict, SagaDefinitionError, given, result_of
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.format import definitions, stencils, tagging

ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    ATOMS | st.sampled_from(["100 %s", "%", '"', '"operations":[]', b"raw", (1, 2), {3}]),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside, max_size=3)
    ),
    max_leaves=6,
)
GIVEN = st.fixed_dictionaries(
    {"a": VALUES, "order": st.fixed_dictionaries({"id": VALUES, "lines": st.tuples(VALUES)})}
)

# What stands in the arguments of a call, as a function of what "a" and "order" stand for.
Template = Callable[[Any, Any], Any]
LEAVES: list[Template] = [
    lambda a, _: a,
    lambda _, order: order,
    lambda _, order: order["id"],
    lambda _, order: order["lines"][0],
    lambda *_: result_of("x")["y"],
]
CONSTANTS = VALUES.map(lambda value: lambda *_: value)
TEMPLATES = st.recursive(
    st.sampled_from(LEAVES) | CONSTANTS,
    lambda inside: (
        st.lists(inside, max_size=2).map(
            lambda parts: lambda a, order: [part(a, order) for part in parts]
        )
        | st.tuples(inside, inside).map(
            lambda parts: lambda a, order: {"k": (parts[0](a, order),), "$l": parts[1](a, order)}
        )
    ),
    max_leaves=4,
)
CALLS = st.tuples(
    st.lists(TEMPLATES, max_size=3), st.dictionaries(st.sampled_from("kl"), TEMPLATES, max_size=2)
)
Call = tuple[list[Template], dict[str, Template]]


def sentence(calls: list[tuple[Call, Call]], a: Any, order: Any, **options: Any) -> SagaAssembler:
    """Write a saga with these in its arguments, or with what stands for them."""
    saga = SagaAssembler.saga(name="100 %s", **options).operation((do, "x"), name="x")
    for i, (action, compensation) in enumerate(calls):
        saga.operation(
            call(do, f"n{i}", action, (a, order)),
            call(undo, f"n{i}", compensation, (a, order)),
            name=f"n{i}",
            after="x",
            on_doubt=ask if i % 2 else "proceed",
            timeout=60 if i % 2 else None,
        )
    child = SagaAssembler.saga(name="child").operation((do, "c", a), (undo, "c", [order["id"]]))
    return saga.operation(child).operation((do, a, order["id"]), (undo, a), name="last")


def call(function: Any, name: str, arguments: Call, given: tuple[Any, Any]) -> Any:
    """Make a call of a function."""
    args, keywords = arguments
    made = {name: value(*given) for name, value in keywords.items()}
    return partial(function, name, *[value(*given) for value in args], **made)


def body(saga: Any, **options: Any) -> str:
    """Give what a journal holds of a saga that was started."""
    codec = Reversed() if options.pop("sealed", False) else None
    journal = MemoryJournal(modules=["depot"], codec=codec)
    saga.start(journal=journal, saga_id="x", **options)
    seen = journal.find("x")
    assert seen is not None
    (row,) = journal.rows([seen.number])[seen.number]
    return row.body


@pytest.mark.untraced
@settings(deadline=None, max_examples=60)
@for_all(
    st.lists(st.tuples(CALLS, CALLS), max_size=3),
    st.lists(GIVEN, min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_a_row_is_what_it_would_be_if_the_saga_had_been_built(
    calls: list[tuple[Call, Call]],
    runs: list[dict[str, Any]],
    at_once: bool,  # noqa: FBT001
    sealed: bool,  # noqa: FBT001
) -> None:
    """Whatever the arguments are, wherever they stand, in the first run and in later ones."""
    once = sentence(calls, given("a"), given("order"), on_crash="compensate")
    for arguments in runs:
        built = sentence(calls, arguments["a"], arguments["order"], on_crash="compensate")

        assert body(once.given(**arguments), at_once=at_once, sealed=sealed) == body(
            built, at_once=at_once, sealed=sealed
        )


def twice(**arguments: Any) -> tuple[Any, Any]:
    """Write one saga in both ways."""

    def write(value: Any) -> SagaAssembler:
        return (
            SagaAssembler.saga(name="depot", retry=Retry(OSError))
            .operation((do, "a", value["id"]), (undo, "a", value), name="a")
            .operation((do, "b", [value["id"], result_of("a")]), (undo, "b"), name="b", pivot=True)
            .operation((do, "c"), name="c", after="b")
        )

    return write(given("order")).given(**arguments), write(arguments["order"])


def test_an_id_is_that_of_one_saga_however_it_was_written(execute: Any, journal: Any) -> None:
    """Asked again in the other way, the caller gets what became of the first; nothing runs."""
    once, built = twice(order={"id": 7})
    results = execute(once, journal=journal, saga_id="x")

    assert execute(built, journal=journal, saga_id="x") == results == ["A", "B", "C"]
    assert execute(once, journal=journal, saga_id="x") == results
    assert depot.log == ["a", "b", "c"]
    for other in twice(order={"id": 8}):
        with pytest.raises(SagaConflict, match="the arguments of the action differ"):
            execute(other, journal=journal, saga_id="x")


class Secret:
    """A type that no journal may name."""


def deep(levels: int) -> Any:
    """Nest a list."""
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        {"id": Secret()},
        {"id": [1, Secret()]},
        {"id": "x" * (1 << 20)},
        {"id": "x" * 700_000, "more": "y" * 700_000},
        {"id": deep(98)},
        {"id": deep(99)},
        {"id": deep(100)},
        {"id": "\ud800"},
        {"id": 10**4300},
    ],
    ids=lambda value: type(value["id"]).__name__,
)
def test_what_cannot_be_stored_is_refused_in_the_same_words(
    value: Any,
    sealed: bool,  # noqa: FBT001
) -> None:
    """Or stored in both ways."""
    said = []
    for saga in twice(order=value):
        try:
            said.append(body(saga, sealed=sealed))
        except SagaDefinitionError as error:
            said.append(str(error))

    assert said[0] == said[1]


def test_what_is_too_much_together_is_refused_in_the_same_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each argument would have room, both have not."""
    for module in (definitions, tagging):
        monkeypatch.setattr(module, "MAX_VALUE", 1000)
    lists = {"a": [0] * 600, "b": [0] * 600}
    saga = SagaAssembler.saga().operation((do, "a", given("a"), given("b")), name="a")

    with pytest.raises(SagaDefinitionError, match="its arguments, together") as caught:
        body(saga.given(**lists))

    built = SagaAssembler.saga().operation((do, "a", lists["a"], lists["b"]), name="a")
    with pytest.raises(SagaDefinitionError) as other:
        body(built)
    assert str(caught.value) == str(other.value)


def test_each_kind_of_argument_is_written_as_it_would_be() -> None:
    """What is plain, given, both in one list, a result, or a keyword; with signs of formats."""

    def write(value: Any) -> SagaAssembler:
        arguments = ("100 %s", value, [value, 1], result_of("a")["x"], {"plain": 1})
        return (
            SagaAssembler.saga(name="%s")
            .operation((do, "a"), (undo, "a", value), name="a")
            .operation(partial(do, "b", *arguments, key=value), name="b")
            .operation(partial(do, "c", key="%d"), (undo, value), name="c")
        )

    for value in ("%s", {"deep": ["%"]}, 7):
        assert body(write(given("x")).given(x=value)) == body(write(value))


def test_what_is_changed_between_two_runs_is_written_as_it_is() -> None:
    """A list that is not a run's own, but the saga's: a run is called with what is in it then."""
    options = {"fast": False}
    saga = SagaAssembler.saga().operation((do, "a", options, given("x")), name="a")
    body(saga.given(x=1))
    options["fast"] = True

    assert '"a",{"fast":true},2' in body(saga.given(x=2))


def test_a_text_is_kept_for_what_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """For journals with the same modules and aliases; what is added to a saga makes another one."""
    made: list[Any] = []
    init = stencils.Stencil.__init__

    def counted(stencil: Any, *parts: Any) -> None:
        made.append(stencil)
        init(stencil, *parts)

    monkeypatch.setattr(stencils.Stencil, "__init__", counted)
    saga = SagaAssembler.saga().operation((do, "a", given("x")), (undo, "a"), name="a")
    for x in range(3):
        body(saga.given(x=x))
        body(saga.given(x=x), sealed=True)
    assert len(made) == 1
    body(saga.given(x=1), at_once=True)
    assert len(made) == 2
    with pytest.raises(SagaDefinitionError, match="does not list"):
        saga.given(x=1).start(journal=MemoryJournal(), saga_id="x")
    saga.operation((do, "b"), name="b")
    assert '"name":"b"' in body(saga.given(x=1))
    assert len(made) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_under_asyncio_says_so(kind: str, execute_async: Any) -> None:
    """And has its deadline and its limit: these are of the run, not of the saga."""
    once, _ = twice(order={"id": 7})
    with opening(kind) as journal:
        execute_async(once, journal=journal, saga_id="x", deadline=1000)
        seen = journal.find("x")
        text = journal.rows([seen.number])[seen.number][0].body

    assert '"until":' in text
    assert '"asyncio":true' in text
    depot.reset()


def test_what_is_large_all_together_is_written_in_full() -> None:
    """It is looked at part by part then; each of these has room."""
    large = "x" * 500_000
    saga = SagaAssembler.saga(name="depot")
    built = SagaAssembler.saga(name="depot")
    for name in "abc":
        saga.operation((do, name, given("text")), (undo, name), name=name)
        built.operation((do, name, large), (undo, name), name=name)

    assert body(saga.given(text=large)) == body(built)


@pytest.mark.parametrize("name", ["Prüfung 🐫", "half \ud83d"])
def test_names_in_any_script_are_written_alike(name: str) -> None:
    """Or refused alike, if no file can hold them."""
    said = []
    for value, arguments in ((given("text"), {"text": "x"}), ("x", None)):
        saga = SagaAssembler.saga(name="depot").operation((do, value), (undo, value), name=name)
        try:
            said.append(body(saga if arguments is None else saga.given(**arguments)))
        except SagaDefinitionError as error:
            said.append(str(error))

    assert said[0] == said[1]
