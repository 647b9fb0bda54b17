"""A channel beside those that carry messages: for declarations and other questions, any of which may be refused.

A refusal closes the channel that asked. On a channel of its own it takes no confirm, consumer or held delivery along.
What was asked over this connection before is remembered here, and forgotten with the connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastq._ext import amqp
from fastq._ext.amqp import METHODS
from fastq.amqp.error import ChannelClosed, ConnectionClosed
from fastq.amqp.link import ANSWERS, Link
from fastq.exceptions import BrokerRefused

NOT_FOUND, LOCKED, PRECONDITION_FAILED = 404, 405, 406
_HOPELESS = frozenset((503, 530, 540))
"""With these the broker closes the connection, and would again: unknown exchange type, not allowed, not implemented."""
_HINTS = {
    403: "give the user the permission that the text names, or declare it beforehand and set no_declare",
    404: "declare it, or leave out passive=True",
    405: "another connection has it for itself; choose another name",
    406: "delete the one that exists, or declare it as it is",
    503: "install the plugin that knows this type, or take direct, topic, fanout or headers",
}


class Step(NamedTuple):
    """One method that the broker answers; *args* as fastq._ext.amqp.method takes them."""

    method: str
    args: tuple[Any, ...]


class Refusal(NamedTuple):
    """The answer to a step that the broker refused."""

    code: int
    text: str


Answer = tuple[Any, ...] | Refusal
"""The arguments of the answer, or the refusal."""


class SideChannel:
    """Runs steps over *link*, and knows in ``done`` what need not be run again.

    Example::

        side = SideChannel(link)
        (_, ready, consumers), = side.run([passive_queue("celery")])
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.done: set[tuple[str, ...]] = set()
        """What stands, as far as this connection knows; each fact begins with the name that it is about."""
        self._number = 0

    @property
    def number(self) -> int:
        """The channel, which is opened when there is none."""
        if not self._number:
            self._number = self.link.open_channel()
        return self._number

    def run(self, steps: Sequence[Step]) -> list[Answer]:
        """Run *steps* in one round trip, and two more for each that is refused; returns their answers in order.

        A refusal stops no later step. Raises ConnectionLost, or BrokerRefused when the broker closes the connection
        for what was asked.
        """
        answers: list[Answer] = []
        while len(answers) < len(steps):
            try:
                self._run(steps[len(answers):], answers)
            except ChannelClosed as error:
                self._number = 0
                answers.append(Refusal(error.reply_code, error.reply_text))
            except ConnectionClosed as error:
                if error.reply_code in _HOPELESS:
                    raise refused(self, steps[len(answers)], Refusal(error.reply_code, error.reply_text)) from error
                raise
        return answers

    def refusals(self, steps: Sequence[Step]) -> list[tuple[Step, Refusal]]:
        """Run *steps* and return those that were refused. Raises as `run` does."""
        return [(step, answer) for step, answer in zip(steps, self.run(steps), strict=True)
                if isinstance(answer, Refusal)]

    def _run(self, steps: Sequence[Step], answers: list[Answer]) -> None:
        channel = self.number
        self.link.send(b"".join(amqp.method(channel, METHODS[step.method], *step.args) for step in steps))
        for step in steps:
            why = f"{described(step)} was not answered"
            answers.append(self.link.wait(channel, ANSWERS[METHODS[step.method]], self.link.call_timeout_s, why)[2])

    def close(self) -> None:
        """Close the channel; the next step opens another."""
        number, self._number = self._number, 0
        if number:
            self.link.close_channel(number)


def refused(side: SideChannel, step: Step, refusal: Refusal) -> BrokerRefused:
    """Return the error for a *step* that cannot be done without."""
    hint = _HINTS.get(refusal.code)
    error = BrokerRefused(f"{side.link.where}: the broker refused {described(step)}: {refusal.code} {refusal.text}"
                          + (f"; {hint}" if hint else ""))
    error.code = refusal.code
    return error


def described(step: Step) -> str:
    """Say in words what *step* asks: ``queue.declare 'celery'``."""
    return f"{step.method} {step.args[0]!r}"


def exchange(name: str, kind: str, *, durable: bool = True, auto_delete: bool = False,
             arguments: Mapping[str, Any] | None = None, passive: bool = False) -> Step:
    """The step that declares an exchange."""
    # internal and nowait are always off, as with Celery.
    return Step("exchange.declare", (name, kind, passive, durable, auto_delete, False, False, dict(arguments or {})))


def queue(name: str, *, durable: bool = True, exclusive: bool = False, auto_delete: bool = False,
          arguments: Mapping[str, Any] | None = None, passive: bool = False) -> Step:
    """The step that declares a queue; its answer is (name, ready messages, consumers)."""
    return Step("queue.declare", (name, passive, durable, exclusive, auto_delete, False, dict(arguments or {})))


def passive_queue(name: str) -> Step:
    """The step that asks for a queue and changes nothing."""
    return queue(name, passive=True)


def bind_queue(name: str, source: str, key: str, arguments: Mapping[str, Any] | None = None) -> Step:
    """The step that binds queue *name* to exchange *source*."""
    return Step("queue.bind", (name, source, key, False, dict(arguments or {})))


def bind_exchange(name: str, source: str, key: str) -> Step:
    """The step that binds exchange *name* to exchange *source*."""
    return Step("exchange.bind", (name, source, key, False, {}))
