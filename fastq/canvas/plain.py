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
    left: list[dict[str, Any]] = []
    value = _dict_of(value, left)
    _open_all(left)
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
    _open_all([opened])
    return opened


def _open_all(left: list[dict[str, Any]]) -> None:
    """Open the dicts in *left*, which are new, and those of signatures inside, one after the other: at any depth."""
    while left:
        mapping = left.pop()
        for part in ("options", "kwargs"):
            inner = mapping.get(part)
            if inner:
                mapping[part] = {key: item if type(item) in _ATOMS else _dict_of(item, left)
                                 for key, item in inner.items()}


def _dict_of(value: Any, left: list[dict[str, Any]]) -> Any:
    if isinstance(value, Signature):
        opened = dict(value)
        left.append(opened)
        return opened
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _ATOMS else _dict_of(item, left) for item in value]
    return value


_ATOMS = frozenset((str, int, float, bool, type(None), dict))
