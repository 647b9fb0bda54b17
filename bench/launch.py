"""How the workers of systems are started that are measured on more than one broker, with N tasks at a time."""

from __future__ import annotations

from collections.abc import Callable

from fastq.bench.system import run_module


def celery(module: str, pool: str) -> Callable[[int], list[str]]:
    return lambda n: run_module(
        "celery", "-A", module, "worker", "-P", pool, "-c", str(n), "-l", "ERROR",
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    )  # fmt: skip


def huey(module: str, kind: str) -> Callable[[int], list[str]]:
    # 1 ms between polls without back-off, no scheduler of periodic tasks, no health check, no log but errors.
    return lambda n: run_module(
        "huey.bin.huey_consumer", f"{module}.huey", "-k", kind, "-w", str(n),
        "-d", "0.001", "-m", "0.001", "-b", "1", "-n", "-C", "-q",
    )  # fmt: skip


def flexiq(module: str) -> Callable[[int], list[str]]:  # its threads are a setting of the queue
    return lambda _n: run_module("flexiq.cli", "worker", "--app", f"{module}:queue")


def fastq(module: str, pool: str = "prefork") -> Callable[[int], list[str]]:
    return lambda n: run_module("fastq", "-A", module, "worker", "-P", pool, "-c", str(n), "-l", "warning")


def dramatiq(module: str, threads: int) -> Callable[[int], list[str]]:
    return lambda n: run_module(
        "dramatiq", module, "-p", str(max(n // threads, 1)), "-t", str(threads), "--skip-logging"
    )
