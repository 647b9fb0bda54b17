"""Compression against kombu's own streams, and against corrupt, cut and swollen ones."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import sys
import zlib
from pathlib import Path
from typing import Any

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq.exceptions import ConfigError, DecodeError, EncodeError
from fastq.wire.compression import compress, decompress, header_value, register, unregister
from fastq.wire.serializers import loads

VECTORS = Path(__file__).parents[2] / "vectors"
RECORDED = json.loads((VECTORS / "compressors.json").read_text())
SOURCE = base64.b64decode(RECORDED["source_b64"])
NAMES = ("zlib", "bzip2", "lzma", "brotli", "zstd")


@pytest.mark.parametrize("case", RECORDED["methods"], ids=lambda case: case["alias"])
def test_every_recorded_compression_is_written_and_read_as_kombu_does(case: dict[str, Any]) -> None:
    stream = base64.b64decode(case["compressed_b64"])
    packed, header = compress(SOURCE, case["alias"])
    assert header == case["header_value"] == header_value(case["alias"])
    assert packed[:4] == stream[:4]
    for name in (case["alias"], case["header_value"]):
        assert decompress(stream, name) == SOURCE
        assert decompress(packed, name) == SOURCE


@pytest.mark.parametrize("name", ["brotli", "bzip2", "gzip", "lzma", "msgpack_zlib", "zlib", "zstd"])
def test_a_recorded_compressed_task_message_is_read(name: str) -> None:
    vector = json.loads((VECTORS / f"task_v2_compressed_{name}.json").read_text())
    message = vector["redis"]["messages"][0]
    envelope = message["envelope"]
    body = decompress(base64.b64decode(message["body_b64"]), envelope["headers"]["compression"])
    value = loads(body, envelope["content-type"], envelope["content-encoding"], ["json", "msgpack"])
    assert value == message["body"]["plain"]


@pytest.mark.parametrize("name", NAMES)
@given(body=st.binary(max_size=2000))
def test_any_body_survives_a_round_trip(name: str, body: bytes) -> None:
    assert decompress(compress(body, name)[0], name) == body


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_cut_anywhere_or_followed_by_anything_is_refused(name: str) -> None:
    stream, _ = compress(SOURCE, name)
    for size in range(len(stream)):
        with pytest.raises(DecodeError):
            decompress(stream[:size], name)
    for rest in (b"\0", stream):
        with pytest.raises(DecodeError):
            decompress(stream + rest, name)


@pytest.mark.parametrize("name", NAMES)
@given(body=st.binary(max_size=200))
def test_any_bytes_end_in_a_value_or_a_decode_error(name: str, body: bytes) -> None:
    try:
        decompress(body, name, max_size=1 << 16)
    except DecodeError as error:
        assert name in str(error)


@pytest.mark.parametrize("name", NAMES)
def test_a_body_may_be_exactly_as_large_as_the_limit(name: str) -> None:
    stream, _ = compress(bytes(100_000), name)
    assert len(decompress(stream, name, max_size=100_000)) == 100_000
    with pytest.raises(DecodeError, match="more than 99999 bytes"):
        decompress(stream, name, max_size=99_999)


BOMBS = {
    "zlib": zlib.compress(bytes(1 << 26), 9),
    "bzip2": bz2.compress(bytes(1 << 26)),
    "lzma": lzma.compress(bytes(1 << 26), preset=0),
    "brotli": brotli.compress(bytes(1 << 26), quality=1),
    "zstd": compress(bytes(1 << 26), "zstd")[0],
}


@pytest.mark.parametrize("name", NAMES)
def test_unpacking_a_bomb_stops_at_the_limit(name: str, peak_bytes: Any) -> None:
    assert len(BOMBS[name]) < 1 << 16
    with peak_bytes() as peak, pytest.raises(DecodeError, match="more than 1000000 bytes"):
        decompress(BOMBS[name], name, max_size=1_000_000)
    assert peak() < 1 << 24


def test_an_xz_header_that_wants_a_huge_dictionary_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    stream = bytearray(lzma.compress(b"x" * 100, filters=filters))
    # The block header: size, flags, filter id 0x21, size of properties 1, dictionary size, padding, CRC32.
    header = 12
    assert stream[header + 2 : header + 4] == b"\x21\x01"
    stream[header + 4] = 40  # 4 GiB - 1
    size = (stream[header] + 1) * 4
    stream[header + size - 4 : header + size] = zlib.crc32(stream[header : header + size - 4]).to_bytes(4, "little")
    with pytest.raises(DecodeError, match=r"[Mm]emory"):
        decompress(bytes(stream), "lzma")


def test_gzip_means_a_zlib_stream_and_a_real_gzip_stream_is_refused() -> None:
    assert zlib.decompress(compress(b"text", "gzip")[0]) == b"text"
    with pytest.raises(DecodeError):
        decompress(gzip.compress(b"text"), "gzip")


def test_an_unknown_compression_is_a_decode_error_when_read_and_a_config_error_when_asked_for() -> None:
    known = r"no compression 'lzo' \(known: brotli, bzip, bzip2, gzip, lzma, xz, zlib, zstandard, zstd\)"
    with pytest.raises(DecodeError, match=known):
        decompress(b"", "lzo")
    for call in (lambda: compress(b"", "lzo"), lambda: header_value("lzo"), lambda: unregister("lzo")):
        with pytest.raises(ConfigError, match=known):
            call()


@pytest.mark.parametrize("name, modules", [("brotli", ["brotli"]), ("zstd", ["compression.zstd", "backports.zstd"])])
def test_a_missing_package_is_named_with_its_extra(
    name: str, modules: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EncodeError, match=rf"pip install 'fastq\[{name}\]'"):
        compress(b"x", name)
    with pytest.raises(DecodeError, match=rf"pip install 'fastq\[{name}\]'"):
        decompress(b"x", name)


def test_a_registered_compression_works_under_all_its_names_until_it_is_unregistered() -> None:
    register(lambda body: body[::-1], lambda body: body[::-1], "application/x-turn", aliases=["turn", "nrut"])
    try:
        assert compress(b"abc", "nrut") == (b"cba", "application/x-turn")
        assert decompress(b"cba", "application/x-turn") == decompress(b"cba", "turn") == b"abc"
        with pytest.raises(DecodeError, match="more than 2 bytes"):
            decompress(b"cba", "turn", max_size=2)
    finally:
        unregister("turn")
    for name in ("turn", "nrut", "application/x-turn"):
        with pytest.raises(DecodeError):
            decompress(b"cba", name)
