"""A producer of a fault round, as a program: ``python -m tests.fault.producer FIRST LAST``.

Every second block of 25 tasks is sent one by one, the others in one batch.
"""

from __future__ import annotations

import sys

from tests.fault.history import ATTEMPT, CONFIRM
from tests.fault.proj import app, journal, send

BLOCK = 25


def send_all(first: int, last: int) -> None:
    """Send the tasks *first* to *last*, and write down before and after what was promised."""
    for start in range(first, last + 1, BLOCK):
        block = range(start, min(start + BLOCK, last + 1))
        if start // BLOCK % 2:
            for number in block:
                journal.write(ATTEMPT, f"{number}.0")
                send(number)
                journal.write(CONFIRM, f"{number}.0")
            continue
        for number in block:
            journal.write(ATTEMPT, f"{number}.0")
        with app.batch():
            for number in block:
                send(number)
        for number in block:
            journal.write(CONFIRM, f"{number}.0")


if __name__ == "__main__":
    send_all(int(sys.argv[1]), int(sys.argv[2]))
