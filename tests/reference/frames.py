"""AMQP 0-9-1 frames in slow, plain Python: the oracle of ext/amqp.pyx.

The decoder reads a whole stream at once and gives the events that the compiled one gives, delivery by delivery.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from tests.reference import amqp
from tests.reference.amqp import Malformed, Reader

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
Event = tuple[int, str, tuple[Any, ...], Any]

# The fields of the specification's XML, with RabbitMQ's additions; "-" is reserved.
SYNTAX = {
    "connection.start": (10, 10, "octet octet table longstr longstr"),
    "connection.start-ok": (10, 11, "table shortstr longstr shortstr"),
    "connection.secure": (10, 20, "longstr"),
    "connection.secure-ok": (10, 21, "longstr"),
    "connection.tune": (10, 30, "short long short"),
    "connection.tune-ok": (10, 31, "short long short"),
    "connection.open": (10, 40, "shortstr -shortstr -bit"),
    "connection.open-ok": (10, 41, "-shortstr"),
    "connection.close": (10, 50, "short shortstr short short"),
    "connection.close-ok": (10, 51, ""),
    "connection.blocked": (10, 60, "shortstr"),
    "connection.unblocked": (10, 61, ""),
    "connection.update-secret": (10, 70, "longstr shortstr"),
    "connection.update-secret-ok": (10, 71, ""),
    "channel.open": (20, 10, "-shortstr"),
    "channel.open-ok": (20, 11, "-longstr"),
    "channel.flow": (20, 20, "bit"),
    "channel.flow-ok": (20, 21, "bit"),
    "channel.close": (20, 40, "short shortstr short short"),
    "channel.close-ok": (20, 41, ""),
    "exchange.declare": (40, 10, "-short shortstr shortstr bit bit bit bit bit table"),
    "exchange.declare-ok": (40, 11, ""),
    "exchange.delete": (40, 20, "-short shortstr bit bit"),
    "exchange.delete-ok": (40, 21, ""),
    "exchange.bind": (40, 30, "-short shortstr shortstr shortstr bit table"),
    "exchange.bind-ok": (40, 31, ""),
    "exchange.unbind": (40, 40, "-short shortstr shortstr shortstr bit table"),
    "exchange.unbind-ok": (40, 51, ""),
    "queue.declare": (50, 10, "-short shortstr bit bit bit bit bit table"),
    "queue.declare-ok": (50, 11, "shortstr long long"),
    "queue.bind": (50, 20, "-short shortstr shortstr shortstr bit table"),
    "queue.bind-ok": (50, 21, ""),
    "queue.purge": (50, 30, "-short shortstr bit"),
    "queue.purge-ok": (50, 31, "long"),
    "queue.delete": (50, 40, "-short shortstr bit bit bit"),
    "queue.delete-ok": (50, 41, "long"),
    "queue.unbind": (50, 50, "-short shortstr shortstr shortstr table"),
    "queue.unbind-ok": (50, 51, ""),
    "basic.qos": (60, 10, "long short bit"),
    "basic.qos-ok": (60, 11, ""),
    "basic.consume": (60, 20, "-short shortstr shortstr bit bit bit bit table"),
    "basic.consume-ok": (60, 21, "shortstr"),
    "basic.cancel": (60, 30, "shortstr bit"),
    "basic.cancel-ok": (60, 31, "shortstr"),
    "basic.publish": (60, 40, "-short shortstr shortstr bit bit"),
    "basic.return": (60, 50, "short shortstr shortstr shortstr"),
    "basic.deliver": (60, 60, "shortstr longlong bit shortstr shortstr"),
    "basic.get": (60, 70, "-short shortstr bit"),
    "basic.get-ok": (60, 71, "longlong bit shortstr shortstr long"),
    "basic.get-empty": (60, 72, "-shortstr"),
    "basic.ack": (60, 80, "longlong bit"),
    "basic.reject": (60, 90, "longlong bit"),
    "basic.recover-async": (60, 100, "bit"),
    "basic.recover": (60, 110, "bit"),
    "basic.recover-ok": (60, 111, ""),
    "basic.nack": (60, 120, "longlong bit bit"),
    "confirm.select": (85, 10, "bit"),
    "confirm.select-ok": (85, 11, ""),
    "tx.select": (90, 10, ""),
    "tx.select-ok": (90, 11, ""),
    "tx.commit": (90, 20, ""),
    "tx.commit-ok": (90, 21, ""),
    "tx.rollback": (90, 30, ""),
    "tx.rollback-ok": (90, 31, ""),
}
NAMES = {(family, method): name for name, (family, method, _) in SYNTAX.items()}
CARRIERS = ("basic.publish", "basic.return", "basic.deliver", "basic.get-ok")
NUMBERS = {"octet": ">B", "short": ">H", "long": ">I", "longlong": ">Q"}
ZERO = {"octet": 0, "short": 0, "long": 0, "longlong": 0, "shortstr": "", "longstr": "", "bit": False}


# --- to bytes --------------------------------------------------------------------------------------------------------

def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(channel: int, name: str, *args: Any) -> bytes:
    family, number, syntax = SYNTAX[name]
    left = list(args)
    parts, bits = [struct.pack(">HH", family, number)], ""
    for field in [*syntax.split(), "end"]:
        kind = field.removeprefix("-")
        value = None if field == "end" else ZERO[kind] if field != kind else left.pop(0)
        if kind == "bit":
            bits = ("1" if value else "0") + bits
            continue
        if bits:
            parts.append(bytes([int(bits, 2)]))
            bits = ""
        if kind in NUMBERS:
            parts.append(struct.pack(NUMBERS[kind], value))
        elif kind == "table":
            parts.append(amqp.table(amqp.typed_rows(value)))
        elif kind != "end":
            raw = value.encode() if isinstance(value, str) else value
            parts.append(amqp.short(raw) if kind == "shortstr" else amqp.long(raw))
    assert not left
    return frame(METHOD, channel, b"".join(parts))


def content(channel: int, packed: bytes, part: int) -> bytes:
    """A HEADER frame and BODY frames of *part* bytes each."""
    listed = Reader(packed).long()
    body = packed[4 + len(listed):]
    return frame(HEADER, channel, struct.pack(">HHQ", 60, 0, len(body)) + listed) + b"".join(
        frame(BODY, channel, body[at:at + part]) for at in range(0, len(body), part))


# --- to values -------------------------------------------------------------------------------------------------------

def frames(raw: bytes, frame_max: int) -> Iterator[tuple[int, int, bytes]]:
    """The complete frames of *raw*; Malformed as soon as one cannot be."""
    at = 0
    while len(raw) - at >= 7:
        kind, channel, n = struct.unpack_from(">BHI", raw, at)
        if kind not in (METHOD, HEADER, BODY, HEARTBEAT) or n + 8 > frame_max:
            raise Malformed("frame")
        if len(raw) - at < n + 8:
            return
        if raw[at + 7 + n] != 0xCE:
            raise Malformed("end")
        yield kind, channel, raw[at + 7:at + 7 + n]
        at += n + 8


def arguments(name: str, read: Reader) -> tuple[Any, ...]:
    found, bits, used = [], 0, 8
    for field in SYNTAX[name][2].split():
        kind = field.removeprefix("-")
        if kind == "bit":
            if used == 8:
                bits, used = read.number(">B"), 0
            value: Any = bool(bits >> used & 1)
            used += 1
        else:
            used = 8
            if kind in NUMBERS:
                value = read.number(NUMBERS[kind])
            elif kind == "table":
                value = amqp.plain_rows(Reader(read.long()).rows(1))
            elif kind == "shortstr":
                value = read.short().decode("utf-8", "surrogateescape")
            else:
                value = amqp.text(read.long())
        if field == kind:
            found.append(value)
    if read.at != len(read.raw):
        raise Malformed("left over")
    return tuple(found)


def events(raw: bytes, frame_max: int = 131072, max_content: int = 512 << 20) -> Iterator[Event]:
    """(channel, method name, arguments, packed content or None); Malformed after what was good. "" is a heartbeat."""
    waiting: dict[int, list[Any]] = {}
    for kind, channel, payload in frames(raw, frame_max):
        pending = waiting.get(channel)
        read = Reader(payload)
        if kind == HEARTBEAT:
            if channel or payload:
                raise Malformed("heartbeat")
            yield 0, "", (), None
        elif kind == METHOD:
            name = NAMES.get((read.number(">H"), read.number(">H")))
            if name is None or pending or (channel == 0) != name.startswith("connection."):
                raise Malformed("method")
            args = arguments(name, read)
            if name in CARRIERS:
                waiting[channel] = [name, args]
            else:
                yield channel, name, args, None
        elif pending is None or (len(pending) == 2) != (kind == HEADER):
            raise Malformed("out of order")
        elif kind == HEADER:
            if read.number(">I") != 60 << 16 or (size := read.number(">Q")) > max_content or len(payload) < 14:
                raise Malformed("header")
            pending += [amqp.long(payload[12:]), size]
        elif len(payload) > pending[3]:
            raise Malformed("body")
        else:
            pending[2] += payload
            pending[3] -= len(payload)
        if pending is not None and len(pending) == 4 and pending[3] == 0:
            del waiting[channel]
            yield channel, pending[0], pending[1], pending[2]
