"""What Celery's users reach for by name, in the classes that have Celery's names."""

from __future__ import annotations

from typing import Any

import celery.canvas
import celery.result
import celery.states
import pytest

from fastq import Signature, canvas, chain, chord, group, result, states
from fastq.exceptions import InvalidTaskError
from tests.unit.canvas.conftest import Sent

CLASSES = ("Signature", "chain", "group", "chord", "xmap", "xstarmap", "chunks", "StampingVisitor", "AsyncResult",
           "GroupResult", "ResultSet", "EagerResult", "ResultBase")


@pytest.mark.parametrize("name", CLASSES)
def test_no_public_name_of_celerys_is_missing(name: str):
    theirs, ours = (celery.canvas, canvas) if hasattr(canvas, name) else (celery.result, result)
    missing = {attribute for attribute in set(dir(getattr(theirs, name))) - set(dir(getattr(ours, name)))
               if not attribute.startswith("_")}
    # These two are there once an object is made.
    assert missing <= ({"id", "results"} if name in ("ResultSet", "GroupResult") else set())


def test_no_state_is_missing():
    assert {name for name in dir(celery.states) if not name.startswith("_")} - {"annotations"} <= set(dir(states))
    assert celery.states.PRECEDENCE_LOOKUP == states.PRECEDENCE_LOOKUP


def test_every_handle_is_a_result(app: Any):
    handles = app.AsyncResult("x"), app.GroupResult("g", []), app.ResultSet([]), result.EagerResult("e", 1, "SUCCESS")
    assert all(isinstance(handle, result.ResultBase) and handle.parent is None for handle in handles)


def test_an_election_has_one_message(add: Any, sent: Sent):
    assert add.s(1, 1).set(task_id="x").election().id == "x"
    assert [content.headers["id"] for content in sent()] == ["x"]


def test_the_options_that_stay_are_the_classs_own(add: Any):
    class Mine(Signature[Any]):
        _IMMUTABLE_OPTIONS = Signature._IMMUTABLE_OPTIONS | {"queue"}

    sig = Mine(add, (1,), options={"queue": "a", "group_id": "g"})
    assert sig.clone(queue="b", group_id="h", priority=3).options == {"queue": "a", "group_id": "g", "priority": 3}


def test_the_steps_of_a_chain_are_prepared_from_the_last_on(add: Any, mul: Any, total: Any):
    made = add.s(1) | group(add.s(1), mul.s(2)) | total.s()
    steps, results = made.prepare_steps((5,), {}, made.tasks, last_task_id="last", link_error=add.s())
    assert [step.subtask_type for step in steps] == ["chord", None] and steps[-1].args == (5, 1)
    assert results[0].id == "last" == made.id and results[-1].id == steps[-1].id
    assert steps[-1].options["link_error"] == [add.s()] and made.tasks[0].options == {}
    kept = [add.s(1), add.s(2)]
    steps, _ = made.prepare_steps((), {}, [dict(kept[0]), kept[1]], clone=False)
    assert steps[0] is kept[1]


def test_a_chord_in_a_chain_gives_it_its_steps(add: Any, total: Any):
    made = chain.of([add.s(1, 1), chord([add.s(1)], total.s() | add.s(2) | add.s(3))])
    made._unroll_chords()
    assert made.tasks == [add.s(1, 1), chord([add.s(1)], total.s()), add.s(2), add.s(3)]


def test_a_header_is_counted_as_celery_counts_it(add: Any, total: Any):
    sigs = (add.s(), group(add.s(), add.s() | add.s()), add.s() | group(add.s(), add.s()), chord([add.s()], total.s()))
    for sig in sigs:
        theirs = celery.canvas.Signature.from_dict(canvas.plain.plain(sig))
        assert chord._descend(sig) == chord._descend(dict(sig)) == celery.canvas._chord._descend(theirs)
    assert chord._descend([add.s(), add.s()]) == 2


def test_the_end_of_a_task_is_a_promise(app: Any):
    handle, heard = app.AsyncResult("x"), []
    assert (handle.on_ready.ready, handle.on_ready.failed, handle.on_ready.value) == (False, False, None)
    app.store_result("x", 5, states.SUCCESS)
    handle.on_ready.then(heard.append)
    handle.get(timeout=20)
    handle.on_ready.then(heard.append)
    assert handle in heard and handle.on_ready.ready and handle.on_ready.value == ((handle,), {})
    app.store_result("y", KeyError("why"), states.FAILURE)
    for failed in (app.AsyncResult("y"), app.GroupResult("g", [app.AsyncResult("y")])):
        assert failed.on_ready.failed and isinstance(failed.on_ready.reason, KeyError)
    assert handle.on_ready.reason is None


def test_a_kind_that_nobody_knows_is_refused(app: Any):
    with pytest.raises(InvalidTaskError, match="type 'net' are not known"):
        canvas.signature({"task": "celery.chain", "subtask_type": "chain", "kwargs": {
            "tasks": [{"task": "x", "subtask_type": "net", "args": (), "kwargs": {}, "options": {}}]}}, app=app)
