"""Batches that the ring stages from one buffer: the same rows as tuples are the oracle."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq._ext import kombu
from fastq.exceptions import FrameError
from fastq.types import UNCOUNTED
from tests.ext.ringkit import Kit, message


def record(tag: int, content: bytes, *, redelivered: bool = False) -> bytes:
    """One packed record (ext/rows.pxd), written without the code under test."""
    head = struct.pack("=QII", tag, redelivered << 31, len(content))
    return head + content + b"\0" * (-len(content) % 8)


@pytest.fixture
def kits(tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    made: list[Kit] = []

    def make(functions: dict[str, Any] | None = None, **options: Any) -> Kit:
        made.append(Kit(tmp_path, functions or {"add": lambda a, b: a + b}, **options))
        return made[-1]

    yield make
    for kit in made:
        kit.close()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_packed_batch_runs_like_one_of_tuples(kits: Callable[..., Kit], kind: Callable[[bytes], Any]) -> None:
    seen: list[Any] = []
    kit = kits({"add": lambda a, b: seen.append((a, b))})
    batch = b"".join(record(tag, message(body=b"[[%d, 2], {}, {}]" % tag)) for tag in range(10, 15))
    assert kit.ring.stage(b"q", kind(batch)) == []
    assert (kit.ring.in_hand, kit.ring.release(), kit.executors[0].run_ready()) == (5, 5, 5)
    assert seen == [(tag, 2) for tag in range(10, 15)]
    assert kit.ring.drain()[:2] == (5, [(10, 14)])


def test_envelopes_of_kombu_run_as_they_were_gathered(kits: Callable[..., Kit]) -> None:
    seen: list[Any] = []
    kit = kits({"add": lambda a, b: seen.append((a, b))})
    raw = [kombu.dump(message(body=b"[[%d, 2], {}, {}]" % i), "", "q") for i in range(5)]
    rows, bad = kombu.gather([*raw[:3], b"junk", *raw[3:], kombu.mark(raw[0], 3)], 10)
    assert [index for index, _ in bad] == [3]
    assert [row[:3] for row in kit.ring.stage(b"q", rows)] == [(4, 16, 3)]
    assert (kit.ring.in_hand, kit.ring.release(), kit.executors[0].run_ready()) == (5, 5, 5)
    assert seen == [(i, 2) for i in range(5)]
    assert kit.ring.drain()[:2] == (5, [(10, 12), (14, 15)])


def test_a_batch_is_let_go_of_once_it_is_staged(kits: Callable[..., Kit]) -> None:
    kit, batch = kits(), bytearray(record(1, message()))
    kit.ring.stage(b"q", batch)
    batch.clear()       # raises BufferError while somebody looks at it
    assert (kit.ring.release(), kit.executors[0].run_ready()) == (1, 1)


def test_an_empty_batch_holds_nothing(kits: Callable[..., Kit]) -> None:
    kit = kits()
    assert (kit.ring.stage(b"q", b""), kit.ring.release()) == ([], 0)


def test_deaths_are_counted_in_the_content_and_a_redelivery_is_uncounted(kits: Callable[..., Kit]) -> None:
    kit = kits(max_deaths=3)
    plain, died, dead = (message(**{"x-fastq-deaths": deaths}) for deaths in (0, 2, 3))
    rows = [record(1, plain), record(2, died), record(3, dead), record(4, plain, redelivered=True),
            record(5, died, redelivered=True), record(6, dead, redelivered=True)]
    assert kit.ring.stage(b"q", b"".join(rows)) == [
        (4, 3, 3, dead), (9, 4, UNCOUNTED, plain), (9, 5, UNCOUNTED | 2, died), (9, 6, UNCOUNTED | 3, dead)]
    assert kit.ring.unstage(into := {}) == [(1, 2)]
    assert into == {1: ("q", 0, plain), 2: ("q", 2, died)}


@pytest.mark.parametrize("deaths", [-1, 2**31, "many"])
def test_deaths_that_are_no_count_are_a_bad_header(kits: Callable[..., Kit], deaths: object) -> None:
    content = message(**{"x-fastq-deaths": deaths})
    assert kits().ring.stage(b"q", record(1, content)) == [(5, 1, 0, content)]


@pytest.mark.parametrize("headers", [{"eta": "2031-01-01T00:00:00"}, {"expires": "2031-01-01T00:00:00"}, {}])
def test_an_uncounted_row_is_never_staged_by_itself(kits: Callable[..., Kit], headers: dict[str, str]) -> None:
    kit, content = kits(slots=1), message(**headers)
    assert kit.ring.stage(b"q", [(1, UNCOUNTED | 1, content)]) == [(9, 1, UNCOUNTED | 1, content)]
    assert kit.ring.stage_one(b"q", 1, UNCOUNTED, content) == 9
    kit.put((2, 0, message()))
    assert kit.ring.stage(b"q", record(3, content, redelivered=True)) == [(9, 3, UNCOUNTED, content)]


def test_rows_that_need_a_decision_come_with_the_reasons_that_tuples_have(kits: Callable[..., Kit]) -> None:
    contents = [message(), b"", message()[:-30], message(task="unknown"), message(eta=5), message(), message(),
                message(eta="2031-01-01T00:00:00")]
    kit = kits(slots=2)
    odd = kit.ring.stage(b"q", b"".join(record(tag, content) for tag, content in enumerate(contents)))
    assert odd == kits(slots=2).ring.stage(b"q", [(tag, 0, content) for tag, content in enumerate(contents)])
    assert [row[:2] for row in odd] == [(1, 1), (1, 2), (3, 3), (5, 4), (8, 6), (6, 7)]


def test_a_large_row_of_a_batch_travels_through_a_file(kits: Callable[..., Kit]) -> None:
    seen: list[int] = []
    kit = kits({"add": seen.append})
    kit.slow.opened = ((5,), {}, {})
    large = message(body=b'[["' + b"x" * 100_000 + b'"], {}, {}]')
    kit.ring.stage(b"q", record(1, large) + record(2, message(body=b"[[6], {}, {}]")))
    kit.ring.release()
    kit.executors[0].run_ready()
    assert (seen, kit.ring.drain()[:2], kit.files.left()) == ([5, 6], (2, [(1, 2)]), [])


def test_a_batch_cut_anywhere_is_refused_whole(kits: Callable[..., Kit]) -> None:
    kit = kits()
    kit.ring.stage(b"q", [(1, 0, message())])
    large = message(body=b"[[1, 2], {}, {}]" + b" " * 1200)     # goes through a file, which must go too
    batch = record(2, message()) + record(3, large) + record(4, message())
    edges = {0, len(record(2, message())), len(record(2, message()) + record(3, large)), len(batch)}
    for cut in range(len(batch)):
        if cut not in edges:
            with pytest.raises(FrameError, match="cut off in the record at byte"):
                kit.ring.stage(b"q", batch[:cut])
            assert (kit.ring.in_hand, kit.files.left()) == (1, [])
    assert (kit.ring.unstage(), kit.ring.free) == ([(1, 1)], 8)


def test_a_record_with_unknown_flags_or_an_endless_length_is_refused(kits: Callable[..., Kit]) -> None:
    kit, content = kits(), message()
    for flags, n in ((1, len(content)), (1 << 29, len(content)), (0, 2**32 - 1), (0, 2**31), (0, len(content) + 8)):
        bad = struct.pack("=QII", 2, flags, n) + content + b"\0" * (-len(content) % 8)
        with pytest.raises(FrameError):
            kit.ring.stage(b"q", record(1, content) + bad)
        assert kit.ring.in_hand == 0


def test_rows_of_another_kind_leave_nothing_staged(kits: Callable[..., Kit]) -> None:
    kit = kits()
    for bad in ((2, 0, None), (2, 0, "text"), (2, -1, message()), (2, 2**32, message()), (-1, 0, message()), (2, 0), 7):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            kit.ring.stage(b"q", [(1, 0, message()), bad])
        assert (kit.ring.in_hand, kit.ring.release()) == (0, 0)


def test_a_batch_whose_files_cannot_be_written_leaves_nothing_staged(kits: Callable[..., Kit], tmp_path: Path) -> None:
    kit = kits()
    large = message(body=b" " * 5000)
    kit.files.folder = tmp_path / "gone"
    with pytest.raises(FileNotFoundError):
        kit.ring.stage(b"q", record(1, message()) + record(2, large))
    assert (kit.ring.in_hand, kit.ring.free) == (0, 8)


contents = st.sampled_from([message(), message("late", "id-2"), message(eta=5), message("none"), b"", b"x",
                            message(**{"x-fastq-deaths": 2})]) | st.binary(max_size=60)
rows = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.booleans(), contents), max_size=10)


@given(rows)
def test_any_batch_ends_as_its_tuples_do(batch: list[tuple[int, bool, bytes]]) -> None:
    functions = {"add": lambda a, b: None, "late": lambda a, b: None}
    packed, plain = (Kit(Path(), functions, slots=6) for _ in range(2))
    try:
        odd = packed.ring.stage(b"q", b"".join(record(tag, raw, redelivered=again) for tag, again, raw in batch))
        expected = plain.ring.stage(b"q", [(tag, (again << 31) | (raw == message(**{"x-fastq-deaths": 2}) and 2), raw)
                                           for tag, again, raw in batch])
        assert odd == expected
        assert packed.ring.in_hand == plain.ring.in_hand == len(batch) - len(odd)
    finally:
        packed.close()
        plain.close()


@given(rows, st.data())
def test_a_damaged_batch_is_staged_or_refused_and_leaks_nothing(
    batch: list[tuple[int, bool, bytes]], data: st.DataObject,
) -> None:
    raw = bytearray(b"".join(record(tag, content, redelivered=again) for tag, again, content in batch) or b"\0")
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    swallow(bytes(raw[:data.draw(st.integers(0, len(raw)))]))


@given(st.binary(max_size=200))
def test_any_bytes_are_staged_or_refused_and_leak_nothing(raw: bytes) -> None:
    swallow(raw)


def swallow(raw: bytes) -> None:
    kit = Kit(Path(), {"add": lambda a, b: None}, slots=4)
    try:
        try:
            odd = kit.ring.stage(b"q", raw)
        except FrameError:
            assert kit.ring.in_hand == 0
        else:
            assert all(type(content) is bytes for _, _, _, content in odd)
        kit.ring.unstage()
        assert kit.ring.free == 4
    finally:
        kit.close()
