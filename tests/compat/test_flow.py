"""Retries, links and error links lead from one message to the next, whoever sends it."""

from __future__ import annotations

import pytest

from tests.compat.sides import Pair
from tests.compat.tasks import Broken


def test_a_task_is_retried_under_its_own_id(pair: Pair):
    sent = pair.tasks.retry.delay(3)
    assert sent.get(timeout=10) == 3
    assert pair.worker.noted(sent.id) == ["0", "1", "2", "3"]


def test_a_retry_may_wait(pair: Pair):
    assert pair.tasks.retry.delay(1, 1).get(timeout=10) == 1


def test_a_task_that_runs_out_of_retries_fails_with_its_exception(pair: Pair):
    with pytest.raises(Broken, match="again"):
        pair.tasks.give_up.delay().get(timeout=10)


def test_a_link_gets_the_result(pair: Pair, key: str):
    sent = pair.tasks.add.apply_async((2, 3), link=pair.tasks.keep.s(key))
    assert sent.get(timeout=10) == 5
    assert pair.wait_for_notes(key) == ["5"]


def test_an_immutable_link_gets_its_own_arguments_alone(pair: Pair, key: str):
    pair.tasks.add.apply_async((2, 3), link=pair.tasks.keep.si("nothing of it", key))
    assert pair.wait_for_notes(key) == ["'nothing of it'"]


def test_all_links_are_called_and_their_own_after_them(pair: Pair, key: str):
    onward = pair.tasks.add.s(10)
    onward.link(pair.tasks.keep.s(key))
    pair.tasks.add.apply_async((2, 3), link=[pair.tasks.keep.s(key), onward])
    assert sorted(pair.wait_for_notes(key, 2)) == ["15", "5"]


def test_a_link_is_not_called_after_a_failure(pair: Pair, key: str):
    sent = pair.tasks.fail.apply_async(("builtin",), link=pair.tasks.keep.s(key))
    with pytest.raises(ValueError, match="no good"):
        sent.get(timeout=10)
    assert pair.tasks.add.delay(1, 1).get(timeout=10) == 2
    assert pair.worker.noted(key) == []


def test_an_error_link_gets_the_request_and_the_exception(pair: Pair):
    sent = pair.tasks.fail.apply_async(("builtin",), link_error=pair.tasks.keep_failure.s())
    assert pair.wait_for_notes(sent.id) == ["ValueError ('no good', 3)"]


def test_an_error_link_of_one_argument_gets_the_id(pair: Pair, key: str):
    sent = pair.tasks.fail.apply_async(("builtin",), link_error=pair.app.signature("compat.count"))
    assert len(pair.wait_for_notes(sent.id)) == 1


def test_an_error_link_is_not_called_after_a_success_or_a_retry(pair: Pair):
    sent = pair.tasks.retry.apply_async((2,), link_error=pair.tasks.keep_failure.s())
    assert sent.get(timeout=10) == 2
    assert pair.tasks.add.delay(1, 1).get(timeout=10) == 2
    assert pair.worker.noted(sent.id) == ["0", "1", "2"]


@pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack"])
def test_links_survive_every_serializer_that_can_carry_them(pair: Pair, key: str, serializer: str):
    pair.tasks.add.apply_async((2, 3), link=pair.tasks.keep.s(key), serializer=serializer)
    assert pair.wait_for_notes(key) == ["5"]
