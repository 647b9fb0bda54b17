"""Hypothesis strategies for AMQP values, typed (tests.reference.amqp) and plain."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests.reference import amqp

KNOWN = [
    b"task", b"id", b"eta", b"expires", b"group", b"retries", b"timelimit", b"root_id", b"parent_id", b"compression",
    b"ignore_result", b"x-fastq-deaths", b"shadow", b"stamps", b"idd", b"",
]
BITS = {"b": 8, "B": 8, "s": 16, "U": 16, "u": 16, "I": 32, "i": 32, "l": 64, "L": 64}


def integers_of(tag: str) -> st.SearchStrategy[int]:
    bits = BITS[tag]
    return st.integers(0, 2**bits - 1) if tag in "Bui" else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


flat_typed = st.one_of(
    st.just(("V", None)),
    st.sampled_from(sorted(BITS)).flatmap(lambda tag: st.tuples(st.just(tag), integers_of(tag))),
    st.tuples(st.just("t"), st.booleans()),
    st.tuples(st.just("d"), st.floats()),
    st.tuples(st.just("f"), st.floats(width=32)),
    st.tuples(st.sampled_from("Sx"), st.binary(max_size=80)),
    st.tuples(st.just("S"), st.text(max_size=30).map(str.encode)),
    st.tuples(st.just("T"), st.integers(0, 253402300799)),
    st.tuples(st.just("D"), st.tuples(st.integers(0, 255), integers_of("I"))),
)
names = st.sampled_from(KNOWN) | st.text(max_size=20).map(str.encode) | st.binary(max_size=255)
typed: st.SearchStrategy[tuple[str, Any]] = st.recursive(
    flat_typed,
    lambda inner: st.one_of(
        st.tuples(st.just("A"), st.lists(inner, max_size=4)),
        st.tuples(st.just("F"), st.lists(st.tuples(names, inner).map(lambda row: (row[0], *row[1])), max_size=4)),
    ),
    max_leaves=8,
)
limits = st.tuples(st.just("A"), st.lists(flat_typed, min_size=1, max_size=3))
rows = st.lists(st.tuples(names, typed | limits).map(lambda row: (row[0], *row[1])), max_size=12)

shorts = st.text(max_size=40).map(str.encode) | st.binary(max_size=255)
properties = st.fixed_dictionaries({}, optional={
    name: st.integers(0, 2**64 - 1) if form == ">Q" else st.integers(0, 255) if form == ">B" else shorts
    for _, name, form in amqp.PROPERTIES if name != "headers"
})
contents = st.builds(amqp.content, properties, st.none() | rows, st.binary(max_size=40))

# What Python programs put into headers.
plain: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=20),
        st.binary(max_size=20), st.datetimes(datetime(1970, 1, 1), timezones=st.just(timezone.utc)),
        st.datetimes(datetime(1970, 1, 2)),
        st.datetimes(datetime(1970, 1, 2), timezones=st.just(timezone(timedelta(hours=5, minutes=30)))),
        st.builds(lambda n, scale: Decimal(n).scaleb(-scale), st.integers(-(2**31) + 1, 2**31 - 1), st.integers(0, 9)),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
headers = st.dictionaries(st.text(max_size=20), plain, max_size=8)
