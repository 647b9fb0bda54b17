"""Modules, mappings, namespaces, the environment and the command line, read into settings."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq.app.setting_rows import ROWS
from fastq.app.setting_source import Layer, Source, from_arguments, from_environment, translate
from fastq.exceptions import ConfigError

NAMES: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors/celery_names.json").read_text())


def _module(**values: Any) -> Source:
    return Source("module 'proj'", values, whole=False)


def _mapping(**values: Any) -> Source:
    return Source("mapping", values)


def test_a_module_may_hold_imports_and_helpers_beside_its_settings() -> None:
    layer = translate(_module(
        task_time_limit=5, os=types, timezone=types.SimpleNamespace, include=lambda *_: None, task_router=lambda: 1,
        result_processor=print, HOME="/home", DEBUG=True, queues=["a"], worker_class=type("Worker", (), {}), limit=3,
    ))
    assert (layer.values, layer.problems) == ({"task_time_limit": 5}, [])


@pytest.mark.parametrize(("name", "near"), [
    ("task_ack_late", "did you mean 'task_acks_late'"), ("worker_concurency", "did you mean 'worker_concurrency'"),
    ("CELERYD_CONCURENCY", "did you mean 'CELERYD_CONCURRENCY'"), ("BROKER_ULR", "did you mean 'BROKER_URL'"),
    ("CELERY_TASK_ALWAYS_EAGER", "did you mean 'task_always_eager', or namespace='CELERY'"),
    ("redis_max_conections", "did you mean 'redis_max_connections'"), ("task_xyzzy", ""),
])
def test_a_name_in_a_module_that_looks_like_a_setting_must_be_one(name: str, near: str) -> None:
    problem, = translate(_module(**{name: 5})).problems
    assert problem.startswith(f"no setting is called '{name}', from module 'proj'{'; ' if near else ''}{near}")
    assert problem.endswith("(if it is the program's own, begin it with an underscore)")
    assert translate(_module(**{f"_{name}": 5})).problems == []


def test_in_a_mapping_every_name_must_be_a_setting() -> None:
    layer = translate(_mapping(limit=3, DEBUG=True, timezon="UTC"))
    assert [problem.partition(",")[0] for problem in layer.problems] == [
        "no setting is called 'limit'", "no setting is called 'DEBUG'", "no setting is called 'timezon'"]
    odd: dict[Any, int] = {5: 1}
    assert translate(Source("mapping", odd)).problems == ["5, from mapping: the names of settings are text"]


def test_every_old_name_sets_its_new_one() -> None:
    old = {row.old: row.celery for row in ROWS if row.old}
    assert translate(Source("mapping", old)).values == {row.name: row.celery for row in ROWS if row.old}


def test_every_name_with_its_namespace_sets_it() -> None:
    for namespace in ("CELERY", "CELERY_"):
        named = {f"CELERY_{row.name.upper()}": row.celery for row in ROWS}
        assert translate(Source("x", named, False, namespace)).values == {row.name: row.celery for row in ROWS}
    lower = {f"celery_{row.name}": row.celery for row in ROWS}
    assert translate(Source("x", lower, False, "celery")).values == {row.name: row.celery for row in ROWS}


def test_with_a_namespace_only_its_names_and_old_ones_count() -> None:
    layer = translate(Source("django.conf:settings", {
        "CELERY_TASK_ALWAYS_EAGER": True, "CELERYD_CONCURRENCY": 2, "CELERY_TASK_RESULT_EXPIRES": 60, "DEBUG": True,
        "TASK_TIME_LIMIT": 5, "DATABASES": {}, "TIME_ZONE": "Europe/Paris",
    }, False, "CELERY"))
    assert layer.values == {"task_always_eager": True, "worker_concurrency": 2, "result_expires": 60,
                            "timezone": "Europe/Paris"}
    assert layer.problems == []


def test_a_namespaced_name_beats_the_old_one() -> None:
    layer = translate(Source("x", {"CELERY_WORKER_CONCURRENCY": 3, "CELERYD_CONCURRENCY": 2}, False, "CELERY"))
    assert layer.values == {"worker_concurrency": 3}


def test_an_unknown_namespaced_name_is_told_the_nearest_with_the_namespace() -> None:
    problem, = translate(Source("django", {"CELERY_TASK_ALWAYS_EAGR": True}, False, "CELERY")).problems
    assert "did you mean 'CELERY_TASK_ALWAYS_EAGER'?" in problem


def test_an_own_time_zone_beats_djangos() -> None:
    assert translate(_module(TIME_ZONE="Europe/Paris", timezone="UTC")).values == {"timezone": "UTC"}


@pytest.mark.parametrize(("values", "renames"), [
    ({"task_time_limit": 1, "CELERY_ACKS_LATE": True}, "CELERY_ACKS_LATE -> task_acks_late"),
    ({"task_time_limit": 1, "task_serializer": "json", "BROKER_URL": "x"}, "BROKER_URL -> broker_url"),
    ({"task_time_limit": 1, "CELERY_ACKS_LATE": True, "BROKER_URL": "x"},
     "task_time_limit -> CELERYD_TASK_TIME_LIMIT"),
])
def test_old_and_new_names_may_not_be_mixed_and_the_majority_stays(values: dict[str, Any], renames: str) -> None:
    with pytest.raises(ConfigError, match=f"mixed in mapping; rename {renames}$"):
        translate(Source("mapping", values))


def test_a_setting_given_in_both_styles_is_no_mixture_and_the_new_one_counts() -> None:
    assert translate(_mapping(task_acks_late=True, CELERY_ACKS_LATE=False)).values == {"task_acks_late": True}


# --- the environment ---

def _environment(**variables: str) -> Layer:
    return from_environment(variables)


def test_each_kind_of_setting_is_read_from_text() -> None:
    layer = _environment(
        FASTQ_TASK_ACKS_LATE="no", FASTQ_WORKER_CONCURRENCY="4", FASTQ_TASK_TIME_LIMIT="1.5", FASTQ_TIMEZONE="UTC",
        FASTQ_ACCEPT_CONTENT="json, yaml", FASTQ_IMPORTS='["a.b", "c"]', FASTQ_BROKER_TRANSPORT_OPTIONS='{"a": 1}',
        FASTQ_RESULT_EXPIRES="none", FASTQ_TASK_ROUTES='{"a.*": "q"}', FASTQ_BROKER_USE_SSL='{"ca_certs": "x"}',
        FASTQ_TASK_DEFAULT_PRIORITY="5", FASTQ_TASK_DEFAULT_DELIVERY_MODE="transient",
        FASTQ_SECURITY_KEY_PASSWORD="secret",
    )
    assert layer.problems == []
    assert layer.values == {
        "task_acks_late": False, "worker_concurrency": 4, "task_time_limit": 1.5, "timezone": "UTC",
        "accept_content": ["json", "yaml"], "imports": ["a.b", "c"], "broker_transport_options": {"a": 1},
        "result_expires": None, "task_routes": {"a.*": "q"}, "broker_use_ssl": {"ca_certs": "x"},
        "task_default_priority": 5, "task_default_delivery_mode": "transient", "security_key_password": b"secret",
    }
    assert _environment(FASTQ_WORKER_CONCURRENCY="auto").values == {"worker_concurrency": "auto"}


def test_an_empty_variable_is_not_set() -> None:
    assert _environment(CELERY_BROKER_URL="", FASTQ_TASK_TIME_LIMIT="").values == {}


def test_fastqs_variable_beats_celerys() -> None:
    layer = _environment(FASTQ_BROKER_URL="memory://f", CELERY_BROKER_URL="memory://c")
    assert layer.values == {"broker_url": "memory://f"}


def test_only_celerys_own_four_are_read_under_its_prefix() -> None:
    assert _environment(CELERY_TASK_ALWAYS_EAGER="1", CELERY_WORKER_CONCURRENCY="x").values == {}


def test_a_text_that_is_no_value_names_the_variable() -> None:
    problem, = _environment(FASTQ_WORKER_CONCURRENCY="four").problems
    assert problem == ("FASTQ_WORKER_CONCURRENCY = 'four' (str), from the environment: wanted a whole number or 'auto' "
                       "or None, for example FASTQ_WORKER_CONCURRENCY = 4")


def test_a_slip_in_a_variable_is_told_and_what_others_put_there_is_not() -> None:
    layer = _environment(FASTQ_TASK_ACK_LATE="1", FASTQ_APP="proj", FASTQ_WORKER_SERVICE_HOST="10.0.0.1",
                         FASTQ_REDIS_PORT="tcp://10.0.0.1:6379", FASTQ_CONFIG_MODULE="x", FASTQ_DEBUG="1")
    assert layer.problems == ["no setting is called 'FASTQ_TASK_ACK_LATE', from the environment; "
                              "did you mean 'FASTQ_TASK_ACKS_LATE'?"]
    assert layer.values == {}


# --- the command line ---

@pytest.mark.parametrize(("arguments", "namespace", "settings"), NAMES["cmdline"], ids=lambda each: str(each)[:40])
def test_arguments_are_read_as_celery_reads_them(arguments: list[str], namespace: str, settings: Any) -> None:
    if settings == {"worker_concurrency": "4"}:  # Celery leaves it text, of which its own worker then complains
        settings = {"worker_concurrency": 4}
    assert from_arguments(arguments, namespace) == settings


@pytest.mark.parametrize(("argument", "said"), [
    ("worker.concurency=4", "'worker_concurency', from the command line; did you mean 'worker_concurrency'"),
    ("worker.concurrency", "wanted name=value, for example worker.concurrency=4"),
    ("worker.prefetch_multiplier=four", "worker.prefetch_multiplier = 'four'"),
    ("worker.prefetch_multiplier=(intt)4", "no type is called 'intt', only any, "),
    ("worker.prefetch_multiplier=(int)four", "'four' is no int"),
    ("worker.prefetch_multiplier=(float)4.5", "wanted a whole number"),
    ("task.routes=(json){", "is no json"),
    ("=4", "no setting is called ''"),
])
def test_a_wrong_argument_is_named(argument: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_arguments([argument], "worker")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dot_alone_stands_for_the_namespace() -> None:
    assert from_arguments([".timezone=UTC"]) == {"timezone": "UTC"}
    assert from_arguments([".concurrency=2"], "worker") == {"worker_concurrency": 2}


@given(st.text(), st.sampled_from(["worker", "celery", None]))
def test_any_argument_ends_in_settings_or_a_config_error(argument: str, namespace: str | None) -> None:
    try:
        assert isinstance(from_arguments([argument], namespace), dict)
    except ConfigError as exc:
        assert "command line" in str(exc)


@given(st.sampled_from([row.name for row in ROWS]), st.text())
def test_any_text_in_the_environment_ends_in_a_value_or_a_problem(name: str, text: str) -> None:
    layer = from_environment({f"FASTQ_{name.upper()}": text})
    is_not_set = not text or (name.endswith("_port") and "://" in text)
    assert len(layer.values) + len(layer.problems) == (0 if is_not_set else 1)
