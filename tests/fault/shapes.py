"""The workflows of the fault rounds: how each is written, and what it ends with.

Each task has a name, and returns it with all that came to it: ``end(m0(),m1())``. So the value of a workflow tells
whether each of its tasks has run, and got what it should.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from fastq.canvas import chain, chord, group

Make = Callable[[str], Any]
"""Makes the signature of a task by its name."""


class Shape(NamedTuple):
    """One kind of workflow; *write* gets what makes a task, and what makes one that becomes something else."""

    name: str
    write: Callable[[Make, Make], Any]
    value: str
    replaced: tuple[str, ...] = ()
    """Tasks that became others, and are not in the value."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of all its tasks; the last is the one that it ends with."""
        return *self.replaced, *dict.fromkeys(reversed(re.findall(r"\w+", self.value)))


SHAPES = (
    Shape("chain", lambda t, b: chain(t("a"), t("b"), t("c")), "c(b(a()))"),
    Shape("chord", lambda t, b: chord([t("m0"), t("m1"), t("m2")], t("end")), "end(m0(),m1(),m2())"),
    Shape("chord of one", lambda t, b: chord([t("m0")], t("end")), "end(m0())"),
    Shape("chord | task", lambda t, b: chord([t("m0"), t("m1")], t("body")) | t("end"), "end(body(m0(),m1()))"),
    Shape("chord in a chord", lambda t, b: chord([chord([t("m0"), t("m1")], t("inner")), t("m2")], t("end")),
          "end(inner(m0(),m1()),m2())"),
    Shape("chain | group | task", lambda t, b: t("a") | t("b") | group(t("m0"), t("m1")) | t("end"),
          "end(m0(b(a())),m1(b(a())))"),
    Shape("chain as a member", lambda t, b: chord([t("a") | t("m0"), t("m1")], t("end")), "end(m0(a()),m1())"),
    Shape("chord in a body", lambda t, b: chord([t("m0"), t("m1")], t("a") | chord([t("m2"), t("m3")], t("end"))),
          "end(m2(a(m0(),m1())),m3(a(m0(),m1())))"),
    Shape("became a chord", lambda t, b: b("chord") | t("end"), "end(inner(n0(),n1()))", ("chord",)),
    Shape("member that became a chain", lambda t, b: chord([b("chain"), t("m1")], t("end")), "end(n1(n0()),m1())",
          ("chain",)),
)


def shape_of(number: int) -> Shape:
    """Return the shape of workflow *number*."""
    return SHAPES[number % len(SHAPES)]


def replacement(name: str, make: Make) -> Any:
    """Return what the task *name* becomes."""
    return {"chord": lambda: chord([make("n0"), make("n1")], make("inner")),
            "chain": lambda: chain(make("n0"), make("n1"))}[name]()


def text_of(values: Any) -> str:
    """Return what came to a task, as it stands in its own value."""
    return values if isinstance(values, str) else ",".join(map(text_of, values))
