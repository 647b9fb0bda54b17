"""What every source file keeps to, as far as a program can see it: sizes, names, contracts, nothing left for later.

Each gate takes the root of a tree and yields one sentence for each thing that is wrong in it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PYTHON = ("fastq", "bench", "examples", "tools", "tests")
FILE_LINES = {"fastq": 500, "bench": 500, "examples": 500, "tools": 500, "tests": 900, ".pyx": 1200, ".pxd": 300}
FUNCTION_LINES = 80
LONG = "# long: "
"""A function may be longer with this comment and a reason in the line above it: a hot loop, a table."""

FORBIDDEN_FILES = {"util", "utils", "common", "helper", "helpers", "misc", "base", "manager"}
NAMED_ALL_THE_SAME = {
    "fastq/transport/base.py": "a seam", "fastq/backends/base.py": "a seam", "fastq/pool/base.py": "a seam",
    "fastq/utils": "an import path that Celery's users type",
}
CELERYS_FUNCTIONS = {"maybe_signature", "maybe_throw"}
FORBIDDEN_FUNCTIONS = re.compile(r"_*(maybe_\w+|do_\w+|process|helper\w*|util\w*)")
LEFT_FOR_LATER = re.compile(r"\b(TO-?DO|FIX-?ME|XX-?X|HA-?CK)\b|\braise Not-?ImplementedError\b")


def sizes(root: Path) -> Iterator[str]:
    for path in _files(root):
        limit = FILE_LINES.get(path.suffix) or FILE_LINES[path.relative_to(root).parts[0]]
        if (lines := len(path.read_text().splitlines())) > limit:
            yield f"{path.relative_to(root)} has {lines} lines, {limit} at most: split it by subject"
        functions = _python_functions if path.suffix == ".py" else _cython_functions
        source = path.read_text().splitlines()
        for name, line, length in functions(path):
            if length > FUNCTION_LINES and LONG not in "".join(source[max(0, line - 3):line]):
                yield f"{path.relative_to(root)}:{line} {name} has {length} lines, {FUNCTION_LINES} at most"


def names(root: Path) -> Iterator[str]:
    for path in _files(root):
        place = path.relative_to(root)
        for part in (place, *place.parents):
            if part.stem in FORBIDDEN_FILES and part.as_posix() not in NAMED_ALL_THE_SAME:
                yield f"{place}: {part.stem!r} does not say what it is"
        functions = _python_functions if path.suffix == ".py" else _cython_functions
        for name, line, _ in functions(path):
            if name not in CELERYS_FUNCTIONS and FORBIDDEN_FUNCTIONS.fullmatch(name):
                yield f"{place}:{line} {name} does not say what it does"


def docstrings(root: Path) -> Iterator[str]:
    for path in sorted((root / "fastq").rglob("*.py")):
        if not ast.get_docstring(ast.parse(path.read_text())):
            yield f"{path.relative_to(root)} does not say at its top what lives there"


def leftovers(root: Path) -> Iterator[str]:
    for path in _files(root):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := LEFT_FOR_LATER.search(line):
                yield f"{path.relative_to(root)}:{number} leaves something for later: {found[0]}"


def references(root: Path) -> Iterator[str]:
    """A document that is named is one that a reader has."""
    present = {path.name for path in (*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("tests/**/*.md"))}
    for path in _files(root):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in re.findall(r"\b([A-Za-z0-9_-]+\.md)\b", line):
                if name not in present:
                    yield f"{path.relative_to(root)}:{number} names {name}, which is not here"


def stubs(root: Path) -> Iterator[str]:
    modules = {path.stem for path in (root / "ext").glob("*.pyx")}
    described = {path.stem for path in (root / "fastq/_ext").glob("*.pyi")}
    yield from (f"ext/{name}.pyx has no fastq/_ext/{name}.pyi" for name in sorted(modules - described))
    yield from (f"fastq/_ext/{name}.pyi describes no ext/{name}.pyx" for name in sorted(described - modules))
    # Cython looks for fastq/_ext/NAME.pxd and takes no notice of this one: its declarations vanish without a word.
    yield from (f"ext/{name}.pxd has the name of a .pyx" for name in sorted(modules)
                if (root / f"ext/{name}.pxd").exists())


def contracts(root: Path) -> Iterator[str]:
    """A C function says what it does about exceptions: said nothing, its every call asks whether there was one."""
    for path in sorted((root / "ext").glob("*.p[xy][xd]")):
        text = path.read_text()
        objects = set(re.findall(r"^\s*(?:cdef|ctypedef) class (\w+)", text, re.MULTILINE)) | OBJECTS
        for line, declaration in _declarations(text):
            shape = SHAPE.match(declaration)
            returned = shape["returns"].split()[-1] if shape and shape["returns"] else "object"
            if shape and returned not in objects and not re.search(r"\b(noexcept|except)\b", shape["after"]):
                yield f"ext/{path.name}:{line} {shape['name']} says neither noexcept nor except"
        for match in re.finditer(r"^DEF \w+", text, re.MULTILINE):
            yield f"ext/{path.name}: {match[0]}: a cdef enum does this without a macro"


def scripts(root: Path) -> Iterator[str]:
    """A script of a server says above its first line what it is given, and what comes back."""
    for path in sorted((root / "fastq").rglob("*.lua")):
        head, _, body = path.read_text().partition("\n\n")
        told = [line for line in head.splitlines() if line.startswith("-- ")]
        wanted = [name for name in ("KEYS", "ARGV") if re.search(rf"\b{name}\b", body)]
        wanted += ["Returns"] if re.search(r"^return\b", body, re.MULTILINE) else []
        for name in wanted:
            if not any(re.match(rf"-- {name}\b", line) for line in told):
                yield f"{path.relative_to(root)} does not say at its top: {name}"
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if len(line) > 120 or line != line.rstrip():
                yield f"{path.relative_to(root)}:{number} is longer than 120 signs, or ends in a blank"


OBJECTS = {"object", "bytes", "bytearray", "str", "tuple", "list", "dict", "set", "frozenset", "type"}
SHAPE = re.compile(
    r"(?:cdef|cpdef)\s+(?:inline\s+|api\s+|public\s+)*(?P<returns>[\w\s.*\[\],()]*?)\s*"
    r"\b(?P<name>\w+)\s*\((?P<arguments>.*)\)(?P<after>[^)]*):$"
)


def _files(root: Path) -> Iterator[Path]:
    for top in PYTHON:
        yield from sorted(path for path in (root / top).rglob("*.py") if "__pycache__" not in path.parts)
    yield from sorted((root / "ext").glob("*.p[xy][xd]"))


def _python_functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, first line and length of every function; its docstring is no part of its length."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node):
                length -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            yield node.name, node.lineno, length


def _cython_functions(path: Path) -> Iterator[tuple[str, int, int]]:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if not (start := re.match(r"(\s*)(?:async def|def|cdef|cpdef)\b[^=\n]*?(\w+)\s*\(", line)):
            continue
        last, depth = number, line.count("(") - line.count(")")
        for below, text in enumerate(lines[number + 1:], number + 1):
            if depth <= 0 and text.strip() and len(text) - len(text.lstrip()) <= len(start[1]):
                break
            depth += text.count("(") - text.count(")")
            last = below if text.strip() else last
        yield start[2], number + 1, last - number + 1


def _declarations(text: str) -> Iterator[tuple[int, str]]:
    """Every `cdef` that opens a block, on one line, but those of other people's headers."""
    lines = [line.split("#")[0].rstrip() for line in text.splitlines()]
    foreign = -1
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line and indent <= foreign:
            foreign = -1
        if re.match(r"\s*cdef extern from\b", line):
            foreign = indent
        if foreign >= 0 or not re.match(r"\s*(cdef|cpdef)\b(?!\s+(class|enum|struct|union|extern)\b).*\(", line):
            continue
        whole, end = line.strip(), number
        while whole.count("(") > whole.count(")") and end + 1 < len(lines):
            end += 1
            whole += " " + lines[end].strip()
        if whole.endswith(":"):
            yield number + 1, whole
