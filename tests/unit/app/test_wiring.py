"""What the settings say about brokers: where they are, and what a transport is told."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from fastq import Celery, Fastq, transport
from fastq.app import wiring
from fastq.app.settings import Settings
from fastq.exceptions import ConfigError
from fastq.transport.base import Caps
from fastq.wire.entity import Exchange, Queue


def urls(preset: str = "Celery", *, for_worker: bool = False, **settings: Any) -> Any:
    found = wiring.broker_urls(Settings(settings, preset=preset), "shop", for_worker=for_worker)
    return found[0] if len(found) == 1 else found


def test_without_a_setting_each_preset_has_its_own_broker() -> None:
    assert urls("Fastq") == "sqlite:///shop.fastq.db"
    assert urls("Celery") == "amqp://guest@localhost//"


@pytest.mark.parametrize("url", ["amqp://a;amqp://b//", ["amqp://a", "amqp://b//"]])
def test_several_brokers_may_be_named(url: Any) -> None:
    assert urls(broker_url=url) == ("amqp://a", "amqp://b//")


def test_workers_read_from_one_broker_and_clients_write_to_another() -> None:
    settings = {"broker_url": "amqp://both", "broker_read_url": "amqp://read", "broker_write_url": "amqp://write"}
    assert urls(**settings) == "amqp://write"
    assert urls(**settings, for_worker=True) == "amqp://read"
    del settings["broker_read_url"], settings["broker_write_url"]
    assert urls(**settings) == urls(**settings, for_worker=True) == "amqp://both"


@pytest.mark.parametrize(("settings", "url"), [
    ({"broker_host": "rabbit"}, "amqp://rabbit"),
    ({"broker_host": "rabbit", "broker_port": 5673, "broker_user": "me", "broker_password": "p/w@",
      "broker_vhost": "/tasks"}, "amqp://me:p%2Fw%40@rabbit:5673/%2Ftasks"),
    ({"broker_user": "me"}, "amqp://me@localhost"),
    ({"broker_password": "pw"}, "amqp://guest:pw@localhost"),
    ({"broker_host": "rabbit", "broker_transport": "pyamqp", "broker_vhost": "v"}, "pyamqp://rabbit/v"),
    ({"broker_transport": "memory"}, "memory://"),
    ({"broker_transport": "redis"}, "redis://localhost"),
    ({"broker_transport": "redis", "broker_host": "box", "broker_password": "p/w", "broker_port": 1,
      "broker_vhost": "3"}, "redis://:p%2Fw@box:1/3"),
    ({"broker_host": "amqp://rabbit//", "broker_user": "me"}, "amqp://me@rabbit//"),
])
@pytest.mark.parametrize("preset", ["Fastq", "Celery"])
def test_an_address_is_put_together_where_there_is_no_url(preset: str, settings: dict[str, Any], url: str) -> None:
    assert urls(preset, **settings) == url
    assert urls(preset, **settings, for_worker=True) == url


@pytest.mark.parametrize(("given", "completed"), [
    ("amqp://rabbit", "amqp://me:pw@rabbit:5673/tasks"),
    ("amqp://rabbit/?heartbeat=5", "amqp://me:pw@rabbit:5673/tasks?heartbeat=5"),
    ("amqp://you:secret@rabbit:1//", "amqp://you:secret@rabbit:1//"),
    ("amqp://[::1]", "amqp://me:pw@[::1]:5673/tasks"),
    ("amqp://[::1]:7/v", "amqp://me:pw@[::1]:7/v"),
    ("sqlite:///t.db", "sqlite:///t.db"),
    ("redis://box", "redis://me:pw@box:5673/tasks"),
    ("unix:///run/redis.sock", "unix:///run/redis.sock"),
])
def test_what_an_address_leaves_open_is_taken_from_the_settings(given: str, completed: str) -> None:
    parts = {"broker_user": "me", "broker_password": "pw", "broker_port": 5673, "broker_vhost": "tasks"}
    assert urls(broker_url=given, **parts) == completed


def options(*, for_worker: bool = False, **settings: Any) -> dict[str, Any]:
    with Celery("shop", broker="amqp://rabbit") as app:
        app.conf.update(settings)
        return wiring.broker_options(app, for_worker=for_worker)


def test_a_transport_is_told_what_the_settings_say() -> None:
    told = options(
        for_worker=True, broker_heartbeat=30, broker_connection_timeout=7, broker_use_ssl={"ca_certs": "ca.pem"},
        broker_failover_strategy="shuffle", broker_login_method="amqplain",
        broker_native_delayed_delivery_queue_type="Classic")
    del told["queue_of"], told["bound_to"], told["known"]
    assert told == {"heartbeat_s": 30.0, "connect_timeout_s": 7, "ssl": {"ca_certs": "ca.pem"}, "failover": "shuffle",
                    "login_method": "AMQPLAIN", "delayed_queue_type": "classic",
                    "result_content": ("application/json", "utf-8"), "result_prefix": "celery-task-meta-"}


def test_what_the_settings_leave_open_is_left_to_the_transport() -> None:
    told = options(broker_connection_timeout=None, broker_heartbeat=None)
    assert told.keys() == {"queue_of", "bound_to", "known", "heartbeat_s", "delayed_queue_type", "result_content",
                           "result_prefix"}
    assert options(for_worker=True)["heartbeat_s"] == 120.0
    assert options()["heartbeat_s"] == 0.0, "nobody would send them while a client is idle"


@pytest.mark.parametrize(("setting", "value", "hint"), [
    ("broker_failover_strategy", "random", "'round-robin', 'shuffle', or a callable"),
    ("broker_login_method", "PLAN", "did you mean 'PLAIN'"),
    ("broker_native_delayed_delivery_queue_type", "quorom", "did you mean 'quorum'"),
])
def test_a_wrong_word_is_refused_with_the_right_ones(setting: str, value: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting} is '{value}'.*{hint}"):
        options(**{setting: value})


def test_a_failover_strategy_may_be_a_function() -> None:
    assert options(broker_failover_strategy=reversed)["failover"] is reversed


def test_a_transport_can_ask_for_the_queues_of_the_app() -> None:
    with Celery("shop", broker="amqp://rabbit") as app:
        told = wiring.broker_options(app)
        app.conf.task_queues = [Queue("video", Exchange("media", "topic"), "video.#")]
        assert told["queue_of"]("video") == app.router.queues["video"]
        assert told["bound_to"]("media") == [app.router.queues["video"]]
        app.conf.task_create_missing_queues = False
        assert told["queue_of"]("other") is None


def test_a_broker_in_a_file_is_told_only_what_it_knows() -> None:
    with Fastq("shop", broker=f"memory://{uuid.uuid4()}", broker_heartbeat=5, broker_use_ssl=True) as app:
        opened = app.open_transport(for_worker=True, death_limit=7)
        assert opened is not app.transport
        assert opened.publish(()) == 0
        opened.close()
        app.conf.broker_transport_options = {"unheard_of": 1}
        with pytest.raises(ConfigError, match="unheard_of"):
            app.open_transport()


def test_the_address_of_an_app_names_all_its_brokers() -> None:
    with Celery("shop", broker="amqp://a;amqp://b") as app:
        assert app.broker_url == "amqp://a;amqp://b"


# Results

@pytest.mark.parametrize("backend", ["rpc://", "rpc", "rpc://guest@rabbit//"])
def test_results_over_the_broker_need_one_that_can_send_them(backend: str) -> None:
    with Celery("shop", broker="amqp://rabbit", backend=backend) as app:
        assert app.result_url == "rpc://"
    with Fastq("shop", backend=backend) as app, pytest.raises(ConfigError, match=r"RabbitMQ, but the broker is sqlite"):
        _ = app.result_url


def test_results_leave_with_the_acks_only_where_they_belong_there() -> None:
    url, other = (f"memory://{uuid.uuid4()}" for _ in range(2))
    for broker, backend, is_beside in ((url, None, False), (url, url, False), (url, other, True)):
        with Fastq("shop", broker=broker, backend=backend) as app:
            worker = app.open_transport(for_worker=True)
            assert app.store_beside(worker) is (app.backend if is_beside else None)
            worker.close()
    with Celery("shop", broker=url) as app:
        assert app.store_beside(app.transport) is None


class Worker:
    caps = Caps(stores_results=True)


@pytest.mark.parametrize(("broker", "settings", "is_beside"), [
    ("redis://h/1", {}, False), ("redis://h/2", {}, True), ("redis://h/1", {"result_compression": "zlib"}, True),
    ("redis://h:6379/1", {"result_backend_transport_options": {"global_keyprefix": "shop"}}, False),
])
def test_results_on_redis_leave_with_the_acks_where_one_server_can_do_both(broker: str, settings: dict[str, Any],
                                                                           is_beside: bool) -> None:
    with Celery("shop", broker=broker, backend="redis://h/1", **settings) as app:
        assert app.store_beside(Worker()) is (app.backend if is_beside else None)  # type: ignore[arg-type]


def test_results_of_an_app_whose_workers_read_elsewhere_go_where_clients_look() -> None:
    read, write = (f"memory://{uuid.uuid4()}" for _ in range(2))
    with Fastq("shop", broker_read_url=read, broker_write_url=write) as app:
        worker = app.open_transport(for_worker=True)
        assert app.store_beside(worker) is app.backend
        worker.close()


@pytest.mark.parametrize(("backend", "url"), [
    ("redis", "redis://localhost:6379/0"), ("redis://", "redis://localhost:6379"), ("redis:///3", "redis://localhost:6379/3"),
    ("redis://:pw@/3", "redis://:pw@localhost:6379/3"), ("rediss://?ssl_cert_reqs=none",
                                                         "rediss://localhost:6379?ssl_cert_reqs=none"),
    ("redis://other/1", "redis://other/1"), ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock"),
    ("sentinel://a:1;sentinel://b:2", "sentinel://a:1;sentinel://b:2"),
])
def test_redis_may_be_named_as_shortly_as_celery_allows(backend: str, url: str) -> None:
    with Celery("shop", broker="amqp://rabbit", backend=backend) as app:
        assert app.result_url == url


def test_what_the_address_of_redis_leaves_open_is_taken_from_the_settings() -> None:
    place = {"redis_host": "::1", "redis_port": 7, "redis_db": 2}
    for backend, url in (("redis", "redis://[::1]:7/2"), ("redis://", "redis://[::1]:7"), ("redis://h/1", "redis://h/1")):
        with Celery("shop", broker="amqp://rabbit", backend=backend, **place) as app:
            assert app.result_url == url


def test_the_store_on_redis_is_told_what_the_settings_say() -> None:
    said = {"redis_username": "me", "redis_password": "pw", "redis_socket_timeout": 7, "redis_client_name": "shop",
            "redis_socket_connect_timeout": 3, "redis_backend_use_ssl": {"ssl_cert_reqs": "none"},
            "result_serializer": "yaml", "result_accept_content": ["json"],
            "redis_backend_credential_provider": "tests.unit.app.test_wiring:Provider",
            "result_backend_transport_options": {"global_keyprefix": "shop"}}
    with Celery("shop", broker="amqp://rabbit", backend="redis://h", **said) as app:
        told = wiring.store_options(app.conf, "redis://h", ())
    assert isinstance(told.pop("credential_provider"), Provider)
    assert told == {"username": "me", "password": "pw", "reply_timeout_s": 7, "client_name": "shop",
                    "connect_timeout_s": 3, "ssl": {"ssl_cert_reqs": "none"}, "serializer": "yaml", "accept": ["json"],
                    "global_keyprefix": "shop"}
    assert type(app.backend).__name__ == "RedisStore"
    assert wiring.broker_options(app)["result_prefix"] == "shop_celery-task-meta-"


class Provider:
    def get_credentials(self) -> tuple[str, str]:
        return "me", "pw"


@pytest.mark.parametrize(("url", "brokers", "is_beside"), [
    ("redis://h", ["redis://h:6379/0"], True), ("redis://h/1", ["redis://h/0"], False),
    ("redis://h?global_keyprefix=a", ["redis://h"], True), ("redis://h", ["redis://h", "redis://g"], False),
    ("redis://:pw@h", ["redis://h"], False), ("redis://h", ["rediss://h"], False), ("redis://h", ["amqp://h"], False),
    ("sentinel://a;sentinel://b", ["sentinel://a", "sentinel://b"], True), ("sqlite:///a.db", ["redis://h"], False),
    ("sqlite:///a.db", ["sqlite:///a.db"], True),
])
def test_results_are_beside_the_broker_on_one_server_in_one_database(url: str, brokers: list[str],
                                                                     is_beside: bool) -> None:
    assert wiring.is_beside(Celery("shop").conf, url, brokers) is is_beside


def test_two_masters_of_the_same_sentinels_are_two_places() -> None:
    url, named = "sentinel://a", {"master_name": "one"}
    for results, is_beside in ((named, True), ({"master_name": "two"}, False), ({}, False)):
        conf = Celery("shop", broker_transport_options=named, result_backend_transport_options=results).conf
        assert wiring.is_beside(conf, url, [url]) is is_beside


def test_every_scheme_of_a_transport_can_be_an_apps_broker() -> None:
    for scheme in transport.SCHEMES:
        assert urls(broker_url=f"{scheme}://x") == f"{scheme}://x"
