"""The recorded messages of tests/vectors as values."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

VECTORS = Path(__file__).parents[1] / "vectors"
FRAME_HEADER, FRAME_BODY = 2, 3


class Recorded(NamedTuple):
    """One message that Celery published through AMQP; `content` is its packed form, as recorded."""

    case: str
    flags: int
    properties: dict[str, Any]
    headers: dict[str, Any]
    headers_typed: list[Any]
    decoded: Any
    body: bytes
    content: bytes


class Listed(NamedTuple):
    """One message that kombu gave to Redis; `raw` is the text of the list entry, or of what was published."""

    case: str
    raw: bytes
    envelope: dict[str, Any]


def load(case: str) -> Any:
    return json.loads((VECTORS / f"{case}.json").read_text())


def messages(*patterns: str) -> list[Recorded]:
    """All AMQP messages of the cases that match."""
    paths = sorted({path for pattern in patterns for path in VECTORS.glob(f"{pattern}.json")})
    return [found for path in paths for found in _messages(path.stem, json.loads(path.read_text()))]


def envelopes(*patterns: str) -> list[Listed]:
    """All messages of the cases that match, as they were given to Redis."""
    paths = sorted({path for pattern in patterns for path in VECTORS.glob(f"{pattern}.json")})
    return [found for path in paths for found in _envelopes(path.stem, json.loads(path.read_text()))]


def _envelopes(case: str, node: Any) -> Iterator[Listed]:
    if isinstance(node, dict):
        if isinstance(node.get("envelope"), dict) and "raw_b64" in node:
            yield Listed(case, base64.b64decode(node["raw_b64"]), node["envelope"])
        node = list(node.values())
    if isinstance(node, list):
        for member in node:
            yield from _envelopes(case, member)


def _messages(case: str, node: Any) -> Iterator[Recorded]:
    if isinstance(node, dict):
        if "frames_b64" in node and "headers_typed" in node:
            yield _recorded(case, node)
        node = list(node.values())
    if isinstance(node, list):
        for member in node:
            yield from _messages(case, member)


def _recorded(case: str, node: dict[str, Any]) -> Recorded:
    frames = list(_frames(base64.b64decode(node["frames_b64"])))
    body = b"".join(payload for kind, payload in frames if kind == FRAME_BODY)
    # A header frame: class id, weight, body size (12 bytes), then flags and properties.
    listed = next(payload for kind, payload in frames if kind == FRAME_HEADER)[12:]
    return Recorded(
        case, int(node["property_flags"], 16), node["properties"], node["headers"] or {}, node["headers_typed"] or [],
        node["body"], body, len(listed).to_bytes(4, "big") + listed + body,
    )


def _frames(raw: bytes) -> Iterator[tuple[int, bytes]]:
    while raw:
        end = 7 + int.from_bytes(raw[3:7], "big")
        yield raw[0], raw[7:end]
        raw = raw[end + 1:]
