"""The brokers of one cluster, any of which will do: connects to the first that answers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from fastq.amqp.error import ConnectionFailed, ConnectionRefused
from fastq.amqp.link import Link
from fastq.amqp.target import Target
from fastq.exceptions import TransportError

LEAST_S = 0.1
"""A broker of a list is given this long, whatever those before it took."""


class Brokers(NamedTuple):
    """How to connect; *failover* is "round-robin", "shuffle" or orders the list itself. No state, so one for many."""

    targets: Sequence[Target]
    connect_timeout_s: float = 4.0
    failover: str | Callable[[list[Target]], Iterable[Target]] = "round-robin"
    login_method: str = "PLAIN"
    client_properties: Mapping[str, Any] = {}

    def connect(self, timeout_s: float | None = None, heartbeat_s: float = 0.0) -> Link:
        """Connect to the first that answers, all attempts within *timeout_s*.

        Raises TransportError, which says of each why not; BrokerRefused when none lets this user in.
        """
        deadline = time.monotonic() + (self.connect_timeout_s if timeout_s is None else timeout_s)
        targets, failures = self._in_order(), list[TransportError]()
        for at, target in enumerate(targets):
            share_s = (deadline - time.monotonic()) / (len(targets) - at)
            try:
                return Link.open(target, heartbeat_s=heartbeat_s, connect_timeout_s=max(LEAST_S, share_s),
                                 login_method=self.login_method, client_properties=self.client_properties)
            except TransportError as error:
                failures.append(error)
        raise _all_of(failures)

    def _in_order(self) -> list[Target]:
        targets = list(self.targets)
        if callable(self.failover):
            # Celery's strategies go round for ever.
            return list(islice(self.failover(list(targets)), len(targets))) or targets
        if self.failover == "shuffle":
            random.shuffle(targets)
        return targets


def _all_of(failures: list[TransportError]) -> TransportError:
    """One error for all brokers of a list."""
    if len(failures) == 1:
        return failures[0]
    text = f"none of {len(failures)} brokers is to be had: {'; '.join(map(str, failures))}"
    refusals = [each for each in failures if isinstance(each, ConnectionRefused)]
    if len(refusals) == len(failures):
        return ConnectionRefused(text, refusals[-1].reply_code, refusals[-1].reply_text)
    return ConnectionFailed(text)
