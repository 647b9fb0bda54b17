"""What outages of RabbitMQ must not cost: CPU, memory, threads, descriptors, and tasks that did nothing wrong."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
import pytest

from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.exceptions import OperationalError
from tests.deadline import wait_until
from tests.project import Program, Project
from tests.servers.proxy import Proxy

Make = Callable[..., Project]

TASKS = """
@app.task(ignore_result=True)
def plain(n):
    note("plain", n)
    time.sleep(0.0005)

@app.task(ignore_result=True)
def gated(name):
    note("gated", name)
    wait_for(name)

@app.task(bind=True, ignore_result=True)
def later(self, n):
    note("later", n, self.request.retries)
    if not self.request.retries:
        raise self.retry(countdown=0.01)
"""
LOOK_S = 1.0


@pytest.fixture
def make(make_project: Make, tmp_path: object) -> Make:
    """Make a project on RabbitMQ."""
    def make(url: str, **settings: object) -> Project:
        return make_project(TASKS, broker_read_url=url, broker_write_url=url, **settings)

    return make


@pytest.fixture
def proxy(rabbitmq: RabbitMQ) -> Iterator[Proxy]:
    with Proxy(rabbitmq.port) as proxy:
        yield proxy


def share_of_cpu(worker: Program) -> float:
    """How much of a CPU the supervisor takes, over a second."""
    process = psutil.Process(worker.pid)
    before, began = process.cpu_times(), time.monotonic()
    wait_until(lambda: time.monotonic() - began >= LOOK_S)
    now = process.cpu_times()
    return (now.user + now.system - before.user - before.system) / (time.monotonic() - began)


def runs(project: Project, kind: str) -> Counter[str]:
    return Counter(line for line in project.notes if line.startswith(kind))


# -- what waits costs nothing ---------------------------------------------------------------------------


def test_an_idle_worker_takes_no_cpu(make: Make, amqp_url: str) -> None:
    project = make(amqp_url)
    worker = project.start(concurrency=2)
    project.tasks.plain.delay(1)
    project.wait_for_note("plain 1")
    assert share_of_cpu(worker) < 0.05
    assert worker.stop() == 0


def test_a_busy_worker_with_more_to_do_takes_no_cpu(make: Make, amqp_url: str) -> None:
    project = make(amqp_url)
    project.tasks.gated.map_delay(["gate"] * 50)
    worker = project.start(concurrency=2)
    project.wait_for(lambda: len(project.notes) == 2)
    assert share_of_cpu(worker) < 0.1
    project.allow("gate")
    project.wait_for(lambda: len(project.notes) == 50)
    assert worker.stop() == 0


def test_a_worker_whose_broker_is_away_takes_no_cpu(make: Make, amqp_url: str, rabbitmq: RabbitMQ) -> None:
    project = make(amqp_url)
    worker = project.start()
    rabbitmq.stop()
    project.wait_for(lambda: "trying again" in worker.said())
    assert share_of_cpu(worker) < 0.1
    rabbitmq.start()
    wait_until(lambda: project.tasks.plain.delay(1).confirmed())
    project.wait_for_note("plain 1")
    assert worker.stop() == 0


@pytest.mark.parametrize("settings", [{}, {"worker_prefetch_multiplier": 1}], ids=["own window", "window of one"])
def test_acks_go_on_while_the_broker_blocks_publishers(make: Make, amqp_url: str, rabbitmq: RabbitMQ,
                                                       settings: dict[str, int]) -> None:
    project = make(amqp_url, **settings)
    project.tasks.gated.delay("gate")
    project.tasks.later.map_delay(range(20))
    project.tasks.plain.map_delay(range(500))
    worker = project.start()
    project.wait_for_note("gated gate")
    rabbitmq.alarm(True)
    project.allow("gate")
    project.wait_for(lambda: len(runs(project, "plain")) == 500, 4)
    project.wait_for(lambda: project.queue.ready == 0)
    assert share_of_cpu(worker) < 0.1
    rabbitmq.alarm(False)
    project.wait_for(lambda: sum(runs(project, "later").values()) == 40)
    assert max(Counter(project.notes).values()) == 1
    assert (project.dead, worker.stop()) == ([], 0)


def test_many_reconnects_leave_nothing_behind(make: Make, rabbitmq: RabbitMQ, amqp_url: str, proxy: Proxy) -> None:
    project = make(proxy.url(amqp_url))
    worker = project.start()
    process = psutil.Process(worker.pid)

    def reconnect(count: int) -> tuple[int, int, int]:
        for _ in range(count):
            attached = worker.said().count("connected again")
            proxy.cut()
            project.wait_for(lambda attached=attached: worker.said().count("connected again") > attached)
            number = len(project.notes)
            wait_until(lambda: project.tasks.plain.delay(0).confirmed())
            project.wait_for(lambda number=number: len(project.notes) > number)
        return process.num_threads(), process.num_fds(), process.memory_info().rss

    threads, fds, size = reconnect(5)
    now = reconnect(40)
    assert now[:2] == (threads, fds)
    assert now[2] - size < 2 << 20
    assert worker.stop() == 0


# -- who survives is not blamed -------------------------------------------------------------------------


def test_no_task_that_waits_is_condemned_for_cuts(make: Make, amqp_url: str, proxy: Proxy) -> None:
    """What a worker has in hand and did not begin has killed nobody, however often its connection breaks."""
    project = make(proxy.url(amqp_url), worker_prefetch_multiplier=40)
    project.tasks.gated.delay("gate")
    project.tasks.plain.map_delay(range(30))
    worker = project.start()
    for number in range(1, 7):
        project.wait_for(lambda: project.queue.ready == 0 and len(project.notes) == 1)
        proxy.cut()
        project.wait_for(lambda number=number: worker.said().count("connected again") >= number)
    project.allow("gate")
    project.wait_for(lambda: len(runs(project, "plain")) == 30)
    project.wait_for(project.is_idle)
    assert (project.dead, max(Counter(project.notes).values()), worker.stop()) == ([], 1, 0)


def test_no_task_that_waits_is_condemned_for_warm_shutdowns(make: Make, amqp_url: str) -> None:
    project = make(amqp_url)
    project.tasks.plain.map_delay(range(3000))
    for _ in range(5):
        begun = len(project.notes)
        worker = project.start()
        project.wait_for(lambda begun=begun: len(project.notes) > begun)
        assert worker.stop() == 0
    worker = project.start()
    project.wait_for(lambda: len(project.notes) >= 3000)
    assert (project.dead, Counter(project.notes), worker.stop()) == ([], {f"plain {n}": 1 for n in range(3000)}, 0)


# -- producers ------------------------------------------------------------------------------------------


def test_a_blocked_producer_is_told_why_within_its_deadline(make: Make, amqp_url: str, rabbitmq: RabbitMQ) -> None:
    project = make(amqp_url)
    project.tasks.plain.delay(1).confirmed()
    rabbitmq.alarm(True)
    began = time.monotonic()
    with pytest.raises(OperationalError, match="takes no messages: low on memory"):
        project.tasks.plain.delay(2).confirmed()
    assert 4 < time.monotonic() - began < 7
    rabbitmq.alarm(False)
    project.tasks.plain.delay(3).confirmed()
    assert project.queue.ready == 3


def test_a_blocked_producer_whose_broker_restarts_goes_on(make: Make, amqp_url: str, rabbitmq: RabbitMQ) -> None:
    project = make(amqp_url)
    project.tasks.plain.delay(1).confirmed()
    rabbitmq.alarm(True)
    project.tasks.plain.delay(2)
    wait_until(lambda: project.app.transport._publisher.link.blocked or project.app.transport._publisher.poll())
    rabbitmq.stop()
    rabbitmq.start()
    rabbitmq.alarm(False)
    project.tasks.plain.delay(3).confirmed()
    assert project.queue.ready == 3


def test_a_producer_of_a_dead_broker_fails_within_its_deadline(make: Make, amqp_url: str, rabbitmq: RabbitMQ) -> None:
    project = make(amqp_url)
    project.tasks.plain.delay(1).confirmed()
    rabbitmq.stop()
    began = time.monotonic()
    with pytest.raises(OperationalError, match=f"127.0.0.1:{rabbitmq.port}"):
        for number in range(2, 10):
            project.tasks.plain.delay(number).confirmed()
    assert time.monotonic() - began < 7
    rabbitmq.start()
    project.tasks.plain.delay(10).confirmed()


def test_a_producer_notices_that_nobody_hears_it(make: Make, amqp_url: str, proxy: Proxy) -> None:
    project = make(proxy.url(amqp_url))
    project.tasks.plain.delay(1).confirmed()
    proxy.strand()
    began = time.monotonic()
    with pytest.raises(OperationalError, match=r"silent|not a word"):
        project.tasks.plain.delay(2).confirmed()
    assert 4 < time.monotonic() - began < 7
    project.tasks.plain.delay(3).confirmed()        # over a new connection, and what was unconfirmed with it
    assert project.queue.ready == 3
