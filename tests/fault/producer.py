"""A producer of a fault round, as a program: ``python -m tests.fault.producer FIRST LAST``.

Every second block of 25 tasks is sent one by one, the others in one batch. What fails because the broker is away is
tried again for as long as it takes, as a program would that must not lose an order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from fastq.exceptions import OperationalError
from tests.fault.history import AGAIN, ATTEMPT, CONFIRM
from tests.fault.proj import app, journal, send

BLOCK = 25


def insist(step: Callable[[], object], numbers: Sequence[int] = ()) -> None:
    """Do *step* until the broker lets it happen; *numbers* are what may have been sent by a step that failed."""
    while True:
        try:
            step()
            return
        except OperationalError as error:
            sys.stderr.write(f"{error}\n")
            for number in numbers:
                journal.write(AGAIN, f"{number}.0")


def confirm(numbers: Sequence[int]) -> None:
    """Write down that the tasks *numbers* are stored for good."""
    for number in numbers:
        journal.write(CONFIRM, f"{number}.0")


def send_singly(block: Sequence[int]) -> None:
    """Send one task after the other."""
    is_stored_at_once = app.transport.caps.is_atomic
    for number in block:
        journal.write(ATTEMPT, f"{number}.0")
        insist(lambda number=number: send(number), [number])  # type: ignore[misc]
        if is_stored_at_once:
            confirm([number])
    if not is_stored_at_once:
        insist(lambda: app.transport.publish(()))
        confirm(block)


def send_together(block: Sequence[int]) -> None:
    """Send tasks in one batch."""
    def step() -> None:
        with app.batch():
            for number in block:
                send(number)

    for number in block:
        journal.write(ATTEMPT, f"{number}.0")
    insist(step, block)
    confirm(block)


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:])
    for start in range(first, last + 1, BLOCK):
        (send_singly if start // BLOCK % 2 else send_together)(range(start, min(start + BLOCK, last + 1)))
