"""The package as syntax trees: what imports what, and what the docstrings say."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "postroom"


@dataclass(frozen=True)
class Module:
    """A module of the package.

    Attributes:
        name: dotted, as in ``postroom.wire.paths``.
        path: its file.
        tree: its syntax tree.
    """

    name: str
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        """The part of the name that DESIGN's picture speaks of."""
        return [*self.name.split("."), ""][1]


@dataclass(frozen=True)
class Import:
    """One imported name: ``module`` with what is taken from it, dotted."""

    importer: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def parse(name: str, path: Path) -> Module:
    return Module(name, path, ast.parse(path.read_text("utf-8"), str(path)))


@cache
def modules() -> list[Module]:
    """Give every module of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        found.append(parse(".".join(parts), path))
    return found


def imports(module: Module) -> Iterator[Import]:
    """Give what a module imports, wherever in it; relative imports by their full names."""
    package = module.name if module.path.name == "__init__.py" else module.name.rpartition(".")[0]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module.name, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*parents, origin]).rstrip(".")
            for alias in node.names:
                yield Import(module.name, f"{origin}.{alias.name}", node.lineno)


def docstrings(module: Module) -> Iterator[tuple[str, int, str]]:
    """Give (qualified name, line, docstring) of the module and all that is defined in it."""

    def visit(node: ast.AST, name: str) -> Iterator[tuple[str, int, str]]:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield name, getattr(node, "lineno", 1), text
        for child in ast.iter_child_nodes(node):
            inner = getattr(child, "name", None)
            is_named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            yield from visit(child, f"{name}.{inner}" if is_named else name)

    yield from visit(module.tree, module.name)
