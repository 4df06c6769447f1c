"""The `saga` command, and the same within a command of a framework's."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.commands import Project, make_parser
from py_api_saga.exceptions import SagaError
from py_api_saga.release import VERSION
from py_api_saga.wording import in_line


def main(argv: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; None for those of this process.
        project: What stands in the place of options that are not given, in a process that is set
            up already; None for nothing.

    Returns:
        The exit status: 0 for fine, 1 for an error, 2 for wrong usage, 4 if something needs a
        person; 130 after Ctrl-C, and 141 if nobody reads the output to its end, as a shell has it.

    Raises:
        SystemExit: `-h` and wrong usage; or the process was asked to end by a signal.
    """
    if sys.stdout is None:  # `saga … >&-`
        return _failed("there is no standard output")
    try:
        status = _run(argv, project)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()
        return 141
    except OSError as error:
        _drop_output()
        return _failed(error)
    except (UsageError, SagaError) as error:
        return _failed(error, 2 if isinstance(error, UsageError) else 1)
    return status


def _failed(why: object, status: int = 1) -> int:
    lines = map(in_line, str(why).splitlines())
    print("saga:", "\n".join(lines), file=sys.stderr)
    return status


def _drop_output() -> None:
    """Send what is still buffered nowhere; it can't be written, and Python would try at exit."""
    with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _run(argv: Sequence[str] | None, project: Project | None) -> int:
    parser = make_parser(project)
    arguments = parser.parse_args(argv)
    if arguments.version:
        sys.stdout.write(f"saga {VERSION}\n")
        return 0
    if arguments.run is None:
        parser.print_help(sys.stderr)
        return 2
    module, _, function = arguments.run.partition(":")
    status: int = getattr(import_module(f"py_api_saga.{module}"), function)(arguments)
    return status
