"""The one connection on which a process hears of its results: it subscribes to a channel for each, then looks.

Both go in one packet, the subscription first, so that no result can fall in between. Whoever reads (readers.py) also
connects again when the connection broke: all that is awaited is subscribed to anew then, and looked at once.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Iterable, Sequence

from fastq.exceptions import ConnectionLost
from fastq.transport.redis_link import NOTHING, Link, Push, ReplyError, pack

LOOK = 500
"""Documents asked for by one command: the server does nothing else meanwhile."""
STALE = 64
"""Subscriptions that nobody needs any more leave with the next question, or when there are so many."""


class Ear:
    """Hears documents. All is done under one lock, that of the owner, but `poll`.

    *prefix* stands before a task's id in the names of channels and keys. One that *looks* asks for documents on its
    connection; else `take_joined` says what is subscribed to, and somebody else looks.
    """

    def __init__(self, prefix: str, *, looks: bool = True) -> None:
        self._prefix = prefix.encode()
        self._does_look = looks
        self._joined: list[str] = []
        self._link: Link | None = None
        self._twin: socket.socket | None = None
        self._poller: select.poll | None = None
        self._channels: set[str] = set()
        self._fresh: set[str] = set()
        """Those of them that were looked at since they were joined, and whose final document has not come."""
        self._stale: dict[str, None] = {}
        self._looks: deque[Sequence[str]] = deque()
        """What was asked and not answered: the ids of one look each."""

    @property
    def is_open(self) -> bool:
        """Whether documents can come, as far as is known here."""
        return self._link is not None and self._link.is_open

    @property
    def subscriptions(self) -> int:
        """How many channels there are, with those that nobody needs any more."""
        return len(self._channels)

    # -- under the lock ------------------------------------------------------------------------

    def take_over(self, link: Link, task_ids: Iterable[str]) -> None:
        """Use a new *link*, on which *task_ids* are subscribed to."""
        self.release()
        self._link = link
        # What is polled is a copy of the descriptor: another thread that finds the link broken closes the link's own,
        # which would wake nobody, and whose number may be another file's by then.
        self._twin = socket.socket(fileno=os.dup(link.fileno()))
        self._poller = select.poll()
        self._poller.register(self._twin, select.POLLIN)
        self._channels, self._stale, self._joined = set(task_ids), {}, []
        self._fresh = set(self._channels)
        self._looks.clear()

    def follow(self, task_ids: Iterable[str]) -> None:
        """Subscribe to those of *task_ids* that are not subscribed to, and look once at those that may be there.

        Who waits for the first of many comes again with the others, and hears of them as it is. Without a connection
        nothing is done: the next one follows all that is awaited.
        """
        ids = list(dict.fromkeys(task_ids))
        # The server confirms a subscription once more, and with it comes the look.
        new = [task_id for task_id in ids if task_id not in self._channels or not self._does_look]
        for task_id in ids:
            self._stale.pop(task_id, None)
        unseen = [task_id for task_id in ids if task_id not in self._fresh] if self._does_look else []
        packets = [self._unsubscribe()] if self._stale and (new or unseen) else []
        if new:
            packets.append(self._packed(b"SUBSCRIBE", new))
        looks = [unseen[start:start + LOOK] for start in range(0, len(unseen), LOOK)]
        packets += [self._packed(b"MGET", look) for look in looks]
        if packets and self._send(b"".join(packets)):
            self._channels.update(new)
            self._fresh.update(unseen)
            self._looks.extend(looks)

    def settle(self, task_id: str) -> None:
        """Take note that the final document of a task has come: who asks for it from now on has to look."""
        self._fresh.discard(task_id)

    def leave(self, task_ids: Iterable[str], *, now: bool) -> None:
        """Unsubscribe from *task_ids*: *now*, or along with the next question."""
        self._stale.update((task_id, None) for task_id in task_ids if task_id in self._channels)
        if self._stale and (now or len(self._stale) >= STALE):
            self._send(self._unsubscribe())

    def take_in(self) -> list[tuple[str, bytes]]:
        """Return the documents that have come, each with its task's id. Raises ConnectionLost, TransportError."""
        found: list[tuple[str, bytes]] = []
        link = self._link
        assert link is not None
        link.fill()
        while (reply := link.get()) is not NOTHING:
            if isinstance(reply, Push):
                if reply[0] == b"message":
                    found.append((reply[1][len(self._prefix):].decode(), reply[2]))
                elif reply[0] == b"subscribe" and not self._does_look:
                    self._joined.append(reply[1][len(self._prefix):].decode())
            elif isinstance(reply, list):
                pairs = zip(self._looks.popleft(), reply, strict=True)
                found += [(task_id, raw) for task_id, raw in pairs if raw is not None]
            elif isinstance(reply, ReplyError):
                # It may be the answer to any of the commands under way: what is followed is not known any more.
                error = link.error_of(reply)
                self.lose(str(reply))
                raise error
        return found

    def take_joined(self) -> list[str]:
        """Return whose channels were joined since the last call, and nobody looked since."""
        joined, self._joined = self._joined, []
        return joined

    def lose(self, why: str) -> None:
        """Close the connection, and have whoever polls it find out."""
        if self._twin is not None:
            try:
                self._twin.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was faster
        if self._link is not None:
            self._link.lose(why)

    def release(self) -> None:
        """Close the descriptors and nothing else, when nobody polls: also after a fork, as the parent goes on."""
        if self._twin is not None:
            self._twin.close()
            self._twin = self._poller = None
        if self._link is not None:
            self._link.abandon()

    def _unsubscribe(self) -> bytes:
        packet = self._packed(b"UNSUBSCRIBE", self._stale)
        self._channels.difference_update(self._stale)
        self._fresh.difference_update(self._stale)
        self._stale.clear()
        return packet

    def _send(self, data: bytes) -> bool:
        link = self._link
        if link is None or not link.is_open:
            return False
        try:
            link.send(data)
        except ConnectionLost as error:
            # Whoever reads connects again, and follows whatever is awaited then.
            self.lose(str(error))
            return False
        except BaseException:
            self.lose("a command was interrupted")
            raise
        return True

    def _packed(self, command: bytes, task_ids: Iterable[str]) -> bytes:
        words: list[bytes | str | int | float] = [command]
        words += [self._prefix + task_id.encode() for task_id in task_ids]
        return pack(tuple(words))

    # -- without it, by whoever reads ----------------------------------------------------------

    def subscribe(self, link: Link, task_ids: Sequence[str], timeout_s: float) -> None:
        """Subscribe to *task_ids* on a new *link*, which is nobody else's yet, and see that it is done.

        What is published from then on waits in the link. Raises TransportError.
        """
        if task_ids:
            link.send(self._packed(b"SUBSCRIBE", task_ids))
            link.call("PING", timeout_s=min(timeout_s, link.reply_timeout_s))

    def poll(self, timeout_s: float | None) -> bool:
        """Wait until something came, at most *timeout_s* seconds; returns whether it did, or the connection broke."""
        assert self._poller is not None
        # Rounded up: a wait of half a millisecond that is cut to none would spin.
        return bool(self._poller.poll(None if timeout_s is None else -int(-timeout_s * 1000 // 1)))
