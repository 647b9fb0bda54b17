"""AMQP 0-9-1 on the wire, compiled: bytes to methods and back, without sockets, threads or clocks.

Arguments of a method are the fields of the specification in their order, those reserved left out: bits are bool, tables
dict, short and long strings str (a long one that is no UTF-8 is bytes). RabbitMQ's own methods and fields are known.
Packed content is `u32 P | P bytes of properties | body`; fastq._ext.envelope makes and reads it.
"""

from collections.abc import Sequence
from typing import Any, final

from fastq._ext.batch import Row as Row
from fastq._ext.batch import Rows as Rows

# (channel, method, arguments, packed content or None)
Event = tuple[int, int, tuple[Any, ...], bytes | None]
# first and last tag, both included
Run = tuple[int, int]

PROTOCOL_HEADER: bytes
METHODS: dict[str, int]
"""Name to number, class << 16 | method: `METHODS["basic.deliver"]`."""
FIELDS: dict[int, tuple[str, ...]]
"""Method number to the names of its arguments, in their order."""
HEARTBEAT: int
"""The method number of a heartbeat's event, (0, HEARTBEAT, (), None)."""
HEARTBEAT_FRAME: bytes

def method(channel: int, method: int, *args: Any) -> bytes:
    """Encode one METHOD frame.

    Raises TypeError or ValueError, naming the method and the argument that has no form on the wire.

        method(1, METHODS["basic.qos"], 0, 100, False)
    """

def content(channel: int, packed: bytes, frame_max: int) -> bytes:
    """Encode packed content as one HEADER frame and as many BODY frames as *frame_max* bytes a frame ask for.

    Raises ValueError when the content is malformed or its properties need more than one frame.
    """

def publisher(channel: int, exchange: str, routing_key: str, mandatory: bool = False) -> bytes:
    """Encode the METHOD frame of a basic.publish, once for all that goes there; see publish()."""

def publish(prefix: bytes, packed: bytes, frame_max: int, priority: int = 0) -> bytes:
    """Encode a message to publish: *prefix* from publisher(), then its content, on the channel of the prefix.

    A *priority* from 1 to 255 replaces the property of the content; 0 leaves the content as it is. Raises ValueError as
    content() does.

        publish(publisher(1, "celery", "celery"), packed, 131072)
    """

@final
class Decoder:
    """Make events and deliveries of the bytes of one connection, however they are cut.

    A frame may have *frame_max* bytes, a content *max_content* bytes of body. What is received goes to feed(), or
    without a copy through the buffer protocol, which exports the room behind what is not parsed yet, 64 KiB at least,
    and twice as much after it was filled, up to 256 KiB:

        decoder.filled(sock.recv_into(decoder))

    Malformed bytes raise FrameError, naming frame, channel and offset in the stream; what came before stays to be read,
    and nothing more is taken in. Not safe for two threads at once.
    """

    frame_max: int
    """Bytes of the largest frame that is let in, 4096 at least; settable when it was negotiated."""
    def __init__(self, frame_max: int = 131072, max_content: int = 512 << 20) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def filled(self, n: int) -> None:
        """Parse all frames complete now that *n* bytes were written to the buffer.

        Raises FrameError; BufferError while a view of the buffer is alive; ValueError for more than there was room.
        """
    def feed(self, data: bytes) -> None:
        """Parse all frames complete with *data*; as filled(), with a copy."""
    def next(self) -> Event | None:
        """Return the oldest event not returned yet, or None. Deliveries of watched consumers are no events.

        The event of a method that carries content comes when its content is complete.
        """
    def watch(self, channel: int, consumer_tag: str, tag_base: int = 0, into: int = -1) -> int:
        """Gather the deliveries of a consumer from now on, for take(); return its number in this decoder.

        *into* is the number of another one on that channel whose deliveries these join, in the order of their coming.
        The tags of its rows are *tag_base* + delivery tag. Raises ValueError if it is watched already, or on
        channel 0. Watch a consumer before basic.consume is sent: its first deliveries may come with the answer.
        """
    def unwatch(self, consumer: int) -> None:
        """Make later deliveries of the consumer events. What was gathered stays to be taken. Safe twice."""
    def forget(self, channel: int) -> None:
        """Drop the half-received content of a channel that was closed, and unwatch its consumers."""
    def gathered(self, consumer: int = -1) -> int:
        """Return how many complete deliveries of a consumer (-1: of all together) were not taken yet."""
    def take(self, consumer: int, most: int) -> Rows:
        """Take the oldest *most* deliveries of a consumer, or all if there are fewer.

        Raises ValueError for a number that watch() never gave.
        """
    @property
    def is_idle(self) -> bool:
        """Whether nothing is half received, neither frame nor content."""

@final
class Held:
    """What is delivered on one channel and not settled, and the frames that settle it.

    Tags are *tag_base* + delivery tag, as in the rows of a consumer that was watched with the same base. Make it with
    the channel, before the first delivery: tags that it was never told of keep it from settling many at once, since one
    of a consumer whose rows were not taken yet may be among them.

        held.add_rows(rows); sock.sendall(held.ack([(rows[0][0], rows[-1][0])]))
    """

    def __init__(self, channel: int, tag_base: int = 0) -> None: ...
    def add_rows(self, rows: Rows) -> None:
        """Add what was taken. Raises ValueError, and adds nothing, when a tag is not above the base or held already."""
    def add(self, tag: int) -> None:
        """Add one tag: of what was asked for by basic.get. Raises ValueError as add_rows()."""
    def __len__(self) -> int: ...
    def holds(self, first: int, last: int) -> bool:
        """Whether all tags from *first* to *last* are held."""
    def ack(self, runs: Sequence[Run]) -> bytes:
        """Forget the tags of *runs* and return frames that acknowledge them.

        What is oldest among all held goes in one basic.ack with `multiple`, the rest one by one. Raises ValueError, and
        changes nothing, when a tag is not held.
        """
    def reject(self, runs: Sequence[Run], requeue: bool) -> bytes:
        """Forget the tags of *runs* and return frames that reject them, or have the broker *requeue* them; as ack()."""
    def tags(self) -> list[int]:
        """Return all held tags, ascending."""
