"""Places in the code, as the pages for contributors name them: `module:name`."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import py_api_saga

SOURCE = Path(py_api_saga.__file__).parent
PLACE = re.compile(r"`([a-z_]+(?:\.[a-z_]+)*:\w+(?:\.\w+)*)`")


def is_there(place: str) -> bool:
    """Tell whether a module has a function, a class, a table or an attribute of that name."""
    module, _, path = place.partition(":")
    file = SOURCE.joinpath(*module.split("."))
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    return file.is_file() and path in _names(file)


@cache
def _names(file: Path) -> set[str]:
    """Give the qualified names of what a module defines, also what its methods set on `self`."""
    return set(_defined(ast.parse(file.read_text()), ""))


def _defined(tree: ast.AST, prefix: str) -> list[str]:
    found: list[str] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found += [prefix + node.name, *_defined(node, f"{prefix}{node.name}.")]
            if isinstance(node, ast.ClassDef):
                found += [f"{prefix}{node.name}.{name}" for name in _of_self(node)]
        elif isinstance(node, ast.If | ast.Try):
            found += _defined(node, prefix)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [prefix + one.id for one in targets if isinstance(one, ast.Name)]
    return found


def _of_self(tree: ast.ClassDef) -> list[str]:
    return [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    ]
