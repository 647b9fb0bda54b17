"""The table of settings against what Celery 5.7.0 itself lists."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest

from fastq.app.queues import QueueRules
from fastq.app.setting_check import BY_NAME, KINDS, NEW_NAME, example, takes
from fastq.app.setting_rows import CELERY_ROWS, FASTQ_ROWS, ROWS, SAME, UNLISTED_ROWS, Setting
from fastq.app.settings import Settings

ROOT = Path(__file__).parents[3]
CELERY: dict[str, dict[str, Any]] = json.loads((ROOT / "tests/vectors/celery_settings.json").read_text())
UNLISTED_BY_CELERY = {
    "override_backends", "result_backend_thread_safe", "redis_client_name", "redis_backend_health_check_interval",
    "redis_backend_credential_provider", "cassandra_secure_bundle_path", "dynamodb_endpoint_url", "firestore_project",
    "gcs_threadpool_maxsize", "db_reuse_max",
    *(f"{program}_{option}" for program in ("worker", "beat", "events")
      for option in ("logfile", "pidfile", "uid", "gid", "umask", "executable")),
}


def _default(name: str) -> Any:
    default = CELERY[name]["default"]
    if isinstance(default, dict) and "__timedelta_seconds__" in default:
        return timedelta(seconds=default["__timedelta_seconds__"])
    return inf if default == "inf" else default


def test_every_setting_of_celery_has_a_row_and_no_other_is_among_them() -> None:
    assert len(CELERY) == 207
    assert [row.name for row in CELERY_ROWS] == sorted(CELERY)


@pytest.mark.parametrize("row", CELERY_ROWS, ids=lambda row: row.name)
def test_a_row_has_the_default_type_and_old_name_of_celery(row: Setting) -> None:
    assert row.celery == _default(row.name)
    assert type(row.celery) is type(_default(row.name))
    assert row.type == CELERY[row.name]["type"]
    assert [row.old] == CELERY[row.name]["old_names"]


def test_the_celery_preset_is_celerys_defaults() -> None:
    conf = Settings(preset="Celery")
    followed = {"task_default_exchange": "celery", "task_default_routing_key": "celery"}  # None, so the queue's name
    assert {name: conf[name] for name in CELERY} == {name: _default(name) for name in CELERY} | followed


def test_what_celery_reads_without_a_default_is_known_and_none() -> None:
    assert {row.name for row in UNLISTED_ROWS} == UNLISTED_BY_CELERY
    assert {row.celery for row in UNLISTED_ROWS} == {None}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_both_defaults_and_the_example_are_values_of_the_setting(row: Setting) -> None:
    assert set(row.kinds) <= set(KINDS)
    assert takes(row, row.default("Celery"))
    assert takes(row, row.default("Fastq"))
    names = {"timedelta": timedelta, "datetime": __import__("datetime"), "inf": inf, "MyClass": type}
    assert takes(row, eval(example(row), names))


def test_no_two_settings_share_a_name_and_none_hides_a_method() -> None:
    assert len(BY_NAME) == len(ROWS)
    assert len(NEW_NAME) == sum(1 for row in ROWS if row.old)
    assert not BY_NAME.keys() & NEW_NAME.keys()
    assert not [name for name in BY_NAME if hasattr(Settings, name)]


def test_the_presets_differ_only_where_a_row_says_why() -> None:
    different = {row.name for row in ROWS if row.fastq is not SAME}
    assert different == {
        "broker_connection_max_retries", "broker_connection_retry_on_startup", "redis_socket_timeout", "task_acks_late",
        "task_create_missing_queue_type", "task_default_queue_type", "task_reject_on_worker_lost",
        "worker_hijack_root_logger", "worker_redirect_stdouts",
    }
    assert all("Fastq " in BY_NAME[name].doc for name in different)
    assert all(row.doc for row in FASTQ_ROWS)


def _words_of_the_code() -> set[str]:
    """Attributes and texts in fastq's code, docstrings left out as no setting is called like one."""
    found = {f"task_{field}" for field in QueueRules._fields}    # read by their fields' names
    for path in (ROOT / "fastq").rglob("*.py"):
        if path.name != "setting_rows.py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute):
                    found.add(node.attr)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


def test_a_setting_that_nothing_reads_says_why() -> None:
    code = _words_of_the_code()
    assert len(code) > 1000
    assert [row.name for row in ROWS if not row.why_idle and row.name not in code] == []


def test_why_a_setting_has_no_effect_can_end_a_sentence_and_stands_alone() -> None:
    marked = [row for row in ROWS if row.why_idle]
    assert {"beat_schedule", "worker_agent", "mongodb_backend_settings"} <= {row.name for row in marked}
    assert [row.name for row in marked if row.why_idle.endswith(".") or row.doc or row.fastq is not SAME] == []


def test_settings_share_no_default_that_can_be_changed() -> None:
    first, second = Settings(), Settings()
    first.beat_schedule["hourly"] = {"task": "tick"}
    first.accept_content.append("pickle")
    assert second.beat_schedule == {} == Settings().beat_schedule
    assert second.accept_content == ["json"]


def test_the_settings_page_is_fresh() -> None:
    checked = subprocess.run([sys.executable, ROOT / "tools/settings_doc.py", "--check"], stderr=subprocess.PIPE,
                             text=True, check=False)
    assert checked.returncode == 0, checked.stderr
