"""What the compiled table gains over plain Python: run with --benchmark-only, compare the groups."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fastq._ext import route
from tests.reference import route_table as reference

PAIRS = [(f"app{number}.tasks.*", {"queue": f"q{number}"}) for number in range(20)] + [
    (re.compile(r"(video|image)\.tasks\..*"), {"queue": "media"})
]


def table(module: Any) -> Any:
    return module.RouteTable([module.Patterns(PAIRS)], lambda answer: answer or {"queue": "celery"})


@pytest.fixture(params=["compiled", "reference"])
def module(request: pytest.FixtureRequest) -> Any:
    return {"compiled": route, "reference": reference}[request.param]


@pytest.mark.benchmark(group="lookup of a name seen before")
def test_lookup_of_a_name_seen_before(benchmark: Any, module: Any) -> None:
    assert benchmark(table(module).lookup, "app7.tasks.run") == {"queue": "q7"}


@pytest.mark.benchmark(group="search through 21 patterns")
def test_search_through_21_patterns(benchmark: Any, module: Any) -> None:
    assert benchmark(module.Patterns(PAIRS).find, "image.tasks.run") == {"queue": "media"}


@pytest.mark.benchmark(group="match of a topic")
def test_match_of_a_topic(benchmark: Any, module: Any) -> None:
    assert benchmark(module.topic_match, "#.video.*.fast", "eu.media.video.encode.fast") is True
