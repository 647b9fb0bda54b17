"""The board of sleepers."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Callable

import pytest

from fastq._ext.bell import CELLS, KINDS, SIZE, Board, forks


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, SIZE)


@pytest.fixture
def board(memory: mmap.mmap) -> Board:
    return Board(memory)


def test_nobody_is_rung_on_an_empty_board(board: Board) -> None:
    for kind in range(KINDS):
        assert board.quiet(kind)
        assert board.ring(kind, 2**64 - 1) is None


@pytest.mark.parametrize("cell", [0, 1, 7, 8, CELLS - 1])
@pytest.mark.parametrize("kind", range(KINDS))
def test_a_sleeper_is_rung_once(board: Board, kind: int, cell: int) -> None:
    board.doze(kind, cell, 4)
    assert not board.quiet(kind)
    assert board.quiet(1 - kind)
    assert board.ring(1 - kind, 4) is None
    assert board.ring(kind, 4) == [cell]
    assert board.ring(kind, 4) is None
    assert board.quiet(kind)


@pytest.mark.parametrize(("interest", "ring", "rung"), [
    (1, 1, True), (1, 2, False), (6, 3, True), (2**63, 2**64 - 1, True),
    (0, 2**64 - 1, False), (2**64 - 1, 2**63, True),
])
def test_only_those_interested_are_rung(board: Board, interest: int, ring: int, rung: bool) -> None:
    board.doze(0, 5, interest)
    assert (board.ring(0, ring) == [5]) is rung


def test_all_who_sleep_are_rung(board: Board) -> None:
    for cell in range(0, CELLS, 3):
        board.doze(0, cell, 1)
    assert board.ring(0, 1) == list(range(0, CELLS, 3))


def test_rouse_tells_whether_the_bell_rang_meanwhile(board: Board) -> None:
    board.doze(0, 3, 1)
    assert not board.rouse(0, 3)
    board.doze(0, 3, 1)
    board.ring(0, 1)
    assert board.rouse(0, 3)
    assert board.ring(0, 1) is None


def test_two_boards_on_one_memory_are_one(memory: mmap.mmap, board: Board) -> None:
    other = Board(memory)
    other.doze(1, 9, 1)
    assert board.ring(1, 1) == [9]


@pytest.mark.parametrize(("kind", "cell"), [(-1, 0), (KINDS, 0), (0, -1), (0, CELLS)])
def test_a_cell_that_is_not_there_is_refused(board: Board, kind: int, cell: int) -> None:
    for call in (lambda: board.doze(kind, cell, 1), lambda: board.rouse(kind, cell)):
        with pytest.raises(IndexError):
            call()


@pytest.mark.parametrize("kind", [-1, KINDS])
def test_a_kind_that_is_not_there_is_refused(board: Board, kind: int) -> None:
    for call in (lambda: board.quiet(kind), lambda: board.ring(kind, 1)):
        with pytest.raises(IndexError):
            call()


@pytest.mark.parametrize("interest", [-1, 2**64])
def test_an_interest_has_64_bits(board: Board, interest: int) -> None:
    with pytest.raises(OverflowError):
        board.doze(0, 0, interest)
    with pytest.raises(OverflowError):
        board.ring(0, interest)


def test_a_buffer_that_is_too_short_or_holds_something_else_is_refused(memory: mmap.mmap) -> None:
    with pytest.raises(ValueError, match="bytes"):
        Board(bytearray(SIZE - 1))
    memory[:7] = b"another"
    with pytest.raises(ValueError, match="not a board"):
        Board(memory)
    with pytest.raises((TypeError, BufferError)):
        Board(bytes(SIZE))


def test_a_released_board_is_refused_and_lets_its_memory_go(memory: mmap.mmap, board: Board) -> None:
    with pytest.raises(BufferError):
        memory.close()
    board.release()
    board.release()
    memory.close()
    for call in (lambda: board.quiet(0), lambda: board.ring(0, 1), lambda: board.doze(0, 0, 1),
                 lambda: board.rouse(0, 0)):
        with pytest.raises(ValueError, match="released"):
            call()


def test_each_sleep_is_ended_by_exactly_one_ringer(board: Board) -> None:
    rings: list[int] = []
    over = threading.Event()

    def ring() -> None:
        while not over.is_set():
            rings.extend(board.ring(0, 1) or ())

    threads = [threading.Thread(target=ring) for _ in range(3)]
    for thread in threads:
        thread.start()
    rung = 0
    for _ in range(20_000):
        board.doze(0, 0, 1)
        rung += board.rouse(0, 0)
    over.set()
    for thread in threads:
        thread.join()
    assert len(rings) == rung


def c_fork() -> int:
    """Fork as C code does, without Python's hooks."""
    return int(ctypes.PyDLL(None).fork())


@pytest.mark.parametrize("fork", [os.fork, c_fork])
def test_a_child_knows_that_it_was_forked_and_the_parent_that_it_was_not(fork: Callable[[], int]) -> None:
    before = forks()
    child = fork()
    if not child:
        os._exit(forks() - before)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert forks() == before
