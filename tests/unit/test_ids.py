"""Names of nodes and senders."""

from __future__ import annotations

import os
import re
import socket
import uuid

import pytest

from fastq import ids

HOST = socket.gethostname()


def test_task_ids_are_uuids_and_never_the_same() -> None:
    made = {ids.task_id(), ids.task_id(), ids.uuid()}
    assert len(made) == 3
    assert all(str(uuid.UUID(text)) == text for text in made)


def test_a_sender_is_named_after_its_process() -> None:
    assert ids.origin() == f"gen{os.getpid()}@{HOST}"


def test_a_forked_process_has_a_name_of_its_own() -> None:
    ours = ids.origin()
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writable, ids.origin().encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as stream:
        theirs = stream.read()
    os.waitpid(child, 0)
    assert re.fullmatch(rf"gen{child}@.*", theirs) and theirs != ours


@pytest.mark.parametrize(("given", "expected"), [
    (None, f"celery@{HOST}"), ("", f"celery@{HOST}"), ("w1@", f"w1@{HOST}"), ("@web", "celery@web"),
    ("w1@web", "w1@web"), ("web", "celery@web"),
])
def test_a_node_name_is_completed(given: str | None, expected: str) -> None:
    assert ids.default_nodename(given) == expected


def test_a_node_name_splits_at_its_first_at_sign() -> None:
    assert ids.nodesplit("w1@a@b") == ("w1", "a@b")
    assert ids.nodesplit("web") == (None, "web")


@pytest.mark.parametrize(("text", "expected"), [
    ("w@%h", "w@web.example.com"), ("w@%n", "w@web"), ("%d", "example.com"), ("100%%h", "100%h"), ("%x%", "%x%"),
])
def test_a_host_is_filled_in(text: str, expected: str) -> None:
    assert ids.host_format(text, "web.example.com") == expected


@pytest.mark.parametrize(("text", "child", "expected"), [
    ("%p", 0, "w1@web.example.com"), ("%n-%h-%d", 0, "w1-web.example.com-example.com"), ("%n%I.log", 0, "w1.log"),
    ("%n%I.log", 3, "w1-3.log"), ("%n.%i", 3, "w1.3"), ("%n.%i", 0, "w1.0"),
])
def test_a_node_is_filled_in(text: str, child: int, expected: str) -> None:
    assert ids.node_format(text, "w1@web.example.com", child=child) == expected
