"""What the file-backed transport and store promise to several processes, some of which are killed or stopped."""

from __future__ import annotations

import json
import select
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastq import backends, transport
from fastq.transport.base import Transport
from fastq.types import Endings, Message, QueueStat, Result

Run = Callable[..., Any]
Eventually = Callable[..., None]

HOLD = """
import sys
from fastq import transport
from fastq.exceptions import LeaseLost
from fastq.types import Endings, Message
url, credit, lease = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
worker = transport.open(url)
worker.attach("holder", ["q"], lease)
rows = [row for _, rows in worker.turn(Endings(), credit) for row in rows]
print(len(rows), flush=True)
sys.stdin.readline()
try:
    worker.turn(Endings(ack=[(rows[0][0], rows[-1][0])], publish=[Message("q", b"from a zombie")]), 0)
    print("acknowledged", flush=True)
except LeaseLost:
    print("lease lost", flush=True)
    worker.attach("holder", ["q"], 30)
    print(sum(len(rows) for _, rows in worker.turn(Endings(), 100)), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def broker(file_url: str) -> Transport:
    opened = transport.open(file_url)
    yield opened  # type: ignore[misc]
    opened.close()


def rows_of(worker: Transport, credit: int = 100) -> list[tuple[int, int, bytes]]:
    return [row for _, rows in worker.turn(Endings(), credit) for row in rows]


def test_what_a_killed_worker_held_comes_back_at_once(broker: Transport, file_url: str, run_script: Run) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(10)])
    holder = run_script(HOLD, file_url, "6", "3600")
    assert holder.line() == "6"
    broker.attach("w", ["q"])
    assert broker.keep() == 0
    assert broker.queues()["q"] == QueueStat(ready=4, held=6)
    holder.signal(signal.SIGKILL)
    assert broker.keep() == 6
    assert [(deaths, content) for _, deaths, content in rows_of(broker)] == [
        *((1, b"%d" % n) for n in range(6)), *((0, b"%d" % n) for n in range(6, 10))]


def test_a_new_worker_brings_back_what_dead_ones_held(broker: Transport, file_url: str, run_script: Run) -> None:
    broker.publish([Message("q", b"x")] * 4)
    holders = [run_script(HOLD, file_url, "2", "3600") for _ in range(2)]
    assert [holder.line() for holder in holders] == ["2", "2"]
    for holder in holders:
        holder.signal(signal.SIGKILL)
    broker.attach("w", ["q"])
    assert len(rows_of(broker)) == 4


def test_children_that_outlive_a_killed_worker_do_not_keep_its_deliveries(broker: Transport, file_url: str,
                                                                           run_script: Run) -> None:
    broker.publish_one("q", b"x")
    holder = run_script(
        "import os, sys, time\nfrom fastq import transport\nfrom fastq.types import Endings\n"
        "worker = transport.open(sys.argv[1])\nworker.attach('w', ['q'], 3600)\nworker.turn(Endings(), 1)\n"
        "child = os.fork()\nif not child:\n    sys.stdin.readline()\n    os._exit(0)\n"
        "print(child, flush=True)\nos.waitpid(child, 0)\n", file_url)
    assert int(holder.line())
    holder.signal(signal.SIGKILL)
    broker.attach("w", ["q"])
    assert [deaths for _, deaths, _ in rows_of(broker)] == [1]
    holder.say("")


def test_a_stopped_worker_loses_its_lease_and_its_late_acks_do_nothing(
        broker: Transport, file_url: str, run_script: Run, eventually: Eventually) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(5)])
    holder = run_script(HOLD, file_url, "5", "0.3")
    assert holder.line() == "5"
    holder.signal(signal.SIGSTOP)
    broker.attach("w", ["q"], 0.1)
    eventually(broker.keep)
    rows = rows_of(broker)
    assert len(rows) == 5
    holder.say("")
    holder.signal(signal.SIGCONT)
    assert holder.line() == "lease lost"
    assert holder.line() == "0"
    assert broker.queues()["q"] == QueueStat(held=5)
    broker.turn(Endings(ack=[(rows[0][0], rows[-1][0])]), 0)
    assert broker.queues()["q"] == QueueStat()


def test_who_was_stopped_itself_does_not_judge_the_others_by_the_clock(broker: Transport, file_url: str) -> None:
    other = transport.open(file_url)
    broker.publish_one("q", b"x")
    other.attach("other", ["q"], 0.05)
    broker.attach("late", ["q"], 0.05)
    assert len(rows_of(other)) == 1
    select.select([], [], [], 0.2)  # both fell silent, as if the whole machine had been stopped
    assert broker.keep() == 0
    assert other.keep() == 0
    assert other.turn(Endings(), 1) == []
    other.close()


def test_a_sleeper_is_woken_from_another_process(broker: Transport, file_url: str, run_script: Run) -> None:
    producer = run_script(
        "import sys\nfrom fastq import transport\nproducer = transport.open(sys.argv[1])\nprint('up', flush=True)\n"
        "for line in sys.stdin: producer.publish_one('q', line.strip().encode())\n", file_url)
    assert producer.line() == "up"
    broker.attach("w", ["q"])
    for n in range(20):
        assert broker.arm() != 0.0
        producer.say(str(n))
        assert select.select([broker.fileno()], [], [], 4)[0], "the bell did not ring"
        assert [content for _, _, content in rows_of(broker)] == [b"%d" % n]


def test_the_cell_of_a_killed_sleeper_is_used_again(broker: Transport, file_url: str, run_script: Run,
                                                     tmp_path: Path) -> None:
    for _ in range(3):
        sleeper = run_script(
            "import sys\nfrom fastq import transport\nworker = transport.open(sys.argv[1])\nworker.attach('w', ['q'])\n"
            "worker.arm()\nprint('asleep', flush=True)\nsys.stdin.readline()\n", file_url)
        assert sleeper.line() == "asleep"
        broker.publish_one("q", b"x")
        sleeper.signal(signal.SIGKILL)
        broker.publish_one("q", b"x")
    names = {path.name for path in (tmp_path / "tasks.db-bell").iterdir()}
    assert names == {"board", "locks", "0"}
    broker.attach("w", ["q"])
    assert len(rows_of(broker)) == 6


WORK = """
import os, select, sys
from fastq import transport
from fastq.exceptions import LeaseLost
from fastq.types import Endings
url, log = sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
worker = transport.open(url)
worker.attach("w", ["a", "b"], 30)
print("up", flush=True)
endings = Endings()
while True:
    taken = [row for _, rows in worker.turn(endings, 17) for row in rows]
    for tag, deaths, content in taken:
        os.write(log, b"%s %d\\n" % (content, deaths))
    endings = Endings(ack=[(tag, tag) for tag, _, _ in taken])
    if not taken:
        wait = worker.arm()
        if wait != 0.0:
            ready = select.select([worker.fileno(), sys.stdin], [], [], wait)[0]
            if sys.stdin in ready:
                break
        worker.keep()
worker.close()
"""

PRODUCE = """
import sys
from fastq import transport
from fastq.types import Message
url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
producer = transport.open(url)
for n in range(0, count, 10):
    for m in range(n, n + 5):
        producer.publish_one("ab"[m % 2], b"%s-%d" % (name.encode(), m), m % 3)
    producer.publish([Message("ab"[m % 2], b"%s-%d" % (name.encode(), m), m % 3) for m in range(n + 5, n + 10)])
    print(n + 10, flush=True)
"""


def test_nothing_is_lost_or_doubled_among_processes_that_are_killed(broker: Transport, file_url: str, run_script: Run,
                                                                    tmp_path: Path, eventually: Eventually) -> None:
    """Two producers and two workers, of each one killed on the way: 20,000 messages less what the dead never sent."""
    logs = [tmp_path / f"log-{n}" for n in range(4)]
    workers = [run_script(WORK, file_url, str(logs[n])) for n in range(2)]
    for worker in workers:
        assert worker.line() == "up"
    producers = [run_script(PRODUCE, file_url, name, "5000") for name in ("p0", "p1", "p2", "p3")]
    sent = [0, 0, 0, 0]
    while sent[0] < 1000:
        sent[0] = int(producers[0].line())
    producers[0].signal(signal.SIGKILL)
    workers[0].signal(signal.SIGKILL)
    third = run_script(WORK, file_url, str(logs[2]))
    assert third.line() == "up"
    for n, producer in enumerate(producers):
        while line := producer.line():
            sent[n] = int(line)
    assert sent[1:] == [5000, 5000, 5000]
    broker.attach("watch", ["no such queue"])
    eventually(lambda: broker.keep() == 0 and sum(stat.ready + stat.held for stat in broker.queues().values()) == 0, 60)
    for worker in (workers[1], third):
        worker.say("")
        assert worker.wait() == 0

    runs, deaths = Counter[str](), Counter[str]()
    for log in logs[:3]:
        for line in log.read_text().splitlines():
            content, died = line.split()
            runs[content] += 1
            deaths[content] = max(deaths[content], int(died))
    confirmed = {f"p{n}-{m}" for n, count in enumerate(sent) for m in range(count)}
    assert confirmed <= runs.keys(), "a confirmed message was lost"
    assert {name for name in runs if name.split("-")[0] != "p0"} <= confirmed
    doubled = {name for name, count in runs.items() if count > 1}
    assert all(deaths[name] == 1 for name in doubled), "a message ran twice, but no death was counted"
    assert all(count <= 2 for count in runs.values())


def test_processes_that_open_a_new_file_together_all_succeed(file_url: str, run_script: Run) -> None:
    scripts = [run_script("import sys\nfrom fastq import transport\nsys.stdin.readline()\n"
                          "transport.open(sys.argv[1]).publish_one('q', b'x')\n", file_url) for _ in range(6)]
    for script in scripts:
        script.say("")
    assert [script.wait() for script in scripts] == [0] * 6
    opened = transport.open(file_url)
    assert opened.queues()["q"].ready == 6
    opened.close()


def test_a_result_from_another_process_is_seen_within_a_millisecond(file_url: str, run_script: Run) -> None:
    store = backends.open(file_url)
    script = run_script(
        "import sys, time\nfrom fastq import backends\nfrom fastq.types import Result\n"
        "store = backends.open(sys.argv[1])\n"
        "print('up', flush=True)\n"
        "for line in sys.stdin:\n"
        "    store.put([Result(line.strip(), 'SUCCESS', b'x')])\n"
        "    print(time.monotonic(), flush=True)\n", file_url)
    assert script.line() == "up"
    late = []
    for n in range(100):
        script.say(f"id-{n}")
        assert store.wait([f"id-{n}"], 4)
        late.append(time.monotonic() - float(script.line()))
    store.close()
    assert statistics.median(late) < 0.001


def test_the_endings_of_a_turn_are_all_or_nothing_for_other_processes(broker: Transport, file_url: str,
                                                                      run_script: Run) -> None:
    store = backends.open(file_url)
    watcher = run_script(
        "import json, sys\nfrom fastq import backends, transport\n"
        "broker, store = transport.open(sys.argv[1]), backends.open(sys.argv[1])\nprint('up', flush=True)\n"
        "for line in sys.stdin:\n    q = broker.queues()\n"
        "    print(json.dumps([q['q'].held, q['r'].ready if 'r' in q else 0]), flush=True)\n", file_url)
    assert watcher.line() == "up"
    broker.publish([Message("q", b"")] * 50)
    broker.attach("w", ["q"])
    rows = rows_of(broker)
    for tag, _, _ in rows:
        watcher.say("")
        result = Result(str(tag), "SUCCESS", b"")
        broker.turn(Endings(ack=[(tag, tag)], publish=[Message("r", b"")], results=[result]), 0)
        held, after = json.loads(watcher.line())
        assert held + after == 50
    store.close()

