"""The queues that an app knows, by name: those of ``task_queues``, the default one, and those made when first named.

Pure values over settings that are handed in; the app is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from fastq.exceptions import ConfigError, QueueNotFound
from fastq.wire.entity import Exchange, Queue, direct_named

__all__ = ("QueueRules", "Queues", "rules_of")

_QUEUE_TYPES = ("classic", "quorum", "stream")


class QueueRules(NamedTuple):
    """The settings that shape queues, each named as its setting without the prefix ``task_``.

    *configured_queue_type* is no setting: the type of those in ``task_queues`` that name none.
    """

    default_queue: str = "celery"
    default_exchange: str | None = None
    default_exchange_type: str = "direct"
    default_routing_key: str | None = None
    default_queue_type: str = "classic"
    queue_max_priority: int | None = None
    create_missing_queues: bool = True
    create_missing_queue_type: str = "classic"
    create_missing_queue_exchange_type: str | None = None
    configured_queue_type: str = "classic"


_DEFAULTS = QueueRules()


def rules_of(conf: Any) -> QueueRules:
    """Read the rules from settings.

    Where ``task_queue_max_priority`` is set, a type that nobody chose is "classic", since RabbitMQ has no quorum
    queues with priorities. The default type is that of configured queues in the preset "Fastq" only: another program
    that declares the same queue as Celery does would be refused.
    """
    names = (field for field in QueueRules._fields if field != "configured_queue_type")
    values = {name: getattr(conf, f"task_{name}") for name in names}
    if values["queue_max_priority"] is not None:
        for name in ("default_queue_type", "create_missing_queue_type"):
            if not conf.value_set_for(f"task_{name}"):
                values[name] = "classic"
    own = values["default_queue_type"] if conf.preset == "Fastq" else "classic"
    return QueueRules(**values, configured_queue_type=own)


class Queues(Mapping[str, Queue]):
    """The known queues. Looking up another makes it, if the rules allow; ``in``, ``get`` and iteration never do.

    *queues* is ``task_queues``: queues, or a mapping of names to queues or to rows of options. Without any, the
    default queue is the only one. A queue is also found by its alias.

        Queues([Queue("video", "media", "video")])["video"].exchange.name == "media"
    """

    def __init__(
        self, queues: Iterable[Queue | str] | Mapping[str, Any] | None = None, rules: QueueRules = _DEFAULTS
    ) -> None:
        self.rules = rules
        self._queues: dict[str, Queue] = {}
        self._aliases: dict[str, str] = {}
        self._others: dict[str, Queue] = {}
        if isinstance(queues, Mapping):
            for name, row in queues.items():
                self._configure(name, row)
        else:
            for queue in queues or ():
                self.add(queue)
        if not self._queues:
            self._know(Queue(rules.default_queue, queue_arguments=_queue_type(rules.default_queue_type)))

    @property
    def default(self) -> Queue:
        """The queue of tasks without a route. Raises QueueNotFound when it is not known and may not be made."""
        return self[self.rules.default_queue]

    def add(self, queue: Queue | str, **options: Any) -> Queue:
        """Make *queue* known, or the one of that name with *options* as `Queue.from_dict` takes them.

        What it leaves open is filled in from the rules: exchange, routing key, highest priority, type. Returns the
        result. Raises ConfigError when it would have priorities and a type that has none.
        """
        if isinstance(queue, str):
            queue = Queue.from_dict(queue, **options)
            queue = queue if queue.routing_key else queue.replace(routing_key=queue.name)
        return self._know(_typed(queue, self.rules.configured_queue_type))

    def select(self, include: Iterable[str] | None = None, exclude: Iterable[str] = ()) -> dict[str, Queue]:
        """Choose the queues that a worker consumes: those named by *include* (None: all known), less *exclude*.

        Names in *include* that are unknown are made, if the rules allow; else QueueNotFound.
        """
        chosen = (self[name] for name in (list(self) if include is None else include))
        dropped = {self._aliases.get(name, name) for name in exclude}
        return {queue.name: queue for queue in chosen if queue.name not in dropped}

    def require(self, name: str, exchange: str | None = None, exchange_type: str | None = None,
                routing_key: str | None = None, **options: Any) -> Queue:
        """Return a queue; one that is unknown is made, whatever the rules allow to whoever merely names one.

        By its name alone it is made as clients make it, else by default on a direct exchange of its own name. Raises
        ConfigError, TypeError for options that no queue has.
        """
        if name in self:
            return self[name]
        if exchange_type in (None, "direct") and not (exchange or routing_key or options):
            return self._know(self._missing(name))
        return self.add(name, exchange=exchange or name, exchange_type=exchange_type or "direct",
                        routing_key=routing_key or name, **options)

    def forget(self, name: str) -> None:
        """Have the queue *name* unknown again; one that is unknown does nothing."""
        queue = self._queues.pop(name, None)
        if queue is not None and queue.alias:
            self._aliases.pop(queue.alias, None)

    def meet(self, queue: Queue) -> None:
        """Keep a queue that a single call brought along, to be declared as it says; it stays unknown otherwise."""
        if queue.name not in self._queues:
            self._others[queue.name] = queue

    def declared(self, name: str) -> Queue | None:
        """Return what a broker is to be told of the queue *name*; None where it is not to be declared.

        A missing one is made, if the rules allow, but does not become known: a worker that sends to a queue must not
        consume it. That of one worker (``worker_direct``) is nobody's to configure.
        """
        queue = self.get(name) or self._others.get(name)
        if queue is None and (self.rules.create_missing_queues or direct_named(name)):
            queue = self._others[name] = self._completed(self._missing(name))
        return None if queue is None or queue.no_declare else queue

    def bound_to(self, exchange: str) -> list[Queue]:
        """Return the queues that the exchange of that name feeds, as far as they are known or were met."""
        queues = (*self._queues.values(), *self._others.values())
        return [queue for queue in queues
                if exchange in (queue.exchange.name, *(bound.exchange.name for bound in queue.bindings))]

    def get(self, name: str, default: Any = None) -> Any:
        """The queue if it is known; makes none."""
        return self._queues.get(self._aliases.get(name, name), default)

    def __getitem__(self, name: str) -> Queue:
        queue = self._queues.get(self._aliases.get(name, name))
        if queue is not None:
            return queue
        if not self.rules.create_missing_queues:
            raise QueueNotFound(self._unknown(name))
        return self._know(self._missing(name))

    def __contains__(self, name: object) -> bool:
        return name in self._queues or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._queues)

    def __len__(self) -> int:
        return len(self._queues)

    def _configure(self, name: str, row: Any) -> None:
        if isinstance(row, Queue):
            self.add(row)
        elif row is None or isinstance(row, Mapping):
            self.add(name, **(row or {}))
        else:
            raise ConfigError(f"task_queues[{name!r}] is {row!r}; it takes a Queue or a mapping of its options")

    def _know(self, queue: Queue) -> Queue:
        queue = self._completed(queue)
        self._queues[queue.name] = queue
        if queue.alias:
            self._aliases[queue.alias] = queue.name
        return queue

    def _completed(self, queue: Queue) -> Queue:
        rules, filled = self.rules, dict[str, Any]()
        if not queue.exchange.name:
            filled["exchange"] = Exchange(rules.default_exchange or rules.default_queue, rules.default_exchange_type)
        if not queue.routing_key:
            filled["routing_key"] = rules.default_routing_key or rules.default_queue
        if rules.queue_max_priority is not None and "x-max-priority" not in queue.declared_arguments():
            filled["max_priority"] = rules.queue_max_priority
        return _checked(queue.replace(**filled) if filled else queue)

    def _missing(self, name: str) -> Queue:
        direct = direct_named(name)
        if direct is not None:      # classic also where others are not: Celery's clients declare it too
            return direct
        exchange = Exchange(name, self.rules.create_missing_queue_exchange_type or "direct")
        return Queue(name, exchange, name, queue_arguments=_queue_type(self.rules.create_missing_queue_type))

    def _unknown(self, name: str) -> str:
        import difflib  # noqa: PLC0415  only errors pay for it

        nearest = difflib.get_close_matches(name, [*self._queues, *self._aliases], 1)
        return (
            f"queue {name!r} is not in task_queues, and task_create_missing_queues is off; "
            + (f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(self._queues) or 'none'}")
        )


def _queue_type(name: str | None) -> dict[str, str]:
    if not name or name == "classic":
        return {}
    if name not in _QUEUE_TYPES:
        raise ConfigError(f"there is no queue type {name!r}; it is one of {', '.join(_QUEUE_TYPES)}")
    return {"x-queue-type": name}


def _typed(queue: Queue, kind: str) -> Queue:
    """Give *queue* the type *kind*, unless it says another or cannot be of any type but classic."""
    said = queue.declared_arguments()
    if kind == "classic" or "x-queue-type" in said or "x-max-priority" in said:
        return queue
    if not queue.durable or queue.auto_delete:
        return queue
    return queue.replace(queue_arguments={**queue.queue_arguments, **_queue_type(kind)})


def _checked(queue: Queue) -> Queue:
    said = queue.declared_arguments()
    kind = said.get("x-queue-type", "classic")
    if kind != "classic" and "x-max-priority" in said:
        raise ConfigError(
            f"queue {queue.name!r} is to be of type {kind!r} and to have priorities up to {said['x-max-priority']}, "
            "which RabbitMQ has in classic queues only: set task_default_queue_type and task_create_missing_queue_type "
            "(or the queue's own x-queue-type) to 'classic', or leave out task_queue_max_priority (or its max_priority)"
        )
    return queue
