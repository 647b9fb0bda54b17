"""A task is sent to one worker by its name (`worker_direct`)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest

from tests.compat.sides import SIDES, Pair


@pytest.fixture(scope="package")
def direct(make_pair: Callable[..., Pair]) -> Pair:
    """A client, and a worker with a queue of its own."""
    return make_pair(worker_direct=True)


@pytest.mark.parametrize("how", ["queue", "name", "exchange"])
def test_a_task_reaches_the_worker_whose_queue_or_name_it_is_sent_to(
        direct: Pair, sides: tuple[str, str], how: str):
    node = f"{direct.worker.name}@compat"
    queue = import_module(f"{SIDES[sides[0]].module}.utils.nodenames").worker_direct(node)
    assert queue.name == f"{node}.dq2"
    options = {"queue": {"queue": queue}, "name": {"queue": queue.name},
               "exchange": {"exchange": "C.dq2", "routing_key": node, "exchange_type": "direct"}}
    assert direct.tasks.add.apply_async((2, 3), **options[how]).get(timeout=20) == 5
