"""kombu's envelope, the JSON text that Redis holds for a message; compiled, without sockets.

Packed content is `u32 P | P bytes of properties | body`; fastq._ext.envelope makes and reads it.
"""

from collections.abc import Iterable

from fastq._ext.batch import Rows
from fastq._ext.resp import Bulks

def dump(
    content: bytes, exchange: str | bytes, routing_key: str | bytes, delivery_tag: str | bytes | None = None
) -> bytes:
    """Encode packed content as the envelope that kombu would write for the same message.

    The body goes as base64, members in kombu's order. A header that is a time, a decimal or bytes gets the form that
    kombu's JSON gives it. *delivery_tag* is a new UUID unless given. Raises FrameError, with the offset, for what is no
    packed content; TypeError for an argument that is no text.

    >>> from fastq._ext import envelope
    >>> dump(envelope.pack({"priority": 3}, {"id": "1"}, b"x"), "", "celery", "t")[:75]
    b'{"body": "eA==", "content-encoding": null, "content-type": null, "headers": '
    """

def parse(envelope: bytes) -> bytes:
    """Decode an envelope to packed content.

    Taken is what a consumer can make sense of: any order and spacing, `headers` or `properties` absent, a body of plain
    text (`body_encoding` absent or "utf-8"). Left out are members that AMQP has no place for, and the header
    `redelivered` where `delivery_info` says the same: that is kombu's mark, not the sender's. Raises DecodeError with
    the offset, what was expected there, and the header or property that it was found in: for what is no JSON object
    with a body or headers, for an integer header beyond 64 bits, for nesting beyond 64, for names beyond 255 bytes.

    >>> parse(b'{"body": "eA==", "properties": {"body_encoding": "base64", "priority": 3}}')
    b'\\x00\\x00\\x00\\x03\\x08\\x00\\x03x'
    """

def gather(
    envelopes: Iterable[bytes] | Bulks, first_tag: int, flags: int = 0
) -> tuple[Rows, list[tuple[int, str]]]:
    """Decode many envelopes into one batch, as `Ring.stage` takes it; and those that are none, as (index, reason).

    The tags are *first_tag* + index. *flags* (0 or 1 << 31: redelivered) goes into every record. What parse() raises
    for one envelope is its reason here; what is no bytes object is none either. `Bulks` are read where they are.
    Raises ValueError for a tag or flags that have no place in a record.

    >>> rows, bad = gather([b'{"body": "a"}', b"junk"], 7)
    >>> list(rows), bad
    ([(7, 0, b'\\x00\\x00\\x00\\x02\\x00\\x00a')], [(1, 'envelope, offset 0: expected an object')])
    """

def deaths_of(content: bytes) -> int:
    """Return the header `x-fastq-deaths` of packed content; 0 without it. Raises FrameError."""

def mark(envelope: bytes, deaths: int) -> bytes:
    """Return the envelope as what was delivered before: *deaths* as its header `x-fastq-deaths`, and kombu's marks.

    The marks are `redelivered` in `headers` and in `delivery_info`, if there is one. All else stays byte for byte.
    Raises DecodeError for what is no JSON object with a body or headers, ValueError for a count beyond 31 bits.

    >>> mark(b'{"body": "a", "headers": {"id": "1"}}', 2)
    b'{"body": "a", "headers": {"id": "1", "redelivered": true, "x-fastq-deaths": 2}}'
    """
