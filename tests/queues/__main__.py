"""The proof: `python -m tests.queues`, or `python -m tests.queues --short`.

Prints each case and what is wrong with it; the exit code is 1 if anything is, and 2 if what is
needed is not installed: `pip install -e ".[test]"` and `apt-get install redis-server`.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from servers import shared
from servers.redis import BINARY, redis

from . import matrix, moments, page, projects
from .workers import QUEUES, Queue

PARTS = ("matrix", "page", "projects")
PACKAGES = ("celery", "dramatiq", "redis", "rq")


def _missing() -> list[str]:
    """Give what has to be installed first."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    return missing if shutil.which(BINARY) else [*missing, BINARY]


def _prove(part: str, kind: type[Queue], folder: Path, *, short: bool) -> Counter[str]:
    """Try a part on one queue, say what came of it, and count the cases and the wrong ones."""
    figures: Counter[str] = Counter()
    begun = time.monotonic()
    for cell in _cells(part, kind, folder, short=short):
        figures.update(cases=1, wrong=bool(cell.wrong))
        sys.stdout.write(f"{kind.name:9} {cell.where:44} {'; '.join(cell.wrong) or 'ok'}\n")
        sys.stdout.flush()
    seconds = time.monotonic() - begun
    sys.stdout.write(f"{kind.name:9} {part}: {figures['cases']} cases in {seconds:.0f} s\n")
    return figures


def _cells(part: str, kind: type[Queue], folder: Path, *, short: bool) -> Iterator[matrix.Cell]:
    folder.mkdir(parents=True)
    with redis(folder) as socket:
        if part == "page":
            yield from page.everything(kind(folder, socket))
        elif part == "projects":
            yield from projects.everything(kind(folder, socket))
        else:
            yield from matrix.everything(kind(folder, socket), short=short)
            yield from moments.everything(kind(folder, socket), 6 if short else 60)


def main() -> int:
    """Try all side by side: it waits for most of the time."""
    parser = argparse.ArgumentParser(prog="python -m tests.queues", description=__doc__)
    parser.add_argument("--short", action="store_true", help="only the kinds that CI tries")
    parser.add_argument("--only", choices=[kind.name for kind in QUEUES], help="one queue")
    parser.add_argument("--keep", action="store_true", help="keep the folder, with the logs")
    options = parser.parse_args()
    if missing := _missing():
        sys.stderr.write(f"not installed: {', '.join(missing)}\n")
        return 2
    kinds = [kind for kind in QUEUES if options.only in {None, kind.name}]
    chosen = [(part, kind) for part in PARTS for kind in kinds]
    chosen = [(part, kind) for part, kind in chosen if part != "projects" or kind.name == "celery"]
    folder = Path(tempfile.mkdtemp(prefix="saga-queues-"))
    try:
        with shared.run(), ThreadPoolExecutor(len(chosen)) as pool:
            begun = [
                pool.submit(_prove, part, kind, folder / part / kind.name, short=options.short)
                for part, kind in chosen
            ]
            figures = sum((each.result() for each in begun), Counter())
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    sys.stdout.write(f"{figures['cases']} cases, {figures['wrong']} wrong\n")
    return 1 if figures["wrong"] or not figures["cases"] else 0


if __name__ == "__main__":
    sys.exit(main())
