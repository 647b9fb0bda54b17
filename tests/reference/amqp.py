"""AMQP 0-9-1 basic properties and field tables in plain Python, and the scan of a task message by way of them.

A typed value is a pair (tag, value): of a table the value is a list of (name, tag, value), of an array a list of typed
values, of a decimal (scale, unscaled), of a time the Unix seconds, of text and names the bytes.
"""

from __future__ import annotations

import math
import struct
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

FIXED = {
    "b": ">b", "B": ">B", "s": ">h", "U": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">q",
    "f": ">f", "d": ">d", "T": ">Q", "t": ">?",
}
INTEGERS = "bBsUuIilL"
PROPERTIES = (
    (15, "content_type", "short"), (14, "content_encoding", "short"), (13, "headers", "table"),
    (12, "delivery_mode", ">B"), (11, "priority", ">B"), (10, "correlation_id", "short"), (9, "reply_to", "short"),
    (8, "expiration", "short"), (7, "message_id", "short"), (6, "timestamp", ">Q"), (5, "type", "short"),
    (4, "user_id", "short"), (3, "app_id", "short"), (2, "cluster_id", "short"),
)


class Malformed(Exception):
    """The bytes make no sense."""


# --- typed values to bytes -------------------------------------------------------------------------------------------

def long(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + raw


def short(raw: bytes) -> bytes:
    return bytes([len(raw)]) + raw


def value(tag: str, it: Any) -> bytes:
    if tag == "V":
        payload = b""
    elif tag in "Sx":
        payload = long(it)
    elif tag == "A":
        payload = long(b"".join(value(*member) for member in it))
    elif tag == "F":
        payload = table(it)
    elif tag == "D":
        payload = struct.pack(">Bi", *it)
    else:
        payload = struct.pack(FIXED[tag], it)
    return tag.encode() + payload


def table(rows: list[Any]) -> bytes:
    return long(b"".join(short(name) + value(tag, it) for name, tag, it in rows))


def content(properties: dict[str, Any], headers: list[Any] | None, body: bytes) -> bytes:
    """Packed content; short strings are bytes, *headers* are typed rows."""
    flags, parts = 0, []
    for bit, name, form in PROPERTIES:
        it: Any = headers if name == "headers" else properties.get(name)
        if it is None:
            continue
        flags |= 1 << bit
        parts.append(table(it) if form == "table" else short(it) if form == "short" else struct.pack(form, it))
    return long(struct.pack(">H", flags) + b"".join(parts)) + body


# --- Python values to typed ones, as Celery's client types them -------------------------------------------------------

def typed(it: Any) -> tuple[str, Any]:
    if it is None:
        return "V", None
    if isinstance(it, bool):
        return "t", it
    if isinstance(it, int):
        return ("I" if abs(it) < 2**31 else "L"), it
    if isinstance(it, float):
        return "d", it
    if isinstance(it, (str, bytes)):
        return "S", it.encode() if isinstance(it, str) else it
    if isinstance(it, dict):
        return "F", typed_rows(it)
    if isinstance(it, (list, tuple)):
        return "A", [typed(member) for member in it]
    if isinstance(it, Decimal):
        scale = max(0, -int(it.as_tuple().exponent))
        return "D", (scale, int(it.scaleb(scale)))
    assert isinstance(it, datetime)
    aware = it.replace(tzinfo=timezone.utc) if it.tzinfo is None else it
    return "T", (aware - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(seconds=1)


def typed_rows(headers: dict[str, Any]) -> list[Any]:
    return [(name.encode("utf-8", "surrogateescape"), *typed(it)) for name, it in headers.items()]


# --- bytes to typed values -------------------------------------------------------------------------------------------

class Reader:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def take(self, n: int) -> bytes:
        if self.at + n > len(self.raw):
            raise Malformed(f"{n} bytes at {self.at}")
        self.at += n
        return self.raw[self.at - n:self.at]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def short(self) -> bytes:
        return self.take(self.number(">B"))

    def long(self) -> bytes:
        return self.take(self.number(">I"))

    def value(self, depth: int) -> tuple[str, Any]:
        tag = chr(self.number(">B"))
        if tag == "V":
            return tag, None
        if tag in "Sx":
            return tag, self.long()
        if tag in "AF":
            if depth > 64:
                raise Malformed("nested too deep")
            inner = Reader(self.long())
            return tag, inner.rows(depth) if tag == "F" else inner.members(depth)
        if tag == "D":
            return tag, (self.number(">B"), self.number(">i"))
        if tag == "t":
            return tag, self.number(">B") != 0
        if tag not in FIXED:
            raise Malformed(f"tag {tag!r}")
        it = self.number(FIXED[tag])
        if tag == "T" and it > 253402300799:
            raise Malformed("time out of range")
        return tag, it

    def members(self, depth: int) -> list[Any]:
        found = []
        while self.at < len(self.raw):
            found.append(self.value(depth + 1))
        return found

    def rows(self, depth: int) -> list[Any]:
        found = []
        while self.at < len(self.raw):
            found.append((self.short(), *self.value(depth + 1)))
        return found


def parse(raw: bytes) -> tuple[dict[str, Any], list[Any], bytes]:
    """The properties (short strings as bytes), the typed headers and the body of packed content."""
    whole = Reader(raw)
    listed = Reader(whole.long())
    flags = listed.number(">H")
    if flags & 3:
        raise Malformed("flags")
    properties: dict[str, Any] = {}
    headers: list[Any] = []
    for bit, name, form in PROPERTIES:
        if not flags & 1 << bit:
            continue
        if form == "table":
            headers = Reader(listed.long()).rows(1)
        else:
            properties[name] = listed.short() if form == "short" else listed.number(form)
    if listed.at != len(listed.raw):
        raise Malformed("left over")
    return properties, headers, raw[whole.at:]


# --- typed values to Python ones -------------------------------------------------------------------------------------

def plain(tag: str, it: Any) -> Any:
    if tag == "S":
        return text(it)
    if tag == "A":
        return [plain(*member) for member in it]
    if tag == "F":
        return plain_rows(it)
    if tag == "D":
        return Decimal(it[1]) / Decimal(10) ** it[0]
    if tag == "T":
        return datetime.fromtimestamp(it, timezone.utc)
    return it


def plain_rows(rows: list[Any]) -> dict[str, Any]:
    return {name.decode("utf-8", "surrogateescape"): plain(tag, it) for name, tag, it in rows}


def text(raw: bytes) -> Any:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


# --- what the worker's scan must find --------------------------------------------------------------------------------

TEXTS = {
    "task": (1024, 4), "id": (1024, 8), "eta": (64, 16), "expires": (64, 32), "root_id": (1024, 256),
    "parent_id": (1024, 256), "group": (1024, 256), "compression": (1024, 256),
}
COUNTS = {"retries": ("retries", 128), "x-fastq-deaths": ("deaths", 256)}


def scan(raw: bytes) -> dict[str, Any]:
    properties, headers, body = parse(raw)
    found: dict[str, Any] = dict.fromkeys(TEXTS)
    for name in ("content_type", "content_encoding", "reply_to", "correlation_id"):
        found[name] = text(properties[name]) if name in properties else None
    found.update(body=body, hard_s=None, soft_s=None, retries=0, deaths=0, ignore_result=None,
                 priority=properties.get("priority", 0), flags=0)
    for name, tag, it in headers:
        _scan_header(found, name.decode("utf-8", "surrogateescape"), tag, it)
    for name, bad in (("task", 4), ("id", 8)):
        if isinstance(found[name], bytes):
            found[name] = None
            found["flags"] |= bad if name == "task" else 0
    if found["task"] is None and not found["flags"] & 4:
        found["flags"] |= 1
    elif found["id"] is None:
        found["flags"] |= 8
    return found


def _scan_header(found: dict[str, Any], name: str, tag: str, it: Any) -> None:
    if name in TEXTS:
        limit, bad = TEXTS[name]
        good = tag == "S" and 0 < len(it) <= limit
        found[name] = text(it) if good else None
        found["flags"] |= 0 if good or tag == "V" else bad
    elif name in COUNTS:
        field, bad = COUNTS[name]
        good = tag in INTEGERS and 0 <= it < 2**31
        found[field] = it if good else 0
        found["flags"] |= 0 if good or tag == "V" else bad
    elif name == "ignore_result":
        found["ignore_result"] = bool(it) if tag == "t" or tag in INTEGERS else None
        found["flags"] |= 0 if tag == "t" or tag in INTEGERS or tag == "V" else 256
    elif name == "timelimit":
        limits = [_seconds(*member) for member in it] if tag == "A" else []
        good = len(limits) == 2 and -1 not in limits
        found["hard_s"], found["soft_s"] = limits if good else (None, None)
        found["flags"] |= 0 if good or tag == "V" else 64


def _seconds(tag: str, it: Any) -> Any:
    """A number >= 0, None for null, -1 for what may not stand there."""
    if tag == "V":
        return None
    if tag == "D":
        it = float(it[1]) / 10.0 ** it[0]
    elif tag not in INTEGERS and tag not in "fd":
        return -1
    return it if math.isfinite(it) and it >= 0 else -1
