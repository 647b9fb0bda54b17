from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from datetime import datetime, timezone

import pytest

from fastq import AsyncResult, EagerResult, current, states
from fastq.exceptions import BackendError, TaskRevokedError, TimeoutError
from fastq.request import Request
from fastq.result import allow_join_result, denied_join_result, result_from_tuple


def end(app, task_id, value=5, state=states.SUCCESS, **fields):
    app.store_result(task_id, value, state, request=Request(**fields) if fields else None)


def test_a_result_that_is_there_is_read(app):
    end(app, "x", {"a": [1]})
    result = app.AsyncResult("x")
    assert (result.get(timeout=0), result.state, result.status, result.result, result.info) == (
        {"a": [1]}, "SUCCESS", "SUCCESS", {"a": [1]}, {"a": [1]})
    assert (result.ready(), result.successful(), result.failed(), result.exists()) == (True, True, False, True)
    assert result.traceback is None
    assert result.date_done.tzinfo is not None
    assert abs((datetime.now(timezone.utc) - result.date_done).total_seconds()) < 60


def test_a_result_nobody_knows_is_pending(app):
    result = app.AsyncResult("x")
    assert (result.state, result.result, result.ready(), result.exists(), result.children) == (
        "PENDING", None, False, False, None)
    with pytest.raises(TimeoutError, match="x"):
        result.get(timeout=0.01)
    with pytest.raises(result.TimeoutError):
        result.wait(0)


def test_get_wakes_when_the_result_is_stored(app):
    result = app.AsyncResult("x")
    timer = threading.Timer(0.05, end, (app, "x"))
    timer.start()
    assert result.get(timeout=10) == 5
    timer.join(5)


def test_an_exception_is_raised_or_returned(app):
    app.store_result("x", KeyError("why", 1), "FAILURE", "Traceback: ...")
    result = app.AsyncResult("x")
    with pytest.raises(KeyError, match="why"):
        result.get()
    assert result.get(propagate=False).args == ("why", 1)
    assert (result.failed(), result.traceback) == (True, "Traceback: ...")
    with pytest.raises(KeyError):
        result.maybe_throw()


def test_a_revoked_task_raises_too(app):
    end(app, "x", TaskRevokedError("revoked"), "REVOKED")
    with pytest.raises(TaskRevokedError):
        app.AsyncResult("x").get(timeout=1)


def test_what_others_stored_as_a_failure_is_raised_whatever_it_is(app):
    end(app, "x", "text", "FAILURE")
    with pytest.raises(Exception, match="text"):
        app.AsyncResult("x").get(timeout=1)


def test_callbacks_hear_of_the_result(app):
    end(app, "x")
    heard = []
    app.AsyncResult("x").get(callback=lambda task_id, value: heard.append((task_id, value)),
                             on_message=lambda meta: heard.append(meta["status"]))
    assert heard == ["SUCCESS", ("x", 5)]


def test_the_interval_only_paces_its_callback(app):
    ticks = []

    def tick():
        ticks.append(1)
        if len(ticks) == 2:
            end(app, "x")

    assert app.AsyncResult("x").get(timeout=10, interval=0.01, on_interval=tick) == 5
    assert len(ticks) == 2


def test_an_ignored_result_is_none_at_once(app, add):
    result = add.apply_async((1,), ignore_result=True)
    assert result.get() is None
    assert asyncio.run(result.aget()) is None
    add.ignore_result = True
    assert add.delay(1).get() is None
    assert add.apply_async((1,), ignore_result=False).ignored is False


def test_waiting_inside_a_task_is_refused_unless_allowed(app, add):
    end(app, "x")
    current.running_task = lambda: add
    result = app.AsyncResult("x")
    with pytest.raises(RuntimeError, match=r"Never call result.get\(\) within a task"):
        result.get()
    assert result.get(disable_sync_subtasks=False) == 5
    with allow_join_result():
        assert result.get() == 5
        with denied_join_result(), pytest.raises(RuntimeError):
            result.get()
    assert app.AsyncResult("x").ready()


def test_a_failed_parent_is_raised_first(app):
    app.store_result("parent", KeyError("parent"), "FAILURE")
    end(app, "child")
    child = app.AsyncResult("child", parent=app.AsyncResult("parent", parent=app.AsyncResult("grand")))
    end(app, "grand")
    with pytest.raises(KeyError):
        child.get()
    with pytest.raises(KeyError):
        asyncio.run(child.aget())
    assert child.get(follow_parents=False) == 5
    assert child.as_list() == ["child", "parent", "grand"]


def test_children_come_back_as_handles(app, add):
    request = Request(id="x", called_directly=False)
    request.children.append(AsyncResult("a", parent=AsyncResult("b")))
    app.store_result("x", 1, "SUCCESS", request=request)
    (child,) = app.AsyncResult("x").children
    assert (child.id, child.parent.id) == ("a", "b")


def test_a_group_among_the_children_keeps_its_members(app):
    meta = {"status": "SUCCESS", "result": 1, "children": [[["g", None], [[["a", None], None], [["b", None], None]]]]}
    result = app.AsyncResult("x")
    result._meta = meta
    (group,) = result.children
    assert (group.id, list(group)) == ("g", ["a", "b"])
    assert result.children[0] is group


def test_handles_go_into_tuples_and_back(app):
    result = AsyncResult("a", parent=AsyncResult("b"))
    assert result.as_tuple() == (("a", (("b", None), None)), None)
    again = result_from_tuple([["a", [["b", None], None]], None], app)
    assert (again, again.parent.id, again.app) == (result, "b", app)
    assert result_from_tuple(result) is result
    assert result_from_tuple(("a", None)).id == "a"


def test_forgetting_drops_the_document(app):
    end(app, "x")
    result = app.AsyncResult("x")
    assert result.get() == 5
    result.forget()
    assert result.state == "PENDING"


def test_more_is_known_of_a_result_if_it_was_kept(app):
    app.conf.result_extended = True
    end(app, "x", id="x", task="t", args=[1], kwargs={"a": 2}, hostname="w@h", retries=3,
        delivery_info={"routing_key": "q"}, parent_id="p", group="g")
    result = app.AsyncResult("x")
    assert (result.name, result.args, result.kwargs, result.worker, result.retries, result.queue) == (
        "t", [1], {"a": 2}, "w@h", 3, "q")


def test_handles_are_equal_by_id(app):
    one = AsyncResult("a")
    assert one == AsyncResult("a") == "a"
    assert one != AsyncResult("b")
    assert one != 5
    assert len({one, AsyncResult("a")}) == 1
    assert (str(one), repr(one), one.task_id) == ("a", "<AsyncResult: a>", "a")
    assert pickle.loads(pickle.dumps(one)) == copy.copy(one) == one


def test_a_handle_needs_an_id():
    with pytest.raises(ValueError, match="not None"):
        AsyncResult(None)


def test_a_handle_without_an_app_asks_the_current_one(app):
    end(app, "x")
    assert AsyncResult("x").get(timeout=1) == 5


def test_a_handle_may_have_a_store_of_its_own(app):
    class Store:
        def get(self, task_ids):
            return {"x": b'{"status": "SUCCESS", "result": 1}'}

        wait = forget = lambda self, task_ids, timeout=None: self.get(task_ids)

    assert AsyncResult("x", Store(), app=app).get(timeout=1) == 1


# In event loops

def test_results_can_be_awaited(app, add):
    async def main():
        results = [await add.adelay(number) for number in range(50)]
        waiting = [asyncio.ensure_future(result.aget(timeout=10)) for result in results]
        await asyncio.sleep(0)
        for number, result in enumerate(results):
            await asyncio.to_thread(end, app, result.id, number)
        assert await asyncio.gather(*waiting) == list(range(50))
        assert await results[0] == 0

    before = set(threading.enumerate())
    asyncio.run(main())
    assert [thread.name for thread in threading.enumerate() if thread not in before] in ([], ["fastq-results"])


def test_one_result_can_be_awaited_by_many_and_in_many_loops(app):
    async def main():
        return await asyncio.gather(*(app.AsyncResult("x") for _ in range(3)))

    timer = threading.Timer(0.05, end, (app, "x"))
    timer.start()
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(asyncio.run(main()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in (*threads, timer):
        thread.join(10)
    assert outcomes == [[5, 5, 5]] * 2


def test_awaiting_may_time_out_or_be_cancelled_and_others_go_on(app):
    async def main():
        with pytest.raises(TimeoutError):
            await app.AsyncResult("never").aget(timeout=0.01)
        cancelled = asyncio.ensure_future(app.AsyncResult("x").aget())
        other = asyncio.ensure_future(app.AsyncResult("x").aget(timeout=10))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.to_thread(end, app, "x")
        assert await other == 5
        with pytest.raises(asyncio.CancelledError):
            await cancelled

    asyncio.run(main())


def test_an_exception_is_raised_where_the_result_is_awaited(app):
    app.store_result("x", KeyError("why"), "FAILURE")

    async def main():
        assert isinstance(await app.AsyncResult("x").aget(propagate=False), KeyError)
        with pytest.raises(KeyError):
            await app.AsyncResult("x")

    asyncio.run(main())


def test_a_store_that_fails_fails_those_who_wait(app, monkeypatch):
    def wait(store, task_ids, timeout):
        raise BackendError("gone")

    monkeypatch.setattr(type(app.backend), "wait", wait)
    with pytest.raises(BackendError, match="gone"):
        asyncio.run(app.AsyncResult("x").aget())


# In place

def test_a_result_in_place_can_be_awaited_revoked_and_pickled():
    result = EagerResult("x", 5, "SUCCESS", name="t")
    assert asyncio.run(result.aget()) == 5
    assert pickle.loads(pickle.dumps(result)).name == "t"
    result.forget()
    assert (result.get(), result.exists(), result.ready()) == (5, True, True)
    result.revoke()
    with pytest.raises(TaskRevokedError):
        result.get()
