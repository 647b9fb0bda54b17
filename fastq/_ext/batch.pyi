"""A batch of deliveries, as the compiled decoders gather it."""

from collections.abc import Iterator, Sequence
from typing import SupportsIndex, final, overload

# (tag, deaths, packed content)
Row = tuple[int, int, bytes]

@final
class Rows(Sequence[Row]):
    """A batch of deliveries, packed in one buffer, in order; immutable.

    Items are (tag, deaths, content), made when asked for. *deaths* is the header `x-fastq-deaths`, with UNCOUNTED
    (1 << 31) added to a redelivered one. The buffer protocol gives the records, which `Ring.stage` reads as they are:
    u64 tag | u32 flags (bit 31: redelivered, 30: marked) | u32 n | n bytes of packed content | padding to 8, in native
    byte order.
    """

    def __init__(self, given: object = None, /) -> None:
        """Take over the memory that a decoder of this package gives; nothing else makes one. Without it: no rows."""
    @property
    def marked(self) -> int:
        """How many of them have the header `x-fastq-deaths`: they were lost or held by one that vanished before."""
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Row]: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Row: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[Row]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
