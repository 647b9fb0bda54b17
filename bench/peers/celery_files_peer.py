"""Celery on kombu's filesystem transport: a file for each message."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from celery_tasks import furnish

FOLDER = Path(os.environ["BENCH_FOLDER"])
for name in ("queue", "control", "results"):
    (FOLDER / name).mkdir(exist_ok=True)

app = Celery("bench", broker="filesystem://", backend=f"file://{FOLDER}/results")
app.conf.broker_transport_options = {
    "data_folder_in": f"{FOLDER}/queue",
    "data_folder_out": f"{FOLDER}/queue",
    "control_folder": f"{FOLDER}/control",
    "polling_interval": 0.001,
}
call, mark, ask, call_later, answers = furnish(app)


def backlog() -> int:
    return sum(1 for _ in (FOLDER / "queue").iterdir())
