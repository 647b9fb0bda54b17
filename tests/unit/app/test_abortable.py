from __future__ import annotations

from fastq.contrib.abortable import ABORTED, AbortableAsyncResult, AbortableTask


def test_a_task_learns_that_it_was_asked_to_stop(app):
    seen = []

    @app.task(bind=True, base=AbortableTask)
    def crunch(self):
        seen.append(self.is_aborted())
        self.AsyncResult(self.request.id).abort()
        seen.append(self.is_aborted())

    crunch.apply()
    assert seen == [False, True]


def test_sending_one_returns_a_handle_that_can_stop_it(app):
    @app.task(base=AbortableTask)
    def crunch():
        return 1

    result = crunch.delay()
    assert isinstance(result, AbortableAsyncResult)
    result.abort()
    assert (result.state, result.is_aborted(), result.ready()) == (ABORTED, True, False)


def test_what_has_ended_stays_as_it_is(app):
    app.store_result("x", 1, "SUCCESS")
    result = AbortableAsyncResult("x", app=app)
    result.abort()
    assert (result.is_aborted(), result.get(timeout=1)) == (False, 1)
