"""Ids that sort by time and never come twice."""

from __future__ import annotations

import os
import threading
import time
import uuid

from fastq._ext.envelope import new_id


def test_an_id_is_a_uuid_of_version_7_that_tells_the_time() -> None:
    before = time.time_ns() // 1_000_000
    found = uuid.UUID(new_id())
    after = time.time_ns() // 1_000_000
    assert str(found) == str(found).lower()
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert before <= found.int >> 80 <= after


def test_ids_sort_by_the_millisecond() -> None:
    first = new_id()
    made = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= made:
        pass
    assert first < new_id()


def test_ids_do_not_come_twice_in_many_blocks() -> None:
    ids = {new_id() for _ in range(20_000)}
    assert len(ids) == 20_000
    # Every random bit takes both values.
    spread = 0
    pinned = (1 << 128) - 1
    for text in ids:
        spread |= uuid.UUID(text).int
        pinned &= uuid.UUID(text).int
    free = (1 << 76) - 1 & ~(3 << 62)
    assert spread & free == free and pinned & free == 0


def test_threads_do_not_get_the_same_ids() -> None:
    found: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def make(into: list[str]) -> None:
        start.wait(10)
        into.extend(new_id() for _ in range(5_000))

    threads = [threading.Thread(target=make, args=(into,)) for into in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set().union(*found)) == 40_000


def test_a_forked_child_does_not_repeat_the_ids_of_its_parent() -> None:
    new_id()    # so that there is a block to share
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writable, "\n".join(new_id()[14:] for _ in range(50)).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as stream:
        theirs = set(stream.read().split("\n"))
    assert os.waitpid(child, 0)[1] == 0
    ours = {new_id()[14:] for _ in range(400)}
    assert len(theirs) == 50 and not theirs & ours
