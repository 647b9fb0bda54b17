"""Waiting until the broker has a message."""

from __future__ import annotations

import asyncio

import pytest

from fastq import Celery
from fastq.app import confirm
from fastq.exceptions import ConnectionLost, OperationalError, Undeliverable
from fastq.wire.entity import Exchange, Queue


class Flushing:
    """Stands in for the broker's chance to fail: what each flush raises, and what it was asked."""

    def __init__(self, monkeypatch, app, *errors):
        self.errors, self.timeouts = list(errors), []

        def publish(transport, messages, timeout_s=None):
            assert tuple(messages) == ()
            self.timeouts.append(timeout_s)
            if self.errors:
                raise self.errors.pop(0)
            return 0

        monkeypatch.setattr(type(app.transport), "publish", publish)


def returned(*task_ids):
    error = Undeliverable("no queue")
    error.task_ids = task_ids
    return error


def test_a_message_in_an_embedded_broker_is_confirmed_at_once(app, add):
    result = add.delay(1)
    assert result.confirmed() is result
    assert add.delay(2).confirmed(timeout=0).id
    assert add.apply((1,)).confirmed().get() == 1


def test_the_flush_is_told_how_long_it_may_take(app, add, monkeypatch):
    result = add.delay(1)
    broker = Flushing(monkeypatch, app)
    result.confirmed()
    result.confirmed(5)
    assert broker.timeouts[0] is None
    assert 4 < broker.timeouts[1] <= 5


def test_a_message_that_is_not_stored_is_named(app, add, monkeypatch):
    result = add.delay(1)
    Flushing(monkeypatch, app, ConnectionLost("rabbit:5672 is gone"))
    with pytest.raises(OperationalError, match=f"task {result.id} is not confirmed.*rabbit:5672 is gone"):
        result.confirmed()
    assert result.confirmed() is result


def test_a_message_that_came_back_is_named_whoever_hears_of_it_first(app, add, monkeypatch):
    good, bad, other = add.delay(1), add.delay(2), add.delay(3)
    broker = Flushing(monkeypatch, app, returned(bad.id, "x"))
    assert good.confirmed() is good
    for _ in range(2):
        with pytest.raises(Undeliverable, match=f"task {bad.id} was not stored") as caught:
            bad.confirmed()
        assert caught.value.task_ids == (bad.id,)
    broker.errors = [returned(other.id)]
    with pytest.raises(Undeliverable, match=other.id):
        other.confirmed()


def test_an_error_that_comes_again_ends_the_wait(app, add, monkeypatch):
    result = add.delay(1)
    Flushing(monkeypatch, app, *(returned("x") for _ in range(3)))
    with pytest.raises(OperationalError, match=result.id):
        result.confirmed()


def test_a_message_that_came_back_unnamed_counts_as_ours(app, add, monkeypatch):
    result = add.delay(1)
    Flushing(monkeypatch, app, Undeliverable("no queue"))
    with pytest.raises(OperationalError, match=result.id):
        result.confirmed()


def test_those_that_came_back_are_kept_within_bounds(app, monkeypatch):
    monkeypatch.setattr(confirm, "_KEPT", 3)
    Flushing(monkeypatch, app, *(returned(str(number)) for number in range(5)))
    app.AsyncResult("asked").confirmed()
    assert list(app.returned) == ["2", "3", "4"]


def test_nothing_is_confirmed_inside_a_batch(app, add):
    with app.batch():
        result = add.delay(1)
        with pytest.raises(RuntimeError, match=f"{result.id} cannot be confirmed inside"):
            result.confirmed()
        with pytest.raises(RuntimeError, match="inside"):
            asyncio.run(result.aconfirmed())
    assert result.confirmed() is result


def test_an_event_loop_runs_while_a_message_is_confirmed(app, add, monkeypatch):
    async def main():
        result = await add.adelay(1)
        assert await result.aconfirmed(timeout=5) is result
        assert await (await add.adelay(2)).aconfirmed()

    asyncio.run(main())
    eager = add.apply((1,))
    assert asyncio.run(eager.aconfirmed()) is eager


# On RabbitMQ

@pytest.fixture
def rabbit_app(amqp_url):
    with Celery("shop", broker=amqp_url) as app:
        yield app


def test_a_message_on_rabbitmq_is_there_once_it_is_confirmed(rabbit_app, rabbitmq, amqp_url):
    result = rabbit_app.send_task("shop.add", (1, 2)).confirmed(timeout=20)
    assert result.id
    vhost = amqp_url.rpartition("/")[2]
    count = rabbitmq.eval(f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"celery">>)), '
                          "[{messages, N}] = rabbit_amqqueue:info(Q, [messages]), N")
    assert count == "1"


def test_a_message_that_no_queue_takes_is_named(rabbit_app):
    rabbit_app.conf.task_queues = [Queue("video", Exchange("media", type="topic"), routing_key="video.#")]
    lost = [rabbit_app.send_task("shop.add", exchange="media", exchange_type="topic", routing_key=f"nobody.{number}")
            for number in range(3)]
    good = rabbit_app.send_task("shop.add", exchange="media", exchange_type="topic", routing_key="video.add")
    assert good.confirmed(timeout=20) is good
    for result in lost:
        with pytest.raises(Undeliverable, match=result.id):
            result.confirmed(timeout=20)


def test_a_broker_that_takes_nothing_is_waited_for_as_long_as_told(rabbit_app, rabbitmq):
    rabbit_app.send_task("shop.add").confirmed(timeout=20)
    rabbitmq.alarm(True)
    result = rabbit_app.send_task("shop.add")
    with pytest.raises(OperationalError, match=f"task {result.id} is not confirmed"):
        result.confirmed(timeout=0.3)
    rabbitmq.alarm(False)
    assert result.confirmed(timeout=20) is result
