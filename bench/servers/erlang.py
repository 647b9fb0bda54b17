"""Orders to a running Erlang system, over the pipes of its own shell: an answer takes a millisecond.

The command line tools of such a system start another one for each order, which costs a second of CPU.
"""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from itertools import count

from fastq.bench.servers import ServerFailed

TEACH = r"""
Ask = fun(Id, Text) ->
    Answer = try
        {ok, Tokens, _} = erl_scan:string(Text),
        {ok, Terms} = erl_parse:parse_exprs(Tokens),
        {value, Value, _} = erl_eval:exprs(Terms, []),
        {ok, Value}
    catch Class:Why -> {error, {Class, Why}}
    end,
    io:format("~n~s ~0tp~n", [Id, Answer])
end.
"""
"""Said once: an order that does not parse, or fails, is then answered like any other."""


class Shell:
    """The Erlang shell on the standard input and output of *process*; safe among threads."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._said = b""
        self._numbers = count(1)
        self._turn = threading.Lock()
        self._write(TEACH)

    def ask(self, expression: str, deadline_s: float = 30.0) -> str:
        """Evaluate *expression* and return its value as Erlang writes it.

        Raises ServerFailed when it fails, and when nothing is answered in time. Example::

            shell.ask("erlang:system_info(schedulers)")     # "2"
        """
        with self._turn:
            name = f"answer-{next(self._numbers)}"
            self._write(f'Ask("{name}", {string(expression + ".")}).\n')
            answer = self._read(f"\n{name} ".encode(), time.monotonic() + deadline_s, expression)
        if not answer.startswith("{ok,"):
            raise ServerFailed(f"{expression}: {answer}")
        return answer[4:-1]

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()
        except OSError as error:
            raise ServerFailed(f"the server takes no orders: {error}") from error

    def _read(self, prefix: bytes, deadline: float, expression: str) -> str:
        assert self._process.stdout is not None
        out = self._process.stdout.fileno()
        while True:
            _, found, rest = self._said.partition(prefix)
            line, ended, rest = rest.partition(b"\n")
            if found and ended:
                self._said = rest
                return line.decode(errors="replace")
            if not select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ServerFailed(f"no answer to {expression}")
            if not (data := os.read(out, 65536)):
                raise ServerFailed(f"the server ended instead of answering {expression}")
            self._said += data


def string(text: str) -> str:
    """Return *text* as a literal of Erlang: a list of characters, written in ASCII."""
    escaped = (char if " " <= char <= "~" and char not in '\\"' else f"\\x{{{ord(char):x}}}" for char in text)
    return f'"{"".join(escaped)}"'
