"""The kinds of pool: what a child does with the slots it claims, and what each kind can do.

The table below is the whole difference between them; the worker, the ring and the outcome table know of none. A kind
of your own is a `Kind` too: published as an entry point of the group ``fastq.pools``, or named as ``module:NAME``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from fastq.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastq.pool.crew import Crew

GROUP = "fastq.pools"
"""The group of entry points that are kinds of pool."""

FEATURES = {
    "functions": "`def` tasks",
    "coroutines": "`async def` tasks",
    "soft_time_limit": "soft time limit",
    "time_limit": "hard time limit",
    "terminate": "`terminate` while it runs",
    "deaths": "a child that dies",
    "max_tasks_per_child": "tasks per child",
    "max_memory_per_child": "memory per child",
    "processes": "several children",
    "start_method": "start methods",
    "autoscale": "autoscale",
}
"""What a kind may be asked for; each kind says how it does it, or leaves it out when it cannot."""


@dataclass(frozen=True)
class Kind:
    """One kind of pool.

    ``live`` names ``"module:function"``, called in a child with a `Crew`; it returns when the child has to leave. None
    is no children at all. With ``threads`` each task at a time has a head of its own in the ring. ``patch`` names what
    is called before anything else is imported. ``can`` tells of each of `FEATURES` how it is done.

    Example::

        POOL = Kind("turtle", "turtles.pool:live", can={"functions": "one at a time", "time_limit": "kills the child"})
    """

    name: str
    live: str | None
    at_a_time: str = "1"
    """How many tasks a child runs at a time, for people."""
    is_together: bool = False
    """Whether a child runs several tasks at a time."""
    threads: bool = False
    usual: int = 1
    """Tasks at a time in a child, unless somebody says how many; of those that run several."""
    host: Literal["thread", "loop", "greenlet"] = "thread"
    """Where coroutines run: in a loop of the thread they are called in, in the loop that is the child, or in a greenlet
    of its own."""
    patch: str | None = None
    extra: str | None = None
    """What to install for it: ``fastq[extra]``."""
    start_methods: tuple[str, ...] = ("fork", "spawn", "forkserver")
    can: Mapping[str, str] = field(default_factory=dict)

    def seats(self, concurrency: int) -> int:
        """How many heads in the ring a child has that runs *concurrency* tasks at a time."""
        return concurrency if self.threads else 1

    def load(self) -> Callable[[Crew], None]:
        """Import what its children do. Raises ConfigError when something is not installed."""
        assert self.live is not None
        try:
            found: Callable[[Crew], None] = _object(self.live)
        except ImportError as error:
            raise ConfigError(f"the pool {self.name!r} cannot be loaded: {error}{self._hint}") from error
        return found

    def check(self) -> None:
        """Raise ConfigError when what it needs is not installed."""
        package = (self.patch or "fastq").partition(":")[0].partition(".")[0]
        if find_spec(package) is None:
            raise ConfigError(f"the pool {self.name!r} needs {package!r}, which is not installed{self._hint}")

    @property
    def _hint(self) -> str:
        return f"; pip install 'fastq[{self.extra}]'" if self.extra else ""


_FROM_OUTSIDE = {
    "max_tasks_per_child": "no more begin, and it leaves when the others have ended",
    "max_memory_per_child": "looked at when a task ends; it leaves when the others have ended",
}
_DEATHS = "each of its tasks counts a death; with the last one that is allowed it runs alone"
_KILLS_ALL = "ended from inside; after 1 s its child is killed, and what ran beside it runs again"

PREFORK = Kind("prefork", "fastq.pool.alone:live", can={
    "functions": "yes", "coroutines": "in an event loop of the child, one at a time",
    "soft_time_limit": "raised in the task, in C calls when they return",
    "time_limit": "its child is killed", "terminate": "its child is killed",
    "deaths": "its task counts a death",
    "max_tasks_per_child": "yes", "max_memory_per_child": "looked at when a task ends",
    "processes": "`-c` is their number", "start_method": "fork, spawn, forkserver", "autoscale": "children",
})
SOLO = Kind("solo", None, start_methods=("fork",), can={
    "functions": "yes, in the supervisor", "coroutines": "in an event loop of the supervisor, one at a time",
    "deaths": "it is the worker; its task counts a death",
})
THREADS = Kind("threads", "fastq.pool.threads:live", at_a_time="`-c`", is_together=True, threads=True, usual=10, can={
    "functions": "each in a thread", "coroutines": "in an event loop of each thread, one at a time",
    "soft_time_limit": "raised in the thread, in C calls when they return",
    "time_limit": _KILLS_ALL, "terminate": _KILLS_ALL, "deaths": _DEATHS, **_FROM_OUTSIDE,
    "processes": "`--processes`", "start_method": "fork, spawn, forkserver", "autoscale": "children of `-c` threads",
})
ASYNCIO = Kind("asyncio", "fastq.pool.aio:live", at_a_time="`-c`", is_together=True, usual=100, host="loop", can={
    "functions": "in threads beside the loop, 32 at most", "coroutines": "natively, in one event loop",
    "soft_time_limit": "raised at the `await` where the task stands",
    "time_limit": _KILLS_ALL, "terminate": _KILLS_ALL, "deaths": _DEATHS, **_FROM_OUTSIDE,
    "processes": "`--processes`", "start_method": "fork, spawn, forkserver", "autoscale": "children of `-c` tasks",
})
_GREEN: dict[str, Any] = {
    "at_a_time": "`-c`", "is_together": True, "usual": 100, "host": "greenlet", "start_methods": ("spawn",), "can": {
        "functions": "each in a greenlet", "coroutines": "in one event loop, in a greenlet of its own",
        "soft_time_limit": "raised where the greenlet waits",
        "time_limit": _KILLS_ALL, "terminate": _KILLS_ALL, "deaths": _DEATHS, **_FROM_OUTSIDE,
        "processes": "`--processes`", "start_method": "spawn: patched before the app is imported",
        "autoscale": "children of `-c` tasks",
    },
}
GEVENT = Kind("gevent", "fastq.pool.gevent:live", patch="gevent.monkey:patch_all", extra="gevent", **_GREEN)
EVENTLET = Kind("eventlet", "fastq.pool.eventlet:live", patch="eventlet:monkey_patch", extra="eventlet", **_GREEN)

KINDS = {kind.name: kind for kind in (PREFORK, SOLO, THREADS, ASYNCIO, GEVENT, EVENTLET)}
ALIASES = {"processes": "prefork", "aio": "asyncio"}


def names() -> list[str]:
    """Name every kind that there is: our own, and those that packages bring."""
    return [*KINDS, *sorted(set(_entries()) - set(KINDS))]


def find(name: str) -> Kind:
    """Return the kind of that name. Raises ConfigError when there is none.

    >>> find("processes").name
    'prefork'
    """
    known = KINDS.get(ALIASES.get(name, name))
    if known is not None:
        return known
    found: Any = None
    entries = _entries()
    if name in entries:
        found = _load(name, entries[name].load)
    else:
        if ":" not in name:
            raise ConfigError(f"worker_pool is {name!r}; the pools are {', '.join(names())}, and 'module:NAME' of a"
                              " Kind")
        found = _load(name, lambda: _object(name))
    if not isinstance(found, Kind):
        raise ConfigError(f"the pool {name!r} is {found!r}, not a fastq.pool.kinds.Kind; pools that were written for "
                          "Celery cannot be used")
    return found


def _entries() -> dict[str, Any]:
    from importlib.metadata import entry_points  # noqa: PLC0415  2 MiB, only for names that are not ours

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _load(name: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the pool {name!r} cannot be loaded: {error}") from error


def _object(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)
