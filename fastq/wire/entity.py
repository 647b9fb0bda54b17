"""Exchanges, queues and bindings as frozen values: compared, hashed, pickled, never bound to a channel.

The constructors take kombu's names. What a broker is told about a queue is `Queue.declared_arguments`, what a
monitor is told is `as_dict`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar
from uuid import uuid4

__all__ = ("Binding", "Broadcast", "Exchange", "Queue", "Table", "binding", "worker_direct")

E = TypeVar("E", bound="_Entity")

_DELIVERY_MODES = {None: None, 1: 1, 2: 2, "transient": 1, "persistent": 2}


class Table(Mapping[str, Any]):
    """A frozen table of arguments: a mapping that has a hash."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        self._items = dict(items or ())

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        # Values may be lists or tables, which have none; equal tables have equal keys, and those do for a hash.
        return hash(frozenset(self._items))

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> Any:
        return type(self), (self._items,)


class _Entity:
    """A frozen value: its fields are what __init__ puts into __dict__, in that order.

    No dataclass: four of them would cost each `import fastq` 2.5 ms of its 40.
    """

    def replace(self: E, **changes: Any) -> E:
        """Copy this value with other fields. Raises TypeError at a name that is no field."""
        unknown = changes.keys() - self.__dict__.keys()
        if unknown:
            names = ", ".join(sorted(unknown))
            raise TypeError(f"{type(self).__name__} has no field {names}; it has {', '.join(sorted(self.__dict__))}")
        copied = copy.copy(self)
        copied.__dict__.update(changes)
        copied._settle()
        return copied

    def _take(self, arguments: dict[str, Any]) -> None:
        """Keep the arguments of __init__, which are its locals()."""
        self.__dict__.update((name, value) for name, value in arguments.items() if name != "self")
        self._settle()

    def _settle(self) -> None:
        """Bring the fields into the form in which they are kept and compared."""
        for name, value in self.__dict__.items():
            if name.endswith("arguments") and type(value) is not Table:
                self.__dict__[name] = Table(value)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen; replace({name}=...) makes a changed copy")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen; it keeps its {name}")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        blank = type(self)().__dict__
        shown = (f"{name}={value!r}" for name, value in self.__dict__.items() if value != blank[name])
        return f"{type(self).__name__}({', '.join(shown)})"


class Exchange(_Entity):
    """An exchange: *type* is direct, topic, fanout or headers; *delivery_mode* is 1 or transient, 2 or persistent."""

    name: str
    type: str
    durable: bool
    auto_delete: bool
    delivery_mode: int | None
    arguments: Mapping[str, Any]
    passive: bool
    no_declare: bool

    def __init__(
        self,
        name: str = "",
        type: str = "direct",
        *,
        durable: bool = True,
        auto_delete: bool = False,
        delivery_mode: int | str | None = None,
        arguments: Mapping[str, Any] | None = None,
        passive: bool = False,
        no_declare: bool = False,
    ) -> None:
        self._take(locals())

    def _settle(self) -> None:
        super()._settle()
        if self.delivery_mode not in _DELIVERY_MODES:
            raise ValueError(f"exchange {self.name!r} has delivery_mode {self.delivery_mode!r}, not 1, 2 or None")
        self.__dict__.update(type=self.type or "direct", delivery_mode=_DELIVERY_MODES[self.delivery_mode])

    def as_dict(self) -> dict[str, Any]:
        """The exchange as monitors see it."""
        return {
            "name": self.name,
            "type": self.type,
            "arguments": dict(self.arguments) or None,
            "durable": self.durable,
            "passive": self.passive,
            "auto_delete": self.auto_delete,
            "delivery_mode": self.delivery_mode,
            "no_declare": self.no_declare,
        }


class Binding(_Entity):
    """One more way into a queue: from *exchange*, by *routing_key*."""

    exchange: Exchange
    routing_key: str
    arguments: Mapping[str, Any]

    def __init__(
        self,
        exchange: Exchange | str | None = None,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._take(locals())

    def _settle(self) -> None:
        super()._settle()
        self.__dict__["exchange"] = _exchange(self.exchange)

    def as_dict(self) -> dict[str, Any]:
        """The binding as monitors see it."""
        return {
            "exchange": self.exchange.as_dict(),
            "routing_key": self.routing_key,
            "arguments": dict(self.arguments) or None,
        }


binding = Binding


class Queue(_Entity):
    """A queue and its binding. *exchange* may be a name; without one the app's default exchange is used.

    *expires* and *message_ttl* are seconds, *max_length* is messages; an exclusive queue is auto-deleted.

        Queue("video", Exchange("media", type="topic"), routing_key="video.#", max_priority=10)
    """

    name: str
    exchange: Exchange
    routing_key: str
    queue_arguments: Mapping[str, Any]
    binding_arguments: Mapping[str, Any]
    consumer_arguments: Mapping[str, Any]
    durable: bool
    exclusive: bool
    auto_delete: bool
    no_ack: bool
    alias: str | None
    bindings: frozenset[Binding]
    no_declare: bool | None
    expires: float | None
    message_ttl: float | None
    max_length: int | None
    max_length_bytes: int | None
    max_priority: int | None

    def __init__(
        self,
        name: str = "",
        exchange: Exchange | str | None = None,
        routing_key: str = "",
        *,
        queue_arguments: Mapping[str, Any] | None = None,
        binding_arguments: Mapping[str, Any] | None = None,
        consumer_arguments: Mapping[str, Any] | None = None,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        no_ack: bool = False,
        alias: str | None = None,
        bindings: Iterable[Binding] | None = None,
        no_declare: bool | None = None,
        expires: float | None = None,
        message_ttl: float | None = None,
        max_length: int | None = None,
        max_length_bytes: int | None = None,
        max_priority: int | None = None,
    ) -> None:
        self._take(locals())

    def _settle(self) -> None:
        super()._settle()
        self.__dict__.update(
            exchange=_exchange(self.exchange),
            routing_key=self.routing_key or "",
            bindings=frozenset(self.bindings or ()),
            auto_delete=self.auto_delete or self.exclusive,
        )

    @classmethod
    def from_dict(cls, name: str, /, **options: Any) -> Queue:
        """Make a queue from a row of ``task_queues``.

        Takes the fields of a queue, also with the prefix ``queue_``; ``binding_key`` for the key that binds; and the
        exchange by name, with ``exchange_type``, ``exchange_durable``, ``exchange_auto_delete``,
        ``exchange_arguments`` and ``delivery_mode``. Raises TypeError at any other name.

            Queue.from_dict("video", exchange="media", exchange_type="topic", binding_key="video.#")
        """
        exchange = options.pop("exchange", None)
        about_exchange = {key[9:]: options.pop(key) for key in list(options) if key.startswith("exchange_")}
        if "delivery_mode" in options:
            about_exchange["delivery_mode"] = options.pop("delivery_mode")
        if not isinstance(exchange, Exchange):
            exchange = Exchange(exchange or "").replace(**{k: v for k, v in about_exchange.items() if v is not None})
        key = options.pop("binding_key", None) or options.pop("routing_key", None) or ""
        options.pop("routing_key", None)
        queue = cls(name, exchange, key)
        own = queue.__dict__
        return queue.replace(
            **{option if option in own else option.removeprefix("queue_"): value for option, value in options.items()}
        )

    def declared_arguments(self) -> dict[str, Any]:
        """The arguments that a broker of AMQP is told: *queue_arguments* and what the fields say in its words."""
        said = {
            "x-expires": None if self.expires is None else int(self.expires * 1000),
            "x-message-ttl": None if self.message_ttl is None else int(self.message_ttl * 1000),
            "x-max-length": self.max_length,
            "x-max-length-bytes": self.max_length_bytes,
            "x-max-priority": self.max_priority,
        }
        return {**self.queue_arguments, **{key: value for key, value in said.items() if value is not None}}

    def as_dict(self) -> dict[str, Any]:
        """The queue as monitors see it (the remote command ``active_queues``)."""
        shown = {name: dict(value) or None if type(value) is Table else value for name, value in self.__dict__.items()}
        shown["exchange"] = self.exchange.as_dict()
        shown["bindings"] = [bound.as_dict() for bound in sorted(self.bindings, key=repr)]
        return shown


class Broadcast(Queue):
    """A queue of one consumer's own, on a fanout exchange: each message goes to every consumer.

    The queue's name is new each time, ``bcast.<uuid>``, unless *queue* names it; with *unique* it gets a new suffix
    all the same. Tasks are sent to *name*, the exchange and alias. Clients must not declare it.
    """

    def __init__(
        self,
        name: str = "",
        queue: str | None = None,
        unique: bool = False,
        auto_delete: bool = True,
        exchange: Exchange | str | None = None,
        alias: str | None = None,
        **options: Any,
    ) -> None:
        if unique or not queue:
            queue = f"{queue or 'bcast'}.{uuid4()}"
        super().__init__(
            queue,
            Exchange(name, type="fanout") if exchange is None else exchange,
            auto_delete=auto_delete,
            alias=alias or name,
            **options,
        )


_DIRECT = ".dq2"


def worker_direct(hostname: str | Queue) -> Queue:
    """Return the queue of the worker called *hostname*, of which it alone takes with ``worker_direct``.

    >>> worker_direct("w1@example.com").name
    'w1@example.com.dq2'
    """
    if isinstance(hostname, Queue):
        return hostname
    return Queue(f"{hostname}{_DIRECT}", Exchange("C.dq2"), hostname)


def direct_named(name: str) -> Queue | None:
    """Return the worker's own queue that is called *name*; None if it is another's name."""
    return worker_direct(name[:-len(_DIRECT)]) if name.endswith(_DIRECT) else None


def _exchange(exchange: Exchange | str | None) -> Exchange:
    return exchange if isinstance(exchange, Exchange) else Exchange(exchange or "")
