from __future__ import annotations

from typing import Any

import pytest

from fastq import Task, signals
from fastq.exceptions import Ignore, Reject


class Told(Task):
    """A task that notes which of its hooks are called, in `told`."""

    abstract = True

    def before_start(self, task_id, args, kwargs):
        self.told.append(("before_start", args))

    def on_success(self, retval, task_id, args, kwargs):
        self.told.append(("on_success", retval))

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self.told.append(("on_retry", repr(exc)))

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.told.append(("on_failure", repr(exc), "Traceback" in einfo.traceback))

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self.told.append(("after_return", status, repr(retval)))


def test_hooks_are_called_in_order(app):
    @app.task(base=Told, bind=True, told=[], max_retries=1)
    def task(self, x):
        if x is None:
            self.retry(exc=KeyError(), args=(7,))
        return 10 // x

    task.apply((5,))
    assert task.told == [("before_start", (5,)), ("on_success", 2), ("after_return", "SUCCESS", "2")]
    task.told.clear()
    task.apply((0,))
    assert [entry[0] for entry in task.told] == ["before_start", "on_failure", "after_return"]
    assert task.told[1][2] is True
    task.told.clear()
    task.apply((None,))
    assert [entry[0] for entry in task.told] == [
        "before_start", "on_retry", "before_start", "on_success", "after_return"]


def test_signals_are_sent_in_order(app, add):
    heard = []

    def hear(signal, sender, **named):
        heard.append((signal.name, sender.name))

    for name in ("task_prerun", "task_success", "task_failure", "task_postrun"):
        getattr(signals, name).connect(hear, sender=add)
    add.apply((1, 2))
    add.apply(("x", 2))
    assert [name for name, _ in heard] == [
        "task_prerun", "task_success", "task_postrun", "task_prerun", "task_failure", "task_postrun"]


def test_a_result_in_place_is_what_it_would_be(app, add):
    result = add.apply((1,), {"y": 2}, task_id="x")
    assert (result.id, result.get(), result.state) == ("x", 3, "SUCCESS")
    assert (result.successful(), result.ready()) == (True, True)
    failed = add.apply((1, "x"))
    assert (failed.state, failed.failed(), "TypeError" in failed.traceback) == ("FAILURE", True, True)
    with pytest.raises(TypeError):
        failed.get()
    assert isinstance(failed.get(propagate=False), TypeError)


def test_an_exception_is_raised_at_once_if_asked(app, add):
    with pytest.raises(TypeError):
        add.apply((1, "x"), throw=True)
    app.conf.task_eager_propagates = True
    with pytest.raises(TypeError):
        add.apply((1, "x"))
    assert add.apply((1, "x"), throw=False).failed()


def test_ignored_and_rejected_tasks_leave_neither_result_nor_exception(app):
    @app.task
    def task(error):
        raise error

    assert task.apply((Ignore(),)).state == "IGNORED"
    assert task.apply((Reject("no"),), throw=True).state == "REJECTED"


def test_the_request_in_place_looks_like_a_workers(app):
    @app.task(bind=True, name="t")
    def task(self):
        request = self.request
        return (request.id, request.is_eager, request.called_directly, request.root_id, request.retries,
                request.headers, request.delivery_info["routing_key"], request.time_limit, request.task)

    assert task.apply(task_id="x", headers={"a": 1}, queue="q", time_limit=4).get() == (
        "x", True, False, "x", 0, {"a": 1}, "q", 4, "t")


def test_a_task_in_place_is_the_parent_of_what_it_applies(app):
    @app.task(bind=True)
    def inner(self):
        return self.request.parent_id, self.request.root_id

    @app.task
    def outer():
        return inner.apply().get()

    assert outer.apply(task_id="outer").get() == ("outer", "outer")


def test_links_of_a_task_in_place_are_sent(app, add, sent):
    @app.task
    def fail():
        raise KeyError("why")

    add.apply((1, 2), link=add.s(10), task_id="a")
    fail.apply(link_error=[add.s(5)], task_id="b")
    first, second = sent()
    assert first.body.startswith(b"[[3, 10]")
    assert first.headers["parent_id"] == "a"
    assert second.body.startswith(b'[["b", 5]')


def test_an_errback_that_takes_the_exception_is_called_in_place(app, sent):
    called = []

    @app.task
    def errback(request, exc, traceback):
        called.append((request.id, repr(exc), "Traceback" in traceback))

    @app.task
    def fail():
        raise KeyError("why")

    fail.apply(link_error=errback.s(), task_id="x")
    assert called == [("x", "KeyError('why')", True)]
    assert sent() == []


def test_always_eager_runs_what_is_sent_and_the_arguments_go_over_the_wire_first(app, add, sent):
    @app.task
    def kind(x):
        return type(x).__name__

    kind.delay((1,))
    app.conf.task_always_eager = True
    assert kind.delay((1,)).get() == "list"
    assert kind.apply_async(((1,),), serializer="pickle").get() == "tuple"
    app.conf.task_always_eager = False
    assert kind.delay((1,)).state == "PENDING"


def test_results_in_place_are_stored_if_asked(app, add):
    add.apply((1, 2), task_id="a")
    app.conf.task_store_eager_result = True
    add.apply((1, 2), task_id="b")
    add.apply((1, "x"), task_id="c")
    assert app.AsyncResult("a").state == "PENDING"
    assert app.AsyncResult("b").get(timeout=1) == 3
    assert isinstance(app.AsyncResult("c").result, TypeError)


def test_a_request_in_place_has_limits_and_stamps(app: Any) -> None:
    @app.task(bind=True, time_limit=60)
    def tell(self: Any) -> Any:
        request = self.request
        return request.time_limit, request.soft_time_limit, request.stamped_headers, request.stamps

    assert tell.apply().get() == (60, None, None, None)
    stamped = tell.apply(soft_time_limit=5, stamped_headers=["tenant"], tenant="acme")
    assert stamped.get() == (60, 5, ["tenant"], {"tenant": ["acme"]})
