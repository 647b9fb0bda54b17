"""What gevent and eventlet have in common: each run is a greenlet, and the main one waits for work and for signals."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

from fastq._ext.execute import Executor
from fastq.pool.crew import HERE, RAISED, Crew, Lanes


class Hub(NamedTuple):
    """What a library of greenlets has to offer."""

    spawn: Callable[[Callable[[Executor], None], Executor], Any]
    wait: Callable[[int], object]
    """Let others run until the descriptor is readable."""
    soon: Callable[[Callable[[], None]], object]
    """Call something in the hub, when it is its turn."""


def serve(crew: Crew, hub: Hub) -> None:
    """Run tasks until the child has to leave."""
    greenlets: dict[Executor, Any] = {}
    is_told = is_over = False

    def heed(number: int, frame: FrameType | None) -> None:
        nonlocal is_told
        is_told = True

    def spawn(lane: Executor) -> None:
        greenlets[lane] = hub.spawn(run, lane)

    def run(lane: Executor) -> None:
        HERE.set(lane)
        try:
            value = lane.call()
        except BaseException as error:
            lane.fail(error)
        else:
            lane.succeed(value)
        del greenlets[lane]
        lanes.ended(lane)

    def strike(lane: Executor, greenlet: Any, error: type[BaseException]) -> None:
        # Its task may have ended meanwhile: then it waits in what comes after that, or is no more.
        if lane.in_task and greenlets[lane] is greenlet:
            greenlet.throw(error)

    def left() -> None:
        nonlocal is_over
        is_over = True
        crew.ring_up()

    # A hub sleeps in C, where no handler runs: the descriptor that it waits for is told of signals too.
    signal.signal(signal.SIGUSR1, heed)
    signal.set_wakeup_fd(crew.wake_fd, warn_on_full_buffer=False)
    lanes = Lanes(crew, spawn, left)
    lanes.come_up()
    while not is_over:
        hub.wait(crew.wait_fd)
        lanes.rung()
        if is_told:
            is_told = False
            for lane, greenlet in list(greenlets.items()):
                if level := lane.told():
                    hub.soon(partial(strike, lane, greenlet, RAISED[level]))
