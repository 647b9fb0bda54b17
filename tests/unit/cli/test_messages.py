"""Sending, looking, waiting and dropping: call, result, queues, purge, report."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastq import Fastq, transport
from tests.unit.cli.conftest import Cli, environment

ADD = ("-A", "proj", "call", "proj.add")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Fastq]:
    """The app that the module ``proj`` has, in this process."""
    with Fastq("proj", set_as_current=False) as made:
        yield made


def figures(cli: Cli) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads(cli("-A", "proj", "queues", "--json").out)
    return found


def test_call_prints_the_id_and_the_message_waits_in_its_queue(cli: Cli, proj: Path):
    ran = cli(*ADD, "-a", "[2, 3]", "--queue", "slow")
    assert (ran.code, ran.err) == (0, "")
    assert str(uuid.UUID(ran.out.strip())) == ran.out.strip()
    assert figures(cli) == {"slow": {"ready": 1, "held": 0, "future": 0, "dead": 0}}


@pytest.mark.parametrize("when", [["--countdown", "60"], ["--eta", "2099-01-01T00:00:00Z"]])
def test_a_call_for_later_waits_in_the_future(cli: Cli, proj: Path, when: list[str]):
    assert cli(*ADD, "-a", "[1, 2]", *when).code == 0
    assert figures(cli)["celery"]["future"] == 1


@pytest.mark.parametrize("words, code, part", [
    (["-a", "[2, 3"], 64, "not JSON"),
    (["-a", "{}"], 64, "a JSON list is wanted, not {}"),
    (["-k", "[]"], 64, "a JSON object is wanted, not []"),
    (["--eta", "soon"], 64, "'soon' is no time"),
    (["--eta", "2999-01-01", "--countdown", "1"], 64, "contradict"),
    (["--eta", "2999-01-01"], 64, "beyond the year"),
    (["-a", "[1, 2, 3]"], 64, "takes from 0 to 2 positional arguments"),
    (["--countdown", "x"], 64, "'x' is not a valid float"),
    (["-a", "[2, 3]", "--serializer", "jsno"], 1, "jsno"),
])
def test_a_wrong_call_is_one_line_and_sends_nothing(cli: Cli, proj: Path, words: list[str], code: int, part: str):
    ran = cli(*ADD, *words)
    assert (ran.code, ran.out) == (code, "")
    assert ran.line.startswith("fastq") and part in ran.line
    assert cli("-A", "proj", "queues").out == "" or figures(cli) == {}


def test_a_name_that_looks_like_a_slip_is_sent_with_a_warning(cli: Cli, proj: Path):
    ran = cli("-A", "proj", "call", "proj.ad")
    assert ran.code == 0 and ran.out
    assert ran.line == "fastq: warning: the app has no task 'proj.ad'; did you mean 'proj.add'?"
    assert cli("-A", "proj", "call", "elsewhere.sum").err == ""


def test_the_result_is_printed_or_its_error_or_that_there_is_none(cli: Cli, proj: Path, app: Fastq):
    app.store_result("good", {"x": 1}, "SUCCESS")
    app.store_result("bad", ValueError("no luck"), "FAILURE", traceback="Traceback (most recent call last): ...")
    assert cli("-A", "proj", "result", "good")[:2] == (0, "{'x': 1}\n")
    failed = cli("-A", "proj", "result", "bad")
    assert (failed.code, failed.out, failed.line) == (1, "", "FAILURE: ValueError('no luck')")
    assert "Traceback (most" in cli("-A", "proj", "result", "--traceback", "bad").err
    unknown = cli("-A", "proj", "result", "nosuch")
    assert unknown.code == 1 and "PENDING" in unknown.line
    late = cli("-A", "proj", "result", "--wait", "--timeout", "0.1", "nosuch")
    assert late.code == 1 and "has not ended within 0.1 s" in late.line
    wrong = cli("-A", "proj", "result", "-t", "proj.ad", "good")
    assert (wrong.code, wrong.line) == (64, "fastq: result: the app has no task 'proj.ad'; did you mean 'proj.add'?")


def test_waiting_for_a_result_ends_when_it_is_there(proj: Path, app: Fastq):
    app.store_result("other", None, "SUCCESS")
    with subprocess.Popen([sys.executable, "-m", "fastq", "-A", "proj", "result", "--wait", "late"],
                          env=environment(), stdout=subprocess.PIPE, text=True) as process:
        app.store_result("late", 42, "SUCCESS")
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "42\n")


def test_queues_are_a_table(cli: Cli, proj: Path):
    cli(*ADD)
    lines = cli("-A", "proj", "queues").out.splitlines()
    assert [line.split() for line in lines] == [["name", "ready", "held", "future", "dead"], ["celery", *"1000"]]


@pytest.fixture
def filled(cli: Cli, proj: Path, app: Fastq) -> None:
    """Two messages in ``celery``, one of them for later, and one in ``mail``."""
    app.send_task("proj.add")
    app.send_task("proj.add", countdown=60)
    app.send_task("proj.add", queue="mail")


def test_purge_drops_what_waits_in_the_apps_queues(cli: Cli, filled: None):
    ran = cli("-A", "proj", "purge", "-f")
    assert (ran.code, ran.out) == (0, "dropped 2 messages from celery\n")
    assert {name: stat["ready"] + stat["future"] for name, stat in figures(cli).items()} == {"celery": 0, "mail": 1}


def test_purge_drops_only_what_was_named_and_not_left_out(cli: Cli, filled: None):
    ran = cli("-A", "proj", "purge", "-f", "-Q", "celery,mail", "-X", "celery")
    assert ran.out == "dropped 1 messages from mail\n"


def test_purge_without_a_terminal_and_without_force_drops_nothing(cli: Cli, filled: None):
    ran = cli("-A", "proj", "purge", stdin="y\n")
    assert (ran.code, ran.line) == (64, "fastq: nothing was dropped: nobody to ask here; say -f if you mean it")
    assert figures(cli)["celery"]["ready"] == 1


@pytest.mark.parametrize("answer, ready", [("y", 0), ("n", 1), ("", 1)])
def test_purge_asks_on_a_terminal(cli: Cli, filled: None, answer: str, ready: int):
    script = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'fastq', '-A', 'proj', 'purge']) >> 8)"
    done = subprocess.run([sys.executable, "-c", script], env=environment(), input=f"{answer}\n", capture_output=True,
                          text=True, timeout=30)
    assert "Drop 2 messages from celery of sqlite:////" in done.stdout and "[y/N]" in done.stdout
    assert done.returncode == (0 if answer == "y" else 1)
    assert figures(cli)["celery"]["ready"] == ready


@pytest.mark.parametrize("words, part", [
    (["-Q", "celrey"], "no queue 'celrey'; did you mean 'celery'?"),
    (["-X", "celrey"], "no queue 'celrey' to leave out; did you mean 'celery'?"),
    (["-X", "celery"], "no queue is left"),
])
def test_a_wrong_queue_is_one_line_and_purges_nothing(cli: Cli, filled: None, words: list[str], part: str):
    ran = cli("-A", "proj", "purge", "-f", *words)
    assert ran.code == 64 and part in ran.line
    assert figures(cli)["celery"]["ready"] == 1


def test_the_report_tells_versions_and_changed_settings_but_no_secret(cli: Cli, tmp_path: Path):
    (tmp_path / "proj.py").write_text(
        "from fastq import Fastq\n"
        "app = Fastq('proj', broker='amqp://me:hunter2@host//', worker_concurrency=7, \n"
        "            broker_transport_options={'token': 'hunter4'})\n"
    )
    plain = cli("report")
    assert plain.code == 0
    assert all(name in plain.out for name in ("fastq ", "python ", "sqlite ", "platform ", "cpus "))
    ran = cli("-A", "proj", "report")
    assert ran.code == 0
    assert "worker_concurrency: 7" in ran.out and "amqp://me:********@host//" in ran.out
    assert "hunter" not in ran.out


@pytest.mark.redis
def test_handover_says_of_each_queue_what_it_moved_and_refuses_while_a_worker_serves_it(cli: Cli, redis_url: str):
    ran = cli("-b", redis_url, "call", "proj.add", "--countdown", "60", "--queue", "slow")
    assert ran.code == 0
    attached = transport.open(redis_url)
    attached.attach("w", ["slow"])
    ran = cli("-b", redis_url, "handover", "-Q", "slow")
    assert (ran.code, ran.out) == (69, "")
    assert "stop it first" in ran.line
    attached.close()
    assert "slow: 0 for later, 0 to be run alone" in cli("-b", redis_url, "handover").out.splitlines()
    assert "no queue 'fast'" in cli("-b", redis_url, "handover", "-Q", "fast").line


def test_handover_is_for_redis(cli: Cli, proj: Path):
    cli(*ADD)
    ran = cli("-A", "proj", "handover")
    assert (ran.code, ran.out) == (64, "")
    assert "handover is for a single Redis" in ran.line
