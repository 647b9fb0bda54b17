"""``app.control``: asks and tells the workers that run. ``app.control.inspect()`` only asks.

A revocation is kept in the broker before anybody is told, so that workers which start later know of it too.
"""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from fastq.control.letters import Request, pack_request, read_answer
from fastq.control.mailbox import KEPT_S, Mailbox, Revoked
from fastq.exceptions import CeleryWarning

Answers = list[dict[str, Any]]
Ids = str | Iterable[str]


class Control:
    """Remote control of all workers, or of those named by *destination* or by *pattern* (a glob, or "pcre").

    Commands return None, or with ``reply=True`` what the workers answer within *timeout* seconds: a list of
    ``{node: {"ok": ...}}`` or ``{node: {"error": ...}}``. Raises ConfigError where the broker cannot do it (a cluster
    of Redis), TransportError when it is not to be had. Example::

        app.control.revoke(result.id)
        app.control.rate_limit("proj.add", "10/m", reply=True)
        app.control.inspect().active()
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    def inspect(self, destination: Sequence[str] | None = None, timeout: float = 1.0,
                callback: Callable[[dict[str, Any]], object] | None = None, limit: int | None = None,
                pattern: str | None = None, matcher: str | None = None, **_: Any) -> Inspect:
        """Return what asks workers and changes nothing."""
        return Inspect(self, destination, timeout, callback, limit, pattern, matcher)

    def ping(self, destination: Sequence[str] | None = None, timeout: float = 1.0, **options: Any) -> Answers:
        """Ask who is there: ``[{"worker@host": {"ok": "pong"}}]``."""
        return self.broadcast("ping", reply=True, destination=destination, timeout=timeout, **options) or []

    # Tasks

    def revoke(self, task_id: Ids, destination: Sequence[str] | None = None, terminate: bool = False,
               signal: str | None = None, **options: Any) -> Answers | None:
        """Let the tasks of these ids not start, for three hours, also in workers that start later.

        With *terminate* those that run are ended: a child ends of any of TERM, INT, QUIT, HUP and KILL, and its task is
        REVOKED; other signals go to the child as they are.
        """
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        return self._revoke("revoke", {"task_id": ids if len(ids) != 1 else ids[0]},
                            [Revoked(each, "", time.time() + KEPT_S) for each in ids],
                            destination, terminate, signal, options)

    def revoke_by_stamped_headers(self, headers: Mapping[str, Any], destination: Sequence[str] | None = None,
                                  terminate: bool = False, signal: str | None = None, **options: Any) -> Answers | None:
        """Let tasks not start that are stamped with one of *headers*, whose values may be lists."""
        pairs = [(name, str(value)) for name, values in headers.items()
                 for value in (values if isinstance(values, (list, tuple, set)) else [values])]
        return self._revoke("revoke_by_stamped_headers", {"headers": dict(headers)},
                            [Revoked(value, name, time.time() + KEPT_S) for name, value in pairs],
                            destination, terminate, signal, options)

    def terminate(self, task_id: Ids, destination: Sequence[str] | None = None, signal: str | None = None,
                  **options: Any) -> Answers | None:
        """Revoke tasks, and end them if they run."""
        return self.revoke(task_id, destination, terminate=True, signal=signal, **options)

    def rate_limit(self, task_name: str, rate_limit: str | float | None, destination: Sequence[str] | None = None,
                   **options: Any) -> Answers | None:
        """Let each worker start *task_name* no more often than *rate_limit*: "10/s", "9/m", 0.5 a second, 0: free."""
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", arguments, destination=destination, **options)

    def time_limit(self, task_name: str, soft: float | None = None, hard: float | None = None,
                   destination: Sequence[str] | None = None, **options: Any) -> Answers | None:
        """Change the time limits of *task_name* in seconds, for runs that begin from now on."""
        arguments = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", arguments, destination=destination, **options)

    def pool_grow(self, n: int = 1, destination: Sequence[str] | None = None, **options: Any) -> Answers | None:
        """Give workers *n* more children."""
        return self.broadcast("pool_grow", {"n": n}, destination=destination, **options)

    def pool_shrink(self, n: int = 1, destination: Sequence[str] | None = None, **options: Any) -> Answers | None:
        """Take *n* children from workers; each leaves when what it runs has ended."""
        return self.broadcast("pool_shrink", {"n": n}, destination=destination, **options)

    def pool_restart(self, destination: Sequence[str] | None = None, **options: Any) -> Answers | None:
        """Give workers new children, each when what it runs has ended; takes the setting ``worker_pool_restarts``.

        *modules* and *reload* of Celery's are refused: a worker that gets SIGHUP begins anew with the code there is.
        """
        names = ("modules", "reload", "reloader")
        given: dict[str, Any] = {name: options.pop(name) for name in names if name in options}
        return self.broadcast("pool_restart", given, destination=destination, **options)

    def add_consumer(self, queue: str, exchange: str | None = None, exchange_type: str = "direct",
                     routing_key: str | None = None, options: Mapping[str, Any] | None = None,
                     destination: Sequence[str] | None = None, **more: Any) -> Answers | None:
        """Have workers consume *queue* as well, until they end.

        One that their app does not know is made, on an exchange of its own name if none is given; *options* are those
        of a row of ``task_queues``.
        """
        arguments = {"queue": queue, "exchange": exchange, "exchange_type": exchange_type, "routing_key": routing_key,
                     **(options or {})}
        return self.broadcast("add_consumer", arguments, destination=destination, **more)

    def cancel_consumer(self, queue: str, destination: Sequence[str] | None = None, **options: Any) -> Answers | None:
        """Have workers consume *queue* no more, until they end; what they have in hand of it still runs."""
        return self.broadcast("cancel_consumer", {"queue": queue}, destination=destination, **options)

    def autoscale(self, max: int, min: int, destination: Sequence[str] | None = None, **options: Any,
                  ) -> Answers | None:
        """Change the bounds of workers that were started with ``--autoscale``, within what those were."""
        return self.broadcast("autoscale", {"max": max, "min": min}, destination=destination, **options)

    def shutdown(self, destination: Sequence[str] | None = None, **options: Any) -> Answers | None:
        """Stop workers when their tasks have ended; they do not answer."""
        return self.broadcast("shutdown", {}, destination=destination, **options)

    def enable_events(self, destination: Sequence[str] | None = None, **options: Any) -> Answers | None:
        """Have Celery's workers send events of tasks; fastq's send none yet, and say so."""
        return self.broadcast("enable_events", {}, destination=destination, **options)

    def disable_events(self, destination: Sequence[str] | None = None, **options: Any) -> Answers | None:
        """Have Celery's workers send no events of tasks."""
        return self.broadcast("disable_events", {}, destination=destination, **options)

    def heartbeat(self, destination: Sequence[str] | None = None, **options: Any) -> Answers | None:
        """Have Celery's workers send a heartbeat at once."""
        return self.broadcast("heartbeat", {}, destination=destination, **options)

    def election(self, id: str, topic: str, action: Any = None, connection: Any = None) -> None:
        """Have Celery's workers choose one of them to do *action*."""
        self.broadcast("election", {"id": id, "topic": topic, "action": action})

    def purge(self) -> int:
        """Drop all messages of all queues that the app consumes; returns how many."""
        transport = self.app.transport
        return sum(transport.purge(queue) for queue in self.app.select_queues())

    discard_all = purge

    def broadcast(self, command: str, arguments: Mapping[str, Any] | None = None,
                  destination: Sequence[str] | None = None, connection: Any = None, reply: bool = False,
                  timeout: float = 1.0, limit: int | None = None,
                  callback: Callable[[dict[str, Any]], object] | None = None, channel: Any = None,
                  pattern: str | None = None, matcher: str | None = None, **extra: Any) -> Answers | None:
        """Send any *command* with *arguments*; the other parameters are those of all commands.

        *limit* ends the wait when so many have answered, *callback* gets each answer as it comes. *connection* and
        *channel* are Celery's, and not used.
        """
        with closing(self.app.open_mailbox()) as mailbox:
            return self._send(mailbox, command, {**(arguments or {}), **extra}, destination, reply, timeout, limit,
                              callback, pattern, matcher)

    def _revoke(self, command: str, arguments: dict[str, Any], revoked: list[Revoked],
                destination: Sequence[str] | None, terminate: bool, signal: str | None,
                options: dict[str, Any]) -> Answers | None:
        arguments |= {"terminate": terminate, "signal": signal or "SIGTERM"}
        told = {name: default if options.get(name) is None else options[name] for name, default in _OPTIONS.items()}
        with closing(self.app.open_mailbox()) as mailbox:
            if not destination and not told["pattern"]:
                mailbox.revoke(revoked)
                arguments["kept"] = True
            return self._send(mailbox, command, arguments, destination, **told)

    def _send(self, mailbox: Mailbox, command: str, arguments: Mapping[str, Any], destination: Sequence[str] | None,
              reply: bool, timeout: float, limit: int | None, callback: Callable[[dict[str, Any]], object] | None,
              pattern: str | None, matcher: str | None) -> Answers | None:
        conf = self.app.conf
        if isinstance(destination, str):
            raise TypeError(f"destination is {destination!r}; it is a list of node names: [{destination!r}]")
        request = Request(command, arguments, destination, pattern, matcher)
        if not reply:
            mailbox.request(pack_request(request, serializer=conf.task_serializer))
            return None
        address, ticket = str(uuid.uuid4()), str(uuid.uuid4())
        mailbox.expect(address)
        request = request._replace(ticket=ticket, reply_to=(f"reply.{conf.control_exchange}.pidbox", address))
        mailbox.request(pack_request(request, timeout, conf.task_serializer))
        return self._collect(mailbox, ticket, timeout, limit or (len(destination) if destination else None), callback)

    def _collect(self, mailbox: Mailbox, ticket: str, timeout: float, limit: int | None,
                 callback: Callable[[dict[str, Any]], object] | None) -> Answers:
        found: Answers = []
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0 and (limit is None or len(found) < limit):
            for content in mailbox.receive(left):
                to, answer = read_answer(content, self.app.conf.accept_content)
                if to == ticket:
                    found.append(answer)
                    if callback is not None:
                        callback(answer)
        names = [name for answer in found for name in answer]
        twins = sorted({name for name in names if names.count(name) > 1})
        if twins:
            warnings.warn(f"several workers have the name {', '.join(twins)}: give each its own with -n",
                          CeleryWarning, stacklevel=4)
        return found


_OPTIONS: dict[str, Any] = {"reply": False, "timeout": 1.0, "limit": None, "callback": None, "pattern": None,
                            "matcher": None}


def flatten_reply(reply: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Make one mapping of many answers.

    >>> flatten_reply([{"a@host": {"ok": "pong"}}, {"b@host": {"ok": "pong"}}])
    {'a@host': {'ok': 'pong'}, 'b@host': {'ok': 'pong'}}
    """
    return {name: value for answer in reply for name, value in answer.items()}


class Inspect:
    """Asks workers: each method returns ``{node: answer}``, or None when nobody answered in time."""

    def __init__(self, control: Control, destination: Sequence[str] | None, timeout: float,
                 callback: Callable[[dict[str, Any]], object] | None, limit: int | None, pattern: str | None,
                 matcher: str | None) -> None:
        self._control = control
        self.timeout = timeout
        self._options: dict[str, Any] = {
            "destination": [destination] if isinstance(destination, str) else destination, "timeout": timeout,
            "callback": callback, "limit": limit, "pattern": pattern, "matcher": matcher}

    def ping(self, destination: Sequence[str] | None = None) -> dict[str, Any] | None:
        """Who is there."""
        told: dict[str, Any] = {"destination": destination} if destination else {}
        return self._ask("ping", None, **told)

    def active(self, safe: bool | None = None) -> dict[str, Any] | None:
        """The tasks that run."""
        return self._ask("active", {"safe": safe})

    def reserved(self) -> dict[str, Any] | None:
        """The tasks that wait in a worker."""
        return self._ask("reserved")

    def scheduled(self) -> dict[str, Any] | None:
        """Future tasks that a worker holds: Celery's do, fastq's wait in the broker."""
        return self._ask("scheduled")

    def revoked(self) -> dict[str, Any] | None:
        """The ids that are revoked."""
        return self._ask("revoked")

    def registered(self, *taskinfoitems: str) -> dict[str, Any] | None:
        """The names of tasks, with the attributes *taskinfoitems*."""
        return self._ask("registered", {"taskinfoitems": taskinfoitems})

    registered_tasks = registered

    def query_task(self, *ids: Any) -> dict[str, Any] | None:
        """What workers know of tasks by their ids."""
        wanted = list(ids[0]) if len(ids) == 1 and isinstance(ids[0], (list, tuple)) else list(ids)
        return self._ask("query_task", {"ids": wanted})

    def stats(self) -> dict[str, Any] | None:
        """Figures about workers."""
        return self._ask("stats")

    def active_queues(self) -> dict[str, Any] | None:
        """The queues that are consumed."""
        return self._ask("active_queues")

    def conf(self, with_defaults: bool = False) -> dict[str, Any] | None:
        """The settings of workers."""
        return self._ask("conf", {"with_defaults": with_defaults})

    def clock(self) -> dict[str, Any] | None:
        """The logical clocks of workers; Celery's have one."""
        return self._ask("clock")

    def hello(self, from_node: str, revoked: Sequence[str] | None = None) -> dict[str, Any] | None:
        """What workers know to be revoked; they learn *revoked*."""
        return self._ask("hello", {"from_node": from_node, "revoked": list(revoked or ())})

    def memsample(self) -> dict[str, Any] | None:
        """The resident memory of workers' supervisors, as text such as "25.8MB", sampled now."""
        return self._ask("memsample")

    def memdump(self, samples: int = 10) -> dict[str, Any] | None:
        """The last *samples* of that memory."""
        return self._ask("memdump", {"samples": samples})

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> dict[str, Any] | None:
        """A drawing of the objects in Celery's workers."""
        return self._ask("objgraph", {"num": n, "max_depth": max_depth, "type": type})

    def report(self) -> dict[str, Any] | None:
        """What a bug report should say of workers."""
        return self._ask("report")

    def _ask(self, command: str, arguments: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any] | None:
        answers = self._control.broadcast(command, arguments, reply=True, **{**self._options, **options})
        return flatten_reply(answers or []) or None
