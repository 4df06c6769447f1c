"""`given`: a saga that is written once and run with other arguments each time."""

import copy
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
from world import PATIENCE

from py_api_saga import (
    BoundSaga,
    Retry,
    Saga,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    given,
    happened,
    result_of,
)
from py_api_saga.bound import Template

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]


class Parcel(NamedTuple):
    """A named tuple, as users write them."""

    order: Any
    note: Any = "none"


class OddItems(dict[str, Any]):
    """A dict whose items are not what one expects."""

    def __getitem__(self, key: str) -> Any:
        """Raise an error that is made in another way than by a text."""
        raise OddError(key, 5, text="4242")


class OddError(Exception):
    """An error of the user's own."""

    def __init__(self, key: str, number: int, *, text: str) -> None:
        super().__init__(f"{key} {number} {text}")


def gives(*args: Any, **keywords: Any) -> Any:
    """Return all that was given."""
    return args, keywords


def give(value: Any) -> Any:
    """Return what was given."""
    return value


def fail(*_: Any) -> None:
    """Fail."""
    raise ValueError("no")


# --- what a call gets ------------------------------------------------------------------------


def test_each_run_gets_its_own_arguments(execute: Execute) -> None:
    """The saga is written once, at the top of a module, say."""
    saga = SagaAssembler.saga().operation((gives, given("article"), 2)).operation((give, "b"))

    assert execute(saga.given(article="mug")) == [(("mug", 2), {}), "b"]
    assert execute(saga.given(article="pot")) == [(("pot", 2), {}), "b"]


def test_a_whole_argument_is_the_very_object(execute: Execute) -> None:
    """It is kept by reference, from the call of `given` to that of the function."""
    thing: list[Any] = []
    bound = SagaAssembler.saga().operation((give, given("thing"))).given(thing=thing)
    thing.append("added later")

    assert execute(bound)[0] is thing


ORDER = {"id": 17, "lines": [{"item": "mug"}], "buyer": SimpleNamespace(name="Ada"), 3: "three"}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (given("order")["id"], 17),
        (given("order")["lines"][0]["item"], "mug"),
        (given("order")["lines"][0:1], [{"item": "mug"}]),
        (given("order")["buyer"].name, "Ada"),
        (given("order")[3], "three"),
        ([given("order")["id"], "x"], [17, "x"]),
        ((given("order")["id"],), (17,)),
        ({"a": [({"b": (1, given("order")["id"])},)]}, {"a": [({"b": (1, 17)},)]}),
        (Parcel(given("order")["id"]), Parcel(17)),
        (OrderedDict(b=given("order")["id"], a=1), OrderedDict(b=17, a=1)),
    ],
)
def test_items_attributes_and_what_is_inside_of_containers(
    argument: Any, expected: Any, execute: Execute
) -> None:
    """As `result_of`: at any depth, in lists, tuples and dicts, which keep their types."""
    saga = SagaAssembler.saga().operation((gives, argument, 1, argument))

    ((first, one, second), _) = execute(saga.given(order=ORDER))[0]

    assert (first, one, second) == (expected, 1, expected)
    assert type(first) is type(expected)


def test_positions_keywords_and_results_beside_it(execute: Execute) -> None:
    """In a tuple's arguments, in those of a partial, and next to results of other operations."""
    saga = SagaAssembler.saga().operation((give, "a"), name="a")
    saga.operation((gives, given("x"), result_of("a"), [given("x"), result_of("a")]), name="b")
    saga.operation((partial(gives, given("y"), key=given("x")), given("x")), name="c")

    results = execute(saga.given(x=1, y=2))

    assert results["b"] == ((1, "a", [1, "a"]), {})
    assert results["c"] == ((2, 1), {"key": 1})


def test_compensations_and_questions_get_them_too(execute: Execute) -> None:
    """What is given to an action may be used to undo it, and to ask whether it happened."""
    seen: list[Any] = []

    def lose(*_: Any) -> None:
        raise TimeoutError

    def ask(*args: Any) -> Any:
        seen.append(("ask", args))
        return happened("there")

    def undo(*args: Any) -> None:
        seen.append(("undo", args))

    saga = SagaAssembler.saga()
    saga.operation((gives, given("x")), (undo, given("x"), result_of()), name="a")
    saga.operation(
        (lose, given("x"), given("order")["id"]),
        (undo, given("order")["id"], result_of()),
        name="b",
        after="a",
        on_doubt=ask,
    )
    with pytest.raises(SagaException):
        execute(saga.given(x=5, order=ORDER))

    assert seen == [
        ("ask", (5, 17)),
        ("undo", (17, "there")),
        ("undo", (5, ((5,), {}))),
    ]


def test_each_attempt_gets_them(execute: Execute) -> None:
    """A retry is called with the same arguments."""
    calls: list[Any] = []

    def busy(*args: Any) -> str:
        calls.append(args)
        if len(calls) < 3:
            raise OSError("busy")
        return "done"

    again = Retry(OSError, attempts=3, wait_initial=0, wait_jitter=0)
    saga = SagaAssembler.saga().operation((busy, given("x"), [given("x")]), retry=again, timeout=60)

    assert execute(saga.given(x=1)) == ["done"]
    assert calls == [(1, [1])] * 3


def test_an_argument_orders_nothing(execute_graph: Execute) -> None:
    """It is not a result: an operation of the same name is another thing, and need not be there."""
    both = threading.Barrier(2, timeout=PATIENCE)

    def meet(_: Any) -> None:
        both.wait()

    saga = SagaAssembler.saga().operation((meet, given("b")), name="a")
    saga.operation((meet, given("a")), name="b")

    execute_graph(saga.given(a=1, b=2))

    assert not both.broken


def test_a_name_may_be_that_of_an_operation_or_of_self(execute: Execute) -> None:
    """The two kinds of placeholders do not share their names, and no name is reserved."""
    saga = SagaAssembler.saga().operation((give, given("self")), name="self")
    saga.operation((gives, given("self"), result_of("self")["x"]), name="b")

    assert execute(saga.given(self={"x": 1}))[1] == (({"x": 1}, 1), {})


def test_a_name_is_the_same_in_each_way_to_write_it(execute: Execute) -> None:
    """Python reads the names of arguments in one form, whichever they are written in."""
    saga = SagaAssembler.saga().operation((give, given("ﬁn")))

    assert execute(saga.given(ﬁn=1)) == [1]


def test_a_saga_without_holes_can_be_given_nothing(execute: Execute) -> None:
    """It is still one that was checked once."""
    assert execute(SagaAssembler.saga().operation((give, 1)).given()) == [1]


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "1a", "a-b", "order.id"])
def test_a_name_is_an_identifier(name: str) -> None:
    """It is given as the name of a keyword."""
    with pytest.raises(ValueError, match="expected an identifier"):
        given(name)


@pytest.mark.parametrize("name", [None, 1, b"x", give])
def test_a_name_is_a_text(name: Any) -> None:
    """As that of `result_of`."""
    with pytest.raises(TypeError, match="expected the name of an argument"):
        given(name)


@pytest.mark.parametrize(
    "misuse",
    [
        str,
        bool,
        len,
        iter,
        int,
        hash,
        list,
        lambda x: x == 1,
        lambda x: x + 1,
        lambda x: x(),
        "{}".format,
    ],
)
def test_a_placeholder_is_not_the_argument(misuse: Callable[[Any], Any]) -> None:
    """It is refused to format, test, compare or call it while the saga is written down."""
    with pytest.raises(TypeError, match=r"given\('order'\)\['id'\] is not known yet"):
        misuse(given("order")["id"])


def test_it_shows_itself_and_copies() -> None:
    """To debuggers, and whole."""
    placeholder = given("order")["id"].x

    assert repr(placeholder) == "given('order')['id'].x"
    assert copy.copy(placeholder) is copy.deepcopy(placeholder) is placeholder
    assert repr(pickle.loads(pickle.dumps(placeholder))) == repr(placeholder)  # noqa: S301


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": given("f")},
        {"action": given("f"), "compensation": None},
        {"compensation": given("f")},
        {"name": given("x")},
        {"after": given("x")},
        {"retry": given("x")},
        {"compensation_retry": given("x")},
        {"timeout": given("x")},
        {"pivot": given("x")},
        {"doubtful": given("x")},
        {"on_doubt": given("x")},
    ],
)
def test_it_stands_for_nothing_but_arguments(wrong: dict[str, Any]) -> None:
    """No function, name or policy is given to a run; nothing was added."""
    saga = SagaAssembler.saga()

    with pytest.raises(SagaDefinitionError):
        saga.operation(**{"action": give, **wrong})

    assert saga.operation((give, 1)).orchestrator_execute() == [1]


def checkout() -> SagaAssembler:
    """Write a saga down that wants two things."""
    return (
        SagaAssembler.saga(name="checkout")
        .operation((gives, given("article")), (gives, given("article")), name="reserve")
        .operation((gives, given("order")["id"]), (gives, given("order")["id"]), name="charge")
        .operation((gives, [given("order")]), name="book")
    )


def test_missing_and_unknown_names_are_refused_at_once() -> None:
    """Before anything runs, with the operations that use what is missing."""
    with pytest.raises(SagaDefinitionError) as caught:
        checkout().given(order={"id": 1}, artikel="secret")

    assert str(caught.value) == (
        "given(): expected article (in reserve), order (in charge, book); got no article; "
        "got artikel, which nothing uses"
    )


def test_as_many_names_of_which_one_is_another_are_refused() -> None:
    """Their number alone says nothing."""
    saga = Saga().operation((gives, given("article"), given("order")), name="book")
    with pytest.raises(SagaDefinitionError) as caught:
        saga.given(order=1, artikel=2)

    assert str(caught.value) == (
        "given(): expected article (in book), order (in book); got no article; "
        "got artikel, which nothing uses"
    )


def test_a_name_that_nothing_uses_is_refused() -> None:
    """It may be a slip of the pen."""
    with pytest.raises(SagaDefinitionError) as caught:
        checkout().given(article=1, order={"id": 1}, color="red")

    assert str(caught.value).endswith("; got color, which nothing uses")


def test_a_name_that_is_given_twice_is_refused() -> None:
    """By Python itself."""
    again = {"article": 2}

    with pytest.raises(TypeError, match=r"given\(\) got multiple values .*'article'"):
        checkout().given(article=1, **again)


def test_an_item_that_is_not_there_is_refused_at_once() -> None:
    """As if the saga had been written with this argument; what stands in it is not told."""
    with pytest.raises(SagaDefinitionError) as caught:
        checkout().given(article=1, order={"nr": 4242})

    assert str(caught.value) == (
        "given(): given('order')['id'] is not there: given('order') is of the type dict and has "
        "'nr'; it is used in charge, book"
    )


def test_an_odd_error_of_an_argument_tells_no_secret() -> None:
    """Its text may hold what stands in the argument."""
    with pytest.raises(SagaDefinitionError, match=r"not there: OddError was raised") as caught:
        checkout().given(article=1, order=OddItems())

    assert "4242" not in str(caught.value)
    assert type(caught.value.__cause__) is OddError


def test_a_time_limit_that_strikes_there_stays_one() -> None:
    """It is nothing that the argument has raised."""
    limit = type("SoftTimeLimitExceeded", (Exception,), {"__module__": "billiard.exceptions"})

    class Struck(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise limit

    with pytest.raises(limit):
        checkout().given(article=1, order=Struck())


@pytest.mark.parametrize("value", [result_of("reserve"), [given("x")], {"a": (given("x")["b"],)}])
def test_an_argument_holds_no_placeholder(value: Any, execute: Execute) -> None:
    """There is nothing that it could stand for; nothing runs."""
    bound = checkout().given(article=value, order={"id": 1})

    with pytest.raises(SagaDefinitionError, match="article: expected a value, got one that holds"):
        execute(bound)


def test_a_saga_that_wants_arguments_is_not_run_without(execute: Execute, log: list[str]) -> None:
    """It says what it wants, and how to give it."""
    saga = checkout().operation((log.append, "ran"))

    with pytest.raises(SagaDefinitionError) as caught:
        execute(saga)

    assert "article (in reserve), order (in charge, book)" in str(caught.value)
    assert "saga.given(article=…)" in str(caught.value)
    assert log == []


def test_what_was_refused_leaves_no_hole(execute: Execute) -> None:
    """An operation that was not added wants nothing."""
    saga = SagaAssembler.saga().operation((give, 1))
    with pytest.raises(SagaDefinitionError):
        saga.operation((give, given("x")), name="a.b")
    with pytest.raises(SagaDefinitionError):
        saga.operation((give, 2), (gives, given("x"), result_of("nowhere")))

    assert execute(saga) == [1]


def test_a_saga_without_operations_is_refused() -> None:
    """As when it is executed."""
    with pytest.raises(SagaDefinitionError, match="Set operation first"):
        SagaAssembler.saga().given()


def test_coroutine_functions_are_refused_where_there_is_no_loop(execute_sync: Execute) -> None:
    """By the same words as of the saga itself."""

    async def charge(_: Any) -> None:
        """Do nothing."""

    bound = SagaAssembler.saga().operation((charge, given("x"))).given(x=1)

    with pytest.raises(SagaDefinitionError, match="coroutine function"):
        execute_sync(bound)


def test_what_cannot_run_at_once_is_refused_there(execute: Execute) -> None:
    """A chain has no such rule."""
    saga = SagaAssembler.saga().operation((give, given("x")), name="a")
    saga.operation((give, 2), pivot=True, name="b")
    bound = saga.given(x=1)

    if "choreography" in execute.__name__:
        for _ in range(2):
            with pytest.raises(SagaDefinitionError, match="before or after the pivot"):
                execute(bound)
    else:
        assert execute(bound) == [1, 2]


# --- what `given` returns --------------------------------------------------------------------


def test_it_is_no_saga_and_shows_no_value() -> None:
    """Its repr has names; nothing can be added to it."""
    bound = checkout().given(article="secret", order={"id": "secret"})

    assert type(bound) is BoundSaga
    assert not isinstance(bound, Saga)
    assert not hasattr(bound, "operation")
    assert repr(bound) == (
        "<BoundSaga of <SagaAssembler 'checkout': reserve ⇄ gives → charge ⇄ gives → book>, "
        "given article, order>"
    )


def test_many_names_are_not_all_shown() -> None:
    """In a repr and in a message."""
    names = [f"n{i}" for i in range(12)]
    saga = SagaAssembler.saga().operation((gives, *map(given, names)))

    assert "n6, n7 …>" in repr(saga.given(**dict.fromkeys(names)))
    assert "given nothing>" in repr(SagaAssembler.saga().operation((give, 1)).given())
    with pytest.raises(SagaDefinitionError) as caught:
        saga.given()
    assert str(caught.value).endswith("n7 (in gives) …; got no n0, n1, n2, n3, n4, n5, n6, n7 …")


def test_it_cannot_be_changed() -> None:
    """So that threads can share it."""
    bound: Any = checkout().given(article=1, order={"id": 1})

    for name in ("values", "name", "journal"):
        with pytest.raises(AttributeError, match=name):
            setattr(bound, name, 2)


def test_it_can_be_copied_and_pickled(execute: Execute) -> None:
    """A copy is the very object, a deep one and a pickle have copies of the arguments."""
    bound = checkout().given(article=["mug"], order={"id": 17})

    assert copy.copy(bound) is bound
    for other in (copy.deepcopy(bound), pickle.loads(pickle.dumps(bound))):  # noqa: S301
        assert type(other) is BoundSaga
        assert execute(other) == execute(bound)


def test_it_can_be_run_again_and_by_many(execute: Execute) -> None:
    """Nothing of a run stays in it."""
    bound = checkout().given(article=["mug"], order={"id": 17})
    results: list[Any] = []

    threads = [threading.Thread(target=lambda: results.append(execute(bound))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [execute(bound)] * 4


def test_an_item_is_looked_up_once(execute: Execute) -> None:
    """As if the saga were written then: what is undone is what was done."""
    order = {"id": 1}
    seen: list[Any] = []

    def change(number: int) -> None:
        order["id"] = 2
        seen.append(number)

    saga = SagaAssembler.saga().operation(
        (change, given("order")["id"]), (seen.append, given("order")["id"]), name="a"
    )
    saga.operation(fail, after="a")
    with pytest.raises(SagaException):
        execute(saga.given(order=order))

    assert seen == [1, 1]


def test_it_has_the_operations_of_its_time(execute: Execute) -> None:
    """What is added to the saga later is for the next arguments."""
    saga = SagaAssembler.saga().operation((give, given("x")))
    before = saga.given(x=1)
    saga.operation((give, given("y")))

    with pytest.raises(SagaDefinitionError, match="got no y"):
        saga.given(x=1)
    assert execute(before) == [1]
    assert execute(saga.given(x=1, y=2)) == [1, 2]
    assert execute(before) == [1]


def test_copies_of_a_saga_want_what_they_want(execute: Execute) -> None:
    """A copy that goes its own way shares nothing that was made of the first one."""
    saga = SagaAssembler.saga().operation((give, given("x")))
    saga.given(x=1)
    one, other = copy.copy(saga), copy.copy(saga)
    one.operation((give, given("y")))
    other.operation((give, given("z")))

    assert execute(one.given(x=1, y=2)) == [1, 2]
    assert execute(other.given(x=1, z=3)) == [1, 3]
    assert execute(saga.given(x=0)) == [0]


def test_what_the_saga_says_is_read_when_it_runs(execute: Execute) -> None:
    """Its name and observers may be set later."""
    events: list[Any] = []
    saga = SagaAssembler.saga().operation((give, given("x")))
    bound = saga.given(x=1)
    saga.name, saga.observers = "later", (events.append,)

    execute(bound)

    assert {event.saga_name for event in events} == {"later"}


def test_what_is_around_a_call_sees_it_with_its_arguments(execute: Execute) -> None:
    """As around the calls of any saga."""
    entered: list[str] = []

    @contextmanager
    def around(operation: Any) -> Iterator[None]:
        entered.append(operation.action_key.partition(":")[2])
        yield

    saga = SagaAssembler.saga(around=[around]).operation((give, given("x")), name="a")

    assert execute(saga.given(x=1)) == [1]
    assert entered == ["a:action"]


def test_what_is_checked_once_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of each saga, not of its class."""
    made: list[Any] = []
    init = Template.__init__

    def counted(template: Template, *parts: Any) -> None:
        made.append(template)
        init(template, *parts)

    monkeypatch.setattr(Template, "__init__", counted)
    saga, other = checkout(), checkout()
    for _ in range(3):
        saga.given(article=1, order={"id": 1}).orchestrator_execute()
    other.given(article=1, order={"id": 1}).orchestrator_execute()

    assert len(made) == 2


def test_it_draws_what_the_saga_draws() -> None:
    """With the operations of its time."""
    saga = checkout()
    drawn = saga.mermaid()
    bound = saga.given(article=1, order={"id": 1})
    saga.operation((give, 1), name="later")

    assert bound.mermaid() == drawn


# --- children --------------------------------------------------------------------------------


def parcel() -> SagaAssembler:
    """Write a child down that wants an article."""
    return (
        SagaAssembler.saga(name="parcel")
        .operation((give, given("article")), name="weigh")
        .operation(
            (gives, given("article"), result_of("weigh")),
            (gives, given("article"), result_of("weigh"), result_of("pack"), result_of()),
            name="pack",
        )
    )


def test_a_child_with_holes_shares_the_names_of_its_parent(execute: Execute) -> None:
    """One name is one argument."""
    saga = SagaAssembler.saga().operation((give, given("article"))).operation(parcel())

    assert execute(saga.given(article="mug")) == ["mug", ["mug", (("mug", "mug"), {})]]
    with pytest.raises(SagaDefinitionError, match=r"parcel\.weigh, parcel\.pack"):
        saga.given()
    with pytest.raises(SagaDefinitionError, match="article"):
        execute(saga)


def test_one_child_twice_with_other_arguments(execute: Execute) -> None:
    """Two parcels, two articles; nothing is left to be given."""
    saga = SagaAssembler.saga().operation(parcel().given(article="mug"))
    saga.operation(parcel().given(article="pot"), name="second")

    assert execute(saga) == [["mug", (("mug", "mug"), {})], ["pot", (("pot", "pot"), {})]]
    assert execute(saga.given()) == execute(saga)


def test_a_child_is_given_what_its_parent_is_given(execute: Execute) -> None:
    """Under another name, or an item of it."""
    saga = SagaAssembler.saga().operation(parcel().given(article=given("first")["id"]))
    saga.operation(parcel().given(article=[given("second")]), name="second")

    results = execute(saga.given(first={"id": 1}, second=2))

    assert results == [[1, ((1, 1), {})], [[2], (([2], [2]), {})]]


def test_a_child_is_given_results_of_its_parent(execute: Execute) -> None:
    """Names in the child's own placeholders stay the child's, and are undone with them."""
    undone: list[Any] = []

    def undo(*args: Any) -> None:
        undone.append(args)

    child = SagaAssembler.saga(name="parcel").operation((give, given("shelf")["nr"]), name="pick")
    child.operation(
        (gives, given("shelf")["nr"], result_of("pick")),
        (undo, [given("shelf")], result_of("pick"), result_of("pack")[0], result_of()[1]),
        name="pack",
    )
    saga = SagaAssembler.saga().operation((give, {"nr": 7}), name="pick")
    saga.operation(child.given(shelf=result_of("pick")))
    saga.operation(child.given(shelf={"nr": result_of("parcel")["pick"]}), name="next")
    results = execute(saga)
    saga.operation(fail, after=["next"])

    assert results == [{"nr": 7}, [7, ((7, 7), {})], [7, ((7, 7), {})]]
    with pytest.raises(SagaException):
        execute(saga)
    assert undone == [([{"nr": 7}], 7, (7, 7), {})] * 2


def test_a_result_that_a_child_is_given_is_an_edge(execute_graph: Execute, log: list[str]) -> None:
    """The operation of the child that uses it waits; the others do not."""
    started = threading.Event()

    def first() -> str:
        assert started.wait(PATIENCE)
        log.append("first")
        return "made"

    def beside() -> None:
        started.set()

    child = SagaAssembler.saga(name="child").operation(beside, name="beside")
    child.operation((log.append, given("x")), name="uses")
    child.operation((log.append, "last"), name="last", after="uses")
    saga = SagaAssembler.saga().operation(first).operation(child.given(x=result_of("first")))
    execute_graph(saga)

    assert log == ["first", "made", "last"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (result_of("nowhere"), "expected the name of an operation declared before"),
        (result_of("parcel"), "expected the name of an operation declared before"),
        ([result_of()], "only its compensation"),
    ],
)
def test_a_child_is_given_no_other_results(value: Any, words: str) -> None:
    """They are those of operations declared before; nothing was added."""
    saga = SagaAssembler.saga().operation((give, 1), name="first")

    with pytest.raises(SagaDefinitionError, match=words):
        saga.operation(parcel().given(article=value))

    assert saga.orchestrator_execute() == [1]


def test_a_child_of_a_child(execute: Execute) -> None:
    """Arguments are handed down, and names stand where they were written."""
    middle = SagaAssembler.saga(name="middle").operation((give, given("a")), name="weigh")
    middle.operation(parcel().given(article=result_of("weigh")))
    middle.operation(parcel(), name="rest")
    saga = SagaAssembler.saga().operation((give, 5), name="five")
    saga.operation(middle.given(a=result_of("five"), article="pot"))

    assert execute(saga) == [5, [5, [5, ((5, 5), {})], ["pot", (("pot", "pot"), {})]]]


def test_a_child_that_was_given_something_takes_no_other_options() -> None:
    """As any child."""
    with pytest.raises(SagaDefinitionError, match="expected name and after"):
        SagaAssembler.saga().operation(cast("Any", parcel().given(article=1)), (give, 1))


def test_a_child_may_be_a_saga_with_its_own_arguments(execute: Execute) -> None:
    """Taken in by itself: it is as it was when it was given them."""
    saga = SagaAssembler.saga(name="self").operation((give, given("x")), name="a")
    saga.operation(saga.given(x=2))

    assert execute(saga.given(x=1)) == [1, [2]]
