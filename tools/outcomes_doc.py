"""Print docs/outcomes.md from the table of outcomes; with --check say whether the file is fresh."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fastq.worker.outcome import FATES, FOLLOW_S, OVER, Ending, Fate, Keep, Outcome, Send  # noqa: E402  this tree first

TARGET = ROOT / "docs" / "outcomes.md"
HEAD = """<!-- Made by tools/outcomes_doc.py from fastq/worker/outcome.py: change that, then run it again. -->
# How a task can end

Every message that a worker takes ends in one of these ways, and none of them is silent. `FATES` in
`fastq/worker/outcome.py` is this page; the worker decides by it, and `tests/conformance/test_outcomes.py` runs it on
SQLite, Redis and RabbitMQ.

## What becomes of the message

- *acked*: it is gone.
- *to the tail*: published again at the end of its queue, in one step with the ack.
- *dead*: it lies among the dead letters, with the reason; `fastq dead` shows and replays it.
- *back, one more death*: it goes back to its queue, and its deaths are counted; at `task_max_deaths` it is poison.

A task with `acks_late=False` has its message acked before it runs, so there is none to keep or to put back. When the
whole worker is killed while such a task runs nothing is left of it, not even a state: that is what early acks mean.
"""
FOOT = f"""
## Who is told

Hooks of the task and signals are called in the order of the table, after what is stored and sent was decided: an
exception in a hook is logged, and changes nothing. What is stored and sent leaves in one step with the end of the
message.

Of a run that is over without its child ({{over}}) another child does what follows; it does not
run the task again. It has {FOLLOW_S:g} s for that. If it dies, too, the state is stored and the message ends all the
same, and a line in the log says that the rest was cut off. `task_postrun` is not sent: there was no end to the run. So
it is with a task that was revoked before it ran, or terminated with its child.

`task_received`, `task_unknown`, `task_rejected` for a bad header or no task, and `task_revoked`, but for what expires
in the moment before its run or is terminated and ends by itself, are sent in the supervisor, all others in a child. In
the supervisor bodies stay closed: `request.args` is None there.

## Settings

- No state is stored with `ignore_result`, of the task or of the call; but an *(error)* is, with
  `store_errors_even_if_ignored`. Of an unknown task nobody can know that it ignores results.
- `retry_on_worker_lost` comes before `reject_on_worker_lost`: a task whose child died is retried as by `retry()`, after
  `default_retry_delay`, until `max_retries`; then it fails. For the death of a whole worker the deaths are counted.
- `KeyboardInterrupt`, `SystemExit` and `MemoryError` in a task are failures of that task; its child goes on.
- An exception that cannot be pickled or encoded is stored by name, with the texts of its arguments.
- RabbitMQ drops a message that has `expires` or `expiration` and reached the front of its queue too late, as asked
  (Celery's senders do the same): its result stays PENDING, and no signal is sent. Give the queue an
  `x-dead-letter-exchange` of yours to see what was dropped. Elsewhere a worker says EXPIRED, and `expiration` has no
  effect.

## Where this differs from Celery

| | Celery | fastq |
| --- | --- | --- |
| `SystemExit` in a task | a lost worker | a failure |
| a body that cannot be read | acked, with a critical line | dead, FAILURE; with early acks as in Celery, and FAILURE |
| refused content type, bad header | rejected: dropped, no state | dead, FAILURE |
| unknown task | rejected: dropped, FAILURE | dead, FAILURE |
| `acks_on_timeout=False`, over the hard limit | put back, for ever | put back, until it is poison |
| `reject_on_worker_lost`, the child died | put back, for ever | put back, until it is poison |
| `Reject(requeue=True)` with early acks | gone | to the tail |
"""
ENDINGS = {Ending.ACK: "acked", Ending.TAIL: "to the tail", Ending.DEAD: "dead", Ending.LOSE: "back, one more death"}
KEEPS = {Keep.RESULT: " (result)", Keep.ERROR: " (error)"}
SENDS = {Send.NOTHING: "", Send.CALLBACKS: "links, the rest of its chain", Send.ERRBACKS: "errbacks",
         Send.RETRY: "itself"}


def message_of(fate: Fate) -> str:
    """Write what becomes of a message that is acked after the run."""
    if not fate.unless:
        return ENDINGS[fate.late]
    return f"{ENDINGS[fate.late]}; without `{fate.unless}` {ENDINGS[fate.otherwise]}"


def early_of(fate: Fate) -> str:
    """Write what becomes of one that was acked before it."""
    return "" if fate.early is Ending.ACK else ENDINGS[fate.early]


def row_of(outcome: Outcome, fate: Fate) -> tuple[str, ...]:
    """Write a row."""
    stored = f"{fate.stored}{KEEPS[fate.keep]}" if fate.stored else ""
    log = f"{logging.getLevelName(fate.level)}: {fate.says}" if fate.says else logging.getLevelName(fate.level)
    return (outcome.name, fate.when, message_of(fate), early_of(fate), stored, SENDS[fate.send],
            ", ".join(f"`{name}`" for name in fate.tells), log)


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table."""
    lines = [tuple(columns), tuple("---" for _ in columns), *(tuple(row) for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def render() -> str:
    """Return the page."""
    columns = ("outcome", "when", "message", "with early acks", "state stored", "sent", "told", "log")
    over = ", ".join(outcome.name for outcome in OVER)
    return "\n".join((HEAD, table(columns, (row_of(outcome, fate) for outcome, fate in FATES.items())),
                      ""))[:-1] + FOOT.replace("{over}", over)


def main() -> int:
    """Print the page, or with --check compare it."""
    if sys.argv[1:] != ["--check"]:
        sys.stdout.write(render())
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == render():
        return 0
    sys.stderr.write(f"{TARGET} is stale: run python tools/outcomes_doc.py > docs/outcomes.md\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
