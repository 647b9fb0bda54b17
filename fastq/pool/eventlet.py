"""eventlet: each run is a greenlet of its hub."""

from __future__ import annotations

import eventlet
from eventlet import hubs

from fastq import signals
from fastq.pool.crew import Crew
from fastq.pool.green import Hub, serve


def live(crew: Crew) -> None:
    """Run tasks until the child has to leave."""
    signals.eventlet_pool_started.send(sender=None)
    serve(crew, Hub(
        spawn=eventlet.spawn, wait=lambda fd: hubs.trampoline(fd, read=True),
        soon=lambda call: hubs.get_hub().schedule_call_global(0, call)))
    signals.eventlet_pool_postshutdown.send(sender=None)
