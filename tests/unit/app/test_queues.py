"""The queues an app knows, under every setting that shapes them."""

from __future__ import annotations

from typing import Any

import pytest

from fastq.app.queues import QueueRules, Queues, rules_of
from fastq.app.settings import Settings
from fastq.exceptions import ConfigError, QueueNotFound
from fastq.wire.entity import Binding, Broadcast, Exchange, Queue


def test_without_task_queues_there_is_the_default_queue_with_the_default_exchange() -> None:
    assert dict(Queues()) == {"celery": Queue("celery", Exchange("celery"), "celery")}
    rules = QueueRules("mine", "ex", "topic", "key.#", default_queue_type="quorum")
    expected = Queue("mine", Exchange("ex", "topic"), "key.#", queue_arguments={"x-queue-type": "quorum"})
    assert Queues(rules=rules).default == expected
    assert Queues(rules=QueueRules(queue_max_priority=9)).default.max_priority == 9


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


def types_of(queues: Queues) -> dict[str, Any]:
    return {name: queue.declared_arguments().get("x-queue-type") for name, queue in queues.items()}


def test_a_fastq_app_has_quorum_queues_and_a_celery_app_classic_ones() -> None:
    for preset, kind in (("Fastq", "quorum"), ("Celery", None)):
        rules = rules_of(Settings(preset=preset))
        queues = Queues(rules=rules)
        assert queues["missing"].declared_arguments().get("x-queue-type") == kind
        assert types_of(queues) == {"celery": kind, "missing": kind}
        assert types_of(Queues([Queue("a")], rules)) == {"a": kind}


def test_only_queues_that_can_be_of_another_type_get_one() -> None:
    own = Queue("own", queue_arguments={"x-queue-type": "classic"})
    queues = [own, Queue("ranks", max_priority=3), Queue("mine", exclusive=True), Queue("quick", durable=False),
              Queue("short", auto_delete=True), Queue("plain", queue_arguments={"x-max-length": 5}),
              Broadcast("all", queue="all.1")]
    assert types_of(Queues(queues, rules_of(Settings(preset="Fastq")))) == {
        "own": "classic", "ranks": None, "mine": None, "quick": None, "short": None, "plain": "quorum", "all.1": None}


def test_a_default_type_that_celery_is_told_is_not_for_the_queues_that_are_configured() -> None:
    rules = rules_of(Settings({"task_default_queue_type": "quorum"}, preset="Celery"))
    assert types_of(Queues([Queue("a")], rules)) == {"a": None}
    assert types_of(Queues(rules=rules)) == {"celery": "quorum"}


def test_priorities_make_queues_classic_whose_type_nobody_chose() -> None:
    rules = rules_of(Settings({"task_queue_max_priority": 9}, preset="Fastq"))
    for queues in (Queues(rules=rules), Queues(["a"], rules)):
        assert queues["missing"].declared_arguments() == {"x-max-priority": 9}
        assert set(types_of(queues).values()) == {None}


@pytest.mark.parametrize(("settings", "queue"), [
    ({"task_queue_max_priority": 9, "task_default_queue_type": "quorum"}, None),
    ({"task_queue_max_priority": 9, "task_create_missing_queue_type": "quorum"}, None),
    ({}, Queue("missing", queue_arguments={"x-queue-type": "quorum"}, max_priority=5)),
    ({}, Queue("missing", queue_arguments={"x-queue-type": "quorum", "x-max-priority": 5})),
])
def test_priorities_and_a_type_without_them_are_refused(settings: dict[str, Any], queue: Queue | None) -> None:
    with pytest.raises(ConfigError, match=r"task_default_queue_type.*task_create_missing_queue_type.*max_priority"):
        _ = Queues([queue] if queue else None, rules_of(Settings(settings, preset="Fastq")))["missing"]


def test_what_is_declared_is_known_or_met_or_made_and_stays_unknown() -> None:
    queues = Queues([Queue("known", "e", "k"), Queue("silent", no_declare=True)])
    met = Queue("met", Exchange("topics", "topic"), "a.#")
    queues.meet(met)
    queues.meet(Queue("known", "other", "other"))
    assert queues.declared("known") == queues["known"]
    assert queues.declared("silent") is None
    assert queues.declared("met") is met
    assert queues.declared("made") == Queue("made", Exchange("made"), "made")
    assert queues.declared("made") is queues.declared("made")
    assert list(queues) == ["known", "silent"]
    assert Queues(rules=QueueRules(create_missing_queues=False)).declared("made") is None


def test_the_queues_of_an_exchange_are_found_by_any_binding() -> None:
    extra = Queue("b", "other", "b", bindings=[Binding(Exchange("topics", "topic"), "b.#")])
    queues = Queues([Queue("a", Exchange("topics", "topic"), "a.#"), extra, Queue("c", "third", "c")])
    queues.meet(Queue("d", Exchange("topics", "topic"), "d"))
    assert [queue.name for queue in queues.bound_to("topics")] == ["a", "b", "d"]
    assert queues.bound_to("unknown") == []


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
