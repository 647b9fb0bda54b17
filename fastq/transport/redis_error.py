"""What a server of Redis answers when it does not do what it was asked, as our errors; one table."""

from __future__ import annotations

import re
from typing import NamedTuple

from fastq.exceptions import BrokerFull, BrokerRefused, ConnectionLost, FastqError, TransportError

__all__ = ("Moved", "ReadOnly", "ScriptGone", "Unready", "error_of")


class ScriptGone(TransportError):
    """The server does not know the script, after a restart or SCRIPT FLUSH: load it again and repeat the call."""


class Unready(TransportError):
    """The server cannot do it right now, such as while it loads its data; trying again in a moment helps."""


class ReadOnly(ConnectionLost):
    """The server became a replica: the connection leads to the wrong one, and the master is to be found anew."""


class Moved(ConnectionLost):
    """Another node of the cluster has the key: the connection leads to the wrong one."""


class _Meaning(NamedTuple):
    kind: type[FastqError]
    fix: str = ""


_PERMISSION = "ACL SETUSER on the server gives a user its commands, keys (~*) and channels (&*)"
_MEANINGS = {
    "NOAUTH": _Meaning(BrokerRefused, "write the password into the address: redis://:password@host:port/db"),
    "WRONGPASS": _Meaning(BrokerRefused, "check user and password in the address"),
    "NOPERM": _Meaning(BrokerRefused, _PERMISSION),
    "DENIED": _Meaning(BrokerRefused, "set a password on the server, or protected-mode no"),
    "OOM": _Meaning(BrokerFull, "the server's memory is full: raise maxmemory, or let the workers catch up"),
    "NOSCRIPT": _Meaning(ScriptGone),
    "READONLY": _Meaning(ReadOnly),
    "LOADING": _Meaning(Unready, "it loads its data; that ends by itself"),
    "MASTERDOWN": _Meaning(Unready, "it is a replica without its master"),
    "BUSY": _Meaning(Unready, "a script runs there for long; SCRIPT KILL ends it"),
    "CLUSTERDOWN": _Meaning(Unready, "its cluster is not whole"),
    "TRYAGAIN": _Meaning(Unready, "keys are on their way to another node of the cluster"),
    "ASK": _Meaning(Unready, "keys are on their way to another node of the cluster"),
    "MOVED": _Meaning(Moved),
    "MISCONF": _Meaning(Unready, "it cannot save to its disk; its log says why"),
    "NOREPLICAS": _Meaning(Unready, "it has fewer replicas than min-replicas-to-write"),
}
_PLAIN = (
    ("ERR DB index is out of range", _Meaning(BrokerRefused, "the server's setting 'databases' says how many it has")),
    ("ERR max number of clients", _Meaning(Unready, "raise maxclients on the server")),
    ("ERR invalid password", _Meaning(BrokerRefused, "check the password in the address")),
    ("ERR unknown command 'HELLO'", _Meaning(BrokerRefused, "fastq needs Redis 6.2 or newer, or Valkey")),
    ("ERR string exceeds maximum allowed size", _Meaning(BrokerRefused, "proto-max-bulk-len is the server's limit")),
    ("ERR Protocol error: invalid bulk length", _Meaning(BrokerRefused, "proto-max-bulk-len is the server's limit")),
    ("The user executing the script can't", _Meaning(BrokerRefused, _PERMISSION)),          # Redis 6.2
    ("ERR The user executing the script can't", _Meaning(BrokerRefused, _PERMISSION)),      # Redis 7.0
    ("ERR ACL failure in script", _Meaning(BrokerRefused, _PERMISSION)),                    # Redis 7.2, Valkey
)
"""Answers that have no code of their own, by how they begin."""
_OF_SCRIPT = re.compile(r"ERR Error running script \([^)]*\): @\w+: ?\d+: (?:@\w+: ?\d+: )?-?(.*)", re.DOTALL)
"""How Redis 6.2 wraps what a command in a script failed with; since 7.0 its code comes first there too."""


def _bare(text: str) -> str:
    """What is wrong, whether a command or a script met it."""
    wrapped = _OF_SCRIPT.match(text)
    return wrapped[1] if wrapped else text


def error_of(reply: Exception, where: str) -> FastqError:
    """Return what to raise for an error *reply* of the server at *where*; only `ReadOnly`
    and `Moved` spoil the connection."""
    text = _bare(str(reply)).rstrip()
    code = text.split(" ", 1)[0]
    if code == "NOAUTH":
        text = "NOAUTH Authentication required"     # of a HELLO without a password it says how to say HELLO
    meaning = _MEANINGS.get(code)
    if meaning is None:
        plain = text.replace("`", "'")
        meaning = next((found for start, found in _PLAIN if plain.startswith(start)), _Meaning(TransportError))
    return meaning.kind(f"Redis at {where}: {text}" + (f"; {meaning.fix}" if meaning.fix else ""))
