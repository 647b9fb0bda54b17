"""A worker's parts in one process, without broker or children."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from fastq._ext.envelope import pack
from fastq._ext.execute import Executor
from fastq._ext.ring import Ring
from fastq.app.results import Expiry
from fastq.app.traits import Traits
from fastq.backends.meta import MetaCodec
from fastq.types import Endings
from fastq.worker import outcome
from fastq.worker.decide import Decider
from fastq.worker.rate import Rates
from fastq.worker.revocation import Revocations
from fastq.worker.settle import Settler
from fastq.worker.verdict import Verdicts
from tests.ext.ringkit import Kit, message


def traits(name: str, **changes: Any) -> Traits:
    """The traits of a task with fastq's defaults, but for *changes*."""
    return Traits(**{
        "name": name, "call": print, "is_async": False, "hooks": frozenset(), "acks_late": True,
        "acks_on_failure": True, "acks_on_timeout": True, "reject_on_worker_lost": True, "retry_on_worker_lost": False,
        "ignore_result": False, "store_errors_even_if_ignored": False, "track_started": False, "send_events": False,
        "time_limit": None, "soft_time_limit": None, "rate_limit": None, "max_retries": 3, "throws": (),
        "resultrepr_maxsize": 1024, **changes})


class Parts:
    """Ring, settler and decider for tasks ``add`` (late) and ``soon`` (early); children run in this process."""

    def __init__(self, folder: Path, *, max_deaths: int = 3, slots: int = 8, **changes: Any) -> None:
        self.tasks = {"add": traits("add", **changes), "soon": traits("soon", acks_late=False, **changes)}
        self.kit = Kit(folder, {name: lambda a, b: a + b for name in self.tasks}, early=["soon"], slots=slots,
                       max_deaths=max_deaths)
        self.ring: Ring = self.kit.ring
        self.child: Executor = self.kit.executors[0]
        self.verdicts = Verdicts(MetaCodec(), self.tasks, "w@host", Expiry(60.0, 60.0))
        rows = [outcome.endings(outcome.rules_of(one)) for one in self.tasks.values()]
        self.settler = Settler(self.ring, rows, self.verdicts, max_deaths=max_deaths, expiry=Expiry(60.0, 60.0))
        self.revocations, self.rates = Revocations(self.ring), Rates(self.ring, list(self.tasks))
        self.decider = Decider(self.ring, self.verdicts, max_deaths, self.settler.orphans, self.revocations, self.rates)

    def decide(self, content: bytes, *, tag: int = 5, deaths: int = 0) -> Endings:
        """Stage one message and let it be decided."""
        endings = Endings()
        for row in self.ring.stage(b"q", [(tag, deaths, content)]):
            self.decider.decide("q", row, endings)
        return endings

    def release(self, *contents: bytes, deaths: int = 0) -> None:
        """Make messages with the tags 1, 2, ... claimable."""
        self.ring.stage(b"q", [(tag, deaths, content) for tag, content in enumerate(contents, 1)])
        self.ring.release()


    def followed(self) -> Endings:
        """Let a child follow up what is over."""
        self.ring.release()
        self.child.run_ready()
        self.settler.collect()
        return self.settler.take()


def die_at_claim(kit: Kit, child: int = 0) -> None:
    """Claim one message in a forked child that is killed at that point."""
    pid = os.fork()
    if pid == 0:
        try:
            Executor(kit.memory, child=child, hostname="h", decode=msgspec.json.Decoder().decode, encode_success=None,
                     entries=[(None, print, 1)] * 2, slow=kit.slow, wake_fd=kit.wake_fd, kill_at=1 << 2).run_ready()
        finally:
            os._exit(1)
    os.waitpid(pid, 0)


def meta_of(endings: Endings) -> dict[str, Any]:
    """The only result document among *endings*."""
    [result] = endings.results
    found: dict[str, Any] = json.loads(result.meta)
    assert (found["task_id"], found["status"]) == (result.task_id, result.state)
    return found


__all__ = ("Parts", "die_at_claim", "message", "meta_of", "pack", "traits")
