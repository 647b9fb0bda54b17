"""Which queue a task goes to: the routers of ``task_routes``, what their answers mean, and where that is.

Pure values over settings that are handed in; the app is not known here. The search through the routers is
compiled (`fastq._ext.route`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from fastq._ext.route import Patterns, RouteTable
from fastq.app.queues import QueueRules, Queues
from fastq.exceptions import ConfigError
from fastq.wire.entity import Broadcast, Exchange, Queue

__all__ = ("Destination", "QueueRules", "Queues", "Router", "prepare")

Asked = Callable[[str, Any, Any, Mapping[str, Any], Any], Any]
"""A router as the table calls it: (name, args, kwargs, options, task) -> answer or None."""

Resolve = Callable[[str], Any]
"""Turns a dotted path into the object that it names; the app's loader has one."""


class Destination(NamedTuple):
    """Where a message is published. *queue* is None when only an exchange was named."""

    queue: Queue | None
    exchange: str
    routing_key: str
    exchange_type: str

    @property
    def is_declared(self) -> bool:
        """Whether the sender declares the queue first; a broadcast queue is its consumer's own."""
        return self.queue is not None and not isinstance(self.queue, Broadcast)


class Router:
    """Chooses the route of a task from *routes*, the setting ``task_routes``, in every form that Celery takes.

    *resolve* is needed when a router is given as a dotted path.

        Router(Queues(), {"video.*": "video"}).route({}, "video.encode")["queue"].name == "video"
    """

    def __init__(self, queues: Queues, routes: Any = None, resolve: Resolve | None = None) -> None:
        self.queues = queues
        self._table: RouteTable[Mapping[str, Any]] = RouteTable(prepare(routes, resolve), self._expanded)

    def static(self, name: str) -> Mapping[str, Any] | None:
        """The route of *name* when it is the same for every call without options of its own; None when it is not.

        One object for all callers: copy it before you change it. Raises QueueNotFound or ConfigError.
        """
        found = self._table.lookup(name)
        return {"queue": self.queues.default} if found is not None and not found else found

    def route(
        self, options: Mapping[str, Any], name: str, args: Any = (), kwargs: Any = None, task: Any = None
    ) -> dict[str, Any]:
        """The options of one call with its route filled in: the call's own win, but for those that are None.

        A call that names its queue and has no route comes back with its None values, which the wire shows: its
        priority is then absent instead of 0. Raises QueueNotFound or ConfigError.

            route({"priority": 3}, "video.encode") == {"queue": Queue(...), "priority": 3}
        """
        own = self._expanded(options)
        found = self._table.lookup(name)
        if found is None:
            found = self._expanded(self._table.first(name, args, {} if kwargs is None else kwargs, own, task))
        if not found:
            if "queue" in own:
                return own
            found = {"queue": self.queues.default}
        return {**found, **{option: value for option, value in own.items() if value is not None}}

    def destination(self, options: Mapping[str, Any]) -> Destination:
        """Work out where routed *options* lead.

        Without an exchange of its own, a message for a direct exchange goes straight to the queue, by the exchange
        "" that every broker has. Raises QueueNotFound.
        """
        queue, exchange, key = options.get("queue"), options.get("exchange"), options.get("routing_key")
        kind = options.get("exchange_type")
        if isinstance(exchange, Exchange):
            kind = kind or exchange.type
            exchange = exchange.name
        if queue is None and not exchange:
            queue = self.queues.default
        if queue is None:
            return Destination(None, exchange or "", key or "", kind or "direct")
        if isinstance(queue, Queue):
            self.queues.meet(queue)
        else:
            queue = self.queues[queue]
        kind = kind or queue.exchange.type
        if kind == "direct" and not (exchange and key):
            return Destination(queue, "", queue.name, kind)
        return Destination(queue, exchange or queue.exchange.name, key or queue.routing_key, kind)

    def flush(self) -> None:
        """Forget the routes that were worked out: the queues have changed."""
        self._table.clear()

    def _expanded(self, answer: Any) -> dict[str, Any]:
        if isinstance(answer, (str, Queue)):
            answer = {"queue": answer}
        elif answer is None:
            answer = {}
        elif not isinstance(answer, Mapping):
            raise ConfigError(f"a route is the name of a queue, a Queue or a mapping of options, not {answer!r}")
        route = dict(answer)
        queue = route.pop("queue", None)
        if queue:
            route["queue"] = queue if isinstance(queue, Queue) else self.queues[queue]
        return route


def prepare(routes: Any, resolve: Resolve | None = None) -> list[Patterns | Asked]:
    """Turn ``task_routes`` into what a RouteTable takes.

    It is one router or a list of them. A router is a mapping of patterns to routes, a list of such pairs, a
    callable ``(name, args, kwargs, options, task=None, **kw)``, an object or class with
    ``route_for_task(name, args, kwargs)``, or the dotted path of one of the last three, resolved when first asked.
    Pairs may also stand among the routers. Raises ConfigError.

        prepare([("video.*", "video"), (re.compile("audio"), {"queue": "audio", "priority": 7}), "proj.routers.rest"])
    """
    if routes is None:
        return []
    if not isinstance(routes, (list, tuple)):
        routes = (routes,)
    prepared: list[Patterns | Asked] = []
    pairs: list[Any] = []
    for each in routes:
        if _is_pair(each):
            pairs.append(each)
            continue
        if pairs:
            prepared.append(_patterns(pairs))
            pairs = []
        prepared.append(_router(each, resolve))
    if pairs:
        prepared.append(_patterns(pairs))
    return prepared


def _is_pair(each: Any) -> bool:
    return (
        isinstance(each, (list, tuple))
        and len(each) == 2
        and isinstance(each[0], (str, re.Pattern))
        and isinstance(each[1], (str, Mapping, Queue))
    )


def _patterns(pairs: Iterable[Any]) -> Patterns:
    checked = list(pairs)
    for each in checked:
        if not _is_pair(each):
            raise ConfigError(
                f"task_routes has {each!r} where a pair (pattern, route) should be; a pattern is a task name, a glob "
                "or a compiled regular expression, a route the name of a queue, a Queue or a mapping of options"
            )
    return Patterns(checked)


def _router(router: Any, resolve: Resolve | None) -> Patterns | Asked:
    if isinstance(router, Mapping):
        return _patterns(router.items())
    if isinstance(router, (list, tuple)):
        return _patterns(router)
    if isinstance(router, str):
        return _by_path(router, resolve)
    return _asked(router, repr(router))


def _by_path(path: str, resolve: Resolve | None) -> Asked:
    if resolve is None:
        raise ConfigError(f"the router {path!r} is a dotted path, and there is nothing here that could import it")
    found: list[Asked] = []

    def asked(name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any) -> Any:
        # At the first question, not before: the module may import the very app whose setting this is.
        if not found:
            found.append(_asked(resolve(path), path))
        return found[0](name, args, kwargs, options, task)

    return asked


def _asked(router: Any, named: str) -> Asked:
    if isinstance(router, type):
        router = router()
    if hasattr(router, "route_for_task"):
        return lambda name, args, kwargs, options, task: router.route_for_task(name, args, kwargs)
    if callable(router):
        return lambda name, args, kwargs, options, task: router(name, args, kwargs, options, task=task)
    raise ConfigError(
        f"the router {named} is a {type(router).__name__}; it must be callable or have a method route_for_task"
    )
