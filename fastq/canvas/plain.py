"""Signatures as the plain dicts that travel: encoders, and readers without fastq, know no subclass of dict."""

from __future__ import annotations

from typing import Any

from fastq.canvas.signature import Signature


def plain(value: Any) -> Any:
    """Return *value* with every signature in it, at any depth, as a dict.

    A mapping that is a plain dict already came from a message or is the caller's own, and stays as it is.

    Example:
        >>> type(plain(Signature("proj.add", (1,))))
        <class 'dict'>
    """
    if isinstance(value, Signature):
        return _opened(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def links(value: Any) -> list[Any] | None:
    """Return one link or many as a list of dicts; None for none. Raises TypeError for what is no signature."""
    if value is None:
        return None
    return [link(one) for one in (value if isinstance(value, (list, tuple)) else (value,))]


def link(value: Any) -> Any:
    """Return a link as a dict, and what it links; None for none. Raises TypeError for what is no signature."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TypeError(f"a link is a signature, such as task.s(), not {type(value).__name__}")
    return _opened(value) if isinstance(value, Signature) or value.get("options") else value


def steps(value: Any) -> list[Any] | None:
    """Return the rest of a chain as a list of dicts; None for none. Those that came in a message are not looked at."""
    return None if value is None else [link(step) if type(step) is not dict else step for step in value]


def _opened(mapping: dict[str, Any]) -> dict[str, Any]:
    opened = dict(mapping)
    for part in ("options", "kwargs"):
        inner = opened.get(part)
        if inner:
            opened[part] = {key: item if type(item) in _ATOMS else plain(item) for key, item in inner.items()}
    return opened


_ATOMS = frozenset((str, int, float, bool, type(None), dict))
