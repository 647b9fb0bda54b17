"""fastq on RabbitMQ: its defaults, late acknowledgement and confirms among them."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os

from fastq_tasks import furnish

from fastq import Fastq

app = Fastq(
    "bench", broker=os.environ["BENCH_BROKER_URL"], backend="rpc://",
    task_default_queue_type=os.environ["BENCH_QUEUE_TYPE"],
    task_default_delivery_mode=int(os.environ["BENCH_DELIVERY_MODE"]),
    task_acks_late=os.environ.get("BENCH_ACKS_LATE") != "0",
)  # fmt: skip
calls = furnish(app)
call, mark, ask, call_later, call_many, fail = (
    calls.call, calls.mark, calls.ask, calls.call_later, calls.call_many, calls.fail)
call_shorts, call_long = calls.call_shorts, calls.call_long


def flush() -> None:
    app.transport.publish(())  # a call returns when its message is on its way: this waits for the confirms
