"""The name of every key and channel, in one place. kombu's names for what Celery shares, ``fastq.*`` for the rest.

============================================  =======  ================================================================
``<queue>``, ``<queue><sep><step>``            list     messages of priority step 0, and of the other steps
``_kombu.binding.<exchange>``                  set      ``<routing key><sep><pattern><sep><queue>``
``_kombu.binding_permanent.<exchange>``        set      the same, of queues that do not expire
``_kombu.binding_deadlines``                   zset     exchange -> ms after which its table may be swept
``fastq.queues``                               set      every queue that was seen
``fastq.future.<queue>``                       zset     ``<list key>\\n<envelope>`` -> ms when it is due
``fastq.mover.<queue>``                        string   there while a worker moves what falls due
``fastq.trial.<queue>``                        list     messages one death short of the limit: each is run alone
``fastq.dead.<queue>``                         zset     dead letters by number; redis_dead.py has their form
``fastq.dead.id``                              string   number of the last dead letter
``fastq.lives``                                zset     life of a worker -> end of its lease (ms, the server's clock)
``fastq.graves``                               zset     life that ended without a word -> when that was seen (ms)
``fastq.life.<life>``                          hash     ``turn``: number of its last turn; ``l<n>``: key of lane n;
                                                        ``g<n>``: what the last turn gave whose number is n modulo 16
``fastq.held.<life>``                          hash     tag -> envelope, as it was in the list
``fastq.inbox.<life>.<lane>``                  list     what a blocking wait got and no turn has recorded yet
============================================  =======  ================================================================

On a cluster each queue has all of these for itself, and each holds the queue's name in braces, so that they are all on
one node: ``{<queue>}``, ``{<queue>}<sep><step>``, ``fastq.lives.{<queue>}``, ``fastq.life.{<queue>}.<life>``. Bindings
hold the name of their exchange there.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from fastq.exceptions import ConfigError

SEP = "\x06\x16"
STEPS = (0, 3, 6, 9)
FARTHEST_S = 3e11
"""No message may be due later than this, in Unix seconds: no `datetime` is."""


def due_ms(run_at: float) -> int:
    """Unix seconds as the score of a future message. Raises ValueError for what is no time, or too far away."""
    if not -FARTHEST_S < run_at < FARTHEST_S:
        raise ValueError(f"run_at {run_at!r} is too far away, or no time at all")
    return int(run_at * 1000)


def hash_tag(key: bytes) -> bytes:
    """The part of *key* that says on which node of a cluster it is.

    >>> hash_tag(b"fastq.lives.{celery}"), hash_tag(b"celery"), hash_tag(b"{}celery")
    (b'celery', b'celery', b'{}celery')
    """
    start = key.find(b"{") + 1
    end = key.find(b"}", start)
    return key[start:end] if 0 < start < end else key


class Keys(NamedTuple):
    """The names in one database; *prefix* stands before each. Pure.

    *fanout_prefix* may hold ``{db}``; without *fanout_patterns* channels have no routing key in their names. With a
    *tag* they are those of one queue, or exchange, of a cluster; `tagged` makes them.
    """

    prefix: str = ""
    steps: tuple[int, ...] = STEPS
    sep: str = SEP
    db: int = 0
    fanout_prefix: str = "/{db}."
    fanout_patterns: bool = True
    tag: str = ""

    def tagged(self, name: str) -> Keys:
        """The names of what belongs to the queue or exchange *name* of a cluster. Raises ConfigError.

        >>> Keys().tagged("celery").lives
        b'fastq.lives.{celery}'
        """
        made = self._replace(tag=name)
        if not name or hash_tag(made.list_of(name)) != hash_tag(made.lives):
            raise ConfigError(f"a queue of a cluster cannot have the name {name!r}: it stands in braces in all keys of "
                              "the queue, to keep them together, and cannot be empty or begin with '}'")
        return made

    def _named(self, name: str) -> str:
        return f"{{{name}}}" if self.tag else name

    def _own(self, kind: str, rest: str = "") -> bytes:
        """What there is once, or on a cluster once for each queue."""
        return f"{self.prefix}{kind}{f'.{{{self.tag}}}' if self.tag else ''}{rest}".encode()

    def list_of(self, queue: str, priority: int = 0) -> bytes:
        """The list for messages of *priority*: that of the largest step below or at it.

        >>> Keys().list_of("celery", 5)
        b'celery\\x06\\x163'
        """
        step = self.steps[max(0, bisect_right(self.steps, priority) - 1)]
        name = self._named(queue)
        return f"{self.prefix}{name}{self.sep}{step}".encode() if step else f"{self.prefix}{name}".encode()

    def lists_of(self, queue: str) -> list[bytes]:
        """All lists of a queue, in the order in which they are served."""
        return [self.list_of(queue, step) for step in self.steps]

    def binding(self, exchange: str) -> bytes:
        """The table of an exchange."""
        return f"{self.prefix}_kombu.binding.{self._named(exchange)}".encode()

    def binding_permanent(self, exchange: str) -> bytes:
        """What keeps the table of an exchange from being swept."""
        return f"{self.prefix}_kombu.binding_permanent.{self._named(exchange)}".encode()

    @property
    def binding_deadlines(self) -> bytes:
        """When the tables of queues that expire may be swept."""
        return self._own("_kombu.binding_deadlines")

    def of_celery(self, name: str) -> bytes:
        """A key of Celery's workers, called *name*; on a cluster there are none, and it is one of the queue's own."""
        return self._own(name)

    def channel(self, exchange: str, routing_key: str = "") -> bytes:
        """The channel of a fanout exchange."""
        start = self.prefix + self.fanout_prefix.replace("{db}", str(self.db)) + exchange
        return (f"{start}/{routing_key}" if routing_key and self.fanout_patterns else start).encode()

    # -- a worker's --------------------------------------------------------------------------------

    def trial(self, queue: str) -> bytes:
        """What is to be run alone."""
        return f"{self.prefix}fastq.trial.{self._named(queue)}".encode()

    def dead(self, queue: str) -> bytes:
        """The dead letters of a queue."""
        return f"{self.prefix}fastq.dead.{self._named(queue)}".encode()

    @property
    def dead_id(self) -> bytes:
        """The number of the last dead letter."""
        return self._own("fastq.dead.id")

    @property
    def lives(self) -> bytes:
        """Who lives, and until when."""
        return self._own("fastq.lives")

    @property
    def graves(self) -> bytes:
        """Whose messages are still to be put back."""
        return self._own("fastq.graves")

    def life(self, life: str) -> bytes:
        """What is known of a life."""
        return self._own("fastq.life", f".{life}")

    def held(self, life: str) -> bytes:
        """What a life has in hand."""
        return self._own("fastq.held", f".{life}")

    def inbox(self, life: str, lane: int) -> bytes:
        """Where a blocking wait of a life puts what it takes from a lane."""
        return self._own("fastq.inbox", f".{life}.{lane}")

    # -- all queues --------------------------------------------------------------------------------

    @property
    def queues(self) -> bytes:
        """The names of all queues."""
        return self._own("fastq.queues")

    def future(self, queue: str) -> bytes:
        """What is not due yet."""
        return f"{self.prefix}fastq.future.{self._named(queue)}".encode()

    def mover(self, queue: str) -> bytes:
        """There while a worker moves what falls due."""
        return f"{self.prefix}fastq.mover.{self._named(queue)}".encode()
