"""The parts that are started and stopped. Each is a function of an address that returns what one cycle is."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from fastq import backends, control, transport
from fastq._ext import envelope
from fastq.amqp import Connection
from fastq.types import Endings, Result
from fastq.worker.worker import Worker
from tests.stress import shop

PATIENCE_S = 60.0
Cycle = Callable[[], None]


@dataclass(frozen=True)
class Part:
    """``make`` takes the address of the *broker* of that kind. *quick*: cycles of the everyday run."""

    make: Callable[[str], Cycle]
    broker: str
    quick: int = 10


def work(url: str, **options: Any) -> Cycle:
    """A worker in a thread, with its children: it runs one task and stops."""
    results = "rpc://" if url.startswith("amqp") else url

    def cycle() -> None:
        app = shop.open_app(url, result_backend=results)
        worker = Worker(app, concurrency=2, loglevel="ERROR", **options)
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(worker.run()))
        thread.start()
        try:
            assert app.tasks["add"].delay(2, 3).get(timeout=PATIENCE_S) == 5
        finally:
            worker.stop()
            thread.join(PATIENCE_S)
            app.close()
        assert codes == [0]

    return cycle


def produce(url: str, **settings: Any) -> Cycle:
    """An app that publishes, and closes."""
    def cycle() -> None:
        app = shop.open_app(url, **settings)
        app.tasks["add"].delay(2, 3)
        app.tasks["add"].apply_async((2, 3), countdown=60)
        assert app.transport.purge("celery") >= 0
        app.close()

    return cycle


def carry(url: str) -> Cycle:
    """A transport that publishes, consumes, settles, and closes."""
    def cycle() -> None:
        opened = transport.open(url)
        opened.publish_one("q", envelope.pack({"id": "x", "task": "add"}, {}, b"[[], {}, {}]"))
        opened.publish(())
        opened.attach("w@stress", ["q"], 30.0)
        tags: list[int] = []
        while not tags:
            tags = [tag for _, rows in opened.turn(Endings(), 1) for tag, _, _ in rows]
            if not tags and opened.arm() != 0.0:
                assert select.select([opened.fileno()], [], [], PATIENCE_S)[0]
        opened.turn(Endings(ack=[(tags[0], tags[0])]), 0)
        opened.keep()
        opened.close()

    return cycle


def store(url: str, *, is_rpc: bool = False) -> Cycle:
    """A result store that keeps a document, waits for it and drops it."""
    numbers = count()

    def cycle() -> None:
        kept: Any = backends.open("rpc://", {"brokers": url}) if is_rpc else backends.open(url)
        name = f"result-{next(numbers)}"
        address = kept.expect() if is_rpc else None
        kept.put([Result(name, "SUCCESS", b'{"status": "SUCCESS", "result": 1, "task_id": "%s"}' % name.encode(),
                         reply_to=address)])
        assert name in kept.wait([name], PATIENCE_S)
        kept.forget([name])
        kept.close()

    return cycle


def mail(url: str) -> Cycle:
    """A mailbox of remote control on either side."""
    content = envelope.pack({}, {}, b"ping")

    def cycle() -> None:
        worker, client = control.open([url], {}), control.open([url], {})
        worker.listen("w@stress")
        worker.receive()
        client.request(content)
        assert worker.receive(PATIENCE_S)
        worker.close()
        client.close()

    return cycle


def connect(url: str) -> Cycle:
    """A connection of the public client of AMQP."""
    login, _, place = url.partition("://")[2].partition("@")
    host, _, vhost = place.partition("/")

    def cycle() -> None:
        user, _, password = login.partition(":")
        with Connection(host, user, password, vhost) as connection, connection.channel() as channel:
            got: list[Any] = []
            channel.queue_declare("stress", durable=True)
            channel.basic_consume("stress", callback=got.append)
            channel.basic_publish(connection.Message(b"x"), routing_key="stress")
            while not got:
                connection.drain_events(timeout=PATIENCE_S)
            got[0].ack()

    return cycle


def _on(broker: str, make: Callable[..., Cycle], **options: Any) -> Part:
    quick = options.pop("quick", 10)
    return Part(partial(make, **options) if options else make, broker, quick)


PARTS = {
    **{f"worker-{pool}": _on("sqlite", work, pool=pool) for pool in ("prefork", "solo", "threads", "asyncio")},
    **{f"worker-prefork-{method}": _on("sqlite", work, pool="prefork", start_method=method, quick=2)
       for method in ("spawn", "forkserver")},
    **{f"worker-{pool}": _on("sqlite", work, pool=pool, quick=2) for pool in ("gevent", "eventlet")},
    **{f"worker-on-{broker}": _on(broker, work, pool="prefork") for broker in ("redis", "rabbitmq")},
    **{f"producer-on-{broker}": _on(broker, produce) for broker in ("sqlite", "redis", "rabbitmq")},
    **{f"transport-{broker}": _on(broker, carry) for broker in ("sqlite", "memory", "redis", "cluster", "rabbitmq")},
    **{f"store-{broker}": _on(broker, store) for broker in ("sqlite", "memory", "redis", "cluster")},
    "store-rpc": _on("rabbitmq", store, is_rpc=True),
    **{f"mailbox-{broker}": _on(broker, mail) for broker in ("sqlite", "memory", "redis", "rabbitmq")},
    "client-of-amqp": _on("rabbitmq", connect),
}
