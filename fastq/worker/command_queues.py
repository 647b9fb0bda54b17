"""The commands of remote control about the queues that a worker consumes; see commands.py."""

from __future__ import annotations

import logging
from typing import Any

from fastq.exceptions import ConfigError, TransportError
from fastq.worker import chosen
from fastq.worker.command_table import command
from fastq.worker.panel import Panel

logger = logging.getLogger("celery.worker.control")


@command()
def add_consumer(panel: Panel, queue: str, exchange: str | None = None, exchange_type: str | None = None,
                 routing_key: str | None = None, **options: Any) -> object:
    """Consume *queue* from now on. One that the app does not know is made: by its name alone, as clients make it."""
    try:
        name = chosen.add(panel.app, panel.queues(), panel.consume, queue, exchange, exchange_type, routing_key,
                          **options)
    except (ConfigError, TransportError, TypeError, ValueError) as error:
        return {"error": f"not consuming from {queue}: {error}"}
    logger.info("Consuming from queue %s", name)
    return {"ok": f"add consumer {queue}"}


@command()
def cancel_consumer(panel: Panel, queue: str, **_: Any) -> object:
    """Consume *queue* no more. What is in hand of it still runs."""
    chosen.leave(panel.app, panel.queues(), panel.consume, queue)
    logger.info("Consuming from queue %s no more", queue)
    return {"ok": f"no longer consuming from {queue}"}


@command()
def active_queues(panel: Panel, **_: Any) -> object:
    """The queues that this worker consumes."""
    known = panel.app.router.queues
    found: list[dict[str, Any]] = []
    for name in panel.queues():
        queue = known.declared(name)
        exchange = queue.exchange if queue is not None else None
        found.append({
            "name": name, "routing_key": queue.routing_key if queue is not None else name, "durable": True,
            "exclusive": False, "auto_delete": False, "no_ack": False, "alias": None, "bindings": [],
            "exchange": {"name": exchange.name if exchange else "", "type": exchange.type if exchange else "direct"},
        })
    return found
