"""Places within an operation where something may go wrong: a call of a service, a write.

What knows such a place asks here, as it is passed, and makes go wrong what it is told. Nobody is to
be asked but within an operation of a saga that is explored.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import NoReturn, Protocol

__all__ = ["Asked", "asked", "check_alive", "within"]


class Asked(Protocol):
    """The schedule that is run."""

    def at(self, name: str, kinds: tuple[str, ...]) -> str | None:
        """Pass a place of the operation that is running; give what goes wrong there, or None.

        Args:
            name: Of the place within the operation, the same in each run: "POST bank.example".
            kinds: What may go wrong there, by the names of `faults`.
        """

    def refusal(self, name: str, error: Exception) -> Exception:
        """Give what is raised where something refuses: this error, unless the test says another.

        Args:
            name: Of what refuses, by which the test may say so.
            error: What is raised else.
        """

    def check_alive(self) -> None:
        """Let nothing be done in a process that has died, whatever has caught its end."""

    def die(self) -> NoReturn:
        """End the process, as it were: raises what nobody may handle."""


# Set while an operation's function runs. Threads that this starts are asked nothing.
within: ContextVar[Asked | None] = ContextVar("py_api_saga_within", default=None)


def asked() -> Asked | None:
    """Give who is to be asked here."""
    return within.get()


def check_alive() -> None:
    """Raise again what nobody may handle, if the process of this operation has died."""
    here = within.get()
    if here is not None:
        here.check_alive()
