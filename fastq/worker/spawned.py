"""A child, or a fork server, that is a new interpreter: it imports the app itself, and finds what is shared with it.

The supervisor sends a `Recipe`; what comes out is the same `ChildSpec` that a forked child inherits.
"""

from __future__ import annotations

import mmap
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastq.app import loader
from fastq.app.results import Expiry
from fastq.exceptions import ConfigError, PoolError
from fastq.pool import forker
from fastq.pool.kinds import Kind
from fastq.pool.shared import Spill
from fastq.pool.start import FAILED, become
from fastq.proc import set_title
from fastq.worker import child, logs

ENTRY = "fastq.worker.spawned:main"
SERVER = "fastq.worker.spawned:serve"


class Recipe(NamedTuple):
    """How a child makes its `ChildSpec`. Descriptors keep their numbers on the way."""

    app: str
    settings: dict[str, Any]
    tasks: Sequence[str]
    """The names in the order of the ring's table."""
    ring_fd: int
    ring_bytes: int
    wake_fd: int
    hostname: str
    spill: str
    parent_pid: int
    expiry: Expiry
    kind: Kind
    concurrency: int
    bells: Sequence[tuple[int, int]]
    trial: int
    max_tasks: int
    max_memory_kib: int
    loglevel: int | str | None
    logfile: str | None
    logs_json: bool = False


def address_of(app: Any) -> str:
    """Return the ``"module:attribute"`` under which *app* can be imported. Raises ConfigError when there is none."""
    main = sys.modules.get("__main__")
    for name, module in list(sys.modules.items()):
        # Our own modules know it too, until another becomes the current app.
        if module is main or name.partition(".")[0] == "fastq":
            continue
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is app:
                return f"{name}:{attribute}"
    spec = getattr(main, "__spec__", None)
    for attribute, value in list(vars(main).items()):
        if value is app and spec is not None:
            return f"{spec.name}:{attribute}"
    raise ConfigError(f"{app!r} is no global of an importable module, so children that are not forked cannot find it;"
                      " put it into a module, or start them by fork (worker_pool_start_method)")


def check(recipe: Recipe) -> None:
    """Raise ConfigError for what cannot be sent to a child."""
    for name, value in recipe.settings.items():
        try:
            pickle.dumps(value)
        except Exception as error:
            raise ConfigError(f"{name} is {value!r}, which cannot be pickled for children that are not forked: {error}"
                              ) from error


def main(recipe: Recipe, index: int) -> None:
    """Be the child *index*, and end."""
    become(lambda number: child.main(spec_of(recipe, number), number), index)
    sys.exit(FAILED)


def serve(recipe: Recipe, channel_fd: int) -> None:
    """Be the fork server at the other end of *channel_fd*, and end."""
    def prepare() -> Callable[[int], int]:
        set_title(f"[fastq] {recipe.hostname}: fork server")
        spec = spec_of(recipe)

        def live(index: int) -> int:
            logs.split_off(spec.app, spec.hostname, recipe.loglevel, recipe.logfile, recipe.logs_json, index)
            return child.main(spec, index)

        return live

    become(lambda fd: forker.serve(fd, prepare, recipe.parent_pid), channel_fd)
    sys.exit(FAILED)


def spec_of(recipe: Recipe, index: int | None = None) -> child.ChildSpec:
    """Import the app and put together what the child works with. Raises PoolError when a task is not there."""
    app = loader.import_object(recipe.app)
    app.conf.override(recipe.settings, "the supervisor")
    logs.set_up(app, recipe.hostname, recipe.loglevel, recipe.logfile, as_json=recipe.logs_json, child=index)
    app.import_tasks()
    missing = [name for name in recipe.tasks if name not in app.tasks]
    if missing:
        raise PoolError("the supervisor knows tasks that no module of the app registers in a child: "
                        + ", ".join(missing))
    codec = app.result_codec if app.result_url else None
    return child.ChildSpec(
        app=app, tasks=[app.tasks[name] for name in recipe.tasks], ring=mmap.mmap(recipe.ring_fd, recipe.ring_bytes),
        wake_fd=recipe.wake_fd, hostname=recipe.hostname, codec=codec, accept=app.conf.accept_content,
        spill=Spill.of(recipe.spill), parent_pid=recipe.parent_pid,
        store_now=child.store_now(app, recipe.expiry) if codec else None, max_tasks=recipe.max_tasks,
        max_memory_kib=recipe.max_memory_kib, kind=recipe.kind, concurrency=recipe.concurrency, bells=recipe.bells,
        trial=recipe.trial)
