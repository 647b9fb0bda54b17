"""gevent: each run is a greenlet of its hub."""

from __future__ import annotations

import gevent
import gevent.socket

from fastq.pool.crew import Crew
from fastq.pool.green import Hub, serve


def live(crew: Crew) -> None:
    """Run tasks until the child has to leave."""
    serve(crew, Hub(
        spawn=gevent.spawn, wait=gevent.socket.wait_read,
        soon=lambda call: gevent.get_hub().loop.run_callback(call)))
