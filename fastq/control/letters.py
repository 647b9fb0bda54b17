"""Requests to workers and their answers, as messages, in the form that kombu's pidbox gives them."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fastq._ext import envelope
from fastq.exceptions import DecodeError
from fastq.wire import serializers


class Request(NamedTuple):
    """What a worker is asked: a command with arguments, for whom, and where to send the answer.

    *destination* names nodes; without it *pattern* says which, as *matcher* ("glob" or "pcre") reads it; else all.
    """

    method: str
    arguments: Mapping[str, Any]
    destination: Sequence[str] | None = None
    pattern: str | None = None
    matcher: str | None = None
    ticket: str | None = None
    reply_to: tuple[str, str] | None = None
    """(exchange, routing key)."""

    def is_for(self, node: str) -> bool:
        """Tell whether the worker *node* is asked."""
        if self.destination:
            return node in self.destination
        if self.pattern:
            if self.matcher == "pcre":
                return re.match(self.pattern, node) is not None
            return fnmatch.fnmatchcase(node, self.pattern)
        return True


def pack_request(request: Request, timeout_s: float = 0.0, serializer: str = "json") -> bytes:
    """Pack *request*; *timeout_s* is how long its answers are waited for."""
    body: dict[str, Any] = {
        "method": request.method, "arguments": dict(request.arguments),
        "destination": list(request.destination) if request.destination else None,
        "pattern": request.pattern, "matcher": request.matcher,
    }
    if request.ticket and request.reply_to:
        exchange, address = request.reply_to
        body.update(ticket=request.ticket, reply_to={"exchange": exchange, "routing_key": address})
    expires = time.time() + timeout_s if timeout_s else 0
    return _pack(body, {"clock": 0, "expires": expires}, serializer, delivery_mode=2)


def read_request(content: bytes, accept: Iterable[str]) -> Request:
    """Unpack a request. Raises DecodeError, also for what is none, and ContentDisallowed."""
    _, body = _unpack(content, accept)
    if not isinstance(body, dict) or not isinstance(body.get("method"), str):
        raise DecodeError(f"no request of remote control: {str(body)[:200]}")
    reply_to = body.get("reply_to") or {}
    address = (reply_to.get("exchange"), reply_to.get("routing_key")) if isinstance(reply_to, dict) else (None, None)
    arguments, ticket = body.get("arguments"), body.get("ticket")
    destination = body.get("destination")
    return Request(
        body["method"], arguments if isinstance(arguments, dict) else {},
        [destination] if isinstance(destination, str) else destination, body.get("pattern"), body.get("matcher"),
        ticket, address if ticket and all(isinstance(part, str) for part in address) else None)  # type: ignore[arg-type]


def pack_answer(node: str, value: Any, ticket: str | None, serializer: str = "json") -> bytes:
    """Pack what *node* answers."""
    return _pack({node: value}, {"ticket": ticket, "clock": 0}, serializer, delivery_mode=1)


def read_answer(content: bytes, accept: Iterable[str]) -> tuple[str | None, dict[str, Any]]:
    """Unpack an answer: (ticket, {node: value}). Raises DecodeError."""
    headers, body = _unpack(content, accept)
    if not isinstance(body, dict):
        raise DecodeError(f"no answer of remote control: {str(body)[:200]}")
    return headers.get("ticket"), body


def _pack(body: Any, headers: Mapping[str, Any], serializer: str, *, delivery_mode: int) -> bytes:
    content_type, content_encoding, raw = serializers.dumps(body, serializer)
    return envelope.pack({"content_type": content_type, "content_encoding": content_encoding,
                          "delivery_mode": delivery_mode, "priority": 0}, dict(headers), raw)


def _unpack(content: bytes, accept: Iterable[str]) -> tuple[dict[str, Any], Any]:
    properties, headers, raw = envelope.unpack(content)
    return headers, serializers.loads(raw, properties.get("content_type"), properties.get("content_encoding"),
                                      serializers.content_types(accept))
