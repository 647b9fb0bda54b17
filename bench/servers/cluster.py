"""A Redis Cluster of three nodes without replicas, each of which has a third of the slots."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from fastq.bench.servers import PORTS, wait_for
from fastq.bench.servers.redis import Redis

SLOTS = 16384
NODES = 3
DEADLINE_S = 30.0
BUS = 10_000
"""What a node adds to its port, for its talk with the others; only Redis 7 lets it be another one."""
CONFIG = ("cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 1000",
          "cluster-require-full-coverage no")  # fmt: skip


class Cluster:
    """The nodes, in folders of *folder*; ``url`` is the address of the first. With an *aof* one that was
    killed comes back with what it had. Example::

        with Cluster(folder) as cluster:
            connect(cluster.url)
            cluster.owner("{queue}").kill()
    """

    def __init__(self, folder: Path, *, aof: bool = False) -> None:
        self.nodes = tuple(_node(folder / f"node{n}", aof) for n in range(NODES))
        self._stack = ExitStack()

    def __enter__(self) -> Cluster:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._join()
            wait_for(self.is_whole, DEADLINE_S, lambda: f"no whole cluster: {self.nodes[0].last_words()}")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return self.nodes[0].url

    @property
    def pids(self) -> list[int]:
        return [pid for node in self.nodes for pid in node.pids]

    def owner(self, key: str) -> Redis:
        """The node that has *key*."""
        slot = int(self.nodes[0].ask("CLUSTER", "KEYSLOT", key))
        ports = [rest[1] for first, last, rest, *_ in self.nodes[0].ask("CLUSTER", "SLOTS") if first <= slot <= last]
        return next(node for node in self.nodes if node.port == ports[0])

    def is_whole(self) -> bool:
        """Whether every node knows the owner of every slot."""
        for node in self.nodes:
            told = dict(line.partition(":")[::2] for line in node.ask("CLUSTER", "INFO").splitlines())
            if [told[f"cluster_{what}"] for what in ("state", "slots_ok", "size")] != ["ok", str(SLOTS), str(NODES)]:
                return False
        return True

    def move(self, key: str) -> Redis:
        """Give the slot of *key* with all its keys to the next node; returns that one."""
        slot = int(self.nodes[0].ask("CLUSTER", "KEYSLOT", key))
        # The new owner takes an epoch above all that it knows of: one that is not above all would lose the slot again.
        wait_for(lambda: len(self._told("cluster_current_epoch")) == 1, DEADLINE_S, lambda: "the nodes do not agree")
        old = self.owner(key)
        new = self.nodes[(self.nodes.index(old) + 1) % NODES]
        names = {node: node.ask("CLUSTER", "MYID") for node in (old, new)}
        new.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[old])
        old.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[new])
        while keys := old.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            old.ask("MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", *keys)
        for node in (new, old, *self.nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", names[new])
        wait_for(lambda: self.is_whole() and len(self._told("cluster_current_epoch")) == 1, DEADLINE_S,
                 lambda: f"slot {slot} did not arrive")
        return new

    def _told(self, what: str) -> set[str]:
        """What the nodes say of the cluster."""
        return {dict(line.partition(":")[::2] for line in node.ask("CLUSTER", "INFO").splitlines())[what]
                for node in self.nodes}

    def flush(self) -> None:
        """Empty all nodes."""
        for node in self.nodes:
            node.flush()

    def _join(self) -> None:
        for n, node in enumerate(self.nodes):
            slots = [slot for slot in range(SLOTS) if slot * NODES // SLOTS == n]
            node.ask("CLUSTER", "ADDSLOTS", *slots)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port)


def _node(folder: Path, aof: bool) -> Redis:
    while True:
        node = Redis(folder, aof=aof, config=CONFIG)
        if node.port + BUS not in PORTS:  # a client's connection may get it at any moment
            continue
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", node.port + BUS))
            except OSError:
                continue
            return node
