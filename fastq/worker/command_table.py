"""The table of the commands of remote control, which the modules that have them fill."""

from __future__ import annotations

from collections.abc import Callable

NO_ANSWER = object()
Command = Callable[..., object]
COMMANDS: dict[str, Command] = {}


def command(*names: str) -> Callable[[Command], Command]:
    """Enter the decorated function under its own name and *names*."""
    def enter(function: Command) -> Command:
        COMMANDS.update(dict.fromkeys((function.__name__, *names), function))
        return function
    return enter
