"""The statements of the usual path never look through a table whose length the user decides."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fastq import transport
from fastq.transport import sqlite_claim, sqlite_lane, sqlite_result
from fastq.transport.base import Transport

LONG = ("message", "future", "dead", "result")


@pytest.fixture
def broker() -> Iterator[Transport]:
    opened = transport.open("memory://plan")
    yield opened
    opened.close()


@pytest.mark.parametrize("statement", [
    sqlite_lane.INSERT_ONE,
    sqlite_lane.NEXT,
    sqlite_lane.MOVE,
    sqlite_claim.SELECT,
    sqlite_claim.lanes_query(["a", "b"]),
    "DELETE FROM message WHERE id BETWEEN ? AND ?",
    "SELECT min(id) FROM future",
    "SELECT id, lane FROM future WHERE id < ? ORDER BY id LIMIT ?",
    sqlite_result.PUT,
    sqlite_result.PRUNE,
    sqlite_result.select(2),
])
def test_the_cost_of_a_statement_does_not_grow_with_the_queue(broker: Transport, statement: str) -> None:
    connection = broker._file.connection()  # type: ignore[attr-defined]
    steps = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement, (1,) * statement.count("?"))]
    assert not [step for step in steps if step.startswith(tuple(f"SCAN {table}" for table in LONG))]
