"""The source files of the package as they were when this process began: what a stage is made of, what changed."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_dvc.files import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["as_begun", "changed_since_begun", "code_digest", "made_of"]

PACKAGE = Path(__file__).parent


@functools.cache
def as_begun() -> Mapping[str, bytes]:
    """The content of every source file by dotted module name, read once.

    The command line asks for it before it imports a stage: what is edited from then on may be what was imported or not,
    and either way it is noticed.
    """
    return {_module_of(path): path.read_bytes() for path in sorted(PACKAGE.rglob("*.py"))}


def made_of(module: str) -> frozenset[str]:
    """``module`` and every module of the package that it imports, directly or not, also for annotations alone.

    Args:
        module: a dotted name, such as ``mnist_dvc.pipeline.train``.
    """
    found: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= _imports(name) - found
    return frozenset(found)


def code_digest(module: str) -> str:
    """SHA-256 over the names and contents of all that ``module`` is made of."""
    sources = as_begun()
    return sha256("\n".join(f"{sha256(sources[name])} {name}" for name in sorted(made_of(module))).encode())


def changed_since_begun(module: str) -> list[Path]:
    """The source files of ``module`` and of what it imports that now hold something else, or are gone."""
    sources = as_begun()
    paths = {_path_of(name): sources[name] for name in sorted(made_of(module))}
    return [path for path, content in paths.items() if not path.is_file() or path.read_bytes() != content]


@functools.cache
def _imports(module: str) -> frozenset[str]:
    """The modules of the package that ``module`` names in its import statements, wherever they stand."""
    tree = ast.parse(as_begun()[module])
    return frozenset(name for node in ast.walk(tree) for name in _named(node) if name in as_begun())


def _named(node: ast.AST) -> Iterator[str]:
    """What an import statement may mean: ``from a import b`` means the module ``a.b`` if there is one, else ``a``."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name if name in as_begun() else node.module for name in inner)


def _module_of(path: Path) -> str:
    parts = (PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


def _path_of(module: str) -> Path:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if (path / "__init__.py").is_file() else path.with_suffix(".py")
