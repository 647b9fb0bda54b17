"""Print docs/pools.md from the table of kinds of pool; with --check say whether the file is fresh."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fastq.pool.kinds import FEATURES, KINDS  # noqa: E402  the tree that this script belongs to comes first

TARGET = ROOT / "docs" / "pools.md"
HEAD = """<!-- Made by tools/pools_doc.py from fastq/pool/kinds.py: change these, then run it again. -->
# Pools

What `-P` (or `worker_pool`) chooses is what a child does with the tasks it takes; all else is the same: the supervisor
owns the broker connection, the lease and every message's fate, and never runs your code (but in `solo`).

| your tasks | pool | start |
| --- | --- | --- |
| compute, or crash | `prefork`, the default | `fastq -A shop worker -c 8` |
| are `async def` | `asyncio` | `fastq -A shop worker -P asyncio -c 1000` |
| wait for other machines, in plain functions | `threads` | `fastq -A shop worker -P threads -c 50` |
| the same, and the app is written for greenlets | `gevent`, `eventlet` | `fastq -A shop worker -P gevent -c 500` |
| are to be debugged | `solo` | `fastq -A shop worker -P solo` |

`-c` is how many tasks run at a time: the number of children in `prefork` (by default the CPUs that the process may
use; `-c auto` says the same), and in the others the number for each child (10 threads, 100 of the rest). Those have one
child unless `--processes` says otherwise. `-P processes` is `prefork`, as with Celery.

## What each can do
"""
TAIL = """
When a setting asks for what the pool cannot do, the worker says so at its start.

## Several tasks in one child

They share what happens to it.

**A child that dies** takes all its tasks with it. Each of them counts one more death, goes back, and runs again:
nobody knows which one did it. One that is a single death short of `task_max_deaths` gets a child of its own for its
next run, where nothing runs beside it. So only a task that killed a child *alone* is condemned. The transports hand
out such messages one at a time; after a crash of a child with 1,000 tasks nothing is delayed, after the second one
what was in both runs one by one.

**A hard time limit** is first told to the task: a coroutine is cancelled, in a thread or greenlet TimeLimitExceeded
is raised. If it has not ended after one second its child is killed. It is then settled as TimeLimitExceeded; what ran
beside it runs again, without a death counted. A task that acks early is not run twice: it fails with WorkerLostError.

**A task that somebody terminates** ends in the same way, and what runs beside it goes on: a coroutine is cancelled, and
in a thread or greenlet an exception is raised that `except Exception` does not catch, so that `finally` and `with` do
their work. It is REVOKED then. One that catches it and returns has succeeded. Only one that is still there after a
second, or was terminated with KILL, costs the others a new start.

**A function in the asyncio pool** runs in a thread, so that it does not stop the loop; of those there are 32 at most.
A coroutine that computes does stop the loop: nothing else of its child goes on meanwhile, its limits included, until
the child is killed.

**Soft limits** reach a thread when it runs Python, and a greenlet where it waits. A C call that takes long is not
interrupted. A coroutine that waits is not told itself in pools other than `asyncio`: it is cancelled. So it is in
`asyncio` if it has no limits, and somebody sends it the soft one (`terminate` with SIGUSR1).

**After `max_tasks_per_child`** tasks, or above `max_memory_per_child`, a child begins nothing more and leaves when
its last task has ended; its successor starts then. Threads count tasks that have ended, others those that have begun.

`current_task` and `self.request` are those of the task that asks, in its own thread, coroutine or greenlet, and in
what it starts with `asyncio.create_task` or `asyncio.to_thread`.

## Monkey-patching

The children of `gevent` and `eventlet` are new interpreters, patched before they import anything; the supervisor is not
patched. For that they have to find the app: it must be a global of a module that can be imported.

## How children are made

`--pool-start-method fork` (the default) shares the memory of the imported app and takes milliseconds. `spawn` starts a
new interpreter, which imports the app again: for libraries that do not survive a fork, such as gRPC or CUDA. Settings
are sent along, so they must be picklable.

`forkserver`, on Linux, is between the two: one new interpreter imports the app, and forks each child. So the next
child takes milliseconds and shares memory, and nothing that the supervisor has opened or started is in it; but what an
import starts, such as a thread, is in the fork server and not in the children. The children are the supervisor's own
and end with it. When the fork server dies they live on; it is started again after 0.1 s, 0.2 s ... 5 s, and a child
that is due waits for it. One that cannot import the app ends the worker with the reason.

A child that ends before it could take a task is started again after 0.1 s, 0.2 s, 0.4 s ...; after six in a row the
worker ends with the reason. One that is not up after `worker_proc_alive_timeout` (4 s) is named in the log and waited
for; after ten times that, a minute at least, it is killed and counts as failed.

A process that a task has started is the task's own business. When its child ends or is killed it runs on, whatever the
start method, and also when the worker ends: its new parent is the init process, or with `forkserver` the supervisor
while that lives. Where it must not outlive the task, the task sees to that, for example with a process group that it
kills in `finally`, and with `PR_SET_PDEATHSIG` for the case that the child itself is killed.

## Autoscale

`--autoscale 10,3` keeps 3 to 10 children. While all of them have work in hand their number is doubled, at most each
quarter of a second; when one has had nothing to do for 30 s (the variable `AUTOSCALE_KEEPALIVE`) it leaves.

Without it `fastq control pool_grow` and `pool_shrink` change the number, to at most 8 more than at the start; not in
`threads`.

## A pool of your own

A `fastq.pool.kinds.Kind` names a function that is called in a child with a `fastq.pool.crew.Crew`. It makes an
executor, and lets it run tasks until it says that the child has to leave:

```python
# turtles.py
from fastq.pool.kinds import Kind

def live(crew):
    executor = crew.executor(0)
    while not executor.is_leaving:
        executor.run(1)

POOL = Kind("turtle", "turtles:live", can={"functions": "one at a time", "time_limit": "kills the child"})
```

`-P turtles:POOL` uses it; so does `-P turtle`, when a package has the entry point `turtle = "turtles:POOL"` in the
group `fastq.pools`. `-P custom` reads the name from `CELERY_CUSTOM_WORKER_POOL`. Pools written for Celery cannot be
used.
"""


def render() -> str:
    """Return the page."""
    kinds = list(KINDS.values())
    rows = [("", *(f"`{kind.name}`" for kind in kinds)), ("---",) * (len(kinds) + 1),
            ("tasks at a time in a child", *(kind.at_a_time for kind in kinds)),
            *((name, *(kind.can.get(feature, "**no**") for kind in kinds)) for feature, name in FEATURES.items())]
    return HEAD + "\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n" + TAIL


def main() -> int:
    """Print the page, or with --check compare it."""
    if sys.argv[1:] != ["--check"]:
        sys.stdout.write(render())
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == render():
        return 0
    sys.stderr.write(f"{TARGET} is stale: run python tools/pools_doc.py > docs/pools.md\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
