"""The opening of a connection to Redis, in one round trip.

    we                                              server
    HELLO <2|3> [AUTH user password] [SETNAME name]
    [SELECT db]                                 ->
                                                <-  version, id, role, ..., or an error
                                                <-  OK
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastq.exceptions import BrokerRefused, ConnectionLost, TransportError
from fastq.transport.redis_reply import ReplyError, pack
from fastq.transport.redis_target import Target

if TYPE_CHECKING:
    from fastq.transport.redis_link import Link

OLDEST = (6, 2)
_NO_REDIS = "it does not speak Redis; is this its port, and without TLS? (rediss:// means with)"


def shake(link: Link, target: Target, protocol: int, name: str, deadline: float) -> None:
    """Take *link* through the opening until *deadline*. Raises TransportError, BrokerRefused."""
    hello, *others = _greet(link, _greeting(target, protocol, name), deadline)
    for reply in (hello, *others):
        if isinstance(reply, ReplyError):
            raise link.error_of(reply)
    _note(link, hello)


def _greeting(target: Target, protocol: int, name: str) -> list[bytes]:
    hello: list[bytes | str | int] = ["HELLO", protocol]
    if target.username or target.password:
        hello += ["AUTH", target.username or "default", target.password]
    if name:
        # The server refuses spaces and the like.
        hello += ["SETNAME", "".join(letter if "!" <= letter <= "~" else "_" for letter in name)]
    commands = [pack(tuple(hello))]
    if target.db:
        commands.append(pack(("SELECT", target.db)))
    return commands


def _greet(link: Link, commands: list[bytes], deadline: float) -> list[object]:
    """Send the *commands*, and return their replies."""
    try:
        link.send(b"".join(commands))
        replies: list[object] = []
        for _ in commands:
            replies.append(link.receive(max(0.001, deadline - time.monotonic())))
            if isinstance(replies[0], ReplyError):
                break  # it may close the connection after that, or refuse the rest for the same reason
        return replies
    except ConnectionLost as error:
        # What was not built yet was not lost: a worker would take this for the end of what it holds.
        hint = _NO_REDIS if "no reply" in str(error) or "closed it" in str(error) or "reset" in str(error) else \
            "the server is stopped or overloaded, or this is not its port"
        reason = str(error).partition(": ")[2]
        raise TransportError(f"cannot reach Redis at {link.where}: {reason}; {hint}") from error


def _note(link: Link, hello: object) -> None:
    """Keep what the server said of itself, in either protocol."""
    told = hello if isinstance(hello, dict) else {}
    if isinstance(hello, list):
        told = dict(zip(hello[::2], hello[1::2], strict=False))
    numbers = (bytes(told.get(b"version") or b"")).decode("ascii", "replace").split(".")
    digits = [int(number) if number.isdecimal() else 0 for number in (*numbers, "0", "0")[:3]]
    link.version = (digits[0], digits[1], digits[2])
    link.client_id = int(told.get(b"id") or 0)
    link.role = bytes(told.get(b"role") or b"").decode("ascii", "replace")
    link.is_clustered = told.get(b"mode") == b"cluster"
    if link.version < OLDEST:
        raise BrokerRefused(f"Redis at {link.where} is {'.'.join(map(str, link.version))}; fastq needs 6.2 or newer")
