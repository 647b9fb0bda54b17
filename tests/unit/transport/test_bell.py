"""The doorbell beside a file."""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path

import pytest

from fastq.exceptions import TransportError
from fastq.transport.bell import ANY, MESSAGES, RESULTS, Bell, FileBell, interest_of


def rung(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def ring(bell: Bell, kind: int, interest: int) -> None:
    for cell in bell.board.ring(kind, interest) or ():
        bell.send(cell)


@pytest.fixture
def bell(tmp_path: Path) -> FileBell:
    opened = FileBell(str(tmp_path / "tasks.db"))
    yield opened  # type: ignore[misc]
    opened.close()


def test_names_are_told_apart_by_their_hash() -> None:
    assert interest_of(["a"]).bit_count() == 1
    assert interest_of(["a", "b"]) == interest_of(["a"]) | interest_of(["b"])
    assert interest_of(["\udcff", "\u20ac"]) <= ANY
    assert interest_of([]) == 0


def test_the_folder_is_for_its_owner_alone(bell: FileBell) -> None:
    bell.sleeper()
    assert stat.S_IMODE(os.stat(bell.folder).st_mode) == 0o700
    for name in os.listdir(bell.folder):
        assert stat.S_IMODE(os.stat(os.path.join(bell.folder, name)).st_mode) == 0o600


def test_a_ring_reaches_the_sleeper_of_that_kind_and_interest_alone(bell: FileBell) -> None:
    one, two = bell.sleeper(), bell.sleeper()
    one.doze(MESSAGES, 1)
    two.doze(RESULTS, 1)
    ring(bell, MESSAGES, 2)
    assert not rung(one.fd)
    ring(bell, MESSAGES, 1)
    assert rung(one.fd)
    assert not rung(two.fd)
    one.rouse()
    assert not rung(one.fd)


def test_a_ring_whose_byte_comes_late_wakes_its_sleeper_once(bell: FileBell) -> None:
    sleeper = bell.sleeper()
    sleeper.doze(MESSAGES, 1)
    (cell,) = bell.board.ring(MESSAGES, 1)
    sleeper.rouse()     # by something else, between the mark on the board and the byte
    bell.send(cell)
    sleeper.doze(MESSAGES, 1)
    assert rung(sleeper.fd)
    sleeper.rouse()
    sleeper.doze(MESSAGES, 1)
    assert not rung(sleeper.fd)


def test_a_place_given_back_is_used_again_and_starts_quiet(bell: FileBell) -> None:
    first = bell.sleeper()
    first.doze(MESSAGES, 1)
    ring(bell, MESSAGES, 1)
    bell.give_back(first)
    second = bell.sleeper()
    assert second.fd == first.fd
    assert not rung(second.fd)


def test_a_full_fifo_does_not_hold_up_the_ringer(bell: FileBell) -> None:
    sleeper = bell.sleeper()
    for _ in range(70_000):
        bell.send(sleeper.cell)
    assert rung(sleeper.fd)
    sleeper.doze(MESSAGES, 1)
    ring(bell, MESSAGES, 1)
    sleeper.rouse()
    assert not rung(sleeper.fd)


def test_ringing_a_cell_whose_owner_is_gone_is_no_error(bell: FileBell) -> None:
    bell.send(17)
    os.mkfifo(os.path.join(bell.folder, "18"))
    bell.send(18)
    reader = os.open(os.path.join(bell.folder, "18"), os.O_RDONLY | os.O_NONBLOCK)
    bell.send(18)
    assert os.read(reader, 10) == b"\1"
    os.close(reader)
    bell.send(18)


def test_something_else_in_the_place_of_a_fifo_is_refused_and_named(bell: FileBell) -> None:
    path = Path(bell.folder, "0")
    path.write_text("mine")
    with pytest.raises(TransportError, match=r"-bell/0"):
        bell.sleeper()
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "tasks.db-bell").write_text("")
    with pytest.raises(TransportError, match=r"tasks\.db-bell"):
        FileBell(str(tmp_path / "tasks.db"))


def test_a_board_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "tasks.db-bell"
    folder.mkdir()
    (folder / "board").write_bytes(b"something else" * 1000)
    with pytest.raises(TransportError, match="not a board"):
        FileBell(str(tmp_path / "tasks.db"))


def test_the_bell_of_a_long_path_works(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 200)
    folder.mkdir()
    bell = FileBell(str(folder / ("f" * 150)))
    sleeper = bell.sleeper()
    sleeper.doze(MESSAGES, 1)
    ring(bell, MESSAGES, 1)
    assert rung(sleeper.fd)
    bell.close()


def test_it_notices_that_its_folder_was_removed(bell: FileBell) -> None:
    assert not bell.is_gone()
    os.rename(bell.folder, bell.folder + "-away")
    assert bell.is_gone()
    FileBell(bell.folder.removesuffix("-bell")).close()
    assert bell.is_gone()


def test_a_worker_of_this_process_is_never_dead(bell: FileBell) -> None:
    bell.hold_worker(1)
    assert not bell.is_dead(1)
    assert not bell.is_dead(1)
    assert bell.is_dead(2)
    bell.drop_worker(1)
    bell.drop_worker(1)
    assert bell.is_dead(1)


def test_a_worker_is_dead_once_its_process_is(tmp_path: Path) -> None:
    path = str(tmp_path / "tasks.db")
    up, down = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        FileBell(path).hold_worker(7)
        os.write(up[1], b"x")
        os.read(down[0], 1)
        os._exit(0)
    os.read(up[0], 1)
    bell = FileBell(path)
    assert not bell.is_dead(7)
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert bell.is_dead(7)
    bell.close()
    for fd in (*up, *down):
        os.close(fd)


def test_every_place_can_be_taken_and_one_more_is_an_error() -> None:
    bell = Bell()
    sleepers = [bell.sleeper() for _ in range(100)]
    for sleeper in sleepers:
        sleeper.doze(RESULTS, 1)
    ring(bell, RESULTS, 1)
    assert all(rung(sleeper.fd) for sleeper in sleepers)
    bell._cells.update(range(512))
    with pytest.raises(TransportError, match="512 places"):
        bell.sleeper()
    for sleeper in sleepers:
        os.close(sleeper.fd)
    bell.close()
