"""Runs whose delivery changes under them, and the queues that wait for their results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq._ext.envelope import pack
from fastq.worker.effects import pack_reason, pack_result
from tests.ext.ringkit import FAST_RESULT, PLAIN, STORES, Kit, message

LARGE = b"[[1, 2], {}, {}]" + b" " * 5000


def asked(reply_to: str, task_id: str = "id-1", body: bytes = b"[[1, 2], {}, {}]") -> bytes:
    """A message whose sender waits at the queue *reply_to*."""
    properties = {"content_type": "application/json", "content_encoding": "utf-8", "reply_to": reply_to}
    return pack(properties, {"task": "add", "id": task_id}, body)


@pytest.fixture
def kits(tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    made: list[Kit] = []

    def make(functions: dict[str, Any] | None = None, **options: Any) -> Kit:
        made.append(Kit(tmp_path, functions or {"add": lambda a, b: a + b}, **options))
        return made[-1]

    yield make
    for kit in made:
        kit.close()


# --- another tag ------------------------------------------------------------------------------------------------

def test_a_run_that_goes_on_is_acked_by_the_tag_it_adopted(kits: Callable[..., Kit]) -> None:
    kit = kits({"add": lambda a, b: kit.ring.adopt(1, 2**40)})
    kit.put((1, 0, message()))
    kit.executors[0].run_ready()
    assert kit.ring.drain()[:2] == (1, [(2**40, 2**40)])


def test_a_run_that_ended_and_is_not_drained_adopts_as_well(kits: Callable[..., Kit]) -> None:
    kit = kits()
    kit.put((1, 0, message()), (2, 0, message()))
    kit.executors[0].run_ready()
    assert kit.ring.adopt(1, 9)
    assert kit.ring.drain()[1] == [(2, 2), (9, 9)]
    assert not kit.ring.adopt(9, 10)


def test_nothing_but_what_was_begun_adopts(kits: Callable[..., Kit]) -> None:
    kit = kits({"add": lambda a, b: kit.ring.adopt(1, 2), "late": lambda a, b: None}, early=["add"])
    kit.ring.stage(b"q", [(1, 0, message("late")), (3, 0, message("late"))])
    assert not kit.ring.adopt(1, 2)
    kit.ring.release()
    assert not kit.ring.adopt(1, 2)
    kit.executors[0].run_ready()
    assert not kit.ring.adopt(4, 5)
    kit.ring.drain()
    assert not kit.ring.adopt(3, 5)
    answers: list[bool] = []
    early = kits({"add": lambda a, b: answers.append(early.ring.adopt(1, 2))}, early=["add"])
    early.put((1, 0, message()))
    early.executors[0].run_ready()
    assert answers == [False]


def test_what_was_begun_and_is_not_settled_can_be_listed(kits: Callable[..., Kit]) -> None:
    large, plain = message("late", "large", body=LARGE), message("late", "plain")
    seen: list[Any] = []
    kit = kits({"add": lambda a, b: 0, "late": lambda *args: seen.append(kit.ring.unsettled())}, early=["add"])
    kit.slow.opened = ((), {}, {})
    kit.put((1, 0, plain), (2, 0, message("add")), (3, 0, large), (4, 0, message("late")))
    kit.executors[0].run_ready(3)
    assert seen == [[(1, plain)], [(1, plain), (3, large)]]
    assert kit.ring.unsettled() == [(1, plain), (3, large)]
    kit.ring.drain()
    assert kit.ring.unsettled() == []


def test_work_that_goes_back_tells_its_content_when_asked(kits: Callable[..., Kit]) -> None:
    kit = kits({"add": lambda a, b: 0, "late": lambda a, b: 0}, early=["add"])
    large = message("late", body=LARGE)
    kit.put((1, 1, message("late")), (2, 0, message()), (3, 2, large), queue=b"mail")
    into: dict[int, Any] = {}
    assert kit.ring.take_back(rows=into) == ([(1, 1), (3, 3)], [("mail", message())])
    assert into == {1: ("mail", 1, message("late")), 3: ("mail", 2, large)}
    assert kit.files.left() == []


# --- who waits for the result -----------------------------------------------------------------------------------

def test_a_result_names_the_queue_that_waits_for_it(kits: Callable[..., Kit]) -> None:
    kit = kits(traits=PLAIN | STORES | FAST_RESULT)
    kit.put((1, 0, asked("replies", "a")), (2, 0, message(task_id="b")), (3, 0, asked("größe", "c")))
    kit.executors[0].run_ready()
    assert kit.ring.drain()[2] == [
        ("a", "SUCCESS", b'"3"', "replies"), ("b", "SUCCESS", b'"3"', None), ("c", "SUCCESS", b'"3"', "größe")]


def test_the_result_of_a_large_message_names_it_too(kits: Callable[..., Kit]) -> None:
    kit = kits(traits=PLAIN | STORES | FAST_RESULT)
    kit.slow.opened = ((1, 2), {}, {})
    kit.put((1, 0, asked("replies", body=LARGE)), (2, 0, asked("r" * 255, body=LARGE)), queue=b"q" * 255)
    kit.executors[0].run_ready()
    assert [result[2:] for result in kit.ring.drain()[2]] == [(b'"3"', "replies"), (b'"3"', "r" * 255)]
    assert kit.files.left() == []


@pytest.mark.parametrize("size", [0, 100, 700, 5000])
@pytest.mark.parametrize("body", [b"[[1, 2], {}, {}]", LARGE])
def test_effects_never_overwrite_the_queue_that_waits(kits: Callable[..., Kit], body: bytes, size: int) -> None:
    kit = kits(traits=0)
    effects = pack_result("id-1", "SUCCESS", b"x" * size) + pack_reason("why")
    kit.slow.opened = ((1, 2), {}, {})
    kit.slow.returned = lambda *_: (0, effects)     # type: ignore[method-assign]
    kit.put((1, 0, asked("r" * 200, body=body)), queue=b"q" * 40)
    kit.executors[0].run_ready()
    assert kit.ring.drain()[2] == [("id-1", "SUCCESS", b"x" * size, "r" * 200)]
    assert kit.files.left() == []


def test_a_queue_name_that_is_no_text_is_nobodys(kits: Callable[..., Kit]) -> None:
    kit = kits(traits=PLAIN | STORES | FAST_RESULT)
    kit.put((1, 0, asked("AAAA").replace(b"AAAA", b"\xff\xfe\xfd\xfc")), (2, 0, asked("")))
    kit.executors[0].run_ready()
    assert [result[3] for result in kit.ring.drain()[2]] == [None, None]


@given(st.text(min_size=1, max_size=60), st.integers(0, 1100))
def test_any_reply_queue_comes_out_as_it_went_in(name: str, blanks: int) -> None:
    kit = Kit(Path(), {"add": lambda a, b: a + b}, traits=PLAIN | STORES | FAST_RESULT)
    kit.slow.opened = ((1, 2), {}, {})
    try:
        kit.put((1, 0, asked(name, body=b"[[1, 2], {}, {}]" + b" " * blanks)))
        kit.executors[0].run_ready()
        assert kit.ring.drain()[2] == [("id-1", "SUCCESS", b'"3"', name)]
        assert kit.files.left() == []
    finally:
        kit.close()
