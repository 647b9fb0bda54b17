"""A Redis, or a Valkey, of its own: a free port, its data in a folder, and an end with its starter's.

It takes orders over its port, and has many databases: whoever needs an empty place gets one of them.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple
from urllib.parse import quote, urlsplit

import psutil

from fastq.bench.servers import ServerFailed, ServerMissing, free_ports, wait_for

DATABASES = 256
START_S = 30.0
"""With the machine busy and much to load; alone it is 10 ms."""

# A server would outlive its starter: at the end of its input, which comes with the end of whoever started it, this
# kills it.
WATCH = """
    "$@" >>console 2>&1 </dev/null & server=$!
    echo $server
    read -r _
    kill -9 $server 2>/dev/null
    wait
"""


class Certificate(NamedTuple):
    """Files in PEM: whose certificates a client may have, and the server's own. *demand*: a client must have one."""

    ca_certs: str
    certfile: str
    keyfile: str
    demand: bool = False


class HungUp(ServerFailed):
    """The server closed the connection instead of answering."""


def find_program() -> str:
    """Return the server's program: what ``REDIS_SERVER`` names, or ``redis-server``. Raises ServerMissing."""
    if program := shutil.which(os.environ.get("REDIS_SERVER") or "redis-server"):
        return program
    raise ServerMissing("there is no Redis here: apt-get install redis-server, or name one in REDIS_SERVER")


class Redis:
    """One server with all that it needs in *folder*; ``url`` is the address of its first database.

    Nothing is written to disk but by `stop`, unless it has an *aof*: an append-only file, written before each answer.
    *memory* and *policy* say how much it may hold, and what it does then. With a *password*, the default user has it,
    or a *user*, who is the only one then. TLS is on ``tls_port``, a socket file at ``socket``. *config* has more lines
    of its configuration, *arguments* more words of its command line. Example::

        with Redis(folder, aof=True) as server:
            connect(server.url)
    """

    def __init__(
        self, folder: Path, *, aof: bool = False, memory: str = "0", policy: str = "noeviction",
        user: str = "", password: str = "", certificate: Certificate | None = None, has_socket: bool = False,
        config: Iterable[str] = (), arguments: Iterable[str] = (),
    ) -> None:  # fmt: skip
        self.folder = folder.resolve()
        self.port, self.tls_port = free_ports(2)
        self.socket = self.folder / "redis.sock"
        self._program = find_program()
        self._login = [*filter(None, (user, password))]
        self._user = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
        self._has_aof = aof
        self._arguments = tuple(arguments)
        self._memory = memory
        self._config = [
            f"maxmemory {memory}", f"maxmemory-policy {policy}", f"databases {DATABASES}", 'save ""',
            *(("appendonly yes",) if aof else ()),
            *_users(user, password),
            *(_tls(self.tls_port, certificate) if certificate else ()),
            *((f"unixsocket {_quoted(str(self.socket))}",) if has_socket else ()),
            *config,
        ]  # fmt: skip
        self._watch: subprocess.Popen[str] | None = None
        self.pid = 0
        """Of the server itself."""
        self._spare: list[int] = []
        self._given = 0

    def __enter__(self) -> Redis:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make it run, with what it has on disk; does nothing while it runs. Raises ServerFailed."""
        if self._watch is not None and self._lives():
            return
        self.end()
        self._launch()
        try:
            wait_for(self._answers, START_S, lambda: f"Redis did not come up: {self.last_words()}")
        except ServerFailed:
            self.end()
            raise
        if not self._has_aof:  # an older state would come back after a kill
            (self.folder / "dump.rdb").unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop it in order and close its port; `start` brings its data back."""
        try:
            self.ask("SHUTDOWN", "SAVE")
        except HungUp:
            self.end()

    def kill(self) -> None:
        """Kill it on the spot, as a crash would; `start` recovers what an append-only file has."""
        self.end()

    def end(self) -> None:
        """End it; the folder is left. Safe to call twice."""
        if self._watch is not None:
            self._watch.communicate()
            self._watch = None

    @property
    def pids(self) -> list[int]:
        """Of the processes that this one started for it."""
        return [self._watch.pid, self.pid] if self._watch else []

    # -- orders --------------------------------------------------------------------------------------------------------

    def ask(self, *words: str | int, database: int = 0, deadline_s: float = 30.0) -> Any:
        """Give it one order and return the answer, texts decoded. Raises ServerFailed."""
        orders: list[Iterable[str | int]] = [words]
        if database:
            orders.insert(0, ("SELECT", database))
        if self._login:
            orders.insert(0, ("AUTH", *self._login))
        try:
            with socket.create_connection(("127.0.0.1", self.port), deadline_s) as link, link.makefile("rb") as said:
                link.sendall(b"".join(map(_packed, orders)))
                return [_read(said) for _ in orders][-1]
        except OSError as error:
            raise HungUp(f"Redis takes no orders: {error}") from error

    def place(self) -> str:
        """Return the address of an empty database, which no other call has returned and nobody gave back."""
        if self._spare:
            return self.url_of(self._spare.pop())
        if self._given + 1 == DATABASES:
            raise ServerFailed(f"all {DATABASES} databases are in use")
        self._given += 1
        return self.url_of(self._given)

    def reclaim(self, url: str) -> None:
        """Take back what `place` returned: close its connections and empty it.

        A server that was stopped or killed meanwhile is made to run first, and may hold as much as at its beginning.
        """
        self.start()
        self.ask("CONFIG", "SET", "maxmemory", self._memory)
        database = int(urlsplit(url).path[1:])
        self.close_connections(database)
        self.ask("FLUSHDB", database=database)
        self._spare.append(database)

    def close_connections(self, database: int | None = None) -> int:
        """Close every client's connection, or those on a *database*; returns how many there were."""
        told = self.ask("CLIENT", "LIST").splitlines()
        clients = [dict(word.partition("=")[::2] for word in line.split()) for line in told]
        chosen = [client["id"] for client in clients
                  if not client["cmd"].startswith("client") and not set("MS") & set(client["flags"])  # no other server
                  and database in (None, int(client["db"]))]  # fmt: skip
        return sum(int(self.ask("CLIENT", "KILL", "ID", number)) for number in chosen)

    def flush(self) -> None:
        """Empty all databases."""
        self.ask("FLUSHALL")

    def info(self, section: str) -> dict[str, str]:
        """A section of what it tells about itself."""
        return dict(line.partition(":")[::2] for line in self.ask("INFO", section).splitlines() if ":" in line)

    def last_words(self) -> str:
        """Return the end of its log."""
        log = self.folder / "console"
        return (log.read_text(errors="replace") if log.exists() else "")[-2000:].strip() or "it said nothing"

    # -- addresses -----------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        return f"redis://{self._user}127.0.0.1:{self.port}/{database}"

    @property
    def tls_url(self) -> str:
        return f"rediss://{self._user}127.0.0.1:{self.tls_port}/0"

    @property
    def socket_url(self) -> str:
        return f"redis+socket://{self._user}{self.socket}"

    def _lay_out(self) -> Path:
        """Write its configuration, once: a server may have written down there what others told it since."""
        conf = self.folder / "redis.conf"
        if not conf.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            base = ["bind 127.0.0.1", f"port {self.port}", f"dir {_quoted(str(self.folder))}", *self._config]
            conf.write_text("".join(f"{line}\n" for line in base))
        return conf

    def _launch(self) -> None:
        words = ["sh", "-c", WATCH, "watch", self._program, str(self._lay_out()), *self._arguments]
        self._watch = subprocess.Popen(words, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                       start_new_session=True)  # fmt: skip
        assert self._watch.stdout is not None
        self.pid = int(self._watch.stdout.readline())

    def _lives(self) -> bool:
        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def _answers(self) -> bool:
        if not self._lives():
            raise ServerFailed(f"Redis ended as it started: {self.last_words()}")
        try:
            return bool(self.ask("PING") == "PONG")
        except ServerFailed:  # it has no port yet, or loads what it has on disk
            return False


def _users(user: str, password: str) -> tuple[str, ...]:
    if user:
        return "user default off", f"user {user} on {_quoted('>' + password)} ~* &* +@all"
    return (f"requirepass {_quoted(password)}",) if password else ()


def _tls(port: int, certificate: Certificate) -> tuple[str, ...]:
    return (
        f"tls-port {port}", f"tls-ca-cert-file {_quoted(certificate.ca_certs)}",
        f"tls-cert-file {_quoted(certificate.certfile)}", f"tls-key-file {_quoted(certificate.keyfile)}",
        f"tls-auth-clients {'yes' if certificate.demand else 'no'}",
    )  # fmt: skip


def _quoted(text: str) -> str:
    """Return *text* as one word of a configuration."""
    kept = (char if " " <= char <= "~" and char not in '\\"' else "".join(f"\\x{byte:02x}" for byte in char.encode())
            for char in text)  # fmt: skip
    return f'"{"".join(kept)}"'


def _packed(words: Iterable[str | int]) -> bytes:
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _read(said: IO[bytes]) -> Any:
    line = said.readline()
    if not line.endswith(b"\r\n"):
        raise HungUp("Redis hung up")
    kind, text = line[:1], line[1:-2].decode()
    if kind == b"-":
        raise ServerFailed(text)
    if kind == b"+":
        return text
    if (number := int(text)) < 0 or kind == b":":
        return number if kind == b":" else None
    if kind == b"*":
        return [_read(said) for _ in range(number)]
    return said.read(number + 2)[:-2].decode(errors="surrogateescape")
