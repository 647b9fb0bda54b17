"""Stamps: what a visitor comes by, and what wins when two say something."""

from __future__ import annotations

from typing import Any

import pytest

from fastq import chain, chord, group
from fastq.canvas import StampingVisitor
from tests.unit.canvas.conftest import Sent


class Diary(StampingVisitor):
    """Notes what it is shown, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        self.seen.append(sig.task.rpartition(".")[2])
        return {"by": "visitor"}

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        self.seen.append("group(")
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:
        self.seen.append(")")

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        self.seen.append("chain(")
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:
        self.seen.append(")")

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        self.seen.append("body")
        return {}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        self.seen.append("callback")
        return {}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        self.seen.append("errback")
        return {}


def test_stamps_are_headers_of_the_message(add: Any, sent: Sent):
    sig = add.s(1, 1)
    assert sig.stamp(trace="x", level=3) is sig
    sig.apply_async()
    (message,) = sent()
    assert sorted(message.headers["stamped_headers"]) == ["level", "trace"]
    assert message.headers["stamps"] == {"trace": "x", "level": 3}


def test_a_visitor_comes_by_every_part(add: Any, mul: Any, total: Any):
    diary = Diary()
    first = add.s(1, 1).set(link=[mul.s(2)], link_error=[mul.s(3)])
    chain(first, group(add.s(1), add.s(2)), total.s()).stamp(diary)
    assert " ".join(diary.seen) == (
        "chain( callback mul errback mul add group( add add ) body total )")
    diary = Diary()
    group(add.s(1, 1), add.s(2, 2) | mul.s(3)).stamp(diary)
    assert " ".join(diary.seen) == "group( add chain( add mul ) )"


def test_a_new_stamp_replaces_the_old_or_joins_it(add: Any):
    sig = add.s(1, 1)
    sig.stamp(trace="x")
    sig.stamp(trace="y")
    assert sig.options == {"stamped_headers": ["trace"], "trace": "y"}
    sig.stamp(append_stamps=True, trace="z")
    assert sig.options["trace"] == ["z", "y"]
    sig.stamp(trace=["w"])
    assert sig.options["trace"] == ["w", "z", "y"]


def test_only_what_stamped_headers_names_is_a_stamp(add: Any, sent: Sent):
    class Quiet(StampingVisitor):
        def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
            return {"trace": 1, "priority": 3, "stamped_headers": ["trace"]}

    add.s(1, 1).stamp(Quiet()).apply_async()
    (message,) = sent()
    assert (message.headers["stamps"], message.properties["priority"]) == ({"trace": 1}, 3)


def test_later_options_do_not_overwrite_a_stamp(add: Any, sent: Sent):
    sig = add.s(1, 1)
    sig.stamp(trace="x")
    sig.apply_async(trace="y", stamped_headers=["other"])
    assert sent()[0].headers["stamps"] == {"trace": "x"}


def test_the_body_of_a_chord_is_stamped_by_a_visitor(add: Any, total: Any):
    made = chord([add.s(1, 1)], total.s())
    made.stamp(Diary())
    assert made.body.options["by"] == "visitor" and made.header().tasks[0].options["by"] == "visitor"


def test_a_visitor_has_to_say_what_a_task_is_stamped_with():
    with pytest.raises(TypeError, match="on_signature"):
        StampingVisitor()  # type: ignore[abstract]
