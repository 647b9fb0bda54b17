"""Servers of Redis with settings of their own, for tests of what a connection meets."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

from fastq.bench.servers import ServerMissing
from fastq.bench.servers.redis import find_program
from fastq.exceptions import TransportError
from fastq.transport.redis_link import Link, connect
from fastq.transport.redis_target import Target
from tests.deadline import wait_until


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


class RedisRoom:
    """One server in a folder, started with the words of *settings*: ``RedisRoom(tmp_path, "--requirepass", "x")``."""

    def __init__(self, folder: Path, *settings: str, port: int | None = None) -> None:
        try:
            self.program = find_program()
        except ServerMissing as missing:
            pytest.skip(str(missing))
        self.port = free_port() if port is None else port
        self.socket = str(folder / "redis.sock")
        self.folder = folder
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> Target:
        """Its database 0, over TCP."""
        return Target("127.0.0.1", self.port)

    @property
    def pid(self) -> int:
        """Its process; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self._process = subprocess.Popen(self._command(), cwd=self.folder, stdout=subprocess.DEVNULL)
        wait_until(self._listens, what="redis-server to listen")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> RedisRoom:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.kill()

    def link(self, **fields: object) -> Link:
        """A connection to it; *fields* are those of `Target`."""
        return connect(self.target._replace(**fields), 5)  # type: ignore[arg-type]

    def _command(self) -> list[str]:
        return [self.program, "--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", self.socket,
                "--save", "", "--appendonly", "no", "--loglevel", "warning", *self._settings]

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "redis-server ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def refusal(target: Target, timeout_s: float = 5.0) -> TransportError:
    """What a connection to *target* ends in."""
    with pytest.raises(TransportError) as caught:
        connect(target, timeout_s).close()
    return caught.value
