"""Sockets to a server: connected within one deadline, with TLS when asked for, and then non-blocking.

What is set on each, and why: TCP_NODELAY, since a frame must not wait for the answer to the one before; keepalive and
TCP_USER_TIMEOUT, so that a peer that vanished without a word is noticed within half a minute although nobody writes.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from contextlib import suppress
from typing import NamedTuple

from fastq.exceptions import TransportError
from fastq.net import tls
from fastq.net.lookup import SlowName, addresses_of
from fastq.net.meanwhile import STEP_S, duty, relieve
from fastq.net.tls import Tls, TlsOption

USER_TIMEOUT_MS = 30_000
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}

READ, WRITE = 1, 4
"""What `wait` waits for; the values of POLLIN and POLLOUT on every system that has poll."""
UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS)})
WANTED = {"SSLWantReadError": READ, "SSLWantWriteError": WRITE}
"""What a TLS session that is being opened waits for, by the name of its error: ssl is loaded for TLS only."""


class Endpoint(NamedTuple):
    """Where a server listens, and what errors say of it: *product* is its name, *failed* the class to raise.

    With a *path* it is a unix socket, and host and port mean nothing.
    """

    product: str
    where: str
    failed: type[TransportError]
    host: str = ""
    port: int = 0
    path: str = ""
    ssl: TlsOption = None
    tls_hint: str = ""


def connect(target: Endpoint, deadline: float) -> socket.socket:
    """Connect to *target* until *deadline* (of the monotonic clock); the socket returned is non-blocking.

    Raises ``target.failed``, which names host, port, reason and what to look at; ConfigError for unusable TLS options.
    """
    how = tls.build(target.ssl, target.host) if target.ssl else None  # a wrong option shows before any network
    started = time.monotonic()
    try:
        found = _connect_path(target.path, deadline) if target.path else _connect_any(target, deadline)
    except OSError as error:
        raise unreachable(target, error, time.monotonic() - started) from error
    try:
        if not target.path:
            _tune(found)
        found.setblocking(False)
        if how is not None:
            found = _wrap(found, how, deadline)
    except OSError as error:
        found.close()
        if target.ssl and isinstance(error, TimeoutError):  # it listens, so the reason is not the way to it
            error = TimeoutError(f"no answer in {time.monotonic() - started:.1f} s to the greeting of TLS")
        raise unreachable(target, error, time.monotonic() - started) from error
    except BaseException:
        found.close()
        raise
    return found


def wait(sock: socket.socket, events: int, timeout_s: float | None) -> int:
    """Wait until *sock* has bytes (READ) or room (WRITE); returns which of them, 0 when *timeout_s* has passed.

    A thread that has a duty `meanwhile` does it every 50 ms, and raises what it raises.
    """
    of_loop = duty.get() if timeout_s is None or timeout_s > STEP_S else None
    if of_loop is None:
        return _wait(sock, events, timeout_s)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left = STEP_S if deadline is None else deadline - time.monotonic()
        if (found := _wait(sock, events, min(STEP_S, max(0.0, left)))) or left <= 0:
            return found
        relieve(of_loop, sock)


def _wait(sock: socket.socket, events: int, timeout_s: float | None) -> int:
    if not hasattr(select, "poll"):  # Windows
        ready, writable, broken = select.select(
            [sock] if events & READ else [], [sock] if events & WRITE else [], [sock], timeout_s)
        return (READ if ready or broken else 0) | (WRITE if writable else 0)
    poller = select.poll()
    poller.register(sock, events)
    # Rounded up: a wait of half a millisecond that is cut to none would spin.
    found = poller.poll(None if timeout_s is None else max(0, -int(-timeout_s * 1000 // 1)))
    if not found:
        return 0
    # An error or a hang-up is told by the next read or write, whichever was to come.
    return (found[0][1] & (READ | WRITE)) or events


def wait_in_kernel(sock: socket.socket, timeout_s: float) -> bool:
    """Let reads of *sock* wait in the kernel, at most *timeout_s*: one system call where `wait` and a read are three.

    Reads and writes that must not wait need MSG_DONTWAIT from now on. False where that is not to be had: with TLS, on
    Windows, and with the sockets of gevent and eventlet, which wait in a loop of their own.
    """
    if type(sock).__module__ != "socket" or not hasattr(socket, "MSG_DONTWAIT"):
        return False
    seconds, part = divmod(max(timeout_s, 0.001), 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), int(part * 1e6)))
    except OSError:
        return False
    sock.setblocking(True)
    return True


def unreachable(target: Endpoint, error: OSError, waited_s: float) -> TransportError:
    """Return what to raise when the attempt to connect ended in *error*."""
    reason, hint = _explain_path(error) if target.path else _explain(error, target, waited_s)
    return target.failed(f"cannot reach {target.product} at {target.where}: {reason}; {hint}")


def _connect_path(path: str, deadline: float) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(_remaining(deadline))
        made.connect(path)
    except BaseException:
        made.close()
        raise
    return made


def _connect_any(target: Endpoint, deadline: float) -> socket.socket:
    """Try each address of the host. One that never answers leaves its share of the time to those after it."""
    addresses = addresses_of(target.host, target.port, deadline)
    last: OSError | None = None
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        made = socket.socket(family, kind, protocol)
        try:
            _connect_to(made, address, _remaining(deadline) / (len(addresses) - number))
        except OSError as error:
            made.close()
            # Refused tells more than no route: the latter is often only the other IP version.
            last = error if last is None or not isinstance(last, ConnectionRefusedError) else last
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise last or OSError("the name has no address")


def _connect_to(made: socket.socket, address: object, timeout_s: float) -> None:
    made.setblocking(False)
    number = made.connect_ex(address)  # type: ignore[arg-type]
    if number in UNDER_WAY:
        if not wait(made, WRITE, timeout_s):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def _wrap(connected: socket.socket, how: Tls, deadline: float) -> socket.socket:
    """Open a TLS session. Raises TimeoutError, and what ssl raises; *connected* is closed then."""
    wrapped = how.context.wrap_socket(connected, server_hostname=how.server_hostname, do_handshake_on_connect=False)
    try:
        while True:
            try:
                wrapped.do_handshake()
                return wrapped
            except OSError as error:
                wanted = WANTED.get(type(error).__name__)
                if wanted is None:
                    raise
            if not wait(wrapped, wanted, _remaining(deadline)):
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    except BaseException:
        wrapped.close()
        raise


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in {**KEEPALIVE, "TCP_USER_TIMEOUT": USER_TIMEOUT_MS}.items():
        if hasattr(socket, name):
            with suppress(OSError):  # known to Python, not to this kernel: slower to notice, no reason to fail
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _remaining(deadline: float) -> float:
    """Seconds left, never 0, which would mean non-blocking."""
    return max(0.001, deadline - time.monotonic())


def _explain(error: OSError, target: Endpoint, waited_s: float) -> tuple[str, str]:
    """The reason in words, and what to look at."""
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved ({error.strerror})", "check the host name in the broker address"
    if isinstance(error, SlowName):
        return f"the name {target.host!r} was not resolved in {waited_s:.1f} s", \
            "check the name servers that this machine asks, or give the address in numbers"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused", "is the server running, and is this its port?"
    if isinstance(error, TimeoutError) and "TLS" in str(error):
        return str(error), f"does the port speak TLS? {target.tls_hint}"
    if isinstance(error, TimeoutError):
        return f"no answer in {waited_s:.1f} s", "check address and firewall; a longer connect timeout waits longer"
    if reason := getattr(error, "verify_message", ""):
        return f"its certificate is not accepted ({reason})", "set ca_certs to the authority that signed it, or " \
            "server_hostname to a name that it bears"
    if "WRONG_VERSION_NUMBER" in str(error) or (target.ssl and isinstance(error, (ConnectionResetError, EOFError))):
        return "the port does not speak TLS", target.tls_hint
    if target.ssl and type(error).__module__ == "ssl":
        return f"no TLS session ({error.strerror or error})", "check certificate, key and protocol on both sides"
    return error.strerror or str(error), "check host, port and network"


def _explain_path(error: OSError) -> tuple[str, str]:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there", "is the server running?"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket", "is the server running, and is this its unixsocket?"
    if isinstance(error, PermissionError):
        return "permission denied", "the server's unixsocketperm says who may connect"
    return error.strerror or str(error), "check the path of the socket"
