"""Hand-made and malformed messages that were given to Celery's worker, and killed it at times: ours does them all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest

from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.bench.servers.redis import Redis
from tests.project import Project, project
from tests.reference import recorded

SOURCE = """
@app.task(name="wire.add")
def add(x, y): return x + y

@app.task(name="wire.echo")
def echo(*args, **kwargs): return [list(args), kwargs]

@app.task(name="wire.req", bind=True)
def req(self, *args, **kwargs): return self.request.id
"""
Observation = dict[str, Any]


def id_of(seen: Observation) -> Any:
    """The id that its result has, or would have; None when it has none that is a text."""
    if seen["result"]:
        return seen["result"]["task_id"]
    entry = seen.get("list_entry", seen)
    found = entry["headers"].get("id") if isinstance(entry, dict) and entry.get("headers") else None
    return found if isinstance(found, str) else None


def on_redis(server: Redis, url: str, seen: Observation) -> None:
    entry = seen["list_entry"]
    server.ask("LPUSH", "celery", entry if isinstance(entry, str) else json.dumps(entry),
               database=int(url.rpartition("/")[2]))


def on_rabbitmq(server: RabbitMQ, url: str, seen: Observation) -> None:
    properties = dict(seen["properties"])
    with kombu.Connection(url) as connection, connection.channel() as channel:
        body = seen["body"].encode()
        message = channel.prepare_message(body, 0, properties.pop("content_type", None),
                                          properties.pop("content_encoding", None), seen["headers"], properties)
        channel.basic_publish(message, exchange="", routing_key="celery")


GIVE: dict[str, Callable[[Any, str, Observation], None]] = {"redis": on_redis, "rabbitmq": on_rabbitmq}


@pytest.fixture(params=["redis", "rabbitmq"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Project, list[Observation]]]:
    server = request.getfixturevalue(request.param)
    url = server.place() if request.param == "redis" else server.vhost()
    observations = recorded.load(f"minimal_messages_{'amqp' if request.param == 'rabbitmq' else 'redis'}")
    with project(tmp_path, SOURCE, broker_url=url, result_backend=f"sqlite:///{tmp_path}/tasks.db") as made:
        worker = made.start()
        for seen in observations["observations"]:
            GIVE[request.param](server, url, seen)
        assert made.tasks.add.delay(20, 22).get(timeout=30) == 42
        assert worker.stop() == 0, worker.said()
        assert "nternal error" not in worker.said()
        yield made, observations["observations"]
    server.reclaim(url)


def test_what_celery_runs_we_run_and_of_the_rest_nothing_is_lost(made: tuple[Project, list[Observation]]) -> None:
    project, observations = made
    states = {seen["case"]: project.app.AsyncResult(id_of(seen)).state for seen in observations if id_of(seen)}
    wanted = {seen["case"]: seen["result"]["status"] for seen in observations if seen["result"]}
    assert {case: states[case] for case in wanted} == wanted
    # What had an id and a task has a state: the sender is told. All that did not run can be looked at.
    states.pop("task header absent, list body", None)
    assert set(states.values()) <= {"SUCCESS", "FAILURE", "REVOKED"}
    letters = list(project.app.transport.dead_letters())
    assert all(letter.reason for letter in letters)
    failed = [case for case, state in states.items() if state == "FAILURE" and case != "args null"]
    assert len(letters) >= len(failed)
