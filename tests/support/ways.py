"""Ways to run a saga, with plain functions and with coroutine functions."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from world import World

from py_api_saga import SagaAssembler

PLAIN = ("orchestrator_execute", "choreography_execute")
LATER = ("aorchestrator_execute", "achoreography_execute")


class Way:
    """A way to run a saga, and functions of the kind that it is to call."""

    def __init__(self, method: str, *, coroutines: bool) -> None:
        self.method, self.coroutines = method, coroutines

    def execute(self, saga: SagaAssembler, **options: Any) -> Any:
        """Run a saga, under an event loop of its own where the method needs one."""
        if self.method in PLAIN:
            return getattr(saga, self.method)(**options)

        async def main() -> Any:
            return await getattr(saga, self.method)(**options)

        return asyncio.run(main())

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Give a function, or a coroutine function that does the same."""
        if not self.coroutines:
            return function

        @functools.wraps(function)
        async def later(*args: Any) -> Any:
            await asyncio.sleep(0)
            return function(*args)

        del later.__wrapped__
        return later

    def steps(self, world: World, *names: str, **options: Any) -> SagaAssembler:
        """Make a saga of operations that take effect one after the other."""
        saga = SagaAssembler.saga(**options)
        for index, name in enumerate(names):
            after = names[index - 1 : index] if index else ()
            saga.operation(
                (self.of(world.do), name), (self.of(world.undo), name), name=name, after=after
            )
        return saga
