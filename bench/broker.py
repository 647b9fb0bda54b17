"""Where the systems keep their messages: files of their own, or a server that all of one run share.

A server starts with the first trial that needs it, on free ports and in a folder of its own, and ends with the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import unquote

from fastq.bench.servers import ServerMissing
from fastq.bench.servers.erlang import string
from fastq.bench.servers.rabbitmq import RabbitMQ, find_home
from fastq.bench.servers.redis import Redis, find_program


class Place(NamedTuple):
    """Where one trial finds nothing of another: what its processes must know, and what the harness watches."""

    env: dict[str, str]
    pid: int | None = None
    """Of the server, whose CPU is a part of what a task costs."""
    backlog: Callable[[], int] | None = None
    """How many messages the server holds there; None where only the system itself can tell."""
    wire: Callable[[], int] | None = None
    """How many bytes the server has read and written so far, of everybody; None where it cannot tell."""


class Broker:
    """No server at all: each system has files of its own."""

    name = "sqlite"
    title = "files"

    def missing(self) -> str | None:
        """Say why nothing can be measured on it here, None if it can."""
        return None

    def version(self) -> str | None:
        return None

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Make a place for one trial, gone at the end of the block."""
        yield Place({})

    def close(self) -> None:
        """End the server, if one runs. Safe twice."""


class RabbitBroker(Broker):
    """A private RabbitMQ; each trial has a virtual host of its own."""

    name = "rabbitmq"
    title = "RabbitMQ"

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.server: RabbitMQ | None = None

    def missing(self) -> str | None:
        try:
            find_home()
        except ServerMissing as missing:
            return str(missing)
        return None

    def version(self) -> str | None:
        return self.server.eval("rabbit_misc:version()").strip('"') if self.server else None

    @contextmanager
    def place(self) -> Iterator[Place]:
        if self.server is None:
            folder = self.stack.enter_context(TemporaryDirectory(prefix="fastq-bench-", ignore_cleanup_errors=True))
            self.server = self.stack.enter_context(RabbitMQ(Path(folder)))
        server, url = self.server, self.server.vhost()
        pid = int(server.eval("os:getpid()").strip('"'))
        vhost = unquote(url.rpartition("/")[2])
        try:
            yield Place({"BENCH_BROKER_URL": url, "BENCH_BROKER_PID": str(pid)}, pid, lambda: stored(server, vhost))
        finally:
            server.reclaim(url)

    def close(self) -> None:
        self.server = None
        self.stack.close()


STORED = """
    lists:sum([case amqqueue:get_type(Queue) of
        rabbit_quorum_queue ->
            {{ok, {{_, Held}}, _}} = ra:local_query(amqqueue:get_pid(Queue), fun rabbit_fifo:query_messages_total/1),
            Held;
        rabbit_stream_queue ->
            0;
        _ ->
            [{{messages, Held}}] = rabbit_amqqueue:info(Queue, [messages]),
            Held
        end || Queue <- rabbit_amqqueue:list(<<{vhost}/utf8>>)])
"""
"""A quorum queue is asked itself: what RabbitMQ reports of it is up to 5 s old. A stream has no messages to work off:
the one that keeps what is revoked holds a mark of each worker that started."""


def stored(server: RabbitMQ, vhost: str) -> int:
    """Messages ready or unacknowledged in any queue of *vhost*, but for streams."""
    return int(server.eval(STORED.format(vhost=string(vhost))))


class RedisBroker(Broker):
    """A private Redis without persistence; each trial has a database of its own."""

    name = "redis"
    title = "Redis"

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.server: Redis | None = None

    def missing(self) -> str | None:
        try:
            find_program()
        except ServerMissing as missing:
            return str(missing)
        return None

    def version(self) -> str | None:
        return self.server.info("server")["redis_version"] if self.server else None

    @contextmanager
    def place(self) -> Iterator[Place]:
        if self.server is None:
            folder = self.stack.enter_context(TemporaryDirectory(prefix="fastq-bench-", ignore_cleanup_errors=True))
            self.server = self.stack.enter_context(Redis(Path(folder)))
        server, url = self.server, self.server.place()
        try:
            # What a message is, and where it waits, is each system's own matter here.
            env = {"BENCH_BROKER_URL": url, "BENCH_BROKER_PID": str(server.pid)}
            yield Place(env, server.pid, wire=lambda: carried(server))
        finally:
            server.reclaim(url)

    def close(self) -> None:
        self.server = None
        self.stack.close()


def carried(server: Redis) -> int:
    """Bytes that *server* has read and written so far."""
    told = server.info("stats")
    return int(told["total_net_input_bytes"]) + int(told["total_net_output_bytes"])


EMBEDDED = Broker()
BROKERS: dict[str, Broker] = {broker.name: broker for broker in (EMBEDDED, RabbitBroker(), RedisBroker())}
