"""The proof: `python -m tests.engines`, with the parts that are to run, or all.

Prints what each part has done; the exit code is 1 if anything was lost, made twice or half done.
All of it takes some forty minutes, `--short` six.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "support")]

from servers import shared  # noqa: E402
from servers.children import in_memory  # noqa: E402

from engines import deaths  # noqa: E402 - they are found only now
from engines.cases import CASES, Case  # noqa: E402
from engines.deaths import Found  # noqa: E402
from engines.places import ENGINES, JOURNALS, Kind, Place, opened  # noqa: E402

KINDS: tuple[Kind, ...] = (*JOURNALS, *ENGINES)
PARTS = ("cases", "points", "random", "frozen", "restart", "deploy")
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


def _deaths(kind: Kind, part: str, options: argparse.Namespace, found: Found) -> Iterator[str]:
    """Run a part in which something dies, and say in a line what each step of it has done."""
    short = options.short
    if part == "points":
        share = options.share or (20 if short else 1)
        yield from deaths.sweeps(kind, share, options.only, found)
    elif part == "random":
        sagas = options.sagas or (40 if short else 200)
        yield deaths.killed_at_random(kind, sagas, options.seed, found)
    elif part == "frozen":
        sagas = options.sagas or (30 if short else 120)
        yield deaths.frozen_at_random(kind, sagas, options.seed, found)
    elif part == "restart":
        yield deaths.restarted(kind, options.sagas or (20 if short else 60), options.seed, found)
    else:
        yield deaths.deployed(kind, options.sagas or (20 if short else 60), found)


def _conform(kind: Kind, options: argparse.Namespace) -> Iterator[str]:
    """Try the cases, and give what each says that fails."""
    with (
        TemporaryDirectory(prefix="saga-engines-", dir=in_memory()) as folder,
        opened(kind, Path(folder)) as place,
    ):
        yield from _cases(kind, place, options.only)


def main() -> int:
    """Run the parts, and say what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.engines", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--on", choices=KINDS, action="append", help="where; by default, all")
    parser.add_argument("--only", default="", help="cases and sagas whose name has this in it")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--share", type=int, help="die at one point of so many")
    parser.add_argument("--sagas", type=int, help="at once")
    options = parser.parse_args()
    if unknown := {*options.parts} - {*PARTS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    begun, wrong = time.monotonic(), 0
    parts = options.parts or PARTS
    with shared.run():
        for kind in options.on or KINDS:
            if "cases" in parts:
                since, said = time.monotonic(), [*_conform(kind, options)]
                failed = [what for what in said if what]
                _say(f"{kind}: {len(said)} cases, {time.monotonic() - since:.0f} s")
                wrong += _told(failed)
            for part in (part for part in PARTS[1:] if part in parts and kind in ENGINES):
                found = Found()
                for line in _deaths(kind, part, options, found):
                    _say(f"{kind}, {part}: {line}")
                ends = dict(found.sagas)
                _say(f"{kind}, {part}: {found.deaths} deaths, {ends}, {len(found.wrong)} wrong")
                wrong += _told(found.wrong)
    _say(f"seed {options.seed}: {wrong} wrong, {time.monotonic() - begun:.0f} s")
    return 1 if wrong else 0


def _told(wrong: Sequence[str]) -> int:
    """Say what is wrong, and how much that is."""
    for what in wrong[:20]:
        _say(f"WRONG {what}")
    return len(wrong)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
