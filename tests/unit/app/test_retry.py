from __future__ import annotations

import asyncio

import pytest

from fastq import current, states
from fastq.app import eager
from fastq.exceptions import Ignore, MaxRetriesExceededError, Reject, Retry
from fastq.request import Request


@pytest.fixture
def running():
    """Make a task run as a worker runs it: returns a function (task, **fields of the request) -> what it raised."""
    def run(task, *args, **fields):
        request = Request(id="id-1", task=task.name, args=args, kwargs={}, called_directly=False,
                          **{"delivery_info": {"exchange": "", "routing_key": "video", "priority": 6}, **fields})
        current.running = lambda asked: request if asked in (None, task) else None
        current.running_task = lambda: task
        try:
            return task.run(*args)
        except BaseException as error:
            return error

    return run


def test_a_retry_is_raised_with_the_signature_to_send_again(app, running):
    @app.task(bind=True, name="t")
    def task(self, x):
        self.retry(countdown=5, exc=KeyError("why"))

    retry = running(
        task, 1, root_id="root", retries=1, headers={"tenant": "a", "x-death": [1]}, timelimit=[9, 8],
        callbacks=[task.s(2)], errbacks=[task.s(3)], group="g", group_index=2, expires="2031-01-01T00:00:00",
        shadow="s", ignore_result=False, stamped_headers=["trace"], stamps={"trace": "x"}, reply_to="r",
    )
    assert isinstance(retry, Retry)
    assert (retry.when, repr(retry.exc)) == (5, "KeyError('why')")
    assert (retry.sig.task, retry.sig.args, retry.sig.kwargs) == ("t", (1,), {})
    assert retry.sig.options == {
        "task_id": "id-1", "root_id": "root", "parent_id": "id-1", "retries": 2, "queue": "video", "priority": 6,
        "countdown": 5, "headers": {"tenant": "a"}, "time_limit": 9, "soft_time_limit": 8, "link": [task.s(2)],
        "link_error": [task.s(3)], "group_id": "g", "group_index": 2, "expires": "2031-01-01T00:00:00", "shadow": "s",
        "ignore_result": False, "stamped_headers": ["trace"], "trace": "x", "reply_to": "r",
        "replaced_task_nesting": 0,
    }
    assert app.message_of(retry.sig).queue == "video"


def test_a_retry_waits_the_tasks_own_delay_unless_told(app, running):
    @app.task(bind=True, default_retry_delay=7)
    def task(self, **options):
        raise self.retry(**options)

    assert running(task).when == 7
    assert running(task).sig.options["countdown"] == 7


def test_arguments_may_be_replaced_in_a_retry_one_kind_or_both(app, running):
    @app.task(bind=True)
    def task(self, *args, **kwargs):
        self.retry(kwargs={"y": 2}, queue="other", priority=1)

    sig = running(task, 1).sig
    assert (sig.args, sig.kwargs, sig.options["queue"], sig.options["priority"]) == ((1,), {"y": 2}, "other", 1)


def test_a_task_retried_as_often_as_it_may_raises_the_reason(app, running):
    @app.task(bind=True, max_retries=3)
    def task(self, exc):
        raise self.retry(exc=exc)

    error = KeyError("why")
    assert isinstance(running(task, error, retries=2), Retry)
    assert running(task, error, retries=3) is error
    exceeded = running(task, None, retries=3)
    assert isinstance(exceeded, MaxRetriesExceededError)
    assert (exceeded.task_args, exceeded.task_kwargs) == ((None,), {})


def test_a_task_may_be_retried_for_ever(app, running):
    @app.task(bind=True, max_retries=None)
    def task(self):
        self.retry()

    assert isinstance(running(task, retries=10**6), Retry)


def test_a_task_called_directly_raises_the_reason(app):
    @app.task(bind=True)
    def task(self, exc):
        self.retry(exc=exc)

    with pytest.raises(KeyError):
        task(KeyError("why"))
    with pytest.raises(Retry, match="called directly"):
        task(None)


def test_a_retry_that_is_not_thrown_is_sent_at_once_and_has_nothing_left_to_send(app, running, sent):
    @app.task(bind=True)
    def task(self):
        return self.retry(throw=False, countdown=0.001, queue="video")

    retry = running(task)
    assert isinstance(retry, Retry)
    assert retry.sig is None
    assert app.transport.queues()["video"] != (0, 0, 0, 0)


def test_a_retry_that_cannot_be_sent_sets_the_message_aside(app, running):
    @app.task(bind=True)
    def task(self):
        self.retry(throw=False, args=(object(),))

    reject = running(task)
    assert isinstance(reject, Reject)
    assert reject.requeue is False


# autoretry_for

def test_listed_exceptions_retry_the_task_by_themselves(app, running):
    @app.task(autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,), max_retries=2, name="t")
    def task(error):
        raise error

    retry = running(task, OSError("x"))
    assert isinstance(retry, Retry)
    assert isinstance(retry.__context__, OSError)
    assert isinstance(running(task, FileNotFoundError()), FileNotFoundError)
    assert isinstance(running(task, KeyError()), KeyError)
    assert isinstance(running(task, OSError("x"), retries=2), OSError)
    for control in (Ignore(), Reject("r"), Retry("again")):
        assert running(task, control) is control


def test_retries_back_off_exponentially_within_a_cap(app, running):
    @app.task(autoretry_for=(OSError,), retry_backoff=3, retry_backoff_max=20, retry_jitter=False, max_retries=9)
    def task():
        raise OSError

    assert [running(task, retries=retries).when for retries in range(5)] == [3, 6, 12, 20, 20]
    task.retry_jitter = True
    assert 0 <= running(task, retries=4).when <= 20


def test_retry_options_are_passed_on(app, running):
    @app.task(autoretry_for=(OSError,), retry_kwargs={"max_retries": 1, "countdown": 4, "queue": "slow"})
    def task():
        raise OSError

    assert (running(task).when, running(task).sig.options["queue"]) == (4, "slow")
    assert isinstance(running(task, retries=1), OSError)


def test_a_limit_given_to_retry_holds_for_the_automatic_retry_too(app, running):
    @app.task(bind=True, autoretry_for=(OSError,), max_retries=3)
    def task(self):
        self.retry(exc=OSError(), max_retries=10)

    assert isinstance(running(task, retries=5), Retry)
    assert isinstance(running(task, retries=10), OSError)


def test_coroutines_are_retried_by_themselves_too(app, running):
    @app.task(autoretry_for=(OSError,))
    async def task():
        raise OSError

    assert task.traits.is_async
    coroutine = running(task)
    with pytest.raises(Retry):
        asyncio.run(coroutine)


# In place

def test_a_task_in_place_is_retried_in_place(app):
    @app.task(bind=True, max_retries=3)
    def task(self):
        if self.request.retries < 2:
            self.retry(countdown=100)
        return self.request.retries

    assert task.apply().get() == 2


def test_a_task_in_place_that_fails_for_good_has_the_last_reason(app):
    @app.task(bind=True, max_retries=1)
    def task(self):
        self.retry(exc=KeyError(self.request.retries))

    result = task.apply()
    assert (result.state, repr(result.result)) == ("FAILURE", "KeyError(1)")
    with pytest.raises(KeyError):
        task.apply(throw=True)


def test_how_a_run_ended_is_a_value(app, add):
    request = Request(id="1", args=(1, 2), kwargs={}, called_directly=False)
    assert eager.run(add, request) == (states.SUCCESS, 3, None)
