"""Every question can be asked, of every system that is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fastq.bench.roster import SYSTEMS
from fastq.bench.run import QUESTIONS, main

PRESENT = {system.name for system in SYSTEMS if system.missing() is None}


def ask(*words: str) -> list[dict[str, Any]]:
    assert main([*words, "--quick", "--json", "lines.jsonl"]) == 0
    return [json.loads(line) for line in Path("lines.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_for_fastq_and_drawn(question: str, capsys: pytest.CaptureFixture[str]):
    lines = ask(question, "--only", "fastq", "bare", "--plot", "plots")
    if question != "core":
        assert "fastq" in {line["system"] for line in lines}
    for line in lines:
        assert line["question"] == question and line["value"] >= 0 and line["repetition"] == 0
        assert {"unit", "params", "versions", "machine", "python", "sqlite", "time", "cpu_us_per_task"} <= line.keys()
    assert ElementTree.parse(f"plots/{question}.svg").getroot().tag.endswith("svg")
    assert QUESTIONS[question].title.split(":")[0] in capsys.readouterr().out


@pytest.mark.timeout(300)
def test_every_system_stores_tasks_and_works_them_off(capsys: pytest.CaptureFixture[str]):
    assert {line["system"] for line in ask("drain")} == PRESENT
    shown = capsys.readouterr().out
    assert all(system.name in shown for system in SYSTEMS), "an absent system is named, never dropped"
