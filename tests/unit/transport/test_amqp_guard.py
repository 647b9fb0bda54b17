"""Producers that publish and go quiet, end, fork, or forget their transport."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from fastq.transport import amqp
from tests.deadline import wait_until
from tests.servers.proxy import Proxy
from tests.unit.transport.amqpkit import Desk, Open, content, names, publish


def guards() -> int:
    """How many threads look after confirms."""
    return sum(thread.name == "fastq-amqp-confirms" for thread in threading.enumerate())


@pytest.fixture
def run() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python code in a process of its own, which is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *args: str) -> subprocess.Popen[str]:
        started.append(subprocess.Popen([sys.executable, "-c", code, *args], text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


# -- a program that does something else ------------------------------------------------------------------------


def test_a_program_that_went_quiet_sends_again_after_a_cut(open_amqp: Open, amqp_url: str, proxy: Proxy,
                                                           desk: Desk) -> None:
    transport = open_amqp(proxy.url(amqp_url))
    publish(transport, names(1))
    wait_until(lambda: transport._publisher.pending == 0)
    proxy.half_open(down=False)
    publish(transport, names(5, 1))
    proxy.cut(refuse=True)
    proxy.behave()
    wait_until(lambda: transport._publisher.pending == 0)
    assert desk.ids("q") == names(6)


def test_a_program_that_went_quiet_waits_for_its_broker(open_amqp: Open, amqp_url: str, proxy: Proxy,
                                                        desk: Desk) -> None:
    transport = open_amqp(proxy.url(amqp_url))
    publish(transport, names(1))
    wait_until(lambda: transport._publisher.pending == 0)
    proxy.half_open(down=False)
    publish(transport, names(5, 1))
    proxy.cut(refuse=True)
    attempts = proxy.accepted
    wait_until(lambda: proxy.accepted > attempts + 1)
    proxy.behave()
    wait_until(lambda: transport._publisher.pending == 0)
    assert desk.ids("q") == names(6)


def test_the_thread_sleeps_while_all_is_confirmed(open_amqp: Open) -> None:
    transport = open_amqp()
    for _ in range(3):
        publish(transport, names(3))
        guard = transport._guard
        assert guard is not None
        wait_until(lambda guard=guard: not guard.is_awake)
        assert transport._publisher.pending == 0
    assert transport._guard is guard


def test_a_publish_that_was_not_confirmed_in_time_is_looked_after(open_amqp: Open, amqp_url: str, proxy: Proxy,
                                                                  desk: Desk) -> None:
    transport = open_amqp(proxy.url(amqp_url), publish_timeout_s=0.5)
    transport.publish([amqp.Message("q", content("0"))])
    proxy.half_open(down=False)
    with pytest.raises(amqp.OperationalError):
        transport.publish([amqp.Message("q", content("1"))])
    proxy.behave()
    proxy.cut()
    wait_until(lambda: desk.ready("q") == 2)


def test_a_closed_transport_leaves_no_thread_and_no_connection(open_amqp: Open, amqp_url: str, proxy: Proxy) -> None:
    before = guards()
    transport = open_amqp(proxy.url(amqp_url))
    publish(transport, names(3))
    assert guards() == before + 1
    transport.close()
    transport.close()
    wait_until(lambda: guards() == before)
    wait_until(lambda: proxy.open == 0)


def test_no_thread_looks_after_one_who_waits_for_every_confirm(open_amqp: Open) -> None:
    transport = open_amqp(confirm_publish=True)
    publish(transport, names(3))
    transport.publish([amqp.Message("q", content("3"))])
    assert transport._guard is None


# -- the end of a program --------------------------------------------------------------------------------------

PRODUCER = """
import sys
from fastq.transport import amqp
from tests.unit.transport.amqpkit import names, publish
transport = amqp.open_url(sys.argv[1], {"publish_timeout_s": 0.5, "connect_timeout_s": 0.4})
publish(transport, ["first"])
transport.publish(())
print("ready", flush=True)
sys.stdin.readline()
publish(transport, names(int(sys.argv[2])))
print("sent", flush=True)
sys.stdin.readline()
"""


def test_the_end_of_a_program_waits_for_its_confirms(run: Callable[..., subprocess.Popen[str]], amqp_url: str,
                                                     desk: Desk) -> None:
    process = run(PRODUCER, amqp_url, "400")
    _, errors = process.communicate("\n\n", timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert desk.ids("q") == ["first", *names(400)]


def test_the_end_of_a_program_names_what_may_be_lost(run: Callable[..., subprocess.Popen[str]], amqp_url: str,
                                                     proxy: Proxy) -> None:
    process = run(PRODUCER, proxy.url(amqp_url), "12")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    proxy.half_open()
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "sent\n"
    proxy.cut(refuse=True)
    _, errors = process.communicate("\n", timeout=20)
    assert process.returncode == 0
    last = errors.strip().splitlines()[-1]
    assert f"127.0.0.1:{proxy.port}" in last
    assert "12 messages are not confirmed and may be lost: proj.add[0], proj.add[1]," in last
    assert last.endswith("proj.add[9] and 2 more")


FORGETFUL = """
import gc, sys, threading
from fastq.transport import amqp
from tests.deadline import wait_until
from tests.unit.transport.amqpkit import names, publish
transport = amqp.open_url(sys.argv[1], {})
publish(transport, names(3))
assert threading.active_count() == 2
wait_until(lambda: not transport._guard.is_awake)
del transport
wait_until(lambda: gc.collect() >= 0 and threading.active_count() == 1)
print("gone", flush=True)
sys.stdin.readline()
"""


def test_a_transport_that_nobody_holds_any_more_leaves_no_thread_and_no_connection(
        run: Callable[..., subprocess.Popen[str]], amqp_url: str, proxy: Proxy) -> None:
    process = run(FORGETFUL, proxy.url(amqp_url))
    assert process.stdout is not None
    assert process.stdout.readline() == "gone\n"
    wait_until(lambda: proxy.open == 0)
    assert process.communicate("\n", timeout=20) == ("", "")


# -- forks -----------------------------------------------------------------------------------------------------

FORKING = """
import os, sys, threading
from fastq.transport import amqp
from tests.unit.transport.amqpkit import names, publish
transport = amqp.open_url(sys.argv[1], {})
publish(transport, names(200))
child = os.fork()
publish(transport, [f"{'parent' if child else 'child'} {number}" for number in range(50)])
if not child:
    assert [thread.name for thread in threading.enumerate()] == ["MainThread", "fastq-amqp-confirms"]
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
publish(transport, ["last"])
"""

FORKING_APP = """
import os, sys
from fastq import Fastq
app = Fastq("proj", broker=sys.argv[1])
app.send_task("proj.add", task_id="before")
child = os.fork()
app.send_task("proj.add", task_id="parent" if child else "child").confirmed()
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
app.send_task("proj.add", task_id="after").confirmed()
"""

HOLDING = """
import os, signal, sys
from fastq.transport import amqp
from fastq.types import Endings
transport = amqp.open_url(sys.argv[1], {})
transport.attach("w", ["q"])
while not transport.turn(Endings(), 1):
    pass
child = os.fork()
if not child:
    signal.pause()
print(child, flush=True)
sys.stdin.readline()
"""


def test_a_child_has_its_own_connection_and_sends_nothing_of_its_parent(run: Callable[..., subprocess.Popen[str]],
                                                                        amqp_url: str, proxy: Proxy,
                                                                        desk: Desk) -> None:
    process = run(FORKING, proxy.url(amqp_url))
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    found = desk.ids("q")
    assert len(found) == 301
    for whose in ("parent", "child"):
        assert [name for name in found if name.startswith(whose)] == [f"{whose} {number}" for number in range(50)]
    assert proxy.accepted == 2


def test_an_app_sends_in_a_parent_and_its_child(run: Callable[..., subprocess.Popen[str]], amqp_url: str, proxy: Proxy,
                                                desk: Desk) -> None:
    process = run(FORKING_APP, proxy.url(amqp_url))
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    assert sorted(desk.ids("celery")) == ["after", "before", "child", "parent"]
    assert proxy.accepted == 2


def test_a_child_keeps_nothing_of_a_parent_that_was_killed(run: Callable[..., subprocess.Popen[str]], open_amqp: Open,
                                                           amqp_url: str, desk: Desk) -> None:
    publish(open_amqp(), names(1))
    process = run(HOLDING, amqp_url)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert desk.ready("q") == 0
    process.kill()
    process.wait(10)
    wait_until(lambda: desk.ready("q") == 1)
    os.kill(child, signal.SIGKILL)
