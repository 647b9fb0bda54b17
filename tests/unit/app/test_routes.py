"""Routing against the messages that Celery sent, and in every form that task_routes may take."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fastq._ext.route import Patterns
from fastq.app.routes import Destination, QueueRules, Queues, Router, prepare
from fastq.exceptions import ConfigError, QueueNotFound
from fastq.wire.entity import Broadcast, Exchange, Queue

VECTORS = Path(__file__).parents[2] / "vectors"

# The settings of the recorded client.
QUEUES = [
    Queue("celery", Exchange("celery"), routing_key="celery"),
    Queue("topicq", Exchange("tasks.topic", type="topic"), routing_key="video.#"),
    Queue("prioq", Exchange("prioq"), routing_key="prioq", max_priority=10),
    Queue("prioq2", Exchange("prioq2"), routing_key="prioq2", queue_arguments={"x-max-priority": 10}),
    Broadcast("bcast_tasks"),
]
ROUTES = {"wire.mul": {"queue": "topicq", "routing_key": "video.mul"}}
BY_KEY = {"exchange": "tasks.topic", "routing_key": "video.x", "exchange_type": "topic"}


@pytest.mark.parametrize(
    "case, task, own",
    [
        ("routing_broadcast", "wire.add", {"queue": "bcast_tasks"}),
        ("routing_exchange_and_key", "wire.add", BY_KEY),
        ("routing_explicit_queue", "wire.add", {"queue": "new_queue"}),
        ("routing_priority_queue", "wire.add", {"queue": "prioq", "priority": 3}),
        ("routing_topic", "wire.mul", {}),
    ],
)
def test_recorded_calls_lead_where_celery_sent_them(case: str, task: str, own: dict[str, Any]) -> None:
    recorded = json.loads((VECTORS / f"{case}.json").read_text())["amqp"]
    message = recorded["messages"][0]
    router = Router(Queues(QUEUES), ROUTES)
    # A task's call always has these two, None when nobody set them.
    options = router.route({"priority": None, "serializer": None, **own}, task, (2, 3), {})
    destination = router.destination(options)
    assert destination.exchange == message["args"]["exchange"]
    assert destination.routing_key == message["args"]["routing_key"]
    # kombu's publish has priority=0 as its default: only a None that is passed leaves the property out.
    assert options.get("priority", 0) == message["properties"].get("priority")
    declared = {each["method"]: each["args"] for each in recorded["declarations"]}
    assert destination.is_declared == ("queue.declare" in declared)
    queue = destination.queue
    assert queue is not None
    assert declared["exchange.declare"]["exchange"] == queue.exchange.name
    assert declared["exchange.declare"]["type"] == queue.exchange.type
    if destination.is_declared:
        assert declared["queue.declare"]["queue"] == queue.name
        assert [[name, value] for name, _, value in declared["queue.declare"]["arguments"]] == [
            list(item) for item in queue.declared_arguments().items()
        ]
        assert declared["queue.bind"]["routing_key"] == queue.routing_key


def router(routes: Any = None, resolve: Any = None, **rules: Any) -> Router:
    return Router(Queues(rules=QueueRules(**rules)), routes, resolve)


def queue_of(routes: Any, name: str, resolve: Any = None) -> str:
    queue: Queue = router(routes, resolve).route({}, name)["queue"]
    return queue.name


class ByMethod:
    def route_for_task(self, name: str, args: Any = None, kwargs: Any = None) -> Any:
        return {"queue": "method"} if name == "m" else None


class Answering:
    """A router that keeps what it was asked."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def __repr__(self) -> str:
        return f"Answering({self.answer!r})"

    def __call__(self, name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
        self.asked.append((name, args, kwargs, options, task))
        return self.answer


@pytest.mark.parametrize(
    "routes",
    [
        {"m": "method"},
        {"m": {"queue": "method"}},
        {"m": Queue("method")},
        {"m*": "method", "*": "other"},
        {"?": "method"},
        {"[lm]": "method"},
        {re.compile("m"): "method"},
        [{"x": "other"}, {"m": "method"}],
        [("x*", "other"), ("m", {"queue": "method"})],
        (("x", "other"), ("m", "method")),
        [[("x", "other"), ("m", "method")]],
        ([("m*", {"queue": "method"}), ("x", {"queue": "other"})],),
        [{"x": "other"}, ("m", "method"), Answering("other")],
        [Answering(None), ("m", "method")],
        Answering("method"),
        lambda name, args, kwargs, options, task=None, **kw: {"queue": "method"},
        ByMethod,
        ByMethod(),
        [ByMethod, {"m": "other"}],
        "proj.by_method",
        ["proj.by_method"],
        ["proj.nobody", "proj.instance"],
    ],
    ids=repr,
)
def test_task_routes_take_every_form(routes: Any) -> None:
    paths = {"proj.by_method": ByMethod, "proj.instance": ByMethod(), "proj.nobody": Answering(None)}
    assert queue_of(routes, "m", paths.__getitem__) == "method"


@pytest.mark.parametrize(
    "routes", [None, {}, [], (), {"x": "other"}, [Answering(None)], [Answering({}), {"m": "other"}]], ids=repr
)
def test_a_task_without_a_route_goes_to_the_default_queue(routes: Any) -> None:
    assert queue_of(routes, "m") == "celery"


def test_the_first_router_that_answers_wins() -> None:
    last = Answering("last")
    routes = [Answering(None), {"a": "first"}, last]
    assert queue_of(routes, "a") == "first"
    assert last.asked == []
    assert queue_of(routes, "b") == "last"


def test_a_router_is_asked_with_the_whole_call() -> None:
    asked = Answering("q")
    router(asked).route({"priority": 3}, "name", (1,), {"k": 2}, task="the task")
    assert asked.asked == [("name", (1,), {"k": 2}, {"priority": 3}, "the task")]
    router(asked).route({}, "name")
    assert asked.asked[1] == ("name", (), {}, {}, None)


def test_options_of_the_call_win_over_the_route_but_none_does_not() -> None:
    routes = {"a": {"queue": "video", "priority": 7, "routing_key": "k", "expires": 9}}
    options = router(routes).route({"priority": 0, "routing_key": None, "queue": "urgent", "shadow": None}, "a")
    urgent = Queue("urgent", Exchange("urgent"), "urgent")
    assert options == {"queue": urgent, "priority": 0, "routing_key": "k", "expires": 9}


def test_a_call_that_names_its_queue_and_has_no_route_keeps_its_none_values() -> None:
    assert router().route({"queue": "q", "priority": None}, "a") == {"queue": router().queues["q"], "priority": None}
    assert router().route({"queue": None, "priority": None}, "a") == {"queue": router().queues["celery"]}


def test_routing_changes_neither_the_options_nor_the_route() -> None:
    routes = {"a": {"queue": "video", "priority": 7}}
    options = {"queue": "urgent", "shadow": "x"}
    chosen = router(routes)
    chosen.route(options, "a")["priority"] = 1
    assert (routes, options) == ({"a": {"queue": "video", "priority": 7}}, {"queue": "urgent", "shadow": "x"})
    assert chosen.route({}, "a")["priority"] == 7


def test_a_route_is_static_unless_a_callable_comes_first() -> None:
    chosen = router([{"a": "video"}, Answering("q"), {"b": "audio"}])
    assert chosen.static("a") == {"queue": chosen.queues["video"]}
    assert chosen.static("a") is chosen.static("a")
    assert chosen.static("b") is None
    assert router({"a": "video"}).static("z") == {"queue": router().queues.default}


def test_a_flush_lets_static_routes_see_changed_queues() -> None:
    chosen = router({"a": "video"})
    before = chosen.route({}, "a")["queue"]
    chosen.queues.add("video", exchange="other", routing_key="k")
    assert chosen.route({}, "a")["queue"] is before
    chosen.flush()
    assert chosen.route({}, "a")["queue"].routing_key == "k"


def test_a_route_to_an_unknown_queue_fails_where_queues_may_not_be_made() -> None:
    chosen = Router(Queues([Queue("video")], QueueRules(create_missing_queues=False)), {"a": "vidoe"})
    for _ in range(2):
        with pytest.raises(QueueNotFound, match="did you mean 'video'"):
            chosen.route({}, "a")
    with pytest.raises(QueueNotFound):
        chosen.route({}, "no route, and no default queue either")
    assert chosen.route({"queue": "video"}, "b")["queue"].name == "video"


@pytest.mark.parametrize("answer", [3, ["q"], b"q"])
def test_an_answer_that_is_no_route_is_refused(answer: Any) -> None:
    with pytest.raises(ConfigError, match="a route is"):
        router(Answering(answer)).route({}, "a")


@pytest.mark.parametrize("routes", [3, [3], {3: "q"}, {"a": 3}, {"a": None}, [[("a", "b", "c")]], [object()]])
def test_task_routes_of_another_shape_are_refused_at_once(routes: Any) -> None:
    with pytest.raises(ConfigError):
        prepare(routes)


def test_a_dotted_path_is_resolved_at_the_first_question_and_once() -> None:
    resolved: list[str] = []

    def resolve(path: str) -> Any:
        resolved.append(path)
        return Answering("q")

    chosen = router("proj.router", resolve)
    assert resolved == []
    chosen.route({}, "a")
    chosen.route({}, "b")
    assert resolved == ["proj.router"]


def test_a_dotted_path_needs_a_resolver_and_something_that_routes() -> None:
    with pytest.raises(ConfigError, match=r"'proj\.router' is a dotted path"):
        prepare("proj.router")
    with pytest.raises(ConfigError, match=r"proj\.router is a int"):
        router("proj.router", lambda path: 3).route({}, "a")


def test_pairs_among_the_routers_keep_their_place() -> None:
    kinds = [type(each) is Patterns for each in prepare([("a", "q"), ("b", "q"), Answering(), ("c", "q"), {"d": "q"}])]
    assert kinds == [True, False, True, True]


TOPIC = Queue("t", Exchange("media", "topic"), "video.#")
DIRECT = Queue("d", Exchange("ex"), "key")


@pytest.mark.parametrize(
    "options, destination",
    [
        ({"queue": DIRECT}, Destination(DIRECT, "", "d", "direct")),
        ({"queue": DIRECT, "routing_key": "k"}, Destination(DIRECT, "", "d", "direct")),
        ({"queue": DIRECT, "exchange": "e"}, Destination(DIRECT, "", "d", "direct")),
        ({"queue": DIRECT, "exchange": "e", "routing_key": "k"}, Destination(DIRECT, "e", "k", "direct")),
        ({"queue": TOPIC}, Destination(TOPIC, "media", "video.#", "topic")),
        ({"queue": TOPIC, "routing_key": "video.x"}, Destination(TOPIC, "media", "video.x", "topic")),
        ({"queue": DIRECT, "exchange": Exchange("e", "fanout")}, Destination(DIRECT, "e", "key", "fanout")),
        ({"exchange": "e", "routing_key": "k"}, Destination(None, "e", "k", "direct")),
        ({"exchange": "e", "exchange_type": "fanout"}, Destination(None, "e", "", "fanout")),
        ({"queue": "d"}, Destination(DIRECT, "", "d", "direct")),
    ],
)
def test_options_lead_to_a_destination(options: dict[str, Any], destination: Destination) -> None:
    assert Router(Queues([DIRECT, TOPIC])).destination(options) == destination


def test_options_that_name_nothing_lead_to_the_default_queue() -> None:
    assert router().destination({"priority": 3})[1:3] == ("", "celery")
