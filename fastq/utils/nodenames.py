"""``from fastq.utils.nodenames import worker_direct``, and what else Celery has there."""

import os

from fastq.proc import expand_host as host_format
from fastq.proc import expand_node as node_format
from fastq.proc import host_name as gethostname
from fastq.proc import node_name as default_nodename
from fastq.proc import split_node as nodesplit
from fastq.wire.entity import worker_direct

__all__ = ("anon_nodename", "default_nodename", "gethostname", "host_format", "node_format", "nodename", "nodesplit",
           "worker_direct")


def nodename(name: str, hostname: str) -> str:
    """Return the node name of both.

    >>> nodename("w1", "example.com")
    'w1@example.com'
    """
    return f"{name}@{hostname}"


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """Return the name of a node that is no worker: of this process.

    >>> anon_nodename("example.com") == f"gen{os.getpid()}@example.com"
    True
    """
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())
