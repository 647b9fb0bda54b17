"""A message finds the queue that it is sent to, by name, by exchange and key, by topic, whoever declared them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.compat.conftest import common
from tests.compat.sides import Client, Pair, Worker

QUORUM = {"queue_arguments": {"x-queue-type": "quorum"}}
"""Both sides have to say the same of a queue on RabbitMQ; on Redis it means nothing."""

@pytest.fixture(scope="package")
def routed(sides: tuple[str, str], start_worker: Callable[..., Worker], make_client: Callable[..., Client]) -> Pair:
    """A client and a worker with three queues of each side's own making, declared the same."""
    name = "-".join(sides)
    queues = {
        f"plain-{name}": {**QUORUM},
        f"direct-{name}": {
            "exchange": f"direct-x-{name}", "exchange_type": "direct", "routing_key": "orders", **QUORUM},
        f"topic-{name}": {
            "exchange": f"topic-x-{name}", "exchange_type": "topic", "routing_key": "video.#", **QUORUM},
    }
    settings = {**common(sides), "task_queues": queues, "task_default_queue": f"plain-{name}"}
    return Pair(make_client(sides[0], **settings), start_worker(sides[1], **settings))


def named(pair: Pair, kind: str) -> str:
    """The queue or exchange of that kind."""
    return str(pair.worker.settings["task_default_queue"]).replace("plain", kind)


@pytest.mark.parametrize("kind", ["plain", "direct", "topic"])
def test_a_queue_is_found_by_its_name(routed: Pair, kind: str) -> None:
    assert routed.tasks.add.apply_async((2, 3), queue=named(routed, kind)).get(timeout=10) == 5


def test_a_queue_is_found_by_its_exchange_and_key(routed: Pair) -> None:
    sent = routed.tasks.facts.apply_async(exchange=named(routed, "direct-x"), routing_key="orders")
    assert sent.get(timeout=10)["routing_key"] == told(routed, "direct", "orders")


@pytest.mark.parametrize("topic", ["video.big", "video.big.old"])
def test_a_queue_is_found_by_a_topic(routed: Pair, topic: str) -> None:
    sent = routed.tasks.facts.apply_async(exchange=named(routed, "topic-x"), routing_key=topic)
    assert sent.get(timeout=10)["routing_key"] == told(routed, "topic", topic)


def told(pair: Pair, kind: str, key: str) -> str:
    """What a task finds as its routing key: what it was sent by, of Celery; of ours the queue, which serves as well."""
    return key if pair.worker.side.name == "celery" else named(pair, kind)
