"""How many children there are to be, and that they come and go."""

from __future__ import annotations

from collections.abc import Callable

from fastq.worker.autoscale import Autoscaler
from tests.project import Project


def test_it_doubles_while_all_are_busy_and_stays_in_its_bounds() -> None:
    now = [0.0]
    scaler = Autoscaler((6, 1), 10, clock=lambda: now[0], keepalive_s=30.0)
    sizes = [1]
    for _ in range(5):
        now[0] += 0.3
        sizes.append(scaler.wanted(sizes[-1], in_hand=10 * sizes[-1]))
    assert sizes == [1, 2, 4, 6, 6, 6]
    assert scaler.wanted(6, in_hand=59) == 6


def test_it_takes_its_time_between_two_steps() -> None:
    now = [0.0]
    scaler = Autoscaler((8, 1), 1, clock=lambda: now[0], keepalive_s=30.0)
    assert (scaler.wanted(1, in_hand=1), scaler.wanted(2, in_hand=2)) == (2, 2)


def test_one_leaves_when_one_had_nothing_to_do_for_long() -> None:
    now = [0.0]
    scaler = Autoscaler((8, 2), 1, clock=lambda: now[0], keepalive_s=30.0)
    assert scaler.wanted(4, in_hand=4) == 8
    assert (scaler.due_s(4), scaler.due_s(2)) == (30.0, None)
    now[0] = 29.0
    assert scaler.wanted(4, in_hand=3) == 4
    now[0] = 31.0
    assert scaler.wanted(4, in_hand=3) == 3     # the fourth was needed at 0
    assert scaler.wanted(3, in_hand=3) == 6     # and the others still are
    now[0] = 100.0
    assert [scaler.wanted(2, in_hand=0)] == [2]


TASKS = """
@app.task
def wait(name):
    note("began", name)
    wait_for("go")
    return os.getpid()
"""


def test_children_come_with_the_work_and_go_after_it(make_project: Callable[..., Project]) -> None:
    project = make_project(TASKS)
    worker = project.start(concurrency=None, autoscale=(3, 1), environment={"AUTOSCALE_KEEPALIVE": "0.2"})
    assert len(worker.children()) == 1
    results = [project.tasks.wait.delay(name) for name in "abc"]
    project.wait_for_note("began a", "began b", "began c")
    assert len(worker.children()) == 3
    project.allow("go")
    assert len({result.get(timeout=20) for result in results}) == 3
    project.wait_for(lambda: len(worker.children()) == 1)
    assert project.tasks.wait.delay("d").get(timeout=20) in worker.children()
    assert "ERROR" not in worker.said()
    assert worker.stop() == 0


def test_remote_control_adds_children_and_takes_them_away(make_project: Callable[..., Project]) -> None:
    project = make_project(TASKS)
    worker = project.start(concurrency=1)
    control = project.app.control
    [answer] = control.pool_grow(2, reply=True, timeout=20, limit=1)
    assert list(answer.values()) == [{"ok": "pool will grow"}]
    project.wait_for(lambda: len(worker.children()) == 3)
    results = [project.tasks.wait.delay(name) for name in "abc"]
    project.wait_for_note("began a", "began b", "began c")      # three at a time
    control.pool_shrink(2, reply=True, timeout=20, limit=1)
    project.allow("go")
    assert [result.get(timeout=20) > 0 for result in results] == [True] * 3     # those that leave finish first
    project.wait_for(lambda: len(worker.children()) == 1)
    [answer] = control.pool_grow(50, reply=True, timeout=20, limit=1)
    assert "may have 1 to 9 children, not 51" in str(answer)
    [answer] = control.autoscale(3, 1, reply=True, timeout=20, limit=1)
    assert list(answer.values()) == [{"error": "Autoscale not enabled"}]
    assert worker.stop() == 0
