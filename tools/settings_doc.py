"""Print docs/settings.md from the table of settings; with --check say whether the file is fresh."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fastq.app.setting_check import wanted  # noqa: E402  the tree that this script belongs to comes first
from fastq.app.setting_rows import CELERY_ROWS, FASTQ_ROWS, SAME, UNLISTED_ROWS, Setting  # noqa: E402

GROUPS = ("general", "task", "worker", "broker", "result", "beat", "control", "event", "security", "database", "redis",
          "other result stores")
TARGET = ROOT / "docs" / "settings.md"
HEAD = """<!-- Made by tools/settings_doc.py from fastq/app/setting_rows.py: change that, then run it again. -->
# Settings

A setting is set by keyword, `Fastq("shop", task_time_limit=60)`, in code, `app.conf.task_time_limit = 60`, by a
module, mapping or object, `app.config_from_object("shop.config")`, or from outside:

| where | how | beats |
| --- | --- | --- |
| command line | `fastq -A shop worker -- task.time_limit=60` | all |
| environment | `FASTQ_TASK_TIME_LIMIT=60`; also `CELERY_BROKER_URL`, `CELERY_BROKER_READ_URL`, \
`CELERY_BROKER_WRITE_URL`, `CELERY_RESULT_BACKEND` | code |
| code | keywords of the app, `app.conf.update(...)`, assignments | the source |
| source | `config_from_object`, `config_from_envvar`; else the module named by `FASTQ_CONFIG_MODULE` or \
`CELERY_CONFIG_MODULE` | added defaults |
| `app.add_defaults(...)` | a mapping, or a function that makes one | the preset |
| preset | `Fastq` or `Celery`, below | |

The source is read when a setting is first needed. Every setting has its new name and, with Celery's, its old
upper-case one; a source uses either all new or all old names. With `namespace="CELERY"` only names such as
`CELERY_TASK_TIME_LIMIT` and the old ones count.

`Fastq` refuses an unknown name and a value of the wrong type, and tells the nearest right name; `Celery` warns
once, since it has to start whatever Celery starts. In a module or object only names that look like settings are
judged (those that begin with `task_`, `worker_`, `broker_`, `result_`, `beat_`, `CELERY_`, `CELERYD_`,
`CELERYBEAT_`, `BROKER_`, and those a slip of a letter away from a setting); in mappings and keywords all are. An
extension's own settings are let in by `app.conf.allow("name", ...)`.
"""


def shown(value: Any) -> str:
    """Write a default as one would type it."""
    if isinstance(value, timedelta):
        return f"`timedelta(days={value.days})`"
    return f"`{value!r}`".replace("|", "\\|").replace("'", '"')


def table(columns: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Write a table."""
    rows = [tuple(columns), tuple("---" for _ in columns), *(tuple(line) for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def words(row: Setting) -> str:
    """Write what a setting takes."""
    return wanted(row).replace("|", "\\|")


def meaning(row: Setting) -> str:
    """Say what a setting does, or why it does nothing."""
    return f"Accepted, without effect: {row.why_idle}." if row.why_idle else row.doc


def group_of(row: Setting) -> str:
    """Name the heading that a setting stands under."""
    if row.name in ("accept_content", "enable_utc", "imports", "include", "timezone"):
        return "general"
    first = row.name.partition("_")[0]
    return first if first in GROUPS else GROUPS[-1]


def render() -> str:
    """Return the page."""
    parts = [HEAD, "## Where the presets differ\n", table(
        ("setting", "Fastq", "Celery", "why"),
        ((f"`{row.name}`", shown(row.fastq), shown(row.celery), row.doc)
         for row in CELERY_ROWS if row.fastq is not SAME)),
        "`broker_url` and `result_backend` are `None` in both, but `Fastq` then keeps messages and results in an "
        "SQLite file, and `Celery` connects to `amqp://guest@localhost//` and keeps no results.\n",
        "## fastq's own\n", table(("setting", "default", "takes", "meaning"), (
            (f"`{row.name}`", shown(row.celery), words(row), meaning(row)) for row in FASTQ_ROWS)),
        f"## Celery's {len(CELERY_ROWS)}\n",
        "The default is that of `Celery`; **bold** where `Fastq` has another.\n"]
    for group in GROUPS:
        rows = [row for row in CELERY_ROWS if group_of(row) == group]
        parts += [f"### {group}\n", table(("setting", "old name", "default", "takes", "meaning"), (
            (f"`{row.name}`", f"`{row.old}`", shown(row.celery) if row.fastq is SAME else f"**{shown(row.celery)}**",
             words(row), meaning(row)) for row in rows))]
    parts += ["## Read by Celery without a default\n", "Each is `None` unless set.\n",
              table(("setting", "takes", "meaning"),
                    ((f"`{row.name}`", words(row), meaning(row)) for row in UNLISTED_ROWS))]
    return "\n".join(parts)


def main() -> int:
    """Print the page, or with --check compare it."""
    if sys.argv[1:] != ["--check"]:
        sys.stdout.write(render())
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == render():
        return 0
    sys.stderr.write(f"{TARGET} is stale: run python tools/settings_doc.py > docs/settings.md\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
