"""How long does the import take that every program of a user begins with?"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

from fastq.bench.process import last_lines, stage
from fastq.bench.question import Plan, Question, Reading, Trial, TrialFailed
from fastq.bench.system import System

PROGRAM = """
import json, sys, time
before, wall, cpu = len(sys.modules), time.perf_counter(), time.process_time()
{statement}
spent = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps([*spent, len(sys.modules) - before]))
"""


def once(system: System) -> list[Reading]:
    with stage(system) as at:
        program = PROGRAM.format(statement=system.imports)
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=at.folder, env=at.env, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise TrialFailed(last_lines(done.stderr))
    wall_s, cpu_s, modules = json.loads(done.stdout)
    params = {"statement": system.imports, "modules": modules, "cpu_ms": round(cpu_s * 1e3, 3)}
    return [Reading("import", wall_s * 1e3, None, params)]


def trials(plan: Plan) -> list[Trial]:
    once_each = {system.imports: system for system in reversed(plan.systems) if system.imports}
    return [Trial(system.name, "import", partial(once, system)) for system in reversed(once_each.values())]


QUESTION = Question(
    "import", "Import: a fresh interpreter imports what a user's first line names", "ms", trials,
    more_is_better=False, rounds=15, stores=False,
)  # fmt: skip
