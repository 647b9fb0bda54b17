"""The steps that an app adds to its workers, made, started and stopped in order; see fastq/bootsteps.py."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastq import signals
from fastq.bootsteps import StartStopStep, Step
from fastq.worker import chosen
from fastq.worker.chosen import Consume

logger = logging.getLogger("celery.worker")

BEAT_S = 2.0
"""As often as Celery's workers beat."""


class ConsumerSide:
    """A worker's consumer, as steps have it."""

    def __init__(self, worker: Any, consume: Consume,
                 is_connected: Callable[[], bool]) -> None:
        self.controller = worker
        self.is_connected = is_connected
        """Whether the worker has its broker, as far as it knows."""
        self.app = worker.app
        self.hostname = worker.hostname
        self.pid = os.getpid()
        self.timer = worker.timer
        self._consume = consume

    def add_task_queue(self, queue: str, exchange: str | None = None, exchange_type: str | None = None,
                       routing_key: str | None = None, **options: Any) -> None:
        """Consume *queue* as well. Raises TransportError for one that the broker will not have."""
        chosen.add(self.app, self.controller.queues, self._consume, queue, exchange, exchange_type, routing_key,
                   **options)

    def cancel_task_queue(self, queue: str) -> None:
        """Consume *queue* no more."""
        chosen.leave(self.app, self.controller.queues, self._consume, queue)

    def call_soon(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> Any:
        """Call *function* at the next turn of the loop, from any thread."""
        return self.timer.call_after(0, function, args, kwargs)


class Heart(StartStopStep):
    """Sends the signal ``heartbeat_sent`` while the worker has its broker, for probes that hang on that."""

    def start(self, parent: ConsumerSide) -> None:
        """Begin to beat."""
        self._beat = parent.timer.call_repeatedly(BEAT_S, self._send, (parent,))

    def stop(self, parent: ConsumerSide) -> None:
        """Beat no more."""
        self._beat.cancel()

    def _send(self, consumer: ConsumerSide) -> None:
        if consumer.is_connected():
            signals.heartbeat_sent.send(sender=consumer)


class Steps:
    """The steps of one worker's app; *consume* has the worker consume exactly these queues, *options* are its own.

    *is_connected* tells whether it has its broker.
    """

    def __init__(self, worker: Any, consume: Consume, options: Mapping[str, Any],
                 is_connected: Callable[[], bool]) -> None:
        options = {"hostname": worker.hostname, "queues": worker.queues, "pool": worker.pool,
                   "concurrency": worker.concurrency, **options}
        steps = worker.app.steps
        beside = [*steps["consumer"].in_order(), *([Heart] if signals.heartbeat_sent.receivers else [])]
        self._worker = _Row(steps["worker"].in_order(), worker, options)
        self._consumer = _Row(beside, ConsumerSide(worker, consume, is_connected), options)

    def started(self) -> Steps:
        """Start those of the worker; returns itself."""
        self._worker.start()
        return self

    def connected(self) -> None:
        """Start those of the consumer; those of an earlier connection are stopped before."""
        self._consumer.stop()
        self._consumer.start()

    def stop(self, *, at_once: bool) -> None:
        """Stop all."""
        self._consumer.stop(at_once=at_once)
        self._worker.stop(at_once=at_once)


class _Row:
    """Steps of one parent, in order."""

    def __init__(self, kinds: Iterable[type[Step]], parent: Any, options: Mapping[str, Any]) -> None:
        self._parent = parent
        made: list[Step] = [kind(parent, **options) for kind in kinds]
        self._steps = [step for step in made if step.include(parent)]
        self._is_started = False

    def start(self) -> None:
        self._is_started = True
        for step in self._steps:
            if hasattr(step, "start"):
                step.start(self._parent)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop them, the last one first; one that fails is logged, and stops no other."""
        if not self._is_started:
            return
        self._is_started = False
        for what in ("close", "terminate" if at_once else "stop"):
            for step in reversed(self._steps):
                try:
                    if hasattr(step, what):
                        getattr(step, what)(self._parent)
                except Exception:
                    logger.exception("%s: %s failed", type(step).__qualname__, what)
