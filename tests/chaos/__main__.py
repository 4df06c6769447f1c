"""The proof: `python -m tests.chaos --sagas 3000 --seed 1`.

Prints what became of the sagas and of each thing that went wrong on the way; the exit code is 1 if
an account is wrong in the end, and 2 if there is no PostgreSQL. With `--without barrier` or
`--without undoes` accounts are wrong, which shows that it can be seen.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from servers import shared
from servers.children import Missing

from .trial import try_sagas


def main() -> int:
    """Try so many sagas."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--sagas", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", choices=["barrier", "undoes"], default="")
    options = parser.parse_args()
    begun = time.monotonic()
    with shared.run(), tempfile.TemporaryDirectory(prefix="saga-chaos-") as folder:
        try:
            found = try_sagas(options.sagas, options.seed, Path(folder), options.without)
        except Missing as missing:
            sys.stdout.write(f"there is no {missing}\n")
            return 2
    sys.stdout.write(f"{found}\nin {time.monotonic() - begun:.0f} s\n")
    for account, what in [*found.wrong.items()][:10]:
        sys.stdout.write(f"account {account}: {what}\n")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
