"""Future messages: Celery's levels, our way out of them, and what would lose or hold up a message."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastq._ext import envelope
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.exceptions import BrokerRefused
from fastq.transport.amqp_dead import DEAD, letter_of
from fastq.transport.amqp_delay import DELIVERY, Delays, level_steps, way_to, without_deaths
from fastq.transport.amqp_future import LONGEST_S, routing_key
from fastq.transport.amqp_topology import Topology
from fastq.wire.entity import Binding, Exchange, Queue
from tests.deadline import wait_until
from tests.reference import recorded
from tests.unit.transport.amqpkit import Desk, as_recorded, content

QUORUM = {"x-queue-type": "quorum"}
TYPES = ("classic", "quorum")
# Each reads one quorum queue and moves its dead letters. Other tests keep such queues in virtual hosts of their own.
IDLE_WORKERS = """length([1 || {{_, Pid, _, _}} <- supervisor:which_children(rabbit_fifo_dlx_sup), is_pid(Pid),
    process_info(Pid, current_function) =:= {{current_function, {{gen_server, loop, 7}}}},
    element(2, element(2, sys:get_state(Pid))) =:= <<"{vhost}">>])"""
TOPIC = Queue("topicq", Exchange("tasks", "topic"), "video.*")


def direct(name: str, kind: str = "classic") -> Queue:
    return Queue(name, Exchange(name), name, queue_arguments={} if kind == "classic" else QUORUM)


def delays_of(*queues: Queue, levels: str = "classic") -> Delays:
    at = lambda exchange: [queue for queue in queues  # noqa: E731
                           if exchange in (queue.exchange.name, *(one.exchange.name for one in queue.bindings))]
    return Delays(Topology({queue.name: queue for queue in queues}.get), levels, queues_at=at)


def send(
    desk: Desk, delays: Delays, queue: str, delay_s: float, packed: bytes | None = None, exchange: str = ""
) -> None:
    """Publish a message whose id is the delay."""
    place = delays.route(desk.side, queue, packed or content(f"{delay_s:g}"), time.time() + delay_s, exchange)
    assert place is not None
    desk.publish(*place)


def receive(desk: Desk, queue: str) -> str:
    return str(desk.receive(queue)[1]["id"])


# -- as Celery does ---------------------------------------------------------------------------------------------------


def test_the_levels_are_those_of_celery() -> None:
    vector = recorded.load("topology_delayed_delivery")
    made = as_recorded(level_steps("quorum"))
    queues = {step["queue"]: step["arguments"] for method, step in made if method == "queue.declare"}
    assert queues == {each["name"]: each["arguments"] for each in vector["queues"] if "delayed" in each["name"]}
    exchanges = {step["exchange"]: step["type"] for method, step in made if method == "exchange.declare"}
    assert exchanges == {each["name"]: each["type"] for each in vector["exchanges"] if "delayed" in each["name"]}
    bindings = {(step.get("source", step.get("exchange")), step.get("destination", step.get("queue")),
                 method.partition(".")[0], step["routing_key"])
                for method, step in made if method.endswith("bind")}
    assert bindings == {
        (each["source"], each["destination"], each["destination_type"], each["routing_key"])
        for each in vector["bindings"] if each["source"].startswith("celery_delayed_") and each["source"] != DELIVERY}


def test_the_way_to_a_topic_queue_has_the_bindings_of_celery() -> None:
    vector = recorded.load("topology_delayed_delivery")["worker_declarations_in_order"]
    celery = [{name: value for name, value in each["args"].items() if name not in ("ticket", "arguments", "nowait")}
              for each in vector if each["args"].get("routing_key") == "#.celery"]
    queue = Queue("celery", Exchange("celery", "topic"), "celery", queue_arguments=QUORUM)
    made = [{name: value for name, value in step.items() if name not in ("arguments", "nowait")}
            for _, step in as_recorded(way_to(queue))]
    for each in celery:
        assert each in made


@pytest.mark.parametrize("levels", TYPES)
def test_a_task_of_a_celery_client_arrives(desk: Desk, levels: str) -> None:
    delays = delays_of(TOPIC, levels=levels)
    delays.topology.declare(desk.side, "topicq")
    delays.declare_levels(desk.side)
    delays.attach(desk.side, ["topicq"])
    desk.publish("celery_delayed_27", routing_key(1, "video.encode"), content("a"))
    assert receive(desk, "topicq") == "a"
    assert desk.returned == []


# -- time and place ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("levels", TYPES)
def test_messages_come_out_in_time_and_never_early(desk: Desk, levels: str, kind: str) -> None:
    delays = delays_of(direct("q", kind), levels=levels)
    delays.declare_levels(desk.side)
    start = time.time()
    for delay_s in (3, 0.3, 2, 1.5, 1):
        send(desk, delays, "q", delay_s)
    came: dict[str, float] = {}
    while len(came) < 5:
        name = receive(desk, "q")
        came[name] = time.time() - start
    late = {name: at - float(name) for name, at in came.items()}
    assert min(late.values()) >= 0
    assert max(late.values()) < 2.5, late


def test_what_is_due_is_published_at_once(desk: Desk) -> None:
    delays = delays_of(direct("q"))
    assert delays.route(desk.side, "q", content(), time.time()) is None
    assert delays.route(desk.side, "q", content(), 0.0) is None
    assert desk.ready(DEAD) is None, "nothing is made for what is not delayed"


@pytest.mark.parametrize(("delay_s", "entry"), [(1, 0), (2, 1), (3, 1), (64, 6), (127, 6), (LONGEST_S, 27)])
def test_a_message_enters_at_the_first_level_that_keeps_it(desk: Desk, delay_s: int, entry: int) -> None:
    place = delays_of(direct("q")).route(desk.side, "q", content("a"), 1000 + delay_s, now=1000)
    assert place is not None
    assert place[0] == f"celery_delayed_{entry}"
    desk.publish(*place)
    assert desk.ids(f"celery_delayed_{entry}") == ["a"]


def test_a_queue_gets_nothing_of_a_queue_whose_name_ends_like_its_own(desk: Desk) -> None:
    names = ("b", "a.b", "a%2Eb", "#", "*", "b@queue", "@fastq")
    delays = delays_of(*map(direct, names))
    for name in names:
        send(desk, delays, name, 1, content(name))
    for name in names:
        assert receive(desk, name) == name
    assert [desk.ids(name) for name in names] == [[]] * len(names)


def test_a_queue_with_any_exchange_gets_what_is_for_the_queue(desk: Desk) -> None:
    queues = (TOPIC, Queue("fan", Exchange("fan", "fanout")), Queue("none"), direct("direct"))
    delays = delays_of(*queues)
    for queue in queues:
        send(desk, delays, queue.name, 1, content(queue.name))
    assert [receive(desk, queue.name) for queue in queues] == [queue.name for queue in queues]
    assert [desk.ids(queue.name) for queue in queues] == [[]] * 4


def test_a_message_for_an_exchange_goes_where_the_exchange_sends_it(desk: Desk) -> None:
    tasks, fan = Exchange("tasks", "topic"), Exchange("fan", "fanout")
    queues = (TOPIC, Queue("all", tasks, "#"), Queue("audio", tasks, "audio.*"), Queue("fan1", fan),
              Queue("fan2", fan, "celery"))
    delays = delays_of(*queues)
    send(desk, delays, "video.encode", 1, content("v"), "tasks")
    send(desk, delays, "celery", 1, content("f"), "fan")
    for name in ("topicq", "all", "fan1", "fan2"):
        assert receive(desk, name) == ("v" if name in ("topicq", "all") else "f")
    assert [desk.ids(queue.name) for queue in queues] == [[]] * 5


def test_a_queue_that_takes_all_of_its_exchange_takes_no_copy_of_other_future_messages(desk: Desk) -> None:
    everything = Queue("all", Exchange("tasks", "topic"), "#", bindings=[Binding(Exchange("more", "topic"), "*")])
    delays = delays_of(everything, direct("q"))
    delays.topology.declare(desk.side, "all")
    delays.declare_levels(desk.side)
    delays.attach(desk.side, ["all"])
    send(desk, delays, "q", 1)
    send(desk, delays, "any.key", 1, content("x"), "tasks")
    assert receive(desk, "q") == "1"
    assert receive(desk, "all") == "x"
    assert desk.ids("all") == desk.ids("q") == []


def test_a_message_for_a_direct_exchange_reaches_the_queues_with_its_key(desk: Desk) -> None:
    queues = [Queue(name, Exchange("d"), key) for name, key in (("one", "k.1"), ("two", "k.1"), ("three", "k"))]
    delays = delays_of(*queues)
    send(desk, delays, "k.1", 1, content("x"), "d")
    assert receive(desk, "one") == receive(desk, "two") == "x"
    assert desk.ids("three") == []


# -- what would be lost -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", TYPES)
def test_a_message_that_was_delayed_before_can_be_delayed_again(desk: Desk, levels: str) -> None:
    delays = delays_of(direct("q"), levels=levels)
    packed = content("a", custom=1)
    for _ in range(2):
        send(desk, delays, "q", 1, packed)
        packed = wait_until(lambda: desk.get("q"), what="the message")
        assert envelope.unpack(packed)[1]["x-death"][0]["queue"] == "celery_delayed_0"
    assert without_deaths(packed) == envelope.pack(
        {"delivery_mode": 2, "correlation_id": "a"}, dict(sorted(envelope.unpack(content("a", custom=1))[1].items())),
        b"[[], {}, {}]")


def test_content_that_never_died_is_passed_on_as_it_is() -> None:
    packed = content("a", body=b"x-death")
    assert without_deaths(packed) is packed


@pytest.mark.parametrize("levels", TYPES)
def test_what_is_due_when_its_queue_is_gone_is_a_dead_letter_and_holds_up_nobody(desk: Desk, levels: str) -> None:
    delays = delays_of(direct("gone.q"), direct("q"), levels=levels)
    # Quorum queues have 32 messages under way at a time, and would try these again in three minutes.
    for n in range(40):
        send(desk, delays, "gone.q", 1, content(f"{n}"))
    desk.delete("gone.q")
    wait_until(lambda: desk.ready(DEAD) == 40, what="40 dead letters")
    send(desk, delays, "q", 1)
    assert receive(desk, "q") == "1"
    letter = letter_of(wait_until(lambda: desk.get(DEAD)))
    assert (letter.queue, letter.deaths) == ("gone.q", 0)
    assert "gone" in letter.reason
    assert abs(letter.died_at - time.time()) < 30


@pytest.mark.parametrize("levels", TYPES)
def test_future_messages_survive_the_death_of_the_broker(
    rabbitmq: RabbitMQ, amqp_url: str, open_desk: Callable[[], Desk], levels: str
) -> None:
    desk = open_desk()
    delays = delays_of(direct("q", levels), levels=levels)
    for delay_s in (64, 128):
        send(desk, delays, "q", delay_s)
    rabbitmq.write_names()
    rabbitmq.kill()
    rabbitmq.start()
    desk = open_desk()
    assert [receive(desk, f"celery_delayed_{level}") for level in (6, 7)] == ["64", "128"]
    if levels == "quorum":
        # To delete such queues while their workers begin kills the supervisor of all such workers, of every queue.
        idle = IDLE_WORKERS.format(vhost=amqp_url.rpartition("/")[2])
        wait_until(lambda: rabbitmq.eval(idle) == "28", what="28 workers of quorum queues that rest")


# -- making the levels ------------------------------------------------------------------------------------------------


def test_levels_of_another_type_are_used_as_they_are(
    open_desk: Callable[[], Desk], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastq")
    desk, other = open_desk(), open_desk()
    delays_of(levels="classic").declare_levels(other.side)
    send(desk, delays_of(direct("q"), levels="quorum"), "q", 1)
    assert receive(desk, "q") == "1"
    assert caplog.records == []


def test_half_made_levels_are_completed_with_one_line_in_the_log(
    open_desk: Callable[[], Desk], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastq")
    desk, other = open_desk(), open_desk()
    delays_of(levels="classic").declare_levels(other.side)
    other.delete("celery_delayed_3", "celery_delayed_0")
    send(desk, delays_of(direct("q"), levels="quorum"), "q", 1)
    assert receive(desk, "q") == "1"
    assert len(caplog.records) == 1
    assert "x-queue-type" in caplog.text


def test_levels_that_make_no_sense_to_the_broker_are_refused(desk: Desk) -> None:
    with pytest.raises(BrokerRefused) as caught:
        delays_of(levels="strange").declare_levels(desk.side)
    assert caught.value.code in (406, 540)


def test_levels_are_looked_for_once_a_connection(open_desk: Callable[[], Desk]) -> None:
    desk, other = open_desk(), open_desk()
    delays = delays_of(direct("q"))
    send(desk, delays, "q", 60)
    other.delete("celery_delayed_27")
    delays.declare_levels(desk.side)
    assert other.ready("celery_delayed_27") is None
    delays.declare_levels(other.side)
    assert other.ready("celery_delayed_27") == 0


def test_a_way_is_opened_again_after_its_queue_was_forgotten(open_desk: Callable[[], Desk]) -> None:
    desk = open_desk()
    delays = delays_of(direct("q"))
    send(desk, delays, "q", 60)
    open_desk().delete("q")
    delays.topology.forget(desk.side, "q")
    send(desk, delays, "q", 1)
    assert receive(desk, "q") == "1"


# -- a worker that attaches -------------------------------------------------------------------------------------------


def attached(desk: Desk, queue: Queue) -> Any:
    delays = delays_of(queue)
    delays.topology.declare(desk.side, queue.name)
    delays.attach(desk.side, [queue.name, "unknown"])
    return desk.ready("celery_delayed_27")


def test_a_worker_makes_levels_only_for_clients_of_celery_that_need_them(desk: Desk) -> None:
    assert attached(desk, direct("q")) is None
    assert attached(desk, direct("quorum", "quorum")) is None
    assert attached(desk, TOPIC) is None
    assert attached(desk, Queue("both", Exchange("tasks", "topic"), "b", queue_arguments=QUORUM)) == 0


def test_a_worker_opens_the_way_to_a_queue_that_was_made_anew(open_desk: Callable[[], Desk]) -> None:
    client, worker = open_desk(), open_desk()
    delays = delays_of(direct("q"))
    send(client, delays, "q", 2)
    worker.delete("q")
    assert attached(worker, direct("q")) == 0
    assert receive(worker, "q") == "2"
