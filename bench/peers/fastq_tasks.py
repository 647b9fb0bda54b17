"""The tasks of fastq on any of its brokers, as a newcomer would write them: defaults, and how they are called."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import NamedTuple

import behind
import naps
from bell import ring

from fastq import Fastq

HOUR_S = 3600


class Calls(NamedTuple):
    """What produce.py calls; a peer offers those that its broker can do."""

    call: Callable[[], object]
    mark: Callable[[str], object]
    ask: Callable[[], None]
    call_later: Callable[[], object]
    call_many: Callable[[int], object]
    answers: Callable[[int], object]
    call_naps: Callable[[int], object]
    fail: Callable[[int], object]
    call_shorts: Callable[[int], object]
    call_long: Callable[[], object]


def furnish(app: Fastq) -> Calls:
    """Give *app* its tasks, and return how to call them."""

    @app.task(name="noop", ignore_result=True)
    def noop() -> None:
        pass

    @app.task(name="answer")
    def answer() -> int:
        return 42

    @app.task(name="mark", ignore_result=True)
    def marker(name: str) -> None:
        ring(name)

    @app.task(name="deep", ignore_result=True)
    def deep(frames: int) -> None:
        down(frames)

    nap = app.task(ignore_result=True, name="nap")(naps.nap)
    short, long = (app.task(ignore_result=True, name=task.__name__)(task) for task in (behind.short, behind.long))

    def ask() -> None:
        assert answer.delay().get(timeout=10) == 42

    return Calls(
        call=noop.delay, mark=marker.delay, ask=ask, call_later=lambda: noop.apply_async(countdown=HOUR_S),
        call_many=lambda n: noop.starmap_delay(repeat((), n)), answers=lambda n: answer.starmap_delay(repeat((), n)),
        call_naps=lambda n: nap.starmap_delay(repeat((n,), n)), fail=lambda n: deep.starmap_delay(repeat((29,), n)),
        call_shorts=lambda n: short.starmap_delay(repeat((), n)), call_long=long.delay)


def down(frames: int) -> None:
    if frames == 0:
        raise ValueError("too deep")
    down(frames - 1)
