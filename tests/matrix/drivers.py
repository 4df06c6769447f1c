"""Errors beyond HTTP, provoked with real packages against real servers.

The truth is what stands when all has come to its end. A saga that says that the operation failed,
and undoes nothing, has lost what stands; one that is in doubt though the other side has said no in
so many words would ask for nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from servers.children import Missing

from .cells import Call, Outcome, told


class Case(NamedTuple):
    """A call that goes wrong.

    Attributes:
        charge: The action.
        stands: Counts what stands; asked when all is over.
        refused: Whether the other side has said no: it did nothing, and says so.
        succeeds: Whether the call does not raise, though something goes wrong.
    """

    charge: Call
    stands: Callable[[], int]
    refused: bool = False
    succeeds: bool = False


Scenario = Callable[[ExitStack, Path], Case]
Family = Callable[[ExitStack, Path], Iterator[tuple[str, Scenario]]]


class Outcomes(NamedTuple):
    """What a cell came to, and `missing`, if it could not run."""

    name: str
    outcome: Outcome
    stands: int
    refused: bool = False
    succeeds: bool = False
    error: str = ""
    missing: str = ""

    @property
    def wrong(self) -> str:
        """Say what is wrong, if something is."""
        if self.outcome == "failed" and self.stands:
            return "LOST"
        if self.outcome == "done" and not self.stands:
            return "MADE UP"
        if (self.refused and self.stands) or self.succeeds is not (self.outcome == "done"):
            return "NOT THE CASE"  # a mistake in this table: it does not provoke what it says
        return "REFUSED" if self.refused and self.outcome == "in doubt" else ""


def run(name: str, scenario: Scenario) -> Outcomes:
    """Run a cell, with a folder of its own: a socket's path may have no more than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="d") as place:
        try:
            with ExitStack() as stack:
                case = scenario(stack, Path(place))
                outcome, error = told(case.charge)
        except Missing as missing:
            return Outcomes(name, "done", 0, missing=str(missing))
        return Outcomes(name, outcome, case.stands(), case.refused, case.succeeds, error)


def every(families: dict[str, Family], only: str = "") -> Iterator[Outcomes]:
    """Run all cells, family by family: each starts its server, and ends it."""
    for family, opens in families.items():
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="d")))
            try:
                for name, scenario in opens(stack, folder):
                    if only in name:
                        yield run(name, scenario)
            except Missing as missing:
                yield Outcomes(family, "done", 0, missing=str(missing))
