"""`result_of`: the result of one operation as an argument of another, and child sagas by name."""

import copy
import json
import operator
import pickle
import threading
import time
from collections import Counter, OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest

from py_api_saga import (
    Results,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStuck,
    Status,
    result_of,
)

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]

PATIENCE = 5.0


class Parcel(NamedTuple):
    """A named tuple, as users write them."""

    order: Any
    note: Any = "none"


Old = namedtuple("Old", "order note")  # noqa: PYI024 - the older way to write one


class Basket(list[Any]):
    """A list of the user's own."""


class Pair(tuple[Any, ...]):
    """A tuple of the user's own."""

    __slots__ = ()


def reload(value: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> Any:
    """Pickle a thing and load it again."""
    return pickle.loads(pickle.dumps(value, protocol))  # noqa: S301 - our own bytes


def order() -> dict[Any, Any]:
    """Give a result with depth."""
    return {
        "id": 17,
        "lines": [{"item": "mug", "count": 2}],
        "buyer": SimpleNamespace(name="Ada", phones=("1", "2")),
        3: "three",
    }


def give(value: Any) -> Any:
    """Return what was given."""
    return value


def gives(*args: Any, **keywords: Any) -> Any:
    """Return all that was given."""
    return args, keywords


def run(execute: Execute, argument: Any) -> Any:
    """Run `order`, then an operation with the argument; return what it was given."""
    saga = SagaAssembler.saga().operation(order).operation((give, argument))
    return execute(saga)[1]


# --- resolution --------------------------------------------------------------

ID = result_of("order")["id"]


@pytest.mark.parametrize(
    ("placeholder", "expected"),
    [
        (result_of("order")["id"], 17),
        (result_of("order")["lines"][0]["item"], "mug"),
        (result_of("order")["lines"][-1], {"item": "mug", "count": 2}),
        (result_of("order")["lines"][0:1], [{"item": "mug", "count": 2}]),
        (result_of("order")["buyer"].name, "Ada"),
        (result_of("order")["buyer"].phones[1], "2"),
        (result_of("order")[3], "three"),
    ],
)
def test_items_and_attributes_are_named_as_on_the_result(
    placeholder: Any, expected: object, execute: Execute
) -> None:
    """`[...]` and `.attribute`, one after the other."""
    assert run(execute, placeholder) == expected


def test_a_whole_result_is_the_very_object(execute: Execute) -> None:
    """Nothing is copied on the way."""
    thing = object()
    saga = SagaAssembler.saga().operation((give, thing), name="a").operation((give, result_of("a")))

    assert execute(saga)[1] is thing


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ([ID], [17]),
        ((ID,), (17,)),
        ({"order": ID}, {"order": 17}),
        ([[[[ID]]]], [[[[17]]]]),
        ({"a": [({"b": (1, ID)},)]}, {"a": [({"b": (1, 17)},)]}),
        ([ID, ID, "x"], [17, 17, "x"]),
        ([], []),
        ((), ()),
        ({}, {}),
        (Parcel(ID), Parcel(17)),
        (Parcel(1, [ID]), Parcel(1, [17])),
        (Old(ID, None), Old(17, None)),
        (Basket([ID]), Basket([17])),
        (Pair((ID, 2)), Pair((17, 2))),
        (OrderedDict(b=ID, a=1), OrderedDict(b=17, a=1)),
        (defaultdict(int, a=ID), defaultdict(int, a=17)),
        (Counter(a=ID), Counter(a=17)),
    ],
)
def test_placeholders_are_found_at_any_depth(
    argument: Any, expected: Any, execute: Execute
) -> None:
    """In lists, tuples, dicts and named tuples, which keep their types."""
    got = run(execute, argument)

    assert got == expected
    assert type(got) is type(expected)
    if isinstance(expected, defaultdict):
        assert got.default_factory is int


def test_placeholders_are_found_however_deep(execute: Execute) -> None:
    """Fifty levels are like one."""
    argument: Any = ID
    for level in range(50):
        argument = [argument] if level % 2 else {"deeper": argument}

    got = run(execute, argument)
    for level in reversed(range(50)):
        got = got[0] if level % 2 else got["deeper"]

    assert got == 17


def test_placeholders_are_found_in_positions_and_keywords(execute: Execute) -> None:
    """In a tuple's arguments, a partial's arguments and a partial's keywords."""
    saga = SagaAssembler.saga().operation(order)
    saga.operation((gives, 1, ID, [ID]), name="tuple")
    saga.operation(partial(gives, ID, key=[ID]), name="partial")
    saga.operation((partial(gives, ID, key=ID), 2), name="both")

    results = execute(saga)

    assert results["tuple"] == ((1, 17, [17]), {})
    assert results["partial"] == ((17,), {"key": [17]})
    assert results["both"] == ((17, 2), {"key": 17})


def test_what_the_user_wrote_down_is_not_changed(execute: Execute) -> None:
    """A saga can run again, for its lists still hold the placeholders."""
    argument = {"orders": [ID]}

    assert run(execute, argument) == run(execute, argument) == {"orders": [17]}
    assert repr(argument) == "{'orders': [result_of('order')['id']]}"


def test_what_holds_no_placeholder_is_not_copied(execute: Execute) -> None:
    """The call gets the user's very list, also beside one that is filled in."""
    plain = ["plain"]

    assert run(execute, plain) is plain
    assert run(execute, [ID, plain])[1] is plain


def test_a_list_that_holds_itself_does_not_hang(execute: Execute) -> None:
    """It is passed as it is."""
    loop: list[Any] = [1]
    loop.append(loop)

    assert run(execute, loop) is loop


def test_a_list_that_holds_itself_and_a_placeholder_does_not_hang(execute: Execute) -> None:
    """It is filled in, or refused; never an error in the middle of a run."""
    loop: list[Any] = [ID]
    loop.append(loop)
    mapping: dict[str, Any] = {"id": ID}
    mapping["self"] = mapping

    for argument in (loop, mapping):
        saga = SagaAssembler.saga().operation(order)
        try:
            saga.operation((give, argument))
        except SagaDefinitionError:
            continue
        got = execute(saga)[1]
        first, inner = (got[0], got[1]) if isinstance(got, list) else (got["id"], got["self"])
        assert first == 17
        assert inner is got


def test_a_structure_with_many_paths_does_not_hang(execute: Execute) -> None:
    """Each list is filled in once, also if it is reached over thousands of paths."""
    shared: Any = [ID]
    for _ in range(12):
        shared = [shared, shared]

    got = run(execute, shared)

    for _ in range(12):
        assert got[0] is got[1]
        got = got[1]
    assert got == [17]


def test_a_missing_item_is_the_operations_failure(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """The action is not called; what was done before is undone."""
    saga = SagaAssembler.saga().operation(order, step("undo_order"))
    saga.operation((step("never"), result_of("order")["price"]), step("undo_never"))

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert log == ["undo_order"]
    assert caught.value.operation_name == "never"
    assert isinstance(caught.value.operation_error, KeyError)


class Receipt:
    """A result with attributes."""

    def __init__(self) -> None:
        self.number, self._secret = 17, "4242"


class OddItems(dict[str, int]):
    """A result that fails in its own way."""

    def __missing__(self, key: str) -> int:
        raise OddError(key, "missing")


class OddError(Exception):
    """An error that takes two arguments."""

    def __init__(self, key: str, word: str) -> None:
        super().__init__(key, word)


@pytest.mark.parametrize(
    ("returned", "placeholder", "kind", "words"),
    [
        (
            {"id": "4242", "shelf": 7},
            result_of("order")["ID"],
            KeyError,
            "result_of('order')['ID'] is not there: result_of('order') is of the type dict",
        ),
        (
            {"id": "4242", "shelf": 7},
            result_of("order")["ID"],
            KeyError,
            "is of the type dict and has 'id', 'shelf'",
        ),
        ({}, result_of("order")["ID"], KeyError, "dict and has no names"),
        (
            {"lines": [{"sku": "mug"}]},
            result_of("order")["lines"][1]["sku"],
            IndexError,
            "result_of('order')['lines'] is of the type list and has the length 1",
        ),
        (Receipt(), result_of("order").id, AttributeError, "is of the type Receipt and has number"),
        (None, result_of("order")["id"], TypeError, "result_of('order') is of the type NoneType"),
        (dict.fromkeys(range(99)), result_of("order")["id"], KeyError, "19 and 79 more"),
    ],
)
def test_a_placeholder_that_finds_nothing_says_what_there_is(
    execute: Execute, step: Step, returned: Any, placeholder: Any, kind: type, words: str
) -> None:
    """Its own name and the names in the result: never what is under these."""
    saga = SagaAssembler.saga().operation(step("order", returns=returned))
    saga.operation((step("never"), placeholder))

    with pytest.raises(SagaException) as caught:
        execute(saga)

    error: Any = caught.value.operation_error
    assert words in error.args[0]
    assert type(error) is kind
    assert words.replace("'", "") in str(caught.value).replace("\\'", "").replace("'", "")
    assert "4242" not in str(caught.value)


def test_an_odd_error_of_a_result_stays_what_it_is(execute: Execute, step: Step) -> None:
    """It may be made in another way than by a text: what there is stands in a note."""
    saga = SagaAssembler.saga().operation(step("order", returns=OddItems(id=1)))
    saga.operation((step("never"), result_of("order")["ID"]))

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert type(caught.value.operation_error) is OddError
    assert "is of the type OddItems and has 'id'" in caught.value.operation_error.__notes__[0]


def test_a_missing_item_in_a_compensation_leaves_it_stuck(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """It cannot be called; the other compensations still run."""
    saga = SagaAssembler.saga().operation(step("first"), step("undo_first"))
    saga.operation(order, (step("never"), result_of()["price"]), after=["first"])
    saga.operation(step("bad", raises=ValueError("boom")), after=["order"])

    with pytest.raises(SagaStuck) as caught:
        execute(saga)

    assert log == ["first", "bad", "undo_first"]
    assert isinstance(caught.value.stuck["order"], KeyError)


# --- in compensations --------------------------------------------------------


def test_a_compensation_uses_its_own_result(execute: Execute) -> None:
    """`result_of()`: what the action returned, whole, by item, nested and in keywords."""
    undone: list[Any] = []

    def undo(*args: Any, **keywords: Any) -> None:
        undone.append((args, keywords))

    own = result_of()
    saga = SagaAssembler.saga().operation(
        order, (undo, own["id"], [own["buyer"].name], {"x": own[3]})
    )
    saga.operation((give, "b"), partial(undo, own, key=own), name="b", after=["order"])
    saga.operation((give, "c"), [undo, own], name="c", after=["b"])
    saga.operation((order.__getattribute__, "missing"), name="bad", after=["c"])

    with pytest.raises(SagaException):
        execute(saga)

    assert undone == [
        (("c",), {}),
        (("b",), {"key": "b"}),
        ((17, ["Ada"], {"x": "three"}), {}),
    ]


def test_an_own_result_of_none_is_a_result(execute: Execute) -> None:
    """None is what the action returned."""
    undone: list[Any] = []
    saga = SagaAssembler.saga().operation((give, None), (undone.append, result_of()), name="a")
    saga.operation((give, result_of("a")["x"]))

    with pytest.raises(SagaException):
        execute(saga)

    assert undone == [None]


def test_a_compensation_may_name_its_own_operation(execute: Execute) -> None:
    """`result_of("charge")` in the compensation of `charge` is its own result too, or refused."""
    undone: list[Any] = []
    saga = SagaAssembler.saga()
    try:
        saga.operation((give, 5), (undone.append, result_of("charge")), name="charge")
    except SagaDefinitionError:
        return
    saga.operation((give, result_of("charge")["x"]))

    with pytest.raises(SagaException):
        execute(saga)

    assert undone == [5]


def test_an_own_result_in_an_action_is_refused() -> None:
    """An action has no result before it has run."""
    saga = SagaAssembler.saga().operation(order)
    for argument in (result_of(), result_of()["id"], [result_of()], {"x": (result_of(),)}):
        with pytest.raises(SagaDefinitionError, match=r"operation 2.*result_of\(\)"):
            saga.operation((give, argument))
        with pytest.raises(SagaDefinitionError, match=r"operation 2.*result_of\(\)"):
            saga.operation(partial(gives, key=argument))

    assert len(saga.orchestrator_execute()) == 1


@pytest.mark.parametrize("name", [5, None, b"order", ["order"], order])
def test_result_of_takes_a_name(name: Any) -> None:
    """A function is not a name: two operations may share it."""
    with pytest.raises((TypeError, SagaDefinitionError), match="name"):
        result_of(name)


def test_a_compensation_in_a_chain_uses_any_earlier_result(execute_chain: Execute) -> None:
    """In a chain all that came before are ancestors."""
    undone: list[Any] = []
    saga = SagaAssembler.saga().operation(order).operation((give, "b"), name="b")
    saga.operation((give, "c"), (undone.append, [ID, result_of("b"), result_of()]), name="c")
    saga.operation((give, result_of("c").missing))

    with pytest.raises(SagaException):
        execute_chain(saga)

    assert undone == [[17, "b", "c"]]


def test_a_compensation_in_a_choreography_uses_its_ancestors_results(
    execute_graph: Execute,
) -> None:
    """Parents and their parents, by placeholder or by `after=`."""
    undone: list[Any] = []
    saga = SagaAssembler.saga().operation(order)
    saga.operation((give, ID), name="b")
    saga.operation(
        (give, "c"), (undone.append, [ID, result_of("b"), result_of()]), name="c", after=["b"]
    )
    saga.operation((give, result_of("c").missing))

    with pytest.raises(SagaException):
        execute_graph(saga)

    assert undone == [[17, 17, "c"]]


def test_a_compensation_in_a_choreography_uses_no_other_results(
    execute_graph: Execute, step: Step, log: list[str]
) -> None:
    """A sibling may not have run: refused before anything runs, and fine in a chain."""
    saga = SagaAssembler.saga().operation(step("sibling"))
    saga.operation(step("charge"), (step("refund"), result_of("sibling")))

    with pytest.raises(SagaDefinitionError, match="'charge'") as caught:
        execute_graph(saga)

    assert log == []
    assert "'sibling'" in str(caught.value)
    assert saga.orchestrator_execute() == [None, None]


# --- edges -------------------------------------------------------------------


def test_a_placeholder_is_an_edge(execute_graph: Execute, log: list[str]) -> None:
    """An operation waits for those whose results it uses, and is undone before them."""

    def slow(name: str) -> str:
        time.sleep(0.02)
        log.append(name)
        return name

    def quick(name: str, *_: Any) -> str:
        log.append(name)
        return name

    undo = log.append
    saga = SagaAssembler.saga()
    saga.operation((slow, "a"), (undo, "-a"), name="a")
    saga.operation((quick, "b", [{"x": result_of("a")}]), (undo, "-b"), name="b")
    saga.operation(partial(quick, "c", result_of("b")[0]), (undo, "-c"), name="c")
    saga.operation((quick, result_of("c").missing), name="bad")

    with pytest.raises(SagaException):
        execute_graph(saga)

    assert log == ["a", "b", "c", "-c", "-b", "-a"]


def test_a_placeholder_in_a_compensation_is_no_edge(execute_graph: Execute) -> None:
    """Only the action's placeholders order the actions."""
    barrier = threading.Barrier(2)

    def meet(*_: Any) -> int:
        return barrier.wait(PATIENCE)

    saga = SagaAssembler.saga().operation(meet, (give, result_of()), name="a")
    saga.operation(meet, (give, result_of()), name="b")

    assert sorted(execute_graph(saga)) == [0, 1]


def test_operations_without_edges_start_at_once(execute_graph: Execute) -> None:
    """Two that use the same result run side by side."""
    barrier = threading.Barrier(2)

    def meet(_: Any) -> int:
        return barrier.wait(PATIENCE)

    saga = SagaAssembler.saga().operation(order).operation((meet, ID)).operation((meet, ID))

    assert sorted(execute_graph(saga)[1:]) == [0, 1]


def test_a_diamond_is_undone_from_its_end(execute_graph: Execute, log: list[str]) -> None:
    """Rollback walks the same graph backwards."""

    def do(name: str, *_: Any) -> str:
        log.append(name)
        return name

    saga = SagaAssembler.saga()
    saga.operation((do, "a"), (log.append, "-a"), name="a")
    saga.operation((do, "b", result_of("a")), (log.append, "-b"), name="b")
    saga.operation((do, "c", result_of("a")), (log.append, "-c"), name="c")
    saga.operation((do, "d", result_of("b"), result_of("c")), (log.append, "-d"), name="d")
    saga.operation((do, result_of("d").missing), name="bad")

    with pytest.raises(SagaException):
        execute_graph(saga)

    assert log[0] == "a"
    assert log[3:5] == ["d", "-d"]
    assert set(log[1:3]) == {"b", "c"}
    assert set(log[5:7]) == {"-b", "-c"}
    assert log[7:] == ["-a"]


# --- misuse ------------------------------------------------------------------


def enter(placeholder: Any) -> None:
    """Use it as a context manager."""
    with placeholder:
        pass


MISUSES: dict[str, Callable[[Any], Any]] = {
    "f-string": lambda p: f"order-{p}",
    "f-string with a format": lambda p: f"{p:>10}",
    "str": str,
    "str.format": "order-{}".format,
    "%s": lambda p: "order-%s" % p,  # noqa: UP031 - people write it
    "print": print,
    "iterate": list,
    "unpack": lambda p: (*p,),
    "unpack as keywords": lambda p: dict(**p),
    "in it": lambda p: 1 in p,
    "in a list": lambda p: p in [1],  # noqa: FURB171
    "equal": lambda p: p == 17,
    "equal to itself": lambda p: p == p,  # noqa: PLR0124
    "not equal": lambda p: p != 17,
    "less": lambda p: p < 17,
    "greater": lambda p: p >= 17,
    "sorted": lambda p: sorted([p, 1]),
    "max": lambda p: max(p, 1),
    "call": lambda p: p(),
    "call a method": lambda p: p.upper(),
    "if": lambda p: 1 if p else 2,
    "not": operator.not_,
    "and": lambda p: p and 1,
    "bool": bool,
    "len": len,
    "hash": hash,
    "key of a dict": lambda p: {p: 1},
    "in a set": lambda p: {p},
    "int": int,
    "float": float,
    "complex": complex,
    "round": round,
    "index": operator.index,
    "range": range,
    "index of a list": lambda p: [1][p],
    "bytes": bytes,
    "add": lambda p: p + 1,
    "added": lambda p: 1 + p,
    "concatenated": lambda p: "order-" + p,
    "add in place": lambda p: cast("Any", operator.iadd)(p, 1),
    "subtract": lambda p: p - 1,
    "subtracted": lambda p: 1 - p,
    "multiply": lambda p: p * 2,
    "multiplied": lambda p: 2 * p,
    "divide": lambda p: p / 2,
    "divided": lambda p: 2 / p,
    "floor": lambda p: p // 2,
    "modulo": lambda p: p % 2,
    "power": lambda p: p**2,
    "negate": operator.neg,
    "plus": operator.pos,
    "abs": abs,
    "invert": operator.invert,
    "or": lambda p: p | {},
    "bitwise and": lambda p: p & 1,
    "xor": lambda p: p ^ 1,
    "reversed": reversed,
    "open": open,
    "set an item": lambda p: operator.setitem(p, "x", 1),
    "delete an item": lambda p: operator.delitem(p, "x"),
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_a_placeholder_is_not_the_result(misuse: Callable[[Any], Any]) -> None:
    """Using it as if it were raises TypeError naming the placeholder and the cure."""
    for placeholder in (ID, result_of("order"), result_of(), result_of("a").b):
        with pytest.raises(TypeError, match="argument") as caught:
            misuse(placeholder)

        assert repr(placeholder) in str(caught.value)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda p: "-".join(["order", p]),  # noqa: FLY002 - people write it
        lambda p: p << 1,
        lambda p: 1 >> p,
        lambda p: p @ p,
        lambda p: divmod(p, 2),
        next,
        enter,
        json.dumps,
    ],
)
def test_what_no_result_is_used_for_is_an_error_anyway(misuse: Callable[[Any], Any]) -> None:
    """Python itself refuses with TypeError what a placeholder does not know."""
    with pytest.raises(TypeError):
        misuse(ID)


@pytest.mark.parametrize("attack", [setattr, lambda p, name, _: delattr(p, name)])
def test_attributes_of_a_placeholder_cannot_be_changed(attack: Callable[..., Any]) -> None:
    """They are the result's, which is not there yet."""
    with pytest.raises((TypeError, AttributeError)):
        attack(result_of("order"), "price", 5)


@pytest.mark.parametrize("name", ["__html__", "__array__", "__await__"])
def test_a_placeholder_takes_part_in_no_protocol(name: str) -> None:
    """Whoever looks for a special method on it is told that there is none."""
    assert not hasattr(result_of("order"), name)


def test_a_formatted_placeholder_never_reaches_a_service(step: Step, log: list[str]) -> None:
    """The mistake is found while the saga is written, before anything runs."""
    with pytest.raises(TypeError):
        (
            SagaAssembler.saga()
            .operation(order)
            .operation((step("charge"), f"order-{result_of('order')}"))
            .orchestrator_execute()
        )

    assert log == []


@pytest.mark.parametrize(
    ("placeholder", "text"),
    [
        (result_of("order"), "result_of('order')"),
        (result_of(), "result_of()"),
        (result_of("order")["id"], "result_of('order')['id']"),
        (result_of("order").buyer.phones[0], "result_of('order').buyer.phones[0]"),
    ],
)
def test_a_placeholder_shows_itself_to_debuggers(placeholder: Any, text: str) -> None:
    """`repr` is how it was written, also inside containers."""
    assert repr(placeholder) == text
    assert repr([placeholder]) == f"[{text}]"


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        *(partial(reload, protocol=protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
    ],
)
def test_copies_and_pickles_of_placeholders_work(
    duplicate: Callable[[Any], Any], execute_chain: Execute
) -> None:
    """Alone, in containers, and in a whole saga."""
    placeholder = result_of("order")["buyer"].phones[1]

    assert repr(duplicate(placeholder)) == repr(placeholder)
    assert run(execute_chain, duplicate({"x": [placeholder]})) == {"x": ["2"]}
    saga = SagaAssembler.saga().operation(order).operation((give, [placeholder]))
    again = duplicate(saga)
    assert again is not saga
    assert execute_chain(again)[1] == ["2"]


def test_a_copy_of_a_saga_goes_its_own_way(execute: Execute, step: Step) -> None:
    """What is added to the one is not added to the other."""
    saga = SagaAssembler.saga(2).operation(step("a", returns=1))
    for other in (copy.copy(saga), copy.deepcopy(saga), reload(base_saga())):
        other.operation(step("b", returns=2))
        assert len(execute(other)) == 2
        assert execute(saga) == [1]
        with pytest.raises(SagaDefinitionError):
            other.operation(step("c"), name="b")


def base_saga() -> SagaAssembler:
    """Make a saga of importable functions."""
    return SagaAssembler.saga(2).operation(order)


# --- named results -----------------------------------------------------------


def test_results_are_a_list_that_takes_names(execute: Execute, step: Step) -> None:
    """`results[0]` and `results["charge"]`, also for default and made-unique names."""
    saga = SagaAssembler.saga().operation(step("reserve", returns="shelf 1"))
    saga.operation(step("pay", returns=12), name="charge").operation(step("pay", returns=13))
    saga.operation(step("pay", returns=None))

    results = execute(saga)

    assert isinstance(results, list)
    assert isinstance(results, Results)
    assert results == ["shelf 1", 12, 13, None]
    assert results[0] == results["reserve"] == "shelf 1"
    assert results["charge"] == 12
    assert results["pay-2"] is None
    assert results[-1] is None
    assert results[1:3] == [12, 13]
    first, *rest = results
    assert (first, rest) == ("shelf 1", [12, 13, None])


def test_a_name_that_is_none_is_a_key_error(execute: Execute, step: Step) -> None:
    """As in a dict; an index out of range is an IndexError, as in a list."""
    results = execute(SagaAssembler.saga().operation(step("a")))

    with pytest.raises(KeyError, match="charge"):
        results["charge"]
    with pytest.raises(IndexError):
        results[1]


def test_results_are_the_users_own(execute: Execute, step: Step) -> None:
    """They can be changed, copied, compared and pickled like any list."""
    saga = SagaAssembler.saga().operation(step("a", returns=1)).operation(step("b", returns=2))
    results = execute(saga)

    again = reload(results)
    assert again == results == [1, 2]
    assert again["b"] == 2
    assert copy.copy(results)["b"] == 2
    results.append(3)
    results[0] = 0
    assert results == [0, 2, 3]
    assert execute(saga) == [1, 2]


def test_results_do_not_change_when_the_saga_grows(execute: Execute, step: Step) -> None:
    """They know the names of their own run."""
    saga = SagaAssembler.saga().operation(step("a", returns=1))
    results = execute(saga)

    saga.operation(step("b", returns=2))

    with pytest.raises(KeyError):
        results["b"]


# --- child sagas -------------------------------------------------------------


def packing(log: list[str]) -> SagaAssembler:
    """Make a child that is a chain: reserve, then label."""

    def do(name: str, result: Any) -> Any:
        log.append(name)
        return result

    return (
        SagaAssembler.saga(name="packing")
        .operation((do, "reserve", {"shelf": 4}), (log.append, "release"), name="reserve")
        .operation((do, "label", "L-1"), (log.append, "unlabel"), name="label")
    )


def test_a_childs_results_are_its_own_place(execute: Execute, log: list[str]) -> None:
    """One place in the parent's results, which is the child's results, by name and by index."""
    saga = SagaAssembler.saga().operation(order).operation(packing(log), name="packing")
    saga.operation((give, 1), name="last")

    results = execute(saga)

    assert len(results) == 3
    assert results[1] == results["packing"] == [{"shelf": 4}, "L-1"]
    assert isinstance(results["packing"], Results)
    assert results["packing"]["label"] == "L-1"
    assert results["last"] == results[2] == 1


def test_result_of_a_child_is_the_childs_results(execute: Execute, log: list[str]) -> None:
    """Whole, by name, by index and deeper."""
    whole = result_of("packing")
    saga = SagaAssembler.saga().operation(packing(log), name="packing")
    saga.operation(
        (gives, whole, whole["label"], whole[1], [whole["reserve"]["shelf"]]), name="use"
    )

    (used, keywords) = execute(saga)["use"]

    assert used == ([{"shelf": 4}, "L-1"], "L-1", "L-1", [4])
    assert keywords == {}
    assert isinstance(used[0], Results)


def test_result_of_a_child_in_a_compensation(execute: Execute, log: list[str]) -> None:
    """A compensation uses the results of a child that came before."""
    undone: list[Any] = []
    saga = SagaAssembler.saga().operation(packing(log), name="packing")
    saga.operation(
        (give, result_of("packing")), (undone.append, result_of("packing")["label"]), name="use"
    )
    saga.operation((give, result_of("use").missing))

    with pytest.raises(SagaException):
        execute(saga)

    assert undone == ["L-1"]


def test_an_operation_of_a_child_can_be_named(execute: Execute, log: list[str]) -> None:
    """`packing.reserve` in `after=` and in `result_of`."""
    saga = SagaAssembler.saga().operation(packing(log), name="packing")
    saga.operation((give, result_of("packing.reserve")["shelf"]), name="a")
    saga.operation((give, "b"), name="b", after=["packing.label"])

    assert execute(saga)[1:] == [4, "b"]


def test_a_child_is_a_chain_if_it_has_no_edges(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """Also in a choreography: each of its operations waits for the one before."""
    child = SagaAssembler.saga()
    for name in "abcdef":
        child.operation(step(name))

    execute(SagaAssembler.saga().operation(child, name="child"))

    assert log == list("abcdef")


def test_a_child_keeps_its_own_edges(execute_graph: Execute) -> None:
    """If it has any, its other operations run at once."""
    barrier = threading.Barrier(2)
    child = SagaAssembler.saga().operation(order)
    child.operation((lambda _: barrier.wait(PATIENCE), result_of("order")), name="b")
    child.operation((barrier.wait, PATIENCE), name="c", after=["order"])

    results = execute_graph(SagaAssembler.saga().operation(child, name="child"))

    assert sorted(results["child"][1:]) == [0, 1]


def test_placeholders_in_a_child_name_its_own_operations(execute: Execute) -> None:
    """Not those of the parent that have the same name; twice the same child is two children."""

    def make(number: int) -> SagaAssembler:
        child = SagaAssembler.saga().operation((give, number), name="order")
        return child.operation((give, result_of("order")), name="use")

    same = make(3)
    saga = SagaAssembler.saga().operation((give, 1), name="order")
    saga.operation(make(2), name="two").operation(same, name="three").operation(same, name="again")
    saga.operation((give, result_of("order")), name="use")

    assert execute(saga) == [1, [2, 2], [3, 3], [3, 3], 1]


def test_after_a_child_means_all_its_last_operations(
    execute_graph: Execute, log: list[str]
) -> None:
    """`after=` a child waits for each of its ends."""

    def slow(name: str) -> None:
        time.sleep(0.03)
        log.append(name)

    child = SagaAssembler.saga().operation((log.append, "reserve"), name="reserve")
    child.operation((slow, "label"), name="label", after=["reserve"])
    child.operation((log.append, "weigh"), name="weigh", after=["reserve"])
    child.operation((slow, "alone"), name="alone")
    saga = SagaAssembler.saga().operation(child, name="packing")
    saga.operation((log.append, "ship"), name="ship", after=["packing"])

    execute_graph(saga)

    assert log[-1] == "ship"
    assert sorted(log[:-1]) == ["alone", "label", "reserve", "weigh"]


def test_a_child_waits_for_what_it_comes_after(execute: Execute, log: list[str]) -> None:
    """All of its first operations do."""

    def slow(name: str) -> None:
        time.sleep(0.03)
        log.append(name)

    child = SagaAssembler.saga().operation((log.append, "b"), name="b")
    child.operation((log.append, "c"), name="c").operation((log.append, "d"), after=["b"], name="d")
    saga = SagaAssembler.saga().operation((slow, "a"), name="a")
    saga.operation(child, name="child", after=["a"])

    execute(saga)

    assert log[0] == "a"
    assert sorted(log[1:]) == ["b", "c", "d"]


def test_one_child_after_another(execute: Execute, log: list[str]) -> None:
    """Children can stand after children, and inside children."""
    inner = packing(log)
    middle = SagaAssembler.saga().operation(inner, name="inner")
    middle.operation((log.append, "middle"), name="own", after=["inner"])
    saga = SagaAssembler.saga().operation(middle, name="first")
    saga.operation(packing(log), name="second", after=["first"])
    saga.operation((give, result_of("first")["inner"]["reserve"]["shelf"]), name="use")

    results = execute(saga)

    assert log == ["reserve", "label", "middle", "reserve", "label"]
    assert results["first"]["inner"]["label"] == "L-1"
    assert results["second"][1] == "L-1"
    assert results["use"] == 4


def test_a_later_failure_undoes_the_whole_child_in_order(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """The last operation first; the exception knows each by its dotted name."""
    saga = SagaAssembler.saga().operation(step("pay"), step("refund"))
    saga.operation(packing(log), name="packing", after=["pay"])
    saga.operation(step("ship", raises=ValueError("no courier")), after=["packing"])

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert log == ["pay", "reserve", "label", "ship", "unlabel", "release", "refund"]
    assert {name: report.status for name, report in caught.value.operations.items()} == {
        "pay": Status.COMPENSATED,
        "packing.reserve": Status.COMPENSATED,
        "packing.label": Status.COMPENSATED,
        "ship": Status.FAILED,
    }


def test_a_failure_inside_a_child_undoes_the_parent(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """It is one saga: what came before in child and parent is undone, nothing later starts."""
    child = SagaAssembler.saga().operation(step("reserve"), step("release"))
    child.operation(step("label", raises=ValueError("no ink"))).operation(step("never"))
    saga = SagaAssembler.saga().operation(step("pay"), step("refund"))
    saga.operation(child, name="packing", after=["pay"])
    saga.operation(step("ship"), after=["packing"])

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert log == ["pay", "reserve", "label", "release", "refund"]
    assert caught.value.operation_name == "packing.label"
    assert list(caught.value.operation_errors) == ["packing.label"]


def test_the_policies_of_a_child_stay_its_own(execute: Execute, step: Step, log: list[str]) -> None:
    """The parent's retry does not replace the child's, nor does the child's count outside."""
    child = SagaAssembler.saga(3).operation(step("inner", raises=ValueError("x")))
    saga = SagaAssembler.saga(2).operation(child, name="child")
    with pytest.raises(SagaException):
        execute(saga)
    assert log == ["inner"] * 3

    log.clear()
    child = SagaAssembler.saga().operation(step("fine"))
    saga = SagaAssembler.saga(2).operation(child, name="child")
    saga.operation(step("outer", raises=ValueError("x")), after=["child"])
    with pytest.raises(SagaException):
        execute(saga)
    assert log == ["fine", "outer", "outer"]


def test_a_child_is_taken_as_it_is_when_added(execute: Execute, step: Step, log: list[str]) -> None:
    """What is added to it later belongs to it, and not to the parent."""
    child = SagaAssembler.saga().operation(step("a"))
    saga = SagaAssembler.saga().operation(child, name="child")
    child.operation(step("b"), after=["a"])

    execute(saga)
    assert log == ["a"]
    execute(child)
    assert log == ["a", "a", "b"]


def test_a_child_without_a_name_gets_one(execute: Execute, log: list[str]) -> None:
    """Two children without names do not clash."""
    saga = SagaAssembler.saga().operation(packing(log)).operation(packing(log))

    results = execute(saga)

    assert results == [[{"shelf": 4}, "L-1"]] * 2


def test_an_operation_beside_a_child_may_have_the_same_name(execute: Execute, step: Step) -> None:
    """`reserve` and `packing.reserve` are two names."""
    log: list[str] = []
    saga = SagaAssembler.saga().operation(packing(log), name="packing")
    saga.operation(step("reserve", returns="mine"))

    results = execute(saga)

    assert results["reserve"] == "mine"
    assert results["packing"]["reserve"] == {"shelf": 4}


def test_a_compensation_in_a_child_uses_its_own_ancestors(
    execute_graph: Execute, step: Step, log: list[str]
) -> None:
    """The rule about siblings holds inside a child with edges, by the child's own names."""
    child = SagaAssembler.saga().operation((give, 1), name="a").operation((give, 2), name="b")
    child.operation((give, 3), (give, result_of("b")), name="c", after=["a"])
    saga = SagaAssembler.saga().operation(step("first")).operation(child, name="child")

    with pytest.raises(SagaDefinitionError, match=r"child\.c"):
        execute_graph(saga)

    assert log == []


def test_a_compensation_in_a_chained_child_uses_all_before(execute: Execute) -> None:
    """A child without edges is a chain, so all that came before in it are ancestors."""
    undone: list[Any] = []
    child = SagaAssembler.saga().operation((give, 1), name="a")
    child.operation((give, 2), (undone.append, [result_of("a"), result_of()]), name="b")
    saga = SagaAssembler.saga().operation(child, name="child")
    saga.operation((give, result_of("child")["nothing"]))

    with pytest.raises(SagaException):
        execute(saga)

    assert undone == [[1, 2]]
