"""What a transport that several processes share promises, when some of them are killed or stopped."""

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
from fastq.types import Endings, Message, Result
from tests.conformance.broker import Broker, bodies
from tests.conformance.engine import Engine, in_file, leased_and_shared, shared

Run = Callable[..., Any]
Open = Callable[..., Broker]
Eventually = Callable[..., None]

HEAD = """
import os, select, sys
from fastq.exceptions import LeaseLost
from fastq.types import Message
from tests.conformance.broker import Broker, bodies, pack, runs
from tests.conformance.engine import ENGINES
engine, url, args = ENGINES[sys.argv[1]], sys.argv[2], sys.argv[3:]
broker = Broker(engine.open(url), engine)

def say(*words):
    print(*words, flush=True)

"""

HOLD = HEAD + """
count, lease = int(args[0]), float(args[1])
broker.attach("q", name="holder", lease_s=lease)
rows = broker.take(count, count)
say(len(rows))
sys.stdin.readline()
try:
    broker.turn(0, ack=[(rows[0].tag, rows[-1].tag)], publish=[Message("q", b"from a zombie")])
    broker.settle()
    say("acknowledged")
except LeaseLost:
    say("lease lost")
    broker.attach("q", name="holder")
    say(len(broker.turn(100)))
sys.stdin.readline()
"""


@pytest.fixture
def run(run_script: Run, engine: Engine, address: str) -> Run:
    """Run a script on the broker under test."""
    return lambda code, *args: run_script(code, engine.name, address, *args)


@pytest.fixture
def file_broker(file_url: str) -> Transport:
    opened = transport.open(file_url)
    yield opened  # type: ignore[misc]
    opened.close()


def rows_of(worker: Transport, credit: int = 100) -> list[tuple[int, int, bytes]]:
    return [row for _, rows in worker.turn(Endings(), credit) for row in rows]


# -- the death of a worker -----------------------------------------------------------------------------------------


@shared
def test_what_a_killed_worker_held_comes_back_with_a_death(broker: Broker, run: Run) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(10)])
    holder = run(HOLD, "6", "3600")
    assert holder.line() == "6"
    broker.may_see_deaths = True
    broker.attach("q")
    broker.check(ready=4, held=6)
    holder.signal(signal.SIGKILL)
    deaths = {row.body: row.deaths for row in broker.wait_for(10)}
    assert deaths == {b"%d" % n: int(n < 6) for n in range(10)}


@in_file
def test_what_a_killed_worker_held_returns_to_its_place_at_once(broker: Broker, run: Run) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(10)])
    holder = run(HOLD, "6", "3600")
    assert holder.line() == "6"
    broker.attach("q")
    assert broker.transport.keep() == 0
    holder.signal(signal.SIGKILL)
    assert broker.transport.keep() == 6
    assert bodies(broker.take(10)) == [b"%d" % n for n in range(10)]


@shared
def test_a_new_worker_brings_back_what_dead_ones_held(broker: Broker, run: Run) -> None:
    broker.publish([Message("q", b"x")] * 4)
    holders = [run(HOLD, "2", "3600") for _ in range(2)]
    assert [holder.line() for holder in holders] == ["2", "2"]
    for holder in holders:
        holder.signal(signal.SIGKILL)
    broker.may_see_deaths = True
    broker.attach("q")
    assert [row.deaths for row in broker.wait_for(4)] == [1, 1, 1, 1]


@shared
def test_children_that_outlive_a_killed_worker_do_not_keep_its_deliveries(broker: Broker, run: Run) -> None:
    broker.send("x")
    holder = run(HEAD + "broker.attach('q', lease_s=3600)\nbroker.take(1, 1)\n"
                        "child = os.fork()\nif not child:\n    sys.stdin.readline()\n    os._exit(0)\n"
                        "say(child)\nos.waitpid(child, 0)\n")
    assert int(holder.line())
    holder.signal(signal.SIGKILL)
    broker.may_see_deaths = True
    broker.attach("q")
    assert [row.deaths for row in broker.wait_for(1)] == [1]
    holder.say("")


@shared
def test_each_death_of_a_holder_is_counted_once(broker: Broker, run: Run) -> None:
    broker.send("killer")
    for deaths in range(3):
        holder = run(HEAD + "broker.may_see_deaths = True\nbroker.attach('q', lease_s=3600)\n"
                            "row, = broker.wait_for(1, 1)\nsay(row.deaths)\nsys.stdin.readline()\n")
        assert holder.line() == str(deaths)
        holder.signal(signal.SIGKILL)
    broker.may_see_deaths = True
    broker.attach("q")
    row, = broker.wait_for(1)
    assert (row.deaths, row.body) == (3, b"killer")


WORK = HEAD + """
log = os.open(args[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
broker.may_see_deaths = True
broker.attach("a", "b")
say("up")
done = []
while True:
    rows = broker.turn(17, ack=done)
    for row in rows:
        os.write(log, b"%s %d\\n" % (row.body, row.deaths))
    done = runs(rows)
    if not rows and not broker.sleep(0.01) and select.select([sys.stdin], [], [], 0)[0]:
        break
broker.close()
"""

PRODUCE = HEAD + """
name, count = args[0], int(args[1])
for n in range(0, count, 10):
    for m in range(n, n + 5):
        broker.transport.publish_one("ab"[m % 2], pack(b"%s-%d" % (name.encode(), m)), m % 3)
    broker.publish([Message("ab"[m % 2], b"%s-%d" % (name.encode(), m), m % 3) for m in range(n + 5, n + 10)])
    say(n + 10)
"""


@shared
def test_nothing_is_lost_or_doubled_among_processes_that_are_killed(open_broker: Open, run: Run, tmp_path: Path,
                                                                    eventually: Eventually) -> None:
    """Four producers and three workers, of each one killed on the way."""
    broker, count = open_broker(), 2500
    logs = [tmp_path / f"log-{n}" for n in range(3)]
    workers = [run(WORK, str(log)) for log in logs[:2]]
    assert [worker.line() for worker in workers] == ["up", "up"]
    producers = [run(PRODUCE, f"p{n}", str(count)) for n in range(4)]
    sent = [0, 0, 0, 0]
    while sent[0] < 500:
        sent[0] = int(producers[0].line())
    producers[0].signal(signal.SIGKILL)
    workers[0].signal(signal.SIGKILL)
    workers.append(run(WORK, str(logs[2])))
    assert workers[2].line() == "up"
    for n, producer in enumerate(producers):
        while line := producer.line():
            sent[n] = int(line)
    assert sent[1:] == [count] * 3
    broker.attach("no such queue", name="watch")
    broker.send(queue="a")
    broker.send(queue="b")
    eventually(lambda: broker.transport.keep() == 0
               and sum(stat.ready + stat.held for stat in broker.figures().values()) == 0, 60)
    for worker in workers[1:]:
        worker.say("")
        assert worker.wait() == 0

    runs, deaths = Counter[str](), Counter[str]()
    for log in logs:
        for line in log.read_text().splitlines():
            body, died = line.split()
            runs[body] += 1
            deaths[body] = max(deaths[body], int(died))
    confirmed = {f"p{n}-{m}" for n, told in enumerate(sent) for m in range(told)}
    assert confirmed <= runs.keys(), f"confirmed and lost: {sorted(confirmed - runs.keys())[:20]}"
    assert {name for name in runs if name.split("-")[0] != "p0"} <= confirmed
    doubled = {name for name, count in runs.items() if count > 1}
    assert all(deaths[name] == 1 for name in doubled), "a message ran twice, but no death was counted"
    assert all(count <= 2 for count in runs.values())


@shared
def test_processes_that_open_a_new_broker_together_all_succeed(broker: Broker, run: Run) -> None:
    scripts = [run(HEAD + "say('up')\nsys.stdin.readline()\nbroker.transport.publish_one('q', pack(b'x'))\n")
               for _ in range(6)]
    assert {script.line() for script in scripts} == {"up"}
    for script in scripts:
        script.say("")
    assert [script.wait() for script in scripts] == [0] * 6
    broker.attach("q")
    assert bodies(broker.take(6)) == [b"x"] * 6


# -- sleep and wake ------------------------------------------------------------------------------------------------


@shared
def test_a_sleeper_is_woken_from_another_process(broker: Broker, run: Run) -> None:
    producer = run(HEAD + "say('up')\nfor line in sys.stdin: broker.send(line.strip())\n")
    assert producer.line() == "up"
    broker.attach("q")
    for n in range(20):
        assert broker.take(0, 1) == []
        assert broker.transport.arm() != 0.0
        producer.say(str(n))
        assert select.select([broker.transport.fileno()], [], [], 4)[0], "the bell did not ring"
        assert bodies(broker.take(1, 1)) == [b"%d" % n]


def test_the_cell_of_a_killed_sleeper_is_used_again(file_broker: Transport, file_url: str, run_script: Run,
                                                    tmp_path: Path) -> None:
    for _ in range(3):
        sleeper = run_script(
            "import sys\nfrom fastq import transport\nworker = transport.open(sys.argv[1])\nworker.attach('w', ['q'])\n"
            "worker.arm()\nprint('asleep', flush=True)\nsys.stdin.readline()\n", file_url)
        assert sleeper.line() == "asleep"
        file_broker.publish_one("q", b"x")
        sleeper.signal(signal.SIGKILL)
        file_broker.publish_one("q", b"x")
    names = {path.name for path in (tmp_path / "tasks.db-bell").iterdir()}
    assert names == {"board", "locks", "0"}
    file_broker.attach("w", ["q"])
    assert len(rows_of(file_broker)) == 6


# -- leases --------------------------------------------------------------------------------------------------------


@leased_and_shared
def test_a_stopped_worker_loses_its_lease_and_its_late_acks_do_nothing(broker: Broker, run: Run,
                                                                       eventually: Eventually) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(5)])
    holder = run(HOLD, "5", "0.3")
    assert holder.line() == "5"
    holder.signal(signal.SIGSTOP)
    broker.attach("q")
    eventually(broker.transport.keep)
    rows = broker.take(5)
    assert len(rows) == 5
    holder.say("")
    holder.signal(signal.SIGCONT)
    assert holder.line() == "lease lost"
    assert holder.line() == "0"
    broker.check(held=5)
    broker.end(ack=[(rows[0].tag, rows[-1].tag)])
    broker.check()


@leased_and_shared
def test_who_was_stopped_itself_does_not_judge_the_others_by_the_clock(open_broker: Open) -> None:
    one, other = open_broker(), open_broker()
    one.send("x")
    other.attach("q", name="other", lease_s=0.05)
    one.attach("q", name="late", lease_s=0.05)
    assert len(other.take(1)) == 1
    select.select([], [], [], 0.2)  # both fell silent, as if the whole machine had been stopped
    assert one.transport.keep() == 0
    assert other.transport.keep() == 0
    assert other.take(0) == []


# -- one step ------------------------------------------------------------------------------------------------------


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


def test_the_endings_of_a_turn_are_all_or_nothing_for_other_processes(file_broker: Transport, file_url: str,
                                                                      run_script: Run) -> None:
    store = backends.open(file_url)
    watcher = run_script(
        "import json, sys\nfrom fastq import backends, transport\n"
        "broker, store = transport.open(sys.argv[1]), backends.open(sys.argv[1])\nprint('up', flush=True)\n"
        "for line in sys.stdin:\n    q = broker.queues()\n"
        "    print(json.dumps([q['q'].held, q['r'].ready if 'r' in q else 0]), flush=True)\n", file_url)
    assert watcher.line() == "up"
    file_broker.publish([Message("q", b"")] * 50)
    file_broker.attach("w", ["q"])
    rows = rows_of(file_broker)
    for tag, _, _ in rows:
        watcher.say("")
        result = Result(str(tag), "SUCCESS", b"")
        file_broker.turn(Endings(ack=[(tag, tag)], publish=[Message("r", b"")], results=[result]), 0)
        held, after = json.loads(watcher.line())
        assert held + after == 50
    store.close()
