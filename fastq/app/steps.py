"""The steps that an app adds to its workers: which they are, and in which order; see fastq/bootsteps.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from fastq.bootsteps import Step
from fastq.exceptions import ConfigError


class StepSet:
    """The classes of steps of an app, in the order in which they were added; used as a set.

    Example:
        >>> steps = StepSet()
        >>> steps.add(Step)
        >>> Step in steps, len(steps)
        (True, 1)
    """

    def __init__(self) -> None:
        self._steps: dict[type[Step], None] = {}

    def add(self, step: type[Step]) -> None:
        """Have workers use *step*."""
        self._steps[step] = None

    def discard(self, step: type[Step]) -> None:
        """Have workers not use it."""
        self._steps.pop(step, None)

    def update(self, *many: Iterable[type[Step]]) -> None:
        """Add all of these."""
        for steps in many:
            self._steps.update(dict.fromkeys(steps))

    def __contains__(self, step: object) -> bool:
        return step in self._steps

    def __iter__(self) -> Iterator[type[Step]]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def in_order(self) -> list[type[Step]]:
        """The steps, each behind those it requires, and those that say `last` at the end. Raises ConfigError."""
        named = {f"{step.__module__}:{step.__qualname__}": step for step in self}
        firsts = {step: [named.get(each, each) for each in getattr(step, "requires", ())] for step in self}
        try:
            found = TopologicalSorter({step: [each for each in before if each in self._steps]
                                       for step, before in firsts.items()}).static_order()
            return sorted(found, key=lambda step: bool(getattr(step, "last", False)))
        except CycleError as error:
            names = " -> ".join(step.__qualname__ for step in error.args[1])
            raise ConfigError(f"these steps require each other: {names}") from None
