"""Arguments and results mean the same on the other side, in every serializer and compression."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tests.compat.sides import SERIALIZERS, Pair
from tests.compat.tasks import Point

PLAIN = [0, -1, 2**40, 1.5, None, True, "", "gr\u00fc\u00df dich \u2603", [1, [2, []]], {"a": {"b": [None]}}]
ARGUMENTS: dict[str, list[Any]] = {
    "json": [
        *PLAIN, 2**70, float("inf"), datetime(2031, 2, 3, 4, 5, 6, 7, timezone.utc), date(2031, 2, 3), b"text",
        b"\xff\x00", Decimal("3.140"), UUID("12345678123456781234567812345678"),
    ],
    "pickle": [*PLAIN, 2**70, (1, (2,)), {3, 4}, b"\xff\x00", timedelta(days=1), 1j, {5: 6}],
    "msgpack": [*PLAIN, 2**63, -(2**63), b"\xff\x00"],
    "yaml": [*PLAIN, 2**70, date(2031, 2, 3), datetime(2031, 2, 3, 4, 5, 6), b"\xff\x00"],
}
COMPRESSIONS = ("zlib", "gzip", "bzip2", "lzma", "brotli", "zstd")


@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_arguments_arrive_as_they_were_sent(pair: Pair, serializer: str):
    arguments = ARGUMENTS[serializer]
    sent = pair.tasks.show.apply_async(tuple(arguments), {"named": arguments}, serializer=serializer)
    assert sent.get(timeout=10) == repr((tuple(arguments), {"named": arguments}))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("size", [0, 200_000])
def test_a_compressed_message_is_understood(pair: Pair, compression: str, size: int):
    sent = pair.tasks.echo.apply_async(("x" * size,), compression=compression)
    assert sent.get(timeout=10) == [["x" * size], {}]


def test_models_arrive_as_models_and_come_back_as_data(pair: Pair):
    assert pair.tasks.move.delay(Point(x=1), by=Point(x=2)).get(timeout=10) == {"x": 3, "y": 0}
    assert pair.tasks.move.apply_async(({"x": "4"},), serializer="msgpack").get(timeout=10) == {"x": 4, "y": 0}
    assert pair.tasks.move.apply_async((Point(x=5), None), serializer="pickle").get(timeout=10) == {"x": 5, "y": 0}
    # Its arguments are the error's own, and its name is the same for everybody.
    error = pair.tasks.move.delay({"x": "far"}).get(timeout=10, propagate=False)
    assert "ValidationError" in type(error).__name__ + str(error)


def test_a_message_of_many_frames_arrives_whole(pair: Pair):
    text = "0123456789abcdef" * (3 << 16)
    assert pair.tasks.echo.delay(text).get(timeout=20) == [[text], {}]


@pytest.fixture(scope="package", params=["pickle", "msgpack", "yaml"])
def other(request: pytest.FixtureRequest, make_pair: Callable[..., Pair]) -> Pair:
    """A client and a worker for whom another serializer than JSON is the usual one."""
    return make_pair(result_serializer=request.param, task_serializer=request.param)


def test_results_arrive_in_the_serializer_of_the_worker(other: Pair):
    assert other.tasks.echo.delay(*PLAIN, named=PLAIN).get(timeout=10) == [PLAIN, {"named": PLAIN}]


def test_exceptions_arrive_in_the_serializer_of_the_worker(other: Pair):
    with pytest.raises(ValueError, match="no good"):
        other.tasks.fail.delay("builtin").get(timeout=10)
