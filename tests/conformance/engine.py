"""The implementations that the suites run against, and what each of them claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from fastq import transport
from fastq.transport.amqp import AmqpTransport
from fastq.transport.base import Caps, Transport
from fastq.transport.sqlite import SqliteTransport
from fastq.wire.entity import Queue


@dataclass(frozen=True)
class Engine:
    """One implementation in one manner of use. What is not ``is_atomic`` pushes: deliveries come after a turn."""

    name: str
    caps: Caps
    options: dict[str, Any] = field(default_factory=dict)
    has_file: bool = False
    server: str = ""
    """The fixture of the server that it needs."""
    counted: tuple[str, ...] = ("ready", "held", "future", "dead")
    """The figures of a queue that it knows."""

    def urgency(self, priority: int) -> int:
        """The number of a priority that is the more urgent the higher *priority* is."""
        return 9 - priority if self.caps.serves_low_first else priority

    def open(self, url: str, **options: object) -> Transport:
        """Open a transport; also in another process, which is told the name of the engine."""
        return transport.open(url, {**self.options, **options})

    def __str__(self) -> str:
        return self.name


def _queue(name: str, **arguments: Any) -> Queue:
    return Queue(name, name, name, **arguments)


def _amqp(name: str, ranks: int, queue_of: Callable[[str], Queue], levels: str) -> Engine:
    return Engine(name, AmqpTransport.caps._replace(ranks=ranks), server="rabbitmq", counted=("ready",),
                  options={"queue_of": queue_of, "delayed_queue_type": levels})


REDIS = Caps(stores_results=True, pushes=True, has_leases=True, routes=True, ranks=4, serves_low_first=True,
             defers=True)

ENGINES = {engine.name: engine for engine in (
    Engine("sqlite", SqliteTransport.caps, has_file=True),
    Engine("memory", SqliteTransport.caps),
    Engine("redis", REDIS, server="redis", options={"kept_lease_s": 1.5}),
    Engine("redis-cluster", REDIS._replace(stores_results=False), server="cluster", options={"kept_lease_s": 1.5}),
    _amqp("amqp-classic", 1, _queue, "classic"),
    _amqp("amqp-quorum", 1, partial(_queue, queue_arguments={"x-queue-type": "quorum"}), "quorum"),
    _amqp("amqp-ranked", 10, partial(_queue, max_priority=9), "classic"),
)}
_WHOLE = [engine for engine in ENGINES.values() if engine.name != "amqp-ranked"]


def params(engines: list[Engine]) -> list[Any]:
    """*engines* as parameters of a fixture or a test."""
    return [pytest.param(engine, id=engine.name, marks=[getattr(pytest.mark, engine.server)] if engine.server else [])
            for engine in engines]


ALL = params(_WHOLE)
atomic = pytest.mark.parametrize("engine", params([one for one in _WHOLE if one.caps.is_atomic]), indirect=True)
leased = pytest.mark.parametrize("engine", params([one for one in _WHOLE if one.caps.has_leases]), indirect=True)
ranked = pytest.mark.parametrize("engine", params([one for one in ENGINES.values() if one.caps.ranks > 1]),
                                 indirect=True)
deferring = pytest.mark.parametrize("engine", params([one for one in _WHOLE if one.caps.defers]), indirect=True)
pushing = pytest.mark.parametrize("engine", params([one for one in _WHOLE if not one.caps.is_atomic]), indirect=True)
SHARED = params([one for one in _WHOLE if one.has_file or one.server])
"""Those that several processes can reach."""
shared = pytest.mark.parametrize("engine", SHARED, indirect=True)
leased_and_shared = pytest.mark.parametrize(
    "engine", params([one for one in _WHOLE if one.caps.has_leases and (one.has_file or one.server)]), indirect=True)
in_file = pytest.mark.parametrize("engine", params([one for one in _WHOLE if one.has_file]), indirect=True)
