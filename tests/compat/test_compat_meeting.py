"""py_api_saga 0.0.3, section 6: where old and new meet (its pickles are in test_compat_names)."""

from collections.abc import Callable
from typing import Any

import pytest

from py_api_saga import SagaAssembler, SagaDefinitionError, SagaException

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]


def reserve(item: str, count: int = 1) -> str:
    """Reserve."""
    return item * count


@pytest.mark.parametrize("arguments", [(), ("mug", 2, 3)])
def test_a_wrong_number_of_arguments_is_found_when_added(
    arguments: Any, execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "a call with too few or too many arguments": refused when added, not half way."""
    saga = SagaAssembler.saga().operation(step("a"))

    with pytest.raises(SagaDefinitionError, match="operation 2: the action"):
        saga.operation((reserve, *arguments))
    with pytest.raises(SagaDefinitionError, match="operation 2: the compensation"):
        saga.operation(step("b"), (reserve, *arguments))

    assert execute(saga) == [None]
    assert log == ["a"]


def test_a_callable_without_a_signature_is_not_checked(execute: Execute) -> None:
    """Row "a call with too few …": "skipped where a callable has none"; it fails when it runs."""
    call: Any = (max,)

    with pytest.raises(SagaException) as caught:
        execute(SagaAssembler.saga().operation(call))

    assert isinstance(caught.value.operation_error, TypeError)


def test_a_subclass_may_add_fluent_methods(execute: Execute) -> None:
    """Row "`SagaAssembler(2)` and `SagaAssembler.saga(2)`": `Self` all the way."""

    class Checkout(SagaAssembler):
        def reserve(self, item: str) -> "Checkout":
            return self.operation((reserve, item))

    assert execute(Checkout.saga(2).reserve("mug").operation((reserve, "x", 2)).reserve("jug")) == [
        "mug",
        "xx",
        "jug",
    ]
