"""The lease of a life: how it begins, is renewed and ends; and what others left, whose lease is over.

A life that is over is ended in one step: from then on its turns are refused. What it held stays in its grave until it
is back in line, message by message, each with one more death: as many workers as like may do that at once, and stop at
any point.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

from fastq import backoff
from fastq._ext import kombu
from fastq.exceptions import DecodeError, TransportError
from fastq.transport.redis_desk import Desk
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_lanes import LANE_BITS, Lanes, trial_lane
from fastq.transport.redis_line import Ask, Errand, Line
from fastq.transport.redis_link import Link
from fastq.transport.redis_restore import Restorer
from fastq.transport.redis_script import Argument, Script

logger = logging.getLogger("fastq.transport.redis")

ATTACH, KEEP, END, REVIVE, LEAVE = map(Script.named, ("attach", "keep", "end_life", "revive", "leave"))
PATIENCE_S = 0.5
"""A renewal is waited for so long; if the answer comes later, what it says is heard later."""
GRACE_S = 5.0
"""Who was late itself judges nobody for so long: others may be on their way back as well."""
CLOSED_S = 60.0
"""How long inboxes of a life that is over stay closed; no wait lasts as long."""
PIECE = 200
"""Messages that are put back in one step."""
MOST_OVER = 100
"""Lives that are over, of which one look is told; as in keep.lua."""
AGAIN_S = 1.0
"""A life that is over and may not be ended yet, since the server was away itself, is looked at so often."""
SPREAD_S = 0.25
"""Workers that wait for the end of the same lease look within so long of it, and not all at once."""


def begin(link: Link, lanes: Lanes, lease_s: float) -> None:
    """Give a life its lease. Raises TransportError."""
    arguments: list[Argument] = [lanes.life, int(lease_s * 1000), len(lanes.queues), *lanes.queues, *lanes.all]
    ATTACH.call(link, [lanes.lives, lanes.life_key, lanes.queues_key, *lanes.movers], arguments)


def leave(link: Link, lanes: Lanes) -> int:
    """End a life: all that it holds is next in line again. Returns how many messages, -1 when it was over."""
    keys = [lanes.lives, lanes.life_key, lanes.held_key, *lanes.inboxes, *lanes.all]
    count = LEAVE.call(link, keys, [lanes.life, int(CLOSED_S * 1000), len(lanes.inboxes), lanes.width])
    if lanes.movers:
        # Other workers of these queues say so again when they next renew their leases.
        link.call("DEL", *lanes.movers)
    return count if isinstance(count, int) else -1


def started_ms(info: bytes) -> int:
    """When a server was started, by its own clock, from what INFO says of it."""
    told = dict(line.split(":", 1) for line in info.decode("utf-8", "replace").split("\r\n") if ":" in line)
    return int(told.get("server_time_usec", 0)) // 1000 - int(told.get("uptime_in_seconds", 0)) * 1000


class Lease:
    """Renews the lease of a desk's life, and looks after the lives that are over."""

    def __init__(self, desk: Desk, keys: Keys, restorer: Restorer, lease_s: float, death_limit: int) -> None:
        self._desk = desk
        desk.on_link = self._renew      # after an absence there may be little left of the lease
        self._restorer = restorer
        self._keys = keys
        self._lease_ms = int(lease_s * 1000)
        self._suspect_from = max(1, death_limit - 1)
        self._line: Line | None = None
        self._started_ms = 0
        self._judges_from = 0.0
        self._is_answered = True
        self._at_work: set[bytes] = set()
        self._revived = 0
        self.due_at = 0.0
        """When to renew and to look next, by the monotonic clock: a third of the lease later, or when the lease of
        another is over before."""

    def keep(self) -> int:
        """Renew; returns how many messages of others came back since the last time. Raises LeaseLost."""
        self._desk.tend()
        self.look()
        self._desk.wait_for(lambda: self._is_answered, PATIENCE_S)
        self._desk.tend()
        count = self._revived + self._restorer.restored
        self._revived = self._restorer.restored = 0
        return count

    def look(self) -> None:
        """Renew, and begin to look after the lives that are over and what was not told of, without waiting."""
        self._look_within(self._lease_ms / 3000)
        line = self._desk.line
        if line is not None:
            self._renew(line)
            line.start(self._desk.look_again())
            if self._restorer.is_due:
                line.start(self._restorer.look())

    def _look_within(self, wait_s: float, *, or_before: bool = False) -> None:
        due_at = time.monotonic() + wait_s
        self.due_at = min(self.due_at, due_at) if or_before else due_at

    def _renew(self, line: Line) -> None:
        if line is not self._line:
            self._line, self._at_work = line, set()
            line.start(self._ask_start())
        judges = time.monotonic() >= self._judges_from
        self._is_answered = False
        lanes = self._desk.lanes
        line.start(self._renewal(Ask.of(KEEP, [lanes.lives, lanes.graves, *lanes.movers],
                                        [lanes.life, self._lease_ms, int(judges)])))

    def _ask_start(self) -> Errand:
        self._started_ms = 0
        try:
            info = yield Ask(("INFO", "server"))
        except TransportError:
            return      # not everybody may ask; then a restart is not told from a silence
        if isinstance(info, bytes):
            self._started_ms = started_ms(info)

    def _renewal(self, question: Ask) -> Errand:
        asked_at = time.monotonic()
        try:
            reply = yield question
        except TransportError as error:
            self._is_answered = True
            if "LEASELOST" in str(error):
                self._desk.lose("")
                return
            raise
        self._is_answered = True
        self._desk.leased_until = asked_at + self._lease_ms / 1000
        now, next_ends, late, over, graves = reply
        if late:
            grace_s = min(GRACE_S, self._lease_ms / 3000)
            self._judges_from = time.monotonic() + grace_s
            self._look_within(grace_s, or_before=True)
        if next_ends >= 0:
            # A living one renews its lease before it is over, and makes this later.
            spread_s = min(SPREAD_S, self._lease_ms / 10_000) * backoff.chance()
            self._look_within((next_ends + 1 - now) / 1000 + spread_s, or_before=True)
        if len(over) == MOST_OVER:
            self._look_within(SPREAD_S, or_before=True)
        line = self._line
        assert line is not None
        for life in {*over, *graves} - self._at_work:
            self._at_work.add(life)
            line.start(self._look_after(life, is_over=life in over))

    # -- others ----------------------------------------------------------------------------------------------------

    def _look_after(self, life: bytes, *, is_over: bool) -> Errand:
        try:
            name = life.decode()
            told = yield Ask(("HGETALL", self._keys.life(name)))
            told = dict(_pairs(told))
            queues = int(told.get(b"queues", 0))
            lanes = [told[b"l%d" % at] for at in range(len(told)) if b"l%d" % at in told]
            width = len(lanes) // max(1, queues)
            if is_over:
                inboxes = [self._keys.inbox(name, lane) for lane in range(queues)]
                keys = [self._keys.lives, self._keys.graves, self._keys.life(name), self._keys.held(name), *inboxes]
                if not (yield Ask.of(END, keys, [name, int(CLOSED_S * 1000), self._started_ms, width])):
                    self._look_within(AGAIN_S, or_before=True)
                    return
                logger.warning("worker %s was silent for longer than its lease: what it held goes back", name)
            yield from self._empty(name, lanes, width)
        finally:
            self._at_work.discard(life)

    def _empty(self, name: str, lanes: Sequence[bytes], width: int) -> Errand:
        tags = yield Ask(("HKEYS", self._keys.held(name)))
        # The last first: what is pushed last is served first.
        left = sorted(map(int, tags), reverse=True)
        for at in range(0, max(1, len(left)), PIECE):
            piece = left[at:at + PIECE]
            envelopes = (yield Ask(("HMGET", self._keys.held(name), *piece))) if piece else []
            targets: dict[bytes, int] = {}
            arguments: list[Argument] = [name]
            for tag, envelope in zip(piece, envelopes, strict=True):
                if envelope is not None:
                    key, marked = self._mark(tag, envelope, lanes, width)
                    arguments += [tag, targets.setdefault(key, 4 + len(targets)), marked, "R"]
            keys = [self._keys.graves, self._keys.life(name), self._keys.held(name), *targets]
            count, _ = yield Ask.of(REVIVE, keys, arguments)
            self._revived += count
            self._desk.ears.has_news = True

    def _mark(self, tag: int, envelope: bytes, lanes: Sequence[bytes], width: int) -> tuple[bytes, bytes]:
        """Where a message goes whose holder died, and as what."""
        lane = tag >> LANE_BITS
        try:
            deaths = kombu.deaths_of(kombu.parse(envelope)) + 1
            marked = kombu.mark(envelope, deaths)
        except DecodeError:
            return lanes[lane], envelope        # whoever takes it next finds out why
        return lanes[trial_lane(lane, width) if deaths >= self._suspect_from else lane], marked


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)

