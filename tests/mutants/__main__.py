"""The command: `python -m tests.mutants`, with words that pick some of the mutants.

Prints each mutant, and the test that noticed it; the exit code is 1 if one survives. It takes two
minutes for the machine, as many for doubt, and some more for the durable code.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from . import (
    awaited,
    course,
    doubt,
    durable,
    errand,
    facts,
    leased,
    machine,
    projects,
    received,
    sessions,
    shut,
)
from .mutant import NO_TEST, Mutant, NotFoundError, caught, library


def _caught_in_the_machine(mutant: Mutant, *, world: bool) -> str:
    stories = machine.STORIES
    return caught(mutant, *([machine.WORLD] if world else [stories, f"not ({stories})"]))


def _lost(mutants: Iterable[Mutant]) -> list[str]:
    """Say which mutants find their places no more, and print which have found it elsewhere."""
    lost = []
    for mutant in mutants:
        for edit in mutant.edits:
            try:
                place = library().place_of(edit)
            except NotFoundError as error:
                lost.append(f"{mutant.breaks}: {error}")
            else:
                if place.file != edit.file:
                    print(f"{edit.where or edit.file} is in {place.file} now")  # noqa: T201
    return lost


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of the mutants and the tests that caught them; 1 if one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument(
        "words",
        nargs="*",
        help="machine, doubt, http, django, durable, gate, postgresql, barrier, facts, awaited, "
        "course, errand, or others",
    )
    parser.add_argument("--world", action="store_true", help="let only the random world look")
    options = parser.parse_args(arguments)
    in_machine = partial(_caught_in_the_machine, world=options.world)
    survivors = run = 0
    # Crashes are a matter of time, so that they come one by one.
    find: Callable[[Mutant], str]
    for name, mutants, find, at_once in (
        ("machine", machine.MUTANTS, in_machine, os.cpu_count()),
        ("doubt", doubt.MUTANTS, caught, os.cpu_count()),
        ("http", sessions.MUTANTS, caught, os.cpu_count()),
        ("django", projects.MUTANTS, caught, os.cpu_count()),
        ("durable", durable.MUTANTS, caught, 1),
        ("gate", shut.MUTANTS, caught, 1),
        ("postgresql", leased.MUTANTS, caught, 1),
        ("barrier", received.MUTANTS, caught, 1),
        ("facts", facts.MUTANTS, caught, 1),
        ("awaited", awaited.MUTANTS, caught, 1),
        ("course", course.MUTANTS, caught, os.cpu_count()),
        ("errand", errand.MUTANTS, caught, os.cpu_count()),
    ):
        chosen = [m for m in mutants if all(word in f"{name} {m.breaks}" for word in options.words)]
        if lost := _lost(chosen):
            print(*lost, sep="\n")  # noqa: T201
            return 1
        with ThreadPoolExecutor(at_once) as pool:
            for mutant, test in zip(chosen, pool.map(find, chosen), strict=True):
                run += 1
                survivors += not test or test.startswith(NO_TEST)
                print(f"{mutant.breaks}\n    {test or 'SURVIVES'}", flush=True)  # noqa: T201
    print(f"{run} mutants, {survivors} survive")  # noqa: T201
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
