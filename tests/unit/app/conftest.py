"""An app on engines in memory, and what it has sent."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastq import Fastq, current
from fastq.types import Endings
from fastq.wire.message import Content

Sent = Callable[..., list[Content]]


@pytest.fixture(autouse=True)
def _no_traces_of_other_apps() -> Iterator[None]:
    before, shared = current.app_or_none(), list(current.on_finalize)
    yield
    current.set_app(before)
    current.on_finalize[:] = shared
    current.running = current.running_task = None


@pytest.fixture
def app() -> Iterator[Any]:
    with Fastq("shop", broker=f"memory://{uuid.uuid4()}") as app:
        yield app


@pytest.fixture
def add(app: Any) -> Any:
    @app.task
    def add(x: int, y: int = 0) -> int:
        """Add up."""
        return x + y

    return add


@pytest.fixture
def sent(app: Any) -> Sent:
    """Take what was sent to a queue, ready messages only, in the order in which a worker gets them."""
    def taken(queue: str = "celery") -> list[Content]:
        app.transport.attach(f"worker-{uuid.uuid4()}", [queue])
        deliveries = app.transport.turn(Endings(), 1000)
        return [Content.parse(content) for _, rows in deliveries for _, _, content in rows]

    return taken
