"""Stamps: headers of the user's own that a workflow carries to each of its tasks.

They travel as ``stamps`` and ``stamped_headers``; in a signature they are options, and ``stamped_headers`` names them.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any

from fastq.canvas import joining
from fastq.canvas.depth import Steps, run
from fastq.canvas.groups import group
from fastq.canvas.signature import listed, maybe_signature

Stamps = dict[str, Any]


class StampingVisitor(metaclass=ABCMeta):
    """Says what the parts of a workflow are stamped with; it comes by each when ``sig.stamp(visitor)`` is called.

    A method returns the stamps to add, as a mapping; ``stamped_headers`` in it names those that are stamps, by default
    all of them::

        class Trace(StampingVisitor):
            def on_signature(self, sig, **headers):
                return {"trace": uuid()}
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> Stamps:
        """Return the stamps of one task."""

    def on_group_start(self, group: Any, **headers: Any) -> Stamps:
        """Return the stamps of all members of a group."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027 - nobody has to listen
        """Hear that a group was stamped."""

    def on_chain_start(self, chain: Any, **headers: Any) -> Stamps:
        """Return the stamps of all steps of a chain."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027 - nobody has to listen
        """Hear that a chain was stamped."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> Stamps:
        """Return the stamps of all members of a chord's header: by default those of a group."""
        if not isinstance(sig.tasks, group):
            sig.tasks = group(sig.tasks, app=sig._app)
        return self.on_group_start(sig.tasks, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """Hear that a chord's header was stamped."""
        self.on_group_end(sig.tasks, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> Stamps:
        """Return the stamps of a chord's body."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> Stamps:
        """Return the stamps of what is linked to a task."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> Stamps:
        """Return the stamps of what is called when a task fails."""
        return {}


def stamp(sig: Any, visitor: StampingVisitor | None, append: bool, headers: Stamps) -> Any:
    """Stamp *sig*, whatever kind it is; returns it."""
    return run(_stamp(sig, visitor, append, headers))


def stamp_links(sig: Any, visitor: StampingVisitor | None, append: bool, headers: Stamps) -> None:
    """Stamp what is linked to *sig*, but not *sig*."""
    run(_stamp_links(sig, visitor, append, headers))


def _stamp(sig: Any, visitor: StampingVisitor | None, append: bool, headers: Stamps) -> Steps:
    kind = joining.kind(sig)
    if kind == "chain":
        yield _stamp_chain(sig, visitor, append, headers)
    elif kind == "group":
        yield _stamp_group(sig, visitor, append, headers)
    elif kind == "chord":
        yield _stamp_chord(sig, visitor, append, headers)
    else:
        yield _stamp_links(sig, visitor, append, headers)
        told = None if visitor is None else visitor.on_signature(sig, **headers) or {}
        sig.set(**merged(sig, headers, told, append))
    return sig


def _stamp_links(sig: Any, visitor: StampingVisitor | None, append: bool, headers: Stamps) -> Steps:
    for option, ask in (("link", "on_callback"), ("link_error", "on_errback")):
        links = sig["options"].get(option)
        if not links:
            continue
        carried = _copy(headers)
        links = sig["options"][option] = [maybe_signature(one, app=sig.app) for one in listed(links)]
        for one in links:
            told = None if visitor is None else getattr(visitor, ask)(one, **carried) or {}
            carried = merged(None, carried, told, append)
            yield _stamp(one, visitor, append, carried)


def merged(sig: Any, headers: Stamps, told: Stamps | None, append: bool) -> Stamps:
    """Return *headers* with what a visitor *told* and with the stamps that *sig* has; who comes first wins.

    With *append* the values of one stamp become a list instead.
    """
    merged = _copy(headers)
    merged.setdefault("stamped_headers", list(merged))
    if told is not None:
        told = _copy(told)
        told.setdefault("stamped_headers", list(told))
        _merge(merged, told, append)
    names = dict.fromkeys(merged["stamped_headers"])
    if sig is not None:
        names.update(dict.fromkeys(sig["options"].get("stamped_headers") or ()))
        _merge(merged, {name: _copy_value(sig["options"][name]) for name in names if name in sig["options"]}, append)
    merged["stamped_headers"] = list(names)
    return merged


def _stamp_chain(sig: Any, visitor: StampingVisitor | None, append: bool, headers: Stamps) -> Steps:
    told = None if visitor is None else visitor.on_chain_start(sig, **headers) or {}
    headers = merged(sig, headers, told, append)
    yield _stamp_links(sig, visitor, append, headers)
    for task in sig.tasks:
        yield _stamp(task, visitor, append, headers)
    if visitor is not None:
        visitor.on_chain_end(sig, **headers)


def _stamp_group(sig: Any, visitor: StampingVisitor | None, append: bool, headers: Stamps) -> Steps:
    told = None if visitor is None else visitor.on_group_start(sig, **headers) or {}
    headers = merged(sig, headers, told, append)
    yield _stamp_links(sig, visitor, append, headers)
    tasks = sig.tasks = [maybe_signature(task, app=sig._app) for task in sig.tasks]
    for task in tasks:
        yield _stamp(task, visitor, append, headers)
    if visitor is not None:
        visitor.on_group_end(sig, **headers)


def _stamp_chord(sig: Any, visitor: StampingVisitor | None, append: bool, headers: Stamps) -> Steps:
    told = None if visitor is None else visitor.on_chord_header_start(sig, **headers) or {}
    headers = merged(sig, headers, told, append)
    yield _stamp_links(sig, visitor, append, headers)
    for task in sig.header().tasks:
        yield _stamp(task, visitor, append, headers)
    if visitor is not None:
        visitor.on_chord_header_end(sig, **headers)
    if sig.body is not None and visitor is not None:
        headers = merged(sig, headers, visitor.on_chord_body(sig, **headers) or {}, append)
        yield _stamp(sig.body, visitor, append, headers)


def _merge(into: Stamps, other: Stamps, append: bool) -> None:
    for name, value in other.items():
        if name not in into:
            into[name] = value
        elif isinstance(into[name], dict) and isinstance(value, dict):
            _merge(into[name], value, append)
        elif isinstance(into[name], list) and isinstance(value, list):
            into[name] = into[name] + value
        elif append:
            into[name] = [*_as_list(into[name]), value] if not isinstance(value, list) \
                else [*_as_list(into[name]), *value]


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple, set)) else [value]


def _copy(stamps: Stamps) -> Stamps:
    return {name: _copy_value(value) for name, value in stamps.items()}


def _copy_value(value: Any) -> Any:
    return list(value) if isinstance(value, list) else _copy(value) if isinstance(value, dict) else value


