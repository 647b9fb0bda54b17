"""The turns of one life that are under way: numbered, sent in order, and sent again until each is answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from fastq._ext import resp
from fastq.exceptions import TransportError
from fastq.transport.redis_lanes import Lanes
from fastq.transport.redis_line import Line
from fastq.transport.redis_link import ReplyError
from fastq.transport.redis_turn import LOOK, MOST_UNKNOWN, RANKED, SCRIPT, Outbox, Turn

MOST = 2
"""Unanswered turns: the server does one while the answer to the other is on its way and taken in. More would come in
one heap, for it does all that it has read before it has written a long answer. It remembers what the last sixteen
gave."""
LOADS = 3
"""A server that forgets scripts as often as this in a row is tried again later."""


class Turns:
    """Sends turns. *done* is told of each that is answered, with the reply; *refused* of the error that a server has
    for one instead, after which all wait for `send_again`. *number* is that of the first tag to be given.
    """

    def __init__(self, lanes: Lanes, number: int, done: Callable[[Turn, Any], None],
                 refused: Callable[[str, TransportError], None]) -> None:
        self._lanes = lanes
        self._done = done
        self._refused = refused
        self.next_number = number
        self.asked = 0
        """Deliveries that were asked for and are not here yet."""
        self._under_way: deque[Turn] = deque()
        self._count = self._fetches = 0
        self._sending = 0
        self._loads = 0

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def may_send(self) -> bool:
        """Whether the server keeps up."""
        return len(self._under_way) < MOST

    @property
    def tries_suspect(self) -> bool:
        """Whether one of them may bring a suspect."""
        return any(turn.tries_suspect for turn in self._under_way)

    def send(self, line: Line, outbox: Outbox, credit: int, *, may_try: bool, looks: bool = False) -> None:
        """Send a turn that says *outbox* and asks for *credit* deliveries; one that *looks* moves what falls due though
        it asks for none.
        """
        self._count += 1
        # Of those that fetch: a worker that acks early has one that does not after each of them.
        self._fetches += credit > 0
        first = RANKED if self._lanes.are_ranked else self._fetches % max(1, len(self._lanes.served))
        wish = LOOK if looks and not credit else credit
        head = (self._count, self.next_number, wish, first, int(may_try))
        self.next_number += credit + MOST_UNKNOWN * len(outbox.unknown)
        self.asked += credit
        turn = Turn(resp.command(*outbox.words(self._lanes, head)), credit, may_try and credit > 0, outbox.makes_work)
        self._under_way.append(turn)
        self._ask(line, turn)

    def send_again(self, line: Line) -> None:
        """Send all that is unanswered, in order; what is answered of the earlier sending is not looked at."""
        self._sending += 1
        for turn in self._under_way:
            self._ask(line, turn)

    def _ask(self, line: Line, turn: Turn) -> None:
        sending = self._sending

        def take(reply: Any) -> None:
            if sending != self._sending:
                return      # it was sent again since, and is answered again
            if isinstance(reply, ReplyError):
                self._fail(line, reply)
                return
            self._under_way.popleft()
            self._loads = 0
            self.asked -= turn.credit
            self._done(turn, reply)

        line.ask(turn.data, take, packed=True)

    def _fail(self, line: Line, reply: Exception) -> None:
        code = str(reply).split(" ", 1)[0]
        if code == "NOSCRIPT" and self._loads < LOADS:
            self._loads += 1
            line.tell("SCRIPT", "LOAD", SCRIPT.text)
            self.send_again(line)
            return
        self._sending += 1
        self._loads = 0
        error = line.link.error_of(reply)
        self._refused(code, error if isinstance(error, TransportError) else TransportError(str(error)))
