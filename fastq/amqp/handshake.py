"""The opening of a connection, from the protocol header to connection.open-ok (AMQP 0-9-1, 2.2.4).

    we                          broker
    AMQP 0 0 9 1           ->
                           <-   start (properties, mechanisms)
    start-ok (credentials) ->
                           <-   tune (channel_max, frame_max, heartbeat), or close 403
    tune-ok, open (vhost)  ->
                           <-   open-ok, or close 530
"""

from __future__ import annotations

import math
import platform
import struct
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from fastq._ext import amqp
from fastq._ext.amqp import METHODS
from fastq.amqp.error import ConnectionClosed, ConnectionError, ConnectionFailed, ConnectionRefused, LinkLost
from fastq.exceptions import ConfigError

if TYPE_CHECKING:
    from fastq._ext.amqp import Event
    from fastq.amqp.link import Link
    from fastq.amqp.target import Target

START, TUNE, OPEN_OK = (METHODS[f"connection.{name}"] for name in ("start", "tune", "open-ok"))

CAPABILITIES = ("authentication_failure_close", "basic.nack", "connection.blocked", "consumer_cancel_notify",
                "exchange_exchange_bindings", "publisher_confirms")
"""What this client knows; of it, what the broker offers is announced."""

MECHANISMS = ("PLAIN", "AMQPLAIN", "EXTERNAL")
REFUSALS = (403, 530)
"""Replies that mean: not with this user, password or virtual host."""


class Wishes(NamedTuple):
    """What this side would like; the broker may lower it."""

    channel_max: int
    frame_max: int
    heartbeat_s: float
    login_method: str
    properties: Mapping[str, Any]


def shake(link: Link, target: Target, wishes: Wishes, deadline: float) -> None:
    """Take *link* through the opening until *deadline*. Raises ConnectionFailed, ConnectionRefused, ConfigError."""
    if wishes.login_method.upper() not in MECHANISMS:
        raise ConfigError(f"login method {wishes.login_method!r} is not known; known: {', '.join(MECHANISMS)}")
    at = "protocol header"
    try:
        _send(link, amqp.PROTOCOL_HEADER, deadline)
        start = _await(link, START, deadline)
        at = "login"
        _send(link, _start_ok(start, target, wishes, link), deadline)
        tune = _await(link, TUNE, deadline)
        at = "virtual host"
        _send(link, _tune_ok(tune, wishes, link) + amqp.method(0, METHODS["connection.open"], target.vhost), deadline)
        _await(link, OPEN_OK, deadline)
    except ConnectionClosed as error:
        raise _refusal(error, target) from error
    except LinkLost as error:
        raise _failure(error, target, link, at, deadline) from error


def _send(link: Link, data: bytes, deadline: float) -> None:
    usual, link.send_timeout_s = link.send_timeout_s, max(0.001, deadline - time.monotonic())
    link.send(data)
    link.send_timeout_s = usual


def _await(link: Link, method: int, deadline: float) -> Event:
    return link.wait(0, frozenset({method}), max(0.001, deadline - time.monotonic()), "no answer")


def _start_ok(start: Event, target: Target, wishes: Wishes, link: Link) -> bytes:
    _, _, properties, mechanisms, _ = start[2]
    link.server_properties = properties
    mechanism = wishes.login_method.upper()
    if mechanism not in str(mechanisms).split():
        raise ConnectionRefused(f"RabbitMQ at {target.where} offers no login by {mechanism}, but by {mechanisms}")
    offered = properties.get("capabilities") or {}
    ours = {
        "product": "fastq",
        # The package around this one is always loaded; its version is told, nothing of it is used.
        "product_version": sys.modules["fastq"].__version__,
        "platform": f"{platform.python_implementation()} {platform.python_version()}",
        "capabilities": {name: True for name in CAPABILITIES if offered.get(name)},
        **wishes.properties,
    }
    return amqp.method(0, METHODS["connection.start-ok"], ours, mechanism, _response(mechanism, target), "en_US")


def _response(mechanism: str, target: Target) -> bytes:
    """The credentials, as each mechanism writes them."""
    user, password = target.user.encode(), target.password.encode()
    if mechanism == "PLAIN":
        return b"\0" + user + b"\0" + password
    if mechanism == "AMQPLAIN":  # a table without the length before it
        return b"".join(struct.pack(">B", len(key)) + key + b"S" + struct.pack(">I", len(value)) + value
                        for key, value in ((b"LOGIN", user), (b"PASSWORD", password)))
    return b""  # EXTERNAL: the certificate says who it is


def _tune_ok(tune: Event, wishes: Wishes, link: Link) -> bytes:
    """Agree on limits, where 0 means none, and on heartbeats, of which there are none unless this side asks."""
    channel_max, frame_max, heartbeat = tune[2]
    wish_s = math.ceil(wishes.heartbeat_s)
    agreed_s = (min(wish_s, heartbeat) or wish_s) if wish_s else 0
    link.channel_max = _lower(wishes.channel_max, channel_max) or 0xffff
    link.frame_max = link.decoder.frame_max = max(4096, _lower(wishes.frame_max, frame_max) or 131072)
    link.heartbeat_s = float(agreed_s)
    return amqp.method(0, METHODS["connection.tune-ok"], link.channel_max, link.frame_max, agreed_s)


def _lower(one: int, other: int) -> int:
    return min(one, other) or max(one, other)


def _refusal(error: ConnectionClosed, target: Target) -> ConnectionError:
    """The broker's no. A limit that is reached, or a virtual host that starts, passes; credentials do not mend."""
    text = error.reply_text
    passes = any(word in text for word in ("limit", "is down", "starting"))
    if error.reply_code not in REFUSALS or passes:
        return ConnectionFailed(f"RabbitMQ at {target.where} takes no connection: {text} ({error.reply_code})",
                                error.reply_code, text)
    hint = "check user and password" if error.reply_code == 403 and "vhost" not in text \
        else f"check the virtual host {target.vhost!r} and this user's permissions there"
    return ConnectionRefused(f"RabbitMQ at {target.where} refused user {target.user!r}: {text} ({error.reply_code});"
                             f" {hint}", error.reply_code, text)


def _failure(error: LinkLost, target: Target, link: Link, at: str, deadline: float) -> ConnectionError:
    """The opening broke off: say in which step, and what that usually means."""
    capabilities = link.server_properties.get("capabilities") or {}
    if at == "login" and not capabilities.get("authentication_failure_close") and time.monotonic() < deadline:
        return ConnectionRefused(f"RabbitMQ at {target.where} closed the connection at the login of user "
                                 f"{target.user!r}, which is how it refuses a password; check both", 403)
    hint = "is this its AMQP port, and does it expect TLS (amqps://)?" if at == "protocol header" \
        else "the broker's log may tell more"
    reason = str(error).partition(f"{target.where}: ")[2]
    return ConnectionFailed(f"cannot reach RabbitMQ at {target.where}: {reason} (at the {at}); {hint}")
