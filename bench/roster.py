"""The systems that are compared: one row each. What runs inside their processes is in peers/.

``pace`` says roughly how many tasks a second a system does on a small machine. It only sizes its load, so that
each is measured for about as long; no figure is derived from it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fastq.bench.broker import BROKERS
from fastq.bench.launch import celery, dramatiq, fastq, flexiq, huey
from fastq.bench.roster_redis import ON_REDIS
from fastq.bench.system import BARE, EARLY, FASTQ, WORKING, Kind, Pace, System

RABBITMQ = BROKERS["rabbitmq"]
PERSISTENT = Kind("persistent", {"BENCH_QUEUE_TYPE": "classic", "BENCH_DELIVERY_MODE": "2"})
TRANSIENT = Kind("transient", {"BENCH_QUEUE_TYPE": "classic", "BENCH_DELIVERY_MODE": "1"})
QUORUM = Kind("quorum", {"BENCH_QUEUE_TYPE": "quorum", "BENCH_DELIVERY_MODE": "2"})


def bare_amqp(_n: int) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("peers") / "bare_amqp.py")]


def celery_row(store: str, pool: str, pace: Pace) -> System:
    module = f"celery_{store}_peer"
    return System(
        f"celery {store} {pool}", module, pace, celery(module, pool), "from celery import Celery",
        needs=("celery", "sqlalchemy"), distributions=("celery", "kombu", "sqlalchemy"),
        concurrency=(1,) if pool == "solo" else (1, 2), produces=pool == "solo",
    )  # fmt: skip


def celery_rabbitmq_row(pool: str, pace: Pace, *, late: bool, kinds: tuple[Kind, ...]) -> System:
    return System(
        f"celery {pool}" + ("" if late else " early"), "celery_rabbitmq_peer", pace,
        celery("celery_rabbitmq_peer", pool), "from celery import Celery",
        needs=("celery",), distributions=("celery", "kombu", "amqp"), env={"BENCH_ACKS_LATE": str(int(late))},
        concurrency=(1,) if pool == "solo" else (1, 2), produces=pool == "solo" and late,
        broker=RABBITMQ, kinds=kinds,
        only=() if pool == "solo" and late else WORKING if late else ("drain",),
    )  # fmt: skip


def dramatiq_row(name: str, threads: int) -> System:
    return System(
        name, "dramatiq_peer", Pace(16_000, 0, 12_000), dramatiq("dramatiq_peer", threads), "import dramatiq",
        needs=("dramatiq", "pika"), distributions=("dramatiq", "pika"), broker=RABBITMQ, kinds=(PERSISTENT,),
        concurrency=(1, 2) if threads == 1 else (threads,), only=() if threads == 1 else ("drain",),
        env={"dramatiq_queue_prefetch": "1000"}, lacks={"ask": "keeps results in Redis or Memcached only"},
    )  # fmt: skip


def huey_row(kind: str) -> System:
    return System(
        f"huey {kind}", "huey_peer", Pace(30_000, 0, 15_000), huey("huey_peer", kind), "from huey import SqliteHuey",
        needs=("huey",), distributions=("huey",), produces=kind == "thread",
    )  # fmt: skip


def flexiq_row(name: str, threads: int | None) -> System:
    return System(
        name, "flexiq_peer", Pace(7_000, 25_000, 600), flexiq("flexiq_peer"), "from flexiq import Queue",
        needs=("flexiq",), distributions=("flexiq",), produces=threads is None,
        concurrency=(1, 2) if threads is None else (threads,), env={"FLEXIQ_LOG_LEVEL": "ERROR"},
    )  # fmt: skip


SYSTEMS = (
    System(
        FASTQ, "fastq_peer", Pace(40_000, 150_000, 200_000), fastq("fastq_peer"), "from fastq import Fastq",
        distributions=("fastq",),
    ),
    System(
        "fastq early", "fastq_peer", Pace(40_000, 150_000, 200_000), fastq("fastq_peer"), distributions=("fastq",),
        only=EARLY, produces=False, env={"BENCH_ACKS_LATE": "0"},
    ),
    System(
        "fastq asyncio", "fastq_peer", Pace(40_000, 150_000, 20_000), fastq("fastq_peer", "asyncio"),
        distributions=("fastq",), only=("sleepers",), produces=False, naps=True,
    ),
    System(BARE, "bare_peer", Pace(60_000, 400_000, 200_000), loops=True),
    huey_row("thread"),
    huey_row("process"),
    flexiq_row("flexiq", None),
    flexiq_row("flexiq 16 threads", 16),
    celery_row("files", "solo", Pace(3_000, 0, 1_000)),
    celery_row("files", "prefork", Pace(3_000, 0, 1_000)),
    celery_row("sqlite", "solo", Pace(800, 0, 400)),
    celery_row("sqlite", "prefork", Pace(800, 0, 400)),
    System(
        FASTQ, "fastq_amqp_peer", Pace(25_000, 50_000, 60_000), fastq("fastq_amqp_peer"), "from fastq import Fastq",
        distributions=("fastq",), broker=RABBITMQ, kinds=(PERSISTENT, TRANSIENT, QUORUM),
    ),
    System(
        "fastq early", "fastq_amqp_peer", Pace(25_000, 50_000, 60_000), fastq("fastq_amqp_peer"),
        distributions=("fastq",), only=EARLY, produces=False, broker=RABBITMQ, kinds=(PERSISTENT, TRANSIENT, QUORUM),
        env={"BENCH_ACKS_LATE": "0"},
    ),
    System(
        BARE, "bare_amqp", Pace(30_000, 50_000, 60_000), bare_amqp, loops=True, broker=RABBITMQ,
        kinds=(PERSISTENT, TRANSIENT, QUORUM),
    ),
    celery_rabbitmq_row("solo", Pace(4_000, 0, 5_000), late=True, kinds=(PERSISTENT, TRANSIENT, QUORUM)),
    celery_rabbitmq_row("solo", Pace(4_000, 0, 5_000), late=False, kinds=(PERSISTENT,)),
    celery_rabbitmq_row("prefork", Pace(4_000, 0, 2_500), late=True, kinds=(PERSISTENT, QUORUM)),
    celery_rabbitmq_row("prefork", Pace(4_000, 0, 2_500), late=False, kinds=(PERSISTENT,)),
    dramatiq_row("dramatiq", 1),
    dramatiq_row("dramatiq 8 threads", 8),
    *ON_REDIS,
)
