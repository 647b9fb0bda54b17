"""Tasks that kill what runs them: they end in the dead letters, and take no neighbour with them."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from fastq.exceptions import TimeLimitExceeded, WorkerLostError
from tests.project import Project

Make = Callable[..., Project]

DEADLY = """
@app.task
def poison(weapon):
    note("poison", weapon)
    if os.path.exists("antidote"):
        return "cured"
    if weapon == "child":
        os.kill(os.getpid(), signal.SIGKILL)
    elif weapon == "exit":
        os._exit(3)
    else:
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()

@app.task(ignore_result=True)
def innocent(n):
    note("innocent", n)

@app.task(acks_late=False)
def poison_early():
    note("early")
    os.kill(os.getpid(), signal.SIGKILL)

@app.task(reject_on_worker_lost=False)
def poison_once():
    note("once")
    os.kill(os.getpid(), signal.SIGKILL)

@app.task(time_limit=0.2)
def endless(name):
    note("endless", name)
    wait_for("never")

@app.task(time_limit=0.2, acks_on_timeout=False)
def endless_kept():
    note("kept")
    wait_for("never")
"""


def innocents(project: Project) -> Counter[str]:
    return Counter(line for line in project.notes if line.startswith("innocent"))


@pytest.mark.parametrize(("weapon", "cause"), [("child", "was killed by SIGKILL"), ("exit", "exited with status 3")])
def test_a_task_that_kills_its_child_is_dead_after_three_deaths(make_project: Make, weapon: str, cause: str) -> None:
    project = make_project(DEADLY)
    project.tasks.innocent.map_delay(range(100))
    result = project.tasks.poison.delay(weapon)
    project.tasks.innocent.map_delay(range(100, 200))
    worker = project.start(concurrency=2)
    project.wait_for(lambda: project.dead and project.is_idle())
    [letter] = project.dead
    assert letter.reason.startswith("poison: it killed 3 children, the last: child ")
    assert cause in letter.reason
    assert letter.deaths == 2   # counted in the broker; the third is why it lies here
    assert f"of queue 'celery' goes to the dead letters: {letter.reason}" in worker.said()
    assert project.notes.count(f"poison {weapon}") == 3
    assert innocents(project) == {f"innocent {n}": 1 for n in range(200)}
    with pytest.raises(WorkerLostError, match=f"poison: it killed 3 children, the last: child .* {cause}"):
        result.get(timeout=5)
    assert worker.stop() == 0


def test_a_dead_letter_can_be_replayed_and_then_succeeds(make_project: Make) -> None:
    project = make_project(DEADLY)
    result = project.tasks.poison.delay("child")
    worker = project.start()
    project.wait_for(lambda: project.dead)
    assert project.app.transport.resolve_dead([project.dead[0].id], replay=True) == 1
    project.wait_for(lambda: project.dead)      # its deaths were forgotten: it takes three more
    assert project.notes.count("poison child") == 6
    (project.folder / "antidote").touch()
    project.app.transport.resolve_dead([project.dead[0].id], replay=True)
    # A new handle each time: one that has seen the failure keeps it.
    project.wait_for(lambda: project.app.AsyncResult(result.id).state == "SUCCESS")
    assert result.get(timeout=5) == "cured"
    assert project.dead == []
    assert worker.stop() == 0


def test_a_task_that_kills_its_supervisor_is_dead_after_three_deaths(make_project: Make) -> None:
    project = make_project(DEADLY)
    project.tasks.innocent.map_delay(range(30))
    project.tasks.poison.delay("supervisor")
    project.tasks.innocent.map_delay(range(30, 60))
    worker = project.restart_until(lambda: bool(project.dead) and project.is_idle(), concurrency=2)
    [letter] = project.dead
    assert letter.reason == "poison: it killed 3 workers or children"
    assert project.notes.count("poison supervisor") == 3
    runs = innocents(project)
    assert set(runs) == {f"innocent {n}" for n in range(60)}
    assert max(runs.values()) <= 4      # once, and once more for each death that it was in hand at
    assert worker.stop() == 0


def test_two_poisons_in_one_prefetch_are_both_condemned_and_every_innocent_runs(make_project: Make) -> None:
    """An innocent on its last trial may be condemned with the second one: it has run by then."""
    project = make_project(DEADLY)
    for n in range(20):
        project.tasks.innocent.delay(n)
        if n in (5, 15):
            project.tasks.poison.delay("supervisor")
    worker = project.restart_until(lambda: len(project.dead) >= 2 and project.is_idle(), concurrency=2)
    # The other may strike once more while the first, condemned already, waits for a child to say so.
    assert {letter.reason for letter in project.dead} <= {f"poison: it killed {n} workers or children" for n in (3, 4)}
    assert sum(b"proj.poison" in letter.content for letter in project.dead) == 2
    assert set(innocents(project)) == {f"innocent {n}" for n in range(20)}
    assert worker.stop() == 0


def test_many_poisons_do_not_end_the_worker(make_project: Make) -> None:
    project = make_project(DEADLY)
    for _ in range(6):
        project.tasks.poison.delay("child")
    project.tasks.innocent.delay(1)
    worker = project.start(concurrency=2)
    project.wait_for(lambda: len(project.dead) == 6 and project.is_idle())
    assert innocents(project) == {"innocent 1": 1}
    assert worker.stop() == 0


def test_an_early_acked_task_that_kills_its_child_runs_once_and_its_result_says_why(make_project: Make) -> None:
    project = make_project(DEADLY)
    result = project.tasks.poison_early.delay()
    worker = project.start()
    with pytest.raises(WorkerLostError, match="was killed by SIGKILL"):
        result.get(timeout=10)
    assert (project.notes, project.dead, project.is_idle()) == (["early"], [], True)
    assert worker.stop() == 0


def test_a_task_that_is_not_to_be_put_back_runs_once_and_its_result_says_why(make_project: Make) -> None:
    project = make_project(DEADLY)
    result = project.tasks.poison_once.delay()
    worker = project.start()
    with pytest.raises(WorkerLostError, match="was killed by SIGKILL"):
        result.get(timeout=10)
    project.wait_for(project.is_idle)
    assert (project.notes, project.dead) == (["once"], [])
    assert worker.stop() == 0


def test_the_number_of_deaths_can_be_set(make_project: Make) -> None:
    project = make_project(DEADLY, task_max_deaths=1)
    project.tasks.poison.delay("child")
    worker = project.start()
    project.wait_for(lambda: project.dead)
    assert project.notes == ["poison child"]
    assert worker.stop() == 0


def test_a_task_over_its_hard_limit_loses_its_child_and_nothing_else(make_project: Make) -> None:
    project = make_project(DEADLY)
    results = [project.tasks.endless.delay(n) for n in range(2)]
    project.tasks.innocent.map_delay(range(20))
    worker = project.start(concurrency=2)
    children = set(worker.children())
    for result in results:
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=10)
    project.wait_for(project.is_idle)
    assert innocents(project) == {f"innocent {n}": 1 for n in range(20)}
    assert sorted(line for line in project.notes if line.startswith("endless")) == ["endless 0", "endless 1"]
    assert not children & set(worker.children())
    assert worker.said().count("Hard time limit (0.2s) exceeded") == 2
    assert (project.dead, worker.stop()) == ([], 0)


def test_a_task_over_its_hard_limit_that_is_not_acked_comes_back_until_it_is_a_dead_letter(make_project: Make) -> None:
    project = make_project(DEADLY)
    project.tasks.endless_kept.delay()
    worker = project.start()
    project.wait_for(lambda: project.dead)
    assert project.dead[0].reason == "poison: it killed 3 children, the last: hard time limit of 0.2 s exceeded"
    assert project.notes == ["kept"] * 3
    assert worker.stop() == 0


def test_a_child_that_dies_with_its_end_written_down_has_not_said_it(make_project: Make) -> None:
    project = make_project("""
@app.task
def plain():
    pass

@app.task(bind=True)
def again(self):
    note("run", self.request.retries, self.request.deaths)
    if not self.request.retries:
        raise self.retry(countdown=0)
""")
    # Each child dies when it has written down its second end: of the first child that is a retry.
    project.start(environment={"FASTQ_KILL_AT": "recorded:2"})
    project.tasks.plain.delay()
    project.tasks.again.delay().get(timeout=30)
    assert project.notes == ["run 0 0", "run 0 1", "run 1 0", "run 1 1"]


def test_children_that_die_as_they_start_end_the_worker_with_one_clear_error(make_project: Make) -> None:
    project = make_project(DEADLY + """
@signals.worker_process_init.connect
def die(**kwargs):
    os._exit(9)
""")
    project.tasks.innocent.delay(1)
    worker = project.start(until_ready=False, concurrency=2)
    assert worker.process.wait(20) == 1
    said = worker.said()
    assert said.count("children in a row ended before they could take a task, and starting more is pointless") == 1
    assert "exited with status 9" in said
    assert "Traceback" not in said
    assert (project.queue.ready, project.queue.held) == (1, 0)


def test_a_killed_child_is_replaced_and_its_task_runs_again(make_project: Make) -> None:
    project = make_project("""
@app.task
def wait(name):
    note("started", os.getpid())
    wait_for(name)
    return os.getpid()
""")
    result = project.tasks.wait.delay("gate")
    worker = project.start()
    project.wait_for(lambda: len(project.notes) == 1)
    victim = int(project.notes[0].split()[1])
    os.kill(victim, signal.SIGKILL)
    project.allow("gate")
    assert result.get(timeout=10) == int(project.notes[1].split()[1]) != victim
    assert "goes back to queue 'celery': child 0" in worker.said()
    assert worker.stop() == 0
