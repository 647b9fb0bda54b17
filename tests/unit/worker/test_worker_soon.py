"""A part of a second on RabbitMQ, whose own delays have whole ones."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastq.bench.servers.rabbitmq import RabbitMQ
from tests.project import Project

TASKS = """
@app.task
def moment(eta):
    note("ran", float(eta) <= time.time())

@app.task(bind=True)
def again(self):
    if not self.request.retries:
        raise self.retry(countdown=0.2)
    note("ran", "again")
"""


LEVEL = 'rabbit_exchange:exists({{resource, <<"{vhost}">>, exchange, <<"celery_delayed_0">>}})'


def test_a_part_of_a_second_is_waited_for_by_the_worker_and_not_rounded_up(
    make_project: Callable[..., Project], rabbitmq: RabbitMQ, amqp_url: str
) -> None:
    project = make_project(TASKS, broker_read_url=amqp_url, broker_write_url=amqp_url)
    worker = project.start()
    for n in range(20):
        project.tasks.moment.apply_async((time.time() + 0.3 + n / 100,), countdown=0.3 + n / 100)
    project.tasks.again.delay()
    project.wait_for(lambda: len(project.notes) == 21)
    assert sorted(project.notes) == ["ran True"] * 20 + ["ran again"]
    # Nobody made what the broker needs to delay a message.
    assert rabbitmq.eval(LEVEL.format(vhost=amqp_url.rpartition("/")[2])) == "false"
    assert worker.stop() == 0
