"""Workflows of either side run on either side's workers, and on both at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from tests.compat.sides import Pair

Write = Callable[[Any, Any], Any]
PLAIN: dict[str, tuple[Write, Any]] = {
    "chain": (lambda c, t: t.add.s(1, 2) | t.add.s(3) | t.add.s(4), 10),
    "immutable": (lambda c, t: t.add.s(1, 2) | t.add.si(3, 3) | t.add.s(4), 10),
    "group": (lambda c, t: c.group(t.add.s(n, n) for n in range(5)), [0, 2, 4, 6, 8]),
    "group of groups": (lambda c, t: c.group(t.add.s(0, 0), c.group(t.add.s(1, 1), t.add.s(2, 2))), [0, 2, 4]),
    "group of chains": (lambda c, t: c.group(t.add.s(n, n) | t.add.s(1) for n in range(3)), [1, 3, 5]),
    "task | group": (lambda c, t: t.add.s(1, 1) | c.group(t.add.s(1), t.add.s(2)), [3, 4]),
    "map": (lambda c, t: t.total.map([[1, 2], [3]]), [3, 3]),
    "starmap": (lambda c, t: t.add.starmap([(1, 2), (3, 4)]), [3, 7]),
    "chunks": (lambda c, t: t.add.chunks([(n, n) for n in range(5)], 2), [[0, 2], [4, 6], [8]]),
    "links of a chain": (lambda c, t: t.add.s(1, 1).set(link=[t.add.s(5) | t.add.s(6)]), 2),
}
REPLACED: dict[str, tuple[Write, Any]] = {
    "became a task": (lambda c, t: t.become.s("task", 3), 4),
    "became a chain": (lambda c, t: t.become.s("chain", 3), 14),
    "became a chain in a chain": (lambda c, t: t.add.s(1, 1) | t.become.si("chain", 3) | t.add.s(100), 114),
}
JOINED: dict[str, tuple[Write, Any]] = {
    "chord": (lambda c, t: c.chord([t.add.s(n, n) for n in range(5)], t.total.s()), 20),
    "chord of one": (lambda c, t: c.chord([t.add.s(1, 1)], t.total.s()), 2),
    "chord of none": (lambda c, t: c.chord([], t.total.s()), 0),
    "order": (lambda c, t: c.group(t.add.s(n, 0) for n in range(12)) | t.echo.s(), [[[*range(12)]], {}]),
    "task | group | task | task": (
        lambda c, t: t.add.s(1, 1) | c.group(t.add.s(1), t.add.s(2)) | t.total.s() | t.add.s(2), 9),
    "two groups": (lambda c, t: (c.group(t.add.s(1, 1), t.add.s(2, 2)) | t.total.s()
                                 | c.group(t.add.s(1), t.add.s(2)) | t.total.s()), 15),
    "group | group": (lambda c, t: c.group(t.add.s(1, 1), t.add.s(2, 2)) | c.group(t.total.s(), t.total.s()), [6, 6]),
    "group | group | task": (
        lambda c, t: c.group(t.add.s(1, 1), t.add.s(2, 2)) | c.group(t.total.s(), t.total.s()) | t.total.s(), 12),
    "chord in a header": (
        lambda c, t: c.chord([c.chord([t.add.s(1, 1), t.add.s(2, 2)], t.total.s()), t.add.s(3, 3)], t.total.s()), 12),
    "task behind a chord in a header": (
        lambda c, t: c.chord([c.group(t.add.s(1, 1), t.add.s(2, 2)) | t.total.s() | t.add.s(1), t.add.s(3, 3)],
                             t.total.s()), 13),
    "chain in a header": (lambda c, t: c.chord([t.add.s(1, 1) | t.add.s(2), t.add.s(3, 3)], t.total.s()), 10),
    "group in a header": (
        lambda c, t: c.chord([c.group(t.add.s(3, 3), t.add.s(4, 4)), t.add.s(1, 1)], t.total.s()), 16),
    "group that ends a member": (
        lambda c, t: c.chord([t.add.s(1, 1) | c.group(t.add.s(1), t.add.s(2)), t.add.s(3, 3)], t.total.s()), 13),
    "chord as a body": (
        lambda c, t: c.chord([t.add.s(1, 1)], t.total.s() | c.chord([t.add.s(1), t.add.s(2)], t.total.s())), 7),
    "deep": (lambda c, t: nested(c, t, 3), 27),
    "became a group": (lambda c, t: t.become.s("group", 3), [3, 4, 5]),
    "became a chord": (lambda c, t: t.become.s("chord", 3) | t.add.s(1), 13),
    "members that became something": (
        lambda c, t: c.chord([t.become.s("chain", 3), t.become.s("task", 1), t.add.s(1, 1)], t.total.s()), 18),
    "chunks as a header": (
        lambda c, t: t.add.chunks([(n, n) for n in range(5)], 2).group() | t.total.s(), 20),
    "a member that added one": (lambda c, t: c.chord([t.join.s(1), t.add.s(2, 2)], t.total.s()), 106),
}


def nested(canvas: Any, tasks: Any, depth: int) -> Any:
    """Chords in chords, three members each."""
    inner = tasks.add.s(1, 0) if depth == 1 else nested(canvas, tasks, depth - 1)
    return canvas.chord([inner, inner.clone(), inner.clone()], tasks.total.s())


def started(write: Write, pair: Pair) -> Any:
    canvas = import_module(f"{pair.client.side.module}.canvas")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write(canvas, pair.tasks).apply_async()


@pytest.mark.parametrize("name", PLAIN)
def test_a_workflow_ends_as_it_should(pair: Pair, name: str):
    write, expected = PLAIN[name]
    assert started(write, pair).get(timeout=15) == expected


@pytest.mark.parametrize("name", JOINED)
def test_what_joins_ends_as_it_should_where_results_can_be_joined(pair: Pair, broker_url: str, name: str):
    write, expected = JOINED[name]
    if broker_url.startswith("redis"):
        assert started(write, pair).get(timeout=15) == expected
    elif "became" not in name and name != "chord of none":
        with pytest.raises(NotImplementedError):
            started(write, pair)


@pytest.mark.parametrize("name", REPLACED)
def test_the_result_of_a_task_is_that_of_what_it_became(pair: Pair, broker_url: str, name: str):
    write, expected = REPLACED[name]
    if broker_url.startswith("redis") or pair.worker.side.module == "fastq":  # Celery's sends it to itself over rpc
        assert started(write, pair).get(timeout=15) == expected


def test_workers_of_both_sides_do_it_together(both: Pair, broker_url: str):
    workflows = {**PLAIN, **({**JOINED, **REPLACED} if broker_url.startswith("redis") else {})}
    sent = [(name, started(write, both), expected) for name, (write, expected) in workflows.items() for _ in range(3)]
    for name, result, expected in sent:
        assert (name, result.get(timeout=30)) == (name, expected)


def test_each_run_knows_its_place(pair: Pair):
    first = pair.tasks.where.s() | pair.tasks.where.s()
    result = first.apply_async()
    last, one = result.get(timeout=10), result.parent.get(timeout=10)
    assert one[:3] == [result.parent.id, result.parent.id, None]
    assert last[:3] == [result.id, result.parent.id, result.parent.id]
    canvas = import_module(f"{pair.client.side.module}.canvas")
    made = canvas.group(pair.tasks.where.s() for _ in range(3)).apply_async()
    assert [place[3:5] for place in made.get(timeout=10)] == [[made.id, n] for n in range(3)]


def test_stamps_come_to_every_run(pair: Pair):
    canvas = import_module(f"{pair.client.side.module}.canvas")
    made = pair.tasks.where.s() | canvas.group(pair.tasks.where.si(), pair.tasks.where.si())
    made.stamp(trace="x")
    result = made.apply_async()
    assert [place[5] for place in result.get(timeout=10)] == [{"trace": "x"}] * 2
    assert result.parent.get(timeout=10)[5] == {"trace": "x"}


def test_a_chain_that_fails_runs_no_further_and_calls_its_errbacks(pair: Pair, key: str):
    made = pair.tasks.fail.si("builtin") | pair.tasks.count.si(key)
    result = made.on_error(pair.tasks.keep_failure.s(key=f"{key}-error")).apply_async()
    with pytest.raises(ValueError, match="no good"):
        result.get(timeout=10)
    assert pair.wait_for_notes(f"{key}-error") == ["ValueError ('no good', 3)"]
    assert pair.tasks.add.delay(1, 1).get(timeout=10) == 2 and pair.worker.noted(key) == []
