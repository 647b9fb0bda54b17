"""Routing keys that delay."""

from __future__ import annotations

import base64
import math
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq._ext import amqp
from fastq.transport.amqp_future import (
    LONGEST_S,
    pair_suffix,
    queue_of,
    queue_suffix,
    routing_key,
    seconds_until,
    tells_time,
)
from tests.ext.ringkit import message
from tests.reference import recorded

GOOD = [each for each in recorded.load("delayed_delivery_routing_keys")["examples"] if "note" not in each]


@pytest.mark.parametrize("example", GOOD)
def test_the_digits_are_those_of_celery(example: dict[str, object]) -> None:
    assert routing_key(int(str(example["countdown"])), str(example["key"])) == example["routing_key"]


def test_a_delayed_publish_is_to_the_byte_that_of_celery() -> None:
    frames = base64.b64decode(recorded.load("delayed_delivery_5s")["published"][0]["frames_b64"])
    method = amqp.publisher(1, "celery_delayed_27", routing_key(5, "celery"))
    assert frames[:len(method)] == method


@pytest.mark.parametrize(("ahead_s", "seconds"), [
    (-1e9, 0), (-0.1, 0), (0, 0), (0.001, 1), (0.5, 1), (1, 1), (1.001, 2), (LONGEST_S, LONGEST_S),
])
def test_seconds_are_rounded_up_and_never_negative(ahead_s: float, seconds: int) -> None:
    assert seconds_until(1000 + ahead_s, 1000) == seconds


@pytest.mark.parametrize(("ahead_s", "seconds"), [(-0.2, 0), (0.3, 0), (0.8, 0), (0.95, 1), (1, 1), (1.8, 1), (1.95, 2),
                                                  (LONGEST_S, LONGEST_S)])
def test_seconds_are_rounded_down_for_what_may_be_early_but_for_a_tenth(ahead_s: float, seconds: int) -> None:
    assert seconds_until(1000 + ahead_s, 1000, is_early=True) == seconds


def test_a_message_with_an_eta_tells_its_time() -> None:
    assert tells_time(message(eta="2099-01-01T00:00:00"))
    assert [tells_time(content) for content in (message(), message(eta=None), b"", b"junk")] == [False] * 4


@given(st.floats(0, 4e9), st.floats(0, LONGEST_S - 1))
def test_a_message_is_never_early(now: float, ahead_s: float) -> None:
    assert now + seconds_until(now + ahead_s, now) >= now + ahead_s


@pytest.mark.parametrize("ahead_s", [LONGEST_S + 1, 1e12, math.inf])
def test_a_date_too_far_ahead_is_named(ahead_s: float) -> None:
    now = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()
    with pytest.raises(ValueError, match=r"8\.5 years.*(2034-07-04T21:24:16|9999-12-31T23:59:59)\+00:00"):
        seconds_until(now + ahead_s, now)


@pytest.mark.parametrize("delay_s", [-1, 0, LONGEST_S + 1])
def test_no_key_is_made_that_the_levels_would_misread(delay_s: int) -> None:
    with pytest.raises(ValueError, match=str(LONGEST_S)):
        routing_key(delay_s, "celery")


@given(st.text(max_size=40), st.integers(1, LONGEST_S))
def test_a_queue_is_read_back_from_its_key(name: str, delay_s: int) -> None:
    assert queue_of(routing_key(delay_s, queue_suffix(name))) == name


@given(st.text("ab.%@#*", max_size=6), st.text("ab.%@#*", max_size=6))
def test_different_queues_have_different_words(one: str, other: str) -> None:
    words = queue_suffix(one).split(".")
    assert len(words) == 2
    assert (words == queue_suffix(other).split(".")) == (one == other)
    assert not set(words) & {"#", "*", ""}


def test_other_keys_name_no_queue() -> None:
    for key in ("", "celery", routing_key(1, "celery"), "x@queue", "@fastq", routing_key(1, pair_suffix("queue", "q"))):
        assert queue_of(key) is None


def test_a_name_that_fits_no_routing_key_is_refused() -> None:
    assert len(routing_key(1, queue_suffix("q" * 186)).encode()) == 255
    with pytest.raises(ValueError, match="too long"):
        queue_suffix("q" * 187)
    with pytest.raises(ValueError, match="too long"):
        pair_suffix("e" * 100, "k" * 100)
