"""The request: what a task may know of the run it is in. A value; it holds no service.

Made by the worker from an unpacked message (`Request.from_message`), by a call in place, or by
``apply()``. Names and meanings are those of Celery's context.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from fastq._ext.envelope import unpack

RequestType = TypeVar("RequestType", bound="Request")

# Headers that are fields of the protocol; every other header was put there by the user.
_PROTOCOL = frozenset((
    "argsrepr", "compression", "eta", "expires", "group", "group_index", "id", "ignore_result", "kwargsrepr", "lang",
    "origin", "parent_id", "replaced_task_nesting", "retries", "root_id", "shadow", "stamped_headers", "stamps",
    "task", "taskset", "timelimit",
    # Ours: the deaths of this very message, which a retry must not inherit.
    "x-fastq-deaths",
))
# Null says the same as absence, where absence has a meaning of its own.
_NEVER_NULL = frozenset(("root_id", "timelimit", "retries"))
_EMBED = ("callbacks", "errbacks", "chain", "chord")


_DEFAULTS: dict[str, Any] = {
    "id": None, "task": None, "args": None, "kwargs": None, "retries": 0,
    "is_eager": False, "called_directly": True, "hostname": None, "delivery_info": None, "root_id": None,
    "parent_id": None, "group": None, "group_index": None, "headers": None, "properties": None,
    "eta": None, "expires": None, "timelimit": None, "callbacks": None, "errbacks": None,
    "chain": None, "chord": None, "correlation_id": None, "reply_to": None, "ignore_result": None,
    "origin": None, "shadow": None, "taskset": None, "utc": True, "logfile": None,
    "loglevel": None, "lang": None, "argsrepr": None, "kwargsrepr": None, "stamped_headers": None,
    "stamps": None, "replaced_task_nesting": 0, "deaths": 0,
}


class Request:
    """One run of a task, as ``self.request`` shows it.

    Fields without a value read as their default. Headers that the caller added are attributes too,
    and stand together in ``headers``. Of the way a message came the queue is known, and shown in
    ``delivery_info`` as the routing key of the exchange "": by which exchange and key it was sent is not
    kept. ``logfile`` and ``loglevel`` are None. A delivered request unpacks its message when the first field
    is asked for that is not told otherwise: most tasks look at nothing but the id.
    """

    if TYPE_CHECKING:
        id: str | None
        task: str | None
        args: Any
        kwargs: Any
        retries: int
        is_eager: bool
        called_directly: bool
        hostname: str | None
        delivery_info: dict[str, Any] | None
        root_id: str | None
        parent_id: str | None
        group: str | None
        group_index: int | None
        headers: dict[str, Any] | None
        properties: dict[str, Any] | None
        eta: str | None
        expires: Any
        timelimit: Any
        callbacks: list[Any] | None
        errbacks: list[Any] | None
        chain: list[Any] | None
        chord: Any
        correlation_id: str | None
        reply_to: str | None
        ignore_result: bool | None
        origin: str | None
        shadow: str | None
        taskset: str | None
        utc: bool
        logfile: str | None
        loglevel: int | None
        lang: str | None
        argsrepr: str | None
        kwargsrepr: str | None
        stamped_headers: list[str] | None
        stamps: dict[str, Any] | None
        replaced_task_nesting: int
        deaths: int
        """How many workers this message has killed before this run."""

    _children: list[Any] | None = None
    _entered: bool = False

    def __init__(self, *mappings: Mapping[str, Any], **values: Any) -> None:
        self.update(*mappings, **values)

    @classmethod
    def from_message(
        cls: type[RequestType], headers: Mapping[str, Any], properties: Mapping[str, Any],
        args: Any, kwargs: Any, embed: Mapping[str, Any] | None = None, *,
        queue: str, hostname: str | None = None, deaths: int = 0,
    ) -> RequestType:
        """Build the request of a delivered message; *embed* is the third member of its body."""
        task_id = headers.get("id")
        priority = properties.get("priority")
        fields: dict[str, Any] = {
            "args": args, "kwargs": kwargs, "called_directly": False, "hostname": hostname, "properties": properties,
            "correlation_id": properties.get("correlation_id") or task_id, "reply_to": properties.get("reply_to"),
            "root_id": task_id, "timelimit": [None, None], "deaths": deaths,
            "delivery_info": {"exchange": "", "routing_key": queue, "priority": priority, "redelivered": deaths > 0},
        }
        if embed:
            for name in _EMBED:
                fields[name] = embed.get(name)
        custom: dict[str, Any] = {}
        for name, value in headers.items():
            if name not in _PROTOCOL:
                custom[name] = value
                # A header from outside must never hide a method or a field of the body.
                if name not in _DEFAULTS and not hasattr(cls, name):
                    fields[name] = value
            elif value is not None or name not in _NEVER_NULL:
                fields[name] = value
        if custom:
            fields["headers"] = custom
        request = cls.__new__(cls)
        request.__dict__.update(fields)
        return request

    @classmethod
    def from_content(
        cls: type[RequestType], content: bytes, task_id: str, queue: str, hostname: str, deaths: int,
        args: Any, kwargs: Any, embed: Mapping[str, Any] | None, hard_s: float, soft_s: float,
    ) -> RequestType:
        """Build the request of a packed message, which is unpacked only when needed; NaN is no limit."""
        request = cls.__new__(cls)
        request.__dict__ = {
            "id": task_id, "args": args, "kwargs": kwargs, "called_directly": False, "hostname": hostname,
            "deaths": deaths, "_source": (content, embed, queue, (hard_s, soft_s)),
        }
        return request

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__
        if "_source" in fields:
            self._unpack()
            if name in fields:
                return fields[name]
        try:
            return _DEFAULTS[name]
        except KeyError:
            raise AttributeError(f"the request has no field {name!r}") from None

    def _unpack(self) -> None:
        content, embed, queue, limits = self.__dict__.pop("_source")
        properties, headers, _ = unpack(content)
        told = self.__dict__
        whole = type(self).from_message(headers, properties, told["args"], told["kwargs"], embed, queue=queue,
                                         deaths=told["deaths"])
        if whole.timelimit == [None, None]:
            whole.timelimit = [None if limit != limit else limit for limit in limits]
        told.update({**whole.__dict__, **told})

    @property
    def children(self) -> list[Any]:
        """The results of the tasks that this one sent."""
        if self._children is None:
            self._children = []
        return self._children

    @children.setter
    def children(self, results: list[Any]) -> None:
        self._children = results

    @property
    def time_limit(self) -> float | None:
        """The hard limit of this run in seconds, if its message set one."""
        return self.timelimit[0] if self.timelimit else None

    @property
    def soft_time_limit(self) -> float | None:
        """The soft limit of this run in seconds, if its message set one."""
        return self.timelimit[1] if self.timelimit else None

    def get(self, name: str, default: Any = None) -> Any:
        """Return the field *name*, or *default* when there is no such field."""
        return getattr(self, name, default)

    def update(self, *mappings: Mapping[str, Any], **values: Any) -> None:
        """Set fields from mappings and keywords; the last one wins."""
        for mapping in mappings:
            self.__dict__.update(mapping)
        self.__dict__.update(values)

    def clear(self) -> None:
        """Set every field back to its default."""
        self.__dict__.clear()

    def as_execution_options(self) -> dict[str, Any]:
        """Return the options that send this task again as it was sent, but for its arguments."""
        hard, soft = self.timelimit or (None, None)
        return {
            "task_id": self.id, "root_id": self.root_id, "parent_id": self.parent_id, "group_id": self.group,
            "group_index": self.group_index, "shadow": self.shadow, "chord": self.chord, "chain": self.chain,
            "link": self.callbacks, "link_error": self.errbacks, "expires": self.expires, "time_limit": hard,
            "soft_time_limit": soft, "headers": self.headers, "retries": self.retries, "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting, "origin": self.origin,
        }

    def __repr__(self) -> str:
        return f"<Request {self.task}[{self.id}] {self.__dict__!r}>"
