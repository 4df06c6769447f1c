"""Where operations reach the world outside: each call of a service is a point of its own.

In the place of the services of the world that `services=` names there are proxies while a schedule
runs; HTTP clients and databases that are known have modules of their own. All of them ask
`places.asked`, so that outside of an operation, and of an exploration, they change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from inspect import iscoroutinefunction
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.executors.driving import stand_in
from py_api_saga.testing.django_writes import writes_of_django
from py_api_saga.testing.http_clients import clients
from py_api_saga.testing.places import asked
from py_api_saga.testing.sqlalchemy_writes import writes_of_sqlalchemy
from py_api_saga.testing.trying import Here, Try
from py_api_saga.testing.virtual import Place, replaced

_KINDS: Final = ("refuses", "lost", "crash-after")


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


# What a proxy has of its own, or needs not. All else that is done with a service by way of its type
# (`with`, `len`, `==`) is done with the service.
_OWN: Final = frozenset(
    f"__{name}__"
    for name in (
        *("call", "class", "class_getitem", "copy", "deepcopy", "del", "delattr", "delete", "dir"),
        *("get", "getattr", "getattribute", "getstate", "init", "init_subclass", "new", "reduce"),
        *("reduce_ex", "set", "set_name", "setattr", "setstate", "sizeof", "subclasshook"),
    )
)


def proxy(service: str, target: Any) -> Proxy:
    """Give what stands for a service as operations see it."""
    kind: Any = type(target)
    made: Proxy = _like(kind)(service, target)
    return made


@cache
def _like(kind: Any) -> Any:
    """Make a kind of proxy that can be used as a kind of service, and passes for one."""
    names = {name for name in dir(kind) if name.startswith("__") and callable(getattr(kind, name))}
    special: dict[str, Any] = {name: _by_type(name) for name in names - _OWN}
    return type("Proxy", (Proxy,), {**special, "__class__": property(lambda _: kind)})


def _by_type(name: str) -> Callable[..., Any]:
    def special(self: Any, *args: Any) -> Any:
        target = self._target
        value = getattr(type(target), name)(target, *args)
        return self if value is target else value  # of `with`

    return special


def watched(service: str, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of a service as operations call it."""
    if iscoroutinefunction(getattr(function, "__func__", function)):

        async def awaited(*args: Any, **keywords: Any) -> Any:
            here, fault = _passed(service, name)
            value = await function(*args, **keywords)
            _strike(here, fault)
            return value

        return awaited

    def plain(*args: Any, **keywords: Any) -> Any:
        here, fault = _passed(service, name)
        value = function(*args, **keywords)
        _strike(here, fault)
        return value

    return plain


def _passed(service: str, name: str) -> tuple[Any, str | None]:
    """Pass a place, and give what goes wrong after the call; a refusal is raised."""
    here: Any = asked()
    if type(here) is not Here:
        trial: Any = stand_in.get()
        if type(trial) is Try:
            trial.check_alive()
        return None, None
    fault = here.at(name, _KINDS)
    if fault == "refuses":
        raise here.trial.wishes.refusal(service)
    return here, fault


def _strike(here: Here | None, fault: str | None) -> None:
    if here is not None and fault is not None:
        if fault == "crash-after":
            here.die()
        raise ConnectionResetError("its answer was lost (injected)")


@contextmanager
def proxied(services: Services, world: Any) -> Iterator[None]:
    """Put proxies in the places of services, of a world and in modules, in a `with` block."""
    places: list[Place] = [
        (module, name, proxy(name, getattr(module, name))) for module, name in services.in_modules
    ]
    places += [
        (world, name, proxy(name, target))
        for name in services.in_world
        if (target := part(world, name)) is not None
    ]
    if not places:
        yield
    elif isinstance(world, MutableMapping):
        before = {name: world[name] for name in services.in_world}
        world.update({name: proxy(name, target) for name, target in before.items()})
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
        places: What stands for the functions of modules that are services themselves, in all
            schedules.
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
        raise unknown(name) from error
    return module, part


def unknown(service: str) -> SagaDefinitionError:
    """There is no such service."""
    return SagaDefinitionError(
        f"explore: services: {service!r}: expected an attribute of the world, or the dotted name "
        "of a module or of something in one; there is no such thing"
    )


@contextmanager
def in_place(services: Services) -> Iterator[None]:
    """Put what is the same for all schedules in the places of services, clients and databases."""
    with ExitStack() as stack:
        for places in (services.places, clients(), writes_of_django()):
            stack.enter_context(replaced(places))
        stack.enter_context(writes_of_sqlalchemy())
        yield
