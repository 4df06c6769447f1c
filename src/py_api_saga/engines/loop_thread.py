"""An event loop in a thread of its own, for what is made of coroutines but asked without a loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop in a daemon thread, from when it is made until it is ended.

    Attributes:
        loop: The loop.
    """

    def __init__(self, name: str) -> None:
        """Begin it.

        Raises:
            RuntimeError: There is no room for another thread.
        """
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self.loop.close()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin a coroutine in the loop; cancelling the future cancels it there."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and wait for it; an interrupt here cancels it there."""
        future = self.begin(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def acall(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and await it in another, which may cancel it."""
        return await asyncio.wrap_future(self.begin(coroutine))

    def end(self, patience: float | None = None) -> None:
        """Cancel what is in the loop, end it, and wait for its thread.

        Args:
            patience: Seconds; a loop that something blocks for longer is left to it.
        """
        with suppress(RuntimeError):  # it has ended
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(patience)
