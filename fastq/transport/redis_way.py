"""How to get a connection to Redis: an address, several to try in turn, or sentinels that know the master.

The transport and the result store share this, so that both find a server in the same way.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

from fastq.exceptions import BrokerRefused, TransportError
from fastq.transport.redis_error import Unready
from fastq.transport.redis_link import Link, connect
from fastq.transport.redis_sentinel import connect_master
from fastq.transport.redis_target import Target

LEAST_S = 0.1
"""A server of a list is given this long, whatever those before it took."""


class AnyWay(Protocol):
    """What gets connections: a `Way`, or one into a cluster."""

    @property
    def where(self) -> str:
        """The servers, for messages."""

    def connect(self, timeout_s: float, *, protocol: int = 2, name: str = "") -> Link:
        """Connect within *timeout_s*. Raises TransportError."""


class Way(NamedTuple):
    """The servers, any of which will do; *failover* is "round-robin", "shuffle" or orders the list itself. No state.

    *credentials* has ``get_credentials() -> (user, password)``, asked anew at each connection, for passwords that
    change; *sentinel_kwargs* says as whom to come to the sentinels.

    Example::

        link = Way(parse_many("redis://a;redis://b")).connect(timeout_s=4)
    """

    targets: Sequence[Target]
    failover: str | Callable[[list[Target]], Iterable[Target]] = "round-robin"
    reply_timeout_s: float = 5.0
    sentinel_kwargs: Mapping[str, Any] = {}
    credentials: Any = None

    @property
    def where(self) -> str:
        """The servers, for messages."""
        return ", ".join(target.where for target in self.targets)

    @property
    def prefix(self) -> str:
        """What stands before every key and channel."""
        return self.targets[0].prefix

    @property
    def db(self) -> int:
        """The number of the database."""
        return self.targets[0].db

    def connect(self, timeout_s: float, *, protocol: int = 2, name: str = "") -> Link:
        """Connect to the first that answers and is, of several, no replica; all attempts within *timeout_s*.

        Raises TransportError, which says of each why not; BrokerRefused when none lets this user in.
        """
        deadline = time.monotonic() + timeout_s
        targets, failures = self._in_order(), list[TransportError]()
        for at, target in enumerate(targets):
            share_s = max(LEAST_S, (deadline - time.monotonic()) / (len(targets) - at))
            try:
                link = self._open(target, share_s, protocol, name)
            except TransportError as error:
                failures.append(error)
                continue
            if len(targets) > 1 and link.role == "replica":
                link.close()  # it would refuse every write, and another of the list may be its master
                failures.append(Unready(f"Redis at {target.where} is a replica"))
            else:
                link.reply_timeout_s = link.send_timeout_s = self.reply_timeout_s
                return link
        raise _all_of(failures)

    def _open(self, target: Target, timeout_s: float, protocol: int, name: str) -> Link:
        if self.credentials is not None:
            told = self.credentials.get_credentials()
            user, password = told if len(told) == 2 else ("", *told)
            target = target._replace(username=user, password=password)
        if not target.sentinels:
            return _checked(connect(target, timeout_s, protocol=protocol, name=name), target)
        return connect_master(target, self.sentinel_kwargs, timeout_s,
                              lambda found, left_s: connect(found, left_s, protocol=protocol, name=name))

    def _in_order(self) -> list[Target]:
        targets = list(self.targets)
        if callable(self.failover):
            # Celery's strategies go round for ever.
            return list(islice(self.failover(list(targets)), len(targets))) or targets
        if self.failover == "shuffle":
            random.shuffle(targets)
        return targets


def _checked(link: Link, target: Target) -> Link:
    """Return *link*, unless it leads to a node of a cluster and *target* says otherwise, or the other way round."""
    if link.is_clustered == target.is_clustered:
        return link
    link.close()
    scheme = "rediss" if target.ssl else "redis"
    if link.is_clustered:
        raise BrokerRefused(f"Redis at {target.where} is a node of a cluster, whose keys are spread over all nodes: "
                            f"write {scheme}+cluster:// in its address")
    raise BrokerRefused(f"Redis at {target.where} is no node of a cluster: write {scheme}:// in its address")


def _all_of(failures: list[TransportError]) -> TransportError:
    """One error for all servers of a list."""
    if len(failures) == 1:
        return failures[0]
    text = f"none of {len(failures)} servers is to be had: {'; '.join(map(str, failures))}"
    kinds = {type(each) for each in failures}
    return (kinds.pop() if len(kinds) == 1 else TransportError)(text)
