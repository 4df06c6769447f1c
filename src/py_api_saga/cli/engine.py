"""The engine that a command line names: which options go with it, and what is not for it.

An engine is opened late: what it takes is an extra.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeGuard

from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.setting_up import codec_of
from py_api_saga.exceptions import SagaError
from py_api_saga.story.words import in_shell

if TYPE_CHECKING:
    from py_api_saga.engines.engine import Engine

URL = "SAGA_ENGINE_URL"
API_KEY = "TEMPORAL_API_KEY"  # as Temporal's own programs call it
_FORM = {
    "dbos": "postgresql://… of its system database",
    "temporal": "HOST:PORT of its server",
}
# What it takes to read sagas, whose functions nobody calls: the library's own names, as always.
_NO_MODULES = ("py_api_saga",)
_WHERE = ("url", "queue", "namespace", "lost_after", "tls")
_OF_WORKERS = ("concurrency", "observer", "takeover", "lease")
_OF_ONE = {
    "dbos": ("takeover", "lease"),
    "temporal": ("namespace", "lost_after", "tls"),
}
# By command, what is typed for a journal: an engine goes on with its sagas itself.
_OF_JOURNALS = {
    "worker": ("workers", "limit", "interval", "wait"),
    "answer": ("go_on",),
    "doctor": ("new_owners",),
}


def is_engine(journal: object) -> TypeGuard[Engine]:
    """Tell whether a journal is an engine; loads none."""
    module: Any = sys.modules.get("py_api_saga.engines.engine")
    return module is not None and isinstance(journal, module.Engine)


def is_named(arguments: argparse.Namespace) -> bool:
    """Tell whether an engine is named, and see that what is typed besides goes with it.

    Raises:
        UsageError: It does not; or this command is not for engines.
    """
    if arguments.engine is None:
        _see_none(arguments, _WHERE, "goes with --engine")
        return False
    if arguments.journal and arguments.journal != arguments.known_journal:
        message = "--engine and --journal: give one of them: an engine keeps its sagas itself"
        raise UsageError(message)
    see_possible(arguments, arguments.engine)
    return True


def see_possible(arguments: argparse.Namespace, kind: str) -> None:
    """See that an engine of this kind can do what is typed.

    Raises:
        UsageError: It can't.
    """
    if arguments.not_on_engine:
        message = f"{arguments.command}: not on an engine: {arguments.not_on_engine}"
        raise UsageError(message)
    for other, names in _OF_ONE.items():
        if other != kind:
            _see_none(arguments, names, f"goes with --engine {other}, not with {kind}")
    if getattr(arguments, "lease", None) is not None and not arguments.takeover:
        message = "worker: --lease goes with --takeover"
        raise UsageError(message)
    of_journals = (*_OF_JOURNALS.get(arguments.command, ()), "network")
    _see_none(arguments, of_journals, "goes with a journal, not with an engine")


def see_for_journal(arguments: argparse.Namespace) -> None:
    """See that nothing is typed for a worker that is one of an engine's.

    Raises:
        UsageError: Something is.
    """
    _see_none(arguments, _OF_WORKERS, "goes with an engine, not with a journal")


def _see_none(arguments: argparse.Namespace, names: Iterable[str], where: str) -> None:
    for name in names:
        given = getattr(arguments, name, None)
        if given is not None and given is not False and given != []:  # but 0 is given
            message = f"{arguments.command}: --{name.replace('_', '-')} {where}"
            raise UsageError(message)


def engine_of(
    arguments: argparse.Namespace,
    modules: Iterable[str] = (),
    aliases: Iterable[tuple[str, str]] = (),
) -> Engine:
    """Make the engine that is named.

    Raises:
        UsageError: Nobody has said where it is, or a name makes no sense.
        SagaError: What it takes is not installed.
    """
    kind = arguments.engine
    url = arguments.url or os.environ.get(URL)
    if not url:
        message = (
            f"where is the engine? give --url, {_FORM[kind]}, or set {URL} in the environment, "
            "where no password is seen by others"
        )
        raise UsageError(message)
    options: dict[str, Any] = {
        "modules": tuple(modules) or _NO_MODULES,
        "aliases": dict(aliases),
        "codec": codec_of(arguments),
    }
    if arguments.queue:
        options["queue"] = arguments.queue
    try:
        return _dbos(url, options) if kind == "dbos" else _temporal(arguments, url, options)
    except ImportError as error:
        message = f"--engine {kind}: {error}"
        raise SagaError(message) from error
    except ValueError as error:
        raise UsageError(str(error)) from error


def _dbos(url: str, options: dict[str, Any]) -> Engine:
    from py_api_saga.engines.dbos import DBOSEngine  # noqa: PLC0415 - an extra

    return DBOSEngine(url, **options)


def _temporal(arguments: argparse.Namespace, url: str, options: dict[str, Any]) -> Engine:
    from py_api_saga.engines.temporal import TemporalEngine  # noqa: PLC0415 - an extra

    given = {
        "namespace": arguments.namespace,
        "lost_after": arguments.lost_after,
        "tls": arguments.tls,
        "api_key": os.environ.get(API_KEY),
    }
    return TemporalEngine(url, **options, **{n: value for n, value in given.items() if value})


def typed_for_engine(arguments: argparse.Namespace) -> list[str]:
    """Give the options that name this engine again, to be shown and typed; never a password."""
    words = ["--engine", arguments.engine]
    for name in _WHERE[:-1]:
        given = getattr(arguments, name)
        if given and (name != "url" or _PLAIN[arguments.engine].fullmatch(given)):
            words += [f"--{name.replace('_', '-')}", in_shell(str(given))]
    return [*words, "--tls"] if arguments.tls else words


# URLs in which there is no place for a password, however they are misread.
_HOST = r"[\w.-]*(:[0-9]{1,5})?"
_PLAIN = {
    "dbos": re.compile(rf"postgres[a-z+]*://([\w.-]+@)?{_HOST}(/[\w-]*)?"),
    "temporal": re.compile(_HOST),
}
