"""Where operations reach the world outside: each call of a service is a point of its own.

A *boundary* is something in whose place something is put while a schedule runs: the services of the
world that `services=` names, and the clients that are loaded, for which `CLIENTS` has a function
each. What is put there calls `through`, or `athrough` where it is to be awaited, which ask the run
that is tried what goes wrong. Outside of an operation, and of an exploration, they change nothing.
"""

from __future__ import annotations

import sys
from collections.abc import (
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import contextmanager
from importlib import import_module
from inspect import iscoroutinefunction
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.executors.driving import stand_in
from py_api_saga.testing.trying import Try
from py_api_saga.testing.virtual import Place, replaced

_LOST = "its answer was lost (injected)"


def _trial() -> Try | None:
    """Give the run that is tried, if an operation of it is what runs here."""
    trial: Any = stand_in.get()
    if type(trial) is not Try:
        return None
    trial.check_alive()
    return None if trial.inside is None else trial


def through(
    name: str,
    call: Callable[[], Any],
    *,
    service: str = "",
    refusal: Callable[[], Exception] | None = None,
    loss: Callable[[], Exception] | None = None,
) -> Any:
    """Make a call of a service, unless something goes wrong with it.

    Args:
        name: Of what is called, as points have it: "bank.charge", "POST bank.example".
        call: Makes it.
        service: The name by which `errors=` has what a refusal of it raises.
        refusal: Gives what else is raised where the service was not reached, or has refused.
        loss: Gives what is raised where it has done its work, but its answer is lost.
    """
    trial = _trial()
    if trial is None:
        return call()
    before, after = _going_wrong(trial, name, service, refusal, loss)
    if before is not None:
        raise before
    value = call()
    if after is not None:
        after(trial)
    return value


async def athrough(
    name: str,
    call: Callable[[], Awaitable[Any]],
    *,
    service: str = "",
    refusal: Callable[[], Exception] | None = None,
    loss: Callable[[], Exception] | None = None,
) -> Any:
    """Do so for a call that is awaited."""
    trial = _trial()
    if trial is None:
        return await call()
    before, after = _going_wrong(trial, name, service, refusal, loss)
    if before is not None:
        raise before
    value = await call()
    if after is not None:
        after(trial)
    return value


def _going_wrong(
    trial: Try,
    name: str,
    service: str,
    refusal: Callable[[], Exception] | None,
    loss: Callable[[], Exception] | None,
) -> tuple[Exception | None, Callable[[Try], None] | None]:
    """Say what is raised before a call, and what is done after it."""
    assert trial.inside is not None  # noqa: S101 - `_trial` has seen to it
    fault = trial.at(trial.wishes.service(trial.inside, name))
    match fault:
        case "refuses":
            return trial.wishes.refusal(service, None if refusal is None else refusal()), None
        case "lost":
            error = ConnectionResetError(_LOST) if loss is None else loss()

            def lose(_: Try) -> None:
                raise error

            return None, lose
        case "crash-after":
            return None, Try.die
    return None, None


# --- services of the world ----------------------------------------------------------------------


class Proxy:
    """A service as operations see it: each call of it, and of its methods, is a point."""

    def __init__(self, service: str, target: Any) -> None:
        """Stand for a service."""
        vars(self).update(_service=service, _target=target)

    def __getattr__(self, name: str) -> Any:
        """Give what the service has, a method in such a way that it may fail."""
        value = getattr(self._target, name)
        if not callable(value) or name.startswith("__") or isinstance(value, type):
            return value
        made = watched(self._service, f"{self._service}.{name}", value)
        vars(self)[name] = made  # the next time it is there
        return made

    def __setattr__(self, name: str, value: object) -> None:
        vars(self).pop(name, None)
        setattr(self._target, name, value)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Call a service that is a function."""
        return watched(self._service, self._service, self._target)(*args, **keywords)

    def __getitem__(self, key: Any) -> Any:
        return self._target[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._target

    def __iter__(self) -> Iterator[Any]:
        return iter(self._target)

    def __len__(self) -> int:
        return len(self._target)

    def __bool__(self) -> bool:
        return bool(self._target)

    def __repr__(self) -> str:
        return repr(self._target)


def watched(service: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of a service as operations call it."""
    code = (
        function if isinstance(function, FunctionType) else getattr(function, "__func__", function)
    )
    if iscoroutinefunction(code):

        async def awaited(*args: Any, **keywords: Any) -> Any:
            return await athrough(name, lambda: function(*args, **keywords), service=service)

        return awaited

    def plain(*args: Any, **keywords: Any) -> Any:
        trial = _trial()
        if trial is None:
            return function(*args, **keywords)
        before, after = _going_wrong(trial, name, service, None, None)
        if before is not None:
            raise before
        value = function(*args, **keywords)
        if after is not None:
            after(trial)
        return value

    return plain


@contextmanager
def proxied(services: Services, world: Any) -> Iterator[None]:
    """Put proxies in the places of services, of a world and in modules, in a `with` block."""
    places: list[Place] = [
        (module, name, Proxy(name, getattr(module, name))) for module, name in services.in_modules
    ]
    places += [
        (world, name, Proxy(name, target))
        for name in services.in_world
        if (target := part(world, name)) is not None
    ]
    if not places:
        yield
    elif isinstance(world, MutableMapping):
        before = {name: world[name] for name in services.in_world}
        world.update({name: Proxy(name, target) for name, target in before.items()})
        try:
            with replaced([place for place in places if place[0] is not world]):
                yield
        finally:
            world.update(before)
    else:
        with replaced(places):
            yield


def part(world: Any, name: str) -> Any:
    """Give what a world has under a name, or None."""
    if isinstance(world, Mapping):
        return world.get(name)
    return getattr(world, name, None) if name.isidentifier() else None


# --- what lies in modules, for all schedules ------------------------------------------------------


class Services(NamedTuple):
    """What may fail, by where it is.

    Attributes:
        in_world: Names of attributes, or of items, of the world.
        in_modules: Modules, and names in them, which a world may set anew.
        places: What stands for the functions of modules that are services themselves, and for
            clients, in all schedules.
    """

    in_world: Sequence[str]
    in_modules: Sequence[tuple[ModuleType, str]]
    places: Sequence[Place]


def services_of(names: Iterable[str]) -> Services:
    """Find out what names of services mean.

    Raises:
        SagaDefinitionError: A dotted name is that of nothing.
    """
    in_world: list[str] = []
    in_modules: list[tuple[ModuleType, str]] = []
    places: list[Place] = []
    for name in names:
        if "." not in name:
            in_world.append(name)
            continue
        module, part = _found(name)
        if part:
            in_modules.append((module, part))
            continue
        short = name.rpartition(".")[2]
        places += [
            (module, own, watched(name, f"{short}.{own}", function))
            for own, function in vars(module).items()
            if isinstance(function, FunctionType) and function.__module__ == module.__name__
        ]
    for client in CLIENTS:
        places += client()
    return Services(in_world, in_modules, places)


def _found(name: str) -> tuple[ModuleType, str]:
    """Find a module, or a module and a name in it."""
    try:
        return import_module(name), ""
    except ImportError:
        where, _, part = name.rpartition(".")
    try:
        module = import_module(where)
    except ImportError as error:
        raise _unknown(name) from error
    if not hasattr(module, part):
        raise _unknown(name)
    return module, part


def _unknown(service: str) -> SagaDefinitionError:
    return SagaDefinitionError(
        f"explore: services: {service!r}: expected an attribute of the world, or the dotted name "
        "of a module or of something in one; there is no such thing"
    )


def loaded(name: str) -> ModuleType | None:
    """Give a module if somebody has imported it: what nobody uses is not imported for this."""
    return sys.modules.get(name)


# Each says what is to stand in the place of what of a client, if that is loaded.
CLIENTS: Final[list[Callable[[], list[Place]]]] = []
