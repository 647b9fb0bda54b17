"""The producer of the rounds with workflows, as a program: ``python -m tests.fault.sender FIRST LAST``."""

from __future__ import annotations

import os
import sys

from tests.fault.history import ATTEMPT, CONFIRM
from tests.fault.proj import app, become, journal, step
from tests.fault.shapes import shape_of

if __name__ == "__main__":
    first, last = map(int, sys.argv[1:])
    ids = os.open(f"{journal.path}.ids", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(first, last + 1):
        journal.write(ATTEMPT, f"{number}.0")
        workflow = shape_of(number).write(lambda name: step.s(number=number, name=name),  # noqa: B023  called here
                                          lambda name: become.s(number=number, name=name))  # noqa: B023
        result = workflow.apply_async()
        app.transport.publish(())
        os.write(ids, f"{number} {result.id}\n".encode())
        journal.write(CONFIRM, f"{number}.0")
