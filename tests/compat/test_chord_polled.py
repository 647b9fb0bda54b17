"""Chords whose results are in a folder, where nobody counts: a message looks whether all have ended, on either side."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import pytest

from fastq.bench.servers.redis import Redis
from tests.compat.sides import SIDES, Client, Pair, Worker

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def folder(redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    url = redis.place()
    yield url, tmp_path_factory.mktemp("polled")
    redis.reclaim(url)


PAIRS = [("fastq", "fastq"), ("fastq", "celery"), ("celery", "fastq")]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest, folder: tuple[str, Path]) -> Iterator[Pair]:
    url, path = folder
    ours, theirs = request.param
    worker = Worker(SIDES[theirs], url, path, result_backend=f"file://{path}", result_chord_retry_interval=0.1,
                    task_default_queue=f"polled-{uuid4().hex}")
    try:
        worker.wait_until_ready()
        client = Client(SIDES[ours], url, worker.settings)
        yield Pair(client, worker)
        client.close()
    finally:
        worker.stop()


def test_a_chord_ends_with_its_values_in_order(pair: Pair):
    tasks, canvas = pair.tasks, import_module(f"{pair.client.side.module}.canvas")
    body = tasks.gather.s()
    plain = canvas.chord([tasks.add.s(n, n) for n in range(20)])(body)
    chained = (canvas.chain(tasks.add.s(1, 1), canvas.group(tasks.add.s(1), tasks.add.s(2) | tasks.add.s(3)))
               | tasks.gather.s() | tasks.echo.s()).apply_async()
    nested = canvas.chord([canvas.chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.gather.s()), tasks.add.s(3, 3)],
                          tasks.gather.s()).apply_async(interval=0.1, max_retries=500)
    assert plain.get(timeout=60) == [2 * n for n in range(20)]
    assert chained.get(timeout=60) == [[[3, 7]], {}]
    assert nested.get(timeout=60) == [[2, 4], 6]
    assert plain.parent.get(timeout=60) == [2 * n for n in range(20)]


def test_a_member_that_fails_fails_the_body_and_calls_its_errbacks(pair: Pair):
    key, canvas = uuid4().hex, import_module(f"{pair.client.side.module}.canvas")
    body = pair.tasks.gather.s().on_error(pair.tasks.keep_failure.s(key=key))
    result = canvas.chord([pair.tasks.add.s(1, 1), pair.tasks.fail.si("builtin")])(body)
    error = result.get(timeout=60, propagate=False)
    assert type(error).__name__ == "ChordError" and "no good" in str(error)
    (line,) = pair.wait_for_notes(key)
    assert "ChordError" in line


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[1] == "fastq"], ids="-".join, indirect=True)
def test_workers_of_ours_join_members_whose_results_nobody_wants(pair: Pair):
    canvas = import_module(f"{pair.client.side.module}.canvas")
    members = [pair.tasks.add.s(n, n).set(ignore_result=True) for n in range(3)]
    assert canvas.chord(members)(pair.tasks.gather.s()).get(timeout=60) == [0, 2, 4]
