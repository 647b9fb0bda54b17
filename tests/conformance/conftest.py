"""The implementations that each suite runs against, and processes to kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from fastq import backends
from fastq.backends.base import ResultStore
from tests.conformance.broker import Broker
from tests.conformance.engine import ALL, Engine

_names = count()
LEVELS = ("celery_delayed_", "fastq.delayed", "fastq.dead")
"""What stays in a virtual host from one test to the next, emptied: to make the levels takes more than a second."""


@pytest.fixture(params=ALL)
def engine(request: pytest.FixtureRequest) -> Engine:
    """The implementation under test; `atomic` and its like (engine.py) name those that make a promise."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def address(engine: Engine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a new, empty broker."""
    if not engine.server:
        yield f"sqlite:///{tmp_path}/tasks.db" if engine.has_file else f"memory://test-{next(_names)}"
        return
    if engine.server in ("redis", "cluster"):
        yield request.getfixturevalue(f"{engine.server}_url")
        return
    server = request.getfixturevalue("rabbitmq")
    url = server.vhost(kind=engine.name)
    yield url
    server.reclaim(url, kind=engine.name, kept=LEVELS)


@pytest.fixture
def open_broker(engine: Engine, address: str) -> Iterator[Callable[..., Broker]]:
    """Open one more transport of the same broker; all are closed at the end."""
    opened: list[Broker] = []

    def open_one(**options: object) -> Broker:
        opened.append(Broker(engine.open(address, **options), engine))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def broker(open_broker: Callable[..., Broker]) -> Broker:
    """A transport of the broker under test."""
    return open_broker()


STORES = ["sqlite", "memory", pytest.param("redis", marks=pytest.mark.redis)]
"""Brokers that are stores as well."""


@pytest.fixture(params=STORES)
def broker_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a new, empty broker that is a store as well."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"memory://test-{next(_names)}" if request.param == "memory" else f"sqlite:///{tmp_path}/tasks.db"


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """The address of a new broker in a file."""
    return f"sqlite:///{tmp_path}/tasks.db"


@pytest.fixture
def store(broker_url: str) -> Iterator[ResultStore]:
    """The store under test."""
    opened = backends.open(broker_url)
    yield opened
    opened.close()


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until a condition holds; fail after some seconds."""
    def wait(condition: Callable[[], object], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.002)

    return wait


class Script:
    """Python code run in a process of its own; it talks by lines of its standard output and input."""

    def __init__(self, code: str, *args: str) -> None:
        root = Path(__file__).parents[2]
        env = {**os.environ, "PYTHONPATH": str(root)}
        self.process = subprocess.Popen([sys.executable, "-c", code, *args], stdout=subprocess.PIPE,
                                        stdin=subprocess.PIPE, text=True, env=env)

    def line(self) -> str:
        """The next line that it says; the empty string once it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; returns after the death when it is SIGKILL."""
        self.process.send_signal(number)
        if number is signal.SIGKILL:
            self.process.wait(10)

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        return self.process.wait(60)


@pytest.fixture
def run_script() -> Iterator[Callable[..., Script]]:
    """Start scripts; whatever still runs at the end is killed."""
    started: list[Script] = []

    def start(code: str, *args: str) -> Script:
        started.append(Script(code, *args))
        return started[-1]

    yield start
    for script in started:
        if script.process.poll() is None:
            script.process.kill()
            script.process.wait(10)
        for pipe in (script.process.stdout, script.process.stdin):
            assert pipe is not None
            pipe.close()
