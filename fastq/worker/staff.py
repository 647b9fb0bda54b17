"""The children of one worker, of whatever kind: how many there are, how they are made, and who follows whom.

Duties: 1. makes them by the start method of the worker; 2. replaces those that ended, once what they ran is settled;
3. warns of those that do not come up; 4. grows and shrinks within the room that the ring has; 5. has one more child
while something is on trial, in pools where others would share the blame for its next death.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Callable

from fastq._ext.ring import Ring
from fastq.app.traits import Traits
from fastq.exceptions import ConfigError, PoolError
from fastq.pool.children import Children, Ended
from fastq.pool.forkserver import ForkServer
from fastq.pool.start import by_fork, by_spawn
from fastq.worker import child, logs, spawned
from fastq.worker.autoscale import Autoscaler
from fastq.worker.child import ChildSpec
from fastq.worker.limits import TimeLimits
from fastq.worker.loop import Sleeper
from fastq.worker.options import WorkerOptions
from fastq.worker.settle import Settler
from fastq.worker.spawned import Recipe

logger = logging.getLogger("celery.worker")

EXIT_S = 10.0
TRIAL_LOOK_S = 0.05
TRIAL_IDLE_S = 30.0
"""The child for trials leaves when there was none for so long."""


class Staff:
    """Keeps the children of a worker. *resized* is told how many there are to be from now on."""

    def __init__(self, told: WorkerOptions, begin: Callable[[int], int], ring: Ring, settler: Settler, sleeper: Sleeper,
                 traits: dict[str, Traits], resized: Callable[[int], None]) -> None:
        self._told = told
        self._ring = ring
        self._settler = settler
        self._sleeper = sleeper
        self._resized = resized
        self.children = Children(told.children, begin)
        self._server = begin if isinstance(begin, ForkServer) else None
        self._limits = TimeLimits(ring, self.children, settler, list(traits))
        self._acks_late = [each.acks_late for each in traits.values()]
        self._trial = told.most_children if told.kind.is_together else -1
        self._tried_at = 0.0
        self._scaler = Autoscaler(told.autoscale, told.concurrency) if told.autoscale else None

    def start(self) -> None:
        """Start all of them."""
        self.children.watch(self._sleeper.poller)
        if self._server is not None:
            self._server.watch(self._sleeper.poller)
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            self.children.start()
        except PoolError:
            self._let_go()
            raise

    def __len__(self) -> int:
        return len(self.children)

    @property
    def size(self) -> int:
        """How many there are to be."""
        return self.children.size

    def tend(self) -> float | None:
        """Replace who ended, start what is due, look for who is late, scale; returns seconds until there is more to do.

        Raises PoolError when children keep failing before they are up.
        """
        for ended in self.children.reap():
            # Its tasks may have killed it; only one that never came as far as its loop has failed to start.
            was_up = self._ring.is_up(ended.index)
            self._bury(ended)
            self.children.replace(ended, was_up=was_up)
        for late in self.children.find_late(self._ring.is_up, self._told.patience_s):
            logger.warning("child %d (pid %d) is not up after %.1f s; it is waited for", late.index, late.pid,
                           self._told.patience_s)
        if self._scaler is not None and (size := self._scaler.wanted(self.size, self._ring.in_hand)) != self.size:
            self.resize(size)
        dues = [self._server.tend() if self._server else None, self.children.tend(),
                self._scaler.due_s(self.size) if self._scaler else None]
        if self._trial >= 0 and self._hold_trials():
            dues.append(TRIAL_LOOK_S)
        return min((due for due in dues if due is not None), default=None)

    def _hold_trials(self) -> bool:
        """See to it that there is a child for what is on trial; returns whether that has to be looked at soon."""
        if self._ring.on_trial:
            self._tried_at = time.monotonic()
            self.children.want(self._trial)
            self._ring.assign()
            return not self._ring.is_up(self._trial)
        if self.children.pid_of(self._trial) and time.monotonic() - self._tried_at > TRIAL_IDLE_S:
            self.children.want(self._trial, False)
            self._ring.dismiss(self._trial)
        return False

    def enforce(self) -> float | None:
        """Act on every time limit that has passed; returns the seconds until the next one, or None."""
        return self._limits.enforce()

    def resize(self, size: int) -> None:
        """Have *size* children; those that are too many leave when what they run has ended. Raises ConfigError."""
        if not 1 <= size <= self._told.most_children:
            raise ConfigError(f"this worker may have 1 to {self._told.most_children} children, not {size}; a larger"
                              " number takes --autoscale, or a new worker")
        logger.info("children: %d, were %d", size, self.size)
        for index in self.children.resize(size):
            self._ring.dismiss(index)
        self._resized(size)

    def renew(self) -> None:
        """Have a new child in place of each, when what it runs has ended."""
        for index in range(self.size):
            if self.children.pid_of(index):
                self._ring.dismiss(index)

    def rescale(self, most: int | None, least: int | None) -> tuple[int, int]:
        """Change the bounds of autoscale, None leaves one; returns both. Raises ConfigError."""
        assert self._scaler is not None
        most, least = most or self._scaler.most, least or self._scaler.least
        if not 1 <= least <= most <= self._told.most_children:
            raise ConfigError(f"autoscale may be {self._told.most_children},1 at most here, not {most},{least}")
        self._scaler.most, self._scaler.least = most, least
        self.resize(min(max(self.size, least), most))
        return most, least

    def reap(self) -> None:
        """Settle what ended, without successors."""
        for ended in self.children.reap():
            self._bury(ended)

    def see_off(self, is_patient: Callable[[], bool]) -> None:
        """Wait until all have left, having been told so: for `EXIT_S` at most, and while *is_patient*."""
        deadline = time.monotonic() + EXIT_S
        while len(self) and is_patient() and time.monotonic() < deadline:
            self.reap()
            if len(self):
                self._sleeper.poller.select(0.05)

    def _bury(self, ended: Ended) -> None:
        lost = self._settler.bury(ended.index, str(ended))
        if lost or not ended.expected:
            logger.error("%s%s", ended, f"; it ran {lost} task{'s' if lost > 1 else ''}" if lost else "")

    def kill(self, indices: set[int], why: str) -> None:
        """Kill children on purpose: what they ran goes back as it was."""
        self.children.kill(indices)
        for index in indices:
            self._settler.let_go(index, why)

    def kill_late(self, why: str, *, spares_early: bool = False) -> None:
        """Kill the children that run what others will be given, being acked late, and make new ones.

        With *spares_early* one lives that also runs what nobody else will be given.
        """
        running = [(index, self._acks_late[row]) for index, row, *_ in self._ring.running()]
        late = {index for index, is_late in running if is_late}
        late -= {index for index, is_late in running if spares_early and not is_late}
        for index in late:
            logger.warning("child %d is ended, since %s: what it ran will come again", index, why)
        self.kill(late, why)
        self.children.start()

    def end(self, why: str) -> bool:
        """Kill the children that are left, and let go of what they were made from; returns whether any were left."""
        if is_cold := len(self) > 0:
            self.kill(set(range(self._told.most_children + (self._trial >= 0))), why)
        self._let_go()
        return is_cold

    def _let_go(self) -> None:
        if self._server is not None:
            self._server.close()
        gc.unfreeze()       # each fork froze what there was: the ring, and all else of this worker, would stay for ever


def starter(told: WorkerOptions, spec: ChildSpec, ring_fd: int, *, loglevel: int | str | None, logfile: str | None,
            logs_json: bool = False) -> Callable[[int], int]:
    """Return what starts a child's process. Raises ConfigError for what cannot be had that way."""
    if told.start_method == "fork":
        def live(index: int) -> int:
            logs.split_off(spec.app, spec.hostname, loglevel, logfile, logs_json, index)
            return child.main(spec, index)

        return by_fork(live)
    recipe = Recipe(
        app=spawned.address_of(spec.app), settings=dict(spec.app.conf.without_defaults()),
        tasks=[task.name for task in spec.tasks], ring_fd=ring_fd, ring_bytes=len(spec.ring), wake_fd=spec.wake_fd,
        hostname=spec.hostname, spill=spec.spill.folder, parent_pid=os.getpid(), expiry=told.result_expiry,
        kind=spec.kind, concurrency=spec.concurrency, bells=spec.bells, trial=spec.trial, max_tasks=spec.max_tasks,
        max_memory_kib=spec.max_memory_kib, loglevel=loglevel, logfile=logfile,
        logs_json=logs_json)
    spawned.check(recipe)
    fds = {ring_fd, spec.wake_fd, *(fd for bell in spec.bells for fd in bell)}
    if told.start_method == "forkserver":
        return ForkServer(lambda fd: by_spawn(spawned.SERVER, recipe, {*fds, fd})(fd), told.patience_s)
    return by_spawn(spawned.ENTRY, recipe, fds, spec.kind.patch)
