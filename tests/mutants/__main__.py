"""The command: `python -m tests.mutants`, with words that pick some of the mutants.

Prints each mutant, and the test that noticed it; the exit code is 1 if one survives. It takes two
minutes for the machine, as many for doubt, and some more for the durable code.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from . import doubt, durable, machine, shut
from .mutant import NO_TEST, Mutant, caught, places


def _caught_in_the_machine(mutant: Mutant, *, world: bool) -> str:
    which = [machine.WORLD] if world else [machine.STORIES, f"{machine.WORLD} or {machine.MOVES}"]
    return caught(mutant, "machine", which)


def _caught_in_a_crash(mutant: Mutant) -> str:
    return caught(mutant, "crash/test_crash.py", [mutant.caught_by])


def _caught_in_a_judgement(mutant: Mutant) -> str:
    return caught(mutant, mutant.caught_by, ["test"])


def _caught_at_the_gate(mutant: Mutant) -> str:
    return caught(mutant, "journal/test_gate.py", [mutant.caught_by])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table of the mutants and the tests that caught them; 1 if one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument(
        "words", nargs="*", help="machine, doubt, durable, gate, or words of a description"
    )
    parser.add_argument("--world", action="store_true", help="let only the random world look")
    options = parser.parse_args(arguments)
    in_machine = partial(_caught_in_the_machine, world=options.world)
    survivors = run = 0
    # Crashes are a matter of time, so that they come one by one.
    for name, mutants, find, at_once in (
        ("machine", machine.MUTANTS, in_machine, os.cpu_count()),
        ("doubt", doubt.MUTANTS, _caught_in_a_judgement, os.cpu_count()),
        ("durable", durable.MUTANTS, _caught_in_a_crash, 1),
        ("gate", shut.MUTANTS, _caught_at_the_gate, 1),
    ):
        chosen = [m for m in mutants if all(word in f"{name} {m.breaks}" for word in options.words)]
        lost = [mutant.breaks for mutant in chosen if places(mutant) != [1] * len(mutant.edits)]
        if lost:
            print("no longer found once in the sources:", *lost, sep="\n  ")  # noqa: T201
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
