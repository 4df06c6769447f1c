"""The codec: values as JSON with tags, equal and of the same types when they come back."""

import copy
import enum
import inspect
import io
import json
import math
import struct
import sys
import uuid
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, partial
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from py_api_saga import Retry, SagaAssembler, SagaStatus, Status, result_of
from py_api_saga.definition import Results, positions
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.format import json_text as codec
from py_api_saga.journal.format import tagging, untagging
from py_api_saga.journal.format.definitions import MAX_AGE, Plan, write_definition
from py_api_saga.journal.format.functions import Functions, NotStorableError, UnknownNameError
from py_api_saga.journal.format.json_text import (
    MAX_DIGITS,
    MAX_VALUE,
    dumps,
    is_plain,
    loads,
    plain_text,
)
from py_api_saga.journal.format.sagas import argument_conflict, digest
from py_api_saga.journal.format.tagging import MAX_DEPTH, tagged
from py_api_saga.journal.format.untagging import untagged
from py_api_saga.journal.format.values import Values
from py_api_saga.placeholder import Placeholder
from py_api_saga.status import MISSING

HERE = __name__
NAMES = Functions([HERE, "math"])
T = TypeVar("T")

RAN: list[str] = []  # what a value ran when it should not have


class Size(enum.Enum):
    """Members by name; the second name of one is not a member of its own."""

    SMALL = 1
    LARGE = 2
    HUGE = 2  # noqa: PIE796 - on purpose


class Level(enum.IntEnum):
    """Members that are ints too."""

    LOW = 1


class Word(enum.StrEnum):
    """Members that are texts too."""

    YES = "yes"


class Right(enum.Flag):
    """Members that can be joined."""

    READ = 1
    WRITE = 2


class Bits(enum.IntFlag, boundary=enum.EJECT):
    """Members that are ints again once there is more in them than is known."""

    ONE = 1


class Odd(enum.Enum):
    """An Enum that makes members up."""

    ONE = 1

    @classmethod
    def _missing_(cls, value: object) -> "Odd":
        made = object.__new__(cls)
        made._name_, made._value_ = "MADE_UP", cast("int", value)
        return made


@dataclass
class Line:
    """As most dataclasses are."""

    item: str
    count: Any = 1
    notes: list[str] = field(default_factory=list)
    unit: ClassVar[str] = "piece"

    def __post_init__(self) -> None:
        RAN.append("__post_init__")


@dataclass(frozen=True, slots=True)
class Point:
    """One that nobody may change."""

    x: Any
    y: Any = None


@dataclass(frozen=True)
class Label:
    """One that can be in a set, whatever it holds."""

    text: str
    more: Any = field(default=None, hash=False)


@dataclass
class Area:
    """One with more to it than its fields."""

    side: int
    scale: InitVar[int] = 1
    size: int = field(init=False, default=0)

    def __post_init__(self, scale: int) -> None:
        self.size = self.side * self.side * scale

    @cached_property
    def text(self) -> str:
        """Say how large it is."""
        return str(self.size)


@dataclass
class Box(Generic[T]):
    """One whose objects may know of what type their content is."""

    content: T


@dataclass
class Names2(list[int]):
    """One that is a list too."""

    x: int = 1


class SubLine(Line):
    """What inherits from a dataclass, and is none."""


class Basket(list[Any]):
    """A list of the user's own."""


class Amount(int):
    """An int of the user's own."""


class Parcel(NamedTuple):
    """A named tuple, as users write them."""

    order: Any


Old = namedtuple("Old", "order")  # noqa: PYI024 - the older way to write one


class Connection:
    """What can't be stored, with a value that must not be shown."""

    def __repr__(self) -> str:
        return "SECRET"


class Hour(tzinfo):
    """A time zone of the user's own."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> str:
        return "hour"


def act() -> None:
    """Stand for a function that is passed as an argument."""
    RAN.append("act")


def again(error: Exception) -> bool:
    """Stand for a function that a dataclass of the library's own holds."""
    return bool(error)


def there(value: Any, names: Functions = NAMES) -> Any:
    """Write a value as JSON text and read it again."""
    return untagged(loads(dumps(tagged(value, names)), MAX_VALUE), names)


def shape(value: Any) -> Any:  # noqa: PLR0911 - one for each kind
    """Make of a value something that is equal only for values of the same types, at any depth."""
    kind = type(value)
    if kind in (list, tuple):
        return kind, [shape(item) for item in value]
    if kind is Results:
        return kind, [shape(item) for item in value], dict(positions(value))
    if kind in (set, frozenset):
        return kind, sorted(map(repr, map(shape, value)))
    if kind is dict:
        return kind, [(shape(key), shape(item)) for key, item in value.items()]
    if kind in (datetime, time):
        zone = value.tzinfo
        named = zone.key if isinstance(zone, ZoneInfo) else value.utcoffset()
        return kind, repr(value.replace(tzinfo=None)), value.fold, type(zone), named
    if kind is Placeholder:
        path = [(is_attribute, shape(key)) for is_attribute, key in value.__saga_path__]
        return kind, value.__saga_operation__, path
    if kind in (Line, Point, Box):
        return kind, [shape(getattr(value, name)) for name in kind.__dataclass_fields__]
    return kind, repr(value)  # of -0.0, 1.20, NaN and the like it says more than `==`


def assert_same(value: Any) -> None:
    """Assert that a value comes back as it was."""
    assert shape(there(value)) == shape(value)


# The same examples each time, however slow the machine is.
repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=60)


# --- what comes back ---------------------------------------------------------

ZONES = st.one_of(
    st.none(),
    st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("UTC")]),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)
TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(["$tuple", "$", "é"])
HASHABLE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        TEXTS,
        st.binary(),
        st.decimals().filter(lambda value: not value.is_snan()),  # which has no hash
        st.datetimes(timezones=ZONES, allow_imaginary=True),
        st.dates(),
        st.times(timezones=ZONES),
        st.timedeltas(),
        st.uuids(),
        st.sampled_from([MISSING, Size.LARGE, Level.LOW, Word.YES, Right.READ | Right.WRITE]),
        st.sampled_from([act, Line, math.sqrt, SagaStatus.STUCK]),
    ),
    lambda inner: st.one_of(
        st.lists(inner).map(tuple), st.frozensets(inner), st.builds(Point, inner, inner)
    ),
    max_leaves=5,
)
KEYS = st.one_of(st.integers(), TEXTS, st.none(), st.builds(slice, st.integers()))
PLACES = st.builds(
    Placeholder,
    TEXTS,
    st.lists(
        st.tuples(st.just(True), st.sampled_from(["shelf", "_id"]))
        | st.tuples(st.just(False), KEYS)
    ).map(tuple),
)


@pytest.mark.parametrize("microseconds", [1, -1, 999_999, -999_999, 1_000_001, 0])
def test_an_offset_of_less_than_a_second_comes_back(microseconds: int) -> None:
    """Python writes it down, and reads it as UTC."""
    zone = timezone(timedelta(microseconds=microseconds))
    for fold in (0, 1):
        assert_same(datetime(2026, 11, 29, tzinfo=zone, fold=fold))
        assert_same(time(12, fold=fold, tzinfo=zone))


VALUES = st.recursive(
    HASHABLE | PLACES | st.just(Decimal("-sNaN12")),
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(HASHABLE, inner),
        st.dictionaries(TEXTS, inner),
        st.sets(HASHABLE),
        st.builds(Line, TEXTS, inner),
        st.builds(Box, inner),
        st.builds(
            lambda items: Results.of(items.values(), {name: i for i, name in enumerate(items)}),
            st.dictionaries(TEXTS, inner),
        ),
    ),
    max_leaves=20,
)


@pytest.mark.untraced
@repeatable
@given(VALUES)
def test_a_value_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    """Whatever it is made of, at any depth."""
    assert_same(value)


@pytest.mark.untraced
@repeatable
@given(VALUES)
def test_equal_values_make_equal_texts(value: Any) -> None:
    """So that the same saga is known again by what it was to do."""
    assert dumps(tagged(there(value), NAMES)) == dumps(tagged(value, NAMES))


FLAT = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    st.sampled_from([10 ** (MAX_DIGITS - 1), 10**MAX_DIGITS, "x" * MAX_DIGITS]),
)


@pytest.mark.untraced
@repeatable
@given(FLAT | st.lists(FLAT) | st.dictionaries(TEXTS | st.integers(), FLAT))
def test_what_is_written_the_short_way_is_written_as_ever(value: Any) -> None:
    """Most values take it; what it is not made for, and only that, is left to the long one."""
    text = plain_text(value)

    assert (text is not None) is is_plain(value)
    assert text is None or text == dumps(tagged(value, NAMES))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("é", '"é"'),
        (-0.0, "-0.0"),
        ([1, "a", True], '[1,"a",true]'),
        ((1, 2), '{"$tuple":[1,2]}'),
        ({"shelf": "A-17", "count": 2}, '{"shelf":"A-17","count":2}'),
        ({1: "a", None: "b"}, '{"$dict":[[1,"a"],[null,"b"]]}'),
        ({"$tuple": [1]}, '{"$dict":[["$tuple",[1]]]}'),
        ({"ä": "ö"}, '{"ä":"ö"}'),
        ({"\ud800": 1}, '{"$dict":[[{"$str":[55296]},1]]}'),
        ({1, 2, 10}, '{"$set":[1,10,2]}'),
        (frozenset("ba"), '{"$frozenset":["a","b"]}'),
        (Decimal("1.20"), '{"$decimal":"1.20"}'),
        (datetime(2026, 1, 2, 3, 4), '{"$datetime":"2026-01-02T03:04:00"}'),  # noqa: DTZ001
        (datetime(2026, 1, 2, tzinfo=UTC), '{"$datetime":"2026-01-02T00:00:00+00:00"}'),
        (
            datetime(2026, 7, 2, tzinfo=ZoneInfo("Europe/Berlin")),
            '{"$datetime":["2026-07-02T00:00:00+02:00","Europe/Berlin"]}',
        ),
        (
            datetime(2026, 10, 25, 2, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
            '{"$datetime":["2026-10-25T02:00:00+01:00","Europe/Berlin",1]}',
        ),
        (time(1, 2, fold=1), '{"$time":["01:02:00",null,1]}'),
        (date(2026, 1, 2), '{"$date":"2026-01-02"}'),
        (timedelta(seconds=-1), '{"$timedelta":[-1,86399,0]}'),
        (uuid.UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
        (b"\x00\xff", '{"$bytes":"AP8="}'),
        (math.inf, '{"$float":"inf"}'),
        (math.nan, '{"$float":"nan"}'),
        ("\ud83d\ude00", '{"$str":[55357,56832]}'),
        (Size.HUGE, f'{{"$enum":["{HERE}:Size","LARGE"]}}'),
        (Right.READ | Right.WRITE, f'{{"$enum":["{HERE}:Right",3]}}'),
        (Right(0), f'{{"$enum":["{HERE}:Right",0]}}'),
        (Status.STUCK, '{"$enum":["py_api_saga.status:Status","STUCK"]}'),
        (Point(1, (2,)), f'{{"$dataclass":["{HERE}:Point",{{"x":1,"y":{{"$tuple":[2]}}}}]}}'),
        (MISSING, '{"$missing":true}'),
        (
            Results.of([1, (2,)], {"b": 1, "a": 0}),
            '{"$results":[[1,{"$tuple":[2]}],{"b":1,"a":0}]}',
        ),
        (result_of("a")["id"].x, '{"$result":["a",[[false,"id"],[true,"x"]]]}'),
        (result_of()[1:], '{"$result":["",[[false,{"$slice":[1,null,null]}]]]}'),
        (Line, f'{{"$class":"{HERE}:Line"}}'),
        (act, f'{{"$function":"{HERE}:act"}}'),
        (math.sqrt, '{"$function":"math:sqrt"}'),
    ],
)
def test_a_value_is_written_as_the_reference_says(value: Any, text: str) -> None:
    """The format is public."""
    assert dumps(tagged(value, NAMES)) == text
    assert_same(value)


def test_two_keys_that_are_no_number_stay_two() -> None:
    """Each is equal to nothing, so a dict or set may hold many."""
    assert list(there({math.nan: 1, float("nan"): 2}).values()) == [1, 2]
    assert len(there({math.nan, float("nan")})) == 2


def test_a_dataclass_is_made_again_without_running_its_code() -> None:
    """`__init__` and `__post_init__` ran when the value was made."""
    value = Line("mug", 2, ["blue"])
    RAN.clear()

    assert there([value]) == [value]
    assert RAN == []


def test_all_fields_of_a_dataclass_are_kept_and_what_is_derived_is_not() -> None:
    """Also those that `__init__` does not take; a cached property is asked for again."""
    value = Area(3, 2)
    assert value.text == "18"

    read = there(value)

    assert vars(read) == {"side": 3, "size": 18}
    assert read.text == "18"


def test_a_parameter_of_a_generic_dataclass_is_no_part_of_it() -> None:
    """It is for type checkers."""
    assert there(Box[int](3)) == Box(3)


def test_a_field_that_a_deploy_added_takes_its_default() -> None:
    """Sagas that were recorded before have no value for it."""
    tree = {"$dataclass": [f"{HERE}:Line", {"item": "mug"}]}
    first, second = untagged([tree, tree], NAMES)

    assert first == Line("mug", 1, [])
    assert first.notes is not second.notes


def test_the_retry_of_the_library_is_a_value_like_others() -> None:
    """Its own types need no entry in `modules`."""
    retry = Retry(again, attempts=7)

    assert there(retry) == retry


def test_results_of_a_saga_are_still_found_by_name() -> None:
    """An operation of the parent may return, or be given, all that a child saga has returned."""
    child = (
        SagaAssembler.saga().operation((math.sqrt, 4), name="c").operation((math.sqrt, 9), name="d")
    )
    results = SagaAssembler.saga().operation(child, name="child").orchestrator_execute()

    for value in (results, results["child"], [results["child"]]):
        assert_same(value)
    read = there({"all": results})["all"]
    assert read["child"]["d"] == 3.0
    assert type(read["child"]) is Results
    with pytest.raises(KeyError):
        read["c"]


def test_what_is_written_shares_nothing_with_the_value() -> None:
    """An action may change its arguments before they are on disk."""
    for value in ([1], {"a": 1}, [[1]], {"a": [1]}):
        tree = tagged(value, NAMES)
        before = copy.deepcopy(tree)
        inner = value["a"] if isinstance(value, dict) else value[0]
        if isinstance(inner, list):
            inner.append(2)
        value.clear()
        assert tree == before


def test_what_is_read_shares_nothing_with_the_tree() -> None:
    """A tree is compared with another one later."""
    tree: Any = [[1], {"a": 1}]
    value = untagged(tree, NAMES)
    value[0].append(2)
    value[1]["b"] = 2

    assert tree == [[1], {"a": 1}]


# --- what is refused ---------------------------------------------------------

LOOP: list[Any] = [1]
LOOP.append({"again": (LOOP,)})
DAG: list[Any] = [None] * 1000
for _ in range(60):
    DAG = [DAG, DAG]
WITH_MORE = Line("mug")
WITH_MORE.extra = 1  # type: ignore[attr-defined]
WITH_LESS: Any = object.__new__(Point)


def nested(levels: int) -> Any:
    """Make a tuple in a tuple in a tuple."""
    value: Any = 1
    for _ in range(levels):
        value = (value,)
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Connection(), rf"^it is of type {HERE}\.Connection: store what it is found by, such as"),
        (
            [0, 1, {"order": Point(Connection(), 1)}],
            r"^\[2\]\['order'\]\.x is of type .*Connection",
        ),
        ({3: Connection()}, r"^\[3\] is of type"),
        ({(1,): Connection()}, r"^\[<tuple>\] is of type"),
        ({10**5000: Connection()}, r"^\[<int>\] is an int of more than 4300 digits"),
        ({"x" * 50: Connection()}, r"^\['x{40}…'\] is of type"),
        ({Connection(): 1}, rf"^\[<{HERE}\.Connection>\] is of type"),
        ({1, Connection()}, r"^\{…\} is of type"),
        (result_of("a")[Connection()], r"^\[a key of result_of\] is of type"),
        (slice(1, object()), r"^\[1\] is of type object: store"),
        (Basket(), rf"{HERE}\.Basket, and would come back as a plain list: convert it to one, or"),
        (OrderedDict(), "OrderedDict, and would come back as a plain dict: convert it to one, or"),
        (defaultdict(int), "defaultdict, and would come back as a plain dict"),
        (Parcel(1), "Parcel, and would come back as a plain tuple"),
        (Old(1), "Old, and would come back as a plain tuple"),
        (Amount(1), "Amount, and would come back as a plain int"),
        (type("Text", (str,), {})(), "Text, and would come back as a plain str"),
        (type("Real", (float,), {})(), "Real, and would come back as a plain float"),
        (type("Day", (datetime,), {})(1, 1, 1), "Day, and would come back as a plain datetime"),
        (bytearray(b"SECRET"), "it is of type bytearray: convert it to bytes"),
        (memoryview(b"SECRET"), "it is of type memoryview: convert it to bytes"),
        (Fraction(1, 3), r"it is of type fractions\.Fraction: store what"),
        (1j, "it is of type complex: store what"),
        (partial(act), r"it is of type functools\.partial: store what"),
        (iter([]), "it is of type list_iterator: store what"),
        (SubLine("a"), r"SubLine, which inherits from a dataclass and is none: decorate it with @"),
        (Names2(), r"Names2, a dataclass that is an exception or a container too: store a plain"),
        (
            WITH_MORE,
            "Line and has an attribute 'extra' that is not a field, and would be lost: make",
        ),
        (WITH_LESS, "Point, and one of its fields has no value: give it one"),
        (Odd(7), r"Odd and none of its members: store its value"),
        (lambda: 1, "it is of type function: a lambda cannot be found again after a crash: write"),
        (Connection().__repr__, "it is of type method: a method of an object cannot be found"),
        (uuid.SafeUUID.safe, r"SafeUUID: uuid:SafeUUID is in a module that the journal does not"),
        (Fraction, "it is of type abc.ABCMeta: fractions:Fraction is in a module"),
        (
            datetime(1, 1, 1, tzinfo=Hour()),
            rf"time zone of type {HERE}\.Hour: use a zoneinfo\.Zone",
        ),
        (time(1, tzinfo=Hour()), "has a time zone of type"),
        pytest.param(10**4300, "it is an int of more than 4300 digits: store it as a", id="int"),
        ([-(10**4300)], r"\[0\] is an int of more than 4300 digits"),
        (LOOP, "^it holds itself, directly or further down: make it a value without circles"),
        (nested(MAX_DEPTH + 1), "^it is nested more than 100 levels deep: store it flat"),
        pytest.param(
            DAG,
            "makes it more than fits into 1,048,576 bytes: store a reference to it",
            id="dag",
            marks=pytest.mark.untraced,
        ),
        ({1: [print] * (MAX_VALUE + 1)}, r"^\[1\] makes it more than fits"),
    ],
)
def test_what_cannot_come_back_is_refused(value: Any, text: str) -> None:
    """With the place and the type, what to do instead, and never the value itself."""
    with pytest.raises(NotStorableError, match=text) as caught:
        tagged(value, NAMES)

    assert "SECRET" not in str(caught.value)


# The least that a file of a time zone may hold: one offset, for all times.
ZONE_FILE = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + bytes(6) + b"UTC\0"


@pytest.mark.parametrize("key", [None, "../etc/passwd", "/etc/passwd", "Nowhere/Land", "Europe"])
def test_a_time_zone_that_cannot_be_found_again_is_refused(key: str | None) -> None:
    """As one that was read from a file of the user's own."""
    zone = ZoneInfo.from_file(io.BytesIO(ZONE_FILE), key)

    with pytest.raises(
        NotStorableError, match=r"time zone of type zoneinfo\.ZoneInfo: use a zonein"
    ):
        tagged(datetime(2026, 1, 1, tzinfo=zone), NAMES)


def test_values_may_be_nested_a_hundred_levels_deep() -> None:
    """And come back from there."""
    assert there(nested(MAX_DEPTH)) == nested(MAX_DEPTH)


def deep(depth: int, then: Callable[[], Any]) -> Any:
    """Call a function with that much of the stack used up."""
    return then() if depth == 0 else deep(depth - 1, then)


def left() -> int:
    """Count the frames that are left of the stack."""
    return sys.getrecursionlimit() - len(inspect.stack(0))


def test_who_has_used_up_the_stack_is_told_so() -> None:
    """Instead of a RecursionError, which says nothing of the value."""
    value, tree = nested(90), tagged(nested(90), NAMES)
    text = "[" * 800

    with pytest.raises(
        NotStorableError, match="nested too deep for what is left of Python's stack"
    ):
        deep(left() - 60, lambda: tagged(value, NAMES))
    with pytest.raises(ValueError, match=r"malformed \$tuple \(RecursionError\)"):
        deep(left() - 60, lambda: untagged(tree, NAMES))
    with pytest.raises(ValueError, match="not read: nested too deep"):
        deep(left() - 60, lambda: loads(text * 200))


# --- reading what somebody else may have written -----------------------------

TAGS = sorted(untagging._UNTAGS)  # noqa: SLF001 - each of them is to be tried
TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["os:system", f"{HERE}:act", f"{HERE}:Line", f"{HERE}:Right", f"{HERE}:Point", "__class__"]
    ),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(st.text(), inner),
        st.builds(lambda tag, tree: {tag: tree}, st.sampled_from([*TAGS, "$no"]), inner),
        st.builds(lambda tag, *trees: {tag: list(trees)}, st.sampled_from(TAGS), inner, inner),
        st.builds(lambda name: {name: "x"}, st.sampled_from(["item", "x", "$tuple"])),
    ),
    max_leaves=20,
)


@pytest.mark.untraced
@repeatable
@given(TREES)
def test_any_tree_gives_a_value_or_one_of_two_errors(tree: Any) -> None:
    """And calls nothing, and imports nothing."""
    RAN.clear()
    loaded = set(sys.modules)
    with mock.patch("os.system") as system, suppress(ValueError, UnknownNameError):
        untagged(tree, NAMES)
    assert not system.called
    assert RAN == []
    assert set(sys.modules) == loaded


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"$no": 1}, r"unknown tag '\$no': it may be of a newer version"),
        ({"$tuple": [], "a": 1}, r"unknown tag '\$tuple'"),
        ({"a": 1, "$tuple": []}, r"unknown tag 'a'"),
        ({1: 2}, "unknown tag 'int'"),
        ({3}, "expected a tree of JSON, got set"),
        ((1,), "expected a tree of JSON, got tuple"),
        ({"$tuple": 3}, r"malformed \$tuple \(TypeError\)"),
        ({"$tuple": "abc"}, r"malformed \$tuple"),
        ({"$set": [1, 1]}, r"malformed \$set"),
        ({"$set": [[]]}, r"malformed \$set"),
        ({"$frozenset": [1, 1.0]}, r"malformed \$frozenset"),
        ({"$dict": [[1, 2], [1, 3]]}, r"malformed \$dict"),
        ({"$dict": [[1]]}, r"malformed \$dict"),
        ({"$dict": {"a": 1}}, r"malformed \$dict"),
        ({"$dict": ["ab"]}, r"malformed \$dict"),
        ({"$dict": [[{"$result": ["a", []]}, 1]]}, r"malformed \$result|malformed \$dict"),
        ({"$str": [-1]}, r"malformed \$str"),
        ({"$str": [True]}, r"malformed \$str"),
        ({"$str": [10**30]}, r"malformed \$str"),
        ({"$float": "1.5"}, r"malformed \$float"),
        ({"$float": []}, r"malformed \$float"),
        ({"$bytes": "A"}, r"malformed \$bytes"),
        ({"$bytes": "AP8=\n"}, r"malformed \$bytes"),
        ({"$bytes": 1}, r"malformed \$bytes"),
        ({"$decimal": "SECRET"}, r"malformed \$decimal"),
        ({"$decimal": 1}, r"malformed \$decimal"),
        ({"$datetime": "SECRET"}, r"malformed \$datetime"),
        ({"$datetime": ["2026-01-01T00:00:00", "../../etc/passwd"]}, r"malformed \$datetime"),
        ({"$datetime": ["2026-01-01T00:00:00", "/etc/passwd"]}, r"malformed \$datetime"),
        ({"$datetime": ["2026-01-01T00:00:00", "No/Where"]}, r"malformed \$datetime"),
        ({"$datetime": ["2026-01-01T00:00:00", "Europe"]}, r"malformed \$datetime"),
        ({"$datetime": ["2026-01-01T00:00:00", 3]}, r"malformed \$datetime"),
        ({"$datetime": ["2026-01-01T00:00:00", None, 2]}, r"malformed \$datetime"),
        ({"$datetime": ["2026-01-01T00:00:00", None, 1, 1]}, r"malformed \$datetime"),
        ({"$datetime": [3, None, 1]}, r"malformed \$datetime"),
        ({"$datetime": 3}, r"malformed \$datetime"),
        ({"$date": 3}, r"malformed \$date"),
        ({"$time": "25:00"}, r"malformed \$time"),
        ({"$timedelta": [1, 2]}, r"malformed \$timedelta"),
        ({"$timedelta": [10**20, 0, 0]}, r"malformed \$timedelta"),
        ({"$timedelta": [0.5, 0, 0]}, r"malformed \$timedelta"),
        ({"$uuid": "SECRET"}, r"malformed \$uuid"),
        ({"$uuid": 1}, r"malformed \$uuid"),
        ({"$slice": [1]}, r"malformed \$slice"),
        ({"$missing": 1}, r"malformed \$missing"),
        ({"$results": []}, r"malformed \$results"),
        ({"$results": [[1]]}, r"malformed \$results"),
        ({"$results": [[1], {}, {}]}, r"malformed \$results"),
        ({"$results": "ab"}, r"malformed \$results"),
        ({"$results": ["ab", {}]}, r"malformed \$results"),
        ({"$results": [1, {"SECRET": 0}]}, r"malformed \$results"),
        ({"$results": [[1], [["a", 0]]]}, r"malformed \$results"),
        ({"$results": [[1], {"SECRET": "0"}]}, r"malformed \$results"),
        ({"$results": [[1], {"a": True}]}, r"malformed \$results"),
        ({"$results": [[1], {"a": None}]}, r"malformed \$results"),
        ({"$results": [[1], {"a": 1}]}, r"malformed \$results"),
        ({"$results": [[1], {"a": -1}]}, r"malformed \$results"),
        ({"$result": ["a"]}, r"malformed \$result"),
        ({"$result": [1, []]}, r"malformed \$result"),
        ({"$result": ["a", [[1, "x"]]]}, r"malformed \$result"),
        ({"$result": ["a", [[True, 1]]]}, r"malformed \$result"),
        ({"$result": ["a", [[True, "a b"]]]}, r"malformed \$result"),
        ({"$result": ["a", [[True, "__class__"], [True, "__init__"]]]}, r"malformed \$result"),
        ({"$enum": [f"{HERE}:Size", "TINY"]}, "Size has no such member any more"),
        ({"$enum": [f"{HERE}:Size", 1]}, "Size has no such member any more"),
        ({"$enum": [f"{HERE}:Right", 8]}, r"malformed \$enum \(ValueError\)"),
        ({"$enum": [f"{HERE}:Right", True]}, r"malformed \$enum"),
        ({"$enum": [f"{HERE}:Bits", 8]}, "Bits has no such member any more"),
        ({"$enum": [f"{HERE}:Odd", "MADE_UP"]}, "Odd has no such member any more"),
        ({"$enum": [f"{HERE}:Line", "item"]}, "Line is not an Enum any more"),
        ({"$enum": [f"{HERE}:act", "item"]}, "act is not a class"),
        ({"$enum": f"{HERE}:Size"}, r"malformed \$enum"),
        ({"$dataclass": [f"{HERE}:Point", {"y": 1}]}, "Point has a new field 'x', which needs a d"),
        ({"$dataclass": [f"{HERE}:Point", {"x": 1, "z": 1}]}, "Point has no field 'z' any more"),
        ({"$dataclass": [f"{HERE}:Point", [1, 2]]}, r"malformed \$dataclass"),
        ({"$dataclass": [f"{HERE}:SubLine", {"item": "a"}]}, "SubLine is not a dataclass any more"),
        ({"$dataclass": [f"{HERE}:Names2", {"x": 1}]}, r"malformed \$dataclass \(TypeError\)"),
        ({"$dataclass": [f"{HERE}:act", {}]}, "act is not a class"),
        ({"$class": f"{HERE}:act"}, "act is not a class"),
        ({"$function": f"{HERE}:Line"}, "Line is a class"),
    ],
)
def test_a_malformed_tree_is_refused(tree: Any, text: str) -> None:
    """In our words, not in those of whatever stumbled over it, which may hold the value."""
    with pytest.raises(ValueError, match=text) as caught:
        untagged(tree, NAMES)

    assert "SECRET" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("tag", ["$class", "$function", "$enum", "$dataclass"])
@pytest.mark.parametrize("name", ["os:system", "posix:system", "builtins:eval", "no name", 3, []])
def test_a_name_that_may_not_be_named_is_refused(tag: str, name: Any) -> None:
    """A journal does not choose what is imported."""
    tree = {tag: name if tag in ("$class", "$function") else [name, {}]}

    with pytest.raises(UnknownNameError):
        untagged(tree, NAMES)


def test_a_tree_that_is_too_deep_is_refused() -> None:
    """It would use up the stack."""
    for wrap in (lambda tree: [tree], lambda tree: {"a": tree}, lambda tree: {"$tuple": [tree]}):
        tree: Any = 1
        for _ in range(MAX_DEPTH + 2):
            tree = wrap(tree)
        with pytest.raises(ValueError, match="nested more than 100 levels deep"):
            untagged(tree, NAMES)


# --- JSON --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1,", "not JSON: Expecting value, at character 3"),
        ('"SECRET', "not JSON: Unterminated string starting at, at character 0"),
        ("", "not JSON: Expecting value"),
        ("NaN", "not JSON: NaN"),
        ("-Infinity", "not JSON: -Infinity"),
        ("[" * 100_000, "not read: nested too deep"),
        ("9" * 4301, "4300 digits"),
        (b"1", "not JSON: expected a text, got bytes"),
        (None, "not JSON: expected a text, got NoneType"),
    ],
)
def test_what_is_no_json_is_refused(text: Any, message: str) -> None:
    """Without the text itself."""
    with pytest.raises(ValueError, match=message) as caught:
        loads(text)

    assert type(caught.value) is ValueError
    assert "SECRET" not in str(caught.value)


def test_a_text_that_is_too_long_is_not_parsed() -> None:
    """It could take all memory."""
    assert loads("[1]", 3) == [1]
    with mock.patch.object(codec, "_DECODE") as decode:
        with pytest.raises(ValueError, match="not read: longer than 1,000 characters"):
            loads("[" * 1001, 1000)
        assert not decode.called


def test_long_ints_are_refused_even_if_the_program_allows_them() -> None:
    """They take quadratic time, and a journal is input."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        with pytest.raises(ValueError, match="an int of more than 4300 digits"):
            loads("9" * 4301)
        assert loads("9" * 4300) == 10**4300 - 1
    finally:
        sys.set_int_max_str_digits(limit)


@pytest.mark.untraced
@repeatable
@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_texts_are_those_of_json(tree: Any) -> None:
    """The encoder that is kept writes what the library's own function does."""
    assert dumps(tree) == json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("tree", [math.nan, [math.inf], object(), {(1,): 2}])
def test_what_is_no_tree_is_not_written(tree: Any) -> None:
    """An error of our own code."""
    with pytest.raises((ValueError, TypeError)):
        dumps(tree)


# --- values of a journal -----------------------------------------------------


class Clear:
    """A codec that hides nothing."""

    def encode(self, text: str) -> str:
        return text

    def decode(self, text: str) -> str:
        return text


def test_what_was_sealed_is_no_longer_than_a_value_may_be() -> None:
    """What a codec makes of a text may be longer than what it was given."""
    values = Values(MemoryJournal(codec=Clear()))

    assert values.open({"$sealed": f'"{"a" * (MAX_VALUE - 2)}"'}) == "a" * (MAX_VALUE - 2)
    with pytest.raises(ValueError, match="not read: longer than 1,048,576 characters"):
        values.open({"$sealed": f'"{"a" * (MAX_VALUE - 1)}"'})


def do(*_: Any, **__: Any) -> None:
    """Stand for an action."""


def defined(journal: MemoryJournal, *args: Any, **keywords: Any) -> Any:
    """Give the tree of a saga whose action and compensation have these arguments."""
    call = partial(do, *args, **keywords)
    saga = SagaAssembler.saga(name="s").operation(call, call, name="a")
    plan = Plan("s", None, MAX_AGE, None, in_loop=False)
    return loads(write_definition(saga._chain(), plan, Values(journal)))[1]  # noqa: SLF001


@pytest.mark.parametrize(
    ("value", "same", "other"),
    [
        ({"x": 1, "y": 2}, {"y": 2, "x": 1}, {"x": 2, "y": 1}),
        ([{"w": 0, "x": [{"y": 1, "z": 2}]}], [{"x": [{"z": 2, "y": 1}], "w": 0}], [{"w": 0}]),
        ({1: "x", "y": "z"}, {"y": "z", 1: "x"}, {1: "z", "y": "x"}),  # written as pairs
        ({"$dict": 1, "x": {"y": 1, "z": 2}}, {"x": {"z": 2, "y": 1}, "$dict": 1}, {"$dict": 1}),
        ({"x": [2, 1]}, {"x": [2, 1]}, {"x": [1, 2]}),  # a list has an order
        (({"x": 1, "y": 2},), ({"y": 2, "x": 1},), [{"x": 1, "y": 2}]),
        (
            {Label("", {"a": 1, "b": 2}), Label("", {"a": 1, "c": 0})},
            {Label("", {"b": 2, "a": 1}), Label("", {"a": 1, "c": 0})},
            {Label("", {"b": 2, "a": 1})},
        ),
        (
            frozenset({Label("", {"a": 1, "b": 2}), Label("", {"a": 1, "c": 0})}),
            frozenset({Label("", {"b": 2, "a": 1}), Label("", {"a": 1, "c": 0})}),
            {Label("", {"a": 1, "b": 2}), Label("", {"a": 1, "c": 0})},
        ),
    ],
)
@pytest.mark.parametrize("codec", [None, Clear()])
def test_arguments_are_the_same_in_any_order(
    value: Any, same: Any, other: Any, codec: Clear | None
) -> None:
    """Where they have none: who asks again may have put a dict together in another way."""
    journal = MemoryJournal([HERE], codec=codec)
    values = Values(journal)
    first, second = defined(journal, value), defined(journal, same)
    third = defined(journal, other)

    assert value == same
    assert argument_conflict(first, second, values) is None
    assert digest(first, values) == digest(second, values)
    assert (
        argument_conflict(first, third, values)
        == "operation 'a': the arguments of the action differ"
    )
    assert digest(first, values) != digest(third, values)


def test_keywords_are_the_same_in_any_order() -> None:
    """Each has its name."""
    journal = MemoryJournal([HERE])
    values = Values(journal)
    first, second = defined(journal, 1, x=2, y=3), defined(journal, 1, y=3, x=2)

    assert argument_conflict(first, second, values) is None
    assert digest(first, values) == digest(second, values)
    assert argument_conflict(first, defined(journal, 1, x=3, y=2), values) is not None


def test_arguments_of_any_depth_can_be_compared() -> None:
    """What can be written can be looked at, also as deep as it may be."""
    deep: Any = {2: {}}
    for _ in range(MAX_DEPTH - 3):
        deep = {2: deep, 1: None}
    journal = MemoryJournal([HERE])
    tree = defined(journal, deep)

    assert argument_conflict(tree, tree, Values(journal)) is None


@pytest.mark.parametrize("tree", [{"$dict": 5}, {"$set": {"x": 1}}, {"$dict": None}])
def test_malformed_arguments_differ_and_no_more(tree: Any) -> None:
    """They are not read here."""
    operations = [{"name": "a", "do": ["m:f", [tree]]}]
    given = [{"name": "a", "do": ["m:f", [1]]}]
    values = Values(MemoryJournal())

    said = argument_conflict({"operations": operations}, {"operations": given}, values)

    assert said == "operation 'a': the arguments of the action differ"


# --- what few values need ----------------------------------------------------


def test_types_are_known_by_what_they_are_and_not_by_what_they_say() -> None:
    """Some modules are not imported before a value is of them: their types go by name at first."""
    for name in ("decimal.Decimal", "datetime.datetime", "uuid.UUID", "not_there.Decimal"):
        module, _, own_name = name.rpartition(".")
        made = type(own_name, (), {"__module__": module})()

        with pytest.raises(NotStorableError, match=f"is of type {name}"):
            tagged([made], NAMES)


def test_a_type_is_looked_for_once() -> None:
    """From then on it is as fast as any other."""
    with mock.patch.dict(tagging._TAGS):  # noqa: SLF001
        tagging._TAGS.pop(Decimal, None)  # noqa: SLF001

        assert tagged([Decimal(1)], NAMES) == [{"$decimal": "1"}]
        assert Decimal in tagging._TAGS  # noqa: SLF001
