"""Headers of packed content, changed in its bytes: whatever is not named stays as it came, to the type of each number.

Taking the content apart and packing it again would not do that: a table of another client may hold types that have no
value of their own in Python. Layout: `u32 P | u16 flags | properties, the highest flag first | body`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from fastq._ext import envelope
from fastq.exceptions import FrameError

__all__ = ("revise",)

_HAS_CONTENT_TYPE, _HAS_ENCODING, _HAS_HEADERS, _HAS_EXPIRATION = 1 << 15, 1 << 14, 1 << 13, 1 << 8
_CONTINUED = 3
# Flag and width of the properties between the headers and the expiration; 0: a short string.
_BETWEEN = ((1 << 12, 1), (1 << 11, 1), (1 << 10, 0), (1 << 9, 0))
_WIDTHS = {**dict.fromkeys(b"V", 0), **dict.fromkeys(b"tbB", 1), **dict.fromkeys(b"sUu", 2), **dict.fromkeys(b"Iif", 4),
           **dict.fromkeys(b"D", 5), **dict.fromkeys(b"lLdT", 8)}
_LONG = b"SxAF"
_TABLE_AT = 10
"""Where the fields begin in content that has nothing but headers."""


def revise(
    content: bytes, add: Mapping[str, Any] | None = None, drop: tuple[str, ...] = (), *, keep_expiration: bool = True,
) -> bytes:
    """Return *content* with the headers of *add*, which replace those of the same name, and without some others.

    *drop* holds how the names of unwanted headers begin. Without *keep_expiration* the property is left out too, since
    a broker would drop the message that long after. Raises FrameError for malformed content, EncodeError for a value
    that has no form on the wire.

        revise(content, {"x-fastq-deaths": 2}, ("x-death",))
    """
    try:
        end = 4 + struct.unpack_from(">I", content)[0]
        return _revised(content, end, add or {}, tuple(start.encode() for start in drop), keep_expiration)
    except (IndexError, struct.error):
        raise FrameError(f"packed content of {len(content)} bytes ends inside its properties") from None


def _revised(
    content: bytes, end: int, add: Mapping[str, Any], drop: tuple[bytes, ...], keep_expiration: bool
) -> bytes:
    flags, = struct.unpack_from(">H", content, 4)
    if flags & _CONTINUED or end > len(content):
        raise FrameError("packed content, offset 4: expected the flags of basic properties and all their bytes")
    at = 6
    for flag in (_HAS_CONTENT_TYPE, _HAS_ENCODING):
        at += 1 + content[at] if flags & flag else 0
    head, fields = content[6:at], b""
    if flags & _HAS_HEADERS:
        size, = struct.unpack_from(">I", content, at)
        fields = _without(content, at + 4, at + 4 + size, end, {name.encode() for name in add}, drop)
        at += 4 + size
    fields += envelope.pack({}, dict(add), b"")[_TABLE_AT:] if add else b""
    tail = content[at:end]
    if flags & _HAS_EXPIRATION and not keep_expiration:
        tail = _without_expiration(tail, flags)
        flags &= ~_HAS_EXPIRATION
    table = struct.pack(">I", len(fields)) + fields
    if not fields and not flags & _HAS_HEADERS:
        table = b""
    flags |= _HAS_HEADERS if table else 0
    size = 2 + len(head) + len(table) + len(tail)
    return b"".join((struct.pack(">IH", size, flags), head, table, tail, content[end:]))


def _without(
    content: bytes, at: int, table_end: int, end: int, names: set[bytes], drop: tuple[bytes, ...]
) -> bytes:
    """Return the fields of a table but for those named, or beginning like one of *drop*."""
    if table_end > end:
        raise FrameError(f"packed content, offset {at - 4}: the table of headers ends behind the properties")
    kept, since = [], at
    while at < table_end:
        start = at
        name = content[at + 1:at + 1 + content[at]]
        at += 1 + len(name)
        tag = content[at]
        width = _WIDTHS.get(tag)
        if width is None:
            if tag not in _LONG:
                raise FrameError(f"packed content, offset {at}: expected a known type of value")
            width = 4 + struct.unpack_from(">I", content, at + 1)[0]
        at += 1 + width
        if name in names or (drop and name.startswith(drop)):
            kept.append(content[since:start])
            since = at
    if at != table_end:
        raise FrameError(f"packed content, offset {table_end}: a header ends behind its table")
    kept.append(content[since:table_end])
    return b"".join(kept)


def _without_expiration(tail: bytes, flags: int) -> bytes:
    at = 0
    for flag, width in _BETWEEN:
        at += (width or 1 + tail[at]) if flags & flag else 0
    return tail[:at] + tail[at + 1 + tail[at]:]
