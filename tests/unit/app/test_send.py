from __future__ import annotations

import time
import uuid
from datetime import date, datetime, timedelta, timezone
from traceback import format_exception

import pytest

from fastq import Fastq, current, signals
from fastq.app import send
from fastq.exceptions import BrokerFull, CeleryWarning, EncodeError, OperationalError, QueueNotFound
from fastq.request import Request
from fastq.transport.base import Caps
from fastq.types import Message
from fastq.wire.entity import Broadcast, Exchange, Queue
from tests.reference import recorded

NO_EMBED = b'{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'
MOMENT = datetime(2031, 2, 3, 4, 5, 6, 789012, tzinfo=timezone.utc)


def only(found):
    (one,) = found
    return one


# Against recorded messages, byte for byte

@pytest.fixture
def wire_app():
    # With events on, the reprs of the arguments are in the message, as Celery has them always.
    with Fastq("wire", broker=f"memory://{uuid.uuid4()}", task_send_sent_event=True) as app:
        for name in ("add", "mul", "echo", "errback"):
            app.task(name=f"wire.{name}", typing=False)(lambda *args, **kwargs: None)
        yield app


def sig(app, name, *args, **kwargs):
    return app.tasks[f"wire.{name}"].s(*args, **kwargs)


CASES = {
    "task_v2_json": ("wire.add", (2, 3), {}, lambda app: {}),
    "task_v2_json_kwargs": ("wire.echo", (1, "two"), {"k": "v", "n": None}, lambda app: {}),
    "task_v2_json_send_task": ("other.task", (1,), {"k": 2}, lambda app: {}),
    "task_v2_json_unicode": ("wire.echo", ("h\u00e9llo \u2603 \U0001f600",), {}, lambda app: {}),
    "task_v2_eta": ("wire.add", (2, 3), {}, lambda app: {"eta": MOMENT}),
    "task_v2_eta_naive": ("wire.add", (2, 3), {}, lambda app: {"eta": MOMENT.replace(tzinfo=None)}),
    "task_v2_eta_other_zone": ("wire.add", (2, 3), {}, lambda app: {
        "eta": MOMENT.astimezone(timezone(timedelta(hours=2)))}),
    "task_v2_headers": ("wire.add", (2, 3), {}, lambda app: {
        "headers": {"custom": "one", "nested": {"a": [1, None, 1.5, True, 2**40]}}}),
    "task_v2_priority_7": ("wire.add", (2, 3), {}, lambda app: {"priority": 7}),
    "task_v2_options": ("wire.add", (2, 3), {}, lambda app: {
        "time_limit": 30, "soft_time_limit": 20.5, "shadow": "shadow.name", "ignore_result": True, "retries": 2,
        "reply_to": "my-reply-queue", "group_id": "00000387-0000-4000-8000-000000000387", "group_index": 4,
        "replaced_task_nesting": 1, "argsrepr": "(***)", "kwargsrepr": "{***}", "origin": "me@there",
        "root_id": "00000385-0000-4000-8000-000000000385", "parent_id": "00000386-0000-4000-8000-000000000386"}),
    "task_v2_message_properties": ("wire.add", (2, 3), {}, lambda app: {
        "delivery_mode": 1, "message_id": "mid", "app_id": "aid", "type": "typ", "timestamp": 1700000000}),
    "task_v2_link": ("wire.add", (2, 3), {}, lambda app: {"link": sig(app, "mul", 10)}),
    "task_v2_link_error": ("wire.add", (2, 3), {}, lambda app: {"link_error": [sig(app, "errback")]}),
    "task_v2_links_many": ("wire.add", (2, 3), {}, lambda app: {
        "link": [sig(app, "mul", 10), sig(app, "echo", 1, k=2).set(immutable=True, queue="other", countdown=5)],
        "link_error": [sig(app, "errback"), None]}),
    "task_v2_stamped": ("wire.add", (2, 3), {}, lambda app: {
        "stamped_headers": ["trace_id", "owner"], "trace_id": "abc", "owner": ["x", "y"],
        "link": sig(app, "mul", 4).set(trace_id="abc", owner=["x", "y"], stamped_headers=["trace_id", "owner"])}),
    "task_v2_msgpack": ("wire.echo", (1, "two", b"\xff\x00", [3], {"four": 4}, None, 1.5), {"k": "v"}, lambda app: {
        "serializer": "msgpack"}),
    "task_v2_compressed_zlib": ("wire.echo", ("compress me " * 20,), {}, lambda app: {"compression": "zlib"}),
    "routing_explicit_queue": ("wire.add", (2, 3), {}, lambda app: {"queue": "new_queue"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_full_message_is_celerys_byte_for_byte(wire_app, case):
    name, args, kwargs, options_of = CASES[case]
    theirs = recorded.messages(case)[0]
    options = options_of(wire_app)
    if case == "task_v2_links_many":
        # The second errback was sent with options that only its own part of the recording tells.
        options["link_error"][1] = theirs.decoded[2]["errbacks"][1]
    options = {"task_id": theirs.headers["id"], "origin": theirs.headers["origin"],
               "reply_to": theirs.properties["reply_to"], **options}
    task = wire_app.tasks.get(name)
    out = send.compose(wire_app, task, name, args, kwargs, options)
    message = out.encode(Caps())
    assert message.content == theirs.content


ROUTING = {
    "routing_topic": ("wire.mul", {}, "topicq"),
    "routing_explicit_queue": ("wire.add", {"queue": "new_queue"}, "new_queue"),
    "routing_exchange_and_key": (
        "wire.add", {"exchange": "tasks.topic", "routing_key": "video.x", "exchange_type": "topic"}, "celery"),
    "routing_broadcast": ("wire.add", {"queue": "bcast_tasks"}, "bcast.1"),
    "routing_priority_queue": ("wire.add", {"queue": "prioq", "priority": 3}, "prioq"),
}


@pytest.mark.parametrize("case", ROUTING)
def test_a_message_goes_where_celery_sends_it(wire_app, case):
    wire_app.conf.update(
        task_queues=[
            Queue("celery", Exchange("celery"), routing_key="celery"),
            Queue("topicq", Exchange("tasks.topic", type="topic"), routing_key="video.#"),
            Queue("prioq", Exchange("prioq"), routing_key="prioq", max_priority=10),
            Broadcast("bcast_tasks", queue="bcast.1"),
        ],
        task_routes={"wire.mul": {"queue": "topicq", "routing_key": "video.mul"}})
    name, options, queue = ROUTING[case]
    theirs = recorded.load(case)["amqp"]["messages"][0]["args"]
    out = send.compose(wire_app, wire_app.tasks[name], name, (2, 3), {}, options)
    message = out.encode(Caps(routes=True))
    assert (message.exchange, message.queue) == (theirs["exchange"], theirs["routing_key"])
    embedded = out.encode(Caps())
    assert (embedded.exchange, embedded.queue) == ("", queue)


def test_an_exchange_may_say_that_its_messages_are_not_for_the_disk(app, add):
    quick = Queue("quick", Exchange("quick", delivery_mode="transient"), "quick")
    for options, mode in (({}, 1), ({"delivery_mode": 2}, 2), ({"delivery_mode": "persistent"}, 2)):
        out = send.compose(app, add, add.name, (1,), {}, {"queue": quick, **options})
        assert out.properties["delivery_mode"] == mode


def test_a_plain_call_takes_the_route_of_its_task_through_an_exchange(app, add, monkeypatch):
    made = []
    monkeypatch.setattr(type(app.transport), "publish_one", lambda self, *message: made.append(Message(*message)))
    monkeypatch.setattr(type(app.transport), "publish", lambda self, messages, timeout_s=None: made.extend(messages))
    monkeypatch.setattr(type(app.transport), "caps", Caps(routes=True))
    app.conf.task_queues = [Queue("video", Exchange("media", type="topic"), routing_key="video.#")]
    app.conf.task_routes = {add.name: {"queue": "video", "routing_key": "video.add"}}
    add.delay(1)
    add.apply_async((1,))
    add.map_delay([1])
    with app.batch():
        add.delay(1)
    assert [(message.exchange, message.queue) for message in made] == [("media", "video.add")] * 4


def test_a_lean_message_says_only_what_is_not_implied(app, add, sent):
    add.delay(2, 3)
    add.apply_async((2,), {"y": 3}, priority=0, retries=0, ignore_result=False, time_limit=None)
    for content in sent():
        assert content.properties == {"content_type": "application/json", "content_encoding": "utf-8"}
        assert set(content.headers) == {"task", "id"}
        assert content.body in (b"[[2, 3], {}, " + NO_EMBED + b"]", b'[[2], {"y": 3}, ' + NO_EMBED + b"]")


def test_both_ways_of_sending_make_the_same_message(app, add, monkeypatch):
    made = []
    monkeypatch.setattr(type(app.transport), "publish_one", lambda self, *message: made.append(Message(*message)))
    add.name = "shop.add"
    add.priority = 4
    add.time_limit = 9
    plain = add.delay(2, y=3)
    slow = add.apply_async((2,), {"y": 3})
    assert made[0].content.replace(plain.id.encode(), slow.id.encode()) == made[1].content
    assert made[0][::2] == made[1][::2] == ("celery", 4, "")


# Options

def test_a_countdown_becomes_an_eta_and_a_time_to_run_at(app, add):
    before = time.time()
    out = send.compose(app, add, add.name, (1,), {}, {"countdown": 60, "eta": MOMENT})
    assert before + 60 <= out.run_at <= time.time() + 60
    assert datetime.fromisoformat(out.headers["eta"]).timestamp() == pytest.approx(out.run_at)
    assert out.headers["eta"].endswith("+00:00")


@pytest.mark.parametrize("eta", [
    MOMENT, MOMENT.isoformat(), MOMENT.replace(tzinfo=None), MOMENT.replace(tzinfo=None).isoformat() + "Z",
])
def test_an_eta_is_read_in_every_form_and_utc_without_an_offset(app, add, eta):
    out = send.compose(app, add, add.name, (1,), {}, {"eta": eta})
    assert out.run_at == MOMENT.timestamp()


def test_a_future_task_waits_in_the_broker(app, add, sent):
    add.apply_async((1,), countdown=3600)
    add.apply_async((2,), countdown=-3600)
    assert [content.body[:4] for content in sent()] == [b"[[2]"]
    assert app.transport.queues()["celery"].future == 1


@pytest.mark.parametrize("expires", [90, timedelta(seconds=90), "text"])
def test_expires_becomes_a_header_and_a_property_in_milliseconds(app, add, expires):
    if isinstance(expires, timedelta):
        expires = datetime.now(timezone.utc) + expires
    elif expires == "text":
        expires = (datetime.now(timezone.utc) + timedelta(seconds=90)).isoformat()
    out = send.compose(app, add, add.name, (1,), {}, {"expires": expires})
    assert datetime.fromisoformat(out.headers["expires"]).timestamp() == pytest.approx(time.time() + 90, abs=5)
    assert 85_000 < int(out.properties["expiration"]) <= 90_000


def test_expiration_is_for_the_broker_alone_and_in_seconds(app, add):
    out = send.compose(app, add, add.name, (1,), {}, {"expiration": 1.5, "expires": 90})
    assert out.properties["expiration"] == "1500"
    for wrong in (-1, "soon", True, 2**32):
        with pytest.raises(ValueError, match="expiration is the seconds that the broker keeps the message"):
            send.compose(app, add, add.name, (1,), {}, {"expiration": wrong})


def test_a_task_that_has_expired_already_is_warned_of(app, add, caplog):
    out = send.compose(app, add, add.name, (1,), {}, {"expires": -5})
    assert out.properties["expiration"] == "0"
    assert "expired 5.0 s before" in caplog.text


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"countdown": -2**31 - 1}, ValueError, "countdown is out of range"),
    ({"countdown": 1e18}, ValueError, "countdown is out of range"),
    ({"expires": -2**31 - 1}, ValueError, "expires is out of range"),
    ({"expires": "soon"}, ValueError, "expires is no ISO 8601 text: 'soon'"),
    ({"eta": 5}, TypeError, "eta is a datetime or ISO 8601 text, not int"),
    ({"eta": date(2031, 1, 1)}, TypeError, "not date"),
    ({"time_limit": 5, "soft_time_limit": 6}, ValueError, r"soft_time_limit \(6\) must be less"),
    ({"link": "proj.add"}, TypeError, r"a link is a signature, such as task.s\(\), not str"),
])
def test_wrong_options_are_refused_before_anything_is_sent(app, add, sent, options, error, words):
    with pytest.raises(error, match=words):
        add.apply_async((1,), **options)
    assert sent() == []


def test_arguments_of_the_wrong_kind_are_refused(app):
    with pytest.raises(TypeError, match="a list or tuple, not int"):
        app.send_task("t", 5)
    with pytest.raises(TypeError, match="a mapping, not list"):
        app.send_task("t", (), [1])


def test_a_value_that_cannot_be_encoded_is_named(app, add, sent):
    with pytest.raises(EncodeError, match="object"):
        add.delay(object())
    assert sent() == []


def test_a_value_for_the_slow_encoder_goes_there(app, add, sent):
    add.delay(MOMENT)
    assert b'"__type__": "datetime"' in only(sent()).body


def test_tasks_know_how_they_are_sent(app, sent):
    @app.task(queue="video", priority=3, serializer="msgpack", expires=60)
    def task():
        pass

    task.delay()
    task.apply_async(priority=7, expires=None)
    high, low = sent("video")
    assert (high.properties["priority"], low.properties["priority"]) == (7, 3)
    assert low.properties["content_type"] == "application/x-msgpack"
    assert ("expires" in low.headers, "expires" in high.headers) == (True, False)


def test_send_task_uses_the_options_of_a_task_it_knows(app, sent):
    @app.task(name="t", queue="video", ignore_result=True)
    def task():
        pass

    assert app.send_task("t").ignored is True
    assert only(sent("video")).headers["task"] == "t"


def test_routes_decide_where_a_call_has_no_queue_of_its_own(app, add, sent):
    app.conf.task_routes = {"*.add": {"queue": "math", "priority": 2}}
    add.delay(1)
    add.apply_async((1,), queue="other")
    assert only(sent("math")).properties["priority"] == 2
    assert only(sent("other"))


def test_a_route_that_changes_is_followed(app, add, sent):
    add.delay(1)
    app.conf.task_default_queue = "later"
    add.delay(2)
    assert only(sent()).body.startswith(b"[[1]")
    assert only(sent("later")).body.startswith(b"[[2]")


def test_a_router_may_look_at_the_arguments(app, add, sent):
    def router(name, args, kwargs, options, task=None, **_):
        return "even" if args[0] % 2 == 0 else None

    app.conf.task_routes = (router,)
    add.delay(1)
    add.delay(2)
    assert only(sent()).body.startswith(b"[[1]")
    assert only(sent("even")).body.startswith(b"[[2]")


def test_a_queue_that_may_not_be_made_is_not_found(app, add):
    app.conf.task_create_missing_queues = False
    with pytest.raises(QueueNotFound, match="vidoe"):
        add.apply_async((1,), queue="vidoe")


# Families

def test_what_a_running_task_sends_descends_from_it(app, add, sent):
    running = Request(id="child", root_id="root", task=add.name, called_directly=False)
    current.running = lambda task: running
    first = add.delay(1)
    second = add.apply_async((2,), add_to_parent=False)
    third = app.send_task("other")
    for content in sent():
        assert (content.headers["root_id"], content.headers["parent_id"]) == ("root", "child")
    assert running.children == [first, third]
    assert second not in running.children


def test_a_task_without_a_trail_remembers_no_children(app, add):
    add.trail = False
    running = Request(id="1", task=add.name, called_directly=False)
    current.running = lambda task: running
    add.delay(1)
    assert running.children == []


def test_a_task_called_like_a_function_is_nobodys_parent(app, add, sent):
    @app.task
    def outer():
        add.delay(1)

    outer()
    assert "parent_id" not in only(sent()).headers


def test_children_may_inherit_the_priority(app, add, sent):
    app.conf.task_inherit_parent_priority = True
    current.running = lambda task: Request(id="1", called_directly=False, delivery_info={"priority": 6})
    add.delay(1)
    add.apply_async((2,), priority=1)
    assert [content.properties["priority"] for content in sent()] == [6, 1]


# Signals

def test_receivers_see_the_message_and_may_change_it(app, add, sent):
    seen = []

    def before(sender, body, exchange, routing_key, headers, properties, declare, retry_policy, **_):
        seen.append((sender, body[0], exchange, routing_key, headers["retries"]))
        headers["trace"] = "abc"
        properties["app_id"] = "web"

    def after(sender, headers, **_):
        seen.append((sender, headers["trace"]))

    add.delay(0)
    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    add.delay(1, 2)
    assert seen == [(add.name, (1, 2), "", "celery", 0), (add.name, "abc")]
    content = sent()[1]
    assert (content.headers["trace"], content.properties["app_id"]) == ("abc", "web")


# Failures

class Failing:
    """Stands in for the broker's chance to fail: raises the given errors, then stores."""

    def __init__(self, monkeypatch, app, *errors):
        self.errors, self.tries, self.pauses = list(errors), 0, []
        store = type(app.transport).publish_one

        def publish_one(transport, *message):
            self.tries += 1
            if self.errors:
                raise self.errors.pop(0)
            store(transport, *message)

        monkeypatch.setattr(type(app.transport), "publish_one", publish_one)
        monkeypatch.setattr(time, "sleep", self.pauses.append)


@pytest.mark.parametrize("way", ["delay", "apply_async"])
def test_storing_is_tried_again_as_the_policy_says(app, add, sent, monkeypatch, way):
    broker = Failing(monkeypatch, app, OperationalError("1"), OperationalError("2"))
    add.delay(1) if way == "delay" else add.apply_async((1,))
    assert (broker.tries, broker.pauses) == (3, [0, 0.2])
    assert only(sent())


def test_the_last_error_is_raised_when_no_try_is_left(app, add, monkeypatch):
    broker = Failing(monkeypatch, app, *(OperationalError(str(number)) for number in range(9)))
    with pytest.raises(OperationalError, match="3"):
        add.delay(1)
    assert broker.tries == 4


def test_retrying_can_be_turned_off_and_shaped_per_call(app, add, monkeypatch):
    broker = Failing(monkeypatch, app, OperationalError("1"), OperationalError("2"), OperationalError("3"))
    with pytest.raises(OperationalError, match="1"):
        add.apply_async((1,), retry=False)
    told = []
    policy = {"max_retries": 5, "interval_start": 2, "interval_step": 3, "interval_max": 4,
              "errback": lambda error, pause: told.append((str(error), pause))}
    add.apply_async((1,), retry_policy=policy)
    assert told == [("2", 2), ("3", 4)]
    assert broker.pauses == [2, 4]


def test_a_full_disk_is_told_at_once(app, add, monkeypatch):
    broker = Failing(monkeypatch, app, BrokerFull("no room"))
    with pytest.raises(BrokerFull):
        add.delay(1)
    assert broker.tries == 1


def test_only_the_errors_the_policy_names_are_retried(app, add, monkeypatch):
    broker = Failing(monkeypatch, app, OperationalError("1"))
    with pytest.raises(OperationalError):
        add.apply_async((1,), retry_policy={"retry_errors": (KeyError,)})
    assert broker.tries == 1


# Bulk

def test_a_batch_is_stored_when_its_block_ends(app, add, sent):
    with app.batch():
        add.delay(1)
        add.apply_async((2,), queue="celery")
        app.send_task("other")
        assert sent() == []
    assert len(sent()) == 3


def test_a_batch_whose_block_raises_is_dropped(app, add, sent):
    with pytest.raises(KeyError), app.batch():
        add.delay(1)
        raise KeyError
    add.delay(2)
    assert only(sent()).body.startswith(b"[[2]")


def test_a_batch_of_another_app_is_left_alone(app, add, sent):
    other = Fastq("other", broker=f"memory://{uuid.uuid4()}", set_as_current=False)
    with other.batch():
        add.delay(1)
        assert only(sent())


def test_a_large_batch_is_stored_in_parts(app, add):
    with app.batch():
        for number in range(10_001):
            add.delay(number)
        assert app.transport.queues()["celery"].ready == 10_000
    assert app.transport.queues()["celery"].ready == 10_001


def test_a_task_can_be_sent_for_each_of_many_items(app, add, sent):
    singles = add.map_delay(range(3))
    pairs = add.starmap_delay([(1, 2), [3, 4]])
    contents = sent()
    assert [content.headers["id"] for content in contents] == [result.id for result in (*singles, *pairs)]
    assert [content.body[:7] for content in contents[3:]] == [b"[[1, 2]", b"[[3, 4]"]


def test_a_worker_gets_the_message_that_sending_would_store(app, add, sent):
    message = app.message_of(add.s(1, 2).set(task_id="x", countdown=60, priority=4, queue="other"))
    assert (message.queue, message.priority) == ("other", 4)
    assert message.run_at == pytest.approx(time.time() + 60, abs=5)
    assert sent("other") == []


def test_a_forked_child_does_not_store_its_parents_batch(app, add):
    with app.batch():
        add.delay(1)
        app.after_fork()  # as it runs in a forked child
        add.delay(2)
    assert app.transport.queues()["celery"].ready == 1


def test_sending_finalizes_the_app_so_that_annotations_count(app, sent):
    @app.task
    def task():
        pass

    app.conf.task_annotations = {"*": {"priority": 5}}
    task.delay()
    assert only(sent()).properties["priority"] == 5


def test_send_task_is_not_eager_and_says_so(app, add, sent):
    app.conf.task_always_eager = True
    with pytest.warns(CeleryWarning, match="no effect"):
        app.send_task(add.name, (1,))
    assert only(sent())


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"])
@pytest.mark.parametrize("options", [{}, {"queue": "other"}, {"retry": False}], ids=["plain", "options", "once"])
def test_a_broker_that_is_away_is_told_of_in_a_line_not_in_a_page(url, options):
    app = Fastq("away", broker=url, task_publish_retry_policy={"max_retries": 1, "interval_start": 0})
    away = app.task(name="away")(lambda: None)
    with pytest.raises(OperationalError, match=r"cannot reach .*127\.0\.0\.1:1") as caught:
        away.apply_async(**options) if options else away.delay()
    assert len(caught.traceback) <= 8
    assert "The above exception" not in "".join(format_exception(caught.value))
    app.close()
