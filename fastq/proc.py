"""A process and its surroundings: names of nodes and files, signals, user, umask, title, the daemon.

Nothing here prints; what goes wrong is a ConfigError in one line. For workers and commands, so POSIX only.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from fastq.exceptions import ConfigError, SecurityError
from fastq.pidfile import Pidfile

__all__ = (
    "DEFAULT_NODE", "Daemon", "Pidfile", "cpus", "daemonize", "drop_privileges", "expand_host", "expand_node",
    "group_id", "host_name", "is_root_for_pickle",
    "node_name", "set_title", "set_umask", "signal_name", "signal_number", "split_node", "user_id",
)

DEFAULT_NODE = "celery"
PICKLES = frozenset(("pickle", "application/x-python-serialize"))
logger = logging.getLogger(__name__)


# --- the machine --------------------------------------------------------------------------------------------

def cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the CPUs this process may use: its affinity, or less where a container's quota says so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # cgroup 2, then 1
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        if quota not in ("max", "-1"):
            return max(1, min(allowed, -(-int(quota) // int(period))))
    return allowed


# --- node names -----------------------------------------------------------------------------------------------

def host_name() -> str:
    """Return the name of this host."""
    return socket.gethostname()


def split_node(name: str) -> tuple[str | None, str]:
    """Split ``"name@host"`` into both; without an ``@`` all of it is the host.

    >>> split_node("images@example.com")
    ('images', 'example.com')
    """
    first, at, host = name.partition("@")
    return (first, host) if at else (None, first)


def node_name(text: str | None = None, index: int | None = None) -> str:
    """Return the full name of the node that ``-n`` calls *text*; None is ``celery@`` and this host.

    >>> node_name("images@example.com")
    'images@example.com'
    """
    name, host = split_node(text or "")
    return expand_host(f"{name or DEFAULT_NODE}@{host or host_name()}", index=index)


def expand_host(text: str, host: str | None = None, name: str | None = None, index: int | None = None) -> str:
    """Fill in %h (host name), %d (its domain), %n (*name*, or the host's first part), %i, %I and %%.

    *index* numbers the pool's children from 1: %i is it or 0, %I is it with a dash before or nothing, so that a
    log file "%n%I.log" is one for each process. Raises ConfigError for another sign after %.
    """
    host = host or host_name()
    first, _, domain = host.partition(".")
    return _expand(text, {"h": host, "n": name or first, "d": domain, **_index_fields(index)})


def expand_node(text: str | os.PathLike[str], node: str, index: int | None = None) -> str:
    """Fill in *text* as ``expand_host`` does, from the node name *node*: %n its name, %h its host, %p all of it.

    >>> expand_node("/var/log/%n%I.log", "images@example.com", index=2)
    '/var/log/images-2.log'
    """
    name, host = split_node(node)
    host = host or host_name()
    fields = {"h": host, "n": name or DEFAULT_NODE, "d": host.partition(".")[2], "p": node}
    return _expand(text, {**fields, **_index_fields(index)})


def _index_fields(index: int | None) -> dict[str, str]:
    return {"i": str(index or 0), "I": f"-{index}" if index else ""}


def _expand(text: str | os.PathLike[str], fields: dict[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        if match[1] not in {**fields, "%": "%"}:
            raise ConfigError(f"{text!r}: there is no %{match[1]}, only %{', %'.join(sorted(fields))} and %%")
        return fields.get(match[1], "%")

    return re.sub(r"%(.)", fill, os.fspath(text))


# --- signals --------------------------------------------------------------------------------------------------

def signal_number(name: str | int) -> signal.Signals:
    """Return the signal called *name*: ``"TERM"``, ``"SIGTERM"`` or 15. Raises ConfigError.

    >>> signal_number("term")
    <Signals.SIGTERM: 15>
    """
    try:
        if isinstance(name, int) or name.isdigit():
            return signal.Signals(int(name))
        return signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except (KeyError, ValueError):
        known = ", ".join(sorted(each.name[3:] for each in signal.Signals))
        raise ConfigError(f"no signal is called {name!r}; there are {known}") from None


def signal_name(number: int) -> str:
    """Return the name of signal *number* without ``SIG``, or the number itself if it has none."""
    try:
        return signal.Signals(number).name[3:]
    except ValueError:
        return str(number)


# --- user, umask, title ---------------------------------------------------------------------------------------

def set_umask(umask: int | str | None) -> None:
    """Set the umask, a number or octal text such as ``"022"``; None leaves it. Raises ConfigError."""
    if umask is None:
        return
    try:
        os.umask(int(umask, 8) if isinstance(umask, str) else umask)
    except ValueError:
        raise ConfigError(f"{umask!r} is no umask; wanted octal digits such as '022'") from None


def user_id(user: int | str) -> int:
    """Return the number of *user*, given as such or by name. Raises ConfigError."""
    try:
        return int(user) if str(user).isdigit() else pwd.getpwnam(str(user)).pw_uid
    except KeyError:
        raise ConfigError(f"there is no user {user!r}") from None


def group_id(group: int | str) -> int:
    """Return the number of *group*, given as such or by name. Raises ConfigError."""
    try:
        return int(group) if str(group).isdigit() else grp.getgrnam(str(group)).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {group!r}") from None


def drop_privileges(uid: int | str | None = None, gid: int | str | None = None) -> None:
    """Become user *uid* and group *gid* for good, with the user's groups; without *gid* the user's own group.

    Raises ConfigError for one that does not exist or may not be taken, SecurityError if there is a way back.
    """
    if uid is None and gid is None:
        return
    user = user_id(uid) if uid is not None else None
    group = group_id(gid) if gid is not None else _group_of(user)
    if user in (None, os.geteuid()) and group in (None, os.getegid()):
        return
    try:
        if group is not None:
            os.setgid(group)
        if user is not None:
            os.setgroups(_groups_of(user, group))
            os.setuid(user)
    except PermissionError:
        raise ConfigError(f"only root may become user {uid} and group {gid}; this is user {os.geteuid()}") from None
    if user:
        try:
            os.setuid(0)
        except PermissionError:
            return
        raise SecurityError(f"user {uid} can become root again")


def is_root_for_pickle(accept: Iterable[str] | None) -> bool:
    """Whether this is root, nobody insists (``C_FORCE_ROOT``), and pickled messages are among what is accepted."""
    return (os.geteuid() == 0 and not os.environ.get("C_FORCE_ROOT")
            and not PICKLES.isdisjoint(each.lower() for each in accept or ()))


def _group_of(user: int | None) -> int | None:
    try:
        return pwd.getpwuid(user).pw_gid if user is not None else None
    except KeyError:
        return None


def _groups_of(user: int, group: int | None) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(user).pw_name, os.getegid() if group is None else group)
    except KeyError:  # a number without an account, as in a container
        return [] if group is None else [group]


def set_title(text: str) -> None:
    """Show *text* in ``ps``: all of it with the package setproctitle, else its first 15 bytes on Linux."""
    try:
        from setproctitle import setproctitle  # noqa: PLC0415  not installed everywhere
    except ImportError:
        comm = Path("/proc/self/comm")
        if comm.exists():
            comm.write_bytes(text.encode()[:15])
    else:
        setproctitle(text)


# --- the daemon -----------------------------------------------------------------------------------------------

READY = b"\0"
_HANDED_OVER = "FASTQ_DAEMON_FD"


class Daemon:
    """A process that has left its terminal, towards the one that started it and waits to hear how it went."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def handed_over(cls) -> Daemon | None:
        """Return the daemon that this process was before `go_on_in`; None if it was none."""
        fd = os.environ.pop(_HANDED_OVER, None)
        return None if fd is None else cls(int(fd))

    def go_on_in(self, executable: str | os.PathLike[str], workdir: str) -> NoReturn:
        """Run this program anew in the Python *executable*, from *workdir*: the same process, and still this daemon.

        Raises ConfigError for what cannot be run.
        """
        os.set_inheritable(self._fd, True)
        os.environ[_HANDED_OVER] = str(self._fd)
        try:
            os.chdir(workdir)
            os.execv(executable, [os.fspath(executable), *sys.orig_argv[1:]])
        except OSError as error:
            raise ConfigError(f"cannot go on in {os.fspath(executable)!r}: {error.strerror}") from None

    def ready(self) -> None:
        """Let the starting process exit with status 0."""
        self._say(READY)

    def failed(self, reason: str) -> None:
        """Let the starting process exit with status 1, and *reason* on its standard error."""
        self._say(reason.encode())

    def _say(self, text: bytes) -> None:
        if self._fd < 0:
            return
        try:
            os.write(self._fd, text)
        except BrokenPipeError:
            logger.warning("the process that started this daemon is gone: %s", text.decode())
        os.close(self._fd)
        self._fd = -1


def daemonize(workdir: str = "/", umask: int | str | None = None, wait_s: float = 60.0) -> Daemon:
    """Go on in a new process of its own session, in *workdir*, with its standard streams on /dev/null.

    In the process that called, this raises SystemExit: with 0 when the daemon has said ``ready()``, with a
    message when it said ``failed(reason)``, died, or said nothing for *wait_s* seconds. Call it before any
    thread is started, file locked or connection opened.
    """
    reader, writer = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # else both processes would write what is still buffered
            stream.flush()
    child = os.fork()
    if child:
        os.close(writer)
        os.waitpid(child, 0)
        raise SystemExit(_verdict(reader, wait_s))
    daemon = Daemon(writer)
    try:
        os.close(reader)
        os.setsid()
        if os.fork():
            os._exit(0)  # so that the daemon leads no session, and can get no terminal again
        os.chdir(workdir)
        set_umask(umask)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        if null > 2:
            os.close(null)
    except (OSError, ConfigError) as exc:
        daemon.failed(str(exc))
        os._exit(1)
    return daemon


def _verdict(reader: int, wait_s: float) -> int | str:
    deadline = time.monotonic() + wait_s
    said = b""
    try:
        while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
            part = os.read(reader, 4096)
            said += part
            if not part or said == READY:
                break
        else:
            return f"the daemon has not said in {wait_s:g} s whether it is up; see its log file"
    finally:
        os.close(reader)
    if said == READY:
        return 0
    return said.decode("utf-8", "replace") or "the daemon died before it was up; see its log file"
