"""``fastq worker``: what it applies, what it refuses, and that it runs tasks."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from fastq.cli.worker import NOT_YET
from fastq.proc import is_root_for_pickle
from tests.deadline import wait_until
from tests.unit.cli.conftest import Cli, environment

WORKER = ("-A", "proj", "worker")


@contextmanager
def running(log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of ``proj`` while the block runs, then stop it warmly."""
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "fastq", *WORKER, *words], env=environment(),
                                   stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: " ready." in log.read_text() or process.poll() is not None, 20, what="the worker's boot")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_it_says_where_it_works_and_runs_tasks(cli: Cli, proj: Path, tmp_path: Path):
    log = tmp_path / "out"
    with running(log, "-c", "2", "-n", "w1@%n", "-l", "info") as process:
        task_id = cli("-A", "proj", "call", "proj.add", "-a", "[2, 3]").out.strip()
        assert cli("-A", "proj", "result", "--wait", "--timeout", "20", task_id).out == "5\n"
        assert len(psutil.Process(process.pid).children()) == 2
    assert process.returncode == 0
    banner = log.read_text()
    for words in (["broker", f"sqlite:///{tmp_path}/proj.fastq.db"], ["concurrency", "2", "(prefork)"],
                  ["queues", "celery"], ["tasks", "proj.add"], ["app", "proj"]):
        assert words in [line.split() for line in banner.splitlines()]
    assert " w1@" in banner and "\x1b" not in banner


def test_quiet_means_no_banner(proj: Path, tmp_path: Path):
    with running(tmp_path / "out", "-q", "-P", "solo", "-l", "info"):
        pass
    assert "concurrency" not in (tmp_path / "out").read_text()


def test_it_takes_only_from_the_queues_that_are_named_and_not_left_out(cli: Cli, proj: Path, tmp_path: Path):
    for queue in ("mail", "slow"):
        cli("-A", "proj", "call", "proj.add", "-a", "[1, 1]", "--queue", queue)
    with running(tmp_path / "out", "-P", "solo", "-Q", "mail,slow", "-X", "slow", "-l", "info"):
        wait_until(lambda: ready(cli) == {"mail": 0, "slow": 1}, 20)


def test_what_waits_is_dropped_first_if_asked(cli: Cli, proj: Path, tmp_path: Path):
    cli("-A", "proj", "call", "proj.add", "-a", "[1, 1]")
    with running(tmp_path / "out", "-P", "solo", "--purge", "-l", "info"):
        pass
    assert "dropped 1 messages from celery" in (tmp_path / "out").read_text()
    assert ready(cli) == {"celery": 0}


def test_without_prefetch_it_takes_one_message_for_each_free_child(cli: Cli, proj: Path, tmp_path: Path):
    proj.write_text(proj.read_text() + HELD)
    for _ in range(5):
        cli("-A", "proj", "call", "proj.hold")
    with running(tmp_path / "out", "-c", "2", "--disable-prefetch", "-l", "info"):
        wait_until(lambda: len(list(tmp_path.glob("*.began"))) == 2, 20, what="two runs")
        found = json.loads(cli("-A", "proj", "queues", "-j").out)["celery"]
        assert (found["ready"], found["held"]) == (3, 2)
        (tmp_path / "go").touch()
        wait_until(lambda: len(list(tmp_path.glob("*.began"))) == 5, 20, what="the other runs")


def test_modules_can_be_included(cli: Cli, proj: Path, tmp_path: Path):
    (tmp_path / "more.py").write_text("from proj import app\n@app.task\ndef twice(x):\n    return 2 * x\n")
    with running(tmp_path / "out", "-P", "solo", "-I", "more", "-l", "info"):
        task_id = cli("-A", "proj", "call", "more.twice", "-a", "[4]").out.strip()
        assert cli("-A", "proj", "result", "--wait", "--timeout", "20", task_id).out == "8\n"
    assert "more.twice" in (tmp_path / "out").read_text()


def test_options_that_switch_off_what_is_not_there_are_taken(proj: Path, tmp_path: Path):
    words = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-O", "fair", "-E",
             "--prefetch-multiplier", "1", "--max-tasks-per-child", "9", "--max-memory-per-child", "900000",
             "--time-limit", "9", "--soft-time-limit", "8", "-c", "1", "-l", "info")
    with running(tmp_path / "out", *words):
        pass
    said = (tmp_path / "out").read_text()
    assert said.count("worker_send_task_events, set by the command line, has no effect: fastq sends no events yet") == 1
    assert said.count("has no effect") == 1


HELD = """
@app.task(bind=True)
def hold(self):
    import pathlib, time
    pathlib.Path(self.request.id + ".began").touch()
    deadline = time.monotonic() + 60
    while not pathlib.Path("go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
"""

TURTLE = """
from fastq.pool.kinds import Kind

def live(crew):
    executor = crew.executor(0)
    while not executor.is_leaving:
        executor.run(1)

POOL = Kind("turtle", "turtles:live", can={"functions": "one at a time", "time_limit": "kills the child"})
"""


def test_a_pool_of_ones_own_runs_tasks_and_what_it_cannot_is_said(cli: Cli, proj: Path, tmp_path: Path):
    (tmp_path / "turtles.py").write_text(TURTLE)
    with running(tmp_path / "out", "-P", "turtles:POOL", "-c", "1", "--soft-time-limit", "5", "-l", "info"):
        task_id = cli("-A", "proj", "call", "proj.add", "-a", "[2, 3]").out.strip()
        assert cli("-A", "proj", "result", "--wait", "--timeout", "20", task_id).out == "5\n"
    said = (tmp_path / "out").read_text()
    assert "1 (turtle)" in said and "soft_time_limit has no effect in the pool 'turtle'" in said


def test_a_pool_of_many_is_started_from_the_command_line(cli: Cli, proj: Path, tmp_path: Path):
    words = ("-P", "asyncio", "-c", "5", "--processes", "2", "--pool-start-method", "spawn", "-l", "info")
    with running(tmp_path / "out", *words):
        task_id = cli("-A", "proj", "call", "proj.add", "-a", "[2, 3]").out.strip()
        assert cli("-A", "proj", "result", "--wait", "--timeout", "20", task_id).out == "5\n"
    assert "10 (asyncio)" in (tmp_path / "out").read_text()


def test_in_the_background_it_logs_to_a_file_and_says_its_pid(cli: Cli, proj: Path, tmp_path: Path):
    ran = cli(*WORKER, "-D", "-c", "1", "-f", "worker.log", "--pidfile", "worker.pid", "-l", "info")
    pid = int((tmp_path / "worker.pid").read_text())
    try:
        assert (ran.code, ran.out, ran.err) == (0, "", "")
        task_id = cli("-A", "proj", "call", "proj.add", "-a", "[2, 3]").out.strip()
        assert cli("-A", "proj", "result", "--wait", "--timeout", "20", task_id).out == "5\n"
        assert " ready." in (tmp_path / "worker.log").read_text()
        second = cli(*WORKER, "-P", "solo", "--pidfile", "worker.pid")
        assert second.code == 1 and str(pid) in second.err
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not psutil.pid_exists(pid), 20, what="the worker's end")


def test_in_the_background_a_hangup_begins_anew_with_the_code_that_is_there_then(cli: Cli, proj: Path, tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    proj = proj.rename(home / "proj.py")
    there = ("--workdir", "home", "-A", "proj")
    ran = cli(*there, "worker", "-D", "-c", "1", "-f", "worker.log", "--pidfile", "worker.pid", "-l", "info")
    assert (ran.code, ran.err) == (0, "")
    pid = int((home / "worker.pid").read_text())
    try:
        proj.write_text(proj.read_text().replace("x + y", "x * y"))
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: (home / "worker.log").read_text().count(" ready.") == 2, 30, what="the new start")
        task_id = cli(*there, "call", "proj.add", "-a", "[2, 3]").out.strip()
        assert cli(*there, "result", "--wait", "--timeout", "20", task_id).out == "6\n"
        assert (home / "worker.pid").read_text() == f"{pid}\n"
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not psutil.pid_exists(pid), 20, what="the worker's end")


def test_its_files_and_umask_are_the_settings_where_the_command_line_names_none(cli: Cli, proj: Path, tmp_path: Path):
    proj.write_text(proj.read_text() + "app.conf.update(worker_logfile='%n.log', worker_pidfile='%n.pid', "
                                       "worker_umask='027')\n")
    ran = cli(*WORKER, "-D", "-P", "solo", "-n", "w1@%h", "-l", "info", "--pidfile", "mine-%n.pid")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    pid = int((tmp_path / "mine-w1.pid").read_text())
    try:
        log = tmp_path / "w1.log"
        assert " ready." in log.read_text() and not (tmp_path / "w1.pid").exists()
        assert log.stat().st_mode & 0o777 == 0o640
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not psutil.pid_exists(pid), 20, what="the worker's end")


PYTHON = """#!/bin/sh
echo "$@" >> {folder}/words
exec {python} "$@"
"""


@pytest.mark.parametrize("words", [(), ("--executable", "{}/another")], ids=["setting", "option"])
def test_in_the_background_it_goes_on_in_another_python(cli: Cli, proj: Path, tmp_path: Path, words: tuple[str, ...]):
    another = tmp_path / "another"
    another.write_text(PYTHON.format(folder=tmp_path, python=sys.executable))
    another.chmod(0o755)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "proj.py").write_text(
        f"{proj.read_text()}\napp.conf.worker_executable = {str(another) if not words else '/nowhere'!r}\n")
    ran = cli("--workdir", "deeper", *WORKER, "-D", "-P", "solo", "-f", "worker.log", "--pidfile", "worker.pid", "-l",
              "info", *(word.format(tmp_path) for word in words))
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    pid = int((tmp_path / "deeper" / "worker.pid").read_text())
    try:
        assert (tmp_path / "words").read_text().startswith("-m fastq --workdir deeper -A proj worker -D")
        assert " ready." in (tmp_path / "deeper" / "worker.log").read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not psutil.pid_exists(pid), 20, what="the worker's end")


def test_a_python_that_cannot_be_run_is_one_line(cli: Cli, proj: Path):
    ran = cli(*WORKER, "-D", "--executable", "/nowhere")
    assert ran.code == 1 and ran.line.endswith("cannot go on in '/nowhere': No such file or directory")


# It ends where tasks are imported: the rest of what it needs may be nothing that nobody can read.
TELLS_ITS_USER = """
import os
from fastq import signals

@signals.import_modules.connect
def end(**_):
    print(os.getresuid(), os.getgroups(), flush=True)
    os._exit(7)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("words", [(), ("--uid", "nobody")], ids=["setting", "option"])
def test_root_becomes_the_user_who_is_named_before_it_imports_tasks(
        cli: Cli, proj: Path, tmp_path: Path, words: tuple[str, ...]):
    name = "nobody" if not words else "no-such-user"    # which the option goes before
    proj.write_text(f"{proj.read_text()}\napp.conf.worker_uid = {name!r}\n{TELLS_ITS_USER}")
    nobody = pwd.getpwnam("nobody")
    ran = cli(*WORKER, "-P", "solo", *words)
    assert (ran.code, ran.out, ran.err) == (7, f"{(nobody.pw_uid,) * 3} {[nobody.pw_gid]}\n", "")


@pytest.mark.parametrize("words", [(), ("-D",)], ids=["in front", "detached"])
def test_a_user_that_it_cannot_become_ends_it(cli: Cli, proj: Path, words: tuple[str, ...]):
    proj.write_text(proj.read_text() + "app.conf.worker_uid = 'no-such-user'\n")
    ran = cli(*WORKER, *words)
    assert ran.code == 1 and ran.line.endswith("there is no user 'no-such-user'")


def test_in_the_background_too_a_wrong_app_is_one_line(cli: Cli, proj: Path):
    ran = cli("-A", "porj", "worker", "-D")
    assert ran.code == 1 and "did you mean proj?" in ran.line


@pytest.mark.parametrize("option", sorted(NOT_YET))
def test_an_option_whose_part_is_not_there_yet_is_refused_by_name(cli: Cli, proj: Path, option: str):
    value = [] if option == "--beat" else ["1"]
    ran = cli(*WORKER, option, *value)
    assert (ran.code, ran.out) == (64, "")
    assert ran.line == f"fastq: worker: {option} is not available yet; {NOT_YET[option]}"


@pytest.mark.parametrize("words, code, part", [
    (["-P", "custom"], 64, "takes the pool from CELERY_CUSTOM_WORKER_POOL"),
    (["-P", "solo", "--processes", "2"], 1, "worker_processes is set, and the pool 'solo' has no such thing"),
    (["-P", "nowhere:POOL"], 1, "the pool 'nowhere:POOL' cannot be loaded"),
    (["--autoscale", "many"], 64, "'many' is no range; write it like 10,3"),
    (["--autoscale", "3,9"], 1, "autoscale is 3,9"),
    (["--pool-start-method", "magic"], 64, "'magic' is not one of 'fork', 'spawn'"),
    (["-P", "prefrok"], 64, "no pool 'prefrok'; did you mean 'prefork'?"),
    (["-c", "0"], 64, "neither a number from 1 nor 'auto'"),
    (["-l", "inof"], 64, "did you mean 'INFO'?"),
    (["-X", "celrey"], 64, "no queue 'celrey' to leave out; did you mean 'celery'?"),
    (["-O", "fiar"], 64, "'fiar' is not one of 'default', 'fair'"),
    (["--time-limit", "1", "--soft-time-limit", "2"], 1, "soft time limit"),
    (["-I", "mroe"], 1, "there is no module 'mroe'"),
    (["--executable", "python3"], 64, "--executable is for -D"),
    (["--max-tasks-per-child", "x"], 64, "'x' is not a valid integer"),
])
def test_a_wrong_option_is_one_line(cli: Cli, proj: Path, words: list[str], code: int, part: str):
    ran = cli(*WORKER, *words)
    assert (ran.code, ran.out) == (code, "") and part in ran.line


def test_a_wrong_queue_is_one_line_where_queues_may_not_be_made(cli: Cli, proj: Path):
    proj.write_text(proj.read_text().replace('Fastq("proj")', 'Fastq("proj", task_create_missing_queues=False)'))
    ran = cli(*WORKER, "-Q", "celrey")
    assert ran.code == 64 and "'celrey'" in ran.line and "did you mean 'celery'?" in ran.line


def ready(cli: Cli) -> dict[str, int]:
    found = json.loads(cli("-A", "proj", "queues", "-j").out)
    return {name: stat["ready"] for name, stat in found.items()}


def test_root_takes_pickle_only_if_it_insists(cli: Cli, proj: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    proj.write_text(proj.read_text().replace('Fastq("proj")', 'Fastq("proj", accept_content=["json", "pickle"])'))
    is_root = os.geteuid() == 0
    monkeypatch.delenv("C_FORCE_ROOT", raising=False)
    assert is_root_for_pickle(["json", "Pickle"]) == is_root_for_pickle(["application/x-python-serialize"]) == is_root
    assert not is_root_for_pickle(["json", "yaml"]) and not is_root_for_pickle(None)
    if is_root:
        refused = cli(*WORKER)
        assert refused.code == 64 and "C_FORCE_ROOT" in refused.line and "--uid" in refused.line
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    assert not is_root_for_pickle(["pickle"])
    log = tmp_path / "out"
    with running(log, "-l", "info"):
        assert cli("-A", "proj", "call", "proj.add").code == 0


def test_a_fork_into_the_background_may_be_faked(proj: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("C_FAKEFORK", "1")
    with running(tmp_path / "out", "-D", "-l", "info") as process:
        assert process.poll() is None
