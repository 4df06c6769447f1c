"""The proof: `python -m tests.load`, or `python -m tests.load --short`.

Prints each case and what is wrong with it; the exit code is 1 if anything is, and 2 if what is
needed is not installed: `pip install -e ".[test]"`, and a PostgreSQL.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from servers import shared
from servers.children import Missing

from .cases import CASES
from .trial import try_case


def main() -> int:
    """Try the cases, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--short", action="store_true", help="40 requests to each")
    parser.add_argument("--only", default="", metavar="WORDS", help="cases with these in it")
    arguments = parser.parse_args()
    requests = 40 if arguments.short else 200
    wrong = 0
    with shared.run():
        for case in CASES:
            if arguments.only not in case.name:
                continue
            with tempfile.TemporaryDirectory(prefix="saga-load-") as folder:
                try:
                    found = try_case(case, Path(folder), requests)
                except Missing as missing:
                    sys.stdout.write(f"there is no {missing}\n")
                    return 2
            wrong += bool(found.wrong)
            sys.stdout.write(f"{case.name:52} {found}\n")
            sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
