"""``app.conf``: reading, changing, layers, presets, and telling what is set."""

from __future__ import annotations

import copy
import sys
import threading
import warnings
from collections.abc import Callable
from datetime import timedelta, timezone
from typing import Any

import pytest

from fastq.app.setting_source import Source
from fastq.app.settings import Preset, Settings
from fastq.exceptions import CeleryWarning, ConfigError, ImproperlyConfigured


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND"):
        monkeypatch.delenv(f"CELERY_{name}", raising=False)


def _module(**values: Any) -> Source:
    return Source("module 'proj.config'", values, whole=False)


def test_a_setting_reads_by_attribute_item_get_and_old_name() -> None:
    conf = Settings({"task_time_limit": 60})
    assert conf.task_time_limit == conf["task_time_limit"] == conf.get("task_time_limit") == 60
    assert conf.CELERYD_TASK_TIME_LIMIT == conf["CELERYD_TASK_TIME_LIMIT"] == 60
    assert "task_time_limit" in conf
    assert "CELERYD_TASK_TIME_LIMIT" in conf


def test_an_unknown_name_read_is_an_error_that_tells_the_nearest() -> None:
    conf = Settings()
    with pytest.raises(AttributeError, match="no setting is called 'task_time_limits'; did you mean 'task_time_limit'"):
        _ = conf.task_time_limits
    with pytest.raises(KeyError, match="task_time_limit"):
        _ = conf["task_time_limits"]
    assert conf.get("task_time_limits", 5) == 5
    assert "task_time_limits" not in conf
    assert not hasattr(conf, "nothing_like_it")


def test_settings_are_a_mapping_of_every_setting() -> None:
    conf = Settings({"timezone": "Europe/Paris"})
    assert dict(conf)["timezone"] == "Europe/Paris"
    assert len(conf) == len(list(conf)) == len(conf.keys()) > 207
    assert ("task_serializer", "json") in conf.items()


def test_the_source_is_read_once_and_only_when_a_setting_is_read() -> None:
    reads = []

    def reader() -> Source:
        reads.append(1)
        return _module(worker_concurrency=3)

    conf = Settings(reader=reader)
    conf.task_time_limit = 5
    repr(conf)
    with pytest.raises(AttributeError):
        _ = conf.__wrapped__
    assert reads == []
    assert conf.worker_concurrency == 3
    assert conf.task_time_limit == 5
    assert reads == [1]


def test_on_read_is_told_once_when_settings_have_been_read() -> None:
    conf = Settings()
    told: list[Settings] = []
    conf.on_read = told.append
    assert conf.task_serializer == "json"
    assert conf.task_serializer == "json"
    assert told == [conf]


def test_on_change_is_told_when_values_may_have_changed() -> None:
    conf = Settings()
    seen: list[Any] = []
    conf.on_change = lambda: seen.append(conf["worker_concurrency"])
    conf.worker_concurrency = 3
    assert seen == []
    conf.read_from(lambda: _module(task_time_limit=5), force=True)
    conf.worker_concurrency = 4
    conf.override({"worker_concurrency": 5})
    del conf.worker_concurrency
    assert seen[-2:] == [5, 5]
    assert seen[0] == 3


def test_threads_that_read_at_once_read_the_source_once() -> None:
    reads, seen = [], []
    barrier = threading.Barrier(8)

    def reader() -> Source:
        reads.append(1)
        return _module(worker_concurrency=3)

    conf = Settings(reader=reader)

    def read() -> None:
        barrier.wait()
        seen.append(conf.worker_concurrency)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (reads, seen) == ([1], [3] * 8)


def test_a_source_that_fails_fails_at_each_read_and_may_recover() -> None:
    sources: list[Callable[[], Source]] = [lambda: 1 / 0, lambda: _module(worker_concurrency=3)]  # type: ignore[list-item,return-value]
    conf = Settings(reader=lambda: sources[0]())
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            _ = conf.worker_concurrency
    sources.pop(0)
    assert conf.worker_concurrency == 3


@pytest.mark.parametrize("failure", [AttributeError("nope"), KeyError("HOME_OF_NOTHING")])
def test_a_source_whose_code_fails_is_not_taken_for_a_missing_setting(failure: Exception) -> None:
    def reader() -> Source:
        raise failure

    conf = Settings(reader=reader)
    for ask in (lambda: hasattr(conf, "timezone"), lambda: conf.get("timezone"), lambda: "timezone" in conf):
        with pytest.raises(ConfigError, match=f"failed: {type(failure).__name__}: "):
            ask()


def test_a_source_that_reads_the_settings_it_is_to_give_is_refused() -> None:
    conf = Settings(reader=lambda: _module(worker_concurrency=conf.worker_concurrency))
    with pytest.raises(ConfigError, match="while it is being read itself"):
        _ = conf.worker_concurrency


def test_who_runs_the_program_has_the_last_word_over_who_wrote_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def reader() -> Source:
        return _module(worker_concurrency=3)

    def set_variable() -> None:
        monkeypatch.setenv("FASTQ_WORKER_CONCURRENCY", "5")
        conf.read_from(reader)

    conf = Settings(reader=reader)
    layers: list[tuple[Callable[[], Any], int, str]] = [
        (lambda: None, 3, "module 'proj.config'"),
        (lambda: conf.add_defaults({"worker_concurrency": 2}), 3, "module 'proj.config'"),
        (lambda: conf.update(worker_concurrency=4), 4, "conf.update()"),
        (set_variable, 5, "environment FASTQ_WORKER_CONCURRENCY"),
        (lambda: conf.update(worker_concurrency=6), 5, "environment FASTQ_WORKER_CONCURRENCY"),
        (lambda: conf.override({"worker_concurrency": 7}), 7, "the command line"),
        (lambda: conf.update(worker_concurrency=8), 7, "the command line"),
    ]
    assert conf.origin("task_serializer") == "the default"
    for change, value, origin in layers:
        change()
        assert (conf.worker_concurrency, conf.origin("worker_concurrency")) == (value, origin)


def test_added_defaults_lie_between_the_preset_and_the_source() -> None:
    conf = Settings(reader=lambda: _module(worker_concurrency=3))
    conf.add_defaults(lambda: {"worker_concurrency": 2, "task_time_limit": 9})
    assert (conf.worker_concurrency, conf.task_time_limit) == (3, 9)
    conf.add_defaults(lambda: {"task_soft_time_limit": 8})
    assert conf.task_soft_time_limit == 8
    assert conf.defaults["task_soft_time_limit"] == 8
    assert not conf.value_set_for("task_time_limit")


def test_celerys_environment_beats_the_code_in_both_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://outside")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://results")
    presets: list[Preset] = ["Fastq", "Celery"]
    for preset in presets:
        conf = Settings({"broker_url": "redis://inside"}, preset=preset)
        assert (conf.broker_url, conf.result_backend) == ("redis://outside", "redis://results")
        assert conf.broker_read_url == conf.broker_write_url == "redis://outside"


def test_what_is_none_follows_its_neighbour_then_and_later() -> None:
    conf = Settings({"task_default_queue": "a", "broker_write_url": "memory://w"})
    assert (conf.task_default_exchange, conf.task_default_routing_key) == ("a", "a")
    conf.task_default_queue = "b"
    assert (conf.task_default_exchange, conf.task_default_routing_key) == ("b", "b")
    conf.task_default_exchange = "c"
    assert (conf.task_default_exchange, conf.task_default_routing_key) == ("c", "b")
    conf.broker_url = "memory://"
    assert (conf.broker_read_url, conf.broker_write_url) == ("memory://", "memory://w")


def test_deleting_takes_back_what_code_set() -> None:
    conf = Settings(reader=lambda: _module(worker_concurrency=3))
    conf.worker_concurrency = 4
    del conf.worker_concurrency
    assert conf.worker_concurrency == 3
    with pytest.raises(KeyError):
        del conf["worker_concurrency"]
    with pytest.raises(AttributeError, match="not set in code"):
        del conf.worker_concurrency


def test_setdefault_sets_only_what_nobody_has_set() -> None:
    conf = Settings({"worker_concurrency": 4})
    assert conf.setdefault("worker_concurrency", 5) == 4
    assert conf.setdefault("CELERYD_TASK_TIME_LIMIT", 60) == 60
    assert conf.task_time_limit == 60


def test_an_update_that_is_wrong_somewhere_changes_nothing() -> None:
    conf = Settings()
    with pytest.raises(ConfigError):
        conf.update({"worker_concurrency": 4, "no_such_thing": 1})
    assert conf.worker_concurrency is None


def test_every_mistake_is_told_at_once_one_a_line() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings({"task_ack_late": True, "worker_concurrency": "four"})
    lines = str(caught.value).splitlines()
    assert lines == [
        "no setting is called 'task_ack_late', from a keyword of the app; did you mean 'task_acks_late'?",
        "worker_concurrency = 'four' (str), from a keyword of the app: wanted a whole number or 'auto' or None, "
        "for example worker_concurrency = 4",
    ]


ILL_TYPED: list[tuple[str, Any, str]] = [
    ("task_acks_late", 1, r"\(int\), from an assignment: wanted True or False, for example task_acks_late = True"),
    ("worker_prefetch_multiplier", "4", "wanted a whole number, for example worker_prefetch_multiplier = 4"),
    ("worker_prefetch_multiplier", True, "wanted a whole number"),
    ("worker_prefetch_multiplier", 1.5, "wanted a whole number"),
    ("broker_lease", "30", "wanted a number, for example broker_lease = 30.0"),
    ("accept_content", "json", r"wanted a list or None, for example accept_content = \['json'\]"),
    ("beat_schedule", [], "wanted a dict or None"),
    ("broker_url", 5, "wanted text or a list or None, for example broker_url = 'redis://localhost:6379/0'"),
    ("result_expires", "1d", "wanted a number or a timedelta or None"),
    ("timezone", timezone, "wanted text or a tzinfo or None"),
    ("task_serializer", None, "wanted text, for example task_serializer = 'json'"),
]


@pytest.mark.parametrize(("name", "value", "said"), ILL_TYPED, ids=lambda each: str(each)[:25])
def test_a_value_of_the_wrong_type_is_refused_with_what_was_wanted(name: str, value: Any, said: str) -> None:
    conf = Settings()
    with pytest.raises(ConfigError, match=said):
        conf[name] = value
    with pytest.raises(ImproperlyConfigured, match=name):
        setattr(conf, name, value)


@pytest.mark.parametrize(("name", "value"), [
    ("broker_url", ["amqp://a", "amqp://b"]), ("broker_use_ssl", {"ca_certs": "x"}), ("worker_concurrency", "auto"),
    ("result_expires", timedelta(hours=1)), ("result_expires", 3600), ("result_expires", None),
    ("task_default_delivery_mode", "transient"), ("task_default_rate_limit", "10/m"), ("timezone", timezone.utc),
    ("task_queues", ()), ("accept_content", {"json", "yaml"}), ("imports", "proj.tasks"), ("worker_pool", dict),
    ("task_annotations", object()), ("task_routes", lambda *_: None), ("broker_connection_max_retries", None),
    ("broker_failover_strategy", lambda servers: servers), ("security_key_password", "secret"),
], ids=lambda each: str(each)[:20])
def test_what_celery_takes_is_taken_although_celerys_type_is_narrower(name: str, value: Any) -> None:
    assert Settings({name: value})[name] is value


def test_the_celery_preset_warns_once_and_keeps_what_it_does_not_know() -> None:
    conf = Settings(preset="Celery")
    with pytest.warns(CeleryWarning, match="no setting is called 'task_ack_late'.*did you mean 'task_acks_late'"):
        conf.update(task_ack_late=True, origin="a test")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conf.update(task_ack_late=False, origin="a test")
    assert conf.task_ack_late is False
    with pytest.warns(CeleryWarning, match=r"worker_concurrency = '4' \(str\)"):
        conf.worker_concurrency = "4"
    assert conf.worker_concurrency == "4"


def test_an_unknown_name_never_hides_a_method() -> None:
    conf = Settings(preset="Celery")
    with pytest.warns(CeleryWarning, match="no setting is called 'update'"):
        conf.update({"update": 1})
    conf.update(worker_concurrency=4)
    assert conf.worker_concurrency == 4


def test_settings_of_an_extension_are_let_in_by_name() -> None:
    conf = Settings()
    conf.allow("redbeat_redis_url")
    conf.redbeat_redis_url = "redis://"
    assert conf.redbeat_redis_url == conf["redbeat_redis_url"] == "redis://"
    with pytest.raises(ConfigError):
        conf.redbeat_key_prefix = "x"


@pytest.mark.parametrize("preset", ["Fastq", "Celery"])
def test_an_extension_finds_its_settings_in_the_module_it_was_told_of(preset: Preset) -> None:
    conf = Settings(reader=lambda: _module(redbeat_redis_url="redis://", worker_concurrency=3), preset=preset)
    assert conf.redbeat_redis_url == conf["redbeat_redis_url"] == conf.get("redbeat_redis_url") == "redis://"
    assert "redbeat_redis_url" not in dict(conf)


def test_changes_and_tables_tell_only_what_somebody_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTQ_TASK_TIME_LIMIT", "60")
    conf = Settings({"CELERYD_CONCURRENCY": 4}, reader=lambda: _module(broker_url="amqp://me:secret@host//"))
    assert conf.changes == {"worker_concurrency": 4}
    assert conf.without_defaults() == {"worker_concurrency": 4, "broker_url": "amqp://me:secret@host//",
                                       "task_time_limit": 60}
    assert conf.table()["broker_url"] == "amqp://me:********@host//"
    assert conf.table(censored=False)["broker_url"] == "amqp://me:secret@host//"
    assert conf.table(with_defaults=True)["task_serializer"] == "json"
    assert conf.humanize() == ("broker_url: 'amqp://me:********@host//'\ntask_time_limit: 60.0\nworker_concurrency: 4")
    assert conf.value_set_for("CELERYD_CONCURRENCY")
    assert not conf.value_set_for("task_serializer")
    assert conf.first("task_default_priority", "task_time_limit") == 60


def test_a_copy_goes_its_own_way_and_does_not_read_the_source_again() -> None:
    reads = []

    def reader() -> Source:
        reads.append(1)
        return _module(worker_concurrency=3)

    conf = Settings({"task_time_limit": 9}, reader=reader)
    for twin in (conf.copy(), copy.copy(conf)):
        twin.task_time_limit = 10
        twin.beat_schedule["a"] = {}
        assert (twin.worker_concurrency, twin.task_time_limit) == (3, 10)
    assert (conf.task_time_limit, conf.beat_schedule, reads) == (9, {}, [1])


def test_another_source_replaces_the_first_and_keeps_what_code_set() -> None:
    conf = Settings({"task_time_limit": 9}, reader=lambda: _module(worker_concurrency=3))
    assert conf.worker_concurrency == 3
    conf.read_from(lambda: _module(task_soft_time_limit=5))
    assert (conf.worker_concurrency, conf.task_soft_time_limit, conf.task_time_limit) == (None, 5, 9)


def test_a_second_source_that_fails_leaves_no_settings_of_the_first() -> None:
    conf = Settings(reader=lambda: _module(worker_concurrency=3))
    assert conf.worker_concurrency == 3
    with pytest.raises(ConfigError):
        conf.read_from(lambda: _module(worker_concurrency="three"))
    for _ in range(2):
        with pytest.raises(ConfigError):
            _ = conf.worker_concurrency


def test_old_names_in_the_source_are_reported_for_a_warning() -> None:
    conf = Settings(reader=lambda: _module(CELERY_ACKS_LATE=False, BROKER_URL="memory://"))
    assert conf.deprecated_settings == {"CELERY_ACKS_LATE", "BROKER_URL"}
    assert conf.task_acks_late is False
    assert Settings().deprecated_settings == frozenset()


@pytest.mark.parametrize("preset", ["Fastq", "Celery"])
def test_code_may_mix_old_and_new_names_but_a_source_may_not(preset: Preset) -> None:
    conf = Settings({"CELERY_ACKS_LATE": False, "task_time_limit": 5}, preset=preset)
    assert (conf.task_acks_late, conf.task_time_limit) == (False, 5)
    with pytest.raises(ImproperlyConfigured, match=r"mixed in module 'proj\.config'; rename BROKER_URL -> broker_url"):
        conf.read_from(lambda: _module(BROKER_URL="memory://", task_serializer="json"))


def test_reading_a_setting_calls_no_python_code() -> None:
    conf = Settings()
    assert conf.task_acks_late is True
    calls: list[str] = []
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name) if event == "call" else None)
    try:
        _ = conf.task_acks_late
    finally:
        sys.setprofile(None)
    assert calls == []
