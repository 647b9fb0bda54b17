"""Workflows that run in place, and what tasks in them see and become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastq import chain, chord, current, group
from fastq.exceptions import ImproperlyConfigured
from tests.unit.canvas.conftest import Sent


def test_a_task_in_place_becomes_what_it_is_replaced_by(app: Any, add: Any, total: Any):
    @app.task(bind=True)
    def become(self: Any, kind: str) -> Any:
        return self.replace({"task": add.si(3, 4), "chain": add.si(3, 4) | add.s(5), "group": group(add.si(1, 1)),
                             "chord": group(add.si(1, 1), add.si(2, 2)) | total.s()}[kind])

    assert [become.apply((kind,)).get() for kind in ("task", "chain", "group", "chord")] == [7, 12, [2], 6]
    assert (become.s("task") | add.s(1)).apply().get() == 8


def test_what_cannot_take_the_place_of_a_task_is_refused(app: Any, add: Any):
    @app.task(bind=True)
    def become(self: Any, sig: Any) -> Any:
        return self.replace(sig)

    with pytest.raises(ImproperlyConfigured, match="belongs to a chord already"):
        become.apply((add.s(1, 1).set(chord=add.s()),), throw=True)
    with pytest.raises(ImproperlyConfigured, match="an empty chain cannot take the place"):
        become.apply((chain(),), throw=True)


def test_one_that_overrides_on_replace_sees_what_takes_its_place(app: Any, add: Any):
    seen = []

    class Watching(app.Task):  # type: ignore[name-defined,misc]
        def on_replace(self, sig: Any) -> Any:
            seen.append((sig.task, sig.id))
            return super().on_replace(sig)

    @app.task(bind=True, base=Watching)
    def become(self: Any) -> Any:
        return self.replace(add.si(1, 1))

    result = become.apply()
    assert (result.get(), seen) == (2, [(add.name, result.id)])


def test_only_a_member_of_a_chord_adds_to_it(app: Any, add: Any):
    @app.task(bind=True)
    def join(self: Any) -> Any:
        return self.add_to_chord(add.s(1, 1))

    with pytest.raises(ValueError, match="not a member of a chord"):
        join.apply(throw=True)


def test_a_member_of_a_chord_adds_to_it(app: Any, add: Any, total: Any, sent: Sent, monkeypatch: pytest.MonkeyPatch):
    added = []
    monkeypatch.setattr(app.backend, "chord_add", lambda group_id, count=1: added.append((group_id, count)))

    @app.task(bind=True)
    def join(self: Any) -> Any:
        self.add_to_chord(add.s(1, 1))
        return self.add_to_chord(add.s(2, 2), lazy=True).options["group_id"]

    assert join.apply(chord=dict(total.s()), group_id="g", group_index=3).get() == "g"
    (message,) = sent()
    assert added == [("g", 1), ("g", 1)]
    assert (message.headers["group"], message.headers["group_index"]) == ("g", 3)


def test_a_task_in_place_sees_its_stamps(app: Any):
    @app.task(bind=True)
    def look(self: Any) -> Any:
        return self.request.stamps

    made = look.s() | look.si()
    made.stamp(trace="x")
    assert made.apply().get() == made.apply().parent.get() == {"trace": ["x"]}


def test_a_failure_in_place_is_raised_where_no_app_is_current(app: Any, total: Any):
    @app.task
    def fail(x: int = 0) -> int:
        raise KeyError(x)

    app.conf.task_always_eager = True
    current.set_app(None)
    failed = fail.delay(1)
    with pytest.raises(KeyError) as raised:
        failed.maybe_throw()
    assert raised.value is failed.result and failed.app is app
    with pytest.raises(KeyError):
        group(fail.s(1), fail.s(2))().get()
    with pytest.raises(KeyError):
        chord([fail.s(1), fail.s(2)], total.s())()


def test_a_chord_of_nobody_in_place_runs_its_body_where_no_app_is_current(app: Any, total: Any):
    app.conf.task_always_eager = True
    current.set_app(None)
    assert chord([], total.s())().get() == 0
    assert chord([])(total.s()).get() == 0


def test_a_chord_of_nobody_is_sent_by_the_app_of_its_body(app: Any, total: Any, sent: Sent):
    current.set_app(None)
    chord([])(total.s())
    assert [json.loads(content.body)[0] for content in sent()] == [[[]]]
