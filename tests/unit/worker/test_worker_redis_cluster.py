"""Whole workers whose queues and results are spread over the nodes of a Redis Cluster."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable

import pytest

from fastq.bench.servers.cluster import Cluster
from tests.project import Project

pytestmark = pytest.mark.cluster

QUEUES = [f"q{n}" for n in range(6)]
TASKS = """
@app.task
def add(x, y):
    return x + y

@app.task(bind=True, max_retries=3)
def stubborn(self, name):
    if self.request.retries < 2:
        raise self.retry(countdown=0.05)
    note("done", name)
    return self.request.retries

@app.task
def mark(name):
    note("ran", name)

@app.task
def late(name):
    note("started", name)
    wait_for(name)
    return name
"""


@pytest.fixture
def made(cluster: Cluster, cluster_url: str, make_project: Callable[..., Project]) -> Project:
    assert len({cluster.owner(f"{{{name}}}").port for name in QUEUES}) == 3
    return make_project(TASKS, broker_url=cluster_url, result_backend=cluster_url)


def figures(made: Project) -> dict[str, tuple[int, ...]]:
    """What is anywhere in the queues."""
    return {name: tuple(stat) for name, stat in made.app.transport.queues().items() if any(stat)}


def test_tasks_of_all_queues_run_and_their_results_come(made: Project) -> None:
    made.start(pool="prefork", concurrency=2, queues=QUEUES)
    results = [made.tasks.add.apply_async((n, 1), queue=QUEUES[n % 6]) for n in range(60)]
    assert [result.get(timeout=20) for result in results] == list(range(1, 61))
    made.wait_for(lambda: not figures(made))


def test_retries_and_callbacks_cross_the_nodes(made: Project) -> None:
    made.start(pool="prefork", queues=QUEUES)
    tasks = made.tasks
    assert [tasks.stubborn.apply_async((name,), queue=name).get(timeout=20) for name in QUEUES] == [2] * 6
    links = [tasks.mark.si(name).set(queue=name) for name in QUEUES]
    assert tasks.add.apply_async((2, 3), queue=QUEUES[0], link=links).get(timeout=20) == 5
    made.wait_for_note(*(f"ran {name}" for name in QUEUES))
    made.wait_for(lambda: not figures(made))


def test_a_slot_moves_under_a_worker(cluster: Cluster, made: Project) -> None:
    made.start(pool="prefork", concurrency=2, queues=QUEUES)
    names = [f"{n}" for n in range(600)]
    for name in names[:300]:
        made.tasks.mark.apply_async((name,), queue=QUEUES[int(name) % 6])
    made.wait_for(lambda: made.notes)
    for name in QUEUES[:2]:
        cluster.move(f"{{{name}}}")
    for name in names[300:]:
        made.tasks.mark.apply_async((name,), queue=QUEUES[int(name) % 6])
    made.wait_for(lambda: len(made.notes) >= len(names))
    made.wait_for(lambda: not figures(made))
    assert Counter(made.notes) == Counter(f"ran {name}" for name in names)


def test_a_node_dies_and_the_worker_goes_on(cluster: Cluster, made: Project) -> None:
    program = made.start(pool="prefork", concurrency=2, queues=QUEUES)
    node = cluster.owner(f"{{{QUEUES[0]}}}")
    other = next(name for name in QUEUES if cluster.owner(f"{{{name}}}") is not node)
    result = made.tasks.late.apply_async(("held",), queue=QUEUES[0])
    made.wait_for_note("started held")
    node.kill()
    made.tasks.mark.apply_async(("elsewhere",), queue=other)
    made.wait_for_note("ran elsewhere")
    made.allow("held")
    node.start()
    made.wait_for(cluster.is_whole)
    assert result.get(timeout=20) == "held"
    made.wait_for(lambda: not figures(made))
    assert Counter(made.notes)["started held"] == 1
    assert program.stop(signal.SIGTERM) == 0
