"""Which node of a Redis Cluster has a key, and connections to it.

A cluster has 16384 slots; a key belongs to one, by its hash tag, and a slot to one node at a time. The map of them is
asked of any node, and corrected where it proves wrong: the node that has a slot is the one that does not send us
elsewhere. So every new connection asks for its key before it is used, and whoever is told MOVED later has only to
connect again.
"""

from __future__ import annotations

import time
from binascii import crc_hqx
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fastq.exceptions import BrokerRefused, TransportError
from fastq.transport.redis_error import Unready
from fastq.transport.redis_keys import hash_tag
from fastq.transport.redis_link import Link, ReplyError
from fastq.transport.redis_reply import pack
from fastq.transport.redis_way import Way

SLOTS = 16384
MOST_HOPS = 5
"""A slot that is somewhere else so often is not to be found at the moment."""
LEAST_S = 0.05


class Node(NamedTuple):
    """Where a node listens."""

    host: str
    port: int


class Range(NamedTuple):
    """Consecutive slots of one node."""

    first: int
    last: int
    node: Node


def slot_of(key: bytes) -> int:
    """The slot of a key.

    >>> slot_of(b"fastq.lives.{celery}") == slot_of(b"celery")
    True
    """
    return crc_hqx(hash_tag(key), 0) % SLOTS


def parse_map(told: object, asked: str) -> list[Range]:
    """Read the answer to CLUSTER SLOTS; a node that does not know its own name is the host *asked*."""
    ranges = []
    for first, last, master, *_ in told if isinstance(told, list) else ():
        host = master[0].decode() if master[0] else ""
        ranges.append(Range(first, last, Node(asked if host in ("", "?") else host, master[1])))
    return sorted(ranges)


def parse_moved(text: str, asked: str) -> Node:
    """Read where ``MOVED <slot> <host>:<port>`` leads; without a host it is the one *asked*."""
    host, _, port = text.split(" ")[2].rpartition(":")
    return Node(host or asked, int(port))


class Cluster:
    """The map of one cluster; *seeds* leads to one or more of its nodes. Thread-safe, and usable after a fork.

    Example::

        cluster = Cluster(Way(parse_many("redis+cluster://a;redis+cluster://b")))
        link = cluster.connect(b"{celery}", timeout_s=4)
    """

    def __init__(self, seeds: Way) -> None:
        self._seeds = seeds
        self._ranges: Sequence[Range] = ()
        self._moved: dict[int, Node] = {}
        """What was learnt since the map was asked for."""

    @property
    def where(self) -> str:
        """The nodes that were named, for messages."""
        return f"the cluster of {self._seeds.where}"

    def owner(self, slot: int) -> Node | None:
        """Who has *slot*, as far as is known here."""
        if slot in self._moved:
            return self._moved[slot]
        ranges = self._ranges
        at = bisect_right(ranges, slot, key=lambda each: each.first) - 1
        return ranges[at].node if at >= 0 and slot <= ranges[at].last else None

    def note(self, slot: int, node: Node) -> None:
        """Remember that *node* has *slot*."""
        self._moved[slot] = node

    def connect(self, key: bytes, timeout_s: float, *, protocol: int = 2, name: str = "") -> Link:
        """Connect to the node that has *key*, all within *timeout_s*. Raises TransportError, Unready, BrokerRefused."""
        slot, deadline = slot_of(key), time.monotonic() + timeout_s
        node = self.owner(slot)
        for _ in range(MOST_HOPS):
            if node is None:
                node = self._find(slot, deadline)
            try:
                link = self.connect_to(node, _left(deadline), protocol=protocol, name=name)
            except BrokerRefused:
                raise
            except TransportError as error:
                node = self._successor(slot, node, deadline, error)
                continue
            if (other := self._elsewhere(link, node, key, deadline)) is None:
                return link
            link.close()
            self.note(slot, other)
            node = other
        raise Unready(f"{self.where}: its nodes send us from one to another for slot {slot}")

    def connect_to(self, node: Node, timeout_s: float, *, protocol: int = 2, name: str = "") -> Link:
        """Connect to *node*. Raises TransportError."""
        seed = self._seeds.targets[0]
        way = self._seeds._replace(targets=[seed._replace(host=node.host, port=node.port)])
        return way.connect(timeout_s, protocol=protocol, name=name)

    def connect_any(self, timeout_s: float, *, protocol: int = 2, name: str = "", last: Node | None = None) -> Link:
        """Connect to any node, *last* after all others. Raises TransportError."""
        seed = self._seeds.targets[0]
        known = (seed._replace(host=each.node.host, port=each.node.port) for each in self._ranges)
        targets = list({(each.host, each.port): each for each in (*self._seeds.targets, *known)}.values())
        targets.sort(key=lambda each: (each.host, each.port) == last)
        return self._seeds._replace(targets=targets).connect(timeout_s, protocol=protocol, name=name)

    def masters(self, timeout_s: float) -> list[Node]:
        """All nodes that have slots, by a new map. Raises TransportError."""
        self._learn(time.monotonic() + timeout_s)
        return list(dict.fromkeys(each.node for each in self._ranges))

    def _learn(self, deadline: float, failed: Node | None = None) -> None:
        """Ask for the map anew, *failed* after all others."""
        link = self.connect_any(_left(deadline), last=failed)
        try:
            self._ranges = parse_map(link.call("CLUSTER", "SLOTS", timeout_s=_left(deadline)), _host(link.where))
            self._moved = {}
        finally:
            link.close()

    def _find(self, slot: int, deadline: float, failed: Node | None = None) -> Node:
        self._learn(deadline, failed)
        node = self.owner(slot)
        if node is None:
            raise Unready(f"{self.where}: no node has slot {slot}; it is not whole")
        return node

    def _successor(self, slot: int, node: Node, deadline: float, error: TransportError) -> Node:
        """Who has *slot* now that *node* is away. Raises *error* when that is *node* still."""
        found = self._find(slot, deadline, node)
        if found == node or time.monotonic() >= deadline:
            raise error
        return found

    def _elsewhere(self, link: Link, node: Node, key: bytes, deadline: float) -> Node | None:
        """Where *link* sends us for *key*, if it does. Raises TransportError, and closes the link then."""
        try:
            link.send(pack(("EXISTS", key)))
            reply = link.receive(_left(deadline))
            if isinstance(reply, ReplyError):
                if str(reply).startswith("MOVED "):
                    return parse_moved(str(reply), node.host)
                if not str(reply).startswith("ASK "):   # it has the slot, and gives it away at the moment
                    raise link.error_of(reply)
            return None
        except BaseException:
            link.close()
            raise


def _left(deadline: float) -> float:
    return max(LEAST_S, deadline - time.monotonic())


def _host(where: str) -> str:
    return where.rpartition(":")[0].strip("[]")


class SlotWay(NamedTuple):
    """The way to the node that has *key*, wherever that is at the moment."""

    cluster: Cluster
    key: bytes

    @property
    def where(self) -> str:
        """The cluster, for messages."""
        return self.cluster.where

    def connect(self, timeout_s: float, *, protocol: int = 2, name: str = "") -> Link:
        """Connect within *timeout_s*. Raises TransportError."""
        return self.cluster.connect(self.key, timeout_s, protocol=protocol, name=name)


class Spread(NamedTuple):
    """Links to several nodes, by node, for looking at many keys; `to` makes them. All are closed at the end."""

    cluster: Cluster
    timeout_s: float
    links: dict[Node, Link]

    def to(self, key: bytes) -> Link:
        """The link to the node that has *key*. Raises TransportError."""
        node = self.cluster.owner(slot_of(key))
        if node is None or node not in self.links:
            link = self.cluster.connect(key, self.timeout_s)
            node = self.cluster.owner(slot_of(key))
            assert node is not None
            if self.links.setdefault(node, link) is not link:
                link.close()
        return self.links[node]

    def all(self) -> Iterator[Link]:
        """A link to each node that has slots. Raises TransportError."""
        for node in self.cluster.masters(self.timeout_s):
            if node not in self.links:
                self.links[node] = self.cluster.connect_to(node, self.timeout_s)
            yield self.links[node]

    def close(self) -> None:
        """Close them."""
        for link in self.links.values():
            link.close()
