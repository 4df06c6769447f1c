"""What is thrown in from outside: a time limit of somebody's worker, and a defect of ours."""

import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Self


class TimeLimit(Exception):
    """What the signal handler of somebody's worker raises."""


def made(name: str) -> type[Exception]:
    """Make a class of that name, as a library would that is not installed."""
    module, _, short = name.rpartition(".")
    return type(short, (Exception,), {"__module__": module})


class Alarm:
    """SIGALRM, with a handler that raises: sent to the main thread when something has happened."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self._before: Any = None
        self._sent = False

    def __enter__(self) -> Self:
        """Set the handler."""
        self._before = signal.signal(signal.SIGALRM, self._strike)
        return self

    def __exit__(self, *_: object) -> None:
        """Set it back."""
        signal.signal(signal.SIGALRM, self._before)

    def _strike(self, *_: object) -> None:
        if self._sent:
            self._sent = False
            raise self.errors.pop(0)

    def after(self, happened: Callable[[], object], *then: Callable[[], object]) -> None:
        """Strike once that has returned, and do what follows."""

        def body() -> None:
            happened()
            main = threading.main_thread().ident
            assert main is not None
            self._sent = True
            while self._sent:  # one that comes just before CPython begins to wait is not heard
                signal.pthread_kill(main, signal.SIGALRM)
                time.sleep(0.005)
            for act in then:
                act()

        threading.Thread(target=body, daemon=True).start()


def cause_of(error: BaseException, kind: type[BaseException]) -> Any:
    """Find what was put behind an error."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, kind):
        behind = behind.__context__
    return behind


def ours(kind: type[Exception]) -> Callable[..., Any]:
    """Make a function of a module of ours that raises."""
    scope: dict[str, Any] = {"__name__": "py_api_saga.execution", "kind": kind}
    exec("def broken(*_, **__):\n    raise kind('a defect')", scope)  # noqa: S102
    made: Callable[..., Any] = scope["broken"]
    return made
