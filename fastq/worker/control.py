"""Commands of remote control that a program adds, by Celery's decorators.

They run in the supervisor, between two turns of its loop: short ones only, for meanwhile no task is handed out.

Example:
    >>> @inspect_command()
    ... def disk_free(state):
    ...     '''Bytes that are free here.'''
    ...     return shutil.disk_usage("/").free
    >>> @control_command(args=[("level", str)], signature="LEVEL")
    ... def log_level(state, level):
    ...     logging.getLogger("proj").setLevel(level)
    ...     return {"ok": f"level is {level}"}

    $ fastq -A proj inspect disk_free
    $ fastq -A proj control log_level DEBUG
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from fastq.exceptions import ConfigError
from fastq.worker.commands import COMMANDS

__all__ = ("Panel", "control_command", "inspect_command")

F = TypeVar("F", bound=Callable[..., object])
BUILT_IN = frozenset(COMMANDS)


class Told(NamedTuple):
    """What the command line knows of a command."""

    alias: str | None
    type: str
    visible: bool
    default_timeout: float
    help: str
    signature: str | None
    args: Sequence[tuple[str, Callable[[Any], Any]]]
    variadic: str | None


class Panel:
    """All commands by name (``data``), and what the command line knows of those that were added (``meta``)."""

    data = COMMANDS
    meta: dict[str, Told] = {}  # noqa: RUF012  Celery's registry is one of all workers in a process

    @classmethod
    def register(cls, name: str | None = None, alias: str | None = None, type: str = "control",
                 visible: bool = True, default_timeout: float = 1.0, help: str | None = None,
                 signature: str | None = None, args: Sequence[tuple[str, Callable[[Any], Any]]] | None = None,
                 variadic: str | None = None) -> Callable[[F], F]:
        """Return a decorator that adds a command: a function of the worker (`fastq.worker.panel.Panel`) and keywords.

        *args* are (keyword, converter) of the words on the command line, *variadic* is the keyword that takes the rest
        of them as a list. *signature* and *help* are for `--help`. Raises ConfigError for a name that is taken.
        """
        def enter(function: F) -> F:
            own = name or function.__name__
            taken = BUILT_IN & {own, alias}
            if taken:
                raise ConfigError(f"{min(taken)!r} is a command of fastq's; give yours another name")
            told = Told(alias, type, visible, default_timeout, help or _first_line(function), signature, args or (),
                        variadic)
            for each in filter(None, (own, alias)):
                cls.data[each] = function
                cls.meta[each] = told
            return function
        return enter


def control_command(**options: Any) -> Callable[[F], F]:
    """Add a command that changes something: ``fastq control NAME``. Options: see `Panel.register`."""
    return Panel.register(type="control", **options)


def inspect_command(**options: Any) -> Callable[[F], F]:
    """Add a command that only tells: ``fastq inspect NAME``. Options: see `Panel.register`."""
    return Panel.register(type="inspect", **options)


def arguments_of(told: Told, words: Sequence[Any]) -> dict[str, Any]:
    """Return the keywords for *words* of the command line; those that are missing are the command's to default.

    Raises ValueError for a word that cannot be converted, or is one too many.
    """
    named = {name: convert(word) for (name, convert), word in zip(told.args, words, strict=False)}
    rest = list(words[len(told.args):])
    if told.variadic is not None:
        named[told.variadic] = rest
    elif rest:
        raise ValueError(f"{rest[0]!r} is one too many")
    return named


def _first_line(function: Callable[..., object]) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0]
