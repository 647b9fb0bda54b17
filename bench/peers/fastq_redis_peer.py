"""fastq on Redis: its defaults, late acknowledgement among them, and results on Redis too."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os

import fastq_chord
import workflows
from fastq_tasks import furnish

from fastq import Fastq, canvas
from fastq.transport import open as open_transport

URL = os.environ["BENCH_BROKER_URL"]
app = Fastq("bench", broker=URL, backend=URL, task_acks_late=os.environ.get("BENCH_ACKS_LATE") != "0")
call, mark, ask, call_later, call_many, answers, call_naps, fail, call_shorts, call_long = furnish(app)
chord = fastq_chord.furnish(app)
send_group, run_chain, run_nested = workflows.furnish(app, canvas)


def flush() -> None:
    app.transport.publish(())


def backlog() -> int:
    transport = open_transport(URL, {})
    try:
        return sum(stat.ready + stat.held for stat in transport.queues().values())
    finally:
        transport.close()
