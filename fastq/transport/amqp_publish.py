"""Publishing over AMQP: pipelined, confirmed, and sent again over a new connection while unconfirmed.

1. `publish_one` and `publish` send at once; a window bounds what is unconfirmed. A sender that is ahead of the broker
   waits until half of it is confirmed.
2. `offer` is for a loop that must not wait: it takes everything, and `poll` sends it when it can.
3. Confirms are read as messages go out, by `flush`, and by `poll`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from fastq.amqp.link import Link
from fastq.amqp.outage import Outage
from fastq.exceptions import BrokerRefused, ConnectionLost, OperationalError, TransportError
from fastq.transport.amqp_outbox import RETRY_FIRST_S, RETRY_MOST_S, WINDOW, Outbox
from fastq.transport.amqp_route import Routes
from fastq.types import Message

logger = logging.getLogger("fastq.transport.amqp")

LOOK_EVERY = 32
"""Sends after which confirms are read: one system call, shared."""
CHUNK = 64


class Publisher(Outbox):
    """One connection for publishing; thread-safe. *connect* opens it, in so many seconds at most."""

    def __init__(self, connect: Callable[[float], Link], routes: Routes, *, timeout_s: float,
                 on_link: Callable[[Link | None], None] = lambda link: None) -> None:
        super().__init__(connect, routes, timeout_s, on_link)
        self.lock = threading.RLock()
        self._unlooked = 0
        self._outage = Outage(timeout_s)
        self.closed = False

    # -- state ---------------------------------------------------------------------------------

    @property
    def retry_in(self) -> float | None:
        """Seconds until `poll` should be called although nothing was heard; None: no need."""
        if self._link is None and not self.pending:
            return None
        try:
            beat_in = self._link.beat() if self._link is not None else None
        except ConnectionLost as error:
            self._break(error)
            return 0.0 if self.pending else None
        waits = [beat_in, self._again.due_in if self._link is not None else None]
        if self._link is None or self._can_send_offered():
            # What was put off waits for its time, though there is a connection.
            waits.append(max(0.0, self._retry_at - time.monotonic()))
        return min((wait for wait in waits if wait is not None), default=None)

    # -- callers that may wait -----------------------------------------------------------------

    def publish_one(self, queue: str, content: bytes, priority: int, run_at: float | None, exchange: str) -> None:
        """Send one message. Raises OperationalError when the broker does not take it in time; then it was not sent."""
        if self._link is None:
            self._outage.check()    # before the lock: whoever has it may be busy connecting
        with self.lock:
            self._unlooked += 1
            self._give(((queue, content, priority, run_at, exchange),))

    def publish(self, messages: Iterable[Message], timeout_s: float | None) -> int:
        """Send many messages in few writes, and wait until they and all before them are confirmed."""
        count = 0
        source = iter(messages)
        # What yields messages is user code: no lock is held while it runs.
        while chunk := list(islice(source, CHUNK)):
            with self.lock:
                self._unlooked += LOOK_EVERY
                self._give(chunk)
            count += len(chunk)
        self.flush(timeout_s)
        return count

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until all that was accepted is confirmed.

        Raises OperationalError when *timeout_s* seconds bring no progress, and Undeliverable for messages that were
        refused, once for each.
        """
        with self.lock:
            self.drain(timeout_s)
            if self._failures:
                raise self._failures.next()

    def drain(self, timeout_s: float | None = None) -> None:
        """Wait as `flush` does, and leave what failed to be told to others."""
        with self.lock:
            self._wait(lambda: not self.pending, self._timeout_s if timeout_s is None else timeout_s, is_patient=True)

    def close(self, timeout_s: float) -> None:
        """Flush within *timeout_s* seconds, name what could not be, and close. Safe to call twice."""
        with self.lock:
            if self.closed:
                return
            try:
                self.drain(timeout_s)
            except OperationalError as error:
                logger.error("%s; %d messages are not confirmed and may be lost: %s",
                             error, self.pending, self._names())
            finally:
                self.closed = True
                self._let_go(abandon=False)

    # -- a loop that must not wait -------------------------------------------------------------

    def offer(self, message: Message) -> int:
        """Take a message to be sent by `poll`; returns its number."""
        with self.lock:
            self._keeps = True
            self._offered.append(message)
            return self._sent.sent + len(self._offered)

    def poll(self) -> None:
        """Send what was offered and read confirms; connect again when it is time to. Waits for no confirm."""
        with self.lock:
            if self.closed:
                return
            began = time.monotonic()
            try:
                if self._link is None:
                    if not self.pending or time.monotonic() < self._retry_at:
                        return
                    self._open(self._timeout_s)
                    self._outage.end()
                self._offer_again()
                if self._can_send_offered() and time.monotonic() >= self._retry_at:
                    self._send_offered()
                self._read(0.0)
                self._expect_words()
                if self._link is not None:
                    self._link.beat()
                self._pause_s = RETRY_FIRST_S
            except ConnectionLost as error:
                had_link = self._link is not None
                self._break(error)
                if not had_link:
                    self._put_off(error)
                    self._outage.note(error, began)
            except TransportError as error:
                self._put_off(error)
                self._outage.note(error, began)

    # -- sending -------------------------------------------------------------------------------

    def _give(self, chunk: Sequence[Message | tuple[str, bytes, int, float | None, str]]) -> None:
        """Send messages: all, or none when this raises."""
        began = time.monotonic()
        try:
            if not self._is_clear(WINDOW - 1) or self._unlooked >= LOOK_EVERY:
                self._enter()
            while True:
                try:
                    frames = [self._encode(*message) for message in chunk]
                    break
                except ConnectionLost as error:
                    self._break(error)
                    if time.monotonic() - began >= self._timeout_s:
                        raise
                    self._enter()
            self._send(frames, began + self._timeout_s)
        except OperationalError as error:
            self._outage.note(error, began)
            raise

    def _send(self, frames: list[bytes], deadline: float) -> None:
        """Send *frames*, also over a new connection; if that cannot be had, they were never accepted."""
        assert self._link is not None
        before = self._sent.sent
        self._note(frames)
        try:
            self._link.send(b"".join(frames))
        except ConnectionLost as error:
            self._break(error)
            try:
                if time.monotonic() >= deadline:
                    raise
                self._wait(lambda: self._link is not None, deadline - time.monotonic())
            except OperationalError:
                self._sent.drop(before)
                raise

    # -- waiting -------------------------------------------------------------------------------

    def _is_clear(self, most: int) -> bool:
        """Whether a message can be sent now, with *most* others unconfirmed; what was offered has its number before."""
        link = self._link
        return link is not None and not link.blocked and not self._offered and self._unconfirmed <= most

    @property
    def _unconfirmed(self) -> int:
        """What the broker has not confirmed, of all that was sent."""
        return len(self._sent) + len(self._again)

    def _enter(self) -> None:
        """Wait until messages can be sent: there is a connection, room in the window, and the broker takes them."""
        self._unlooked = 0
        if self._link is not None:
            try:
                self._read(0.0)
            except ConnectionLost as error:
                self._break(error)
        most = WINDOW - 1 if self._unconfirmed < WINDOW else WINDOW // 2
        if not self._is_clear(most):
            self._outage.check()
            self._wait(lambda: self._is_clear(most), self._timeout_s)
        self._outage.end()

    def _wait(self, is_done: Callable[[], bool], timeout_s: float, *, is_patient: bool = False) -> None:
        """Connect, send what was offered, and read, until it *is_done*; *timeout_s* bounds a wait without progress.

        A broker that cannot be reached is an error at once, or when time is up for who *is_patient*.
        """
        before, deadline, pause_s = self.pending, time.monotonic() + timeout_s, RETRY_FIRST_S
        while not is_done():
            was_open = self._link is not None
            failure: OperationalError | None = None
            try:
                self._step(max(0.0, deadline - time.monotonic()))
            except BrokerRefused:
                raise
            except TransportError as error:
                failure = error
                self._break(error)
            if self.pending < before:
                before, deadline, pause_s = self.pending, time.monotonic() + timeout_s, RETRY_FIRST_S
            elif failure is not None and not was_open:
                if time.monotonic() + pause_s >= deadline or not (is_patient or isinstance(failure, ConnectionLost)):
                    raise failure
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)
            elif time.monotonic() >= deadline and not is_done():
                if self._give_up_refused():
                    before, deadline = self.pending, time.monotonic() + timeout_s
                    continue
                failure = failure or OperationalError(self._why_waiting(timeout_s))
                self._give_up_silent()
                raise failure

    def _give_up_silent(self) -> None:
        try:
            self._expect_words()
        except ConnectionLost as error:
            self._break(error)

    def _step(self, left_s: float) -> None:
        if self.closed:
            raise TransportError("this transport is closed")
        if self._link is None:
            self._open(left_s)
            return
        self._offer_again()
        if self._can_send_offered():
            self._send_offered()
        else:
            again_in = self._again.due_in
            self._read(min(left_s, self._timeout_s / 4, self._timeout_s if again_in is None else again_in))
            self._ask_if_silent()

    def _why_waiting(self, timeout_s: float) -> str:
        link = self._link
        where = f"RabbitMQ at {link.where}" if link is not None else "RabbitMQ"
        why = f"it takes no messages: {link.blocked}" if link is not None and link.blocked else "it is silent"
        return f"{where} has not confirmed {self.pending} messages for {timeout_s:g} s; {why}"
