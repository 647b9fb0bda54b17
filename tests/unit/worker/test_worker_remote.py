"""A worker that is told what to do while it works: real processes, through ``app.control`` and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from fastq.exceptions import ConfigError, TaskRevokedError, TimeLimitExceeded
from fastq.worker.control import Panel, control_command
from tests.deadline import wait_until
from tests.project import Program, Project

TASKS = """
@app.task
def gated(name):
    note("gated", name)
    wait_for(name)
    note("done", name)

@app.task
def mark(name):
    note("mark", name)
    return name

"""
Make = Callable[..., Project]


@pytest.fixture
def project(make_project: Make) -> Project:
    return make_project(TASKS)


def node(project: Project) -> str:
    (answer,) = project.app.control.ping(timeout=10, limit=1)
    (name,) = answer
    return str(name)


def test_what_waits_behind_a_task_is_revoked_and_the_rest_runs(project: Project):
    project.start()
    project.tasks.gated.delay("gate")
    project.wait_for_note("gated gate")
    results = [project.tasks.mark.delay(str(number)) for number in range(6)]
    project.app.control.revoke([result.id for result in results[::2]], reply=True, timeout=10, limit=1)
    project.allow("gate")
    assert [result.get(timeout=15) for result in results[1::2]] == ["1", "3", "5"]
    for result in results[::2]:
        with pytest.raises(TaskRevokedError):
            result.get(timeout=15)
    assert not {"mark 0", "mark 2", "mark 4"} & set(project.notes)


def test_a_revocation_outlives_every_worker_and_is_known_to_new_ones(project: Project):
    result, later = project.tasks.mark.delay("never"), project.tasks.mark.delay("later")
    result.revoke()
    project.start()
    assert later.get(timeout=15) == "later"
    with pytest.raises(TaskRevokedError):
        result.get(timeout=15)
    assert project.notes == ["mark later"]


def test_tasks_are_revoked_by_their_stamps(project: Project):
    project.app.control.revoke_by_stamped_headers({"customer": ["acme", "other"]})
    project.start()
    stamped = {"stamped_headers": ["customer"], "customer": "acme"}
    result = project.tasks.mark.apply_async(("stamped",), headers=stamped)
    project.tasks.mark.delay("plain").get(timeout=15)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=15)
    assert project.notes == ["mark plain"]


def test_a_task_that_runs_is_terminated_and_its_child_replaced(project: Project):
    worker = project.start()
    result = project.tasks.gated.delay("gate")
    project.wait_for_note("gated gate")
    before = worker.children()
    (answer,) = project.app.control.terminate(result.id, reply=True, timeout=10, limit=1)
    assert result.id in next(iter(answer.values()))["ok"]
    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=15)
    assert project.tasks.mark.delay("after").get(timeout=15) == "after"
    assert worker.children() != before and project.dead == []
    assert "done gate" not in project.notes


def test_an_unknown_signal_is_named_and_nothing_is_killed(project: Project):
    worker = project.start()
    result = project.tasks.gated.delay("gate")
    project.wait_for_note("gated gate")
    (answer,) = project.app.control.terminate(result.id, signal="SIGNOPE", reply=True, timeout=10, limit=1)
    assert "SIGNOPE" in next(iter(answer.values()))["error"]
    project.allow("gate")
    result.get(timeout=15)
    assert worker.stop() == 0


def test_a_time_limit_is_changed_while_it_works_but_for_messages_that_name_their_own(project: Project):
    project.start()
    own = project.tasks.gated.apply_async(("gate",), time_limit=60)
    project.wait_for_note("gated gate")
    project.app.control.time_limit(project.tasks.gated.name, hard=0.3, reply=True, timeout=10, limit=1)
    limited = project.tasks.gated.delay("never")
    project.allow("gate")
    own.get(timeout=15)
    with pytest.raises(TimeLimitExceeded, match=r"0\.3"):
        limited.get(timeout=15)


def test_a_rate_limit_spreads_starts_and_keeps_nobody_else_waiting(project: Project):
    project.start()
    control = project.app.control
    control.rate_limit(project.tasks.mark.name, "2/m", reply=True, timeout=10, limit=1)
    results = project.tasks.mark.map_delay(str(number) for number in range(5))
    project.tasks.gated.delay("open")
    project.allow("open")
    project.wait_for_note("done open")
    project.wait_for(lambda: project.queue.future == 4)
    assert sum(note.startswith("mark") for note in project.notes) == 1
    control.rate_limit(project.tasks.mark.name, 0, reply=True, timeout=10, limit=1)
    assert len(results) == 5


ADDED = TASKS + """
from fastq.worker.control import control_command, inspect_command

@inspect_command(alias="where")
def folder(state):
    "Where this worker is."
    return [state.hostname, os.getcwd()]

@control_command(args=[("factor", int)], signature="FACTOR [NUMBER...]", variadic="numbers")
def times(state, factor=2, numbers=()):
    if factor == 0:
        raise ValueError("nothing is left of them")
    return {"ok": [factor * number for number in numbers]}
"""


def test_a_program_adds_commands_of_its_own(make_project: Make):
    project = make_project(ADDED)
    project.start()
    name = node(project)

    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "fastq", "-A", "proj", *words, "-t", "10", "-d", name],
                              cwd=project.folder, capture_output=True, text=True, timeout=60, check=False)

    told = ran("inspect", "folder", "--json")
    assert json.loads(told.stdout) == {name: [name, str(project.folder)]}
    assert ran("inspect", "where", "--json").stdout == told.stdout
    assert json.loads(ran("control", "times", "3", "1", "2", "--json").stdout) == {name: {"ok": [3, 6]}}
    assert json.loads(ran("control", "times", "--json").stdout) == {name: {"ok": []}}
    failed = ran("control", "times", "0")
    assert failed.returncode == 1 and "nothing is left of them" in failed.stderr
    wrong = ran("control", "times", "much")
    assert wrong.returncode == 64 and "times takes FACTOR [NUMBER...]" in wrong.stderr
    unknown = ran("inspect", "times")
    assert unknown.returncode == 64 and "no command times" in unknown.stderr
    assert project.tasks.mark.delay("after").get(timeout=15) == "after"


def test_a_command_cannot_take_the_name_of_one_that_is_there():
    with pytest.raises(ConfigError, match="'revoke' is a command of fastq's"):
        control_command(name="revoke")(lambda state: None)
    assert "revoke" not in Panel.meta


def test_workers_tell_what_is_revoked_and_learn_it(project: Project):
    project.start()
    result = project.tasks.mark.apply_async(("never",), queue="nobody")
    asking = project.app.control.inspect(timeout=10, limit=1)
    assert asking.hello("celery@other", [result.id])[node(project)] == {"revoked": [result.id], "clock": 0}
    again = project.tasks.mark.apply_async(("never",), task_id=result.id)
    assert project.tasks.mark.delay("after").get(timeout=15) == "after"
    with pytest.raises(TaskRevokedError):
        again.get(timeout=15)
    assert asking.hello(node(project)) is None


def test_a_worker_reports_itself_without_its_secrets(make_project: Make):
    project = make_project(TASKS, security_key_password="hunter2")
    project.start()
    (report,) = project.app.control.inspect(timeout=10, limit=1).report().values()
    assert all(part in report["ok"] for part in ("fastq ", "python ", "sqlite "))
    assert "hunter" not in report["ok"] and report["ok"] == project.app.bugreport()


def test_what_only_workers_of_celery_do_is_answered_and_no_error_in_the_log(project: Project):
    worker, control, told = project.start(), project.app.control, {"reply": True, "timeout": 10, "limit": 1}
    for tell in (control.enable_events, control.disable_events, control.heartbeat):
        (answer,) = tell(**told)
        assert "no events" in answer[node(project)]["error"]
    asking = control.inspect(timeout=10, limit=1)
    (graph,) = asking.objgraph().values()
    assert "memdump" in graph["error"]
    (now,) = asking.memsample().values()
    (samples,) = asking.memdump(2).values()
    assert now.endswith("MB") and float(now[:-2]) > 5 and len(samples) == 2 and samples[0] == now
    assert "failed" not in worker.said()


def test_shutdown_by_remote_is_warm(project: Project):
    worker = project.start()
    project.app.control.shutdown(destination=[node(project)])
    assert worker.process.wait(15) == 0
    assert "Got shutdown from remote" in worker.said()


def test_a_worker_without_remote_control_answers_nobody(make_project: Make):
    project = make_project(TASKS, worker_enable_remote_control=False)
    project.start()
    assert project.app.control.ping(timeout=0.5) == []
    assert project.tasks.mark.delay("x").get(timeout=15) == "x"


def test_what_cannot_be_read_is_logged_and_the_worker_goes_on(project: Project):
    worker = project.start()
    mailbox = project.app.open_mailbox()
    mailbox.request(b"\0\0\0\2\0\0no json")
    wait_until(lambda: "cannot be read" in worker.said())
    mailbox.close()
    assert project.app.control.ping(timeout=10, limit=1)


def run(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fastq", "-A", "proj", *words], cwd=project.folder, text=True,
                          capture_output=True, timeout=60, check=False)


def test_the_command_line_asks_and_tells(project: Project):
    worker: Program = project.start()
    name = node(project)
    answered = run(project, "inspect", "ping", "-d", name, "-t", "10", "--json")
    assert (answered.returncode, json.loads(answered.stdout)) == (0, {name: {"ok": "pong"}})
    assert "proj.mark" in run(project, "inspect", "registered", "-d", name, "-t", "10").stdout
    told = run(project, "control", "rate_limit", "proj.mark", "10/m", "-d", name, "-t", "10")
    assert "new rate limit set successfully" in told.stdout
    refused = run(project, "control", "rate_limit", "proj.mark", "often", "-d", name, "-t", "10")
    assert refused.returncode == 1 and "is no rate" in refused.stderr
    assert run(project, "control", "shutdown", "-d", name).returncode == 0
    assert worker.process.wait(15) == 0


@pytest.mark.parametrize(("words", "why"), [
    (("inspect", "pin"), "did you mean 'ping'?"), (("control", "rate_limit"), "rate_limit takes TASK RATE"),
    (("control", "revoke_by_stamped_headers", "x"), "is no header=value"),
])
def test_a_slip_on_the_command_line_is_named(project: Project, words: tuple[str, ...], why: str):
    slipped = run(project, *words)
    assert slipped.returncode == 64 and why in slipped.stderr


def test_nobody_there_is_said_with_celerys_exit_code(project: Project):
    asked = run(project, "inspect", "ping", "-t", "0.2")
    assert asked.returncode == 69 and "no worker answered" in asked.stderr
