"""Documents on a Redis Cluster: each is on the node that its key says, so many are asked for on several nodes at once.

What a node does not have any more is asked for where it sends us, and what is on its way from one to another a moment
later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastq.exceptions import ConnectionLost, FastqError, TransportError
from fastq.transport.redis_cluster import Cluster, Node, parse_moved, slot_of
from fastq.transport.redis_error import ScriptGone, Unready, error_of
from fastq.transport.redis_link import NOTHING, Link, ReplyError
from fastq.transport.redis_reply import pack
from fastq.transport.redis_script import Argument, Script

PAUSE_S = 0.02
Words = Sequence[Argument]


class SpreadDocuments:
    """Stores, finds and drops documents by their keys, on all nodes. Thread-safe; connects when it is first used.

    All attempts of a call end within *patience_s*, but for those that wait for an answer.
    """

    def __init__(self, cluster: Cluster, script: Script, *, connect_timeout_s: float, patience_s: float,
                 name: str) -> None:
        self._cluster = cluster
        self._script = script
        self._connect_timeout_s = connect_timeout_s
        self._patience_s = patience_s
        self._name = name
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[Node, Link] = {}

    def find(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The documents of *keys*, None where there is none. Raises TransportError."""
        return self._ask(keys, [("GET", key) for key in keys])  # type: ignore[return-value]

    def drop(self, keys: Sequence[bytes]) -> None:
        """Drop documents. Raises TransportError."""
        self._ask(keys, [("DEL", key) for key in keys])

    def store(self, keys: Sequence[bytes], arguments: Words) -> list[int]:
        """Store documents, *arguments* being three for each (put_results.lua); returns which were not, from 1.

        Raises TransportError.
        """
        asked = [self._script.words([key], arguments[3 * at:3 * at + 3]) for at, key in enumerate(keys)]
        return [at for at, left in enumerate(self._ask(keys, asked), 1) if left]

    def ask_for(self, key: bytes, question: Callable[[Link], Any]) -> Any:
        """Return what *question* returns for a link to the node that has *key*; it may be put again. Raises
        TransportError.
        """
        deadline = time.monotonic() + self._patience_s
        with self._lock:
            while True:
                if self._is_closed:
                    raise TransportError("the store of results is closed")
                node = self._node_of(key)
                try:
                    return question(self._links[node])
                except (ConnectionLost, Unready) as error:
                    if time.monotonic() >= deadline:
                        raise
                    _, moved, where = str(error).partition("MOVED ")
                    if moved:
                        self._cluster.note(slot_of(key), parse_moved(moved + where, node.host))
                    else:
                        time.sleep(PAUSE_S)

    def _ask(self, keys: Sequence[bytes], asked: Sequence[Words]) -> list[object]:
        """Ask each of *asked* at the node that has its key; the replies, in order."""
        call = _Call(keys, asked, time.monotonic() + self._patience_s)
        with self._lock:
            if self._is_closed:
                raise TransportError("the store of results is closed")
            while call.left:
                self._go_round(call)
                if call.failure is not None:
                    raise call.failure
        return call.replies

    def _go_round(self, call: _Call) -> None:
        """Ask for all that is left, everywhere at once."""
        groups: dict[Node, list[int]] = {}
        for at in call.left:
            groups.setdefault(self._node_of(call.keys[at]), []).append(at)
        for node, group in groups.items():
            try:
                self._links[node].send(b"".join(pack(tuple(call.asked[at])) for at in group))
            except ConnectionLost as error:
                call.lost(error)
        for node, group in groups.items():
            link = self._links[node]
            try:
                for at in group:
                    self._take(call, at, node, link.receive())
            except ConnectionLost as error:
                call.lost(error)
        if call.pauses:
            call.pauses = False
            time.sleep(PAUSE_S)

    def _take(self, call: _Call, at: int, node: Node, reply: object) -> None:
        if not isinstance(reply, ReplyError):
            call.replies[at] = reply
            del call.left[at]
        elif str(reply).startswith("MOVED "):
            self._cluster.note(slot_of(call.keys[at]), parse_moved(str(reply), node.host))
        elif isinstance(error := error_of(reply, self._links[node].where), ScriptGone):
            self._links[node].lose("it forgot a script, which it is told again on the next one")
        elif isinstance(error, Unready) and time.monotonic() < call.deadline:
            call.pauses = True
        else:
            call.failure = call.failure or error

    def _node_of(self, key: bytes) -> Node:
        """Who has *key*; there is a link to it after that."""
        node = self._cluster.owner(slot_of(key))
        if node is None or node not in self._links or not self._links[node].is_open:
            link = self._cluster.connect(key, self._connect_timeout_s, name=self._name)
            node = self._cluster.owner(slot_of(key))
            assert node is not None
            self._links[node] = link
            self._script.load(link)
        return node

    def close(self) -> None:
        """Close the connections. Safe to call twice."""
        self._is_closed = True
        with self._lock:
            for link in self._links.values():
                link.close()

    def abandon(self) -> None:
        """Begin anew after a fork: connections and lock are the parent's."""
        for link in self._links.values():
            link.abandon()
        self._begin()


class _Call:
    """What is to be asked, and what of it is answered."""

    def __init__(self, keys: Sequence[bytes], asked: Sequence[Words], deadline: float) -> None:
        self.keys = keys
        self.asked = asked
        self.deadline = deadline
        self.replies: list[object] = [NOTHING] * len(asked)
        self.left = dict.fromkeys(range(len(asked)))
        self.pauses = False
        self.failure: FastqError | None = None
        self._losses = 0

    def lost(self, error: ConnectionLost) -> None:
        """A connection broke: what is not answered is asked once more."""
        self._losses += 1
        if self._losses > 3 or time.monotonic() >= self.deadline:
            self.failure = self.failure or error
