"""What type checkers must know of fastq: the calls that are ignored here must be refused, every other one passes.

mypy (``warn_unused_ignores``) and pyright (below) complain of an ignore comment that nothing stands behind.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typing_extensions import assert_type

from fastq import AsyncResult, Celery, EagerResult, Fastq, Signature, Task, shared_task

app = Fastq("shop", broker="memory://shop", task_acks_late=False)


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task(bind=True, max_retries=5)
def fetch(self: Task[..., Any], url: str, *, timeout: float = 1.0) -> bytes:
    raise self.retry(countdown=5)


@app.task
async def greet(name: str) -> str:
    return name


@app.task(bind=True)
async def greet_bound(self: Any, name: str) -> str:
    return name


@app.task(name="named", ignore_result=True)
def named(x: str) -> None:
    return None


@shared_task
def shared(x: int) -> str:
    return str(x)


@shared_task(bind=True)
def shared_bound(self: Any, x: int) -> str:
    return str(x)


def calls() -> None:
    assert_type(add(1, 2), int)
    assert_type(fetch("url", timeout=2), bytes)
    add("x")  # type: ignore[arg-type]
    add.delay("x")  # type: ignore[arg-type]
    add.delay()  # type: ignore[call-arg]
    add.delay(1, 2, 3)  # type: ignore[call-arg]
    add.delay(x=1, z=2)  # type: ignore[call-arg]
    fetch.delay("url", timeout="long")  # type: ignore[arg-type]
    fetch.delay()  # type: ignore[call-arg]
    named.delay(5)  # type: ignore[arg-type]
    shared.delay("x")  # type: ignore[arg-type]
    shared_bound.delay("x")  # type: ignore[arg-type]
    add.deley(1)  # type: ignore[attr-defined]


def results() -> None:
    assert_type(add.delay(1), AsyncResult[int])
    assert_type(add.delay(1).get(timeout=5), int)
    assert_type(add.apply_async((1,), countdown=5, queue="q"), AsyncResult[int])
    assert_type(add.apply((1,)), EagerResult[int])
    assert_type(add.apply((1,)).get(), int)
    assert_type(add.s(1), Signature[int])
    assert_type(add.s(1).delay(2).get(), int)
    assert_type(add.map_delay([1, 2]), Sequence[AsyncResult[int]])
    assert_type(fetch.delay("url"), AsyncResult[bytes])
    assert_type(greet.delay("a"), AsyncResult[str])
    assert_type(greet_bound.delay("a"), AsyncResult[str])
    assert_type(shared.delay(1), AsyncResult[str])
    assert_type(shared_bound.delay(1), AsyncResult[str])
    assert_type(app.send_task("any"), AsyncResult[Any])
    texts: list[str] = []
    texts.append(add.delay(1).get())  # type: ignore[arg-type]


async def awaitables() -> None:
    assert_type(await add.adelay(1, 2), AsyncResult[int])
    assert_type(await add.aapply_async((1,)), AsyncResult[int])
    assert_type(await add.delay(1), int)
    assert_type(await add.delay(1).aget(timeout=1), int)
    assert_type(await add.s(1, 2).adelay(), AsyncResult[int])
    assert_type(await add.delay(1).awatch(timeout=1), int)
    assert_type(await greet("a"), str)
    await add.adelay("x")  # type: ignore[arg-type]


def more() -> None:
    class Resize(Task[[int], str]):
        acks_late = True

        def run(self, size: int) -> str:
            return str(size)

    Resize().delay(4)
    Resize().delay("4")  # type: ignore[arg-type]
    with app.batch():
        add.delay(1)
    celery = Celery("proj", broker="memory://x")
    assert_type(celery.conf.get("x"), Any)
