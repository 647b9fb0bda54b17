"""Remote control over Redis: kombu's channel and reply lists, and a sorted set that keeps the revocations."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastq._ext import kombu, resp
from fastq.control.mailbox import QUEUE_S, Revoked
from fastq.exceptions import DecodeError
from fastq.transport.redis_binding import parse_table
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_link import NOTHING, Link, Push, ReplyError
from fastq.transport.redis_options import RedisOptions
from fastq.transport.redis_script import Script
from fastq.transport.redis_target import parse_many
from fastq.transport.url import split_urls

logger = logging.getLogger("fastq.control")

REVOKE = Script.named("revoke")
PING_S, SILENT_S = 5.0, 10.0
"""A server that says nothing is asked for a word after so long, and given up after so long."""


def open_urls(urls: Sequence[str], options: Mapping[str, Any], name: str) -> RedisMailbox:
    """Connect to the first of several servers that answers. Raises ConfigError, TransportError."""
    targets = parse_many(list(urls), options.get("ssl"))
    read = RedisOptions.read(split_urls(list(urls))[0], targets[0].options, options)
    link = read.way(targets).connect(read.connect_timeout_s, protocol=3, name=read.client_name)
    return RedisMailbox(link, read.keys(targets), name)


class RedisMailbox:
    """A `Mailbox` over one connection of its own, on which requests and answers are pushed."""

    def __init__(self, link: Link, keys: Keys, name: str) -> None:
        self._link = link
        self._keys = keys
        self._requests, self._answers = f"{name}.pidbox", f"reply.{name}.pidbox"
        self._queue, self._member = b"", ""
        self._pinged_at = 0.0

    def listen(self, node: str) -> None:
        """Subscribe to the channel of all workers; nothing there is *node*'s own."""
        self._link.send(resp.command("SUBSCRIBE", self._keys.channel(self._requests)))
        # Its answer comes after the other's, which has no reply but what is pushed.
        self._call("PING")

    def expect(self, address: str) -> None:
        """Bind a list for the answers to *address*, as kombu looks for it."""
        queue = f"{address}.{self._answers}"
        self._queue = self._keys.list_of(queue)
        self._member = self._keys.sep.join((address, "", queue))
        self._call("SADD", self._keys.binding(self._answers), self._member)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._link.fileno()

    def receive(self, timeout_s: float = 0.0) -> list[bytes]:
        """Return the contents that have come; what is no message of kombu's is passed over."""
        raws = self._answers_that_came(timeout_s) if self._queue else self._requests_that_came(timeout_s)
        found = []
        for raw in raws:
            try:
                found.append(kombu.parse(raw))
            except DecodeError as error:
                logger.warning("passed over what is no message, on %s: %s", self._link.where, error)
        return found

    def _answers_that_came(self, timeout_s: float) -> list[bytes]:
        reply = self._call("BRPOP", self._queue, max(timeout_s, 0.01), timeout_s=timeout_s + self._link.reply_timeout_s)
        return [reply[1]] if reply else []

    def _requests_that_came(self, timeout_s: float) -> list[bytes]:
        link = self._link
        # Something may have come while an answer was waited for.
        found = self._pushed() or (self._pushed() if link.fill(timeout_s) else [])
        silent_s = time.monotonic() - link.heard_at
        if silent_s > SILENT_S:
            raise link.lose(f"nothing was heard for {silent_s:.0f} s")
        if silent_s > PING_S and self._pinged_at < link.heard_at:
            self._pinged_at = time.monotonic()
            link.send(resp.command("PING"))
        return found

    def _pushed(self) -> list[bytes]:
        found = []
        while (reply := self._link.get()) is not NOTHING:
            if isinstance(reply, ReplyError):
                raise self._link.error_of(reply)
            if isinstance(reply, Push) and reply[0] == b"message":
                found.append(reply[2])
        return found

    def request(self, content: bytes) -> None:
        """Publish on the channel of all workers."""
        self._call("PUBLISH", self._keys.channel(self._requests), kombu.dump(content, self._requests, ""))

    def answer(self, exchange: str, address: str, content: bytes) -> None:
        """Push onto the lists that are bound to *exchange* by *address*."""
        members = self._call("SMEMBERS", self._keys.binding(exchange))
        table = parse_table(members if isinstance(members, (list, set)) else (), self._keys)
        for row in table:
            if row.routing_key == address:
                key = self._keys.list_of(row.queue)
                self._call("LPUSH", key, kombu.dump(content, exchange, address))
                self._call("EXPIRE", key, int(QUEUE_S))

    def _call(self, *command: bytes | str | int | float, timeout_s: float | None = None) -> Any:
        reply = self._link.call(*command, timeout_s=timeout_s)
        if isinstance(reply, ReplyError):
            raise self._link.error_of(reply)
        return reply

    # -- what is revoked -----------------------------------------------------------------------

    @property
    def _revoked(self) -> bytes:
        return f"{self._keys.prefix}fastq.revoked".encode()

    def revoke(self, revoked: Sequence[Revoked]) -> None:
        """Add to the set, whose score is when each expires."""
        scored = [part for each in revoked
                  for part in (each.until, json.dumps([each.value, each.header]).encode())]
        REVOKE.call(self._link, [self._revoked], [time.time(), *scored])

    def revoked(self) -> list[Revoked]:
        """Read the set."""
        reply = self._call("ZRANGE", self._revoked, f"({time.time()}", "+inf", "BYSCORE", "WITHSCORES")
        pairs = [(pair[0], pair[1]) for pair in reply] if reply and isinstance(reply[0], list) else \
            list(zip(reply[::2], reply[1::2], strict=True))
        told = [(json.loads(member), float(score)) for member, score in pairs]
        return [Revoked(value, header, until) for (value, header), until in told]

    def abandon(self) -> None:
        """Close the descriptor."""
        self._link.abandon()

    def close(self) -> None:
        """Leave, and take the reply list along."""
        if self._queue and self._link.is_open:
            self._call("SREM", self._keys.binding(self._answers), self._member)
            self._call("DEL", self._queue)
        self._link.close()
