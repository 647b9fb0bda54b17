"""kombu's envelope in plain Python: json and base64 on one side, typed values of tests.reference.amqp on the other."""

from __future__ import annotations

import base64
import json
from calendar import timegm
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from tests.reference import amqp

TEXTS = {
    "correlation_id": "correlation_id", "reply_to": "reply_to", "expiration": "expiration", "message_id": "message_id",
    "type": "type", "user_id": "user_id", "app_id": "app_id", "cluster_id": "cluster_id",
}
WRITTEN = (
    "correlation_id", "reply_to", "message_id", "app_id", "type", "timestamp", "user_id", "cluster_id", "delivery_mode",
    "expiration",
)


class Malformed(Exception):
    """No envelope."""


class Pairs(list):  # type: ignore[type-arg]
    """A JSON object with all its members: of equal names a table keeps each."""

    def last(self) -> dict[str, Any]:
        return dict(self)


# --- packed content to an envelope -----------------------------------------------------------------------------------

def dump(content: bytes, exchange: str, routing_key: str, delivery_tag: str) -> bytes:
    properties, rows, body = amqp.parse(content)

    def text(name: str) -> Any:
        return properties[name].decode("utf-8", "surrogateescape") if name in properties else None

    listed = [(name, properties[name] if isinstance(properties[name], int) else text(name))
              for name in WRITTEN if name in properties]
    whole = Pairs([
        ("body", base64.b64encode(body).decode()), ("content-encoding", text("content_encoding")),
        ("content-type", text("content_type")), ("headers", Pairs((_name(n), _plain(t, v)) for n, t, v in rows)),
        ("properties", Pairs([
            *listed, ("delivery_info", Pairs([("exchange", exchange), ("routing_key", routing_key)])),
            ("priority", properties.get("priority", 0)), ("body_encoding", "base64"), ("delivery_tag", delivery_tag),
        ])),
    ])
    return _dumps(whole).encode()


def _name(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _dumps(it: Any) -> str:
    if isinstance(it, Pairs):
        return "{" + ", ".join(f"{json.dumps(name)}: {_dumps(member)}" for name, member in it) + "}"
    if isinstance(it, list):
        return "[" + ", ".join(map(_dumps, it)) + "]"
    return json.dumps(it)


def _plain(tag: str, it: Any) -> Any:
    if tag == "F":
        return Pairs((_name(n), _plain(t, v)) for n, t, v in it)
    if tag == "A":
        return [_plain(*member) for member in it]
    if tag in "Sx":
        return _octets(tag, it)
    if tag == "T":
        return _typed("datetime", datetime.fromtimestamp(it, timezone.utc).isoformat())
    return _typed("decimal", str(Decimal(f"{it[1]}e-{it[0]}"))) if tag == "D" else it


def _typed(name: str, value: str) -> Pairs:
    return Pairs([("__type__", name), ("__value__", value)])


def _octets(tag: str, raw: bytes) -> Any:
    try:
        return raw.decode() if tag == "S" else _typed("bytes", raw.decode())
    except UnicodeDecodeError:
        return _typed("base64", base64.b64encode(raw).decode())


# --- an envelope to packed content -----------------------------------------------------------------------------------

def parse(envelope: bytes) -> bytes:
    try:
        whole = json.loads(envelope.decode(), object_pairs_hook=Pairs)
    except (ValueError, RecursionError) as error:
        raise Malformed("no JSON") from error
    if not isinstance(whole, Pairs) or not {"body", "headers"} & whole.last().keys():
        raise Malformed("no envelope")
    for name, value in whole:               # members that a later one replaces must be in order as well
        _check(name, value)
    top = whole.last()
    given: dict[str, Any] = top.get("properties", Pairs()).last()
    properties = {target: raw for name, target in TEXTS.items() if (raw := _short(given.get(name))) is not None}
    for name, target in (("content-type", "content_type"), ("content-encoding", "content_encoding")):
        if (raw := _short(top.get(name))) is not None:
            properties[target] = raw
    for name in ("delivery_mode", "priority"):
        octets = [v for key, v in top.get("properties", Pairs()) if key == name]
        if octets and isinstance(octets[-1], int) and not isinstance(octets[-1], bool):
            properties[name] = min(max(octets[-1], 0), 255)
    if (seconds := _seconds(given.get("timestamp"))) is not None:
        properties["timestamp"] = seconds
    headers = top.get("headers")
    rows = None if headers is None else [(_raw_name(name), *typed(value, 1)) for name, value in headers]
    info = given.get("delivery_info")
    if rows and isinstance(info, Pairs) and info.last().get("redelivered") is True:
        rows = _unmarked(rows)
    try:
        return amqp.content(properties, rows, _body(top.get("body"), _short(given.get("body_encoding"), 10**6)))
    except ValueError as error:             # a length of more than an octet
        raise Malformed(str(error)) from error


def _unmarked(rows: list[Any]) -> list[Any]:
    """Without kombu's mark, if the last header of its name is one."""
    at = max((i for i, row in enumerate(rows) if row[0] == b"redelivered"), default=None)
    if at is not None and rows[at][1:] == ("t", True):
        return rows[:at] + rows[at + 1:]
    return rows


def _check(name: str, value: Any) -> None:
    if name == "headers" and value is not None:
        if not isinstance(value, Pairs):
            raise Malformed(name)
        for inner, member in value:
            _raw_name(inner)
            typed(member, 1)
    elif name == "properties":
        if not isinstance(value, Pairs):
            raise Malformed(name)
        for inner, member in value:
            if inner in TEXTS or inner == "body_encoding":
                _short(member, 10**6)
            elif inner == "timestamp":
                _seconds(member)
    elif name in ("content-type", "content-encoding"):
        _short(value, 10**6)
    elif name == "body" and value is not None and not isinstance(value, str):
        raise Malformed(name)


def _raw(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise Malformed("a lone surrogate") from error


def _raw_name(text: str) -> bytes:
    raw = _raw(text)
    if len(raw) > 255:
        raise Malformed("a long name")
    return raw


def _short(it: Any, limit: int = 255) -> bytes | None:
    if it is None:
        return None
    if isinstance(it, (int, float)) and not isinstance(it, bool):
        return json.dumps(it).encode()      # of the same text, for the numbers that the tests use
    if not isinstance(it, str):
        raise Malformed("no text")
    raw = _raw(it) if limit == 255 else it.encode("utf-8", "surrogatepass")
    if len(raw) > limit:
        raise Malformed("a long text")
    return raw


def _seconds(it: Any) -> int | None:
    if it is None:
        return None
    if isinstance(it, Pairs):
        found = it.last()
        value = _special(found["__type__"], found["__value__"]) if {"__type__", "__value__"} <= found.keys() else None
        if isinstance(value, datetime) and timegm(value.utctimetuple()) >= 0:
            return timegm(value.utctimetuple())
    elif isinstance(it, int) and not isinstance(it, bool) and 0 <= it < 2**64:
        return it
    elif isinstance(it, float) and 0 <= it < 1.8e19:
        return int(it)
    raise Malformed("no time")


def _body(text: str | None, encoding: bytes | None) -> bytes:
    if not text:
        return b""
    if not encoding or encoding.lower() == b"utf-8":
        return _raw(text)
    if encoding != b"base64":
        raise Malformed("an unknown encoding")
    try:
        return base64.b64decode(_raw(text))
    except ValueError as error:
        raise Malformed("no base64") from error


def typed(it: Any, depth: int) -> tuple[str, Any]:
    if isinstance(it, (Pairs, list)) and depth >= 64:
        raise Malformed("nested too deep")
    if isinstance(it, Pairs):
        rows = [(_raw_name(name), *typed(member, depth + 1)) for name, member in it]
        found = it.last()
        if found.keys() == {"__type__", "__value__"}:
            return _as_typed(_special(found["__type__"], found["__value__"])) or ("F", rows)
        return "F", rows
    if isinstance(it, list):
        return "A", [typed(member, depth + 1) for member in it]
    if isinstance(it, str):
        return "S", _raw(it)
    if isinstance(it, int) and not -(2**63) <= it < 2**63:
        raise Malformed("a big integer")
    return amqp.typed(it)


def _special(kind: Any, value: Any) -> Any:
    try:
        if kind == "bytes":
            return value.encode()
        if kind == "base64":
            return base64.b64decode(value.encode())
        if kind == "datetime":
            return datetime.fromisoformat(value.removesuffix("Z") + "+00:00" if value.endswith("Z") else value)
        return Decimal(value) if kind == "decimal" else None
    except (ValueError, TypeError, AttributeError, ArithmeticError):
        return None


def _as_typed(value: Any) -> tuple[str, Any] | None:
    if isinstance(value, bytes):
        return "x", value
    if isinstance(value, datetime):
        seconds = timegm(value.utctimetuple())
        return ("T", seconds) if seconds >= 0 else None
    if not isinstance(value, Decimal) or not value.is_finite():
        return None
    sign, digits, exponent = value.as_tuple()
    unscaled = int("".join(map(str, digits))) * 10 ** max(int(exponent), 0) if -255 <= int(exponent) <= 9 else 2**31
    if unscaled >= 2**31:
        return None
    return "D", (max(0, -int(exponent)), -unscaled if sign else unscaled)
