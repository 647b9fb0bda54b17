"""Remote control between the two: each tells and asks the other's workers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.sides import Pair
from tests.deadline import wait_until

QUICK = {"timeout": 10.0, "limit": 1}


def node(pair: Pair) -> list[str]:
    return [f"{pair.worker.name}@compat"]


def test_a_worker_answers(pair: Pair):
    answers = pair.app.control.ping(destination=node(pair), **QUICK)
    assert answers == [{node(pair)[0]: {"ok": "pong"}}]


def test_a_worker_is_found_by_pattern(pair: Pair):
    control = pair.app.control
    assert control.broadcast("ping", reply=True, pattern=f"{pair.worker.name}@*", matcher="glob", **QUICK)
    assert not control.broadcast("ping", reply=True, pattern="nobody@*", matcher="glob", timeout=0.3)


def test_an_unknown_command_and_a_bad_argument_are_answered_with_an_error(pair: Pair):
    control = pair.app.control
    (answer,) = control.broadcast("no_such_thing", reply=True, destination=node(pair), **QUICK)
    assert "no_such_thing" in answer[node(pair)[0]]["error"]
    (answer,) = control.rate_limit("no.such.task", "1/s", reply=True, destination=node(pair), **QUICK)
    assert answer[node(pair)[0]] == {"error": "unknown task"}


def test_what_a_worker_tells_of_itself(pair: Pair):
    asking = pair.app.control.inspect(destination=node(pair), **QUICK)
    name = node(pair)[0]
    assert asking.stats()[name]["pool"]["max-concurrency"] == 1
    assert pair.tasks.add.name in asking.registered()[name]
    assert [queue["name"] for queue in asking.active_queues()[name]] == [pair.worker.settings["task_default_queue"]]
    assert isinstance(asking.conf()[name], dict)


def test_a_revoked_task_does_not_start(pair: Pair, key: str, errors: Any):
    name = node(pair)[0]
    result = pair.tasks.mark.apply_async((key,), countdown=1.5)
    answers = pair.app.control.revoke(result.id, reply=True, destination=[name], **QUICK)
    assert answers and "flagged as revoked" in answers[0][name]["ok"]
    with pytest.raises(errors.TaskRevokedError):
        result.get(timeout=20)
    assert result.state == "REVOKED"
    assert result.id in pair.app.control.inspect(destination=[name], **QUICK).revoked()[name]
    assert pair.worker.noted(key) == []


def test_a_queue_is_consumed_and_left(pair: Pair, key: str):
    control, (name,) = pair.app.control, node(pair)
    queue = f"more-{key}"
    asking = control.inspect(destination=[name], **QUICK)

    def is_consumed() -> bool:      # Celery's workers answer first and do it then
        return queue in [each["name"] for each in asking.active_queues()[name]]

    (answer,) = control.add_consumer(queue, queue, "direct", "more", reply=True, destination=[name], **QUICK)
    assert answer == {name: {"ok": f"add consumer {queue}"}}
    wait_until(is_consumed)
    assert pair.tasks.add.apply_async((1, 2), exchange=queue, routing_key="more").get(timeout=20) == 3
    (answer,) = control.cancel_consumer(queue, reply=True, destination=[name], **QUICK)
    assert answer == {name: {"ok": f"no longer consuming from {queue}"}}
    wait_until(lambda: not is_consumed())
    assert pair.tasks.add.delay(1, 2).get(timeout=20) == 3
