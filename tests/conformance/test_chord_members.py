"""Every way for a member of a chord to end badly fails the body, and one that comes twice counts once.

One worker an engine does all of it. Of RabbitMQ the results, and so the chords, are on Redis.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from fastq import chord
from fastq.exceptions import ChordError
from tests.project import Project, project

SOURCE = """
@app.task
def add(x, y):
    return x + y

@app.task
def gather(values, key=""):
    note("ran", key)
    return values

@app.task
def fail():
    raise ValueError("no good")

@app.task(bind=True)
def refuse(self):
    raise Reject("not mine")

@app.task(time_limit=0.2)
def endless():
    signal.pause()

@app.task
def deadly():
    os.kill(os.getpid(), signal.SIGKILL)

@app.task(ignore_result=True)
def sorry(request, error, traceback, key):
    note("sorry", key, type(error).__name__)

@app.task(ignore_result=True)
def sorry_id(task_id, key):
    note("sorry", key, task_id)
"""
ENGINES = ["sqlite", pytest.param("redis", marks=pytest.mark.redis),
           pytest.param("rabbitmq", marks=[pytest.mark.redis, pytest.mark.rabbitmq])]
Member = Callable[[Any], Any]
ENDINGS: dict[str, tuple[Member, str]] = {
    "raised": (lambda app: app.tasks["proj.fail"].s(), r"raised ValueError('no good')"),
    "rejected": (lambda app: app.tasks["proj.refuse"].s(), "not mine"),
    "over its limit": (lambda app: app.tasks["proj.endless"].s(), "TimeLimitExceeded"),
    "dead-lettered": (lambda app: app.tasks["proj.deadly"].s(), "killed 2 children"),
    "revoked": (lambda app: app.tasks["proj.add"].s(1, 1), "TaskRevokedError('revoked"),
    "expired": (lambda app: app.tasks["proj.add"].s(1, 1).set(expires=-1), "TaskRevokedError('expired"),
    "unknown": (lambda app: app.signature("nobody.knows"), "NotRegistered"),
}


@pytest.fixture(scope="module", params=ENGINES)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("members")
    servers = {"sqlite": (), "redis": ("redis",), "rabbitmq": ("redis", "rabbitmq")}[request.param]
    settings: dict[str, Any] = {"task_max_deaths": 2}
    if servers:
        redis = request.getfixturevalue("redis")
        settings["broker_url"] = settings["result_backend"] = redis.place()
    if "rabbitmq" in servers:
        settings["broker_url"] = request.getfixturevalue("rabbitmq").vhost()
    with project(folder, SOURCE, **settings) as made:
        worker = made.start(concurrency=2)
        yield made
        assert worker.stop(timeout=30) == 0, worker.said()
    if "rabbitmq" in servers:
        request.getfixturevalue("rabbitmq").reclaim(settings["broker_url"])
    if servers:
        redis.reclaim(settings["result_backend"])


@pytest.fixture
def key() -> str:
    return uuid4().hex


def send(shop: Project, header: list[Any], key: str) -> Any:
    """Send a chord whose body notes that it ran, and whose errbacks note what they are told."""
    tasks = shop.app.tasks
    body = tasks["proj.gather"].s(key=key)
    body.link_error(tasks["proj.sorry"].s(key=key))
    body.link_error(tasks["proj.sorry_id"].s(key=key))
    return chord(header, body, app=shop.app).apply_async()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_member_that_ends_badly_fails_the_body_and_calls_its_errbacks(shop: Project, ending: str, key: str):
    write, said = ENDINGS[ending]
    member = write(shop.app)
    task_id = member.freeze().id
    if ending == "revoked":
        shop.app.control.revoke(task_id, reply=True, limit=1, timeout=20)
    result = send(shop, [shop.app.tasks["proj.add"].s(1, 1), member], key)
    with pytest.raises(ChordError, match=f"Dependency {task_id} raised") as caught:
        result.get(timeout=30, follow_parents=False)
    assert said in str(caught.value)
    shop.wait_for_note(f"sorry {key} ChordError", f"sorry {key} {result.id}")
    assert f"ran {key}" not in shop.notes


@pytest.mark.parametrize("size", [0, 1, 2, 30])
def test_the_body_runs_once_with_all_values_in_order(shop: Project, size: int, key: str):
    result = send(shop, [shop.app.tasks["proj.add"].s(n, n) for n in range(size)], key)
    assert result.get(timeout=30) == [2 * n for n in range(size)]
    assert shop.notes.count(f"ran {key}") == 1


def test_a_member_that_comes_twice_counts_once(shop: Project, key: str):
    group_id = uuid4().hex
    body = shop.app.tasks["proj.gather"].s(key=key)
    result = body.freeze(group_id=group_id)
    shop.app.backend.chord_open(group_id, 2, expires_at=time.time() + 600)
    for place, task_id in ((0, "first"), (0, "first"), (1, "second"), (1, "second"), (0, "first")):
        shop.app.send_task("proj.add", (place, 1), task_id=f"{task_id}-{key}", group_id=group_id, group_index=place,
                           chord=body).get(timeout=30)
    assert result.get(timeout=30) == [1, 2]
    after = send(shop, [shop.app.tasks["proj.add"].s(1, 1)], f"{key}-after")
    assert after.get(timeout=30) == [2]
    assert shop.notes.count(f"ran {key}") == 1
