"""`manage.py saga …`: the `saga` command, in a process that is set up as this project."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, SystemCheckError

from py_api_saga.cli import main
from py_api_saga.cli.commands import Project
from py_api_saga.contrib.django.around import around_commands, of_the_command
from py_api_saga.contrib.django.configured import lasting_journal, settled


def __getattr__(name: str) -> object:
    """Give the journal of the settings, as the command looks it up."""
    if name != "journal":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return lasting_journal()


class Command(BaseCommand):  # type: ignore[misc]  # Django has no type hints
    """The same commands and options, less what the settings say already."""

    help = "Look at sagas, recover them, decide about them: the `saga` command of this project."

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as the shell does, and end the process with the status of the command."""
        try:
            self.check(tags=["py_api_saga"])
        except SystemCheckError as error:
            self.stderr.write(str(error))
            sys.exit(1)
        sys.exit(_run(argv[2:], f"{argv[0]} {argv[1]}"))

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take whatever the `saga` command takes, for `call_command`."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def handle(self, *_: Any, words: list[str], **__: Any) -> None:
        """Run for `call_command("saga", "list", "--json")`.

        Raises:
            CommandError: The status of the command is not 0; it has it.
        """
        status = _run(words, "saga")
        if status:
            message = f"saga: exit status {status}"
            raise CommandError(message, returncode=status)


def _run(words: list[str], prog: str) -> int:
    """Run the command with what the settings say."""
    journal = None if lasting_journal() is None else f"{__name__}:journal"
    around = f"{around_commands.__module__}:{around_commands.__name__}"
    try:
        return main(words, Project(prog, journal, settled().modules, around))
    finally:
        of_the_command().end()
