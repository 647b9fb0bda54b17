"""A queue that refuses what it is sent, for a moment or for good: a quorum queue without a leader, and a full one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fastq._ext import envelope
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.exceptions import Undeliverable
from fastq.transport import amqp_side
from fastq.transport.amqp import AmqpTransport
from fastq.types import Endings, Message
from fastq.wire.entity import Queue
from tests.deadline import wait_until
from tests.unit.transport.amqpkit import QUORUM, Desk, Open, content, known, names, publish, tags, take

REFUSED = "(basic.nack): its queue is full or failed"


class Leaderless:
    """The queue `quorum`, whose only server is stopped."""

    def __init__(self, ask: Callable[[str], str]) -> None:
        self._ask = ask
        self.is_stopped = False

    def stop(self) -> None:
        assert self._ask("ra:stop_server(quorum_queues, Id)") == "ok"
        self.is_stopped = True

    def restart(self) -> None:
        assert self._ask("ra:restart_server(quorum_queues, Id)") == "ok"
        self.is_stopped = False


@pytest.fixture
def leaderless(rabbitmq: RabbitMQ, amqp_url: str, desk: Desk) -> Iterator[Leaderless]:
    """A quorum queue that exists and takes nothing until it is restarted."""
    desk.do(amqp_side.queue("quorum", arguments=QUORUM.declared_arguments()))
    lookup = f'rabbit_amqqueue:lookup(rabbit_misc:r(<<"{amqp_url.rpartition("/")[2]}">>, queue, <<"quorum">>))'
    queue = Leaderless(lambda order: rabbitmq.eval(f"{{ok, Q}} = {lookup}, Id = amqqueue:get_pid(Q), {order}"))
    queue.stop()
    yield queue
    if queue.is_stopped:
        # Without a server it cannot be deleted.
        queue.restart()


@pytest.fixture
def restarts(leaderless: Leaderless, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """It has a leader again once it has refused something."""
    thread = threading.Thread(target=lambda: (wait_until(lambda: REFUSED in caplog.text), leaderless.restart()))
    thread.start()
    yield
    thread.join()


def test_what_a_queue_without_a_leader_refuses_is_stored_when_it_has_one(
    open_amqp: Open, restarts: None, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    transport = open_amqp(queue_of=known(QUORUM))
    for name in names(3):
        transport.publish_one("quorum", content(name), 7)
    publish(transport, names(1))
    transport.publish(())
    assert desk.ids("q") == names(1)
    found = [envelope.unpack(desk.get("quorum") or b"") for _ in range(3)]
    assert sorted((headers["id"], properties["priority"]) for properties, headers, _ in found) == [
        (name, 7) for name in names(3)]
    assert [record.levelname for record in caplog.records if REFUSED in record.message] == ["WARNING"]
    assert transport._publisher.pending == 0


def test_those_that_declare_a_quorum_queue_together_lose_nothing(open_amqp: Open, desk: Desk) -> None:
    queues = [Queue(f"new{n}", queue_arguments=QUORUM.queue_arguments) for n in range(4)]
    transports = [open_amqp(queue_of=known(*queues)) for _ in range(8)]
    for transport in transports:
        publish(transport, ["connected"])
        transport.publish(())
    gate = threading.Barrier(len(transports), timeout=20)

    def run(name: str, transport: AmqpTransport) -> None:
        for queue in queues:
            gate.wait()
            publish(transport, [name], queue.name)
            transport.publish(())

    threads = [threading.Thread(target=run, args=each) for each in zip(names(8), transports, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sorted(desk.ids(queue.name)) for queue in queues] == [names(8)] * 4


def test_a_program_that_ends_waits_until_its_messages_are_stored(open_amqp: Open, restarts: None, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(QUORUM))
    publish(transport, names(1), "quorum")
    transport.close()
    assert desk.ids("quorum") == names(1)


def test_others_are_sent_past_what_is_refused(open_amqp: Open, leaderless: Leaderless, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(QUORUM), publish_timeout_s=60)
    publish(transport, names(1), "quorum")
    wait_until(lambda: transport._publisher.poll() or transport._publisher._again)
    publish(transport, names(5))
    wait_until(lambda: desk.ready("q") == 5)
    assert transport._publisher.pending > 0
    assert transport._publisher.settled == 0
    leaderless.restart()
    transport.publish(())
    assert desk.ids("quorum") == names(1)


def test_what_is_refused_for_too_long_is_named_to_whoever_flushes(open_amqp: Open, leaderless: Leaderless) -> None:
    transport = open_amqp(queue_of=known(QUORUM), publish_timeout_s=1)
    publish(transport, names(2), "quorum")
    began = time.monotonic()
    with pytest.raises(Undeliverable, match=r"proj\.add\[0\].*'quorum'.*basic.nack") as caught:
        transport.publish(())
    assert time.monotonic() - began >= 0.9
    assert caught.value.task_ids == ("0", "1")
    assert transport._publisher.pending == 0


def test_whoever_flushes_for_a_moment_is_told_in_time(open_amqp: Open, leaderless: Leaderless) -> None:
    transport = open_amqp(queue_of=known(QUORUM), publish_timeout_s=60)
    publish(transport, names(1), "quorum")
    wait_until(lambda: transport._publisher.poll() or transport._publisher._again)
    began = time.monotonic()
    with pytest.raises(Undeliverable, match=r"proj\.add\[0\]"):
        transport.publish((), timeout_s=0.5)
    assert time.monotonic() - began < 10


def test_a_delivery_is_acked_only_when_what_leaves_with_it_has_found_a_leader(
    open_amqp: Open, leaderless: Leaderless, desk: Desk
) -> None:
    transport = open_amqp(queue_of=known(QUORUM), publish_timeout_s=60)
    transport.attach("w", ["q"])
    publish(transport, names(1))
    transport.publish(())
    rows = take(transport, 1)
    transport.turn(Endings(ack=tags(rows), publish=[Message("quorum", content("next"))]), 0)
    wait_until(lambda: transport.turn(Endings(), 0) or transport._publisher._again)
    assert 0 <= (transport._publisher.retry_in or 0) < 1
    consumer = transport._attached()
    assert consumer._at_gates == 1
    leaderless.restart()
    wait_until(lambda: transport.turn(Endings(), 0) or consumer._at_gates == 0)
    assert desk.ids("quorum") == ["next"]


def test_what_a_worker_sends_to_a_queue_that_stays_leaderless_is_a_dead_letter(
    open_amqp: Open, leaderless: Leaderless
) -> None:
    transport = open_amqp(queue_of=known(QUORUM), publish_timeout_s=0.5)
    publisher = transport._publisher
    number = publisher.offer(Message("quorum", content("next")))
    wait_until(lambda: publisher.poll() or publisher.settled >= number)
    assert [letter.queue for letter in transport.dead_letters()] == ["quorum"]


@pytest.mark.parametrize("limits", [{"x-max-length": 1}, {"x-max-length-bytes": 15}])
def test_a_queue_that_is_full_is_told_at_once(open_amqp: Open, limits: dict[str, int]) -> None:
    full = Queue("full", queue_arguments={**limits, "x-overflow": "reject-publish"})
    transport = open_amqp(queue_of=known(full), publish_timeout_s=60)
    publish(transport, names(1), "full")
    transport.publish(())
    publish(transport, ["one too many"], "full")
    began = time.monotonic()
    with pytest.raises(Undeliverable, match="one too many"):
        transport.publish(())
    assert time.monotonic() - began < 10
