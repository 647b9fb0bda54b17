"""Where a message goes in Redis: a list, several of them, a channel, or the set of what is not due yet.

The first message for a queue declares it: its name goes into the set of all queues, its binding to where kombu keeps
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fastq._ext.envelope import scan
from fastq.exceptions import Undeliverable
from fastq.transport.redis_binding import Binding, Command, declare, expiry_ms, parse_table
from fastq.transport.redis_keys import Keys, due_ms
from fastq.transport.redis_script import Script
from fastq.wire.entity import Queue

TABLE_S = 5.0
"""How long the bindings of an exchange are known without asking again."""

LATER = Script.named("later").lean
"""Brought along by each message: a producer need not know whether the server has forgotten it."""

Ask = Callable[[Sequence[Command]], list[object]]
"""Sends commands and returns their replies; raises for an error reply."""


class Place(NamedTuple):
    """Where one message goes: to all of *lists*, or for each to the set in *future*, due at *score*, or to a *channel*.

    With *movers* to the set only if that key is there: else perhaps nobody moves what falls due out of it. *expiring*
    are the lists that have to live *expires_ms* longer from now.
    """

    lists: Sequence[bytes] = ()
    channel: bytes = b""
    future: Sequence[bytes] = ()
    score: int = 0
    movers: Sequence[bytes] = ()
    expiring: Sequence[bytes] = ()
    expires_ms: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether nothing but LPUSH is needed."""
        return not (self.channel or self.future or self.expiring)

    def commands(self, envelope: bytes) -> list[Command]:
        """What stores *envelope* there."""
        if self.channel:
            return [("PUBLISH", self.channel, envelope)]
        if self.movers:
            return [("EVAL", LATER, 3, mover, future, key, self.score, envelope)
                    for mover, future, key in zip(self.movers, self.future, self.lists, strict=True)]
        if self.future:
            return [("ZADD", future, self.score, b"%b\n%b" % (key, envelope))
                    for future, key in zip(self.future, self.lists, strict=True)]
        return [*(("LPUSH", key, envelope) for key in self.lists),
                *(("PEXPIRE", key, self.expires_ms) for key in self.expiring)]


class Routes:
    """Finds the places of messages. What it knows holds for one server: `forget` it with a new connection.

    *queue_of* tells what to declare under a name, *bound_to* which of the app's queues an exchange feeds.
    """

    def __init__(self, keys: Keys, queue_of: Callable[[str], Queue | None],
                 bound_to: Callable[[str], Iterable[Queue]]) -> None:
        self.keys = keys
        self.plain: dict[tuple[str, int], bytes] = {}
        """(queue, priority) -> list, where LPUSH is all that a message now takes."""
        self._queue_of = queue_of
        self._bound_to = bound_to
        self._expiries: dict[str, int | None] = {}
        self._tables: dict[str, tuple[float, list[Binding]]] = {}

    def forget(self) -> None:
        """Declare and ask anew: the next server may be an empty one."""
        self.plain.clear()
        self._expiries.clear()
        self._tables.clear()

    def place(self, ask: Ask, queue: str, content: bytes, priority: int, run_at: float | None, exchange: str) -> Place:
        """Return where a message goes, and see to it that the queue is declared.

        Raises Undeliverable when no queue is bound to the exchange by that key, TransportError, ValueError.
        """
        if not 0 <= priority <= 9:
            raise ValueError(f"priority must be from 0 to 9, not {priority}")
        if exchange and self.is_fanout(exchange):
            return Place(channel=self.keys.channel(exchange, queue))
        queues = self.bound_queues(ask, exchange, queue) if exchange else [queue]
        self.declare(ask, queues)
        lists = [self.keys.list_of(name, priority) for name in queues]
        expiring = [name for name in queues if self._expiries[name] is not None]
        if run_at is not None:
            # Whoever reads an ETA waits for it, and Celery's workers know of no other way. On a cluster there are none.
            says_so = not self.keys.tag and bool(scan(content)["eta"])
            if not (says_so and expiring):
                return Place(lists, future=[self.keys.future(name) for name in queues], score=due_ms(run_at),
                             movers=[self.keys.mover(name) for name in queues] if says_so else ())
        if expiring:
            return Place(lists, expiring=[key for name in expiring for key in self.keys.lists_of(name)],
                         expires_ms=min(self._expiries[name] or 0 for name in expiring))
        if not exchange:
            self.plain[queue, priority] = lists[0]
        return Place(lists)

    def declare(self, ask: Ask, queues: Iterable[str]) -> None:
        """Make queues known to all who look, and bind them as their exchanges say; asks once for each."""
        fresh = [name for name in queues if name not in self._expiries]
        if not fresh:
            return
        commands: list[Command] = [("SADD", self.keys.queues, *fresh)]
        expiries: dict[str, int | None] = {}
        for name in fresh:
            queue = self._queue_of(name)
            expiries[name] = None if queue is None else expiry_ms(queue)
            if queue is not None:
                commands += declare(queue, self.keys)
        ask(commands)
        self._expiries.update(expiries)

    def is_fanout(self, exchange: str) -> bool:
        """Whether what goes to *exchange* goes to all who listen."""
        return any(queue.exchange.type == "fanout" for queue in self._bound_to(exchange)
                   if queue.exchange.name == exchange)

    def bound_queues(self, ask: Ask, exchange: str, routing_key: str) -> list[str]:
        """The queues that *exchange* feeds with *routing_key*. Raises Undeliverable when there is none."""
        until, table = self._tables.get(exchange, (0.0, []))
        if time.monotonic() >= until:
            self.declare(ask, [queue.name for queue in self._bound_to(exchange)])
            (members,) = ask([("SMEMBERS", self.keys.binding(exchange))])
            table = parse_table(members if isinstance(members, (list, set)) else (), self.keys)
            self._tables[exchange] = time.monotonic() + TABLE_S, table
        found = list(dict.fromkeys(row.queue for row in table if row.matches(routing_key)))
        if not found:
            raise Undeliverable(f"no queue is bound to the exchange {exchange!r} by the key {routing_key!r}, so the "
                                "message went nowhere; name the queue in task_queues, or start its worker first")
        return found
