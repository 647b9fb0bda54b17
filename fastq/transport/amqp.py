"""RabbitMQ, and whoever speaks AMQP 0-9-1 as it does: one connection to publish, one to consume.

1. Publish: pipelined and confirmed; amqp_publish.py.
2. Work: `turn` hands over what ended and takes what came. A message that leaves together with an ack is confirmed
   before the ack is sent, so that a death in between doubles and never loses.
3. Sleep on `fileno`; `keep`, `arm` and `turn` send the heartbeats.
4. What comes back: the broker says only that a delivery was made before. Whoever held it vanished, so it counts as a
   death, in a header of a copy; what a worker gives back itself is copied without one. Copies with deaths wait in a
   queue of their own, amqp_trial.py.
5. Look: figures, purge, dead letters.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import selectors
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from fastq.amqp.brokers import Brokers
from fastq.amqp.link import Link
from fastq.amqp.target import Target, mask, parse_many
from fastq.exceptions import ConnectionLost, OperationalError, TransportError
from fastq.transport import amqp_stat
from fastq.transport.amqp_consume import Consumer, Runs
from fastq.transport.amqp_guard import Guard
from fastq.transport.amqp_hold import StandIns
from fastq.transport.amqp_leave import Leaving
from fastq.transport.amqp_options import AmqpOptions
from fastq.transport.amqp_publish import Publisher
from fastq.transport.amqp_route import Routes
from fastq.transport.amqp_side import SideChannel
from fastq.transport.amqp_trial import Trials
from fastq.transport.amqp_watch import Watch
from fastq.transport.base import Caps
from fastq.types import DeadLetter, Deliveries, Endings, Message, QueueStat

logger = logging.getLogger("fastq.transport.amqp")

EPOCH_BITS = 48
"""Delivery tags start anew with every channel; above these bits stands how often this transport attached."""
HOUR_S = 3600.0
LOOK_S = 0.05
"""While deliveries keep coming, how often to see to heartbeats and to what is said on the other connection."""
STUCK_S = 0.25
"""What nobody took for so long goes back, so that another worker gets it."""


def open_url(url: str | Sequence[str], options: Mapping[str, object]) -> AmqpTransport:
    """Open the brokers at one or several ``amqp://`` addresses. Connects on first use."""
    targets = parse_many(url, options.get("ssl"))  # type: ignore[arg-type]
    first = url if isinstance(url, str) else url[0]
    return AmqpTransport(targets, AmqpOptions.read(mask(first), targets[0].options, options))


class AmqpTransport:
    """A `Transport` over AMQP.

    Example::

        transport = fastq.transport.open("amqp://guest:guest@localhost//")
        transport.publish_one("celery", content)
    """

    caps = Caps(stores_results=True, pushes=True, routes=True, future_grain_s=1.0)

    def __init__(self, targets: Sequence[Target], options: AmqpOptions) -> None:
        self._brokers = Brokers(targets, options.connect_timeout_s, options.failover, options.login_method,
                                options.client_properties)
        self._options = options
        self.caps = self.caps._replace(hold_s=options.hold_s or math.inf)
        self._routes = Routes(options)
        self._stand_ins = StandIns(self._routes)
        self._queues: Sequence[str] = ()
        self._watch = Watch()
        self._heartbeat_s = 0.0
        self._epoch = 0
        self._closed = False
        self._begin()
        _transports.add(self)

    def _begin(self) -> None:
        """Have no connection, and nothing under way; what a process does not share with the one it was forked from."""
        options = self._options
        self._pid = os.getpid()
        self._poller = selectors.DefaultSelector()
        self._publisher = Publisher(lambda timeout_s: self._connect(self._heartbeat_s, timeout_s), self._routes,
                                    timeout_s=options.publish_timeout_s,
                                    on_link=partial(self._watch_link, "publisher"))
        self._trials = Trials(options.death_limit, options.children, self._routes.has_trials)
        self._leaving = Leaving(self._publisher, self._routes, self._trials, options.result_content)
        self._watched: dict[str, Link] = {}
        self._consumer: Consumer | None = None
        self._side: SideChannel | None = None
        """Beside the consumer, on its connection."""
        self._left = 0
        """Of the credit when there was some last."""
        self._look_at = 0.0
        self._guard: Guard | None = None

    # -- connections ---------------------------------------------------------------------------

    def _connect(self, heartbeat_s: float = 0.0, timeout_s: float = float("inf")) -> Link:
        link = self._brokers.connect(min(timeout_s, self._options.connect_timeout_s), heartbeat_s)
        link.send_timeout_s = self._options.publish_timeout_s
        return link

    def _watch_link(self, name: str, link: Link | None) -> None:
        before = self._watched.pop(name, None)
        if before is not None and before.is_open:
            self._poller.unregister(before)
        elif before is not None:
            # Its descriptor is closed, and with it what the kernel knew; the selector's own note remains.
            self._forget_closed(before)
        if link is not None:
            self._watched[name] = link
            self._poller.register(link, selectors.EVENT_READ)

    def _forget_closed(self, link: Link) -> None:
        for key in list(self._poller.get_map().values()):
            if key.fileobj is link:
                self._poller.unregister(key.fd)

    # -- publishing ----------------------------------------------------------------------------

    def publish_one(self, queue: str, content: bytes, priority: int = 0, run_at: float | None = None,
                    exchange: str = "") -> None:
        """Send one message; it is sent again until the broker confirms it. Raises TransportError."""
        if not 0 <= priority <= 9:
            raise ValueError(f"priority must be from 0 to 9, not {priority}")
        self._publisher.publish_one(queue, content, priority, run_at, exchange)
        if self._options.confirm_publish:
            self._publisher.flush()
        elif self._consumer is None:
            guard = self._guard
            if guard is None or not guard.is_awake:
                self._wake_guard()

    def publish(self, messages: Iterable[Message], timeout_s: float | None = None) -> int:
        """Send many messages; they, and all sent before, are confirmed when this returns.

        Raises OperationalError when *timeout_s* seconds (option ``publish_timeout_s``) bring no progress.
        """
        try:
            return self._publisher.publish(_checked(messages), timeout_s)
        except OperationalError:
            if self._publisher.pending:
                self._wake_guard()
            raise

    def _wake_guard(self) -> None:
        with self._publisher.lock:
            if self._guard is None:
                self._guard = Guard(self._publisher)
                _open_transports.add(self)
            self._guard.wake()

    # -- working -------------------------------------------------------------------------------

    def attach(self, worker: str, queues: Sequence[str], lease_s: float = 30.0) -> None:
        """Consume *queues*; what was held before goes back. A lease of hours stands for a loop that cannot beat."""
        self._detach()
        self._queues = list(queues)
        self._heartbeat_s = self._options.heartbeat_s if lease_s < HOUR_S else 0.0
        link = self._connect(self._heartbeat_s)
        try:
            self._epoch += 1
            base, side = self._epoch << EPOCH_BITS, SideChannel(link)
            consumer = Consumer(link, self._queues, base, arguments=self._routes.consumer_arguments,
                                on_get=self._trials.hear)
            self._routes.prepare(side, self._queues)
            self._trials.begin(self._queues, base)
            self._trials.search(side)
        except BaseException:
            link.abandon()
            raise
        # From here on a question is asked beside work that must not wait.
        link.call_timeout_s = self._options.publish_timeout_s
        self._consumer, self._side, self._left = consumer, side, 0
        self._watch.begin()
        self._watch_link("consumer", link)

    def consume(self, queues: Sequence[str]) -> None:
        """Consume exactly *queues* from now on; what is held of others stays held.

        Raises BrokerRefused for one that the broker will not have, and ConnectionLost when all that is held is void.
        """
        consumer, side = self._attached(), self._side
        assert side is not None
        fresh = [queue for queue in dict.fromkeys(queues) if queue not in consumer.queues]
        if fresh:
            self._try_queues(fresh)
        try:
            if fresh:
                # Once more, here: an exclusive queue went with the connection that tried it.
                self._routes.prepare(side, fresh)
            self._queues = list(dict.fromkeys(queues))
            consumer.choose(self._queues)
            self._trials.choose(self._queues)
            if fresh:
                self._trials.search(side)
            consumer.send()
        except ConnectionLost as error:
            error.unread = self._lose()
            raise

    def _try_queues(self, queues: Sequence[str]) -> None:
        """Declare *queues* on a connection of its own: a refusal may end it. Raises TransportError."""
        link = self._connect()
        try:
            self._routes.prepare(SideChannel(link), queues)
        except ConnectionLost as error:
            raise TransportError(str(error)) from error
        finally:
            link.close()

    def turn(self, endings: Endings, credit: int) -> Deliveries:
        """Settle what ended, and take what has come.

        Raises NotHeld, and ConnectionLost when all that is held is void.
        """
        consumer = self._attached()
        consumer.check(endings.ack, endings.back)
        if endings.lost or endings.dead:
            consumer.check([(tag, tag) for tag in endings.lost], [(tag, tag) for tag, _ in endings.dead])
        is_plain = self._is_plain(consumer, endings)
        try:
            if is_plain:
                consumer.ack(endings.ack)
                endings.ack.clear()
            else:
                self._settle(consumer, endings)
            if credit > 0:
                self._ask(consumer, credit)
            consumer.send()
            if not consumer.read() or time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + LOOK_S
                consumer.link.beat()
                if is_plain:
                    self._publisher.poll()
        except ConnectionLost as error:
            error.unread = self._lose()
            raise
        return self._take(consumer, credit)

    def _is_plain(self, consumer: Consumer, endings: Endings) -> bool:
        """Whether all there is to do are acks that wait for nothing: then no confirm can be on its way either."""
        return not (endings.back or endings.lost or endings.anew or endings.dead or endings.publish or endings.results
                    or consumer.is_gated or self._trials.is_sending or self._publisher.pending)

    def _ask(self, consumer: Consumer, credit: int) -> None:
        trials = self._trials
        if trials.is_idle:
            consumer.resize(consumer.in_hand + credit)
            return
        if not self.is_choked:
            # What is taken now could not be given back, and so would count a death at a shutdown.
            trials.ask(consumer, credit)
        consumer.resize(consumer.in_hand - trials.in_hand(consumer) + credit - trials.expected)

    def _take(self, consumer: Consumer, credit: int) -> Deliveries:
        found = self._trials.take(consumer) if credit > 0 else []
        room = credit - len(found) - self._trials.expected
        others, suspects = self._trials.sift(consumer.take(room))
        if suspects:
            consumer.ack(*self._leaving.move(suspects))
            self._publisher.poll()
        found += others
        if credit > 0:
            self._left = credit - sum(len(rows) for _, rows in found)
        return found + consumer.take_stand_ins()

    def _settle(self, consumer: Consumer, endings: Endings) -> None:
        """Give every ending to the broker, and remove it from *endings*, so that nothing is done twice."""
        if endings.anew:
            assert self._side is not None
            self._stand_ins.renew(consumer, self._side, endings, is_choked=self.is_choked)
        acks, gate = self._leaving.offer(consumer, endings)
        if endings.back:
            back, gate = self._give_back(consumer, endings, gate)
            acks += back
        self._publisher.poll()
        self._trials.arrived(self._publisher.settled)
        ready, ended = consumer.open_gates(self._publisher.settled), endings.ack + acks
        if gate <= self._publisher.settled:
            ready += ended
        else:
            consumer.ack(ended, gate)
        consumer.ack(ready)
        for over in (endings.ack, endings.back, endings.lost, endings.dead, endings.publish, endings.results,
                     endings.rows):
            over.clear()

    def _give_back(self, consumer: Consumer, endings: Endings, gate: int = 0) -> tuple[Runs, int]:
        """Put back *endings.back*, and with it all that nobody took yet."""
        if consumer.is_still:
            consumer.pause()
        for queue, batch in [*self._trials.take(consumer), *consumer.take(consumer.gathered)]:
            for tag, deaths, content in batch:
                endings.rows[tag] = queue, deaths, content
                endings.back.append((tag, tag))
        return self._leaving.give_back(consumer, endings, gate)

    def fileno(self) -> int:
        """A descriptor that is readable when the broker said something, on either connection."""
        self._attached()
        return self._poller.fileno()

    def arm(self) -> float | None:
        """Say when to look again: at once when there is work, else when a heartbeat or an attempt to connect is due."""
        consumer = self._attached()
        # What has come is left alone while the only room is kept for what was asked for.
        is_kept = 0 < self._left <= self._trials.expected and not self._trials.has_come
        if consumer.link.has_news() or self._trials.has_come or (consumer.gathered and not is_kept):
            return 0.0
        try:
            consumer.send()
            waits = [consumer.link.beat(), self._publisher.retry_in, consumer.cramped_in]
            if self._left > 0 and not self.is_choked:
                waits.append(self._trials.due_in(consumer))
        except ConnectionLost as error:
            error.unread = self._lose()
            raise
        known = [wait for wait in waits if wait is not None]
        return min(known) if known else None

    def keep(self) -> int:
        """Send heartbeats, look for trials and for queues that give nothing, and give back what found no room for long.

        What dead workers held comes back by itself. Returns whether something came that needs no room.
        """
        consumer = self._attached()
        assert self._side is not None
        try:
            if self._is_stuck(consumer) and not self.is_choked:
                consumer.pause()
                acks, gate = self._give_back(consumer, Endings())
                self._publisher.poll()
                consumer.ack(acks, gate)
                consumer.send()
            self._trials.look(self._side)
            self._watch.look(self._side, consumer, has_room=self._left > 0 and not consumer.gathered)
        except ConnectionLost as error:
            error.unread = self._lose()
            raise
        self.arm()
        return int(consumer.has_stand_ins)

    def _is_stuck(self, consumer: Consumer) -> bool:
        return bool(consumer.gathered or self._trials.has_come) and time.monotonic() - consumer.taken_at >= STUCK_S

    @property
    def has_settled(self) -> bool:
        """Whether all is confirmed that was published."""
        return not self._publisher.pending

    is_doubtful = False
    """There are no leases."""

    @property
    def is_choked(self) -> bool:
        """Whether the broker blocks publishers, as far as is known; while it does, only a shutdown gives back."""
        return self._leaving.is_choked

    def _attached(self) -> Consumer:
        if self._consumer is None:
            raise TransportError("this transport is not attached: attach(worker, queues) comes first")
        return self._consumer

    def _lose(self) -> int:
        """Give the connection up; returns how many deliveries may have been on their way here."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return 0
        # Suspects are held, but no window counts them.
        unread = consumer.unread + self._trials.in_hand(consumer)
        self._trials.begin((), 0)
        self._watch_link("consumer", None)
        consumer.link.abandon()
        return unread

    def _detach(self) -> None:
        """Stop consuming, and give back what nobody took."""
        consumer = self._consumer
        if consumer is None:
            return
        try:
            consumer.finish()
            acks, _ = self._give_back(consumer, Endings())
            consumer.send()
            self._publisher.drain()
            consumer.ack(consumer.open_gates(self._publisher.settled) + acks)
            consumer.send()
            # A socket that is closed with something unread in it takes along what the broker has not read yet.
            consumer.close()
        except OperationalError:
            return      # it all goes back when the connection ends
        finally:
            self._watch_link("consumer", None)
            self._consumer = None
            self._trials.begin((), 0)
            consumer.link.close()

    # -- looking -------------------------------------------------------------------------------

    @contextmanager
    def _looking(self) -> Iterator[SideChannel]:
        """A connection of its own: what is asked here may be refused, and may take long."""
        if self._publisher.link is not None:
            self._publisher.drain()
        link = self._connect(0.0)
        try:
            yield SideChannel(link)
        finally:
            link.close()

    def queues(self) -> dict[str, QueueStat]:
        """The queues that this transport knows, with what is ready in each; the broker tells no more."""
        with self._looking() as side:
            return amqp_stat.queues(side, {*self._routes.known, *self._queues, *self._options.known()})

    def purge(self, queue: str) -> int:
        """Drop what is ready in *queue*; returns how many."""
        with self._looking() as side:
            return amqp_stat.purge(side, queue)

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """The newest messages that were given up."""
        with self._looking() as side:
            return self._routes.dead.read(side, queue, limit)

    def resolve_dead(self, ids: Sequence[int], *, replay: bool) -> int:
        """Put dead messages back in their queues (`replay`), or drop them; returns how many."""
        with self._looking() as side:
            return self._routes.dead.resolve(side, ids, replay=replay)

    def after_fork(self) -> None:
        """Begin anew in a forked child: its parent goes on with the connections, and sends what it sent."""
        for link in self._watched.values():
            link.abandon()
        # The kernel's part of it is the parent's too: nothing may be unregistered.
        self._poller.close()
        if not self._closed:
            self._begin()

    def close(self) -> None:
        """Give back what is held, flush what was published, and close. Safe to call twice."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        self._detach()
        if self._guard is not None:
            self._guard.stop()
        self._publisher.close(self._options.publish_timeout_s)
        self._poller.close()
        _open_transports.discard(self)


def _checked(messages: Iterable[Message]) -> Iterator[Message]:
    for message in messages:
        if not 0 <= message.priority <= 9:
            raise ValueError(f"priority must be from 0 to 9, not {message.priority}")
        yield message


_open_transports: weakref.WeakSet[AmqpTransport] = weakref.WeakSet()
"""Those that are flushed at the end of the interpreter."""
_transports: weakref.WeakSet[AmqpTransport] = weakref.WeakSet()


def _flush_at_exit() -> None:
    for transport in list(_open_transports):
        transport.close()


atexit.register(_flush_at_exit)


def _begin_in_child() -> None:
    """Close a child's part in its parent's connections, by which the broker would take the parent for alive."""
    for transport in list(_transports):
        transport.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
