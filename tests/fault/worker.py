"""A worker of a fault round, as a program: ``python -m tests.fault.worker CONCURRENCY NAME POOL``.

What its supervisor says about dead children goes to the journal too; the round then sees to it that they are dead. So
does what it says of workers whose lease is over, before anything of theirs runs again.
"""

from __future__ import annotations

import logging
import os
import re
import sys

from fastq.pool.children import Ended
from fastq.worker.worker import Worker
from tests.fault.history import DIED, LAPSE
from tests.fault.proj import app, journal


class Obituary(logging.Handler):
    """Writes the deaths of children into the journal, and the lapses of workers."""

    def emit(self, record: logging.LogRecord) -> None:
        for said in record.args if isinstance(record.args, tuple) else ():
            if isinstance(said, Ended):
                journal.write(DIED, pid=said.pid)
        if lapsed := re.match(r"worker w\d+\.(\d+)@fault\S* was silent for longer than its lease", record.getMessage()):
            journal.write(LAPSE, pid=int(lapsed[1]))


if __name__ == "__main__":
    journal.boss = os.getpid()
    for name in ("celery.worker", "fastq.transport"):
        logging.getLogger(name).addHandler(Obituary())
    node = sys.argv[2].replace("@", f".{os.getpid()}@")
    sys.exit(Worker(app, concurrency=int(sys.argv[1]), hostname=node, pool=sys.argv[3], loglevel="INFO").run())
