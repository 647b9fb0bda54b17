"""Entities as values, and as brokers and monitors see them."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from fastq.wire.entity import Binding, Broadcast, Exchange, Queue, Table, binding

VECTORS = Path(__file__).parents[2] / "vectors"

MEDIA = Exchange("media", type="topic")
EXAMPLES: list[Any] = [
    MEDIA,
    Exchange("ex", "headers", durable=False, auto_delete=True, delivery_mode=1, arguments={"x": [1, {"y": 2}]}),
    Binding(MEDIA, "video.*", {"k": "v"}),
    Queue("video", MEDIA, "video.#", max_priority=10, queue_arguments={"x-queue-type": "quorum"}),
    Queue("two", bindings=[binding(MEDIA, "a"), binding(MEDIA, "b")]),
    Broadcast("news"),
]


@pytest.mark.parametrize("entity", EXAMPLES, ids=repr)
def test_an_entity_is_equal_to_its_copies_and_hashes_alike(entity: Any) -> None:
    for twin in (copy.copy(entity), copy.deepcopy(entity), pickle.loads(pickle.dumps(entity)), entity.replace()):
        assert twin == entity
        assert hash(twin) == hash(entity)
        assert type(twin) is type(entity)


@pytest.mark.parametrize("entity", EXAMPLES, ids=repr)
def test_an_entity_cannot_be_changed(entity: Any) -> None:
    with pytest.raises(AttributeError):
        entity.name = "other"
    with pytest.raises(AttributeError):
        del entity.exchange


def test_entities_differ_in_any_field() -> None:
    queue = Queue("q", MEDIA, "k")
    others = {"name": "p", "exchange": Exchange("e"), "durable": False, "expires": 3, "queue_arguments": {"x": 1}}
    for name, value in others.items():
        assert queue.replace(**{name: value}) != queue
    assert queue != MEDIA
    assert Exchange("k") != "k"


def test_a_repr_shows_what_is_not_default() -> None:
    expected = "Queue(name='video', exchange=Exchange(name='media', type='topic'), max_priority=10)"
    assert repr(Queue("video", MEDIA, max_priority=10)) == expected
    assert repr(Exchange()) == "Exchange()"


def test_an_exchange_may_be_given_by_its_name() -> None:
    assert Queue("q", "ex").exchange == Exchange("ex")
    assert Queue("q").replace(exchange="ex").exchange == Exchange("ex")
    assert Queue("q", None).exchange == Exchange("")
    assert Binding("ex").exchange == Exchange("ex")


def test_an_exclusive_queue_is_deleted_with_its_consumer() -> None:
    assert Queue("q", exclusive=True).auto_delete is True


@pytest.mark.parametrize("given, kept", [("transient", 1), ("persistent", 2), (1, 1), (2, 2), (None, None)])
def test_delivery_modes_go_by_name_or_number(given: Any, kept: Any) -> None:
    assert Exchange("e", delivery_mode=given).delivery_mode == kept


@pytest.mark.parametrize("mode", ["durable", 0, 3])
def test_other_delivery_modes_are_refused(mode: Any) -> None:
    with pytest.raises(ValueError, match="delivery_mode"):
        Exchange("e", delivery_mode=mode)


def test_replace_refuses_what_is_no_field() -> None:
    with pytest.raises(TypeError, match=r"Queue has no field prority; it has .*max_priority"):
        Queue("q").replace(prority=1)


def test_a_broker_is_told_seconds_as_milliseconds_and_the_callers_own_arguments_first() -> None:
    queue = Queue("q", queue_arguments={"x-queue-type": "quorum"}, expires=1.5, message_ttl=300, max_length=7)
    told = {"x-queue-type": "quorum", "x-expires": 1500, "x-message-ttl": 300_000, "x-max-length": 7}
    assert queue.declared_arguments() == told
    assert list(queue.declared_arguments()) == list(told)


def test_the_remote_command_active_queues_answers_as_celery_does() -> None:
    vector = json.loads((VECTORS / "control_amqp_inspect_active_queues.json").read_text())
    expected = vector["returned_to_caller"]["w1@wirehost"]
    assert json.dumps([Queue("celery", Exchange("celery"), "celery").as_dict()]) == json.dumps(expected)


def test_bindings_are_shown_in_one_order() -> None:
    shown = EXAMPLES[4].as_dict()["bindings"]
    assert [each["routing_key"] for each in shown] == ["a", "b"]
    assert shown[0]["exchange"]["type"] == "topic"


def test_a_broadcast_queue_is_named_anew_and_found_by_its_alias() -> None:
    one, two = Broadcast("news"), Broadcast("news")
    assert one.name.startswith("bcast.") and one.name != two.name
    assert (one.alias, one.exchange, one.auto_delete) == ("news", Exchange("news", "fanout"), True)
    assert Broadcast("news", queue="mine").name == "mine"
    assert Broadcast("news", queue="mine", unique=True).name.startswith("mine.")


@pytest.mark.parametrize(
    "options, queue",
    [
        ({}, Queue("q")),
        ({"exchange": "e", "exchange_type": "topic", "binding_key": "a.#"}, Queue("q", Exchange("e", "topic"), "a.#")),
        ({"binding_key": None, "routing_key": "k"}, Queue("q", routing_key="k")),
        ({"exchange": MEDIA, "exchange_type": "direct"}, Queue("q", MEDIA)),
        ({"exchange": "e", "delivery_mode": "transient"}, Queue("q", Exchange("e", delivery_mode=1))),
        ({"queue_durable": False, "max_priority": 3}, Queue("q", durable=False, max_priority=3)),
        ({"durable": False, "queue_arguments": {"x": 1}}, Queue("q", durable=False, queue_arguments={"x": 1})),
        ({"exchange": "e", "exchange_durable": False}, Queue("q", Exchange("e", durable=False))),
    ],
)
def test_a_row_of_task_queues_becomes_a_queue(options: dict[str, Any], queue: Queue) -> None:
    assert Queue.from_dict("q", **options) == queue


@pytest.mark.parametrize("option", ["bindingkey", "exchange_kind"])
def test_a_row_of_task_queues_with_an_unknown_option_is_refused(option: str) -> None:
    with pytest.raises(TypeError, match="has no field"):
        Queue.from_dict("q", **{option: "x"})


def test_a_table_is_a_frozen_mapping() -> None:
    table = Table({"x": [1]})
    assert table == {"x": [1]} and table["x"] == [1] and repr(table) == "{'x': [1]}"
    assert hash(table) == hash(Table({"x": [1]}))
    with pytest.raises(TypeError):
        table["y"] = 1  # type: ignore[index]
