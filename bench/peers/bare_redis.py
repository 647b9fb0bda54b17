"""The yardstick on Redis: hiredis and a socket, with messages as Celery sends them, and no task.

Draining fetches and acknowledges 500 with one script, the next of which is under way while a batch is taken in. As a
program of its own it publishes an answer to each message.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
import os
import socket
from base64 import b64encode
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from bell import ring
from hiredis import Reader, pack_command

URL = urlsplit(os.environ["BENCH_BROKER_URL"])
QUEUE, HELD, INBOX, REPLIES = b"bench", b"bench-held", b"bench-inbox", b"bench-replies"
TOGETHER = 100
"""Messages in one LPUSH, when there are many at hand."""
BATCH = 500
Word = bytes | str | int
TURN = b"""
local first, last = tonumber(ARGV[1]), tonumber(ARGV[2])
if last >= first then
    local done = {}
    for tag = first, last do done[#done + 1] = tag end
    redis.call('HDEL', KEYS[2], unpack(done))
end
local rows, held, next = redis.call('RPOP', KEYS[1], ARGV[3]) or {}, {}, tonumber(ARGV[4])
for at, row in ipairs(rows) do
    held[2 * at - 1], held[2 * at] = next + at, row
end
if #rows > 0 then redis.call('HSET', KEYS[2], unpack(held)) end
return rows
"""
"""Acknowledge a run of tags; fetch so many, and record them as held from a tag on."""


def packed(*words: Word) -> bytes:
    command: Any = words  # its type says a tuple of one
    made: bytes = pack_command(command)
    return made


def message() -> bytes:
    """A no-op task as kombu lays it out."""
    number = str(uuid4())
    headers: dict[str, object] = {
        "lang": "py", "task": "noop", "id": number, "shadow": None, "eta": None, "expires": None, "group": None,
        "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": number, "parent_id": None,
        "argsrepr": "()", "kwargsrepr": "{}", "origin": "gen1@bench", "ignore_result": True, "stamped_headers": None,
        "stamps": {},
    }  # fmt: skip
    body = b64encode(b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]').decode()
    properties = {
        "correlation_id": number, "reply_to": str(uuid4()), "delivery_mode": 2, "priority": 0,
        "delivery_info": {"exchange": "", "routing_key": "bench"}, "body_encoding": "base64",
        "delivery_tag": str(uuid4()),
    }  # fmt: skip
    return json.dumps({
        "body": body, "content-encoding": "utf-8", "content-type": "application/json", "headers": headers,
        "properties": properties,
    }).encode()  # fmt: skip


class Client:
    """One connection to the database of the trial."""

    def __init__(self) -> None:
        self.socket = socket.create_connection((str(URL.hostname), URL.port or 6379))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader()
        self.call(b"SELECT", URL.path[1:])

    def send(self, *words: Word) -> None:
        self.socket.sendall(packed(*words))

    def read(self) -> Any:
        while (answer := self.reader.gets()) is False:
            if not (data := self.socket.recv(1 << 18)):
                raise ConnectionError("Redis hung up")
            self.reader.feed(data)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def call(self, *words: Word) -> Any:
        self.send(*words)
        return self.read()


class Ends:
    """The connections of this process and what they send, made when it is first asked for."""

    @cached_property
    def publisher(self) -> Client:
        return Client()

    @cached_property
    def message(self) -> bytes:
        return message()

    @cached_property
    def listener(self) -> Client:
        client = Client()
        client.call(b"SUBSCRIBE", REPLIES)
        return client


ends = Ends()


def call() -> None:
    ends.publisher.call(b"LPUSH", QUEUE, ends.message)


def call_many(n: int) -> None:
    client, made = ends.publisher, ends.message
    for start in range(0, n, TOGETHER):
        client.call(b"LPUSH", QUEUE, *[made] * min(TOGETHER, n - start))


def mark(_name: str) -> None:
    """The one that answers rings by itself when it is ready."""


def ask() -> None:
    listener = ends.listener
    call()
    listener.read()


def drain(n: int, timed: Callable[[Callable[[], None]], dict[str, float]]) -> dict[str, float]:
    call_many(n)
    client = Client()
    script = client.call(b"SCRIPT", b"LOAD", TURN)

    def work() -> None:
        def turn(fetched: int) -> None:
            client.send(b"EVALSHA", script, 2, QUEUE, HELD, acked + 1, done, BATCH, fetched)

        acked = done = 0
        turn(0)
        while acked < n:
            # The batch after the one to come; all are full but the last, so that their tags are known before.
            turn(done + BATCH)
            acked, done = done, done + len(client.read())
        client.read()

    took = timed(work)
    if left := client.call(b"HLEN", HELD) + client.call(b"LLEN", QUEUE):
        raise RuntimeError(f"{left} messages are left")
    return took


def answer() -> None:
    """Publish an answer to each message, and forget it."""
    client = Client()
    ring("first")
    while True:
        client.call(b"BLMOVE", QUEUE, INBOX, b"RIGHT", b"RIGHT", 0)
        client.socket.sendall(packed(b"PUBLISH", REPLIES, b"42") + packed(b"LPOP", INBOX))
        client.read()
        client.read()


if __name__ == "__main__":
    answer()
