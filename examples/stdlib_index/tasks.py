"""The app: one task, which counts what is in a Python file."""

from __future__ import annotations

import ast
import os
import tokenize
import warnings
from io import BytesIO
from typing import Any

from fastq import Fastq

app = Fastq("stdlib_index")  # broker and results: the file stdlib_index.fastq.db in the current folder


@app.task(bind=True)
def index_file(self: Any, path: str) -> dict[str, Any]:
    """Count the lines, tokens, functions and classes of one file.

    A file that is no valid Python is an outcome, not a crash: the standard library ships such files, to test parsers.
    """
    found: dict[str, Any] = {
        "path": path, "lines": 0, "tokens": 0, "functions": 0, "classes": 0, "error": None,
        "child": os.getpid(), "redelivered": bool((self.request.delivery_info or {}).get("redelivered")),
    }
    try:
        with open(path, "rb") as file:
            source = file.read()
        found["lines"] = len(source.splitlines())
        found["tokens"] = sum(1 for _ in tokenize.tokenize(BytesIO(source).readline))
        found.update(count_definitions(source))
    except (OSError, SyntaxError, tokenize.TokenError, ValueError, RecursionError, MemoryError) as error:
        found["error"] = f"{type(error).__name__}: {error}"
    return found


def count_definitions(source: bytes) -> dict[str, int]:
    """Count the functions and classes of *source*. Raises SyntaxError when it is no Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes and the like, which are not what we are after
        nodes = list(ast.walk(ast.parse(source)))
    return {
        "functions": sum(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in nodes),
        "classes": sum(isinstance(node, ast.ClassDef) for node in nodes),
    }
