"""How a task tells the harness that its turn came: one line, with the time, into a FIFO.

The harness sleeps in `select` on the other end, so watching costs the worker nothing, whichever system it is.
"""

from __future__ import annotations

import os
import time


def ring(name: str) -> None:
    line = f"{name} {time.monotonic_ns()}\n".encode()
    # O_NONBLOCK: a worker that outlives its harness must fail here, not hang.
    fifo = os.open(os.path.join(os.environ["BENCH_FOLDER"], "bell"), os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(fifo, line)
    finally:
        os.close(fifo)
