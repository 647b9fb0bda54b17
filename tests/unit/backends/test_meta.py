from __future__ import annotations

import base64
import json
import re
import sys
import zlib
from datetime import datetime, timezone
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastq import exceptions, states
from fastq.backends import meta
from fastq.backends.meta import MetaCodec, exception_from_meta, exception_to_meta
from fastq.exceptions import ContentDisallowed, DecodeError, EncodeError, SecurityError, WireError
from fastq.request import Request
from fastq.result import AsyncResult
from tests.reference import recorded

JSON = MetaCodec()
KEYS = ["status", "result", "traceback", "children", "date_done", "task_id"]


class Outer:
    class Inner(Exception):
        pass


class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


CASES = ("result_success", "result_failure", "result_retry", "result_children", "result_custom_state", "result_revoked",
         "result_failure_nested_class", "result_failure_custom_exception", "result_started")


def documents():
    for case in CASES:
        found = recorded.load(case)
        for number, one in enumerate([found["result"], *found.get("states_seen", ())]):
            yield pytest.param(base64.b64decode(one["raw_b64"]), id=f"{case}-{number}")


@pytest.mark.parametrize("raw", list(documents()))
def test_a_document_that_celery_stored_is_read_and_written_again_byte_for_byte(raw):
    theirs = json.loads(raw)
    document = JSON.decode(raw)
    assert isinstance(document["result"], BaseException) == (theirs["status"] in ("FAILURE", "REVOKED", "RETRY"))
    request = Request(parent_id=theirs.get("parent_id"), called_directly=False)
    request.children = [AsyncResult(child[0][0]) for child in theirs["children"] or ()]
    if theirs["children"] is None:
        request = None
    ours = JSON.encode(document["task_id"], document["status"], document["result"], document["traceback"], request)
    assert same_date(ours) == same_date(raw)


def same_date(raw):
    return re.sub(rb'"date_done": "[^"]+"', b'"date_done": "now"', raw)


@given(st.text(), st.none() | st.integers() | st.text() | st.lists(st.text()))
def test_the_fast_way_of_a_success_writes_what_the_slow_one_writes(task_id, value):
    fast = json.loads(JSON.encode_success(task_id, value))
    slow = json.loads(JSON.encode(task_id, states.SUCCESS, value, request=Request()))
    assert list(fast) == list(slow) == KEYS
    assert {**fast, "date_done": 0} == {**slow, "date_done": 0}
    assert datetime.fromisoformat(fast["date_done"]).tzinfo is not None


def test_a_success_with_family_is_written_in_full():
    request = Request(id="x", group="g", parent_id="p", called_directly=False)
    meta = json.loads(JSON.encode_success("x", 1, request))
    assert (meta["group_id"], meta["parent_id"], meta["children"]) == ("g", "p", [])
    assert json.loads(JSON.encode_success("x", 1, Request(id="x")))["children"] == []
    assert json.loads(MetaCodec("json", is_extended=True).encode_success("x", 1))["children"] == []
    assert json.loads(JSON.encode("x", states.SUCCESS, 1))["children"] is None
    assert json.loads(JSON.encode_success("x", AsyncResult("y")))["result"] == [["y", None], None]


def test_a_value_that_cannot_be_stored_is_an_error():
    with pytest.raises(EncodeError):
        JSON.encode_success("x", object())


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_documents_come_back_in_every_serializer(serializer):
    codec = MetaCodec(serializer, (serializer,), is_extended=True)
    request = Request(id="x", task="t", args=[1], kwargs={}, hostname="w", retries=1, stamped_headers=["s"],
                      stamps={"s": "v"}, delivery_info={"routing_key": "q"})
    meta = codec.decode(codec.encode("x", states.FAILURE, KeyError("a", object), "tb", request))
    error = meta["result"]
    assert type(error) is KeyError
    assert error.args[0] == "a"
    assert error.args[1] == (object if serializer == "pickle" else "<class 'object'>")
    assert (meta["name"], meta["queue"], meta["s"], meta["stamped_headers"]) == ("t", "q", "v", ["s"])


def test_an_exception_that_does_not_pickle_goes_as_data():
    codec = MetaCodec("pickle", ("pickle",))
    error = KeyError(lambda: 1)
    assert codec.decode(codec.encode("x", states.FAILURE, error))["result"].args[0].startswith("<function")


def test_a_document_of_another_kind_is_not_opened():
    with pytest.raises(ContentDisallowed):
        MetaCodec("pickle", ("json",)).decode(MetaCodec("pickle", ("pickle",)).encode("x", states.SUCCESS, 1))


@pytest.mark.parametrize("name", ["zlib", "gzip", "bzip2", "lzma", "zstd", "brotli"])
def test_a_document_is_compressed_as_celery_does_it(name):
    codec = MetaCodec(compressed=name)
    documents = [codec.encode_success("id", "x" * 1000), codec.encode("id", states.FAILURE, ValueError("x"))]
    assert all(raw.startswith(b"\0celery-compressed\0application/") and len(raw) < 300 for raw in documents)
    assert JSON.decode(documents[0])["result"] == "x" * 1000
    assert repr(JSON.decode(documents[1])["result"]) == "ValueError('x')"


def test_an_unknown_compression_is_told_at_once():
    with pytest.raises(exceptions.ConfigError, match="there is no compression 'zipp'"):
        MetaCodec(compressed="zipp")


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle"])
def test_whether_a_task_has_ended_is_told_without_opening_more_than_needed(serializer):
    codec = MetaCodec(serializer, [serializer])
    for state in (*states.ALL_STATES, "PROGRESS"):
        raw = codec.encode("id", state, None)
        assert codec.is_final(raw) is (state in states.READY_STATES)
        packed = MetaCodec(serializer, [serializer], compressed="zlib").encode("id", state, None)
        assert codec.is_final(packed) is (state in states.READY_STATES)


def test_the_first_words_of_a_document_tell_its_state(monkeypatch):
    done = JSON.encode("a", states.SUCCESS, 1)
    monkeypatch.setattr(MetaCodec, "_open", lambda self, raw: pytest.fail("it was decoded"))
    for raw, is_final in ((done, True), (b'{"task_id": "a", "status": "RETRY", "result": 1}', False)):
        assert JSON.is_final(raw) is is_final
    monkeypatch.undo()
    assert JSON.is_final(b'{"result": 1, "status": "STARTED"}') is False
    assert meta._STATUS.match(b'{"status": "a\\"b"}') is None


def test_a_document_that_names_no_exception_has_a_state():
    raw = MetaCodec(compressed="zlib").encode("id", states.FAILURE, {"exc_type": 1})
    assert JSON.state_of(raw) == states.FAILURE
    assert JSON.is_final(raw)
    with pytest.raises(SecurityError):
        JSON.decode(raw)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"\0celery-compressed\0nothing\0", b"\0fastq-content\0x"])
def test_what_cannot_be_read_ends_a_wait(raw):
    assert JSON.is_final(raw)


def test_a_compressed_document_is_read_whatever_the_settings_say():
    raw = b"\x00celery-compressed\x00application/x-gzip\x00" + zlib.compress(JSON.encode("x", states.SUCCESS, 7))
    assert JSON.decode(raw)["result"] == 7


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"status": 1}', b"\xff", b"\x00celery-compressed\x00", b"nul"])
def test_what_is_no_document_is_a_clear_error(raw):
    with pytest.raises(WireError):
        JSON.decode(raw)


@given(st.binary())
def test_any_bytes_end_in_a_document_or_a_clear_error(raw):
    try:
        JSON.decode(raw)
    except WireError:
        pass


# Exceptions

@pytest.mark.parametrize("error", [
    ValueError("boom", 42), Outer.Inner("x"), KeyError(), exceptions.TaskRevokedError("expired"),
    exceptions.TimeLimitExceeded(1), exceptions.OperationalError("x"), exceptions.ConfigError("x"), SystemExit(3),
])
def test_an_exception_comes_back_as_what_it_was(error):
    again = exception_from_meta(json.loads(json.dumps(exception_to_meta(error))))
    assert (type(again), again.args) == (type(error), error.args)


@pytest.mark.parametrize(("error", "module"), [
    (exceptions.TaskRevokedError("x"), "celery.exceptions"), (exceptions.Retry("x"), "celery.exceptions"),
    (exceptions.SoftTimeLimitExceeded(), "billiard.exceptions"), (exceptions.WorkerLostError(), "billiard.exceptions"),
    (exceptions.OperationalError("x"), "kombu.exceptions"), (exceptions.ConfigError("x"), "fastq.exceptions"),
    (KeyError(), "builtins"),
])
def test_exceptions_of_celerys_name_are_written_with_celerys_module(error, module):
    assert exception_to_meta(error)["exc_module"] == module


def test_an_exception_whose_class_is_unknown_gets_a_class_of_that_name():
    meta = {"exc_type": "Nested.Boom", "exc_message": ["a"], "exc_module": "nowhere.mod"}
    one, two = exception_from_meta(meta), exception_from_meta(meta)
    assert type(one) is type(two)
    assert (type(one).__name__, type(one).__module__, one.args) == ("Boom", "nowhere.mod", ("a",))


def test_an_exception_with_a_constructor_of_its_own_keeps_its_class():
    again = exception_from_meta(exception_to_meta(Odd(1, 2)))
    assert isinstance(again, Odd)
    assert again.args == ("1 and 2",)


def test_a_message_may_be_plain_text_or_missing():
    assert exception_from_meta({"exc_type": "KeyError", "exc_message": "x", "exc_module": "builtins"}).args == ("x",)
    assert exception_from_meta({"exc_type": "KeyError", "exc_module": "builtins"}).args == ()
    assert isinstance(exception_from_meta({"exc_type": "TaskRevokedError"}), exceptions.TaskRevokedError)


@pytest.mark.parametrize(("name", "module"), [
    ("system", "os"), ("eval", "builtins"), ("object", "builtins"), ("int", "builtins"), ("Popen", "subprocess"),
    (5, "builtins"), (None, None), ("KeyError", 5), ("__loader__", "os"),
])
def test_nothing_but_an_exception_is_ever_called(name, module):
    with pytest.raises(SecurityError):
        exception_from_meta({"exc_type": name, "exc_message": ["echo"], "exc_module": module})


def test_a_document_runs_no_code_of_modules(monkeypatch):
    module = ModuleType("trap")
    module.__getattr__ = lambda name: pytest.fail("a module was asked")  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "trap", module)
    assert type(exception_from_meta({"exc_type": "Any", "exc_message": [], "exc_module": "trap"})).__name__ == "Any"


def test_classes_made_for_unknown_names_do_not_pile_up():
    for number in range(1500):
        exception_from_meta({"exc_type": f"E{number}", "exc_message": [], "exc_module": "m"})
    assert len(meta._made) <= 1000


def test_a_wrong_document_is_a_decode_error():
    with pytest.raises(DecodeError, match="a status"):
        JSON.decode(b"[1]")


@given(st.integers(0, 2**31 * 10**9))
@example(1_700_000_000 * 10**9)
def test_the_date_is_written_as_python_writes_it(nanos):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meta.time, "time_ns", lambda: nanos)
        shown = meta._now()
    expected = datetime.fromtimestamp(nanos // 10**9, timezone.utc).replace(microsecond=nanos // 1000 % 10**6)
    assert shown == expected.isoformat()
