"""Requests from elsewhere: heard between two turns of the worker's loop, done by commands.py, answered.

A worker without its mailbox works on: it says so, and looks for it again. What was revoked meanwhile it learns then.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Iterable, Set

from fastq.control.letters import Request, pack_answer, read_request
from fastq.control.mailbox import Mailbox, Revoked
from fastq.exceptions import ContentDisallowed, DecodeError, TransportError
from fastq.saferepr import saferepr
from fastq.worker.commands import COMMANDS, NO_ANSWER
from fastq.worker.panel import Panel

logger = logging.getLogger("celery.worker.control")

LOOK_S = 0.25
"""A worker that never sleeps looks this often for requests."""
AGAIN_S = 5.0


class Remote:
    """The mailbox of one worker, over all reconnects."""

    def __init__(self, connect: Callable[[], Mailbox], panel: Panel, poller: selectors.BaseSelector, *,
                 accept: Iterable[str], serializer: str) -> None:
        self._connect = connect
        self._panel = panel
        panel.keep = self.keep
        self._poller = poller
        self._accept = tuple(accept)
        self._serializer = serializer
        self._mailbox: Mailbox | None = None
        self._fd = -1
        self.look_at = 0.0
        """When to look at the latest, by the monotonic clock."""

    def attach(self) -> None:
        """Connect anew, and learn what was revoked; before the worker fetches anything.

        A connection that there was is not asked how it is: what cut the worker off from its broker cut that off too,
        and whoever asks waits for the answer.
        """
        self._let_go()
        try:
            self._mailbox = self._connect()
            # First: what is revoked from here on is heard, what was before is read.
            self._mailbox.listen(self._panel.node)
            self._fd = self._mailbox.fileno()
            self._poller.register(self._fd, selectors.EVENT_READ)
            self._panel.revocations.add(self._mailbox.revoked())
        except TransportError as error:
            self._lose(error)
        else:
            # Due already, for whoever attached in the midst of a step, too: what came while the revocations were read
            # wakes nobody.
            self.look_at = 0.0

    def is_heard(self, descriptors: Set[int]) -> bool:
        """Tell whether the mailbox is among *descriptors*, which woke the loop."""
        return self._fd in descriptors

    def look(self) -> None:
        """Do what was asked since the last time."""
        if self._mailbox is None:
            self.attach()
            return
        self.look_at = time.monotonic() + LOOK_S
        try:
            for content in self._mailbox.receive():
                self._obey(content, self._mailbox)
        except TransportError as error:
            self._lose(error)

    def keep(self, revoked: list[Revoked]) -> None:
        """Have the broker keep what a client could not: Celery's clients tell only those who listen."""
        if self._mailbox is not None:
            self._mailbox.revoke(revoked)

    def _obey(self, content: bytes, mailbox: Mailbox) -> None:
        try:
            request = read_request(content, self._accept)
        except (DecodeError, ContentDisallowed) as error:
            logger.error("a request of remote control cannot be read: %s", error)
            return
        if not request.is_for(self._panel.node):
            return
        value = self._do(request)
        if request.reply_to is not None and value is not NO_ANSWER:
            exchange, address = request.reply_to
            mailbox.answer(exchange, address, pack_answer(self._panel.node, value, request.ticket, self._serializer))

    def _do(self, request: Request) -> object:
        try:
            return COMMANDS[request.method](self._panel, **request.arguments)
        except TransportError:
            raise
        except Exception as error:
            # Whoever asked is told, as Celery does; the worker goes on.
            logger.error("remote control: %s(%s) failed: %r", request.method, saferepr(request.arguments), error)
            return {"error": repr(error)}

    def _lose(self, error: TransportError) -> None:
        logger.warning("remote control is off: %s; looking again in %g s", error, AGAIN_S)
        self.look_at = time.monotonic() + AGAIN_S
        self._let_go()

    def _let_go(self) -> None:
        mailbox = self._unhear()
        if mailbox is not None:
            mailbox.abandon()

    def close(self) -> None:
        """Leave the mailbox."""
        mailbox = self._unhear()
        if mailbox is not None:
            try:
                mailbox.close()
            except TransportError as error:
                logger.debug("the mailbox was lost while it was left: %s", error)

    def _unhear(self) -> Mailbox | None:
        mailbox, self._mailbox = self._mailbox, None
        if self._fd >= 0:
            self._poller.unregister(self._fd)
            self._fd = -1
        return mailbox
