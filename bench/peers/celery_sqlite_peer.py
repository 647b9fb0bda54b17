"""Celery on kombu's SQLAlchemy transport and a SQLite file, with the pragmas that fastq uses too."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery_tasks import furnish
from sqlalchemy import event
from sqlalchemy.engine import Engine

FOLDER = os.environ["BENCH_FOLDER"]


@event.listens_for(Engine, "connect")  # SQLAlchemy's documented way to set pragmas
def use_wal(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


# It polls once a second: the transport hands `polling_interval`, as any option, to create_engine, which refuses it.
app = Celery("bench", broker=f"sqla+sqlite:///{FOLDER}/celery.db", backend=f"db+sqlite:///{FOLDER}/results.db")
call, mark, ask, call_later, answers = furnish(app)


def backlog() -> int:
    with app.connection_for_read() as connection:
        return int(connection.default_channel._size("celery"))
