"""Compression of message bodies, under the names and header values that kombu uses.

Mind that "gzip" means a zlib stream. A body that is corrupt, cut short, followed by something, or larger
than the limit when unpacked ends in a DecodeError; the unpacking stops at the limit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from fastq.exceptions import ConfigError, DecodeError, EncodeError, SoftTimeLimitExceeded

__all__ = ("MAX_SIZE", "compress", "decompress", "header_value", "register", "unregister")

MAX_SIZE = 256 << 20
"""The default limit for an unpacked body, in bytes: twice the 128 MiB that RabbitMQ 3 takes as one message."""

# The dictionary of `xz -9` needs 65 MiB; a forged header may ask for 4 GiB.
_XZ_MEMORY = 128 << 20


class _Compressor(NamedTuple):
    header_value: str
    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes, int], bytes]


_compressors: dict[str, _Compressor] = {}  # by header value and by alias


def register(
    encoder: Callable[[bytes], bytes],
    decoder: Callable[[bytes], bytes],
    content_type: str,
    aliases: Iterable[str] = (),
) -> None:
    """Add a compression, or replace one. *content_type* is what goes into the header ``compression``.

    The size limit is checked after *decoder* returned: it must guard itself against bombs.

        register(lzo.compress, lzo.decompress, "application/x-lzo", aliases=["lzo"])
    """

    def decode(body: bytes, max_size: int) -> bytes:
        return _within(decoder(body), max_size)

    _add(content_type, encoder, decode, tuple(aliases))


def unregister(name: str) -> None:
    """Remove a compression under all its names. Raises ConfigError when there is none of that name."""
    header = _named(name).header_value
    for known in [known for known, compressor in _compressors.items() if compressor.header_value == header]:
        del _compressors[known]


def header_value(name: str) -> str:
    """What the header ``compression`` says for the name or alias *name*. Raises ConfigError when it is unknown."""
    return _named(name).header_value


def compress(body: bytes, name: str) -> tuple[bytes, str]:
    """Compress *body*; returns it with the header value. Raises ConfigError, or EncodeError.

        compress(b"text", "zlib")[1] == "application/x-gzip"
    """
    compressor = _named(name)
    try:
        return compressor.encode(body), compressor.header_value
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        raise EncodeError(f"{name} cannot compress a body of {len(body)} bytes: {error}") from error


def decompress(body: bytes, name: str, max_size: int = MAX_SIZE) -> bytes:
    """Unpack *body*, compressed as the header value or alias *name* says, to at most *max_size* bytes.

    Raises DecodeError: unknown name, missing package, corrupt or too large.
    """
    compressor = _compressors.get(name)
    if compressor is None:
        raise DecodeError(_unknown(name))
    try:
        return compressor.decode(body, max_size)
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        raise DecodeError(
            f"cannot unpack a body of {len(body)} bytes as {name}: {type(error).__name__}: {error}; "
            f"it begins with {bytes(body[:16]).hex()}"
        ) from error


def _add(
    header: str, encode: Callable[[bytes], bytes], decode: Callable[[bytes, int], bytes], aliases: tuple[str, ...]
) -> None:
    compressor = _Compressor(header, encode, decode)
    for name in (header, *aliases):
        _compressors[name] = compressor


def _named(name: str) -> _Compressor:
    try:
        return _compressors[name]
    except KeyError:
        raise ConfigError(_unknown(name)) from None


def _unknown(name: str) -> str:
    known = ", ".join(sorted(known for known in _compressors if "/" not in known))
    return f"there is no compression {name!r} (known: {known}); add one with fastq.wire.compression.register"


def _within(body: bytes, max_size: int) -> bytes:
    if len(body) > max_size:
        raise ValueError(f"it unpacks to more than {max_size} bytes; raise the limit if you trust the sender")
    return body


def _unpack(stream: Any, body: bytes, max_size: int) -> bytes:
    # One byte more than allowed tells "too large" from "exactly full", and lets the stream reach its end.
    unpacked: bytes = stream.decompress(body, max_size + 1)
    _within(unpacked, max_size)
    if not stream.eof:
        raise ValueError("it is cut short")
    if stream.unused_data:
        raise ValueError(f"{len(stream.unused_data)} bytes follow its end")
    return unpacked


def _brotli() -> Any:
    try:
        import brotli  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415  optional
    except ImportError as error:
        raise ImportError("this needs the package brotli: pip install 'fastq[brotli]'") from error
    return brotli


def _zstd() -> Any:
    try:
        if sys.version_info >= (3, 14):
            import compression.zstd as zstd  # noqa: PLC0415  optional
        else:
            import backports.zstd as zstd  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415  optional
    except ImportError as error:
        raise ImportError("this needs the package backports.zstd: pip install 'fastq[zstd]'") from error
    return zstd


def _unpack_brotli(body: bytes, max_size: int) -> bytes:
    stream = _brotli().Decompressor()
    unpacked: list[bytes] = []
    size = 0
    while not stream.is_finished() and size <= max_size:
        # The limit is a wish: what comes may exceed it by a block of 32 KiB.
        piece = stream.process(b"" if unpacked else body, output_buffer_limit=max_size + 1 - size)
        if not piece and stream.can_accept_more_data() and not stream.is_finished():
            raise ValueError("it is cut short")
        unpacked.append(piece)
        size += len(piece)
    return _within(b"".join(unpacked), max_size)


# The three of the standard library are imported at use too: a Python may have been built without them.
def _zlib() -> Any:
    import zlib  # noqa: PLC0415

    return zlib


def _bz2() -> Any:
    import bz2  # noqa: PLC0415

    return bz2


def _lzma() -> Any:
    import lzma  # noqa: PLC0415

    return lzma


_add(
    "application/x-gzip",
    lambda body: _zlib().compress(body),
    lambda body, max_size: _unpack(_zlib().decompressobj(), body, max_size),
    ("gzip", "zlib"),
)
_add(
    "application/x-bz2",
    lambda body: _bz2().compress(body),
    lambda body, max_size: _unpack(_bz2().BZ2Decompressor(), body, max_size),
    ("bzip2", "bzip"),
)
_add(
    "application/x-lzma",
    lambda body: _lzma().compress(body),
    lambda body, max_size: _unpack(_lzma().LZMADecompressor(memlimit=_XZ_MEMORY), body, max_size),
    ("lzma", "xz"),
)
_add("application/x-brotli", lambda body: _brotli().compress(body), _unpack_brotli, ("brotli",))
_add(
    "application/zstd",
    lambda body: _zstd().compress(body),
    lambda body, max_size: _unpack(_zstd().ZstdDecompressor(), body, max_size),
    ("zstd", "zstandard"),
)
