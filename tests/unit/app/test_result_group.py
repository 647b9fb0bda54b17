from __future__ import annotations

import asyncio
import builtins
import io
import pickle
import sys
import threading
import types

import pytest

from fastq import GroupResult, ResultSet, current, states
from fastq.exceptions import IncompleteStream, TimeoutError
from fastq.request import Request
from fastq.result import EagerResult, result_from_tuple


def end(app, task_id, value=5, state=states.SUCCESS, children=()):
    request = Request(id=task_id, called_directly=False)
    request.children = list(children)
    app.store_result(task_id, value, state, request=request)


@pytest.fixture
def asked(app, monkeypatch):
    """Count the questions put to the store."""
    store, calls = type(app.backend), []
    get = store.get
    monkeypatch.setattr(store, "get", lambda self, ids: calls.append(len(ids)) or get(self, ids))
    return calls


def group_of(app, *ids):
    return app.GroupResult("g", [app.AsyncResult(task_id) for task_id in ids])


def test_a_group_is_asked_about_as_one(app, asked):
    for number in range(2000):
        end(app, f"t{number}", number)
    group = group_of(app, *(f"t{number}" for number in range(2000)))
    assert (group.ready(), group.successful(), group.failed(), group.waiting()) == (True, True, False, False)
    assert (group.completed_count(), len(group)) == (2000, 2000)
    assert group.get(timeout=5) == list(range(2000))
    assert asked == [2000]


def test_values_come_in_the_order_of_the_members_however_the_tasks_end(app):
    group = group_of(app, "a", "b", "c")
    ends = threading.Thread(target=lambda: [end(app, task_id, task_id) for task_id in ("c", "a", "b")])
    ends.start()
    heard = []
    assert group.join(timeout=20) == ["a", "b", "c"]
    assert group.join(callback=lambda task_id, value: heard.append(value)) == []
    assert heard == ["a", "b", "c"]
    ends.join(20)


def test_more_members_than_are_waited_for_at_once(app, monkeypatch):
    monkeypatch.setattr("fastq.result.group.WINDOW", 3)
    group = group_of(app, *map(str, range(10)))
    ends = threading.Thread(target=lambda: [end(app, str(number), number) for number in reversed(range(10))])
    ends.start()
    assert group.get(timeout=20) == list(range(10))
    ends.join(20)


def test_a_failure_is_raised_before_the_others_have_ended(app):
    group = group_of(app, "slow", "bad")
    end(app, "bad", KeyError("why"), states.FAILURE)
    with pytest.raises(KeyError, match="why"):
        group.get(timeout=20)
    assert (group.failed(), group.waiting(), group.completed_count()) == (True, True, 0)
    with pytest.raises(KeyError):
        group.maybe_throw()
    end(app, "slow", 1)
    value, error = group.get(timeout=20, propagate=False)
    assert (value, error.args) == (1, ("why",))


def test_waiting_for_a_group_may_time_out_and_is_refused_inside_a_task(app, add):
    group = group_of(app, "a", "b")
    with pytest.raises(TimeoutError, match="2 of 2"):
        group.get(timeout=0.01)
    ticks = []
    with pytest.raises(TimeoutError):
        group.get(timeout=0.05, interval=0.01, on_interval=lambda: ticks.append(1))
    assert ticks
    current.running_task = lambda: add
    with pytest.raises(RuntimeError, match="within a task"):
        group.get()


@pytest.mark.parametrize("wait", ["get", "join", "join_native", "iter_native"])
def test_while_a_group_is_waited_for_somebody_is_called_every_interval(app, wait):
    group, ticks, left = group_of(app, "a", "b", "c"), [], ["a", "b", "c"]

    def tick():
        ticks.append(len(ticks))
        if len(ticks) % 2 == 0 and left:        # not at each: none may be missed in between
            task_id = left.pop()
            end(app, task_id, task_id)

    found = getattr(group, wait)(timeout=60, interval=0.01, on_interval=tick)
    if wait == "iter_native":
        assert [task_id for task_id, _ in found] == ["c", "b", "a"]
    else:
        assert found == ["a", "b", "c"]
    assert len(ticks) == 6 and not left


def test_documents_come_as_the_tasks_end(app):
    end(app, "b", 2)
    group = group_of(app, "a", "b")
    found = group.iter_native(timeout=20)
    task_id, meta = next(found)
    assert (task_id, meta["result"]) == ("b", 2)
    end(app, "a", 1)
    assert [task_id for task_id, _ in found] == ["a"]


def test_groups_inside_groups_keep_their_shape(app):
    for task_id in "abc":
        end(app, task_id, task_id)
    group = app.GroupResult("g", [app.AsyncResult("a"), app.GroupResult("h", [app.AsyncResult("b"),
                                                                             app.AsyncResult("c")])])
    assert group.get(timeout=5) == ["a", ["b", "c"]]
    assert (group.ready(), group.completed_count()) == (True, 2)
    again = result_from_tuple(group.as_tuple(), app)
    assert again == group
    assert again[1].get(timeout=5) == ["b", "c"]


def test_a_group_is_saved_and_found_again(app):
    group = app.GroupResult("g", [app.AsyncResult("a")], parent=app.AsyncResult("p"))
    assert GroupResult.restore("g", app=app) is None
    group.save()
    again = GroupResult.restore("g", app=app)
    assert (again, again.parent.id) == (group, "p")
    again.delete()
    assert app.restore_group("g") is None
    copied = pickle.loads(pickle.dumps(group))
    assert (copied, str(copied), bool(copied), bool(GroupResult())) == (group, "g", True, False)
    assert group == "g"
    assert group.as_list() == ["g", "p"]


def test_members_come_and_go(app):
    results = ResultSet([app.AsyncResult("a")])
    results.add(app.AsyncResult("a"))
    results.update([app.AsyncResult("b"), app.AsyncResult("c")])
    results.remove("a")
    results.discard("nobody")
    with pytest.raises(KeyError):
        results.remove("a")
    assert [result.id for result in results] == ["b", "c"]
    assert results[0] == "b"
    assert "b, c" in repr(results)
    results.clear()
    assert (len(results), results.get(), results.successful()) == (0, [], True)


def test_forgetting_a_group_forgets_its_members(app):
    end(app, "a")
    group = group_of(app, "a", "b")
    assert group.completed_count() == 1
    group.forget()
    assert (group[0].exists(), group.completed_count()) == (False, 0)


def test_results_in_place_mix_with_others(app):
    end(app, "a", 1)
    results = app.ResultSet([app.AsyncResult("a"), EagerResult("e", 2, "SUCCESS")])
    assert results.get(timeout=5) == [1, 2]
    results.forget()
    assert results[1].get() == 2


def test_a_group_can_be_awaited(app):
    group = group_of(app, "a", "b")

    async def main():
        waiting = asyncio.ensure_future(group.aget(timeout=20))
        await asyncio.sleep(0)
        for task_id in "ab":
            await asyncio.to_thread(end, app, task_id, task_id)
        assert await waiting == ["a", "b"]
        assert await group == ["a", "b"]

    asyncio.run(main())


def test_calls_follow_when_all_have_ended(app):
    group, done, bad = group_of(app, "a", "b"), threading.Event(), []
    assert group.then(lambda found: done.set()) is group
    end(app, "a")
    end(app, "b")
    assert done.wait(20)
    end(app, "c", KeyError("why"), states.FAILURE)
    app.AsyncResult("c").then(bad.append, lambda error: (bad.append(error), done.clear()))
    for _ in range(2000):
        if bad:
            break
        threading.Event().wait(0.01)
    assert isinstance(bad[0], KeyError)


# Trees

def grow(app):
    end(app, "leaf", 3)
    end(app, "middle", 2, children=[app.AsyncResult("leaf")])
    end(app, "top", 1, children=[app.AsyncResult("middle"), app.GroupResult("g", [app.AsyncResult("leaf")])])
    return app.AsyncResult("top")


def test_the_tree_below_a_task_is_walked(app):
    top = grow(app)
    assert [(node.id, value) for node, value in top.collect(timeout=5)] == [
        ("top", 1), ("middle", 2), ("g", [3]), ("leaf", 3), ("leaf", 3)]
    assert top.get_leaf() == 3
    graph = top.graph
    assert [str(node) for node in graph.topsort()][-1] == "top"
    assert graph.valency_of(top) == 4
    file = io.StringIO()
    graph.to_dot(file)
    assert '"top" -> "middle";' in file.getvalue()


def test_a_tree_that_is_not_complete_says_so(app):
    end(app, "top", 1, children=[app.AsyncResult("later")])
    top = app.AsyncResult("top")
    with pytest.raises(IncompleteStream, match="later"):
        list(top.iterdeps())
    assert [node.id for _, node in top.iterdeps(intermediate=True)] == ["top", "later"]


def test_a_chain_of_ten_thousand_comes_back_from_its_tuple(app):
    tree = None
    for number in range(10_000):
        tree = [[str(number), tree], None]
    result = result_from_tuple(tree, app)
    assert (result.id, len(result.as_list())) == ("9999", 10_000)
    assert result.as_tuple()[0][1][0][0] == "9998"


def test_a_chain_of_ten_thousand_is_pickled_asked_and_forgotten(app):
    end(app, "last", 7)
    result = app.AsyncResult("last")
    node = result
    for number in range(10_000):
        node.parent = app.AsyncResult(str(number))
        node = node.parent
    again = pickle.loads(pickle.dumps(result))
    assert (again, len(again.as_list())) == (result, 10_001)
    assert result.get(timeout=20) == 7
    result.forget()
    assert not result.exists()


def test_the_header_of_a_chord_is_the_parent_of_its_body(app):
    end(app, "a", 1)
    body = app.AsyncResult("body", parent=group_of(app, "a", "b"))
    end(app, "b", KeyError("why"), states.FAILURE)
    for wait in (lambda: body.get(timeout=20), lambda: asyncio.run(body.aget(timeout=20))):
        with pytest.raises(KeyError, match="why"):
            wait()
    end(app, "body", 5)
    assert body.get(timeout=20, follow_parents=False) == 5
    again = pickle.loads(pickle.dumps(body))
    members = [(("a", None), None), (("b", None), None)]
    assert (again.parent, body.as_tuple()) == ("g", (("body", (("g", None), members)), None))
    assert result_from_tuple(body.as_tuple(), app).parent == body.parent


def test_a_parent_without_a_result_holds_nobody_up(app):
    end(app, "child", 7)
    child = app.AsyncResult("child", parent=app.AsyncResult("never-stored"))
    assert child.get(timeout=20) == 7
    assert asyncio.run(app.AsyncResult("child", parent=app.AsyncResult("never-stored")).aget(timeout=20)) == 7


def test_a_bar_is_drawn_of_what_a_task_tells(app):
    app.store_result("x", {"current": 3, "total": 10, "status": "baking"}, "PROGRESS")
    file = io.StringIO()
    with pytest.raises(TimeoutError):
        app.AsyncResult("x", task_name="cake").watch(timeout=0.05, file=file)
    assert "cake baking" in file.getvalue()
    assert "3/10" in file.getvalue()
    end(app, "x", 5)
    assert app.AsyncResult("x").watch(timeout=20, file=io.StringIO()) == 5
    assert group_of(app, "x", "x").watch(timeout=20, file=io.StringIO()) == [5, 5]


def test_watching_ends_where_nothing_will_be_told(app):
    ignored = app.AsyncResult("i")
    ignored.ignored = True
    assert ignored.watch(timeout=20, file=io.StringIO()) is None
    end(app, "x", 5)
    file = io.StringIO()
    inner = app.GroupResult("h", [app.AsyncResult("x"), ignored])
    assert app.GroupResult("g", [ignored, inner]).watch(timeout=20, file=file) == [None, [5, None]]
    assert "1/1" in file.getvalue()


class ZMQInteractiveShell:
    """By this name a kernel of Jupyter is known."""


class Cell:
    """What a notebook shows under a cell, as a front end of the test's own keeps it."""

    def __init__(self):
        self.shown = []

    def display(self, shown, *, display_id):
        self.update(shown)
        return self

    def update(self, shown):
        self.shown.append(shown._repr_mimebundle_([], []))


def test_a_bar_in_a_notebook_is_one_output_that_changes(app, monkeypatch):
    cell, front = Cell(), types.ModuleType("IPython.display")
    front.display = cell.display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", front)
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    app.store_result("x", {"current": 3, "total": 10, "status": "baking"}, "PROGRESS")
    with pytest.raises(TimeoutError):
        app.AsyncResult("x", task_name="cake").watch(timeout=0.05)
    assert "cake baking" in cell.shown[-1]["text/plain"] and "3/10" in cell.shown[-1]["text/html"]
    end(app, "x", 5)
    assert app.AsyncResult("x", task_name="cake").watch(timeout=20) == 5
    assert "cake SUCCESS" in cell.shown[-1]["text/plain"] and "1/1" in cell.shown[-1]["text/html"]
