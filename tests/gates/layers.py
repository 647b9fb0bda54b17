"""The import graph of fastq, held against the table of layers: imports only go down, and never in a circle.

An import counts wherever it stands: at the top, inside a function, or under TYPE_CHECKING. So does the full name
of a module above in a string, which is how an arrow up is hidden; of a module below, it is only a name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LAYERS: dict[str, int] = {
    "_ext": 0,
    "exceptions": 1, "states": 1, "signals": 1, "types": 1, "current": 1, "clock": 1, "ids": 1, "backoff": 1,
    "saferepr": 1, "log": 1, "proc": 1, "pidfile": 1, "schedules": 1, "request": 1, "einfo": 1, "local": 1,
    "points": 1, "bootsteps": 1,
    "wire": 2, "utils": 2, "net": 2,
    "transport": 3, "pool": 3, "amqp": 3,
    "backends": 4, "events": 4, "control": 4,
    "result": 5, "canvas": 5,
    "app": 6,
    "worker": 7,
    "beat": 8,
    "cli": 9, "contrib": 9, "testing": 9, "bench": 9, "examples": 9, "__main__": 9, "fastq": 9,
}

FREE_AMONG_THEMSELVES = {1, 9}
"""Layers of single files, or of programs; in the others a part does not know its neighbours."""
NEIGHBOURS = {("canvas", "result"), ("transport", "amqp"), ("utils", "wire")}
STRANGERS = {("pool", "wire")}
"""Arrows that go down and are forbidden all the same: a pool runs callables and knows no message."""

LAZY = {
    "fastq": "the table of public names, read on first use",
    "fastq.transport": "open(url): one scheme -> module table",
    "fastq.backends": "open(url): one scheme -> module table",
    "fastq.control": "open(urls): one scheme -> module table",
    "fastq.result": "a program that sends tasks mostly looks at no groups, trees or bars",
    "fastq.canvas": "chains, groups and chords are loaded when the first is made",
    "fastq.app": "what sends and runs is loaded when it is first used: import fastq is to cost 40 ms at most",
    "fastq.app.launch": "an app that starts its own worker",
    "fastq.cli.": "a command loads what it needs when it is called",
}
"""Where an import may stand inside a function, and why. A name with a dot at its end stands for a whole package."""
UPWARD = {("fastq.app.launch", "worker"), ("fastq.app.launch", "cli")}
DYNAMIC = {*LAZY, "fastq.app.loader", "fastq.pool.kinds", "fastq.contrib.", "fastq.utils.imports"}
"""Where a string that a user wrote, or a table, may become a module."""
EXT_MAY_IMPORT = {"fastq.exceptions", "fastq._ext.batch", "fastq._ext.resp"}


@dataclass(frozen=True)
class Arrow:
    """One import: who, whom, in which line, and how (``top``, ``lazy``, ``typing``, ``string`` or ``dynamic``)."""

    source: str
    target: str
    line: int
    how: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target} ({self.how})"


def violations(root: Path) -> list[str]:
    """Every broken rule in the tree at *root*, one sentence each."""
    modules = find_modules(root / "fastq")
    arrows = [arrow for name, path in modules.items() for arrow in _arrows(name, path, modules)]
    found = [f"{name} has no layer: add it to the table, or to a package that is there"
             for name in modules if _part(name) not in LAYERS]
    found += [f"{arrow}: {broken}" for arrow in arrows if (broken := _broken_rule(arrow))]
    found += [f"imports in a circle: {' -> '.join(circle)}" for circle in _circles(arrows)]
    return found + list(_ext_violations(root))


def find_modules(package: Path) -> dict[str, Path]:
    """Every Python module under *package*, by its full name."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def _part(module: str) -> str:
    """What the table of layers speaks of: the package or file right under fastq."""
    return module.split(".")[1] if "." in module else module


def _broken_rule(arrow: Arrow) -> str | None:
    source, target = _part(arrow.source), _part(arrow.target)
    if arrow.how == "dynamic":
        return None if _listed(arrow.source, DYNAMIC) else "a string becomes a module only in the places listed"
    if arrow.how == "lazy" and not _listed(arrow.source, LAZY):
        return "an import stands at the top of its file"
    if source == target or (arrow.source, target) in UPWARD:
        return None
    high, low = LAYERS.get(source, 0), LAYERS.get(target, 0)
    if high < low and not (source == "types" and arrow.how == "typing"):
        return f"L{high} may not know L{low}"
    if high == low and high not in FREE_AMONG_THEMSELVES and (source, target) not in NEIGHBOURS:
        return f"{source} and {target} are neighbours in L{high} and do not know each other"
    return f"{source} may not know {target}" if (source, target) in STRANGERS else None


def _listed(module: str, names: Iterable[str]) -> bool:
    return any(f"{module}.".startswith(name) if name.endswith(".") else module == name for name in names)


def _arrows(name: str, path: Path, modules: dict[str, Path]) -> Iterator[Arrow]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    yield from _walk(ast.parse(path.read_text()), _Place(name, package, modules))


@dataclass(frozen=True)
class _Place:
    module: str
    package: str
    modules: dict[str, Path]
    how: str = "top"

    def inside(self, how: str) -> _Place:
        return self if self.how == "typing" else _Place(self.module, self.package, self.modules, how)

    def arrow(self, target: str, node: ast.AST, how: str | None = None) -> Arrow:
        return Arrow(self.module, target, getattr(node, "lineno", 0), how or self.how)


def _walk(node: ast.AST, place: _Place) -> Iterator[Arrow]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (place.arrow(target, node) for target in _targets(node, place))
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str) and "." in node.value and node.value in place.modules \
                and node.value != place.module:  # its own name is that of its logger
            yield place.arrow(node.value, node, "string")
    elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
        yield place.arrow("whatever it is told", node, "dynamic")
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        place = place.inside("lazy")
    if isinstance(node, ast.If) and _called(node.test) == "TYPE_CHECKING":
        for child in node.body:
            yield from _walk(child, place.inside("typing"))
        children: Iterable[ast.AST] = node.orelse
    elif isinstance(node, ast.Compare):  # a name that is asked for is not imported
        children = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.Constant)]
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _walk(child, place)


def _called(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _targets(node: ast.Import | ast.ImportFrom, place: _Place) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        up = place.package.split(".")[:len(place.package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*up, *([node.module] if node.module else [])])
        names = [inner if (inner := f"{base}.{alias.name}") in place.modules or base == "fastq._ext" else base
                 for alias in node.names]
    yield from (name for name in dict.fromkeys(names) if name.split(".")[0] == "fastq")


def _circles(arrows: Iterable[Arrow]) -> Iterator[list[str]]:
    """Each group of modules that import each other, once, as a path; types and names make no circle at run time."""
    graph: dict[str, set[str]] = {}
    for arrow in arrows:
        if arrow.how in ("top", "lazy") and arrow.source != "fastq.app.launch":
            graph.setdefault(arrow.source, set()).add(arrow.target)
    told: set[str] = set()
    for start in sorted(graph):
        if start not in told and (circle := _path_back(start, graph)):
            told.update(circle)
            yield circle


def _path_back(start: str, graph: dict[str, set[str]]) -> list[str] | None:
    paths, seen = [[start]], set()
    while paths:
        path = paths.pop(0)
        for target in sorted(graph.get(path[-1], ())):
            if target == start:
                return [*path, start]
            if target not in seen:
                seen.add(target)
                paths.append([*path, target])
    return None


def _ext_violations(root: Path) -> Iterator[str]:
    imported = re.compile(r"^\s*(?:from|import|cimport)\s+(fastq[\w.]*)", re.MULTILINE)
    for path in sorted((root / "ext").glob("*.p[xy]*")):
        for match in imported.finditer(path.read_text()):
            if match[1] not in EXT_MAY_IMPORT:
                known = " and ".join(sorted(EXT_MAY_IMPORT))
                yield f"ext/{path.name} imports {match[1]}: the compiled ground knows only {known}"
