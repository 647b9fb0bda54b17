"""The commands of remote control about the queues that a worker consumes; see commands.py."""

from __future__ import annotations

import logging
from typing import Any

from fastq.exceptions import ConfigError, TransportError
from fastq.worker.command_table import command
from fastq.worker.panel import Panel

logger = logging.getLogger("celery.worker.control")


@command()
def add_consumer(panel: Panel, queue: str, exchange: str | None = None, exchange_type: str | None = None,
                 routing_key: str | None = None, **options: Any) -> object:
    """Consume *queue* from now on. One that the app does not know is made: by its name alone, as clients make it."""
    known = panel.app.router.queues
    is_new = queue not in known
    try:
        name = known.require(queue, exchange, exchange_type, routing_key, **options).name
        if name not in panel.queues():
            panel.consume([*panel.queues(), name])
            logger.info("Consuming from queue %s too", name)
    except (ConfigError, TransportError, TypeError, ValueError) as error:
        if is_new:
            known.forget(queue)
        return {"error": f"not consuming from {queue}: {error}"}
    return {"ok": f"add consumer {queue}"}


@command()
def cancel_consumer(panel: Panel, queue: str, **_: Any) -> object:
    """Consume *queue* no more. What is in hand of it still runs."""
    known = panel.app.router.queues.get(queue)
    name = known.name if known is not None else queue
    if name in panel.queues():
        panel.consume([each for each in panel.queues() if each != name])
        logger.info("Consuming from queue %s no more", name)
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
