"""Asks sentinels where the master is, in three steps of which each may be wrong, and is checked.

1. The first sentinel that answers and knows the name says an address.
2. A connection is made there.
3. The server must say of itself that it is the master: for some seconds around a failover the address is the old one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fastq.exceptions import BrokerRefused, ConfigError, TransportError
from fastq.net.tls import TlsOption
from fastq.transport.redis_error import Unready
from fastq.transport.redis_link import Link, connect
from fastq.transport.redis_target import Target
from fastq.transport.url import nearest

LEAST_S = 0.1
KNOWN = ("username", "password", "ssl", "socket_timeout", "socket_connect_timeout", "socket_keepalive",
         "health_check_interval", "client_name")
"""What may stand in ``sentinel_kwargs``, besides options that begin with ``ssl_``; the sentinels' own login and TLS."""


def connect_master(target: Target, kwargs: Mapping[str, object], timeout_s: float,
                   open_link: Callable[[Target, float], Link]) -> Link:
    """Connect by *open_link* to whoever the sentinels of *target* name as its master, all within *timeout_s*.

    Raises TransportError, Unready while there is no master, and ConfigError for a wrong option.
    """
    deadline = time.monotonic() + timeout_s
    # Half of the time, so that sentinels that are down leave some for the master.
    host, port = find_master(target, kwargs, timeout_s / 2)
    found = target._replace(host=host, port=port, sentinels=())
    try:
        link = open_link(found, max(LEAST_S, deadline - time.monotonic()))
    except BrokerRefused:
        raise
    except TransportError as error:
        raise Unready(f"{error}; the sentinels call it the master of {target.master!r}: perhaps a failover is under "
                      "way") from error
    if link.role != "master":
        link.close()
        raise Unready(f"Redis at {found.where} is a {link.role}, and the sentinels call it the master of "
                      f"{target.master!r}: a failover is under way")
    return link


def find_master(target: Target, kwargs: Mapping[str, object], timeout_s: float) -> tuple[str, int]:
    """Return host and port of the master, as the first sentinel says that knows it. Raises as `connect_master`."""
    if not target.master:
        raise ConfigError("a sentinel:// address needs the name of the master: "
                          "broker_transport_options = {'master_name': 'mymaster'}")
    ask = _asked(kwargs)
    deadline, failures = time.monotonic() + timeout_s, list[TransportError]()
    for at, (host, port) in enumerate(target.sentinels):
        share_s = max(LEAST_S, (deadline - time.monotonic()) / (len(target.sentinels) - at))
        try:
            return _ask(ask._replace(host=host, port=port), target.master, share_s)
        except TransportError as error:
            failures.append(error)
    is_refusal = all(isinstance(each, BrokerRefused) for each in failures)
    raise (BrokerRefused if is_refusal else TransportError)(
        f"no sentinel tells where {target.master!r} is: {'; '.join(map(str, failures))}")


def _ask(sentinel: Target, master: str, timeout_s: float) -> tuple[str, int]:
    link = connect(sentinel, timeout_s)
    try:
        found = link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master, timeout_s=timeout_s)
        if isinstance(found, list):
            return found[0].decode(), int(found[1])
        raise BrokerRefused(f"the sentinel at {sentinel.where} knows no master {master!r}; {_known(link, timeout_s)}")
    finally:
        link.close()


def _known(link: Link, timeout_s: float) -> str:
    masters = link.call("SENTINEL", "MASTERS", timeout_s=timeout_s)
    names = [each[each.index(b"name") + 1].decode() for each in masters] if isinstance(masters, list) else []
    return f"it knows {', '.join(names) or 'none'}"


def _asked(kwargs: Mapping[str, object]) -> Target:
    """As whom to come to a sentinel; the login of the master is not theirs."""
    for name in kwargs:
        if name not in KNOWN and not name.startswith("ssl_"):
            raise ConfigError(f"unknown option {name!r} in sentinel_kwargs; {nearest(name, KNOWN)}")
    refined = {name: value for name, value in kwargs.items() if name.startswith("ssl_")}
    tls: TlsOption = (refined or True) if kwargs.get("ssl") else None
    return Target(username=str(kwargs.get("username") or ""), password=str(kwargs.get("password") or ""), ssl=tls)
