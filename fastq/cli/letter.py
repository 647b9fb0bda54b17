"""A dead letter as text. Its body is opened only if the content type is accepted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from fastq._ext.envelope import unpack
from fastq.cli.output import printable
from fastq.exceptions import CeleryError, WireError
from fastq.types import DeadLetter
from fastq.wire.compression import decompress
from fastq.wire.serializers import loads

UNREADABLE = "(unreadable)"


class Letter(NamedTuple):
    """A dead letter, its packed content taken apart but its body not yet decoded."""

    id: int
    queue: str
    task: str
    task_id: str
    deaths: int
    died: str
    reason: str
    properties: dict[str, Any]
    headers: dict[str, Any]
    body: bytes

    def lines(self, accept: Iterable[str]) -> list[str]:
        """Write the letter down: why it died, its headers and its arguments, if *accept* lets the body be decoded."""
        rows = [
            ("dead letter", self.id), ("queue", self.queue), ("reason", self.reason), ("died", self.died),
            ("deaths", self.deaths), *sorted(self.headers.items()), *sorted(self.properties.items()),
            *self._body_rows(accept),
        ]
        return [*(f"{name:<20} {_shown(value)}" for name, value in rows), ""]

    def _body_rows(self, accept: Iterable[str]) -> list[tuple[str, object]]:
        packing = self.headers.get("compression")
        try:
            body = decompress(self.body, packing) if packing else self.body
            value = loads(body, self.properties.get("content_type"), self.properties.get("content_encoding"), accept)
        except CeleryError as error:
            return [("body", f"{len(self.body):,} bytes, not shown: {error}")]
        if not isinstance(value, (list, tuple)) or len(value) != 3:
            return [("body", value)]
        args, kwargs, then = value
        later = [(name, step) for name, step in then.items() if step] if isinstance(then, dict) else [("then", then)]
        return [("args", args), ("kwargs", kwargs), *later]


def read_letter(dead: DeadLetter) -> Letter:
    """Take *dead* apart; content that makes no sense is kept as the body and told as such."""
    try:
        properties, headers, body = unpack(dead.content)
    except WireError as error:
        properties, headers, body = {}, {"content": f"{UNREADABLE}: {error}"}, dead.content
    died = datetime.fromtimestamp(dead.died_at).astimezone().isoformat(" ", "seconds")
    return Letter(
        dead.id, dead.queue, str(headers.get("task", UNREADABLE)), str(headers.get("id", UNREADABLE)),
        dead.deaths, died, dead.reason, properties, headers, body,
    )


def _shown(value: object) -> str:
    if isinstance(value, str):
        return printable(value)
    try:
        return printable(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError):
        return printable(repr(value))
