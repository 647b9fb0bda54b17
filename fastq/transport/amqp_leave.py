"""How deliveries leave over AMQP: what is published first, and what may be acknowledged once that is confirmed."""

from __future__ import annotations

from fastq._ext import envelope
from fastq.transport.amqp_consume import Consumer, Runs
from fastq.transport.amqp_dead import dead_message
from fastq.transport.amqp_publish import Publisher
from fastq.transport.amqp_route import REPLY, Routes
from fastq.transport.amqp_trial import Trials
from fastq.types import UNCOUNTED, Deliveries, Endings, Message, Result
from fastq.wire.header import revise

DEATHS = "x-fastq-deaths"


class Leaving:
    """Publishes for the deliveries that end. *result_content* is the content type and encoding of results."""

    def __init__(self, publisher: Publisher, routes: Routes, trials: Trials, result_content: tuple[str, str]) -> None:
        self._publisher = publisher
        self._routes = routes
        self._trials = trials
        self._result_properties = {"content_type": result_content[0], "content_encoding": result_content[1],
                                   "delivery_mode": 1}

    def offer(self, consumer: Consumer, endings: Endings) -> tuple[Runs, int]:
        """Offer what leaves with the endings.

        Returns what is to be acked besides *endings.ack*, and the number of the message to be confirmed before.
        """
        offer, gate, acks = self._publisher.offer, 0, Runs()
        for result in endings.results:
            if result.reply_to:
                gate = offer(self._reply(result))
        for message in endings.publish:
            gate = offer(message)
        for tag in endings.lost:
            queue, deaths, content = endings.rows[tag]
            gate = self._send_home(queue, deaths + 1, revise(content, {DEATHS: deaths + 1}, (DEATHS,)))
            self._trials.saw_death()
            acks.append((tag, tag))
        for tag, reason in endings.dead:
            queue, deaths, content = endings.rows[tag]
            if self._routes.has_own_dead_letters(queue):
                consumer.reject([(tag, tag)])
                continue
            exchange, key, content = dead_message(content, queue, reason, deaths)
            gate = offer(Message(key, content, exchange=exchange))
            acks.append((tag, tag))
        return acks, gate

    def _reply(self, result: Result) -> Message:
        properties = {**self._result_properties, "correlation_id": result.task_id}
        return Message(result.reply_to or "", envelope.pack(properties, {}, result.meta), exchange=REPLY)

    def give_back(self, consumer: Consumer, endings: Endings, gate: int) -> tuple[Runs, int]:
        """Offer copies of *endings.back*: the broker would mark the originals as held by one that vanished.

        What is so marked already, and was not counted, is to stay so. While the broker takes no messages it is told to
        put back the originals all the same.
        """
        acks = Runs()
        for first, last in endings.back:
            for tag in range(first, last + 1):
                row = endings.rows.get(tag)
                if row is None or self.is_choked or row[1] & UNCOUNTED:
                    consumer.requeue([(tag, tag)])
                    continue
                gate = self._send_home(*row)
                acks.append((tag, tag))
        return acks, gate

    @property
    def is_choked(self) -> bool:
        """Whether the broker takes no messages, as far as is known."""
        link = self._publisher.link
        return link is not None and bool(link.blocked)

    def move(self, deliveries: Deliveries) -> tuple[Runs, int]:
        """Offer copies of *deliveries* to where they belong, and change nothing else about them."""
        acks, gate = Runs(), 0
        for queue, rows in deliveries:
            for tag, deaths, content in rows:
                gate = self._send_home(queue, deaths, content)
                acks.append((tag, tag))
        return acks, gate

    def _send_home(self, queue: str, deaths: int, content: bytes) -> int:
        number = self._publisher.offer(Message(self._trials.home(queue, deaths), content))
        self._trials.sent(queue, deaths, number)
        return number
