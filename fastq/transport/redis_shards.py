"""A Redis Cluster as a broker: one transport for each queue, on the node that has the queue, joined into one.

All keys of a queue are on one node (redis_keys.py), so whatever a turn does to one queue is one step there, as on a
single server. What a turn does to several is not: what is sent goes first, and is confirmed; then each queue has its
turn. A worker that dies in between has sent something, and runs the task again.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from fastq.exceptions import ConfigError, LeaseLost, TransportError
from fastq.transport import redis_census
from fastq.transport.base import Caps
from fastq.transport.redis import RedisTransport
from fastq.transport.redis_cluster import Cluster, SlotWay
from fastq.transport.redis_exchange import Exchanges, unbound
from fastq.transport.redis_keys import Keys, due_ms
from fastq.transport.redis_options import RedisOptions
from fastq.transport.redis_parts import MOST_MEMBERS, Parts, bits_of, shares
from fastq.transport.redis_target import parse_many
from fastq.transport.redis_way import Way
from fastq.transport.url import split_urls
from fastq.types import DeadLetter, Deliveries, Endings, Message, QueueStat

logger = logging.getLogger("fastq.transport.redis")

CHUNK = 1024
"""Messages that are sorted by queue at once."""


def open_url(url: str | Sequence[str], options: Mapping[str, object]) -> ShardedTransport:
    """Open the cluster that one or several addresses name nodes of. Connects on first use."""
    targets = parse_many(url, options.get("ssl"))  # type: ignore[arg-type]
    read = RedisOptions.read(split_urls(url)[0], targets[0].options, options)
    if read.queue_order_strategy != "round_robin":
        raise ConfigError(f"option 'queue_order_strategy' cannot be {read.queue_order_strategy!r} on a cluster, where "
                          "each node serves its queues by itself: leave it out")
    return ShardedTransport(read.way(targets), read.keys(targets), read)


class ShardedTransport:
    """A `Transport` over a Redis Cluster; *seeds* leads to some of its nodes.

    Example::

        transport = fastq.transport.open("redis+cluster://node1:6379;redis+cluster://node2:6379")
        transport.publish_one("celery", content)
    """

    is_choked = False

    def __init__(self, seeds: Way, keys: Keys, options: RedisOptions) -> None:
        self.caps = Caps(pushes=True, has_leases=True, routes=True, ranks=len(keys.steps), serves_low_first=True,
                         defers=True)
        self._cluster = Cluster(seeds)
        self._keys = keys
        self._options = options
        self._exchanges = Exchanges(self._cluster, keys, options)
        self._members: dict[str, RedisTransport] = {}
        self._numbers: dict[str, int] = {}
        """Queue -> the number of its member in tags, for good: what was held before stays another's."""
        self._is_closed = False
        self._begin()
        _transports.add(self)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._attached: dict[str, RedisTransport] = {}
        self._worker, self._lease_s = "", 0.0
        self._turns = 0

    def _of(self, queue: str) -> RedisTransport:
        """The transport of *queue*. Raises ConfigError for a name that cannot be."""
        found = self._members.get(queue)
        if found is None:
            with self._lock:
                found = self._members.get(queue)
                if found is None:
                    found = self._members[queue] = self._make(queue)
        return found

    def _make(self, queue: str) -> RedisTransport:
        keys = self._keys.tagged(queue)
        alone = RedisOptions()
        options = self._options._replace(queue_of=unbound(self._options.queue_of), bound_to=alone.bound_to,
                                         known=alone.known)
        return RedisTransport(SlotWay(self._cluster, keys.list_of(queue)), keys, options)

    # -- producing -----------------------------------------------------------------------------

    def publish_one(self, queue: str, content: bytes, priority: int = 0, run_at: float | None = None,
                    exchange: str = "") -> None:
        """Store one message. Raises OperationalError: BrokerFull, Undeliverable, or its node is not to be had."""
        if not exchange:
            self._of(queue).publish_one(queue, content, priority, run_at)
            return
        for message in self._routed(Message(queue, content, priority, run_at, exchange)):
            self._of(message.queue).publish_one(*message[:4])

    def publish(self, messages: Iterable[Message], timeout_s: float | None = None) -> int:
        """Store many messages; all are stored when this returns how many there were. Raises OperationalError."""
        count, source = 0, iter(messages)
        while chunk := list(islice(source, CHUNK)):
            groups: dict[str, list[Message]] = {}
            for message in chunk:
                for each in self._routed(message) if message.exchange else (message,):
                    groups.setdefault(each.queue, []).append(each)
            for queue, group in groups.items():
                self._of(queue).publish(group, timeout_s)
            count += len(chunk)
        return count

    def _routed(self, message: Message) -> list[Message]:
        """*message* for each queue that its exchange feeds; for whoever listens it is sent here."""
        queues = self._exchanges.targets(message.exchange, message.queue)
        if queues is None:
            self._exchanges.spread(message.exchange, message.queue, message.content)
            return []
        return [message._replace(queue=queue, exchange="") for queue in queues]

    # -- working -------------------------------------------------------------------------------

    def attach(self, worker: str, queues: Sequence[str], lease_s: float = 30.0) -> None:
        """Consume *queues*, each under a life of its own. Raises TransportError when one of the nodes is away."""
        self._detach()
        self._worker, self._lease_s = worker, lease_s
        try:
            self._join(list(dict.fromkeys(queues)))
        except BaseException:
            self._detach()
            raise

    def _join(self, names: Sequence[str]) -> None:
        self._exchanges.declare(names)
        for name in names:
            member = self._of(name)
            member.tag_bits = bits_of(self._number_of(name))
            member.attach(self._worker, [name], self._lease_s)
            self._attached[name] = member
            self._selector.register(member.fileno(), selectors.EVENT_READ)

    def consume(self, queues: Sequence[str]) -> None:
        """Consume exactly *queues* from now on; what is held of others stays held.

        Raises TransportError when the node of a new one is away, and then nothing has changed.
        """
        self._check_attached()
        fresh = [queue for queue in dict.fromkeys(queues) if queue not in self._attached]
        try:
            self._join(fresh)
        except BaseException:
            self._detach(fresh)
            raise
        for queue, member in self._attached.items():
            member.consume([queue] if queue in queues else [])

    def _number_of(self, queue: str) -> int:
        number = self._numbers.setdefault(queue, len(self._numbers))
        if number >= MOST_MEMBERS:
            raise TransportError(f"a process can consume {MOST_MEMBERS} queues of a cluster, and no more")
        return number

    @property
    def has_settled(self) -> bool:
        """Whether all turns of all queues are answered."""
        return all(member.has_settled for member in self._attached.values())

    @property
    def is_doubtful(self) -> bool:
        """Whether the lease of any queue may be over."""
        return any(member.is_doubtful for member in self._attached.values())

    def turn(self, endings: Endings, credit: int) -> Deliveries:
        """Hand over what ended, and take what has come, queue by queue.

        Raises NotHeld, ValueError, TransportError, and LeaseLost when what is held of one queue is void. What was not
        taken over stays in *endings*.
        """
        members = self._ordered()
        parts = Parts(endings, {self._numbers[name]: name for name, _ in members})
        lost: LeaseLost | None = None
        taken: Deliveries = []
        try:
            self._send_ahead(parts, endings)
            quiet = [member.is_quiet for _, member in members]
            given = shares(credit, quiet)
            for (name, member), share in zip(members, given, strict=True):
                try:
                    came = member.turn(parts.of(name), min(share, credit))
                except LeaseLost as error:
                    lost = error    # the others settle all the same
                else:
                    credit -= sum(len(rows) for _, rows in came)
                    taken += came
        except BaseException:
            parts.give_back(endings)
            raise
        if lost is not None:
            raise lost
        return taken

    def _ordered(self) -> list[tuple[str, RedisTransport]]:
        """The members, each turn another one first."""
        self._check_attached()
        self._turns += 1
        at = self._turns % len(self._attached)
        members = list(self._attached.items())
        return members[at:] + members[:at]

    def _check_attached(self) -> None:
        if not self._attached:
            raise TransportError("this transport is not attached: attach(worker, queues) comes first")

    def _send_ahead(self, parts: Parts, endings: Endings) -> None:
        """Send what cannot be part of a step: what goes to another queue than the one whose messages end."""
        if endings.results:
            raise ValueError("a cluster stores no results along with acks; a result store does")
        alone = parts.alone
        ahead = []
        for message in endings.publish:
            if message.queue == alone and not message.exchange:
                parts.of(alone).publish.append(message)
            else:
                if not 0 <= message.priority <= 9:
                    raise ValueError(f"priority must be from 0 to 9, not {message.priority}")
                due_ms(message.run_at or 0)
                ahead.append(message)
        if ahead:
            self.publish(ahead)
        endings.publish.clear()

    def fileno(self) -> int:
        """A descriptor that is readable when there may be work."""
        self._check_attached()
        return self._selector.fileno()

    def arm(self) -> float | None:
        """Listen for work; 0.0 when there is some, else the seconds until something falls due, or None."""
        dues = [due for _, member in self._ordered() if (due := member.arm()) is not None]
        return min(dues, default=None)

    def keep(self) -> int:
        """Renew the leases, and bring back what dead workers held; returns how many came back."""
        count, failure = 0, None
        for _, member in self._ordered():
            try:
                count += member.keep()
            except TransportError as error:
                failure = failure or error      # the other leases are renewed all the same
        if failure is not None:
            raise failure
        return count

    def _detach(self, names: Iterable[str] | None = None) -> None:
        """Give back what is held of the queues *names*, by default of all, and end their lives."""
        for name in list(self._attached if names is None else names):
            member = self._attached.pop(name, None)
            if member is not None:
                self._selector.unregister(member.fileno())
                member.detach()

    # -- looking -------------------------------------------------------------------------------

    def _census(self) -> redis_census.Census:
        known = {*self._options.known(), *self._attached}
        return redis_census.Census(self._cluster, self._keys, known, self._options.connect_timeout_s)

    def queues(self) -> dict[str, QueueStat]:
        """Every queue that is known to the cluster or to this app, with its figures."""
        with self._census() as census:
            return census.figures()

    def purge(self, queue: str) -> int:
        """Drop every ready and future message of *queue*; returns how many."""
        with self._census() as census:
            return census.purge(queue)

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """The newest messages that were given up."""
        with self._census() as census:
            return census.dead_letters(queue, limit)

    def resolve_dead(self, ids: Sequence[int], *, replay: bool) -> int:
        """Put dead messages back in their queues (`replay`), or drop them; returns how many."""
        with self._census() as census:
            return census.resolve_dead(ids, replay=replay)

    # -- the end -------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """Begin anew in a forked child; its members do so by themselves."""
        self._exchanges.after_fork()
        self._selector.close()
        if not self._is_closed:
            self._begin()

    def close(self) -> None:
        """Give back what is held, and close. Safe to call twice."""
        if self._is_closed or self._pid != os.getpid():
            return
        self._is_closed = True
        try:
            self._detach()
        finally:
            for member in list(self._members.values()):
                member.close()
            self._exchanges.close()
            self._selector.close()


_transports: weakref.WeakSet[ShardedTransport] = weakref.WeakSet()


def _begin_in_child() -> None:
    for transport in list(_transports):
        transport.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
