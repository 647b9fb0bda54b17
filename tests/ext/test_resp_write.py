"""The commands of Redis, as they go over the wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq._ext import resp

arguments = st.binary(max_size=40) | st.text(max_size=20) | st.integers(-(2**63), 2**63 - 1) | st.floats()


def as_bulks(args: Any) -> bytes:
    raw = [it if isinstance(it, bytes) else str(it).encode() for it in args]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%b\r\n" % (len(it), it) for it in raw)


@given(st.lists(st.lists(arguments, min_size=1, max_size=12), max_size=4))
def test_commands_are_arrays_of_bulk_strings(many: list[list[Any]]) -> None:
    assert resp.commands(map(tuple, many)) == b"".join(map(as_bulks, many))
    assert [resp.command(*args) for args in many] == [as_bulks(args) for args in many]


def test_counts_of_every_width_are_written() -> None:
    for n in (1, 9, 10, 99, 100, 1000):
        assert resp.lpush(b"k", [b"v" * n] * n) == as_bulks([b"LPUSH", b"k", *[b"v" * n] * n])


@pytest.mark.parametrize(("args", "error"), [
    ((), ValueError), (("GET", None), TypeError), (("GET", True), TypeError), (("GET", 1 << 63), OverflowError),
    (("GET", "\ud800"), UnicodeEncodeError),
])
def test_what_is_no_argument_is_refused(args: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        resp.command(*args)
    with pytest.raises(error):
        resp.commands([("PING",), args])
