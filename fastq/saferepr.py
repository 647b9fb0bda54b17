"""A repr of bounded length, depth and failure, for argsrepr, events and logs. Imports nothing of fastq.

Written as Celery's monitors expect it: what is cut ends in ``...``, containers below the last
level are ``[...]``, bytes that are no UTF-8 are hex. Brackets are always closed, so the text may exceed *maxlen*
by the ellipses, the quotes and the closing brackets.
"""

from __future__ import annotations

import sys
from codecs import utf_8_decode
from collections.abc import Iterable
from typing import Any

__all__ = ("saferepr",)

_ATOMS = frozenset({bool, int, float, type(None)})
_DEEPEST = 100
_SIMPLE = frozenset({tuple, dict})
_FEW = 32


def saferepr(value: Any, maxlen: int | None = 1024, maxlevels: int | None = 3) -> str:
    """Show *value* in about *maxlen* characters, down to *maxlevels* of containers (None or 0: a hundred).

    Never raises: an object that cannot be shown is named by its class. A container inside itself is
    ``<Recursion on list>``.

        saferepr({"a": [1, [2, [3]]]}) == "{'a': [1, [...]]}"
    """
    if maxlen is None:
        maxlen = sys.maxsize
    if type(value) in _SIMPLE and (text := _simple(value, maxlen)) is not None:
        return text
    writer = _Writer(maxlen, maxlevels)
    try:
        writer.value(value)
    except Exception as error:  # a container of the user's, or one that another thread changes meanwhile
        return f"<{type(value).__name__}: showing it raised {type(error).__name__}>"
    return "".join(writer.parts)


def _simple(value: tuple[Any, ...] | dict[Any, Any], maxlen: int) -> str | None:
    """Show what most calls have, a few numbers and no keywords, in a third of the time."""
    if value and (type(value) is dict or len(value) > _FEW or not _ATOMS.issuperset(map(type, value))):
        return None
    try:
        text = repr(value)
    except ValueError:  # an int too long for text
        return None
    return text if len(text) <= maxlen else None


class _Writer:
    __slots__ = ("left", "maxlevels", "open", "parts", "truncated")

    def __init__(self, maxlen: int, maxlevels: int | None) -> None:
        self.parts: list[str] = []
        self.left = maxlen
        self.maxlevels = maxlevels or _DEEPEST
        self.open: list[int] = []  # ids of the containers around here
        self.truncated = False

    def value(self, value: Any) -> None:
        if type(value) in _ATOMS:
            self.atom(value)
        elif isinstance(value, str):
            self.quoted(value)
        elif isinstance(value, (bytes, bytearray)):
            self.binary(value)
        elif isinstance(value, dict):
            self.container("{", value.items(), "}", value)
        elif isinstance(value, list):
            self.container("[", value, "]", value)
        elif isinstance(value, tuple):
            self.container("(", value, ",)" if len(value) == 1 else ")", value)
        elif isinstance(value, (set, frozenset)) and value:
            self.container("{", value, "}", value)
        else:
            self.atom(value)

    def put(self, text: str) -> None:
        self.parts.append(text)
        self.left -= len(text)

    def atom(self, value: Any) -> None:
        try:
            text = repr(value)
        except Exception as error:  # a repr of the user's, or an int too long for text
            text = f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
        self.put(text if len(text) <= self.left else f"{text[: max(0, self.left)]}...")

    def quoted(self, text: str) -> None:
        # Cut before it is escaped, so that a text of a gigabyte costs no more than one of a kilobyte.
        self.put(repr(text if len(text) <= self.left else f"{text[: max(0, self.left)]}..."))

    def binary(self, value: bytes | bytearray) -> None:
        limit = max(0, self.left)
        head = bytes(value[:limit])
        try:
            text = utf_8_decode(head, "strict", len(head) == len(value))[0]
        except UnicodeDecodeError:
            text = head.hex()
        self.put("b" + repr(text[:limit] + "..." if len(head) < len(value) or len(text) > limit else text))

    def container(self, start: str, items: Iterable[Any], end: str, value: Any) -> None:
        if not value:
            self.put(start + end)
        elif len(self.open) >= self.maxlevels:
            self.put(f"{start}...{end[-1]}")
        elif id(value) in self.open:
            self.put(f"<Recursion on {type(value).__name__}>")
        else:
            self.put(start)
            self.open.append(id(value))
            self.items(items, start == "{" and isinstance(value, dict))
            self.open.pop()
            self.put(end)

    def items(self, items: Iterable[Any], pairs: bool) -> None:
        first = True
        for item in items:
            if self.truncated:
                return
            if not first:
                if self.left <= len(", "):
                    self.truncated = True
                    self.put(", ...")
                    return
                self.put(", ")
            first = False
            if pairs:
                self.value(item[0])
                self.put(": ")
                self.value(item[1])
            else:
                self.value(item)
