"""The systems that are compared on Redis: see roster.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fastq.bench.broker import BROKERS
from fastq.bench.launch import celery, dramatiq, fastq, flexiq, huey
from fastq.bench.system import BARE, EARLY, FASTQ, WORKING, Pace, System, run_module

REDIS = BROKERS["redis"]
NO_SCHEDULE = "leaves future tasks to a process of its own, a scheduler"


def bare(_n: int) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("peers") / "bare_redis.py")]


def rq(_n: int) -> list[str]:
    return [
        sys.executable, "-c", "import os; from rq.cli import main;"
        "main(['worker', '-q', '-w', 'rq.worker.SimpleWorker', '-u', os.environ['BENCH_BROKER_URL'], 'default'])",
    ]  # fmt: skip


def taskiq(n: int) -> list[str]:
    return run_module("taskiq", "worker", "taskiq_peer:broker", "-w", "1", "--max-async-tasks", str(n),
                      "--log-level", "ERROR")  # fmt: skip


def saq(_n: int) -> list[str]:  # how many at a time is a setting, as with the next three
    return run_module("saq", "saq_peer.settings", "--quiet")


def arq(_n: int) -> list[str]:
    return run_module("arq", "arq_peer.WorkerSettings")


def streaq(_n: int) -> list[str]:
    return run_module("streaq", "run", "streaq_peer:worker")


def wakaq(_n: int) -> list[str]:
    return [sys.executable, "-c", "from wakaq.cli import worker; worker(['--app', 'wakaq_peer.wakaq'])"]


def celery_row(pool: str, pace: Pace, *, late: bool) -> System:
    is_first = pool == "solo" and late
    return System(
        f"celery {pool}" + ("" if late else " early"), "celery_redis_peer", pace, celery("celery_redis_peer", pool),
        "from celery import Celery", needs=("celery", "redis"), distributions=("celery", "kombu", "redis", "hiredis"),
        env={"BENCH_ACKS_LATE": str(int(late))}, concurrency=(1,) if pool == "solo" else (1, 2), produces=is_first,
        broker=REDIS, only=() if is_first else WORKING if late else ("drain",),
    )  # fmt: skip


def celery_chord_row() -> System:
    """Celery without a look at each member by the client, which `get()` takes before it tells a body's result."""
    first = celery_row("solo", Pace(2_000, 0, 1_200), late=True)
    return replace(first, name="celery solo propagate=False", only=("chord",), produces=False,
                   env={**first.env, "BENCH_PROPAGATE": "0"})


def dramatiq_row(name: str, threads: int) -> System:
    return System(
        name, "dramatiq_redis_peer", Pace(6_000, 0, 5_000), dramatiq("dramatiq_redis_peer", threads), "import dramatiq",
        needs=("dramatiq", "redis"), distributions=("dramatiq", "redis", "hiredis"), broker=REDIS,
        concurrency=(1, 2) if threads == 1 else (threads,), only=() if threads == 1 else ("drain",),
        produces=threads == 1, env={"dramatiq_queue_prefetch": "1000"},
    )  # fmt: skip


def huey_row(kind: str) -> System:
    return System(
        f"huey {kind}", "huey_redis_peer", Pace(8_000, 0, 3_000), huey("huey_redis_peer", kind),
        "from huey import RedisHuey", needs=("huey", "redis"), distributions=("huey", "redis", "hiredis"),
        produces=kind == "thread", only=() if kind == "thread" else WORKING, broker=REDIS,
    )  # fmt: skip


def row(
    name: str, module: str, pace: Pace, worker: Callable[[int], list[str]], imports: str, *,
    together: int = 0, apart: str = "", concurrency: tuple[int, ...] = (1, 2), env: dict[str, str] | None = None,
    distributions: tuple[str, ...] = (), lacks: dict[str, str] | None = None,
) -> System:  # fmt: skip
    """One more system. With *together* it is the second row of one, which drains so many at a time."""
    package = module.removesuffix("_peer").removesuffix("_redis")
    return System(
        name, module, pace, worker, imports, needs=() if apart else (package,), apart=apart, broker=REDIS,
        distributions=distributions or (package,),
        concurrency=(together,) if together else concurrency, only=("drain",) if together else (),
        naps=package in ("taskiq", "saq", "arq", "streaq") and not together,
        produces=not together, env=env or {}, lacks=lacks or {},
    )  # fmt: skip


def taskiq_rows(name: str, is_stream: bool) -> tuple[System, System]:
    env, made = {"BENCH_STREAM": str(int(is_stream))}, ("taskiq", "taskiq-redis", "redis", "hiredis")
    pace, imports = Pace(4_000, 0, 3_000), "from taskiq_redis import ListQueueBroker"
    return (
        row(name, "taskiq_peer", pace, taskiq, imports, env=env, distributions=made, lacks={"call_later": NO_SCHEDULE}),
        row(f"{name} 100 at a time", "taskiq_peer", pace, taskiq, imports, env=env, distributions=made, together=100),
    )


ON_REDIS = (
    System(
        FASTQ, "fastq_redis_peer", Pace(25_000, 200_000, 150_000), fastq("fastq_redis_peer"), "from fastq import Fastq",
        needs=("fastq.transport.redis", "redis", "hiredis"), distributions=("fastq", "redis", "hiredis"), broker=REDIS,
    ),
    System(
        "fastq early", "fastq_redis_peer", Pace(25_000, 200_000, 150_000), fastq("fastq_redis_peer"),
        needs=("fastq.transport.redis", "redis", "hiredis"), distributions=("fastq", "redis", "hiredis"), broker=REDIS,
        only=EARLY, produces=False, env={"BENCH_ACKS_LATE": "0"},
    ),
    System(
        "fastq asyncio", "fastq_redis_peer", Pace(25_000, 200_000, 20_000), fastq("fastq_redis_peer", "asyncio"),
        needs=("fastq.transport.redis", "redis", "hiredis"), distributions=("fastq", "redis", "hiredis"), broker=REDIS,
        only=("sleepers",), produces=False, naps=True,
    ),
    System(
        "fastq alone", "fastq_redis_peer", Pace(25_000, 200_000, 150_000), fastq("fastq_redis_peer"),
        needs=("fastq.transport.redis", "redis", "hiredis"), distributions=("fastq", "redis", "hiredis"), broker=REDIS,
        only=("wire",), produces=False, env={"FASTQ_TASK_WORKFLOW_INLINE": "false"},
    ),
    System(
        BARE, "bare_redis", Pace(25_000, 500_000, 200_000), bare, needs=("hiredis",), distributions=("hiredis",),
        loops=True, broker=REDIS,
    ),
    celery_row("solo", Pace(2_000, 0, 1_200), late=True),
    celery_row("solo", Pace(2_000, 0, 1_200), late=False),
    celery_chord_row(),
    celery_row("prefork", Pace(2_000, 0, 1_000), late=True),
    celery_row("prefork", Pace(2_000, 0, 1_000), late=False),
    dramatiq_row("dramatiq", 1),
    dramatiq_row("dramatiq 8 threads", 8),
    huey_row("thread"),
    huey_row("process"),
    row("rq", "rq_peer", Pace(2_500, 14_000, 600), rq, "from rq import Queue", concurrency=(1,),
        distributions=("rq", "redis", "hiredis")),
    *taskiq_rows("taskiq list", False),
    *taskiq_rows("taskiq stream", True),
    row("saq", "saq_peer", Pace(5_000, 0, 1_700), saq, "from saq import Queue"),
    row("saq 10 at a time", "saq_peer", Pace(5_000, 0, 1_700), saq, "from saq import Queue", together=10),
    row("arq", "arq_peer", Pace(2_300, 0, 100), arq, "from arq import create_pool", apart="arq",
        distributions=("arq", "redis", "hiredis")),
    row("arq 10 at a time", "arq_peer", Pace(2_300, 0, 800), arq, "from arq import create_pool", apart="arq",
        distributions=("arq", "redis", "hiredis"), together=10),
    row("streaq", "streaq_peer", Pace(3_500, 15_000, 1_200), streaq, "from streaq import Worker"),
    row("streaq 16 at a time", "streaq_peer", Pace(3_500, 15_000, 1_200), streaq, "from streaq import Worker",
        together=16),
    row("wakaq", "wakaq_peer", Pace(8_000, 0, 3_000), wakaq, "from wakaq import WakaQ",
        lacks={"ask": "keeps no results"}),
    row("flexiq", "flexiq_redis_peer", Pace(4_000, 10_000, 600), flexiq("flexiq_redis_peer"),
        "from flexiq import Queue", env={"FLEXIQ_LOG_LEVEL": "ERROR"}),
    row("flexiq 16 threads", "flexiq_redis_peer", Pace(4_000, 10_000, 600), flexiq("flexiq_redis_peer"),
        "from flexiq import Queue", env={"FLEXIQ_LOG_LEVEL": "ERROR"}, together=16),
)  # fmt: skip
