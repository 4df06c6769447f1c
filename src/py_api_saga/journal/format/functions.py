"""Which functions and types a journal may name, and what each name stands for.

A name is "module:qualname", such as "shop.operations:charge". It is found again only if its module
is listed, only where the thing was defined, and never through a module into another one: what a
journal says is input, and must not choose what is imported or called.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from py_api_saga.calls import is_async, mark
from py_api_saga.wording import as_text

MAX_LENGTH = 255  # characters of a name
_OWN = "py_api_saga"
_SHOWN = 80  # characters of what should have been a name
_CURE = "write a function at the top level of a module that the journal lists in modules="


_NOBODY: tuple[dict[str, Any], str, tuple[Any, bool]] = ({}, "", (object(), False))


class NotStorableError(Exception):
    """This can't be written to a journal; the text says what to do instead, never the value."""


class UnknownNameError(Exception):
    """A journal names what is not there, or what it may not name.

    Attributes:
        name: What another process may have, of a newer release say; None if nobody can.
    """

    def __init__(self, message: str, name: str | None = None) -> None:
        """Say what is wrong with it."""
        super().__init__(message)
        self.name = name


class Functions:
    """The functions and types that the sagas of a journal may name."""

    def __init__(
        self, modules: Iterable[str] = (), aliases: Mapping[str, str] | None = None
    ) -> None:
        """Say which names are allowed, and which have changed.

        Args:
            modules: Names of modules. A package stands for itself alone, without its submodules,
                but "shop.*" for `shop` and all that is below it. What `py_api_saga` itself makes
                public needs no entry; "__main__" does.
            aliases: From old names to new ones: "old.module:func" to "new.module:func", or a whole
                "old.module" to "new.module". Only the new ones must be in `modules`.

        Raises:
            TypeError: These are not strings, or it is one string instead of a list of them.
            ValueError: They are not names, an alias leads in a circle, or out of `modules`.
        """
        self._modules, self._trees = _read_modules(modules)
        self._aliases = dict(aliases or {})
        # By id, since a class may have a metaclass that compares in its own way; what is in here is
        # at the top level of a module, and is kept, so that its id stays its own.
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []
        # What was found, by the name that was asked for: where to look whether it is still there.
        self._found: dict[str, tuple[dict[str, Any], str, Any]] = {}
        self._callees: dict[str, tuple[dict[str, Any], str, tuple[Any, bool]]] = {}
        for old, new in self._aliases.items():
            self._check_alias(old, new)
        # Equal where the same things have the same names.
        self.key = (self._modules, self._trees, frozenset(self._aliases.items()))

    def __getstate__(self) -> dict[str, Any]:
        """Give what was said, and nothing that was found: ids and modules are of this process."""
        return {**self.__dict__, "_names": {}, "_kept": [], "_found": {}, "_callees": {}}

    def of(self, thing: Any) -> str:
        """Give the name of a function or class.

        Raises:
            NotStorableError: It could not be found again by that name.
        """
        return self._names.get(id(thing)) or self._name(thing)

    def find(self, name: str) -> Any:
        """Give the function or class that a name stands for; imports its module, if it is listed.

        Raises:
            UnknownNameError: It may not be named, or is not there.
        """
        # Before anything else is done with it: it may be anything.
        if type(name) is str and name in self._found:
            place, path, thing = self._found[name]
            if place.get(path) is thing:
                return thing
        if type(name) is not str or len(name) > MAX_LENGTH or not _is_name(name):
            shown = str(name)[:_SHOWN]
            message = f"no name of the form module:function, at most {MAX_LENGTH} long: {shown!r}"
            raise UnknownNameError(message)
        asked, name = name, self._renamed(name)
        said = repr(asked) if asked == name else f"{asked!r}, which is now {name!r},"
        module, _, path = name.partition(":")
        if _is_internal(path):
            message = f"{said} is internal to Python"
            raise UnknownNameError(message)
        if not self._lists(module) and not _is_own(module):
            message = f"{said} is in module {module!r}, which the journal does not list in modules="
            raise UnknownNameError(message, asked)
        try:
            thing = _look_up(import_module(module), path)
        except Exception as error:  # whatever a module raises on being imported
            message = f"{said} is not there: {type(error).__name__}: {as_text(error, str)}"
            raise UnknownNameError(message, asked) from error
        home = _home(thing)
        if home != name:
            message = f"{said} is not defined there, but is {home}"
            raise UnknownNameError(message, asked)
        if not self._lists(module) and not _is_public(module, path, thing):
            message = f"{said} is not public in {_OWN}"
            raise UnknownNameError(message, asked)
        self._found[asked] = vars(sys.modules[module]), path, thing
        return thing

    def callee(self, name: str) -> tuple[Any, bool]:
        """Find a function, and tell whether it is a coroutine function; raises as `find` does."""
        place, path, callee = self._callees.get(name, _NOBODY)
        if place.get(path) is callee[0]:  # as `find` looks, which a recovery asks six times a saga
            return callee
        function = self.find(name)
        place, path, _ = self._found[name]
        mark(function)
        callee = function, is_async(function)
        self._callees[name] = place, path, callee
        return callee

    def _name(self, thing: Any) -> str:
        name = _home(thing)
        _refuse_odd(thing, name)
        module, _, path = name.partition(":")
        if len(name) > MAX_LENGTH or not _is_name(name) or _is_internal(path):
            message = f"{name[:_SHOWN]!r} is not a name that can be found again: {_CURE}"
            raise NotStorableError(message)
        listed = self._lists(module)
        if not listed and not _is_own(module):
            raise NotStorableError(_unlisted(name, module))
        try:
            found = _look_up(sys.modules[module], path)
        except (LookupError, TypeError):  # what stands for the module may have no dict
            found = None
        if found is not thing and not (type(found) is type(thing) is MethodType and found == thing):
            message = (
                f"the name {name} stands for something else or for nothing, as after a decorator "
                f"or an assignment: pass what is found under that name, or {_CURE}"
            )
            raise NotStorableError(message)
        if not listed and not _is_public(module, path, thing):
            message = f"{name} is not public in {_OWN}: {_CURE}"
            raise NotStorableError(message)
        if type(thing) is not MethodType:  # which is made anew each time that it is named
            self._kept.append(thing)
            self._names[id(thing)] = name
        return name

    def _lists(self, module: str) -> bool:
        return module in self._modules or f"{module}.".startswith(self._trees)

    def _renamed(self, name: str) -> str:
        for _ in range(len(self._aliases) + 1):
            module, _, path = name.partition(":")
            if name in self._aliases:
                name = self._aliases[name]
            elif module in self._aliases:
                name = f"{self._aliases[module]}:{path}"
            else:
                return name
        message = f"aliases: {name!r} leads in a circle"
        raise ValueError(message)

    def _check_alias(self, old: str, new: str) -> None:
        _check_text("aliases", old)
        _check_text("aliases", new)
        is_right = _is_name if ":" in old else _is_dotted
        if not is_right(old) or not is_right(new):
            message = (
                f"aliases: expected two names of the form module:function, or two of modules, got "
                f"{old!r} and {new!r}"
            )
            raise ValueError(message)
        module = self._renamed(old if ":" in old else f"{old}:*").partition(":")[0]
        if not self._lists(module) and not _is_own(module):
            message = f"aliases: {old!r} leads to module {module!r}, which is not in modules="
            raise ValueError(message)


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _is_name(text: str) -> bool:
    module, _, path = text.partition(":")
    return _is_dotted(module) and _is_dotted(path)


def _check_text(where: str, name: object) -> None:
    if not isinstance(name, str):
        message = f"{where}: expected names as strings, got {type(name).__name__}"
        raise TypeError(message)


def _read_modules(modules: Iterable[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Read a list of modules: those that stand for themselves, and what names below begin with."""
    if isinstance(modules, str):
        message = f"modules: expected a list of names, got the string {modules!r}"
        raise TypeError(message)
    single, trees = set(), set()
    for name in modules:
        _check_text("modules", name)
        whole = name.removesuffix(".*")
        if not _is_dotted(whole):
            message = f'modules: expected the name of a module, or "package.*", got {name!r}'
            raise ValueError(message)
        if whole == name:
            single.add(name)
        else:
            trees.add(f"{whole}.")
    return frozenset(single), tuple(sorted(trees))


# --- where a thing is defined ----------------------------------------------------------------


def _is_class(thing: object) -> bool:
    return issubclass(type(thing), type)  # isinstance believes what a mock says


def _home(thing: Any) -> str:
    """Name a thing by what it says of itself, whether that is true or not; else by its type."""
    if type(thing) is MethodType and _is_class(thing.__self__):
        return f"{_home(thing.__self__)}.{thing.__name__}"
    if type(thing) in (FunctionType, BuiltinFunctionType) or _is_class(thing):
        return f"{thing.__module__}:{thing.__qualname__}"
    return f"an object of type {type(thing).__module__}:{type(thing).__qualname__}"


def _look_up(module: object, path: str) -> Any:
    """Follow a path of names through classes, without running any code of theirs.

    Raises:
        LookupError: There is no such function or class.
    """
    scopes: tuple[Any, ...] = (module,)
    found: Any = None
    for part in path.split("."):
        for scope in scopes:
            if part in vars(scope):
                found = _plain(vars(scope)[part], found)
                break
        else:
            message = f"there is no {path}"
            raise LookupError(message)
        scopes = found.__mro__ if _is_class(found) else ()
    return found


def _plain(raw: Any, owner: Any) -> Any:
    """Give what `owner.name` is, for what the dict of a class or module holds under the name."""
    if type(raw) is staticmethod:
        return raw.__func__
    if type(raw) is classmethod and type(raw.__func__) is FunctionType:
        return MethodType(raw.__func__, owner)
    return raw


def _is_internal(path: str) -> bool:
    return any(part.startswith("__") for part in path.split("."))


def _is_own(module: str) -> bool:
    return f"{module}.".startswith(f"{_OWN}.") and "._" not in module


def _is_public(module: str, path: str, thing: object) -> bool:
    """Tell whether a thing of our own is offered, by its module or by the package as a whole."""
    for name in (_OWN, module):
        public = vars(sys.modules[name])
        if path not in public.get("__all__", ()):
            continue
        # A class may be imported when it is asked for; functions that are, such as `recover`, are
        # not operations, and what a journal says must not call them.
        if public.get(path) is thing or (_is_class(thing) and thing.__module__.startswith(_OWN)):
            return True
    return False


def _refuse_odd(thing: Any, name: str) -> None:
    """Refuse what has no name, or only one inside a function."""
    kind = type(thing)
    what = None
    if kind is MethodType and not _is_class(thing.__self__):
        what = "a method of an object"
    elif kind is BuiltinFunctionType and not _is_named(thing):
        what = "a method of an object or of a built-in class"
    elif name.startswith("an object"):
        what = f"an object of type {kind.__qualname__}"
    elif "<lambda>" in name:
        what = "a lambda"
    elif "<locals>" in name:
        what = "a class" * _is_class(thing) or "a function"
        what += " that is defined inside a function"
    if what is not None:
        cure = _CURE.replace("function", "class", 1) if _is_class(thing) else _CURE
        message = f"{what} cannot be found again after a crash: {cure}"
        raise NotStorableError(message)


def _is_named(builtin: Any) -> bool:
    """Tell a built-in function, which belongs to a module, from a method of an object."""
    return builtin.__self__ is None or type(builtin.__self__) is ModuleType


def _unlisted(name: str, module: str) -> str:
    return (
        f"{name} is in a module that the journal does not list: add {module!r} to modules=, or "
        "write a function for it in a module that is listed"
    )
