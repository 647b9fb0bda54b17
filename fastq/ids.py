"""Names for tasks, nodes and clients, in Celery's forms."""

from __future__ import annotations

import os
import re
import socket
from functools import lru_cache

from fastq._ext.envelope import new_id

__all__ = (
    "default_nodename", "host_format", "node_format", "nodename", "nodesplit", "origin", "task_id", "uuid",
)

DEFAULT_NODE = "celery"

task_id = new_id


def uuid() -> str:
    """Make a new unique id: the text of a UUID, time-ordered, for whoever used to call Celery's ``uuid()``."""
    return new_id()


@lru_cache(maxsize=1)
def _hostname(pid: int) -> str:
    # Once per process: a forked child may have been given a host name of its own.
    return socket.gethostname()


def hostname() -> str:
    """Return the name of this host."""
    return _hostname(os.getpid())


def origin() -> str:
    """Return the name of this process as a sender: ``gen<pid>@<host>``."""
    pid = os.getpid()
    return f"gen{pid}@{_hostname(pid)}"


def nodename(name: str | None = None, host: str | None = None) -> str:
    """Return ``name@host``, by default ``celery`` and this host.

    >>> nodename("w1", "example.com")
    'w1@example.com'
    """
    return f"{name or DEFAULT_NODE}@{host or hostname()}"


def nodesplit(name: str) -> tuple[str | None, str]:
    """Split a node name into name and host; without ``@`` all of it is the host.

    >>> nodesplit("w1@example.com")
    ('w1', 'example.com')
    """
    left, at, host = name.partition("@")
    return (left, host) if at else (None, left)


def default_nodename(given: str | None) -> str:
    """Complete what a user gave as node name; what has no ``@`` is taken as the host, as Celery takes it.

    >>> default_nodename("example.com")
    'celery@example.com'
    """
    return nodename(*nodesplit(given or ""))


def host_format(text: str, host: str | None = None) -> str:
    """Fill ``%h`` (host), ``%n`` (its first label) and ``%d`` (the rest); ``%%`` is a percent sign.

    >>> host_format("w1@%n", "web.example.com")
    'w1@web'
    """
    host = host or hostname()
    label, _, domain = host.partition(".")
    return _fill(text, {"h": host, "n": label, "d": domain, "%": "%"})


def node_format(text: str, node: str, *, child: int = 0) -> str:
    """Fill ``%p`` (node name), ``%n`` (its name), ``%h`` (its host), ``%d`` (its domain), ``%i`` and ``%I``.

    *child* is the number of a child, 0 in the supervisor; ``%I`` is it with a dash in front, empty for the supervisor.

    >>> node_format("/log/%n%I.log", "w1@example.com", child=2)
    '/log/w1-2.log'
    """
    name, host = nodesplit(node)
    return _fill(text, {
        "p": node, "n": name or DEFAULT_NODE, "h": host, "d": host.partition(".")[2],
        "i": str(child), "I": f"-{child}" if child else "", "%": "%",
    })


def _fill(text: str, fields: dict[str, str]) -> str:
    # One pass, so that a percent sign in a value is not read again; what is unknown stays as it is.
    return re.sub("%(.)", lambda found: fields.get(found[1], found[0]), text)
