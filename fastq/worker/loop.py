"""How the supervisor sleeps: one selector over everything that may wake it.

A completion, the broker's bell, a signal and the end of a child each have a descriptor. While the
children have plenty to do the supervisor naps without asking to be woken, so that a batch gathers;
an idle system is woken by the first thing that happens.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
import time

from fastq._ext.ring import Ring

GATHER_AT = 64
"""Deliveries waiting for children from which it pays to let completions gather."""
GATHER_S = 0.0002
_NOBODY: set[int] = set()


class Sleeper:
    """Sleeps until something happens; says whether the broker's bell was among it."""

    def __init__(self, ring: Ring, wake_fd: int) -> None:
        self._ring = ring
        self._wake_fd = wake_fd
        self._bell_fd = -1
        self.woken: set[int] = set()
        """The descriptors that ended the last sleep."""
        self.is_called = False
        """It was neither the bell nor a completion that did: time, a signal, or the end of a child."""
        self.poller = selectors.DefaultSelector()
        self.poller.register(wake_fd, selectors.EVENT_READ)
        self._signals_in, self._signals_out = socket.socketpair()
        for end in (self._signals_in, self._signals_out):
            end.setblocking(False)
        self.poller.register(self._signals_in.fileno(), selectors.EVENT_READ)
        self._wishes = selectors.DefaultSelector()
        self._wishes.register(self._signals_in.fileno(), selectors.EVENT_READ)
        self._hears_signals = threading.current_thread() is threading.main_thread()
        self._before = signal.set_wakeup_fd(self._signals_out.fileno()) if self._hears_signals else -1

    def hear(self, bell_fd: int) -> None:
        """Listen to the transport's descriptor from now on; -1 listens to none."""
        if self._bell_fd >= 0:
            self.poller.unregister(self._bell_fd)
        self._bell_fd = bell_fd
        if bell_fd >= 0:
            self.poller.register(bell_fd, selectors.EVENT_READ)

    def wake(self) -> None:
        """Wake the sleeper, from a signal handler or another thread; nothing happens when it is closed."""
        if self._signals_out.fileno() < 0:
            return      # a signal in the last moments of a worker
        try:
            self._signals_out.send(b"\0")
        except BlockingIOError:
            return      # so many wishes wait there that it wakes anyway

    def sleep(self, most_s: float) -> bool:
        """Sleep for *most_s* seconds at most; returns True when the bell rang."""
        self.woken, self.is_called = _NOBODY, False
        if self._ring.waiting >= GATHER_AT:
            time.sleep(GATHER_S)
            return False
        if not self._ring.doze():
            return False
        try:
            events = self.poller.select(most_s)
        finally:
            self._ring.awake()
        self.woken = woken = {key.fd for key, _ in events}
        self.is_called = not woken <= {self._wake_fd, self._bell_fd} or not woken
        for fd in woken & {self._wake_fd, self._signals_in.fileno()}:
            self._drain(fd)
        return self._bell_fd in woken

    def pause(self, most_s: float) -> None:
        """Sleep for *most_s* seconds whatever the broker and the children do; only a signal or a wish ends it."""
        if self._wishes.select(most_s):
            self._drain(self._signals_in.fileno())

    def _drain(self, fd: int) -> None:
        try:
            os.read(fd, 4096)
        except BlockingIOError:
            return      # somebody else's read was quicker; there is nothing left to hear

    def close(self) -> None:
        """Let go of the descriptors."""
        if self._hears_signals:
            signal.set_wakeup_fd(self._before)
        self.poller.close()
        self._wishes.close()
        self._signals_in.close()
        self._signals_out.close()
