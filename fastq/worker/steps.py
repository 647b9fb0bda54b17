"""The steps that an app adds to its workers, made, started and stopped in order; see fastq/bootsteps.py."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastq.app.steps import StepSet
from fastq.bootsteps import Step

logger = logging.getLogger("celery.worker")


class ConsumerSide:
    """A worker's consumer, as steps have it."""

    def __init__(self, worker: Any, consume: Callable[[Sequence[str]], None]) -> None:
        self.controller = worker
        self.app = worker.app
        self.hostname = worker.hostname
        self.pid = os.getpid()
        self.timer = worker.timer
        self._consume = consume

    def add_task_queue(self, queue: str, exchange: str | None = None, exchange_type: str | None = None,
                       routing_key: str | None = None, **options: Any) -> None:
        """Consume *queue* as well. Raises TransportError for one that the broker will not have."""
        name = self.app.router.queues.require(queue, exchange, exchange_type, routing_key, **options).name
        if name not in self.controller.queues:
            self._consume([*self.controller.queues, name])

    def cancel_task_queue(self, queue: str) -> None:
        """Consume *queue* no more."""
        self._consume([name for name in self.controller.queues if name != queue])

    def call_soon(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> Any:
        """Call *function* at the next turn of the loop, from any thread."""
        return self.timer.call_after(0, function, args, kwargs)


class Steps:
    """The steps of one worker's app; *consume* has the worker consume exactly these queues, *options* are its own."""

    def __init__(self, worker: Any, consume: Callable[[Sequence[str]], None], options: Mapping[str, Any]) -> None:
        options = {"hostname": worker.hostname, "queues": worker.queues, "pool": worker.pool,
                   "concurrency": worker.concurrency, **options}
        self._worker = _Row(worker.app.steps["worker"], worker, options)
        self._consumer = _Row(worker.app.steps["consumer"], ConsumerSide(worker, consume), options)

    def start(self) -> None:
        """Start those of the worker."""
        self._worker.start()

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

    def __init__(self, kinds: StepSet, parent: Any, options: Mapping[str, Any]) -> None:
        self._parent = parent
        made: list[Step] = [kind(parent, **options) for kind in kinds.in_order()]
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
