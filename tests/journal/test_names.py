"""Names: which functions and types a journal may name, and that nothing else is ever found."""

import builtins
import importlib
import math
import pickle
import sys
from collections.abc import Callable
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import py_api_saga.cli
from py_api_saga import Retry, SagaStatus
from py_api_saga.journal.format.functions import Functions, NotStorableError, UnknownNameError

HERE = __name__

SHOP = """
import os
import sys
from math import sqrt
from shop.stock import reserve
from py_api_saga import Retry

eval_it = eval
limit = 3

def charge(amount): return amount
def __hidden(): pass
also = charge

class Card:
    class Chip:
        pass
    def pay(self): pass
    @classmethod
    def read(cls): return cls
    @staticmethod
    def check(): return "checked"
    @classmethod
    @property
    def trap(cls): raise SystemExit("a property was asked")

class Gold(Card):
    pass
"""
HOSTILE = [
    "os:system",
    "builtins:eval",
    "builtins:__import__",
    "posix:system",
    "subprocess:Popen",
    "../../x:y",
    "py_api_saga.journal.format.functions:os.system",
    "py_api_saga.journal.format.functions:sys.exit",
    "py_api_saga.journal.format.functions:sys",
    "py_api_saga.journal.format.functions:import_module",
    "py_api_saga.journal.format.functions:Functions",
    "py_api_saga.cli:main",
    "py_api_saga.__main__:main",
    "py_api_saga.retry:Retry.wait",
    "py_api_saga.durable.recovery:recover",
    "py_api_saga.durable.recovery:takeover",
    "py_api_saga_evil:charge",
    "shop.operations:os",
    "shop.operations:os.system",
    "shop.operations:sys.modules",
    "shop.operations:eval_it",
    "shop.operations:limit",
    "shop.operations:sqrt",
    "shop.operations:reserve",
    "shop.operations:Retry",
    "shop.operations:also",
    "shop.operations:__hidden",
    "shop.operations:__import__",
    "shop.operations:__builtins__",
    "shop.operations:__builtins__.eval",
    "shop.operations:charge.__globals__",
    "shop.operations:Card.__init__.__globals__",
    "shop.operations:Card.__class__",
    "shop.operations:Card.__subclasses__",
    "shop.operations:Card.mro",
    "shop.operations:Card.pay.real",
    "shop.operations:Card.trap",
    "shop.operations:Gold.pay",
    "shop.operations:Gold.Chip",
    "shop.operations:missing",
    "shop.operations:",
    ":charge",
    "shop.operations",
    "shop.operations:charge\n",
    "shop.operations:charge()",
    "shop.operations:1",
    "shop..operations:charge",
    "shop/operations:charge",
    "",
    "shop.operations:" + "x" * 240,
]


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a module `shop.operations` with more in it than a journal may name."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").write_text("def greet(): pass\n")
    (folder / "stock.py").write_text("def reserve(): pass\n")
    (folder / "broken.py").write_text("raise RuntimeError('no database')\n")
    (folder / "operations.py").write_text(SHOP)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("shop", "shop.stock", "shop.operations", "shop.broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module("shop.operations")
    for name in ("shop", "shop.stock", "shop.operations"):
        sys.modules.pop(name, None)


def top() -> None:
    """Stand for a function at the top level of a module."""


def same(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function with one that looks like it."""

    @wraps(function)
    def call(*args: object) -> object:
        return function(*args)

    return call


@same
def decorated() -> None:
    """Stand for a function that is found as its wrapper."""


undecorated = decorated.__wrapped__  # type: ignore[attr-defined]
nameless = lambda: None  # noqa: E731 - on purpose
gone = same(top)
gone.__qualname__ = "gone_before"
long = same(top)
long.__qualname__ = "x" * 300
odd = same(top)
odd.__qualname__ = "not a name"


def __internal() -> None:
    """Stand for a function whose name Python keeps for itself."""


internal = __internal


class Clerk:
    """What is called as an object, or by its methods."""

    class Desk:
        """A class inside a class."""

    def __call__(self) -> None:
        """Do nothing."""

    def serve(self) -> None:
        """Do nothing."""

    @classmethod
    def hire(cls) -> "Clerk":
        """Make one."""
        return cls()

    @staticmethod
    def bow() -> None:
        """Do nothing."""


class Junior(Clerk):
    """A class that inherits a class method."""


# --- what has a name ---------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "path"),
    [
        (top, "top"),
        (decorated, "decorated"),
        (Clerk, "Clerk"),
        (Clerk.Desk, "Clerk.Desk"),
        (Clerk.serve, "Clerk.serve"),
        (Clerk.bow, "Clerk.bow"),
        (Clerk.hire, "Clerk.hire"),
        (Junior.hire, "Junior.hire"),
    ],
)
def test_what_a_listed_module_defines_is_found_again(thing: Any, path: str) -> None:
    """Functions, classes, and what stands in a class, by `module:qualname`."""
    names = Functions([HERE])

    assert names.of(thing) == f"{HERE}:{path}"
    assert names.of(thing) == f"{HERE}:{path}"
    assert names.find(f"{HERE}:{path}") == thing


def test_a_class_method_is_bound_to_the_class_that_was_named() -> None:
    """An inherited one too."""
    names = Functions([HERE])

    assert type(names.find(names.of(Junior.hire))()) is Junior


def test_a_builtin_function_has_a_name_in_a_listed_module() -> None:
    """Modules in C are modules."""
    names = Functions(["math"])

    assert names.find(names.of(math.sqrt)) is math.sqrt


def test_main_has_names_only_if_it_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has another `__main__`."""
    monkeypatch.setattr(sys.modules["__main__"], "top", top, raising=False)
    monkeypatch.setattr(top, "__module__", "__main__")

    assert Functions(["__main__"]).find(Functions(["__main__"]).of(top)) is top
    with pytest.raises(NotStorableError, match=r"__main__:top is in a module .* list: add"):
        Functions([HERE]).of(top)
    with pytest.raises(UnknownNameError, match="'__main__', which the journal does not list"):
        Functions([HERE]).find("__main__:top")


def test_the_librarys_own_public_types_need_no_entry() -> None:
    """They are offered by the package."""
    names = Functions()

    assert names.find(names.of(Retry)) is Retry
    assert names.find("py_api_saga.status:SagaStatus") is SagaStatus


def test_a_package_stands_for_itself_alone() -> None:
    """Its submodules may hold what was never meant to be called."""
    names = Functions(["shop"])

    assert names.find("shop:greet").__name__ == "greet"
    with pytest.raises(UnknownNameError, match=r"'shop\.stock', which the journal does not list"):
        names.find("shop.stock:reserve")


def test_a_star_stands_for_all_that_is_below_a_package() -> None:
    """The package itself included, and no other one whose name begins alike."""
    names = Functions(["shop.*"])

    assert names.find("shop:greet").__name__ == "greet"
    assert names.find("shop.stock:reserve").__name__ == "reserve"
    with pytest.raises(UnknownNameError, match="does not list"):
        names.find("shopping:greet")


# --- what has none -----------------------------------------------------------


def local() -> tuple[Any, Any]:
    """Give a function and a class that are defined in here."""

    def inner() -> None: ...

    class Inner: ...

    return inner, Inner


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (nameless, r"a lambda cannot be found again after a crash: write a function at the top le"),
        (local()[0], r"a function that is defined inside a function cannot be found again"),
        (local()[1], r"a class that is defined inside a function cannot .*: write a class at the"),
        (Clerk().serve, r"a method of an object cannot be found again"),
        (Clerk(), r"an object of type Clerk cannot be found again"),
        (partial(top), r"an object of type partial cannot"),
        (mock.Mock(spec=type), r"an object of type Mock cannot"),
        (3, r"an object of type int cannot"),
        ({}.get, r"a method of an object or of a built-in class cannot"),
        (dict.fromkeys, r"a method of an object or of a built-in class cannot"),
        (dict.get, r"an object of type method_descriptor cannot"),
        (len, r"builtins:len is in a module that the journal does not list: add 'builtins' to"),
        (math.sqrt, r"math:sqrt is in a module that the journal does not list"),
        (importlib.import_module, r"importlib:import_module is in a module that"),
        (undecorated, r"stands for something else or for nothing, as after a decorator"),
        (gone, r":gone_before stands for something else or for nothing"),
        (long, r"is not a name that can be found again: write a function at the top level"),
        (odd, r"is not a name that can be found again"),
        (internal, r":__internal' is not a name that can be found again"),
        (Clerk.__call__, r":Clerk\.__call__' is not a name that can be found again"),
        (
            Functions,
            r"\.format\.functions:Functions is not public in py_api_saga",
        ),
        (py_api_saga.cli.main, r"py_api_saga\.cli:main is not public in py_api_saga"),
    ],
)
def test_what_could_not_be_found_again_is_refused(thing: Any, text: str) -> None:
    """In words that say what to do instead."""
    with pytest.raises(NotStorableError, match=text):
        Functions([HERE]).of(thing)


def test_what_a_module_has_replaced_is_looked_for_again(shop: Any) -> None:
    """A module may be loaded anew while sagas run, and a test may patch a function."""
    names = Functions(["shop.operations"])
    assert names.find("shop.operations:charge") is shop.charge

    importlib.reload(shop)

    assert names.find("shop.operations:charge") is shop.charge


def test_what_is_defined_in_a_module_that_is_gone_is_refused(shop: Any) -> None:
    """As a module that was loaded by its file, under a name that nobody can import."""
    del sys.modules["shop.operations"]

    with pytest.raises(NotStorableError, match="stands for something else or for nothing"):
        Functions(["shop.operations"]).of(shop.charge)


def test_what_stands_for_a_module_may_be_anything(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sys.modules` takes what it is given."""
    monkeypatch.setitem(sys.modules, "shop.operations", 3)

    with pytest.raises(NotStorableError, match="stands for something else or for nothing"):
        Functions(["shop.operations"]).of(shop.charge)


def test_a_name_is_not_given_to_another_object_at_the_same_address() -> None:
    """What was refused once leaves no trace, and what was named is kept."""
    names = Functions([HERE])
    assert names.of(top) == f"{HERE}:top"

    for _ in range(100):
        with pytest.raises(NotStorableError):
            names.of(lambda: None)


# --- what may not be found ---------------------------------------------------


def test_names_are_sent_without_what_was_found_by_them(shop: Any) -> None:
    """In another process an id is another object's, and a module cannot be sent at all."""
    names = Functions(["shop.*"])
    assert names.find(names.of(shop.charge)) is shop.charge

    assert pickle.dumps(names) == pickle.dumps(Functions(["shop.*"]))
    assert pickle.loads(pickle.dumps(names)).of(shop.charge) == "shop.operations:charge"  # noqa: S301 - our own bytes


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_and_nothing_is_imported_or_called(name: str) -> None:
    """A journal is input: somebody else may have written it."""
    names = Functions(["shop.operations"])
    import_module("py_api_saga.durable.recovery")  # else it makes classes, by `eval`
    loaded = set(sys.modules)

    with mock.patch("os.system") as system, mock.patch.object(builtins, "eval") as evaluate:
        with pytest.raises(UnknownNameError):
            names.find(name)
        assert not system.called
        assert not evaluate.called
    assert {module for module in set(sys.modules) - loaded if "py_api_saga" not in module} == set()


@pytest.mark.parametrize("name", [None, 3, ["shop.operations:charge"], {"a": 1}, True])
def test_what_is_no_text_is_no_name(name: Any) -> None:
    """JSON has more than texts."""
    with pytest.raises(UnknownNameError, match="no name of the form module:function"):
        Functions(["shop.operations"]).find(name)


def test_a_module_that_is_not_listed_is_not_imported(tmp_path: Path) -> None:
    """Importing is running."""
    (tmp_path / "evil.py").write_text("raise SystemExit\n")

    with pytest.raises(UnknownNameError, match="'evil', which the journal does not list"):
        Functions(["shop.*", HERE]).find("evil:run")
    assert "evil" not in sys.modules


def test_a_listed_module_that_cannot_be_imported_is_an_unknown_name() -> None:
    """With the reason, which is often a deploy that lacks something."""
    with pytest.raises(UnknownNameError, match="not there: RuntimeError: no database") as caught:
        Functions(["shop.broken"]).find("shop.broken:run")
    assert isinstance(caught.value.__cause__, RuntimeError)

    with pytest.raises(UnknownNameError, match="not there: ModuleNotFoundError"):
        Functions(["shop.nowhere"]).find("shop.nowhere:run")


def test_a_name_that_was_imported_from_elsewhere_says_where_its_home_is() -> None:
    """So that what is found is what a reader of the journal sees."""
    with pytest.raises(UnknownNameError, match=r"not defined there, but is shop\.stock:reserve"):
        Functions(["shop.*"]).find("shop.operations:reserve")


# --- aliases -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("aliases", "name"),
    [
        ({"old.shop:pay": "shop.operations:charge"}, "old.shop:pay"),
        ({"old.shop": "shop.operations"}, "old.shop:charge"),
        ({"a:pay": "b:charge", "b": "shop.operations"}, "a:pay"),
        ({"a": "b", "b": "shop.operations"}, "a:charge"),
    ],
)
def test_an_alias_leads_to_the_new_name(aliases: dict[str, str], name: str, shop: Any) -> None:
    """Of a function or a module, also over several renamings."""
    assert Functions(["shop.operations"], aliases).find(name) is shop.charge


def test_an_alias_may_lead_to_the_librarys_own() -> None:
    """What is public there needs no entry."""
    assert Functions([], {"mine:Retry": "py_api_saga.retry:Retry"}).find("mine:Retry") is Retry


def test_an_alias_opens_no_way_around_what_is_refused() -> None:
    """The new name is checked as any other."""
    names = Functions(["shop.operations"], {"old": "shop.operations"})

    with pytest.raises(UnknownNameError, match=r"'old:os\.system', which is now 'shop\.operation"):
        names.find("old:os.system")


@pytest.mark.parametrize(
    ("aliases", "error", "text"),
    [
        ({"a:f": "os:system"}, ValueError, "'a:f' leads to module 'os', which is not in modules="),
        ({"a": "os"}, ValueError, "'a' leads to module 'os', which is not in modules="),
        ({"a:f": "b:f", "b": "a"}, ValueError, "leads in a circle"),
        ({"a": "b", "b": "a"}, ValueError, "leads in a circle"),
        ({"a:f": "shop.operations"}, ValueError, "two names of the form module:function, or two"),
        ({"a": "shop.operations:charge"}, ValueError, "or two of modules"),
        ({"a b": "shop.operations"}, ValueError, "or two of modules"),
        ({1: "shop.operations"}, TypeError, "aliases: expected names as strings, got int"),
        ({"a": math}, TypeError, "aliases: expected names as strings, got module"),
    ],
)
def test_an_alias_that_leads_nowhere_is_refused_at_once(
    aliases: Any, error: type[Exception], text: str
) -> None:
    """Not when a saga is to be recovered."""
    with pytest.raises(error, match=text):
        Functions(["shop.operations"], aliases)


@pytest.mark.parametrize(
    ("modules", "error", "text"),
    [
        ("shop", TypeError, "expected a list of names, got the string 'shop'"),
        ([math], TypeError, "modules: expected names as strings, got module"),
        (["shop/x"], ValueError, "expected the name of a module"),
        (["*"], ValueError, "expected the name of a module"),
        ([""], ValueError, "expected the name of a module"),
    ],
)
def test_what_is_no_list_of_modules_is_refused(
    modules: Any, error: type[Exception], text: str
) -> None:
    """In words that say what was expected."""
    with pytest.raises(error, match=text):
        Functions(modules)
