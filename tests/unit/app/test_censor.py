"""Secrets do not get out in a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq.app.censor import MASK, censor, censor_url

NAMES: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors/celery_names.json").read_text())


@pytest.mark.parametrize(("url", "shown"), NAMES["urls"], ids=lambda url: url[:25])
def test_a_url_is_shown_as_celery_shows_it(url: str, shown: str) -> None:
    assert censor_url(url) == shown


@pytest.mark.parametrize(("url", "shown"), [
    ("not a url", "not a url"),
    ("amqp://me:p;a@s/s?w#o:rd@host:5672//", f"amqp://me:{MASK}@host:5672//"),
    ("redis://host/0?password=secret&db=1", f"redis://host/0?password={MASK}&db=1"),
    ("amqp://a:b@h1;amqp://c:d@h2", f"amqp://a:{MASK}@h1;amqp://c:{MASK}@h2"),
    ("azureblockblob://AccountName=a;SharedAccessSignature=s?v=1&sig=x",
     f"azureblockblob://AccountName=a;SharedAccessSignature={MASK}"),
])
def test_a_url_of_any_form_shows_too_little_rather_than_too_much(url: str, shown: str) -> None:
    assert censor_url(url) == shown


@given(st.text(min_size=8))
def test_no_password_gets_out_of_a_url_whatever_signs_it_has(password: str) -> None:
    assert password not in censor_url(f"amqp://me:{password}@host/").replace("amqp://me:", "").replace("@host/", "") \
        or password in MASK


def test_settings_are_masked_by_name_and_at_any_depth() -> None:
    assert censor({
        "broker_password": "secret", "s3_secret_access_key": "secret", "redis_password": None, "database_url": "x",
        "task_default_routing_key": "celery", "task_time_limit": 5, "database_engine_options": {"pool_recycle": 5},
        "broker_url": ["amqp://a:b@c", "memory://"], "beat_schedule": {"a": {"kwargs": {"token": "t", "n": [1]}}},
        "security_key_password": b"secret",
    }) == {
        "broker_password": MASK, "s3_secret_access_key": MASK, "redis_password": None, "database_url": MASK,
        "task_default_routing_key": "celery", "task_time_limit": 5, "database_engine_options": {"pool_recycle": 5},
        "broker_url": [f"amqp://a:{MASK}@c", "memory://"], "security_key_password": MASK,
        "beat_schedule": {"a": {"kwargs": {"token": MASK, "n": [1]}}},
    }
