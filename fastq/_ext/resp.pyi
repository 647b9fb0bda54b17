"""What a client of Redis writes and reads; compiled, without sockets."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

def command(*args: bytes | str | int | float) -> bytes:
    """Encode one command: the name and its arguments.

    Raises TypeError for another type (bool too), OverflowError for an integer beyond 64 bits, ValueError if empty.

    >>> command("SET", b"k", 1)
    b'*3\\r\\n$3\\r\\nSET\\r\\n$1\\r\\nk\\r\\n$1\\r\\n1\\r\\n'
    """

def commands(many: Iterable[Iterable[bytes | str | int | float]]) -> bytes:
    """Encode many commands, one behind the other. Raises as command() does."""

def lpush(key: bytes, values: Iterable[bytes | str]) -> bytes:
    """Encode `LPUSH key value...`. Raises as command() does."""

@final
class Bulks:
    """Bulk strings that are still as they came, one behind the other: `gather` of fastq._ext.kombu takes them so.

    Iteration makes bytes of them; the buffer is their RESP.
    """

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Reader:
    """Replies of RESP2 from bytes, whatever the pieces they come in. One user at a time.

    *nothing* stands for a reply that is not there as a whole; *broken* makes of a text what is raised for bytes that
    are no reply, at every call from then on; *error* makes of a text the value that an error reply is.

    >>> reader = Reader(None, ValueError, RuntimeError)
    >>> reader.feed(b":1\\r\\n*2\\r\\n$1\\r\\na\\r\\n-ERR no\\r\\n*1")
    >>> reader.gets(), reader.gets(), reader.gets()
    (1, [b'a', RuntimeError('ERR no')], None)
    """

    def __init__(self, nothing: Any, broken: Callable[[str], Exception], error: Callable[[str], Any]) -> None: ...
    def feed(self, data: bytes | bytearray | memoryview, start: int = 0, count: int = -1) -> None:
        """Take in *count* bytes of *data* from *start* on; all by default."""

    def gets(self, packed: bool = False) -> Any:
        """Return the next reply: bytes, int, None, a list, or an error as *error* makes it.

        With *packed* an array inside another that holds bulk strings and nothing else is `Bulks`, unless it is empty.
        Raises what *broken* makes of what is no reply: an unknown type, a number that is none, arrays nested beyond 8,
        a line beyond 64 KiB. Nothing is set aside for what a length promises.
        """
