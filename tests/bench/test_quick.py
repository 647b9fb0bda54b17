"""Every question can be asked, of every system that is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fastq.bench import wire
from fastq.bench.broker import BROKERS, RabbitBroker, RedisBroker
from fastq.bench.roster import SYSTEMS
from fastq.bench.run import QUESTIONS, main
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.bench.servers.redis import Redis

EARLY = {(question, "fastq early") for question in ("latency", "live")}


def ask(*words: str) -> list[dict[str, Any]]:
    assert main([*words, "--quick", "--json", "lines.jsonl"]) == 0
    return [json.loads(line) for line in Path("lines.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("question", [name for name in QUESTIONS if name != "wire"])    # files have none
def test_a_question_is_answered_for_fastq_and_drawn(question: str, capsys: pytest.CaptureFixture[str]):
    lines = ask(question, "--only", "fastq", "bare", "--plot", "plots")
    if question != "core":
        assert any(line["system"].startswith("fastq") for line in lines)
    for line in lines:
        assert line["question"] == question and line["value"] >= 0 and line["repetition"] == 0
        assert {"unit", "params", "versions", "machine", "python", "sqlite", "time", "cpu_us_per_task"} <= line.keys()
    assert ElementTree.parse(f"plots/{question}.svg").getroot().tag.endswith("svg")
    assert QUESTIONS[question].title.split(":")[0] in capsys.readouterr().out


@pytest.fixture
def on_rabbitmq(rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the broker, which now means the server of this run of the tests."""
    broker = BROKERS["rabbitmq"]
    assert isinstance(broker, RabbitBroker)
    monkeypatch.setattr(broker, "server", rabbitmq)
    return broker.name


@pytest.fixture
def on_redis(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the broker, which now means the server of this run of the tests."""
    broker = BROKERS["redis"]
    assert isinstance(broker, RedisBroker)
    monkeypatch.setattr(broker, "server", redis)
    return broker.name


def everybody(broker: str, capsys: pytest.CaptureFixture[str]) -> None:
    systems = [system for system in SYSTEMS if system.broker.name == broker and "drain" in (system.only or ("drain",))]
    measured = {line["system"] for line in ask("drain", "--broker", broker)}
    assert measured == {system.name for system in systems if system.missing() is None}
    shown = capsys.readouterr().out
    assert all(system.name in shown for system in systems), "an absent system is named, never dropped"


@pytest.mark.timeout(300)
def test_every_system_stores_tasks_in_its_files_and_works_them_off(capsys: pytest.CaptureFixture[str]):
    everybody("sqlite", capsys)


@pytest.mark.timeout(300)
def test_every_system_sends_tasks_over_rabbitmq_and_works_them_off(on_rabbitmq: str,
                                                                   capsys: pytest.CaptureFixture[str]):
    everybody(on_rabbitmq, capsys)


@pytest.mark.timeout(300)
def test_questions_are_answered_on_rabbitmq(on_rabbitmq: str):
    questions, systems = ("enqueue", "latency", "live", "future"), ("fastq", "bare", "celery solo")
    lines = ask(*questions, "--broker", on_rabbitmq, "--only", *systems)
    asked = {(line["question"], line["system"]) for line in lines}
    wanted = {(name, system) for name in questions for system in systems}
    assert asked == wanted - {("future", "bare"), ("live", "bare")} | EARLY
    assert len({line["broker_version"] for line in lines}) == 1


@pytest.mark.timeout(300)
def test_every_system_sends_tasks_over_redis_and_works_them_off(on_redis: str, capsys: pytest.CaptureFixture[str]):
    everybody(on_redis, capsys)


@pytest.mark.timeout(300)
def test_questions_are_answered_on_redis(on_redis: str):
    questions = ("enqueue", "latency", "live", "future", "result")
    systems = ("fastq", "bare", "celery solo", "saq", "streaq")
    present = {system.name for system in SYSTEMS if system.broker.name == on_redis and system.missing() is None}
    lines = ask(*questions, "--broker", on_redis, "--only", *systems)
    asked = {(line["question"], line["system"]) for line in lines}
    wanted = {(name, system) for name in questions for system in systems if system in present}
    lacking = {("future", "bare"), ("live", "bare"), ("result", "bare"), ("result", "saq"), ("result", "streaq")}
    assert asked == wanted - lacking | EARLY


@pytest.mark.timeout(300)
def test_bytes_on_the_wire_are_counted_on_redis(on_redis: str, capsys: pytest.CaptureFixture[str]):
    lines = ask("wire", "--broker", on_redis, "--only", "fastq", "fastq alone", "celery solo", "huey thread")
    told = {(line["case"], line["system"]): line["value"] for line in lines}
    for case in (name for name, shape in wire.SHAPES.items() if shape.quick):
        # A message and its result have a thousand bytes together, here as there.
        assert all(1_000 < told[case, system] < 200_000 for system in ("fastq", "fastq alone", "celery solo"))
    assert "has no run_nested()" in capsys.readouterr().out


def test_a_question_without_a_broker_is_not_asked_of_one(on_rabbitmq: str, capsys: pytest.CaptureFixture[str]):
    assert main(["core", "import", "--quick", "--broker", on_rabbitmq, "--json", "lines.jsonl"]) == 0
    assert capsys.readouterr().out.count("no broker takes part") == 2
    assert not Path("lines.jsonl").read_text()
