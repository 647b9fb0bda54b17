"""A look at the broker by an app: is it there, and how much waits?"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from fastq import Celery
from fastq.exceptions import OperationalError, QueueNotFound
from tests.conformance.engine import Engine


@pytest.fixture
def app(engine: Engine, address: str) -> Iterator[Celery]:
    made = Celery("proj", broker=address, set_as_current=False,
                  broker_transport_options={"delayed_queue_type": "classic"} if engine.server == "rabbitmq" else {})
    yield made
    made.close()


@pytest.mark.parametrize("kind", ["connection", "connection_for_read", "connection_for_write", "broker_connection"])
def test_it_answers_and_tells_how_much_waits(app: Celery, address: str, kind: str) -> None:
    @app.task(name="proj.add")
    def add() -> None: ...

    with getattr(app, kind)() as connection:
        assert not connection.connected
        assert connection.ensure_connection(max_retries=1) is connection and connection.connected
        with app.batch():
            for _ in range(3):
                add.delay()
        app.transport.publish(())
        channel = connection.default_channel
        assert channel.queue_declare("celery", passive=True).message_count == 3
        with pytest.raises(QueueNotFound, match="nowhere"):
            channel.queue_declare("nowhere", passive=True)
        assert channel.queue_declare("nowhere").message_count == 0
        assert channel.queue_purge("celery") == 3
    assert not connection.connected
    assert connection.info()["transport"] in address


def test_one_that_is_given_is_used(app: Celery) -> None:
    with app.connection_or_acquire() as first:
        with app.connection_or_acquire(first) as same:
            assert same is first
        with first.clone() as other:
            assert other is not first and other.ensure_connection().connected and not first.connected


def test_a_broker_that_is_away_is_tried_again_and_then_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"redis://user:secret@127.0.0.1:{taken.getsockname()[1]}/0"
        app = Celery("proj", broker=url, set_as_current=False)
        heard: list[float] = []
        with app.connection() as connection:
            assert "secret" not in connection.as_uri() and "secret" in connection.as_uri(include_password=True)
            with pytest.raises(OperationalError):
                connection.ensure_connection(lambda error, pause_s: heard.append(pause_s), max_retries=2,
                                             interval_start=0, interval_step=0.01)
            assert heard == [0.0, 0.01] and not connection.connected
            with pytest.raises(connection.connection_errors):
                connection.ensure_connection(timeout=0.01, interval_start=1)
        app.close()


def test_what_it_has_not_says_who_has() -> None:
    app = Celery("proj", broker="memory://connection", set_as_current=False)
    with pytest.raises(AttributeError, match=r"SimpleQueue.*kombu.Connection"):
        app.connection().SimpleQueue("q")
    app.close()
