"""A RabbitMQ of its own: free ports, its own node, folder, cookie and port mapper.

1. It starts in a few seconds: no plugins, and a code path that has only what the broker itself needs.
2. It takes orders through the shell of its Erlang system, a millisecond each.
3. It ends with its starter, whichever way that ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, unquote

import psutil

from fastq.bench.servers import ServerFailed, ServerMissing, free_ports, says, wait_for
from fastq.bench.servers.erlang import Shell, string

DEBIAN = Path("/usr/lib/rabbitmq/lib")
GREETING, WELCOME = b"AMQP\x00\x00\x09\x01", b"\x01"
START_S = 100.0
"""With the machine busy and its files not yet read; alone it is 3 to 6 s."""

# The mapper of node names to ports would outlive its nodes, and a node its starter: at the end of its input, which
# comes with the end of whoever started it, this kills both. The last line that it read is the pid of the node.
WATCH = """
    epmd -address 127.0.0.1 -port "$1" & mapper=$!
    while read -r said; do node=$said; done
    kill -9 $node $mapper
    wait
"""

CLOSE_CONNECTIONS = """
    Pids = [Pid || Pid <- rabbit_networking:connections_local(), {which}],
    [catch rabbit_networking:close_connection(Pid, {reason}) || Pid <- Pids],
    length(Pids)
"""
WRITE_NAMES = "ok = dets:sync(maps:get(directory_rev, maps:get(names, ra_system:fetch(quorum_queues))))"
OF_VHOST = "(catch rabbit_reader:info(Pid, [vhost])) =:= [{{vhost, {vhost}}}]"
EMPTY = """
    Stays = fun(Short) -> lists:any(fun(Start) -> string:prefix(Short, Start) =/= nomatch end, {kept}) end,
    Name = fun(Queue) -> element(4, amqqueue:get_name(Queue)) end,
    {{Old, Gone}} = lists:partition(fun(Queue) -> Stays(Name(Queue)) end, rabbit_amqqueue:list({vhost})),
    [catch rabbit_amqqueue:delete(Queue, false, false, <<"tests">>) || Queue <- Gone],
    [catch rabbit_amqqueue:purge(Queue) || Queue <- Old],
    [rabbit_exchange:delete(Full, false, <<"tests">>)
     || {{resource, Where, exchange, Short}} = Full <- rabbit_exchange:list_names(),
        Where =:= {vhost}, Short =/= <<>>, not Stays(Short), string:prefix(Short, <<"amq.">>) =:= nomatch],
    length(rabbit_amqqueue:list({vhost})) - length(Old)
"""
NEW = """
    rabbit_vhost:add({vhost}, <<"tests">>),
    rabbit_auth_backend_internal:set_permissions(
        <<"guest">>, {vhost}, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)
"""


def find_home() -> Path:
    """Return the folder of the installed RabbitMQ, the one with ``sbin`` and ``plugins``. Raises ServerMissing."""
    found = [Path(home)] if (home := os.environ.get("RABBITMQ_HOME")) else sorted(DEBIAN.glob("rabbitmq_server-*"))
    if program := shutil.which("rabbitmq-server"):
        found.insert(0, Path(program).resolve().parents[1])
    for folder in reversed(found):
        if (folder / "sbin/rabbitmq-server").exists() and (folder / "plugins").is_dir():
            return folder
    raise ServerMissing("there is no RabbitMQ here: apt-get install rabbitmq-server, or name it in RABBITMQ_HOME")


class RabbitMQ:
    """One node with all that it needs in *folder*.

    ``url`` is the address of its virtual host ``/``. Example::

        with RabbitMQ(folder) as server:
            connect(server.url)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.port, self._mapper_port, self._node_port = free_ports(3)
        self.url = self._url("/")
        self._home = find_home()
        self._watch: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None
        self._shell: Shell | None = None
        self._spare: dict[str, list[str]] = {}
        self._numbered: set[str] = set()

    def __enter__(self) -> RabbitMQ:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Make it run, with the data that it had; does nothing while it runs. Raises ServerFailed."""
        if self._node is None or self._node.poll() is not None:
            self._launch()
        elif self.eval("rabbit:is_running()") == "false":
            self.eval("rabbit:start()", START_S)
        wait_for(self._is_welcoming, START_S, lambda: f"RabbitMQ did not come up: {self.last_words()}")

    def stop(self) -> None:
        """Stop the broker in order and close its port; its data stay, and `start` brings them back."""
        self.eval("rabbit:stop()", START_S)

    def kill(self) -> None:
        """Kill it on the spot, as a crash of its machine would; `start` recovers what it had stored.

        A quorum queue that is younger than a second is not (3.10.8), unless `write_names` was called.
        """
        if self._node is not None:
            _end(self._node, signal.SIGKILL)
            self._watch_over("")
            self._node = self._shell = None

    def write_names(self) -> None:
        """Have it write down now which quorum queues there are.

        By itself it does so when none was made for half a second to a second (ra 2.2.0, ``names.dets``). A queue that a
        crash finds unwritten comes back empty and without a leader, whatever was confirmed of it.
        """
        self.eval(WRITE_NAMES)

    def end(self) -> None:
        """End it and all of its processes; the folder is left. Safe to call twice."""
        self.kill()  # its data are not wanted any more
        if self._watch is not None:
            _end(self._watch)
            self._watch = None

    @property
    def pids(self) -> list[int]:
        """Of the processes that this one started for it."""
        return [process.pid for process in (self._watch, self._node) if process is not None]

    # -- orders --------------------------------------------------------------------------------------------------------

    def eval(self, expression: str, deadline_s: float = 30.0) -> str:
        """Evaluate Erlang inside the node and return the value as Erlang writes it. Raises ServerFailed."""
        if self._shell is None:
            raise ServerFailed("RabbitMQ is not running")
        return self._shell.ask(expression, deadline_s)

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` and return what it printed; this costs a second of CPU. Raises ServerFailed."""
        command = [str(self._home / "sbin/rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(command, env=self._environment(), cwd=self.folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode:
            raise ServerFailed(f"rabbitmqctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def vhost(self, name: str | None = None, *, kind: str = "") -> str:
        """Return the address of an empty virtual host: a new one, or one of its *kind* that was given back."""
        if name is None and self._spare.get(kind):
            return self._url(self._spare[kind].pop())
        if name is None:
            name = f"v{len(self._numbered) + 1}"
            self._numbered.add(name)
        self.eval(NEW.format(vhost=_binary(name)))
        return self._url(name)

    def reclaim(self, url: str, *, kind: str = "", kept: Iterable[str] = ()) -> None:
        """Take back what `vhost` returned: close its connections, and drop its queues and exchanges.

        Those whose names begin with one of *kept* stay, emptied. A broker that was stopped, killed or alarmed meanwhile
        is made to run first. To empty a virtual host costs 2 ms, to make another one 20, and ten times that once there
        are hundreds.
        """
        self.start()
        self.alarm(False)
        name = unquote(url.rpartition("/")[2])
        vhost = _binary(name)
        self.eval(CLOSE_CONNECTIONS.format(which=OF_VHOST.format(vhost=vhost), reason=string("the test is over")))
        left = self.eval(EMPTY.format(vhost=vhost, kept=f"[{', '.join(map(_binary, kept))}]"))
        if left == "0" and name in self._numbered:
            self._spare.setdefault(kind, []).append(name)

    def close_all_connections(self, reason: str = "closed by the administrator") -> int:
        """Close every client's connection as an administrator does; returns how many there were."""
        return int(self.eval(CLOSE_CONNECTIONS.format(which="true", reason=string(reason))))

    def alarm(self, on: bool) -> None:
        """Raise or clear the memory alarm: while it stands, whoever publishes is blocked.

        The alarm's handler is told in passing. Asking it for the alarms is answered behind that, when every connection
        has its notice: what is published from here on meets the alarm.
        """
        self.eval(f"vm_memory_monitor:set_vm_memory_high_watermark({0 if on else 0.4}), rabbit_alarm:get_alarms()")

    def last_words(self) -> str:
        """Return the end of its log."""
        logs = filter(Path.exists, (self._path("log"), self._path("console")))
        return "".join(log.read_text(errors="replace") for log in logs)[-2000:].strip() or "it said nothing"

    # -- its processes -------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._lay_out()
        if self._watch is None:
            self._watch = self._run("sh", "-c", WATCH, "watch", str(self._mapper_port))
        # A node that finds no mapper starts one, and that one nobody would end.
        wait_for(lambda: says(self._mapper_port, b"", b""), START_S, lambda: "epmd did not come up")
        node = self._run(str(self._path("home/sbin/rabbitmq-server")))
        self._watch_over(str(node.pid))
        self._node, self._shell = node, Shell(node)

    def _watch_over(self, pid: str) -> None:
        if self._watch is not None and self._watch.stdin is not None:
            self._watch.stdin.write(f"{pid}\n".encode())
            self._watch.stdin.flush()

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        with open(self._path("console"), "ab") as console:
            return subprocess.Popen(command, env=self._environment(), cwd=self.folder, stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, stderr=console, start_new_session=True)  # fmt: skip

    def _lay_out(self) -> None:
        """Make the folder: links to the installed program and to the parts of it that are not plugins.

        To start, a node looks for some thousand modules in every folder of its code path: with all plugins there,
        that is half of the CPU of a start.
        """
        if self._path("home").exists():
            return
        self._path("home/plugins").mkdir(parents=True)
        self._path("home/sbin").symlink_to(self._home / "sbin")
        for part in (self._home / "plugins").iterdir():
            if not part.name.startswith("rabbitmq_") or part.name.startswith("rabbitmq_prelaunch"):
                self._path("home/plugins", part.name).symlink_to(part)
        self._path("enabled_plugins").write_text("[].\n")

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return ours | {
            "HOME": str(self.folder),  # where the cookie is
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self._path("rabbitmq")),
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._path("enabled_plugins")),
            "RABBITMQ_LOGS": str(self._path("log")),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_MNESIA_BASE": str(self._path("data")),
            "RABBITMQ_NODENAME": f"fastq-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
        }  # fmt: skip

    def _is_welcoming(self) -> bool:
        if self._node is not None and self._node.poll() is not None:
            raise ServerFailed(f"RabbitMQ ended as it started: {self.last_words()}")
        return says(self.port, GREETING, WELCOME)

    def _path(self, *parts: str) -> Path:
        return self.folder.joinpath(*parts)

    def _url(self, vhost: str) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{vhost if vhost == '/' else quote(vhost, safe='')}"


def _binary(text: str) -> str:
    return f"<<{string(text)}/utf8>>"


def _end(process: subprocess.Popen[bytes], number: int = 0) -> None:
    """End *process* by signal *number*, or by the end of its input, and then what it started."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    if number:
        process.send_signal(number)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait(10)
    for helper in family:
        try:
            helper.kill()
        except psutil.NoSuchProcess:
            continue
    wait_for(lambda: not any(map(_runs, family)), 10, lambda: f"these did not end: {family}")


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)  # init reaps it, in its own time
    except psutil.NoSuchProcess:
        return False
