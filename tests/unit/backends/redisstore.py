"""What the tests of results on Redis share: documents, waits in threads, and figures of the server."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

from fastq.backends.redis import RedisStore
from fastq.exceptions import BackendError
from fastq.transport.redis_link import Link
from fastq.types import Result
from tests.deadline import wait_until

KEY = "celery-task-meta-"


def document(state: str, word: object = None) -> bytes:
    return json.dumps({"status": state, "result": word}).encode()


DONE = document("SUCCESS", 5)


def done(task_id: str, expires_at: float | None = None) -> Result:
    return Result(task_id, "SUCCESS", DONE, expires_at)


def waiting(store: RedisStore, task_ids: Sequence[str],
            timeout: float | None = 20) -> tuple[threading.Thread, list[Any]]:
    """Wait in a thread; the list gets what came of it. Returns once the channels are there."""
    ended: list[Any] = []

    def wait() -> None:
        try:
            ended.append(store.wait(task_ids, timeout))
        except BackendError as error:
            ended.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    wait_until(lambda: ended or set(task_ids) <= store._waits._ear._channels, what="the channels")
    return thread, ended


def ended(thread: threading.Thread, found: list[Any], timeout: float = 20) -> Any:
    """What a wait ended in."""
    thread.join(timeout)
    assert not thread.is_alive(), "the wait did not end"
    return found[0]


def channels(link: Link) -> int:
    """How many channels of results the server knows."""
    return len(link.call("PUBSUB", "CHANNELS", f"*{KEY}*"))  # type: ignore[arg-type]


def listeners(link: Link) -> list[str]:
    """The ids of the connections that subscribe."""
    text = bytes(link.call("CLIENT", "LIST", "TYPE", "PUBSUB")).decode()  # type: ignore[call-overload]
    return [line.partition(" ")[0].removeprefix("id=") for line in text.splitlines()]
