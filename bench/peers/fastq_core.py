"""fastq's path from a packed message to its ack, without a broker: a supervisor, a ring, and one child.

Beside fastq_peer, not in it: its workers and producers import none of this.

The messages are real: what the task's own template encodes, and what the worker's own table describes. The child is
a forked process that runs the worker's own loop.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import os
import resource
import time

from fastq_peer import app

from fastq._ext.ring import Ring, ring_size
from fastq.pool.shared import SLOT_BYTES, SLOTS, Spill, shared_block, wake_pair
from fastq.worker import child, outcome
from fastq.worker.loop import GATHER_S

BATCH = 256


def core(n: int, _timed: object) -> dict[str, float]:
    """Run *n* no-op tasks through ring and child; returns seconds of wall and CPU time, of both processes."""
    app.finalize()
    task = app.tasks["noop"]
    spill = Spill()
    memory = shared_block(ring_size(SLOTS, SLOT_BYTES, 1))
    ring = Ring(memory, slots=SLOTS, slot_bytes=SLOT_BYTES, children=1, spill=spill.put, unspill=Spill.drop,
                tasks=[(task.name.encode(), outcome.endings(outcome.AckRules()), False, None, None)])
    wake_in, wake_out = wake_pair()
    spec = child.ChildSpec(app=app, tasks=[task], ring=memory, wake_fd=wake_out, hostname="core", codec=None,
                           accept=("json",), spill=spill, parent_pid=os.getpid())
    contents = [app.message_of(task.s()).content for _ in range(BATCH)]
    if (pid := os.fork()) == 0:
        os._exit(child.main(spec, 0))
    cpu, wall = time.process_time(), time.perf_counter()
    _drive(ring, contents, n)
    took = time.perf_counter() - wall
    ours = time.process_time() - cpu
    ring.stop()
    _, _, used = os.wait4(pid, 0)
    for fd in {wake_in, wake_out}:
        os.close(fd)
    spill.close()
    return {"wall_s": took, "cpu_s": ours + _seconds(used)}


def _drive(ring: Ring, contents: list[bytes], n: int) -> None:
    sent = done = 0
    while done < n:
        moved = False
        while sent < n and ring.free >= BATCH:
            rows = [(sent + at, 0, content) for at, content in enumerate(contents[:n - sent])]
            ring.stage(b"celery", rows)
            ring.release()
            sent += len(rows)
            moved = True
        count = ring.drain()[0]
        done += count
        if not moved and count < BATCH:
            time.sleep(GATHER_S)


def _seconds(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime
