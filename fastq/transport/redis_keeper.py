"""Renews the lease of a worker whose only thread runs tasks, and so cannot: a thread with a connection of its own.

It ends with the process, whatever ends that; so what a killed worker held comes back after the usual lease, not after
the hours that its longest task may take.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from fastq.exceptions import TransportError
from fastq.transport.redis_lanes import Lanes
from fastq.transport.redis_link import Link
from fastq.transport.redis_script import Script

logger = logging.getLogger("fastq.transport.redis")

KEEP = Script.named("keep")


class Keeper:
    """Renews the lease of the life of *lanes*, *lease_s* long, three times in each."""

    def __init__(self, lanes: Lanes, lease_s: float, connect: Callable[[float, int], Link]) -> None:
        self._lanes = lanes
        self._lease_s = lease_s
        self._connect = connect
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fastq-redis-keeper", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        link: Link | None = None
        while not self._end.wait(self._lease_s / 3):
            try:
                if link is None or not link.is_open:
                    link = self._connect(self._lease_s / 3, 2)
                KEEP.call(link, [self._lanes.lives, self._lanes.graves, *self._lanes.movers],
                          [self._lanes.life, int(self._lease_s * 1000), 0])
            except TransportError as error:
                if "LEASELOST" in str(error):
                    break       # whoever takes the next turn finds it out
                logger.warning("%s; the lease is renewed at the next try", error)
        if link is not None:
            link.close()

    def stop(self) -> None:
        """Renew no more."""
        self._end.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(self._lease_s)
