"""Exchanges on a Redis Cluster: the table of each is on a node of its own, so its queues are asked for by name.

The table of an exchange, ``_kombu.binding.{<exchange>}``, is on the node that its name says; what the exchange feeds is
on others. So a message that goes by one is sent to each of the queues, and a broadcast to any node: the cluster spreads
it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from fastq.transport.redis_cluster import Cluster, SlotWay
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_options import RedisOptions
from fastq.transport.redis_publish import Publisher
from fastq.transport.redis_route import Routes
from fastq.wire.entity import Exchange, Queue


class Exchanges:
    """The exchanges that one process publishes by. Thread-safe; usable in a forked child after `after_fork`."""

    def __init__(self, cluster: Cluster, keys: Keys, options: RedisOptions) -> None:
        self._cluster = cluster
        self._keys = keys
        self._options = options
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Routes, Publisher]] = {}

    def targets(self, exchange: str, routing_key: str) -> list[str] | None:
        """The queues that *exchange* feeds with *routing_key*; None: whoever listens. Raises OperationalError."""
        routes, publisher = self._of(exchange)
        return None if routes.is_fanout(exchange) else publisher.bound_queues(exchange, routing_key)

    def spread(self, exchange: str, routing_key: str, content: bytes) -> None:
        """Send to all who listen. Raises OperationalError."""
        self._of(exchange)[1].publish_one(routing_key, content, exchange=exchange)

    def declare(self, names: Iterable[str]) -> None:
        """Bind the app's queues of these names as their exchanges say. Raises OperationalError."""
        for name in names:
            queue = self._options.queue_of(name)
            ways = () if queue is None else (queue.exchange, *(bound.exchange for bound in queue.bindings))
            for exchange in dict.fromkeys(each.name for each in ways if each.name and each.type != "fanout"):
                self._of(exchange)[1].declare([name])

    def _of(self, exchange: str) -> tuple[Routes, Publisher]:
        with self._lock:
            found = self._known.get(exchange)
            if found is None:
                found = self._known[exchange] = self._make(exchange)
            return found

    def _make(self, exchange: str) -> tuple[Routes, Publisher]:
        options, keys = self._options, self._keys.tagged(exchange)
        routes = Routes(keys, _only(exchange, options.queue_of), options.bound_to)
        way = SlotWay(self._cluster, keys.binding(exchange))
        publisher = Publisher(lambda left_s: way.connect(left_s, name=options.client_name), routes,
                              timeout_s=options.publish_timeout_s, health_check_s=options.health_check_s,
                              connect_timeout_s=options.connect_timeout_s)
        return routes, publisher

    def after_fork(self) -> None:
        """Begin anew in a forked child: its parent goes on with the connections."""
        for _, publisher in self._known.values():
            publisher.after_fork()
        self._begin()

    def close(self) -> None:
        """Close the connections; a later call opens them again."""
        for _, publisher in list(self._known.values()):
            publisher.close()


def unbound(queue_of: Callable[[str], Queue | None]) -> Callable[[str], Queue | None]:
    """*queue_of*, whose queues are bound to nothing: their own node has no tables of exchanges."""
    def found(name: str) -> Queue | None:
        queue = queue_of(name)
        return None if queue is None else queue.replace(exchange=Exchange(), bindings=())
    return found


def _only(exchange: str, queue_of: Callable[[str], Queue | None]) -> Callable[[str], Queue | None]:
    """*queue_of*, whose queues are bound to *exchange* and to no other."""
    def found(name: str) -> Queue | None:
        queue = queue_of(name)
        if queue is None:
            return None
        return queue.replace(exchange=queue.exchange if queue.exchange.name == exchange else Exchange(),
                             bindings=tuple(each for each in queue.bindings if each.exchange.name == exchange))
    return found
