"""The `saga` command."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from py_api_saga.cli import demo

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXAMPLES = """\
examples:
  saga demo              six orders against three real services, in about 3 seconds
  saga demo --pace 0.7   the same, slowly
"""

_COMMANDS = (demo,)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; None for those of this process.

    Returns:
        The exit status: 0 for fine, 1 for an error, 2 for wrong usage; 130 after Ctrl-C, and 141
        if nobody reads the output to its end, as a shell has it.

    Raises:
        SystemExit: `-h` and wrong usage; or the process was asked to end by a signal.
    """
    if sys.stdout is None:  # `saga … >&-`
        return _failed("there is no standard output")
    try:
        status = _run(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()
        return 141
    except OSError as error:
        _drop_output()
        return _failed(error)
    return status


def _failed(why: object) -> int:
    print(f"saga: {why}", file=sys.stderr)
    return 1


def _drop_output() -> None:
    """Send what is still buffered nowhere; it can't be written, and Python would try at exit."""
    with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        sys.stdout.write(f"saga {_version()}\n")
        return 0
    if arguments.run is None:
        parser.print_help(sys.stderr)
        return 2
    status: int = arguments.run(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    """Each command is a module with `add_to`, which sets `run`: arguments to exit status."""
    parser = argparse.ArgumentParser(
        prog="saga",
        description="Sagas: do all of it, or undo it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


def _version() -> str:
    from importlib import metadata  # noqa: PLC0415 - 30 ms, needed by nobody else

    try:
        return metadata.version("py-api-saga")
    except metadata.PackageNotFoundError:
        return "(from a checkout that is not installed)"
