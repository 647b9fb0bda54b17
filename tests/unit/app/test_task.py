from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import pytest

from fastq import Celery, Fastq, Task, current
from fastq.exceptions import CeleryWarning
from fastq.request import Request


def test_calling_a_task_runs_its_function_with_a_request_of_its_own(app):
    @app.task(bind=True)
    def task(self, x):
        return self.request.called_directly, self.request.args, x

    assert task(5) == (True, (5,), 5)
    assert task.request.args is None


def test_a_task_that_calls_another_keeps_its_own_request(app):
    @app.task(bind=True)
    def inner(self):
        return self.request.args

    @app.task(bind=True)
    def outer(self, x):
        assert inner() == ()
        return self.request.args, current.task() is outer

    assert outer(1) == ((1,), True)


def test_requests_of_threads_are_their_own(app):
    seen = []

    @app.task(bind=True)
    def task(self, x):
        barrier.wait(5)
        seen.append((x, self.request.args))

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=task, args=(x,)) for x in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert sorted(seen) == [(1, (1,)), (2, (2,))]


def test_a_run_by_the_worker_is_found_through_the_slot(app, add):
    running = Request(id="1", called_directly=False)
    current.running = lambda task: running if task in (None, add) else None
    assert add.request is running
    assert current.parent() is running
    assert add(1, 2) == 3


def test_a_subclass_call_on_behalf_of_the_worker_is_no_direct_call(app):
    class Counted(Task):
        def __call__(self, *args):
            return "called", super().__call__(*args)

    @app.task(base=Counted, bind=True)
    def task(self):
        return self.request.called_directly

    assert task.traits.call is task
    token = current.push(task, Request(id="1", called_directly=False))
    try:
        assert task() == ("called", False)
        # From inside, and so not the worker's own call.
        assert task() == ("called", True)
    finally:
        current.pop(token)


def test_arguments_are_checked_when_the_task_is_sent(app, add):
    with pytest.raises(TypeError, match=r"add\(\) missing 1 required positional argument: 'x'"):
        add.delay()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        add.apply_async((1,), {"z": 3})
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3 were given"):
        add.delay(1, 2, 3)


def test_a_bound_task_is_checked_without_its_first_parameter(app):
    @app.task(bind=True)
    def task(self, a, /, b, *, c=1, **rest):
        pass

    assert task.delay(1, 2, c=3, d=4)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'b'"):
        task.delay(1)
    with pytest.raises(TypeError, match="positional-only"):
        @app.task
        def other(a, /):
            pass

        other.delay(a=1)


def test_checking_can_be_turned_off_for_a_task_and_for_an_app(app):
    @app.task(typing=False)
    def task(x):
        pass

    assert task.delay()
    loose = Fastq("loose", broker=app.conf.broker_url, strict_typing=False, set_as_current=False)

    @loose.task
    def other(x):
        pass

    assert other.delay()


def test_options_left_open_read_as_settings_also_when_they_change(app, add):
    assert (add.acks_late, add.serializer, add.time_limit) == (True, "json", None)
    app.conf.task_time_limit = 30
    assert (add.time_limit, add.traits.time_limit) == (30, 30)
    add.time_limit = 7
    assert (add.time_limit, add.traits.time_limit) == (7, 7)


def test_an_option_of_none_in_a_class_is_left_open_too(app):
    class Base(Task):
        acks_late = None

    assert app.task(base=Base, acks_late=None)(lambda: 1).acks_late is True


def test_acks_on_failure_falls_back_to_the_setting_for_both_cases():
    app = Celery("x", broker="memory://x", set_as_current=False)
    task = app.task(lambda: 1)
    assert (task.acks_on_failure, task.acks_on_timeout) == (True, True)
    app.conf.task_acks_on_failure_or_timeout = False
    app.conf.task_acks_on_timeout = True
    assert (task.acks_on_failure, task.acks_on_timeout) == (False, True)


def test_traits_tell_the_worker_all_of_a_task(app):
    @app.task(
        name="t", acks_late=False, ignore_result=True, track_started=True, time_limit=9, soft_time_limit=8.5,
        rate_limit="1/m", max_retries=None, throws=(KeyError,), reject_on_worker_lost=True, send_events=False,
        store_errors_even_if_ignored=True, resultrepr_maxsize=10,
    )
    async def task():
        pass

    traits = task.traits
    assert traits.call is task.run
    assert traits._asdict() == {
        "name": "t", "call": task.run, "is_async": True, "hooks": frozenset(), "acks_late": False,
        "acks_on_failure": True, "acks_on_timeout": True, "reject_on_worker_lost": True,
        "retry_on_worker_lost": False, "ignore_result": True, "store_errors_even_if_ignored": True,
        "track_started": True, "send_events": False, "time_limit": 9, "soft_time_limit": 8.5, "rate_limit": "1/m",
        "max_retries": None, "throws": (KeyError,), "resultrepr_maxsize": 10, "without_effect": (),
    }


def test_hooks_may_be_options(app):
    seen = []

    @app.task(on_success=lambda self, retval, task_id, args, kwargs: seen.append((self.name, retval)), name="t")
    def task():
        return 4

    assert task.traits.hooks == {"on_success"}
    task.apply()
    assert seen == [("t", 4)]


def test_on_bound_is_told_the_app(app):
    bound = []

    class Base(Task):
        @classmethod
        def on_bound(cls, app):
            bound.append(app)

    app.task(base=Base)(lambda: 1)
    assert bound == [app]


def test_update_state_stores_a_state_in_between(app):
    @app.task(bind=True)
    def task(self):
        self.update_state(state="PROGRESS", meta={"done": 50})
        return self.AsyncResult(self.request.id).info

    result = app.AsyncResult("some-id")
    assert task.apply(task_id="some-id").get() == {"done": 50}
    assert (result.state, result.info, result.ready()) == ("PROGRESS", {"done": 50}, False)


def test_a_task_pickles_as_its_name(app, add):
    assert pickle.loads(pickle.dumps(add)) is add


def test_a_task_class_without_run_says_so(app):
    task = app.register_task(Task(), name="x")
    with pytest.raises(TypeError, match=r"x has no run\(\)"):
        task()


def test_asynchronous_twins_send_too(app, add, sent):
    async def send_two():
        first = await add.adelay(1, 2)
        second = await add.aapply_async((3,), {"y": 4}, priority=5)
        third = await app.asend_task("other")
        return [first.id, second.id, third.id]

    ids = asyncio.run(send_two())
    assert sorted(content.headers["id"] for content in sent()) == sorted(ids)


def test_a_coroutine_function_can_be_applied_in_place_and_inside_a_loop(app):
    @app.task
    async def task(x):
        await asyncio.sleep(0)
        return x + 1

    async def inside():
        return task.apply((2,)).get()

    assert task.apply((1,)).get() == 2
    assert asyncio.run(inside()) == 3
    assert asyncio.run(task(4)) == 5


def test_whoever_replaces_apply_async_sees_plain_calls_too(app, add, monkeypatch):
    add.delay(1)
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(add, "apply_async", lambda args, kwargs: seen.append(("instance", args)))
        add.delay(2)
    with monkeypatch.context() as patch:
        patch.setattr(Task, "apply_async", lambda self, args, kwargs=None: seen.append(("class", tuple(args))))
        add.delay(3)
        add.map_delay([4])
        add.max_retries = 5
        add.delay(5)
    assert add.delay(6).id
    assert seen == [("instance", (2,)), ("class", (3,)), ("class", (4,)), ("class", (5,))]


def test_a_subclass_with_its_own_apply_async_is_asked_for_plain_calls(app, sent):
    class Tenant(Task):
        def apply_async(self, args=None, kwargs=None, **options):
            return super().apply_async(args, kwargs, **{**options, "headers": {"tenant": "blue"}})

    @app.task(base=Tenant)
    def task():
        pass

    task.delay()
    assert sent()[0].headers["tenant"] == "blue"


def test_a_hook_set_on_a_task_counts(app, add):
    assert add.traits.hooks == frozenset()
    add.on_failure = lambda *args: None
    assert add.traits.hooks == {"on_failure"}
    del add.on_failure
    assert add.traits.hooks == frozenset()


def test_a_shadow_name_is_sent(app, sent):
    @app.task(shadow_name=lambda self, args, kwargs, options: f"shadow-{args[0]}")
    def task(x):
        pass

    task.delay(1)
    assert sent()[0].headers["shadow"] == "shadow-1"


def test_a_test_may_say_which_run_it_is(app: Any) -> None:
    @app.task(bind=True)
    def tell(self: Any) -> Any:
        return self.request.id, self.request.retries, self.request.correlation_id

    tell.push_request(id="one", retries=2)
    tell.push_request({"id": "two"}, correlation_id="c")
    assert (tell.run(), tell.request.called_directly) == (("two", 0, "c"), True)
    tell.pop_request()
    assert tell.run() == ("one", 2, None)
    tell.pop_request()
    assert tell.request.id is None
    with pytest.raises(IndexError):
        tell.pop_request()


def test_a_method_may_be_wrapped_and_wrapped_anew(add: Any) -> None:
    add.add_around("run", lambda run: lambda *args: run(*args) * 2)
    assert add(1, 2) == 6
    add.add_around("run", lambda run: lambda *args: run(*args) + 1)
    assert add(1, 2) == 4


def test_custom_states_are_stored_with_what_is_told_of_them(app: Any) -> None:
    @app.task(bind=True)
    def load(self: Any) -> None:
        self.update_state(state="LOADING", meta={"done": 3})

    load.apply(task_id="t-1", throw=True)
    assert (app.AsyncResult("t-1").state, app.AsyncResult("t-1").info) == ("LOADING", {"done": 3})
    load.update_state("t-2", "LOADING", {"done": 4}, traceback="a text")
    assert app.AsyncResult("t-2").traceback == "a text"


def test_an_event_of_ones_own_is_not_sent_and_that_is_said(app):
    task = app.task(name="tell")(lambda: None)
    with pytest.warns(CeleryWarning, match=r"send_event\('task-progress'\) has no effect: fastq sends no events yet"):
        task.send_event("task-progress", percent=50)
