"""Figures, dead letters and purging on a Redis Cluster: each queue is asked for on its node.

The numbers of dead letters count by queue; the number that is shown has the queue's own in its lower 32 bits.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterable, Sequence
from types import TracebackType

from fastq.transport import redis_dead, redis_stat
from fastq.transport.redis_cluster import Cluster, Spread
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_link import Link
from fastq.types import DeadLetter, QueueStat

QUEUE_BITS = 32


class Census:
    """One look at a cluster, over connections of its own; *known* are queues that exist in any case.

    Example::

        with Census(cluster, keys, ["celery"], timeout_s=4) as census:
            figures = census.figures()
    """

    def __init__(self, cluster: Cluster, keys: Keys, known: Iterable[str], timeout_s: float) -> None:
        self._spread = Spread(cluster, timeout_s, {})
        self._keys = keys
        self._known = known

    def __enter__(self) -> Census:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._spread.close()

    def names(self) -> list[str]:
        """Every queue that anybody declared, and those that are known. Raises TransportError."""
        found = set(self._known)
        pattern = redis_stat.literally(f"{self._keys.prefix}fastq.queues.{{".encode()) + b"*"
        for link in self._spread.all():
            for key in redis_stat.scan(link, pattern):
                found.update(name.decode("utf-8", "replace") for name in redis_stat.as_list(link.call("SMEMBERS", key)))
        return sorted(found)

    def _at(self, queue: str) -> tuple[Link, Keys]:
        keys = self._keys.tagged(queue)
        return self._spread.to(keys.lives), keys

    def figures(self) -> dict[str, QueueStat]:
        """What each queue has in each place. Raises TransportError."""
        found: dict[str, QueueStat] = {}
        for name in self.names():
            link, keys = self._at(name)
            found.update(redis_stat.figures(link, keys, [name]))
        return found

    def purge(self, queue: str) -> int:
        """Drop every ready and future message of *queue*; returns how many. Raises TransportError."""
        link, keys = self._at(queue)
        return redis_stat.purge(link, keys, queue)

    def dead_letters(self, queue: str | None, limit: int) -> list[DeadLetter]:
        """The newest *limit* letters, of all queues or one, newest first. Raises TransportError."""
        found = []
        for name in self.names() if queue is None else [queue]:
            link, keys = self._at(name)
            found += [letter._replace(id=letter.id << QUEUE_BITS | crc32(name.encode()))
                      for letter in redis_dead.letters(link, keys, [name], limit)]
        return sorted(found, key=lambda letter: (-letter.died_at, -letter.id))[:limit]

    def resolve_dead(self, ids: Sequence[int], *, replay: bool) -> int:
        """Put letters back in their queues, or drop them; returns how many. Raises TransportError."""
        count = 0
        for name in self.names():
            own = [number >> QUEUE_BITS for number in ids if number % (1 << QUEUE_BITS) == crc32(name.encode())]
            if own:
                link, keys = self._at(name)
                count += redis_dead.resolve(link, keys, [name], own, replay=replay)
        return count

