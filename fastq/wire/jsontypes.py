"""JSON as kombu writes it: plain JSON, and an envelope for the values that JSON does not know.

An envelope is an object with exactly the keys ``__type__`` and ``__value__``; the table below
is kombu's. A user's mapping of that very shape is not escaped: it comes out as the special type.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache
from operator import methodcaller
from typing import Any, NamedTuple
from uuid import UUID

from fastq._ext import envelope
from fastq.exceptions import DecodeError

__all__ = ("dumps", "loads", "register_type", "unregister_type")

_TYPE, _VALUE = "__type__", "__value__"
# The marker, spelled plainly or with any of its characters as a \u escape: a decoder without the hook would miss it.
_MARKER = b'"__type__"'
_ESCAPED_MARKER = re.compile(rb"\\u00(?:5[fF]|7[049]|65)")


class _Encoding(NamedTuple):
    marker: str | None
    encode: Callable[[Any], Any]


# Looked through in this order, by isinstance: a datetime is a date too.
_encodings: dict[type, _Encoding] = {}
_decoders: dict[str, Callable[[Any], Any]] = {}


def register_type(
    cls: type, marker: str | None, encoder: Callable[[Any], Any], decoder: Callable[[Any], Any] | None = None
) -> None:
    """Let JSON carry values of *cls*, and of its subclasses.

    *encoder* turns a value into one that JSON knows, *decoder* turns that back. With *marker* None the value
    is written bare, and comes out as whatever *encoder* made of it. Registering a class again replaces it.
    Raises ValueError when *marker* is given without *decoder*.

        register_type(timedelta, "timedelta", timedelta.total_seconds, lambda s: timedelta(seconds=s))
    """
    if marker is not None and decoder is None:
        raise ValueError(f"type {cls.__name__!r} has the marker {marker!r} but no decoder: nobody could read it")
    _encodings[cls] = _Encoding(marker, encoder)
    if marker is not None and decoder is not None:
        _decoders[marker] = decoder


def unregister_type(cls: type) -> None:
    """Forget *cls*: its values are errors again, and so is its marker. Raises KeyError when it is not registered."""
    marker = _encodings.pop(cls).marker
    if marker is not None:
        _decoders.pop(marker, None)


def dumps(value: Any) -> bytes:
    """Encode *value*: ASCII, separators ", " and ": ", NaN and Infinity bare.

    Raises TypeError, ValueError or RecursionError, as the standard library does.
    """
    # The compiled writer knows plain values only, and says None at anything else.
    body = envelope.dumps(value)
    return _encode(value).encode("ascii") if body is None else body


def loads(body: bytes) -> Any:
    """Decode *body*, a UTF-8 text. Raises ValueError, TypeError or RecursionError, or DecodeError at an unknown marker.

    Duplicate keys: the last one wins. Integers have any size that int() takes from text.
    """
    if _MARKER not in body and (b"\\u00" not in body or _ESCAPED_MARKER.search(body) is None):
        decode, refusals = _plain_decoder()
        try:
            return decode(body)
        except refusals:
            pass  # NaN, 1e400, a lone surrogate: JSON to Celery. Else the decoder below says what is wrong.
    return _decode(str(body, "utf-8"))


@cache
def _plain_decoder() -> tuple[Callable[[bytes], Any], tuple[type[Exception], ...]]:
    # Three times as fast as the standard library. Never used to encode: it writes NaN as null and sets as lists.
    import msgspec  # noqa: PLC0415  26 ms that only a reader pays

    return msgspec.json.Decoder().decode, (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _default(value: Any) -> Any:
    reduce = getattr(value, "__json__", None)
    if reduce is not None:
        return reduce()
    for cls, (marker, encode) in _encodings.items():
        if isinstance(value, cls):
            return encode(value) if marker is None else {_TYPE: marker, _VALUE: encode(value)}
    if isinstance(value, bytes):
        return _bytes_envelope(value)
    if hasattr(type(value), "_proxy____cast"):  # what every lazy string of Django has, whichever version
        return str(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _bytes_envelope(value: bytes) -> dict[str, str]:
    try:
        return {_TYPE: "bytes", _VALUE: value.decode("utf-8")}
    except UnicodeDecodeError:
        return {_TYPE: "base64", _VALUE: b64encode(value).decode("ascii")}


def _object_hook(value: dict[str, Any]) -> Any:
    if len(value) != 2 or _TYPE not in value or _VALUE not in value:
        return value
    marker = value[_TYPE]
    decode = _decoders.get(marker) if isinstance(marker, str) else None
    if decode is None:
        raise DecodeError(
            f"unknown JSON type {marker!r} (known: {', '.join(sorted(_decoders))}); "
            "register it with fastq.wire.jsontypes.register_type"
        )
    return decode(value[_VALUE])


_encode = json.JSONEncoder(default=_default).encode
_decode = json.JSONDecoder(object_hook=_object_hook).decode


def _from_iso(text: str) -> str:
    # Python 3.10 reads no Z.
    return f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text


_isoformat = methodcaller("isoformat")
register_type(datetime, "datetime", _isoformat, lambda text: datetime.fromisoformat(_from_iso(text)))
register_type(date, "date", _isoformat, lambda text: datetime.fromisoformat(_from_iso(text)).date())
register_type(time, "time", _isoformat, lambda text: time.fromisoformat(_from_iso(text)))
register_type(Decimal, "decimal", str, Decimal)
register_type(UUID, "uuid", lambda value: {"hex": value.hex}, lambda fields: UUID(**fields))
# bytes are written under one of two markers, so they stand outside the table; who registers them overrides that.
_decoders["bytes"] = methodcaller("encode", "utf-8")
_decoders["base64"] = b64decode
