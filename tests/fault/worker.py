"""A worker of a fault round, as a program: ``python -m tests.fault.worker CHILDREN NAME``.

What its supervisor says about dead children goes to the journal too; the round then sees to it that they are dead.
"""

from __future__ import annotations

import logging
import os
import sys

from fastq.pool.prefork import Ended
from fastq.worker.worker import Worker
from tests.fault.history import DIED
from tests.fault.proj import app, journal


class Obituary(logging.Handler):
    """Writes the deaths of children into the journal."""

    def emit(self, record: logging.LogRecord) -> None:
        for said in record.args if isinstance(record.args, tuple) else ():
            if isinstance(said, Ended):
                journal.write(DIED, pid=said.pid)


if __name__ == "__main__":
    journal.boss = os.getpid()
    logging.getLogger("celery.worker").addHandler(Obituary())
    sys.exit(Worker(app, concurrency=int(sys.argv[1]), hostname=sys.argv[2], loglevel="INFO").run())
