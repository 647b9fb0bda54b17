"""The app of the fault rounds: tasks that write down when they start and how they end.

What a task does follows from its number: see `send`, and `tests.fault.plan` for what the judge must know of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

from fastq import Fastq, signals
from tests.fault.history import FINISH, LINKED, RETRY, START, Journal
from tests.fault.plan import KINDS
from tests.fault.shapes import replacement, text_of

app = Fastq("fault", broker=os.environ["FAULT_BROKER"], **json.loads(os.environ["FAULT_SETTINGS"]))
journal = Journal(os.environ["FAULT_JOURNAL"])


@signals.worker_process_init.connect
def know_boss(**_: Any) -> None:
    """A child that is not forked knows its supervisor only now."""
    journal.boss = os.getppid()


@app.task(ignore_result=True)
def plain(number: int) -> None:
    journal.write(START, f"{number}.0")
    journal.write(FINISH, f"{number}.0")


@app.task
def answer(number: int) -> int:
    journal.write(START, f"{number}.0")
    journal.write(FINISH, f"{number}.0")
    return number


@app.task(ignore_result=True)
def slow(number: int) -> None:
    journal.write(START, f"{number}.0")
    time.sleep(0.002)
    journal.write(FINISH, f"{number}.0")


@app.task(ignore_result=True)
async def waiting(number: int) -> None:
    journal.write(START, f"{number}.0")
    await asyncio.sleep(0.002)
    journal.write(FINISH, f"{number}.0")


@app.task(bind=True, ignore_result=True)
def again(self: Any, number: int) -> None:
    attempt = self.request.retries
    journal.write(START, f"{number}.{attempt}")
    if attempt < 2:
        journal.write(RETRY, f"{number}.{attempt}")
        raise self.retry(countdown=0.01 * attempt)
    journal.write(FINISH, f"{number}.{attempt}")


@app.task(ignore_result=True)
def first(number: int) -> int:
    journal.write(START, f"{number}.0")
    journal.write(LINKED, f"{number}.0")
    return number


@app.task(ignore_result=True)
def follow(number: int) -> None:
    journal.write(START, f"{number}.L")
    journal.write(FINISH, f"{number}.L")


@app.task
def step(*values: Any, number: int, name: str) -> str:
    """Be a task of the workflow *number*: return its name, and what came to it."""
    journal.write(START, f"{number}.{name}")
    time.sleep(0.001)
    journal.write(FINISH, f"{number}.{name}")
    return f"{name}({text_of(values)})"


@app.task
def link(values: list[int]) -> list[int]:
    """Be a step of a long chain."""
    return [*values, len(values)]


@app.task(bind=True)
def end(self: Any, values: list[int], number: int) -> int:
    """Be the last step of the long chain *number*, and note what came to it."""
    told = f"{number} {self.request.deaths} {json.dumps(values)}\n".encode()
    fd = os.open(f"{journal.path}.ends", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, told)
    finally:
        os.close(fd)
    return number


@app.task(bind=True)
def become(self: Any, *values: Any, number: int, name: str) -> Any:
    """Be a task of the workflow *number* that becomes another workflow."""
    journal.write(START, f"{number}.{name}")
    journal.write(FINISH, f"{number}.{name}")
    return self.replace(replacement(name, lambda name: step.s(number=number, name=name)))


@app.task
def suicide(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


early_plain = app.task(ignore_result=True, acks_late=False, name="early_plain")(plain.run)
early_slow = app.task(ignore_result=True, acks_late=False, name="early_slow")(slow.run)
early_answer = app.task(acks_late=False, name="early_answer")(answer.run)
early_first = app.task(ignore_result=True, acks_late=False, name="early_first")(first.run)


def send(number: int) -> None:
    """Send the task *number*."""
    kind = number % KINDS
    if kind < 10:
        plain.delay(number)
    elif kind < 12:
        answer.delay(number)
    elif kind == 12:
        (slow if number % (2 * KINDS) == kind else waiting).delay(number)
    elif kind == 13:
        again.delay(number)
    elif kind == 14:
        first.apply_async((number,), link=follow.s())
    elif kind == 15:
        plain.apply_async((number,), priority=5)
    elif kind == 16:
        early_plain.delay(number)
    elif kind == 17:
        early_slow.delay(number)
    elif kind == 18:
        early_answer.delay(number)
    else:
        early_first.apply_async((number,), link=follow.s())
