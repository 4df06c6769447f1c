"""`python -m tests.explored`: sagas that are right, with two faults after one another, and three.

Prints how many schedules of each were run; the exit code is 1 if anything is found in one. With
`--short` there are two faults in each, and so many schedules as a minute has room for.
"""

from __future__ import annotations

import argparse
import sys
import time

from py_api_saga.testing import explore

from .right import RIGHT
from .shop import Shop

LIMIT = 40_000  # schedules of a saga
SHORT = 1_500


def main() -> int:
    """Explore each."""
    parser = argparse.ArgumentParser(prog="python -m tests.explored", description=__doc__)
    parser.add_argument("--short", action="store_true", help="takes a minute")
    short = parser.parse_args().short
    wrong = 0
    for name, right in RIGHT.items():
        faults = 3 if right.is_chain and not short else 2
        begun = time.process_time()
        try:
            explored = explore(
                right.make,
                faults=faults,
                limit=SHORT if short else LIMIT,
                **{"world": Shop, "state": Shop.ledgers, **right.told},
            )
        except AssertionError as error:
            wrong += 1
            sys.stdout.write(f"{name}, {faults} faults: {error}\n")
        else:
            rate = explored.schedules / (time.process_time() - begun)
            sys.stdout.write(
                f"{name}, {faults} faults: {explored.schedules} schedules, {explored.left} left, "
                f"{rate:,.0f} per CPU second\n"
            )
        sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
