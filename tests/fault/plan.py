"""What the judge must know of the tasks of the fault rounds, without loading their app."""

from __future__ import annotations

KINDS = 20
"""Every run of so many numbers has each kind of task; `tests.fault.proj.send` tells which."""


def is_early(job: str) -> bool:
    """Tell whether the task of *job* is acked before it runs."""
    number, _, attempt = job.partition(".")
    return attempt != "L" and int(number) % KINDS >= 16


def wants_result(job: str) -> bool:
    """Tell whether the task of *job* stores a result, which is then its number."""
    number, _, attempt = job.partition(".")
    return attempt != "L" and int(number) % KINDS in (10, 11, 18)
