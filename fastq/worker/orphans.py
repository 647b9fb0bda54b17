"""Runs that outlived the connection their deliveries came by.

When a connection breaks, the broker gives all that was held on it to somebody again, perhaps to this
very worker, and the tags mean nothing any more. Duties: 1. remembers by its identity what was begun
here; 2. keeps the endings of void tags from the broker, and remembers how those messages ended;
3. says of a message that came back which run here is its own, how it ended here, or that it was not begun.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from fastq._ext import envelope
from fastq._ext.ring import Ring
from fastq.worker.outcome import Ending

KEPT_S = 900.0
"""A broker gives back what a broken connection held within seconds; what comes later is another message."""
MOST = 10_000
KEPT_TURNS = 1000
"""Acks of so many turns are looked at when a connection breaks; of most of them the ring has nothing more."""

Identity = tuple["str | None", "str | None", int, int]
"""(task name, id, retries, hash of the body): the same after a redelivery, another after a retry."""


Memo = tuple[float, Ending, str]
"""(when to forget it, how it ended, the reason)"""


def identity_of(content: bytes) -> Identity:
    """Return what tells the message of packed *content* from others. Raises FrameError."""
    found = envelope.scan(content)
    return found["task"], found["id"], found["retries"], hash(found["body"])


class Orphans:
    """What was begun for deliveries that are void now. True while anything of it still runs.

    *renamed* is told (old tag, new tag) when a run is found to be a new delivery's.
    """

    def __init__(self, ring: Ring, renamed: Callable[[int, int], None], clock: Callable[[], float] = time.monotonic,
                 ) -> None:
        self._ring = ring
        self._renamed = renamed
        self._clock = clock
        self._running: dict[int, Identity] = {}
        self._tags: dict[Identity, int] = {}
        self._ended: dict[Identity, Memo] = {}
        self._told: dict[int, tuple[Identity, Memo]] = {}
        self._waited: dict[Identity, float] = {}
        self._unread, self._unread_until = 0, 0.0
        """How many more there may be that were on their way here, and for how long they are expected."""
        self._finished: deque[Sequence[tuple[int, int]]] = deque(maxlen=KEPT_TURNS)

    def __bool__(self) -> bool:
        return bool(self._running)

    def cut(self, unread: int = 0) -> None:
        """Make an orphan of everything that was begun and is not drained.

        What ended of late is remembered, as nobody knows which acks arrived. Of what was on its way here all that is
        known is that it was no more than *unread*.
        """
        if unread:
            now = self._clock()
            kept = self._unread if self._unread_until > now else 0
            self._unread, self._unread_until = min(MOST, kept + unread), now + KEPT_S
        for _, content in self._ring.freed([run for runs in self._finished for run in runs]):
            self._remember(identity_of(content), (self._clock() + KEPT_S, Ending.ACK, ""))
        for identity, (until, ending, reason) in self._told.values():
            # What it left behind is on its way; but for a dead letter, which may be gone with the connection.
            self._remember(identity, (until, Ending.ACK if ending is Ending.TAIL else ending, reason))
        self._told.clear()
        # Those of an earlier cut that did not come back since are among them, under their old tags.
        self._running = {tag: identity_of(content) for tag, content in self._ring.unsettled()}
        self._tags = {identity: tag for tag, identity in self._running.items()}

    def expect(self, tag: int, content: bytes) -> bool:
        """Make an orphan of one run, whose message will be delivered anew; False when it has a twin that is one."""
        identity = identity_of(content)
        if identity in self._tags:
            return False
        self._running[tag], self._tags[identity] = identity, tag
        return True

    def keep(self, tag: int) -> None:
        """Make no orphan of a run after all: its delivery is still good."""
        identity = self._running.pop(tag)
        del self._tags[identity]

    def finished(self, runs: Sequence[tuple[int, int]]) -> None:
        """Take note of deliveries whose runs ended in an ack, and left nothing of the message behind.

        One that is put back is not among them: a copy of it is still to run.
        """
        self._finished.append(runs)

    def spare(self, contents: Iterable[bytes]) -> None:
        """Remember messages that were not begun when the connection broke, or were ended for it: they killed nobody."""
        now = self._clock()
        self._waited = {identity: until for identity, until in self._waited.items() if until > now}
        for content in contents:
            if len(self._waited) < MOST:
                self._waited[identity_of(content)] = now + KEPT_S

    def is_spared(self, content: bytes) -> bool:
        """Whether the same message waited here, not begun, when the connection broke; true once for each."""
        return bool(self._waited) and self._waited.pop(identity_of(content), 0.0) > self._clock()

    def was_unread(self) -> bool:
        """Whether a message that is not known here may have been on its way when the connection broke; true so often.

        One that another worker's death left may be taken for such a one. If it kills this worker too, that counts.
        """
        if not self._unread or self._unread_until <= self._clock():
            return False
        self._unread -= 1
        return True

    def end(self, tag: int, ending: Ending, reason: str = "") -> bool:
        """Take note of how a run ended; False for a delivery that the broker still waits for.

        LOSE is not remembered: the message comes back as one whose holder vanished, which is just what happened.
        """
        identity = self._running.pop(tag, None)
        if identity is None:
            return False
        if self._tags.get(identity) == tag:
            del self._tags[identity]
        if ending is not Ending.LOSE:
            self._remember(identity, (self._clock() + KEPT_S, ending, reason))
        return True

    def _remember(self, identity: Identity, memo: Memo) -> None:
        self._ended.pop(identity, None)
        self._ended[identity] = memo
        if len(self._ended) > MOST:
            del self._ended[next(iter(self._ended))]

    def end_runs(self, runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Take note of the acks in *runs*; returns those that the broker waits for."""
        for tag in list(self._running):
            for at, (first, last) in enumerate(runs):
                if first <= tag <= last:
                    self.end(tag, Ending.ACK)
                    runs[at:at + 1] = [run for run in ((first, tag - 1), (tag + 1, last)) if run[0] <= run[1]]
                    break
        return runs

    def adopt(self, tag: int, content: bytes) -> bool:
        """Give the run of the same message here the new *tag*; False when none of it runs here."""
        if not self._running:
            return False
        old = self._tags.pop(identity_of(content), None)
        if old is None:
            return False
        del self._running[old]
        if not self._ring.adopt(old, tag):
            return False
        self._renamed(old, tag)
        return True

    def ending_of(self, tag: int, content: bytes) -> tuple[Ending, str] | None:
        """Return how the same message ended here while its delivery was void, with the reason.

        Each is told once, for the delivery *tag*: should its ack not reach the broker, it is told again.
        """
        if not self._ended:
            return None
        identity = identity_of(content)
        memo = self._ended.pop(identity, None)
        if memo is None or memo[0] <= self._clock():
            return None
        if len(self._told) < MOST:
            self._told[tag] = identity, memo
        return memo[1:]
