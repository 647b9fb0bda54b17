"""What became of a task is the same for the caller, whoever ran it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.sides import Pair
from tests.compat.tasks import Broken


def test_a_result_comes_back(pair: Pair):
    sent = pair.tasks.add.delay(2, 3)
    assert sent.get(timeout=10) == 5
    assert sent.state == "SUCCESS" and sent.successful() and sent.result == 5


def test_many_results_come_back_in_any_order(pair: Pair):
    sent = [pair.tasks.add.delay(n, n) for n in range(200)]
    assert [one.get(timeout=20) for one in reversed(sent)] == [2 * n for n in reversed(range(200))]


@pytest.mark.parametrize(("kind", "error", "args"), [
    ("builtin", ValueError, ("no good", 3)), ("ours", Broken, ("no good", 3)), ("lookup", KeyError, ("missing",)),
    ("text", ValueError, ("gr\u00fc\u00df dich \u2603",)), ("chained", ValueError, ("the second",)),
])
def test_an_exception_comes_back_as_itself(pair: Pair, kind: str, error: type[Exception], args: tuple[object, ...]):
    sent = pair.tasks.fail.delay(kind)
    with pytest.raises(error) as raised:
        sent.get(timeout=10)
    assert raised.value.args == args
    assert sent.state == "FAILURE" and sent.failed()
    assert "Traceback (most recent call last)" in sent.traceback and error.__name__ in sent.traceback


def test_a_failure_can_be_read_without_raising_it(pair: Pair):
    error = pair.tasks.fail.delay("builtin").get(timeout=10, propagate=False)
    assert isinstance(error, ValueError) and error.args == ("no good", 3)


def test_a_task_that_the_worker_does_not_know_fails(pair: Pair, errors: Any):
    sent = pair.app.send_task("compat.unheard_of")
    with pytest.raises(errors.NotRegistered, match=r"compat\.unheard_of"):
        sent.get(timeout=10)


def test_wrong_arguments_fail_the_task_and_not_the_worker(pair: Pair):
    with pytest.raises(TypeError):
        pair.app.send_task("compat.add", ("one",)).get(timeout=10)
    assert pair.tasks.add.delay(1, 1).get(timeout=10) == 2


def test_a_task_can_be_called_by_name_alone(pair: Pair):
    assert pair.app.send_task("compat.add", (20, 22)).get(timeout=10) == 42


def test_who_waits_with_on_message_is_told_the_end(pair: Pair):
    # Celery's client is told of each state on the way besides.
    seen: list[tuple[str, object]] = []
    sent = pair.tasks.progress.delay()
    assert sent.get(timeout=10, on_message=lambda meta: seen.append((meta["status"], meta["result"]))) == "done"
    assert seen[-1] == ("SUCCESS", "done")


def test_a_task_that_ignores_its_result_sends_none(pair: Pair, key: str):
    sent = pair.tasks.silent.delay(key)
    pair.wait_for_notes(key)
    assert pair.tasks.add.delay(1, 1).get(timeout=10) == 2
    assert sent.state == "PENDING"


def test_a_caller_may_ask_for_no_result(pair: Pair):
    sent = pair.tasks.add.apply_async((1, 2), ignore_result=True)
    assert pair.tasks.add.delay(1, 1).get(timeout=10) == 2
    assert sent.state == "PENDING"

