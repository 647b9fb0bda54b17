"""What a run leaves besides its outcome, packed for the way from the child to the supervisor.

The layout stands in ext/effects.pxd; the reader is compiled (`fastq._ext.ring.parse_effects`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

import msgspec

from fastq.types import Message, Part

_NAME = struct.Struct("=H")
_DATA = struct.Struct("=I")
_PUBLISH = struct.Struct("=cBd")
_REST = msgspec.msgpack.Decoder(tuple[str, int | None, str, bytes, str | None, bytes])


def pack_result(task_id: str, state: str, meta: bytes) -> bytes:
    """Pack a result to store."""
    name, word = task_id.encode(), state.encode()
    return b"R" + bytes((len(word),)) + word + _NAME.pack(len(name)) + name + _DATA.pack(len(meta)) + meta


def pack_verdict(why: str) -> bytes:
    """Pack why a run is over, for the child that follows it up; the text is cut at 240 bytes."""
    text = why.encode(errors="replace")[:240].decode(errors="ignore")
    return pack_reason(text)


def pack_message(message: Message) -> bytes:
    """Pack a message to publish together with the ack."""
    queue = message.queue.encode()
    exchange = message.exchange.encode()
    run_at = math.nan if message.run_at is None else message.run_at
    return (_PUBLISH.pack(b"P", message.priority, run_at) + _NAME.pack(len(exchange)) + exchange
            + _NAME.pack(len(queue)) + queue + _DATA.pack(len(message.content)) + message.content)


def pack_part(part: Part) -> bytes:
    """Pack what a member of a chord leaves."""
    group_id, *rest = part
    name, data = group_id.encode(), msgspec.msgpack.encode(rest)
    return b"C\0" + _NAME.pack(len(name)) + name + _DATA.pack(len(data)) + data


def parts_of(chords: Iterable[tuple[str, int, bytes]]) -> tuple[list[Part], list[str]]:
    """Return the parts, and the chords whose bodies are sent, of what the ring found."""
    parts, joined = [], []
    for group_id, is_joined, data in chords:
        if is_joined:
            joined.append(group_id)
        else:
            parts.append(Part(group_id, *_REST.decode(data)))
    return parts, joined


def pack_joined(group_id: str) -> bytes:
    """Pack that the body of a chord is among the messages."""
    name = group_id.encode()
    return b"C\1" + _NAME.pack(len(name)) + name + _DATA.pack(0)


def pack_reason(reason: str) -> bytes:
    """Pack why the message is to be dead-lettered; the text is cut at 1,000 characters."""
    text = reason[:1000].encode(errors="replace")
    return b"W\0" + _NAME.pack(len(text)) + text + _DATA.pack(0)
