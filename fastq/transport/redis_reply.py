"""hiredis, as it is used here: what parses replies, and what its values are called. Values are bytes, never decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastq.exceptions import ConfigError, ConnectionLost

try:
    import hiredis
except ImportError as error:
    raise ConfigError("Redis needs hiredis, which is not installed: pip install 'fastq[redis]'") from error

NOTHING: Any = type("Nothing", (), {"__repr__": lambda _: "NOTHING", "__bool__": lambda _: False})()
"""In the place of a reply that is not there as a whole; None is a reply."""

Push = hiredis.PushNotification
"""A list that the server sent unasked, with protocol 3."""
ReplyError = hiredis.ReplyError
"""An error as the server said it; a value, until somebody raises what it means."""
pack: Callable[[tuple[bytes | str | int | float, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
"""One command as it goes over the wire."""


def make_reader(kept_bytes: int) -> Any:
    """Make a parser that keeps an empty buffer up to *kept_bytes*, and raises ConnectionLost for what is no reply."""
    reader = hiredis.Reader(notEnoughData=NOTHING, protocolError=ConnectionLost, replyError=ReplyError)
    reader.setmaxbuf(kept_bytes)
    return reader
