"""``app.amqp``: the queues and routes of an app, under the names that Celery has for them."""

from __future__ import annotations

from typing import Any

from fastq.app import loader
from fastq.app.queues import Queues, rules_of
from fastq.app.routes import Router
from fastq.wire.entity import Exchange, Queue

__all__ = ("AMQP", "Queues")

AnyQueues = Queues  # the class below has methods of these names
AnyRouter = Router


class AMQP:
    """Example::

        app.amqp.queues["video"].routing_key
        app.amqp.router.route({}, "proj.encode")["queue"]
    """

    argsrepr_maxsize = kwargsrepr_maxsize = 1024

    def __init__(self, app: Any) -> None:
        self.app = app

    @property
    def queues(self) -> AnyQueues:
        """The known queues, by name; looking up another makes it."""
        found: AnyQueues = self.app.router.queues
        return found

    @property
    def router(self) -> AnyRouter:
        """Finds the queue of a task."""
        found: AnyRouter = self.app.router
        return found

    @property
    def routes(self) -> Any:
        """The setting ``task_routes``."""
        return self.app.conf.task_routes

    @property
    def default_queue(self) -> Queue:
        """The queue of tasks without a route."""
        return self.queues.default

    @property
    def default_exchange(self) -> Exchange:
        """The exchange of that queue."""
        return self.default_queue.exchange

    @property
    def utc(self) -> bool:
        """The setting ``enable_utc``."""
        return bool(self.app.conf.enable_utc)

    def Queues(self, queues: Any = None, create_missing: bool | None = None,
               max_priority: int | None = None) -> AnyQueues:
        """Return other *queues* under the app's rules, but for those that are given."""
        own = rules_of(self.app.conf)
        if create_missing is not None:
            own = own._replace(create_missing_queues=create_missing)
        if max_priority is not None:
            # RabbitMQ has priorities in classic queues only.
            own = own._replace(queue_max_priority=max_priority, default_queue_type="classic",
                               create_missing_queue_type="classic", configured_queue_type="classic")
        return AnyQueues(queues, own)

    def Router(self, queues: AnyQueues | None = None) -> AnyRouter:
        """Return a router over *queues*, by default those of the app, with the app's routes."""
        return AnyRouter(self.queues if queues is None else queues, self.routes, loader.import_object)

    def flush_routes(self) -> None:
        """Read queues and routes from the settings anew."""
        self.app.flush_routes()
