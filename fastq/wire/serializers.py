"""Serializers by name and by content type, and the list of those that a consumer accepts.

A body whose content type is not accepted is never opened. What cannot be encoded or decoded ends in an
EncodeError or DecodeError that names the value, where it is, and what to do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from fastq.exceptions import ConfigError, ContentDisallowed, DecodeError, EncodeError, SoftTimeLimitExceeded
from fastq.saferepr import saferepr
from fastq.wire import jsontypes

__all__ = ("Codec", "Serializers", "content_types", "dumps", "loads", "register", "registry", "unregister")

# Let through to whoever consumes, without calling a decoder, whatever the accept list says.
PASSED_THROUGH = frozenset({"application/data", "application/text"})
# Content encodings that name no charset.
_NO_CHARSET = frozenset({"binary", "ascii-8bit"})
# How much of a value or body an error shows, and how far it looks for the culprit.
_SHOWN = 80
_DEEPEST_PATH = 16
_MOST_ATTEMPTS = 10_000
_DEEPEST = 10_000


class Codec(NamedTuple):
    """One serializer. *encode* may return text, which is then encoded as *content_encoding* says."""

    name: str
    content_type: str
    content_encoding: str
    encode: Callable[[Any], bytes | str]
    decode: Callable[[bytes], Any]


class Serializers:
    """A registry of serializers; `registry` is the one that all of fastq shares."""

    def __init__(self, codecs: Iterable[Codec] = ()) -> None:
        self._by_name: dict[str, Codec] = {}
        self._by_type: dict[str, Codec] = {}
        for codec in codecs:
            self.register(codec.name, codec.encode, codec.decode, codec.content_type, codec.content_encoding)

    def register(
        self,
        name: str,
        encoder: Callable[[Any], bytes | str],
        decoder: Callable[[bytes], Any],
        content_type: str,
        content_encoding: str = "utf-8",
    ) -> None:
        """Add a serializer, or replace the one of that name; the last to claim a content type decodes it.

        *content_encoding* is a charset, or "binary".

            register("upper", lambda value: value.upper(), lambda body: body.decode(), "application/x-upper")
        """
        self._by_name.pop(name, None)
        self._by_name[name] = Codec(name, content_type, content_encoding, encoder, decoder)
        self._by_type = {codec.content_type: codec for codec in self._by_name.values()}

    def unregister(self, name: str) -> None:
        """Remove a serializer. Raises ConfigError when there is none of that name."""
        self._named(name)
        del self._by_name[name]
        self._by_type = {codec.content_type: codec for codec in self._by_name.values()}

    def content_types(self, accept: Iterable[str]) -> frozenset[str]:
        """Resolve an accept list of names and content types to content types.

        Raises ConfigError at a name that is no serializer. The result is itself a (fast) accept list.
        """
        names = (accept,) if isinstance(accept, str) else accept
        return frozenset(name if "/" in name else self._type_of(name) for name in names)

    def name_of(self, content_type: str | None) -> str | None:
        """Return the name of the serializer for *content_type*, None when there is none."""
        codec = self._by_type.get(content_type or "")
        return None if codec is None else codec.name

    def dumps(self, value: Any, name: str | None = None) -> tuple[str, str, bytes]:
        """Encode *value* with the serializer *name*: (content type, content encoding, body).

        Without a name, bytes and text go raw and all else as json. Raises EncodeError, or ConfigError when there
        is no such serializer.

            dumps([1, 2], "json") == ("application/json", "utf-8", b"[1, 2]")
        """
        if name == "raw" or (name is None and isinstance(value, (bytes, str))):
            return _raw(value, "application/data" if name or isinstance(value, bytes) else "text/plain")
        codec = self._named(name or "json")
        try:
            body = codec.encode(value)
            if isinstance(body, str):
                body = body.encode("utf-8" if codec.content_encoding in _NO_CHARSET else codec.content_encoding)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            raise _encode_error(codec, value, error) from error
        return codec.content_type, codec.content_encoding, body

    def loads(
        self,
        body: bytes | bytearray | memoryview,
        content_type: str | None,
        content_encoding: str | None,
        accept: Iterable[str] = ("json",),
    ) -> Any:
        """Decode *body* if *accept*, a list of names and content types, lets it in.

        An absent content type counts as application/data, an absent encoding as utf-8. An empty body is b"". A type
        without a serializer is text in its content encoding, or bytes when that is "binary". Raises
        ContentDisallowed with the body unopened, DecodeError, or ConfigError when *accept* names no serializer.

            loads(b"[1, 2]", "application/json", "utf-8", accept=["json"]) == [1, 2]
        """
        content_type = content_type or "application/data"
        if not (type(accept) is frozenset and content_type in accept):
            self._check(content_type, accept)
        body = bytes(body)
        codec = self._by_type.get(content_type)
        try:
            if not body:
                return body
            if codec is not None and (content_type not in PASSED_THROUGH or content_type in self.content_types(accept)):
                return codec.decode(body)
            charset = (content_encoding or "utf-8").lower()
            return body if charset in _NO_CHARSET else body.decode(charset)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            raise _decode_error(content_type, content_encoding, body, error) from error

    def _check(self, content_type: str, accept: Iterable[str]) -> None:
        accepted = self.content_types(accept)
        if content_type in accepted or content_type in PASSED_THROUGH:
            return
        codec = self._by_type.get(content_type)
        raise ContentDisallowed(
            f"content type {content_type!r} is not accepted here, and the body was not opened; "
            f"accepted: {', '.join(sorted(accepted)) or 'none'}. "
            f"If you trust every sender, add {codec.name if codec else content_type!r} to accept_content"
        )

    def _type_of(self, name: str) -> str:
        return "application/data" if name == "raw" else self._named(name).content_type

    def _named(self, name: str) -> Codec:
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(sorted(self._by_name))
            raise ConfigError(
                f"there is no serializer {name!r} (known: {known}); add one with fastq.wire.serializers.register"
            ) from None


def _raw(value: Any, content_type: str) -> tuple[str, str, bytes]:
    if isinstance(value, str):
        try:
            return content_type, "utf-8", value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise EncodeError(f"raw cannot encode the text {saferepr(value, _SHOWN)}: {error}; send bytes") from error
    if isinstance(value, bytes):
        return content_type, "binary", value
    raise EncodeError(
        f"raw carries only bytes and text, not {type(value).__name__}: {saferepr(value, _SHOWN)}; "
        "choose another serializer"
    )


def _encode_error(codec: Codec, value: Any, error: Exception) -> EncodeError:
    if isinstance(error, RecursionError):
        return EncodeError(f"{codec.name} cannot encode a value that is nested {_depth(value)}, and its readers could "
                           "not read it: send less of a workflow at once, and let a task at its end send the rest")
    path, culprit, reason = _blame(value, codec.encode, error)
    fix = "choose another serializer"
    if codec.name == "json":
        fix = f"register the type with fastq.wire.jsontypes.register_type, or {fix}"
    return EncodeError(
        f"{codec.name} cannot encode the {type(culprit).__name__} at value{path}: {saferepr(culprit, _SHOWN)} "
        f"({type(reason).__name__}: {reason}); {fix}"
    )


def _decode_error(content_type: str, content_encoding: str | None, body: bytes, error: Exception) -> DecodeError:
    # str() of the errors that unpicklers and the like raise may fail itself; repr of the class never does.
    return DecodeError(
        f"cannot decode a body of {len(body)} bytes as {content_type} ({content_encoding or 'no encoding given'}): "
        f"{type(error).__name__}: {saferepr(error)}; it begins with {body[:_SHOWN]!r}"
    )


def _blame(value: Any, encode: Callable[[Any], Any], error: Exception) -> tuple[str, Any, Exception]:
    """Find the innermost part of *value* that cannot be encoded by itself: its path, itself, and why.

    Encodes the parts again one by one, which a failing send can afford, up to a limit. Stops where a cycle closes.
    """
    path: list[str] = []
    seen = {id(value)}
    attempts = 0
    while len(path) < _DEEPEST_PATH:
        for key, part in _parts(value):
            attempts += 1
            if attempts > _MOST_ATTEMPTS:
                return "".join(path), value, error
            try:
                encode(part)
            except Exception as part_error:
                if id(part) in seen:
                    continue
                seen.add(id(part))
                path.append(f"[{saferepr(key, _SHOWN)}]")
                value, error = part, part_error
                break
        else:
            break
    return "".join(path), value, error


def _depth(value: Any) -> str:
    """Say how deep mappings and lists are nested in *value*; a cycle ends in an upper bound."""
    depth, level = 0, [value]
    while level and depth < _DEEPEST:
        depth += 1
        inner = (part for outer in level for _, part in _parts(outer) if isinstance(part, (dict, list, tuple)))
        level = list({id(part): part for part in inner}.values())
    return f"{depth:,} deep" if not level else f"more than {_DEEPEST:,} deep, or in itself"


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif isinstance(value, (set, frozenset)):
        yield from ((part, part) for part in value)


def _pickle_encode(value: Any) -> bytes:
    import pickle  # noqa: PLC0415  2 ms that only its users pay

    return pickle.dumps(value, protocol=int(os.environ.get("PICKLE_PROTOCOL", 4)))


def _pickle_decode(body: bytes) -> Any:
    import pickle  # noqa: PLC0415  2 ms that only its users pay

    return pickle.loads(body)


# Pure Python on purpose: libyaml refuses lone surrogates, which Celery's peers send.
def _yaml() -> Any:
    try:
        import yaml  # noqa: PLC0415  optional
    except ImportError as error:
        raise ImportError("this needs the package pyyaml: pip install 'fastq[yaml]'") from error
    return yaml


def _yaml_encode(value: Any) -> str:
    text: str = _yaml().safe_dump(value)
    return text


def _yaml_decode(body: bytes) -> Any:
    return _yaml().safe_load(body)


def _msgpack_encode(value: Any) -> bytes:
    import msgpack  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415  3 ms that only its users pay

    body: bytes = msgpack.packb(value, use_bin_type=True)
    return body


def _msgpack_decode(body: bytes) -> Any:
    import msgpack  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415  3 ms that only its users pay

    return msgpack.unpackb(body, raw=False)


registry = Serializers(
    (
        Codec("json", "application/json", "utf-8", jsontypes.dumps, jsontypes.loads),
        Codec("pickle", "application/x-python-serialize", "binary", _pickle_encode, _pickle_decode),
        Codec("yaml", "application/x-yaml", "utf-8", _yaml_encode, _yaml_decode),
        Codec("msgpack", "application/x-msgpack", "binary", _msgpack_encode, _msgpack_decode),
    )
)
register = registry.register
unregister = registry.unregister
content_types = registry.content_types
dumps = registry.dumps
loads = registry.loads
