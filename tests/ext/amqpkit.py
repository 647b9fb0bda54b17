"""What the tests of the AMQP codec share: recorded conversations, and ways to read a decoder empty."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from fastq._ext import amqp
from tests.reference import recorded

NAMES = {number: name for name, number in amqp.METHODS.items()}
CASES = sorted(path.stem for path in recorded.VECTORS.glob("amqp_raw_*.json"))
Named = tuple[int, str, tuple[Any, ...], Any]


def streams() -> list[tuple[str, bytes]]:
    """(case and direction, bytes) of each recorded half of a conversation, without the protocol header."""
    found = []
    for case in CASES:
        for number, stream in recorded.load(case)["raw_streams"].items():
            for side in ("client_to_broker", "broker_to_client"):
                raw = base64.b64decode(stream[f"{side}_b64"]).removeprefix(amqp.PROTOCOL_HEADER)
                found.append((f"{case} {number} {side}", raw))
    return found


def named(event: Any) -> Named:
    channel, number, args, content = event
    return channel, NAMES.get(number, ""), args, content


def drain(decoder: amqp.Decoder) -> Iterator[Named]:
    while (event := decoder.next()) is not None:
        yield named(event)


def plainly(it: Any) -> Any:
    """The same value, comparable: NaN equals itself, 1 is not True, and a decimal is its number."""
    if isinstance(it, (tuple, list)):
        return [plainly(member) for member in it]
    if isinstance(it, dict):
        return [(name, plainly(member)) for name, member in it.items()]
    return type(it), str(it.normalize()) if isinstance(it, Decimal) else repr(it)


def fed(raw: bytes, **options: Any) -> amqp.Decoder:
    decoder = amqp.Decoder(**options)
    decoder.feed(raw)
    return decoder
