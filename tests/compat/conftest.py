"""One worker for each side, and every pair of a client and a worker that must understand each other.

All of it ends with the last test here: later ones count the connections of the broker, close them all, and stop it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from uuid import uuid4

import pytest

from fastq.bench.servers.rabbitmq import RabbitMQ
from tests.compat.sides import SIDES, Client, Pair, Worker

PAIRS = [("celery", "celery"), ("celery", "fastq"), ("celery", "preset"), ("fastq", "celery"), ("preset", "celery")]
"""The first shows that what the others are asked is what Celery does."""
Sides = tuple[str, str]


BROKERS = ["rabbitmq", "redis"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what a module is not about that says so itself, in its own BROKERS."""
    items[:] = [item for item in items if broker_of(item) in (None, *getattr(item.module, "BROKERS", BROKERS))]


def broker_of(item: pytest.Item) -> str | None:
    """The broker that a test of this package runs on."""
    named: str | None = item.callspec.params.get("broker_url") if hasattr(item, "callspec") else None
    return named


@pytest.fixture(scope="package", params=BROKERS)
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty place; results are messages there on RabbitMQ, and keys on Redis."""
    server = request.getfixturevalue(request.param)
    url = server.vhost() if isinstance(server, RabbitMQ) else server.place()
    yield url
    server.reclaim(url)


@pytest.fixture(scope="package")
def start_worker(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Worker]]:
    """Return ``start(side, **settings)``; who asks for one that runs already gets that one."""
    folder = tmp_path_factory.mktemp("compat")
    started: dict[str, Worker] = {}
    with ExitStack() as stack:
        def start(side: str, number: int = 0, **settings: object) -> Worker:
            words = repr((side, number, sorted(settings.items())))
            if words not in started:
                queue = {"task_default_queue": f"compat-{side}-{len(started)}"}
                started[words] = worker = Worker(SIDES[side], broker_url, folder, **{**queue, **settings})
                stack.callback(worker.stop)
                worker.wait_until_ready()
            return started[words]

        yield start


@pytest.fixture(scope="package")
def make_client(broker_url: str) -> Iterator[Callable[..., Client]]:
    """Return ``make(side, **settings)``; who asks for one that is there already gets that one."""
    made: dict[str, Client] = {}
    with ExitStack() as stack:
        def make(side: str, **settings: object) -> Client:
            words = repr((side, sorted(settings.items())))
            if words not in made:
                made[words] = Client(SIDES[side], broker_url, settings)
                stack.callback(made[words].close)
            return made[words]

        yield make


@pytest.fixture(scope="package")
def make_pair(sides: Sides, start_worker: Callable[..., Worker], make_client: Callable[..., Client]
              ) -> Callable[..., Pair]:
    """Return ``make(**settings)``: a client and a worker that both have them."""
    def make(**settings: object) -> Pair:
        worker = start_worker(sides[1], **{**common(sides), **settings})
        return Pair(make_client(sides[0], **worker.settings), worker)

    return make


def common(sides: Sides) -> dict[str, object]:
    """The settings that both sides need to agree on: the queues of Fastq are quorum queues unless told otherwise."""
    return {"task_default_queue_type": "quorum"} if "fastq" in sides else {}


@pytest.fixture(scope="package", params=PAIRS, ids=lambda pair: f"{pair[0]}->{pair[1]}")
def sides(request: pytest.FixtureRequest) -> Sides:
    """The names of who sends and who works."""
    pair: Sides = request.param
    return pair


@pytest.fixture(scope="package")
def pair(make_pair: Callable[..., Pair]) -> Pair:
    """A client and a worker with everything at its default."""
    return make_pair()


@pytest.fixture(scope="package")
def both(sides: Sides, start_worker: Callable[..., Worker], make_client: Callable[..., Client]) -> Pair:
    """A client whose queue workers of both sides consume: those of test_mixed.py, which run once."""
    queue = {"task_default_queue": f"mixed-{'-'.join(sides)}", **common(sides)}
    first, *mates = [start_worker(side, number, **queue) for number, side in enumerate(sides)]
    return Pair(make_client(sides[0], **queue), first, tuple(mates))


@pytest.fixture(scope="package")
def errors(sides: Sides) -> object:
    """The module where the client's side has its exceptions."""
    return import_module(f"{SIDES[sides[0]].module}.exceptions")


@pytest.fixture
def key() -> str:
    """What this test notes things under."""
    return uuid4().hex
