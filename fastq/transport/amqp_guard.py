"""Looks after a producer's unconfirmed messages when the program that sent them does something else.

A program that publishes reads confirms as it goes. One that published and then went quiet would never hear that the
broker died before it stored the last messages: a thread looks, a few times a second, while anything is unconfirmed.
"""

from __future__ import annotations

import threading
import weakref
from functools import partial
from queue import Empty, SimpleQueue

from fastq.exceptions import TransportError
from fastq.transport.amqp_publish import Publisher, logger

BEAT_S = 0.05


class Guard:
    """The thread of one publisher; asleep while all is confirmed."""

    def __init__(self, publisher: Publisher) -> None:
        # True: there is work; False: it is over. A queue that even a garbage collection may put something into.
        self._news: SimpleQueue[bool] = SimpleQueue()
        self._publisher = weakref.ref(publisher, partial(_end, self._news))
        self.is_awake = False
        threading.Thread(target=self._run, name="fastq-amqp-confirms", daemon=True).start()

    def wake(self) -> None:
        """There is something unconfirmed; the caller holds the publisher's lock."""
        if not self.is_awake:
            self.is_awake = True
            self._news.put(True)

    def stop(self) -> None:
        """End the thread."""
        self._news.put(False)

    def _run(self) -> None:
        while self._news.get():
            while self.is_awake:
                try:
                    if not self._news.get(timeout=BEAT_S):
                        return
                except Empty:
                    self._look()

    def _look(self) -> None:
        publisher = self._publisher()
        if publisher is None or publisher.closed:
            return
        with publisher.lock:
            try:
                publisher.poll()
            except TransportError as error:
                logger.error("%s", error)
            self.is_awake = publisher.pending > 0


def _end(news: SimpleQueue[bool], _: object) -> None:
    news.put(False)
