"""The scripts that the server runs: their texts, and how they are called by digest.

A server forgets scripts when it restarts, and at SCRIPT FLUSH. It then answers NOSCRIPT and has done nothing: whoever
called loads the text and says the same again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any

from fastq.exceptions import TransportError
from fastq.transport.redis_error import ScriptGone
from fastq.transport.redis_link import Link, ReplyError, pack

Argument = bytes | str | int | float


class Script:
    """One script.

    Example::

        script = Script.named("keep")
        now, due, late, over = script.call(link, [lives, graves], [life, 30_000, 1, 0])
    """

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.digest = sha1(self.text, usedforsecurity=False).hexdigest()

    @property
    def lean(self) -> bytes:
        """The text without comments, for a command that brings it along: EVAL."""
        return b"\n".join(line for line in self.text.split(b"\n") if not line.startswith(b"--"))

    @classmethod
    @cache
    def named(cls, *names: str) -> Script:
        """The script made of the files *names* in ``lua/``, one behind the other."""
        folder = files("fastq.transport") / "lua"
        return cls("\n".join((folder / f"{name}.lua").read_text() for name in names))

    def words(self, keys: Sequence[bytes], arguments: Iterable[Argument]) -> list[Argument]:
        """The command that runs it, to be packed."""
        return ["EVALSHA", self.digest, len(keys), *keys, *arguments]

    def load(self, link: Link) -> None:
        """Have the server learn it. Raises TransportError."""
        link.call("SCRIPT", "LOAD", self.text)

    def call_all(self, link: Link, calls: Sequence[tuple[Sequence[bytes], Iterable[Argument]]]) -> list[Any]:
        """Run it for each of *calls*, keys and arguments, and return the replies: one round trip for all. Raises
        TransportError when one fails; the others are done.
        """
        if len(calls) == 1:
            return [self.call(link, *calls[0])]
        # With its text in front it need not be asked whether the server knows it.
        packed = [pack(("SCRIPT", "LOAD", self.text)), *(pack(tuple(self.words(*each))) for each in calls)]
        link.send(b"".join(packed))
        replies = [link.receive() for _ in packed]
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise link.error_of(reply)
        return replies[1:]

    def call(self, link: Link, keys: Sequence[bytes], arguments: Iterable[Argument]) -> Any:
        """Run it and return its reply, on a link with nothing outstanding. Raises TransportError."""
        words = self.words(keys, arguments)
        try:
            return link.call(*words)
        except ScriptGone:
            self.load(link)
        try:
            return link.call(*words)
        except ScriptGone as error:
            raise TransportError(f"{error}; it forgets its scripts as soon as they are loaded") from error
