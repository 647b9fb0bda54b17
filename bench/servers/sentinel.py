"""A Redis with a replica, and three sentinels that make the replica the primary when that one fails."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from fastq.bench.servers import ServerFailed, wait_for
from fastq.bench.servers.redis import Redis

NAME = "mymaster"
DEADLINE_S = 30.0
CONFIG = f"""\
sentinel monitor {NAME} 127.0.0.1 {{port}} 2
sentinel down-after-milliseconds {NAME} 300
sentinel failover-timeout {NAME} 2000
"""
AT_ONCE = "repl-diskless-sync-delay 0"
"""A primary would wait 5 s for more replicas before it sends its data to one."""
HASTE = ("INFO-PERIOD", 200, "PUBLISH-PERIOD", 200, "PING-PERIOD", 300, "ASK-PERIOD", 100)
"""Milliseconds: they would look every 10 s for new replicas. Redis 6 and before cannot be told.

While the primary is down a replica is asked once a second what it is, and what it said is believed for five ping
periods: with shorter ones there is mostly no replica that can be elected.
"""


class Sentinels:
    """The servers, in folders of *folder*. A failover takes them one to two seconds.

    ``url`` is their address as Celery writes it. Example::

        with Sentinels(folder) as setup:
            connect(setup.url, setup.name)
            setup.primary.kill()
    """

    name = NAME

    def __init__(self, folder: Path) -> None:
        first = Redis(folder / "first", config=(AT_ONCE,))
        second = Redis(folder / "second", config=(AT_ONCE, f"replicaof 127.0.0.1 {first.port}"))
        self.servers = (first, second)
        self.sentinels = tuple(
            Redis(folder / f"sentinel{n}", config=CONFIG.format(port=first.port).splitlines(),
                  arguments=("--sentinel",)) for n in range(3)
        )  # fmt: skip
        self.url = ";".join(f"sentinel://127.0.0.1:{one.port}/0" for one in self.sentinels)
        self._stack = ExitStack()

    def __enter__(self) -> Sentinels:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            for sentinel in self.sentinels:
                stack.enter_context(sentinel)
                with suppress(ServerFailed):
                    sentinel.ask("SENTINEL", "DEBUG", *HASTE)
            wait_for(self.is_whole, DEADLINE_S, lambda: f"no whole set of sentinels: {self.sentinels[0].last_words()}")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    @property
    def primary(self) -> Redis:
        """The one that a majority of the sentinels takes for it."""
        told = [int(one.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1]) for one in self.sentinels]
        return next(server for server in self.servers if told.count(server.port) > 1)

    @property
    def replica(self) -> Redis:
        """The other one."""
        primary = self.primary
        return next(server for server in self.servers if server is not primary)

    @property
    def pids(self) -> list[int]:
        return [pid for one in (*self.servers, *self.sentinels) for pid in one.pids]

    def is_whole(self) -> bool:
        """Whether every sentinel knows the others and the replica, and that one has all that the primary has."""
        for one in self.sentinels:
            words = one.ask("SENTINEL", "MASTER", NAME)
            known = dict(zip(words[::2], words[1::2], strict=True))
            if (known["num-other-sentinels"], known["num-slaves"], known["flags"]) != ("2", "1", "master"):
                return False
        return self.replica.info("replication").get("master_link_status") == "up"

    def wait_for_failover(self, old: Redis) -> Redis:
        """Wait until another than *old* is the primary, and says so; returns it."""

        def is_done() -> bool:
            try:
                now = self.primary
                return now is not old and now.info("replication")["role"] == "master"
            except (ServerFailed, StopIteration):
                return False

        wait_for(is_done, DEADLINE_S, lambda: f"no failover: {self.sentinels[0].last_words()}")
        return self.primary
