"""The two sides of a test: Celery, and fastq in each of its presets.

Each is a client in the test's own process, and a worker in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import kombu
import kombu.pools

from tests import folder_store
from tests.compat.tasks import furnish
from tests.deadline import wait_until

SERIALIZERS = ("json", "pickle", "msgpack", "yaml")
SETTINGS = {
    "accept_content": list(SERIALIZERS), "result_accept_content": list(SERIALIZERS),
    "broker_connection_retry_on_startup": False,
}
_numbers = count(1)


class Side(NamedTuple):
    """One implementation: what to import, and how its worker is started."""

    name: str
    module: str
    attribute: str
    worker: tuple[str, ...]

    def app(self, url: str, **settings: Any) -> Any:
        backend = "rpc://" if url.startswith("amqp") else url
        made = getattr(import_module(self.module), self.attribute)("compat", broker=url, backend=backend,
                                                                  set_as_current=False)
        if self.module == "celery":     # else each app here gets the tasks of those before it, too, with a warning
            made.task = partial(made.task, shared=False)
        if str(settings.get("result_backend")).startswith("file://"):
            folder_store.use()      # Celery has one of its own
        everybody = settings.pop("compat_broadcast", None)
        made.conf.update({**SETTINGS, **settings})
        if everybody:
            entities = import_module("kombu.common" if self.module == "celery" else "fastq.wire.entity")
            made.conf.task_queues = [entities.Broadcast(everybody)]
        return made


SIDES = {side.name: side for side in (
    Side("celery", "celery", "Celery", (
        "celery", "-A", "tests.compat.proj", "worker", "-P", "solo", "-l", "INFO",
        "--without-gossip", "--without-mingle", "--without-heartbeat")),
    Side("fastq", "fastq", "Fastq", ("fastq", "-A", "tests.compat.proj", "worker", "-c", "1", "-l", "INFO")),
    Side("preset", "fastq", "Celery", ("fastq", "-A", "tests.compat.proj", "worker", "-c", "1", "-l", "INFO")),
)}


@dataclass
class Client:
    """An app in the test's own process, and its tasks."""

    side: Side
    url: str
    settings: dict[str, Any]

    @cached_property
    def app(self) -> Any:
        return self.side.app(self.url, **self.settings)

    @cached_property
    def tasks(self) -> SimpleNamespace:
        return furnish(self.app)

    def close(self) -> None:
        if self.side.module == "celery":
            self._let_go()
        self.app.close()

    def _let_go(self) -> None:
        """Close what Celery's app.close() leaves to the garbage collector."""
        kombu.pools.reset()     # what remote control sent over: one pool for all apps of a process
        backend = self.app.backend
        consumer = getattr(backend, "result_consumer", None)    # files have none
        if getattr(consumer, "_connection", None) or getattr(consumer, "_pubsub", None):
            consumer.stop()
        if getattr(consumer, "_pubsub", None):
            consumer._pubsub = None     # a result that is collected later would connect once more, to nobody perhaps
        if hasattr(backend, "client"):
            backend.client.close()
            backend.client.connection_pool.disconnect()


class Worker:
    """A worker that runs, and the notes that its tasks wrote."""

    def __init__(self, side: Side, url: str, folder: Path, **settings: Any) -> None:
        self.side, self.settings = side, settings
        self.notes = folder / "notes"
        self.name = f"w{next(_numbers)}"
        self.log = folder / f"{side.name}-{self.name}.log"
        environment = {
            **os.environ, "COMPAT_SIDE": side.name, "COMPAT_URL": url, "COMPAT_NOTES": str(self.notes),
            "COMPAT_WORKER": self.name, "COMPAT_SETTINGS": json.dumps(settings),
            "C_FORCE_ROOT": "1",  # Celery takes no pickle as root otherwise
        }
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *side.worker, "-n", f"{self.name}@compat"], cwd=folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def wait_until_ready(self) -> None:
        wait_until(lambda: " ready." in self.said() or self.process.poll() is not None, 30, what="the worker")
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def noted(self, key: str) -> list[str]:
        """What was noted under *key*, in order."""
        return lines_of(self.notes, key)

    def allow(self, key: str) -> None:
        """Let the task go on that holds the worker under *key*."""
        Path(f"{self.notes}.{key}").touch()

    def kill(self) -> None:
        """Kill it on the spot, as a crash would; the kernel ends its children."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(20) == 0, self.said()
        finally:
            self.process.kill()
            self.process.wait()


def lines_of(notes: Path, key: str) -> list[str]:
    text = notes.read_text() if notes.exists() else ""
    return [rest for first, _, rest in (line.partition(" ") for line in text.splitlines()) if first == key]


@dataclass(frozen=True)
class Pair:
    """Who sends, and who works."""

    client: Client
    worker: Worker
    mates: tuple[Worker, ...] = ()
    """Others that work on the same queue."""

    @property
    def tasks(self) -> SimpleNamespace:
        return self.client.tasks

    @property
    def app(self) -> Any:
        return self.client.app

    def wait_for_ready(self, n: int) -> None:
        """Wait until *n* messages lie in the worker's queue at the broker, not one of them in the worker's hands.

        Neither side waits by itself for the broker to store what it sends.
        """
        queue = self.worker.settings["task_default_queue"]
        with kombu.Connection(self.client.url) as connection:
            channel = connection.default_channel
            wait_until(lambda: channel.queue_declare(queue, passive=True).message_count == n, 10,
                       what=f"{n} messages in {queue}")

    def wait_for_notes(self, key: str, n: int = 1) -> list[str]:
        """Wait until *n* lines were noted under *key*, and return them."""
        try:
            wait_until(lambda: len(self.worker.noted(key)) >= n, 15)
        except AssertionError as error:
            raise AssertionError(f"{error}\nnoted: {self.worker.noted(key)}\n{self.worker.said()[-4000:]}") from None
        return self.worker.noted(key)
