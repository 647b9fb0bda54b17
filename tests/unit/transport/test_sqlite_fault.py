"""What goes wrong with a broker file ends in one clear error, and loses nothing that was confirmed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastq import backends, transport
from fastq.exceptions import BackendError, BrokerFull, BrokerLocked, ConfigError, LeaseLost, TransportError
from fastq.transport import sqlite_file, sqlite_schema
from fastq.transport.base import Transport
from fastq.types import Endings, Message, QueueStat, Result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


def fill(path: Path, count: int = 1000) -> None:
    broker = transport.open(f"sqlite:///{path}")
    broker.publish([Message("q", b"x" * 200)] * count)
    broker.close()


def limit_pages(broker: Transport, pages: int) -> None:
    """Make SQLite behave as if the disk had room for *pages* pages."""
    broker._file.connection().execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]


def test_a_full_disk_refuses_new_messages_and_keeps_the_old(path: Path) -> None:
    broker = transport.open(f"sqlite:///{path}")
    broker.attach("w", ["q"])
    limit_pages(broker, 60)
    confirmed = 0
    with pytest.raises(BrokerFull, match=r"tasks\.db: database or disk is full.*make room"):
        while True:
            broker.publish_one("q", b"%d" % confirmed + b" " * 500)
            confirmed += 1
    with pytest.raises(BrokerFull):
        broker.publish([Message("q", b"x" * 500)] * 500)
    assert broker.queues()["q"] == QueueStat(ready=confirmed)
    (_, rows), = broker.turn(Endings(), 10_000)
    assert [int(content) for _, _, content in rows] == list(range(confirmed))
    broker.turn(Endings(ack=[(rows[0][0], rows[-1][0])]), 0)
    broker.publish_one("q", b"room again")
    broker.close()


def test_a_lock_that_is_held_for_very_long_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand naps: a stopped process may hold the lock for seconds, and the next nap must still be computable."""
    broker = transport.open(f"sqlite:///{path}")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2000:
            holder.execute("ROLLBACK")

    monkeypatch.setattr(sqlite_file, "sleep", nap)
    broker.publish([Message("q", b"x")])
    assert broker.queues()["q"].ready == 1
    assert len(naps) == 2000
    assert max(naps) <= 1e-3
    holder.close()
    broker.close()


def test_a_full_disk_settles_nothing_of_a_turn(path: Path) -> None:
    broker = transport.open(f"sqlite:///{path}")
    broker.publish([Message("q", b"x")] * 5)
    broker.attach("w", ["q"])
    (_, rows), = broker.turn(Endings(), 5)
    limit_pages(broker, 1)
    endings = Endings(ack=[(rows[0][0], rows[-1][0])], publish=[Message("q", b"x" * 50_000)])
    with pytest.raises(BrokerFull):
        broker.turn(endings, 1)
    assert broker.queues()["q"] == QueueStat(held=5)
    limit_pages(broker, 1_000_000)
    assert len(broker.turn(endings, 1)) == 1
    assert broker.queues()["q"] == QueueStat(held=1)
    broker.close()


REAL_DISK = """
import os, sys
from fastq import transport
from fastq.exceptions import TransportError
from fastq.types import Endings
folder = sys.argv[1]
ballast = os.path.join(folder, "ballast")
open(ballast, "wb").write(bytes(600_000))
broker = transport.open(f"sqlite:///{folder}/tasks.db")
confirmed, errors = 0, 0
try:
    while True:
        broker.publish_one("q", b"%d" % confirmed + b" " * 300)
        confirmed += 1
except TransportError as error:
    assert folder in str(error), error
    print(type(error).__name__)
assert confirmed > 100
os.unlink(ballast)
broker.publish_one("q", b"%d" % confirmed)
broker.attach("w", ["q"])
rows = [row for _, rows in broker.turn(Endings(), 100_000) for row in rows]
assert [int(content) for _, _, content in rows] == list(range(confirmed + 1))
broker.close()
print("all there")
"""


def in_namespace(command: str, code: str, folder: Path) -> list[str]:
    """Run *code* where *command* may mount; returns what it printed."""
    namespace = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], check=False).returncode:
        pytest.skip("this machine allows no mount namespace, in which to fill a small disk")
    folder.mkdir()
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [*namespace, "sh", "-c", f'{command} && exec "$0" -c "$1" "$2"', sys.executable, code, str(folder)],
        env={**os.environ, "PYTHONPATH": root, "FOLDER": str(folder)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_a_disk_that_is_really_full_loses_nothing(tmp_path: Path) -> None:
    said = in_namespace('mount -t tmpfs -o size=2m tmpfs "$FOLDER"', REAL_DISK, tmp_path / "small")
    assert said == ["BrokerFull", "all there"]


READ_ONLY = """
import os, subprocess, sys
from fastq import transport
from fastq.exceptions import TransportError
folder = sys.argv[1]
transport.open(f"sqlite:///{folder}/tasks.db").close()
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
for name in ("tasks.db", "new.db"):
    try:
        transport.open(f"sqlite:///{folder}/{name}").publish_one("q", b"x")
    except TransportError as error:
        assert str(error).startswith(f"{folder}/{name}: "), error
        assert "writable" in str(error), error
        print(name, "refused")
"""


def test_a_read_only_folder_is_one_clear_error(tmp_path: Path) -> None:
    said = in_namespace('mount -t tmpfs tmpfs "$FOLDER"', READ_ONLY, tmp_path / "fixed")
    assert said == ["tasks.db refused", "new.db refused"]


def test_a_file_that_another_program_holds_is_one_clear_error_in_time(path: Path) -> None:
    broker = transport.open(f"sqlite:///{path}?timeout=0.2")
    broker.publish_one("q", b"x")
    broker.attach("w", ["q"])
    (_, rows), = broker.turn(Endings(), 1)
    thief = sqlite3.connect(path, isolation_level=None)
    thief.execute("BEGIN IMMEDIATE")
    ack = Endings(ack=[(rows[0][0], rows[0][0])])
    for call in (lambda: broker.publish_one("q", b"y"), lambda: broker.publish([Message("q", b"y")]),
                 lambda: broker.turn(ack, 1), broker.keep):
        began = time.monotonic()
        with pytest.raises(BrokerLocked, match=r"tasks\.db: another program .* 0\.2 s"):
            call()
        assert 0.2 <= time.monotonic() - began < 2
    thief.execute("ROLLBACK")
    thief.close()
    assert broker.turn(ack, 1) == []
    assert broker.queues()["q"] == QueueStat()
    broker.close()


def test_a_new_file_that_another_program_holds_is_one_clear_error(path: Path) -> None:
    thief = sqlite3.connect(path, isolation_level=None)
    thief.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BrokerLocked):
        transport.open(f"sqlite:///{path}?timeout=0.1")
    thief.close()


@pytest.mark.parametrize("garbage", [b"garbage " * 1000, b"SQLite format 3\0" + b"\xff" * 4096, b"{}"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    with pytest.raises(TransportError, match=r"tasks\.db: .*(no SQLite file|damaged)"):
        transport.open(f"sqlite:///{path}")
    assert path.read_bytes() == garbage


def test_a_file_that_was_cut_short_is_one_clear_error(path: Path) -> None:
    fill(path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(TransportError, match=r"tasks\.db: .*(damaged|malformed)"):
        broker = transport.open(f"sqlite:///{path}")
        broker.attach("w", ["q"])
        while broker.turn(Endings(), 100):
            pass


def test_damaged_pages_are_one_clear_error(path: Path) -> None:
    fill(path)
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096 * 20))
    with pytest.raises(TransportError, match=r"tasks\.db: .*damaged.*recover"):
        broker = transport.open(f"sqlite:///{path}")
        broker.attach("w", ["q"])
        while broker.turn(Endings(), 100):
            pass


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"the folder .*/no/such does not exist"):
        transport.open(f"sqlite:///{tmp_path}/no/such/tasks.db")
    with pytest.raises(TransportError, match="is a folder"):
        transport.open(f"sqlite:///{tmp_path}")


def test_the_tables_of_another_program_are_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE message (mine)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(TransportError, match="another program"):
        transport.open(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_file_of_a_newer_fastq_is_refused(path: Path) -> None:
    fill(path, 1)
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version = {sqlite_schema.VERSION + 1}")
    other.close()
    with pytest.raises(TransportError, match=r"newer fastq.*upgrade"):
        transport.open(f"sqlite:///{path}")


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "LEAST_SQLITE", (99, 0, 0))
    with pytest.raises(ConfigError, match=r"too old.*99\.0\.0"):
        transport.open(f"sqlite:///{path}")


def test_a_store_says_what_is_wrong_as_a_backend_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="does not exist"):
        backends.open(f"sqlite:///{tmp_path}/no/tasks.db")
    store = backends.open(f"sqlite:///{path}?timeout=0.05")
    thief = sqlite3.connect(path, isolation_level=None)
    thief.execute("BEGIN IMMEDIATE")
    for call in (lambda: store.put([Result("a", "SUCCESS", b"")]), lambda: store.forget(["a"]), store.prune):
        with pytest.raises(BackendError, match="another program"):
            call()
    thief.close()
    store.close()


def test_a_file_that_is_removed_while_it_is_used_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    broker = transport.open(f"sqlite:///{path}")
    broker.attach("w", ["q"])
    for name in ("tasks.db", "tasks.db-wal", "tasks.db-shm"):
        os.unlink(path.with_name(name))
    monkeypatch.setattr(sqlite_file, "monotonic", lambda: now + 2)
    for call in (broker.keep, lambda: broker.publish_one("q", b"lost?"), lambda: broker.turn(Endings(), 1)):
        with pytest.raises(TransportError, match="removed or replaced"):
            call()
    monkeypatch.undo()
    fresh = transport.open(f"sqlite:///{path}")
    fresh.publish_one("q", b"x")
    assert fresh.queues()["q"].ready == 1
    broker.close()
    fresh.close()


def test_a_worker_outlives_the_loss_of_its_doorbell(path: Path) -> None:
    broker = transport.open(f"sqlite:///{path}")
    broker.publish_one("q", b"x")
    broker.attach("w", ["q"])
    broker.turn(Endings(), 1)
    bell = f"{path}-bell"
    for name in os.listdir(bell):
        os.unlink(os.path.join(bell, name))
    os.rmdir(bell)
    with pytest.raises(LeaseLost, match="doorbell"):
        broker.keep()
    broker.attach("w", ["q"])
    assert [row[1:] for _, rows in broker.turn(Endings(), 1) for row in rows] == [(0, b"x")]
    assert broker.keep() == 0
    broker.close()


def test_shared_options_are_the_safer_and_the_more_patient_ones(path: Path) -> None:
    one = transport.open(f"sqlite:///{path}?timeout=9")
    two = transport.open(f"sqlite:///{path}", {"synchronous": "full"})
    file = one._file  # type: ignore[attr-defined]
    assert file is two._file  # type: ignore[attr-defined]
    assert file.options == sqlite_file.FileOptions(9.0, "full")
    assert file.read("PRAGMA synchronous") == [(2,)]
    one.close()
    two.close()


def test_an_interrupted_transaction_leaves_nothing_behind(path: Path) -> None:
    broker = transport.open(f"sqlite:///{path}")
    file = broker._file  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt), file.transaction() as conn:
        conn.execute("INSERT INTO lane (queue, priority, head) VALUES ('x', 0, 0)")
        raise KeyboardInterrupt
    assert broker.queues() == {}
    broker.publish_one("q", b"x")
    broker.close()


def test_a_closed_transport_does_not_open_the_file_again(path: Path) -> None:
    broker = transport.open(f"sqlite:///{path}")
    broker.publish_one("q", b"x")
    broker.close()
    with pytest.raises(TransportError, match="closed"):
        broker.publish_one("q", b"x")
