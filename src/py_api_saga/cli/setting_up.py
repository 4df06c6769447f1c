"""Set the process up as a command line says: what to call, to import, to enter, to unseal with."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any

from py_api_saga.cli.arguments import UsageError
from py_api_saga.current import Around
from py_api_saga.exceptions import SagaError
from py_api_saga.journal.protocol import Codec
from py_api_saga.observer import Observer
from py_api_saga.wording import as_text

_HINT = (
    "; if something must be set up before, say what to call: --setup MODULE:FUNCTION, such as "
    "--setup django:setup"
)


def import_modules(arguments: argparse.Namespace) -> None:
    """Set the process up as was asked for, and import modules as `python -m` finds them.

    All before anything is done with a saga.

    Raises:
        UsageError: What is to be called is not given as MODULE:FUNCTION.
        SagaError: A module can't be imported, or what sets the process up is none, or raised.
    """
    look_here()
    for name in arguments.setup:
        _set_up(name)
    hint = "" if arguments.setup else _HINT
    for name in arguments.modules:
        _import(name.removesuffix(".*"), hint)


def _set_up(name: str) -> None:
    function = _plain("--setup", name)
    try:
        function()
    except (Exception, SystemExit) as error:
        message = f"--setup: {name!r} raised {_in_short(error)}"
        raise SagaError(message) from error


def around_of(arguments: argparse.Namespace) -> tuple[Around, ...]:
    """Import what is to be around each call, the outermost first; after `import_modules`.

    Raises:
        UsageError: One is not given as MODULE:FUNCTION.
        SagaError: Its module can't be imported, or it is not a plain function.
    """
    return tuple(_plain("--around", name) for name in arguments.around)


def observers_of(arguments: argparse.Namespace) -> tuple[Observer, ...]:
    """Import what is told of calls, in the same way.

    Raises:
        UsageError, SagaError: As `around_of`.
    """
    return tuple(_plain("--observer", name) for name in arguments.observer)


def _plain(option: str, name: str) -> Callable[..., Any]:
    """Import a plain function that an option names."""
    function = named_object(option, name, "MODULE:FUNCTION")
    if callable(function) and not iscoroutinefunction(function):
        plain: Callable[..., Any] = function
        return plain
    kind = "is not there" if function is None else f"is not a plain function: {_kind(function)}"
    message = f"{option}: {name!r} {kind}"
    raise SagaError(message)


def _kind(thing: object) -> str:
    return "it has to be awaited" if callable(thing) else type(thing).__name__


def look_here() -> None:
    """Find modules in the current directory, as `python -m` does."""
    here = os.getcwd()  # noqa: PTH109 - entries of sys.path are text
    if not sys.flags.safe_path and here not in sys.path:
        sys.path.insert(0, here)


def _import(name: str, hint: str = "") -> Any:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module raises on being imported
        message = f"cannot import {name!r}: {_in_short(error)}{hint}"
        raise SagaError(message) from error


def _in_short(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {as_text(error, str)}".split())


def named_object(option: str, name: str, form: str) -> Any:
    """Import what an option names, as a module and a path in it; None if it is not there.

    Raises:
        UsageError: It is not of this form.
        SagaError: The module can't be imported.
    """
    module, _, path = name.partition(":")
    if not module or not path:
        message = f"{option}: expected {form}, got {name!r}"
        raise UsageError(message)
    found = _import(module)
    try:
        for part in path.split("."):
            found = getattr(found, part, None)
    except Exception as error:  # as settings do that are read too early
        message = f"{option}: cannot look for {name!r}: {_in_short(error)}"
        raise SagaError(message) from error
    return found


def codec_of(arguments: argparse.Namespace) -> Codec | None:
    """Import what opens sealed values, if any was given."""
    name = arguments.codec or os.environ.get("SAGA_CODEC")
    if not name:
        return None
    look_here()
    found = named_object("--codec", name, "MODULE:OBJECT")
    if not callable(getattr(found, "encode", None)) or not callable(getattr(found, "decode", None)):
        message = f"--codec: {name!r} is not there, or has no encode() and decode()"
        raise SagaError(message)
    codec: Codec = found
    return codec
