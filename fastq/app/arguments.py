"""Checks a call against a task's function when it is sent, not when a worker runs it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Any

_STARS: dict[Any, str] = {Parameter.VAR_POSITIONAL: "*", Parameter.VAR_KEYWORD: "**"}


def checker(run: Callable[..., Any], name: str) -> Callable[..., None]:
    """Return a function with the parameters of *run* and no body.

    Calling it costs one call and raises the TypeError that Python itself would raise for *run*;
    ``inspect.Signature.bind`` costs fifty times as much. *name* is what the error calls the task.
    """
    parts: list[str] = []
    kind_before = None
    for parameter in inspect.signature(run).parameters.values():
        kind = parameter.kind
        if kind_before is Parameter.POSITIONAL_ONLY is not kind:
            parts.append("/")
        if kind is Parameter.KEYWORD_ONLY and kind_before not in (Parameter.KEYWORD_ONLY, Parameter.VAR_POSITIONAL):
            parts.append("*")
        text = _STARS.get(kind, "") + parameter.name
        if parameter.default is not Parameter.empty:
            # The defaults are never used, only whether there is one.
            text += "=None"
        parts.append(text)
        kind_before = kind
    if kind_before is Parameter.POSITIONAL_ONLY:
        parts.append("/")
    namespace: dict[str, Any] = {}
    # Parameter names come from a function that was compiled, so they are identifiers.
    exec(f"def check({', '.join(parts)}): pass", namespace)  # noqa: S102
    check: Callable[..., None] = namespace["check"]
    check.__name__ = check.__qualname__ = name
    return check
