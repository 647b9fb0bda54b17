"""Everything that an idle worker listens to (redis_watch.py), and which of it may be listened to now."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Iterator

from fastq.exceptions import ConnectionLost
from fastq.transport.redis_lanes import Lanes
from fastq.transport.redis_line import Line
from fastq.transport.redis_link import Link
from fastq.transport.redis_watch import Bell, Connect, Watch

logger = logging.getLogger("fastq.transport.redis")

Source = Callable[[], None]
DOUBT_S = 0.1
"""So often it is asked what a wait that broke off may have taken; each answer would bring the next question else."""


class Poller:
    """One descriptor that is readable when any of several links has something; it outlives them all."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._numbers: dict[object, int] = {}
        self._is_closed = False

    def hear(self, owner: object, link: Link | None, read: Source) -> None:
        """Listen to the link of *owner* from now on, None: to none; `ready` gives *read* when there is something."""
        if self._is_closed:
            return
        before = self._numbers.pop(owner, None)
        if before is not None:
            # Its descriptor may be closed already, and with it what the kernel knew.
            self._selector.unregister(before)
        if link is not None:
            number = link.fileno()
            for other in [one for one, its in self._numbers.items() if its == number]:
                # Its link broke, which it has not noticed yet, and the kernel gave the number to this one.
                del self._numbers[other]
                self._selector.unregister(number)
            self._numbers[owner] = number
            self._selector.register(number, selectors.EVENT_READ, read)

    def ready(self, timeout_s: float = 0.0) -> list[Source]:
        """Who has something to read."""
        return [key.data for key, _ in self._selector.select(timeout_s)]

    def fileno(self) -> int:
        """The descriptor."""
        return self._selector.fileno()

    def close(self) -> None:
        """Let go of it; nothing is heard any more."""
        self._is_closed = True
        self._selector.close()


class Ears:
    """The waits and the bell of one life. *heard* is told the queue's number and the envelope of what came."""

    def __init__(self, lanes: Lanes, wait_s: float, connect: Connect, poller: Poller,
                 heard: Callable[[int, bytes], None]) -> None:
        self._lanes = lanes
        self._wait_s = wait_s
        self._connect = connect
        self._poller = poller
        self._heard = heard
        self._watches: list[Watch] = []
        """One for each queue, by its number."""
        self._bell = Bell(connect, self._hear)
        self._doubtful: dict[int, float] = {}
        self._ended: dict[int, bytes] = {}
        """Of these, what has ended and may be in the inbox all the same."""
        self._doubts_at = 0.0
        self.has_news = False
        """Something changed that may be work; whoever asks the server sets it back."""
        self.adjust()

    def adjust(self) -> None:
        """Listen to the queues that are served now, and to no others."""
        lanes = self._lanes
        for number in range(len(self._watches), len(lanes.queues)):
            self._watches.append(Watch(lanes.all[lanes.first_of(number)], lanes.inboxes[number], self._wait_s,
                                       self._connect, self._hear))
        for number, watch in enumerate(self._watches):
            if number not in lanes.served:
                self._leave(number, watch)
        self._bell.close()      # it listens to keys that it was told of before

    def _hear(self, owner: object, link: Link | None) -> None:
        self._poller.hear(owner, link, lambda: self._read(owner))

    def listen(self, *, may_try: bool) -> None:
        """Listen to everything; with *may_try* to suspects as well."""
        lanes, unwatched = self._lanes, []
        for queue in lanes.served:
            watch = self._watches[queue]
            if watch.is_overdue:
                logger.warning("no end of a wait for messages; connecting again")
                self._doubt(queue)
                watch.close()
            if queue not in self._doubtful:
                watch.start()
            if not watch.waits:
                unwatched.append(lanes.all[lanes.first_of(queue)])
        others = lanes.lists()[len(lanes.served):]
        self._bell.arm([*unwatched, *others, *(lanes.trials() if may_try else ())], lanes.futures_served())

    def quiet(self, line: Line) -> None:
        """Call the waits off: nothing more is wanted. What comes all the same is given back later."""
        for watch in self._watches:
            if watch.waits and not watch.is_called_off:
                watch.is_called_off = True
                line.tell("CLIENT", "UNBLOCK", watch.client_id)

    def settle(self, queue: int, *, again: bool) -> bool:
        """Take what the wait for *queue* got last out of the inbox, and wait *again*; returns whether that was said."""
        return self._watches[queue].settle(again=again)

    @property
    def is_unsure(self) -> bool:
        """Whether an answer to that is missing."""
        return any(watch.unsure is not None for watch in self._watches)

    @property
    def due_at(self) -> float | None:
        """When a future message is due, by the monotonic clock, as far as the bell knows."""
        return self._bell.due_at

    def forget_due(self) -> None:
        """Somebody knows better now."""
        self._bell.due_at = None

    def unknown(self) -> Iterator[tuple[int, bytes]]:
        """The queues whose inbox may hold what nobody was told of, since a wait broke off, and what may be in it though
        it has ended, or nothing. Tells each for a while.
        """
        now = time.monotonic()
        if now < self._doubts_at:
            return
        self._doubts_at = now + DOUBT_S
        for queue, until in list(self._doubtful.items()):
            # A server that did not see the connection break goes on waiting until the time that it was given.
            ended = self._ended.get(queue, b"")
            if now > until:
                del self._doubtful[queue]
                self._ended.pop(queue, None)
            yield queue, ended

    def _read(self, owner: object) -> None:
        try:
            if isinstance(owner, Bell):
                self.has_news = owner.read() or self.has_news
            elif isinstance(owner, Watch):
                envelope = owner.read()
                self.has_news = self.has_news or owner.has_failed or owner.has_more
                if envelope is not None:
                    self._heard(self._watches.index(owner), envelope)
        except ConnectionLost as error:
            logger.warning("%s", error)
            self.has_news = True
            if isinstance(owner, Watch):
                self._doubt(self._watches.index(owner))

    def _doubt(self, queue: int) -> None:
        self._doubtful[queue] = time.monotonic() + self._wait_s + 1
        self._doubts_at = 0.0
        watch = self._watches[queue]
        if watch.unsure is not None:
            self._ended[queue], watch.unsure = watch.unsure, None

    def close(self) -> None:
        """Stop listening."""
        for queue, watch in enumerate(self._watches):
            self._leave(queue, watch)
        self._bell.close()

    def _leave(self, queue: int, watch: Watch) -> None:
        if watch.waits or watch.unsure is not None:
            self._doubt(queue)
        watch.close()
