"""Budgets that no noisy machine can break: they count modules, not seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

OWN_MODULES = 25
HEAVY = ("asyncio", "msgspec", "psutil", "rich", "sqlite3")

LIST_MODULES = "import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"


def modules_after(statement: str) -> list[str]:
    """What a fresh interpreter has loaded after *statement*."""
    script = LIST_MODULES.format(statement=statement)
    return json.loads(subprocess.check_output([sys.executable, "-c", script], text=True))


def over_budget(modules: list[str]) -> list[str]:
    own = [name for name in modules if name.split(".")[0] == "fastq"]
    heavy = [name for name in modules if name in HEAVY]
    return [*heavy, *(own if len(own) > OWN_MODULES else [])]


@pytest.mark.parametrize("statement", ["import fastq", "from fastq import Fastq"])
def test_importing_fastq_loads_little_of_it_and_nothing_heavy(statement):
    assert over_budget(modules_after(statement)) == []


def test_the_budget_counts_what_was_loaded():
    assert over_budget(modules_after("import asyncio, sqlite3")) == ["asyncio", "sqlite3"]
    assert len(over_budget([f"fastq.part{number}" for number in range(OWN_MODULES + 1)])) == OWN_MODULES + 1
    assert over_budget([f"fastq.part{number}" for number in range(OWN_MODULES)]) == []
