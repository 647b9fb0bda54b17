"""What carries the messages of a round, seen from outside: where it is, what waits in it, and what is left at the end.

The SQLite file of a round is its own. RabbitMQ is one server for all rounds, with a virtual host for each; Redis as
well, with a database for each.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from fastq import transport
from fastq._ext.envelope import unpack
from fastq.bench.servers import ServerFailed
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.bench.servers.redis import Redis
from fastq.transport.base import Transport
from fastq.types import Endings
from tests.deadline import wait_until
from tests.fault.history import Letter, Remains
from tests.servers.proxy import Proxy

OWED = """
lists:sum([case amqqueue:get_type(Queue) of
    rabbit_quorum_queue ->
        {{ok, {{_, Count}}, _}} = ra:local_query(amqqueue:get_pid(Queue), fun rabbit_fifo:query_messages_total/1),
        Count;
    rabbit_stream_queue ->
        0;
    _ ->
        [{{messages, Count}}] = rabbit_amqqueue:info(Queue, [messages]),
        Count
    end || Queue <- rabbit_amqqueue:list(<<"{vhost}">>),
           element(4, amqqueue:get_name(Queue)) =/= <<"fastq.dead">>, amqqueue:get_type(Queue) =/= rabbit_stream_queue])
"""
"""Messages that wait, are held or are delayed. This asks the queues: the statistics of quorum ones are seconds old.

A stream keeps what was revoked, and the marks of those who read it: nobody is owed that.
"""


OWED_IN_KEYS = """
local owed = 0
for _, name in ipairs(redis.call('KEYS', '*')) do
    local kind = redis.call('TYPE', name).ok
    if kind == 'list' then
        owed = owed + redis.call('LLEN', name)
    elseif kind == 'hash' and (name == 'unacked' or string.find(name, '^fastq%.held%.')) then
        owed = owed + redis.call('HLEN', name)
    elseif kind == 'zset' and string.find(name, '^fastq%.future%.') then
        owed = owed + redis.call('ZCARD', name)
    end
end
return owed
"""
"""Every list has messages: queues with their priorities, inboxes, suspects."""


class Engine(Protocol):
    """Carries the messages of one round."""

    name: str
    is_atomic: bool
    """Nothing of a turn can be lost, or done twice, by a death within it."""
    url: str

    def settings(self) -> dict[str, Any]:
        """Settings of the app, besides the broker."""

    def is_empty(self) -> bool:
        """Whether nothing waits, is held, or is to come."""

    def remains(self) -> Remains:
        """Take out what is left, and look into the store. Nobody else works any more."""

    def close(self) -> None:
        """Let go of it. Safe to call twice."""


class File:
    """A SQLite file in *folder*."""

    name = "sqlite"
    is_atomic = True

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tasks.db"
        self.url = f"sqlite:///{self._path}"
        self._looker = transport.open(self.url)

    def settings(self) -> dict[str, Any]:
        return {}

    def is_empty(self) -> bool:
        return not any(stat.ready or stat.held or stat.future for stat in self._looker.queues().values())

    def remains(self) -> Remains:
        remains = take_out(self._looker, self.is_empty)
        remains.results = results_in(self._path)
        return remains

    def close(self) -> None:
        self._looker.close()


class Host:
    """A virtual host of *server*, reached through ``proxy`` if it is to misbehave.

    Results go to the server *store*, or to a file in *folder*.
    """

    is_atomic = False

    def __init__(self, server: RabbitMQ, folder: Path, queue_type: str, *, heartbeat_s: float = 10.0,
                 is_proxied: bool = False, store: Redis | None = None) -> None:
        self.name = queue_type
        self.server = server
        self._heartbeat_s = heartbeat_s
        self._file = folder / "results.db"
        self._store = store
        self._results = store.place() if store else f"sqlite:///{self._file}"
        # A crash of RabbitMQ (3.10.8) soon after quorum queues were deleted: those that have the same names now may not
        # come up. So no round has the virtual host of another.
        self._straight = server.vhost(f"round-{uuid.uuid4().hex[:8]}")
        self.proxy = Proxy(server.port) if is_proxied else None
        self.url = self.proxy.url(self._straight) if self.proxy else self._straight
        self._owed = OWED.format(vhost=self._straight.rpartition("/")[2])
        self._is_closed = False

    def settings(self) -> dict[str, Any]:
        return {"result_backend": self._results, "task_default_queue_type": self.name,
                "broker_heartbeat": self._heartbeat_s}

    def is_empty(self) -> bool:
        try:
            return self.server.eval(self._owed) == "0"
        except ServerFailed:
            return False        # it is away, or a queue of it is not up yet

    def remains(self) -> Remains:
        looker = transport.open(self._straight)
        try:
            remains = take_out(looker, self.is_empty)
        finally:
            looker.close()
        if self._file.exists():
            remains.results = results_in(self._file)
        return remains

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            if self.proxy is not None:
                self.proxy.close()
            self.server.reclaim(self._straight)
            if self._store is not None:
                self._store.reclaim(self._results)


class Database:
    """A database of *server*, reached through ``proxy`` if it is to misbehave; results are in it too, or in a file
    *store*.
    """

    name = "redis"
    is_atomic = True

    def __init__(self, server: Redis, *, is_proxied: bool = False, store: Path | None = None) -> None:
        self.server = server
        self._store = store
        self._straight = server.place()
        self.proxy = Proxy(server.port) if is_proxied else None
        self.url = self.proxy.url(self._straight) if self.proxy else self._straight
        self._is_closed = False

    def settings(self) -> dict[str, Any]:
        return {"result_backend": f"sqlite:///{self._store}" if self._store else self.url}

    def is_empty(self) -> bool:
        """Ask the keys themselves: what waits in the lists of kombu, is in hand, in flight, or to come."""
        database = int(self._straight.rpartition("/")[2])
        try:
            return self.server.ask("EVAL", OWED_IN_KEYS, 0, database=database) == 0
        except ServerFailed:
            return False        # it is away, or loads what it has on disk

    def remains(self) -> Remains:
        looker = transport.open(self._straight)
        try:
            remains = take_out(looker, self.is_empty)
        finally:
            looker.close()
        remains.results = results_in(self._store) if self._store else self._results()
        return remains

    def _results(self) -> Counter[str]:
        database, found = int(self._straight.rpartition("/")[2]), Counter[str]()
        for key in self.server.ask("KEYS", "celery-task-meta-*", database=database):
            meta = json.loads(self.server.ask("GET", key, database=database))
            if meta["status"] == "SUCCESS":
                found[str(meta["result"])] += 1
        return found

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            if self.proxy is not None:
                self.proxy.close()
            self.server.reclaim(self._straight)


def take_out(looker: Transport, is_empty: Callable[[], bool]) -> Remains:
    """Return what is queued and dead."""
    remains = Remains()
    looker.attach("undertaker", ["celery"], 30.0)
    held: list[tuple[int, int]] = []

    def take() -> bool:
        for _, rows in looker.turn(Endings(), 10_000):
            for tag, _, content in rows:
                remains.queued[job_of(content)] += 1
                held.append((tag, tag))
        looker.turn(Endings(ack=list(held)), 0)
        held.clear()
        return is_empty()

    wait_until(take, what="the last future message to fall due")
    for letter in looker.dead_letters(limit=1_000_000):
        remains.dead.append(Letter(job_of(letter.content), letter.deaths, letter.reason))
    return remains


def job_of(content: bytes) -> str:
    """The job of a packed message."""
    _, headers, body = unpack(content)
    number = json.loads(body)[0][0]
    return f"{number}.{'L' if headers['task'].endswith('follow') else headers.get('retries') or 0}"


def results_in(path: Path) -> Counter[str]:
    """How many tasks have stored a success with each number as their result."""
    # The store has no way to list results, and needs none.
    conn = sqlite3.connect(path)
    try:
        rows = conn.execute("SELECT meta FROM result WHERE state = 'SUCCESS'").fetchall()
    finally:
        conn.close()
    return Counter(str(json.loads(meta)["result"]) for meta, in rows)
