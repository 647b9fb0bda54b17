"""Redis and Valkey, with kombu's keys, so that Celery and fastq share queues.

1. Publish: redis_publish.py.
2. Work: one life with a lease (redis_desk.py, redis_lease.py), whose turns are scripts that are done once.
3. Sleep on `fileno`, over all connections and all reconnects.
4. Look: figures, purge, dead letters.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from fastq.exceptions import ConnectionLost, LeaseLost, TransportError
from fastq.transport import redis_binding, redis_dead, redis_hand_over, redis_lease, redis_stat
from fastq.transport.base import Caps
from fastq.transport.redis_desk import Desk
from fastq.transport.redis_ears import Poller
from fastq.transport.redis_fanout import Fanout, channels_of
from fastq.transport.redis_keeper import Keeper
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_lanes import Lanes
from fastq.transport.redis_lease import Lease
from fastq.transport.redis_link import Link
from fastq.transport.redis_options import RedisOptions
from fastq.transport.redis_publish import Publisher
from fastq.transport.redis_restore import Restorer
from fastq.transport.redis_route import Place, Routes
from fastq.transport.redis_target import parse_many
from fastq.transport.redis_turn import Packer
from fastq.transport.redis_way import AnyWay
from fastq.transport.url import split_urls
from fastq.types import DeadLetter, Deliveries, Endings, Message, QueueStat

logger = logging.getLogger("fastq.transport.redis")

HOUR_S = 3600.0
"""A lease so long says that the worker cannot renew it while a task runs: a thread renews a shorter one."""


def open_url(url: str | Sequence[str], options: Mapping[str, object]) -> RedisTransport:
    """Open the servers at one or several addresses. Connects on first use."""
    targets = parse_many(url, options.get("ssl"))  # type: ignore[arg-type]
    read = RedisOptions.read(split_urls(url)[0], targets[0].options, options)
    return RedisTransport(read.way(targets), read.keys(targets), read)


class RedisTransport:
    """A `Transport` over Redis.

    Example::

        transport = fastq.transport.open("redis://localhost:6379/0")
        transport.publish_one("celery", content)
    """

    is_choked = False
    """A full server still takes what goes back."""

    def __init__(self, way: AnyWay, keys: Keys, options: RedisOptions) -> None:
        self._options = options
        self._keys = keys
        self._way = way
        self.tag_bits = 0
        """What the tags of deliveries have besides; for whoever joins several transports."""
        self.caps = Caps(stores_results=True, pushes=True, has_leases=True, routes=True, ranks=len(self._keys.steps),
                         serves_low_first=True, defers=True)
        self._closed = False
        self._number = 0
        connect = partial(self._way.connect, name=options.client_name)
        self._publisher = Publisher(connect, Routes(self._keys, options.queue_of, options.bound_to),
                                    timeout_s=options.publish_timeout_s, health_check_s=options.health_check_s,
                                    connect_timeout_s=options.connect_timeout_s)
        self.publish_one = self._publisher.publish_one
        self._begin()
        _transports.add(self)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._poller = Poller()
        self._desk: Desk | None = None
        self._lease: Lease | None = None
        self._keeper: Keeper | None = None
        self._fanout: Fanout | None = None

    def _connect(self, timeout_s: float, protocol: int = 2) -> Link:
        return self._way.connect(min(timeout_s, self._options.connect_timeout_s), protocol=protocol,
                                 name=self._options.client_name)

    def publish(self, messages: Iterable[Message], timeout_s: float | None = None) -> int:
        """Store many messages; all are stored when this returns how many there were. Raises OperationalError."""
        return self._publisher.publish(messages, timeout_s)

    # -- working -------------------------------------------------------------------------------

    def attach(self, worker: str, queues: Sequence[str], lease_s: float = 30.0) -> None:
        """Consume *queues* under a new life. Raises TransportError."""
        self.detach()
        order = self._options.queue_order_strategy
        lanes = Lanes(self._keys, sorted(queues) if order == "sorted" else queues,
                      f"{worker}.{uuid.uuid4().hex[:12]}", are_ranked=order != "round_robin")
        link = self._connect(float("inf"))
        limit = self._options.death_limit
        is_kept = lease_s >= HOUR_S
        lease_s = self._options.kept_lease_s if is_kept else lease_s
        leased_until = time.monotonic() + lease_s
        try:
            redis_lease.begin(link, lanes, lease_s)
        except BaseException:
            link.abandon()
            raise
        packer = Packer(self._keys, lanes, self._place, self._options.result_prefix)
        self._desk = Desk(link, lanes, packer, self._connect, self._poller, wait_s=max(0.05, min(10.0, lease_s / 3)),
                          death_limit=limit, number=self._number, tag_bits=self.tag_bits,
                          reconnects=self._options.reconnects)
        self._desk.leased_until = leased_until
        told = self._options
        restorer = Restorer(self._keys, self._keys.of_celery(told.unacked_key),
                            self._keys.of_celery(told.unacked_index_key), told.visibility_timeout)
        self._lease = Lease(self._desk, self._keys, restorer, lease_s, limit)
        self._keeper = Keeper(lanes, lease_s, self._connect) if is_kept else None
        self._bind(lanes.queues)
        self._listen_to_all(lanes.queues)
        self.keep()

    def consume(self, queues: Sequence[str]) -> None:
        """Consume exactly *queues* from now on; what is held of others stays held."""
        self._attached().serve(queues)
        self._bind(queues)
        self._listen_to_all(queues)

    def _bind(self, queues: Iterable[str]) -> None:
        """Bind *queues* to their exchanges, for clients that know nothing but the exchange."""
        line = self._attached().line
        for queue in filter(None, map(self._options.queue_of, queues)):
            for command in redis_binding.declare(queue, self._keys):
                if line is not None:
                    line.tell(*command)

    def _listen_to_all(self, queues: Sequence[str]) -> None:
        """Listen to what is published to everybody, where any of *queues* is fed by that."""
        channels = channels_of(self._keys, map(self._options.queue_of, queues))
        fanout, line = self._fanout, self._attached().line
        if channels == (fanout.channels if fanout is not None else {}):
            return
        if fanout is not None:
            fanout.close()
        self._fanout = Fanout(self._keys, channels, self._connect, self._poller) if channels else None
        if self._fanout is None:
            return
        if self._fanout.own and line is not None:    # nobody else has to know of them
            line.tell("SREM", self._keys.queues, *self._fanout.own)
        self._fanout.tend()

    def _place(self, message: Message) -> Place:
        """Where a message goes that leaves with a turn."""
        try:
            place = self._publisher.place(message)
            if not place.is_plain:
                # Nothing of it can be part of the turn: it leaves before, so that it is rather doubled than lost.
                self._publisher.publish([message])
                return Place()
            return place
        except ConnectionLost as error:
            # The producer's connection: what this worker holds is as safe as before.
            raise TransportError(str(error)) from error

    @property
    def has_settled(self) -> bool:
        """Whether all turns are answered."""
        return self._desk is None or self._desk.has_settled

    def turn(self, endings: Endings, credit: int) -> Deliveries:
        """Hand over what ended, and take what has come. Raises NotHeld, and LeaseLost when all that is held is void."""
        desk = self._attached()
        self._look()
        return desk.turn(endings, credit)

    def _look(self) -> float:
        """Renew the lease and look after others when it is time, which a worker does not know; returns when it is."""
        assert self._desk is not None and self._lease is not None
        if time.monotonic() >= self._lease.due_at:
            self._desk.give_back_stuck()
            self._lease.look()
        return self._lease.due_at

    @property
    def is_doubtful(self) -> bool:
        """Whether no renewal is known that still holds: this worker was stopped, or the server did not answer."""
        return self._desk is not None and time.monotonic() >= self._desk.leased_until

    def fileno(self) -> int:
        """A descriptor that is readable when there may be work."""
        self._attached()
        return self._poller.fileno()

    def arm(self) -> float | None:
        """Listen for work; 0.0 when there is some, else the seconds until something falls due, or None."""
        if self._fanout is not None:
            self._fanout.tend()
        desk = self._attached()
        look_at = self._look()
        due = desk.arm()
        look_in = max(0.001, look_at - time.monotonic())
        return look_in if due is None else min(due, look_in)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come for this worker, and nothing is expected unless somebody sends it."""
        return self._attached().is_quiet

    def keep(self) -> int:
        """Renew the lease, and bring back what dead workers held; returns how many came back."""
        desk = self._attached()
        assert self._lease is not None
        if self._fanout is not None:
            self._fanout.tend()
        desk.give_back_stuck()
        return self._lease.keep()

    def _attached(self) -> Desk:
        if self._desk is None:
            raise TransportError("this transport is not attached: attach(worker, queues) comes first")
        return self._desk

    def detach(self) -> None:
        """Give back what is held, and end the life. What cannot be said now comes back when the lease is over."""
        desk, self._desk, self._lease = self._desk, None, None
        keeper, self._keeper = self._keeper, None
        fanout, self._fanout = self._fanout, None
        if fanout is not None:
            fanout.close()
        if desk is None:
            return
        try:
            if desk.is_over:
                return      # and whoever had a turn knows
            if not desk.flush(self._options.publish_timeout_s):
                logger.error("Redis at %s is away: what this worker held comes back when its lease is over, and %s",
                             self._way.where, desk.unsaid)
            desk.ears.close()
            if desk.line is not None:
                redis_lease.leave(desk.line.link, desk.lanes)
                if fanout is not None and fanout.own:
                    desk.line.link.call("DEL", *(key for name in fanout.own for key in self._keys.lists_of(name)))
        except LeaseLost as error:
            logger.error("%s", error)
        except TransportError as error:
            logger.error("%s; what this worker held comes back when its lease is over", error)
        finally:
            self._number = desk.next_number
            desk.close()
            if keeper is not None:
                keeper.stop()

    # -- looking -------------------------------------------------------------------------------

    @contextmanager
    def _looking(self) -> Iterator[tuple[Link, list[str]]]:
        """A connection of its own, and the names of all queues."""
        link = self._connect(self._options.connect_timeout_s)
        try:
            known = {*self._options.known(), *(self._desk.lanes.queues if self._desk is not None else ())}
            yield link, redis_stat.names(link, self._keys, known)
        finally:
            link.close()

    def queues(self) -> dict[str, QueueStat]:
        """Every queue that is known to fastq, to Celery or to this app, with its figures."""
        with self._looking() as (link, names):
            return redis_stat.figures(link, self._keys, names)

    def purge(self, queue: str) -> int:
        """Drop every ready and future message of *queue*; returns how many."""
        with self._looking() as (link, _):
            return redis_stat.purge(link, self._keys, queue)

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """The newest messages that were given up."""
        with self._looking() as (link, names):
            return redis_dead.letters(link, self._keys, names if queue is None else [queue], limit)

    def resolve_dead(self, ids: Sequence[int], *, replay: bool) -> int:
        """Put dead messages back in their queues (`replay`), or drop them; returns how many."""
        with self._looking() as (link, names):
            return redis_dead.resolve(link, self._keys, names, ids, replay=replay)

    def hand_over(self, queue: str) -> redis_hand_over.HandedOver:
        """Put what only fastq's workers read into the lists of *queue*. Raises StillServed while one serves it."""
        with self._looking() as (link, _):
            return redis_hand_over.hand_over(link, self._keys, queue)

    # -- the end -------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """Begin anew in a forked child: its parent goes on with the connections."""
        self._publisher.after_fork()
        # The kernel's part of it is the parent's too: nothing may be unregistered.
        self._poller.close()
        if self._desk is not None:
            self._desk.close()
        if self._fanout is not None:
            self._fanout.close()
        if not self._closed:
            self._begin()

    def close(self) -> None:
        """Give back what is held, and close. Safe to call twice."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        try:
            self.detach()
        finally:
            self._publisher.close()
            self._poller.close()


_transports: weakref.WeakSet[RedisTransport] = weakref.WeakSet()


def _begin_in_child() -> None:
    for transport in list(_transports):
        transport.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
