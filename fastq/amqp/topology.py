"""What a channel can do to exchanges, queues and their bindings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fastq.amqp.message import table, text

Arguments = Mapping[Any, Any] | None


class queue_declare_ok_t(NamedTuple):
    """What the broker says of a queue that was declared."""

    queue: str
    message_count: int
    consumer_count: int


class Topology:
    """The part of a channel that declares, binds, purges and deletes.

    With ``nowait`` the broker does not answer and nothing is waited for or returned; an error then closes the channel
    later. Everything raises ChannelError when the broker refuses: 404 not found, 405 locked by another connection, 406
    declared before in another way, 403 no permission.
    """

    def _call(self, name: str, *args: Any, nowait: bool = False) -> tuple[Any, ...]:
        """Send a method and wait for its answer's arguments; empty with *nowait*. The channel knows how."""
        raise AssertionError(f"{type(self).__name__} cannot call {name}")

    def exchange_declare(self, exchange: str = "", type: str = "direct", passive: bool = False, durable: bool = False,
                         auto_delete: bool = False, arguments: Arguments = None, nowait: bool = False) -> None:
        """Make an exchange, or with *passive* only ask whether it is there."""
        self._call("exchange.declare", name(exchange), name(type), bool(passive), bool(durable), bool(auto_delete),
                   False, bool(nowait), table(arguments), nowait=nowait)

    def exchange_delete(self, exchange: str = "", if_unused: bool = False, nowait: bool = False) -> None:
        """Remove an exchange and its bindings."""
        self._call("exchange.delete", name(exchange), bool(if_unused), bool(nowait), nowait=nowait)

    def exchange_bind(self, destination: str, source: str = "", routing_key: str = "", nowait: bool = False,
                      arguments: Arguments = None) -> None:
        """Have what *source* takes for *routing_key* go to the exchange *destination* too."""
        self._call("exchange.bind", name(destination), name(source), name(routing_key), bool(nowait),
                   table(arguments), nowait=nowait)

    def exchange_unbind(self, destination: str, source: str = "", routing_key: str = "", nowait: bool = False,
                        arguments: Arguments = None) -> None:
        """Undo `exchange_bind`."""
        self._call("exchange.unbind", name(destination), name(source), name(routing_key), bool(nowait),
                   table(arguments), nowait=nowait)

    def queue_declare(self, queue: str = "", passive: bool = False, durable: bool = False, exclusive: bool = False,
                      auto_delete: bool = False, arguments: Arguments = None,
                      nowait: bool = False) -> queue_declare_ok_t | None:
        """Make a queue, under a name that the broker makes up if *queue* is empty; with *passive* only ask for it.

        Example::

            name, ready, consumers = channel.queue_declare("tasks", durable=True)
        """
        answer = self._call("queue.declare", name(queue), bool(passive), bool(durable), bool(exclusive),
                            bool(auto_delete), bool(nowait), table(arguments), nowait=nowait)
        return queue_declare_ok_t(*answer) if answer else None

    def queue_bind(self, queue: str = "", exchange: str = "", routing_key: str = "", arguments: Arguments = None,
                   nowait: bool = False) -> None:
        """Have what *exchange* takes for *routing_key* go to *queue*; empty means the queue declared last."""
        self._call("queue.bind", name(queue), name(exchange), name(routing_key), bool(nowait), table(arguments),
                   nowait=nowait)

    def queue_unbind(self, queue: str = "", exchange: str = "", routing_key: str = "", arguments: Arguments = None,
                     nowait: bool = False) -> None:
        """Undo `queue_bind`; the broker always answers."""
        self._call("queue.unbind", name(queue), name(exchange), name(routing_key), table(arguments))

    def queue_delete(self, queue: str = "", if_unused: bool = False, if_empty: bool = False,
                     nowait: bool = False) -> int | None:
        """Remove a queue with its messages; returns how many there were."""
        answer = self._call("queue.delete", name(queue), bool(if_unused), bool(if_empty), bool(nowait), nowait=nowait)
        return int(answer[0]) if answer else None

    def queue_purge(self, queue: str = "", nowait: bool = False) -> int | None:
        """Remove the messages of a queue that nobody holds; returns how many there were."""
        answer = self._call("queue.purge", name(queue), bool(nowait), nowait=nowait)
        return int(answer[0]) if answer else None


def name(value: Any) -> str:
    """A name for the wire; None means none."""
    return str(text(value)) if value is not None else ""
