"""What tests of sagas need: all faults, or one; assertions; virtual time; an operation to be in."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py_api_saga.testing.asserting import assert_compensated, assert_completed, assert_stuck
    from py_api_saga.testing.encoding import encoded_results
    from py_api_saga.testing.exploring import explore
    from py_api_saga.testing.failing import fail_at
    from py_api_saga.testing.supplied import inline_choreography, operation
    from py_api_saga.testing.telling import Explored
    from py_api_saga.testing.virtual import Clock

__all__ = [
    "Clock",
    "Explored",
    "assert_compensated",
    "assert_completed",
    "assert_stuck",
    "encoded_results",
    "explore",
    "fail_at",
    "inline_choreography",
    "operation",
]

_ROOMS = {  # name -> its module
    "Clock": "virtual",
    "Explored": "telling",
    "assert_compensated": "asserting",
    "assert_completed": "asserting",
    "assert_stuck": "asserting",
    "encoded_results": "encoding",
    "explore": "exploring",
    "fail_at": "failing",
    "inline_choreography": "supplied",
    "operation": "supplied",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import one when it is asked for: few tests need them all."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415 - the reason is above

    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
