"""The proof: `python -m tests.engines`, with the parts that are to run, or all.

Prints what each part has done; the exit code is 1 if anything was lost, made twice or half done.
All of it takes some ten minutes, `--short` two.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "support")]

from servers import shared  # noqa: E402
from servers.children import in_memory  # noqa: E402

from engines.cases import CASES, Case  # noqa: E402 - they are found only now
from engines.places import ENGINES, JOURNALS, Kind, Place, opened  # noqa: E402

KINDS: tuple[Kind, ...] = (*JOURNALS, *ENGINES)
PARTS = ("cases",)
SIDE_BY_SIDE = 6  # cases that run at once, as most of their time is spent in waiting


def _try(case: Case, place: Place) -> str:
    """Give what a case says if it fails."""
    begun = time.monotonic()
    try:
        case.do(place, case.goods)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - it is what came of it, also what pytest raises
        last = traceback.format_exc()
        logs = "".join(f"\n{name}: {place.log(name)[-600:]}" for name in place.workers)
        return f"{place.kind}, {case.name}: {time.monotonic() - begun:.0f} s\n{last}{logs}"
    return ""


def _cases(kind: Kind, place: Place, only: str) -> Iterator[str]:
    """Try all that hold for a kind: those side by side in which nobody dies, then the others."""
    cases = [case for case in CASES if kind in case.on and only in case.name]
    for case in (case for case in cases if not case.staff):
        yield _try(case, place)
    peaceful = [case for case in cases if case.staff and not case.dies]
    with ExitStack() as stack:
        if kind == "memory":
            stack.enter_context(place.here())
        else:
            for name in ("w1", "w2"):
                place.hire(name)
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            yield from pool.map(lambda case: _try(case, place), peaceful)
        for case in (case for case in cases if case.dies):
            yield _try(case, place)


def main() -> int:
    """Run the parts, and say what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.engines", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--on", choices=KINDS, action="append", help="where; by default, all")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    begun, wrong, done = time.monotonic(), 0, 0
    with shared.run():
        for kind in options.on or KINDS:
            since = time.monotonic()
            with (
                TemporaryDirectory(prefix="saga-engines-", dir=in_memory()) as folder,
                opened(kind, Path(folder)) as place,
            ):
                for said in _cases(kind, place, options.only):
                    done += 1
                    wrong += bool(said)
                    if said:
                        _say(f"WRONG {said}")
            _say(f"{kind}: cases, {time.monotonic() - since:.0f} s")
    _say(f"{done} cases, {wrong} wrong, {time.monotonic() - begun:.0f} s")
    return 1 if wrong else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
