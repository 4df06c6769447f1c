"""What annotations name is there at run time: FastAPI, pydantic and injectors look it up."""

import inspect
import typing
from collections.abc import Iterator
from types import ModuleType

import pytest

import py_api_saga
from py_api_saga import journal, repair, testing

CONSTANTS = {"NOT_HAPPENED", "UNKNOWN"}  # answers, which nobody calls
PLACES = {
    py_api_saga: [name for name in py_api_saga.__all__ if name not in CONSTANTS],
    journal: journal.__all__,
    repair: [
        name
        for name, thing in vars(repair).items()
        if not name.startswith("_") and getattr(thing, "__module__", "") == repair.__name__
    ],
    testing: testing.__all__,
}


def callables_of(module: ModuleType, names: list[str]) -> Iterator[typing.Any]:
    """Yield public functions and classes, and of classes the public methods and properties."""
    for name in names:
        thing = getattr(module, name)
        yield pytest.param(thing, id=f"{module.__name__}.{name}")
        if not inspect.isclass(thing):
            continue
        for attribute, member in inspect.getmembers(thing):
            if attribute.startswith("_") and attribute not in {"__init__", "__call__"}:
                continue
            member = member.fget if isinstance(member, property) else member  # noqa: PLW2901
            if inspect.isfunction(member) or inspect.ismethod(member):
                yield pytest.param(member, id=f"{module.__name__}.{name}.{attribute}")


ALL = [case for module, names in PLACES.items() for case in callables_of(module, names)]


@pytest.mark.parametrize("thing", ALL)
def test_the_hints_of_what_is_public_can_be_read(thing: object) -> None:
    """`typing.get_type_hints` finds all that an annotation names."""
    assert all(hint is not None for hint in typing.get_type_hints(thing).values())


@pytest.mark.parametrize("thing", ALL)
def test_the_signatures_of_what_is_public_can_be_read(thing: typing.Any) -> None:
    """`inspect.signature(…, eval_str=True)` gives types, not their names."""
    if inspect.isclass(thing) and thing.__init__ is Exception.__init__:
        thing = thing.__init__  # Python tells none of an exception without an `__init__` of its own

    parameters = inspect.signature(thing, eval_str=True).parameters.values()

    assert not [one.name for one in parameters if isinstance(one.annotation, str)]


def test_the_two_ways_to_add_an_operation_can_be_read() -> None:
    """A call with its undo, and a whole saga: `typing.get_overloads` has both."""
    first, second = typing.get_overloads(py_api_saga.Saga.operation)

    assert "compensation" in inspect.signature(first).parameters
    assert "compensation" not in inspect.signature(second).parameters


def test_the_options_of_a_saga_can_be_read() -> None:
    """What is unpacked into keywords is a typed dict that has its types."""
    options = typing.get_type_hints(py_api_saga.SagaAssembler.saga)["options"]

    assert typing.get_type_hints(typing.get_args(options)[0])["retry"] == py_api_saga.Retry | None
