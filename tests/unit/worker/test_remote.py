"""The mailbox of a worker, without the worker."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastq import control
from fastq.worker.panel import Panel
from fastq.worker.remote import Remote
from fastq.worker.shutdown import StopWish
from tests.unit.worker.parts import Parts


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    parts, options = Parts(tmp_path), SimpleNamespace(hostname="w@host")
    panel = Panel(None, options, (), parts.ring, parts.settler, parts.decider, None,    # type: ignore[arg-type]
                  parts.revocations, parts.rates, StopWish(), tuple, lambda queues: None)
    with selectors.DefaultSelector() as poller:
        remote = Remote(lambda: control.open(["memory://remote"], {}), panel, poller, accept=["json"],
                        serializer="json")
        yield remote
        remote.close()
    parts.kit.close()


def test_who_attached_looks_in_the_same_step(remote: Remote) -> None:
    step_began_at = time.monotonic()
    remote.attach()
    assert remote.look_at <= step_began_at
    remote.look()
    assert remote.look_at > step_began_at
