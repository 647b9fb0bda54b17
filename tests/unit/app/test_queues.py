"""The queues an app knows, under every setting that shapes them."""

from __future__ import annotations

from typing import Any

import pytest

from fastq.app.queues import QueueRules, Queues
from fastq.exceptions import ConfigError, QueueNotFound
from fastq.wire.entity import Broadcast, Exchange, Queue


def test_without_task_queues_there_is_the_default_queue_with_the_default_exchange() -> None:
    assert dict(Queues()) == {"celery": Queue("celery", Exchange("celery"), "celery")}
    rules = QueueRules("mine", "ex", "topic", "key.#", default_queue_type="quorum", queue_max_priority=9)
    expected = Queue(
        "mine", Exchange("ex", "topic"), "key.#", queue_arguments={"x-queue-type": "quorum"}, max_priority=9
    )
    assert Queues(rules=rules).default == expected


def test_what_a_queue_leaves_open_is_filled_in() -> None:
    rules = QueueRules(default_exchange="ex", default_routing_key="key", queue_max_priority=5)
    own = Queue("own", Exchange("e"), "k", max_priority=3)
    queues = Queues([Queue("bare"), own, Queue("arg", queue_arguments={"x-max-priority": 2})], rules)
    assert queues["bare"] == Queue("bare", Exchange("ex"), "key", max_priority=5)
    assert queues["own"] == own
    assert queues["arg"].declared_arguments() == {"x-max-priority": 2}


def test_task_queues_may_be_rows_of_options() -> None:
    row = {"exchange": "e", "exchange_type": "topic", "binding_key": "a.#"}
    queues = Queues({"a": row, "b": None, "c": Queue("c")})
    assert queues["a"] == Queue("a", Exchange("e", "topic"), "a.#")
    assert queues["b"] == Queue("b", Exchange("celery"), "b")
    assert queues["c"] == Queue("c", Exchange("celery"), "celery")
    assert Queues(["a"])["a"] == Queue("a", Exchange("celery"), "a")


@pytest.mark.parametrize("row", ["exchange", 3, ["e"]])
def test_a_row_that_is_neither_a_queue_nor_options_is_refused(row: Any) -> None:
    with pytest.raises(ConfigError, match=r"task_queues\['a'\]"):
        Queues({"a": row})


def test_a_missing_queue_is_made_with_its_own_exchange_and_key() -> None:
    queues = Queues()
    assert queues["new"] == Queue("new", Exchange("new"), "new")
    assert queues["new"] is queues["new"]
    assert list(queues) == ["celery", "new"]


def test_a_missing_queue_takes_its_types_from_the_rules() -> None:
    rules = QueueRules(create_missing_queue_type="quorum", create_missing_queue_exchange_type="topic")
    expected = Queue("new", Exchange("new", "topic"), "new", queue_arguments={"x-queue-type": "quorum"})
    assert Queues(rules=rules)["new"] == expected


@pytest.mark.parametrize("rules", [{"create_missing_queue_type": "quorom"}, {"default_queue_type": "quorom"}])
def test_an_unknown_queue_type_is_refused(rules: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="queue type 'quorom'"):
        Queues(rules=QueueRules(**rules))["new"]


def test_asking_whether_a_queue_is_known_makes_none() -> None:
    queues = Queues()
    assert "new" not in queues and queues.get("new") is None and len(queues) == 1
    assert "celery" in queues and queues.get("celery") is queues.default


def test_where_queues_may_not_be_made_an_unknown_one_is_an_error_with_the_nearest_name() -> None:
    queues = Queues([Queue("video"), Broadcast("news")], QueueRules(create_missing_queues=False))
    answers = {"vidoe": "did you mean 'video'?", "new": "did you mean 'news'?", "zzz": "known: video, bcast."}
    for name, said in answers.items():
        with pytest.raises(QueueNotFound) as caught:
            queues[name]
        assert said in caught.value.args[0] and "task_create_missing_queues is off" in caught.value.args[0]
    with pytest.raises(QueueNotFound):
        _ = queues.default


def test_a_broadcast_queue_is_found_by_its_alias() -> None:
    queues = Queues([Broadcast("news")])
    assert queues["news"].name.startswith("bcast.")
    assert "news" in queues and queues.get("news") is queues["news"]


def test_a_worker_consumes_the_queues_it_includes_less_those_it_excludes() -> None:
    queues = Queues([Queue("a"), Queue("b"), Broadcast("news")])
    news = queues["news"].name
    assert list(queues.select()) == ["a", "b", news]
    assert list(queues.select(exclude=["a", "news", "unknown"])) == ["b"]
    assert list(queues.select(["b", "new", "news"])) == ["b", "new", news]


def test_adding_a_queue_replaces_the_one_of_that_name() -> None:
    queues = Queues()
    assert queues.add("celery", exchange="e", routing_key="k") == Queue("celery", Exchange("e"), "k")
    assert queues.default.routing_key == "k"
