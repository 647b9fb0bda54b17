"""fastq on Redis: its defaults, late acknowledgement among them, and results on Redis too."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os
from itertools import repeat

import naps
from bell import ring
from fastq_chord import furnish
from workflows import furnish as furnish_workflows

from fastq import Fastq, canvas
from fastq.transport import open as open_transport

URL = os.environ["BENCH_BROKER_URL"]
app = Fastq("bench", broker=URL, backend=URL)
HOUR_S = 3600
chord = furnish(app)


@app.task(ignore_result=True)
def noop() -> None:
    pass


@app.task
def answer() -> int:
    return 42


@app.task(ignore_result=True)
def marker(name: str) -> None:
    ring(name)


@app.task(ignore_result=True)
def deep(frames: int) -> None:
    down(frames)


def down(frames: int) -> None:
    if frames == 0:
        raise ValueError("too deep")
    down(frames - 1)


send_group, run_chain = furnish_workflows(app, canvas)
nap = app.task(ignore_result=True, name="nap")(naps.nap)
call = noop.delay
mark = marker.delay


def call_many(n: int) -> None:
    noop.starmap_delay(repeat((), n))


def fail(n: int) -> None:
    deep.starmap_delay(repeat((29,), n))


def answers(n: int) -> None:
    answer.starmap_delay(repeat((), n))


def call_naps(n: int) -> None:
    nap.starmap_delay(repeat((n,), n))


def call_later() -> None:
    noop.apply_async(countdown=HOUR_S)


def flush() -> None:
    app.transport.publish(())


def ask() -> None:
    assert answer.delay().get(timeout=10) == 42


def backlog() -> int:
    transport = open_transport(URL, {})
    try:
        return sum(stat.ready + stat.held for stat in transport.queues().values())
    finally:
        transport.close()
