"""Messages as values: packed content taken apart, what is wrong with it, and the older task protocol 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fastq._ext import envelope
from fastq.exceptions import InvalidTaskError
from fastq.wire import compression, serializers

__all__ = ("Content", "Task", "defects", "parse_v1", "upgrade")

# Headers that the body of a protocol 1 message may carry. The newer ones occur in hybrids.
_V1_FIELDS = (
    "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
    "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
    "stamps",
)
_DEFECTS = {
    envelope.SCAN_BAD_TASK: "task is no usable name",
    envelope.SCAN_BAD_ID: "id is missing or no usable text",
    envelope.SCAN_BAD_ETA: "eta is no text of a time",
    envelope.SCAN_BAD_EXPIRES: "expires is no text of a time",
    envelope.SCAN_BAD_TIMELIMIT: "timelimit is no pair of hard and soft seconds",
    envelope.SCAN_BAD_RETRIES: "retries is no count",
    envelope.SCAN_BAD_OTHER: "root_id, parent_id, group, compression or ignore_result has a wrong type",
}


class Content(NamedTuple):
    """The three parts of packed content.

    >>> Content.parse(Content({}, {"task": "proj.add", "id": "1"}, b"[[], {}, {}]").build()).headers["task"]
    'proj.add'
    """

    properties: dict[str, Any]
    headers: dict[str, Any]
    body: bytes

    @classmethod
    def parse(cls, content: bytes) -> Content:
        """Take packed content apart. Raises FrameError."""
        return cls(*envelope.unpack(content))

    def build(self) -> bytes:
        """Pack the parts. Raises EncodeError."""
        return envelope.pack(*self)


class Task(NamedTuple):
    """A task message with its body decoded, in the terms of protocol 2."""

    headers: dict[str, Any]
    args: list[Any] | tuple[Any, ...]
    kwargs: dict[str, Any]
    embed: dict[str, Any]


def defects(flags: int) -> str:
    """Say in words which ``SCAN_BAD_*`` are among *flags*; empty if none is.

    >>> defects(scan(content)["flags"])
    'eta is no text of a time'
    """
    return "; ".join(words for bit, words in _DEFECTS.items() if flags & bit)


def parse_v1(body: Any, headers: Mapping[str, Any] | None = None) -> Task:
    """Read a protocol 1 message, whose decoded *body* is one mapping, as one of protocol 2.

    With *headers* it is a hybrid: arguments and callbacks come from the body, all else from the headers where they
    have it. Raises InvalidTaskError.

    >>> parse_v1({"task": "proj.add", "id": "1", "args": [2, 3]}).args
    [2, 3]
    """
    if not isinstance(body, Mapping):
        raise InvalidTaskError(f"the body of a protocol 1 message is a mapping, not {type(body).__name__}")
    merged = {name: body[name] for name in _V1_FIELDS if name in body}
    if merged.get("group") is None:
        merged["group"] = body.get("taskset")
    merged = {"retries": 0, "timelimit": [None, None], **merged, **(headers or {})}
    for name in ("task", "id"):
        if not isinstance(merged.get(name), str) or not merged[name]:
            raise InvalidTaskError(f"the message has no {name}")
    args, kwargs = body.get("args", []), body.get("kwargs", {})
    if not isinstance(args, (list, tuple)):
        raise InvalidTaskError(f"the arguments must be a list, not {type(args).__name__}")
    if not isinstance(kwargs, Mapping):
        raise InvalidTaskError(f"the keyword arguments must be a mapping, not {type(kwargs).__name__}")
    # Protocol 1 has no chain: the rest of one is nested in the callbacks.
    embed = {name: body.get(name) for name in ("callbacks", "errbacks", "chain", "chord")}
    return Task(merged, args, dict(kwargs), embed)


_DATA_ONLY = ("json", "msgpack", "yaml")
"""Serializers whose bodies are data: whoever upgrades a message must not run code for it."""


def upgrade(content: bytes) -> bytes:
    """Return a packed protocol 1 message as one of protocol 2.

    Raises InvalidTaskError when it is none, DecodeError or ContentDisallowed when its body cannot be opened; a pickle
    is never opened here.
    """
    properties, headers, body = envelope.unpack(content)
    encoding = str(headers.pop("compression", None) or "")
    if encoding:
        body = compression.decompress(body, encoding)
    kind = str(properties.get("content_type") or "application/data")
    charset = str(properties.get("content_encoding") or "utf-8")
    task = parse_v1(serializers.loads(body, kind, charset, _DATA_ONLY), headers)
    name = next(name for name in _DATA_ONLY if kind in serializers.content_types((name,)))
    body = serializers.dumps([task.args, task.kwargs, task.embed], name)[2]
    return envelope.pack(properties, {key: value for key, value in task.headers.items() if value is not None}, body)
