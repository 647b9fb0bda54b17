"""The twins that let an event loop run while they wait."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Coroutine
from typing import Any

import pytest

from fastq import group, states
from fastq.exceptions import IncompleteStream, TimeoutError
from fastq.request import Request
from fastq.result import EagerResult
from fastq.result.awaiting import AT_ONCE, tree_below


def end(app: Any, task_id: str, value: Any = 5, state: str = states.SUCCESS, children: Any = ()) -> None:
    request = Request(id=task_id, called_directly=False)
    request.children = list(children)
    app.store_result(task_id, value, state, request=request)


def beside(wait: Coroutine[Any, Any, Any], *calls: Any) -> Any:
    """Return what *wait* returns, while each of *calls* is made after the loop has been in it."""
    async def main() -> Any:
        waiting = asyncio.ensure_future(wait)
        for call in calls:
            await asyncio.sleep(0)
            assert not waiting.done()
            await asyncio.to_thread(*call)
        return await waiting

    return asyncio.run(main())


def many(app: Any, *ids: str) -> Any:
    return app.GroupResult("g", [app.AsyncResult(task_id) for task_id in ids])


def test_members_come_as_they_end(app: Any):
    async def ids(results: Any) -> list[str]:
        return [(task_id, document["result"]) async for task_id, document in results.aiter_native(timeout=60)]

    end(app, "b", 2)
    told = beside(ids(many(app, "a", "b", "c")), (end, app, "c", 3), (end, app, "a", 1))
    assert told[0] == ("b", 2) and sorted(told) == [("a", 1), ("b", 2), ("c", 3)]


def test_more_members_than_are_awaited_at_once(app: Any):
    ids = [f"t{number}" for number in range(AT_ONCE + 50)]

    def end_all() -> None:
        for number, task_id in enumerate(ids[::-1]):
            end(app, task_id, number)

    assert beside(many(app, *ids).aget(timeout=60), (end_all,)) == [*range(len(ids))][::-1]


def test_callbacks_are_told_of_each_member(app: Any):
    calls: list[Any] = []
    messages: list[Any] = []
    end(app, "a", 1)
    got = beside(many(app, "a", "b").aget(60, callback=lambda *told: calls.append(told), on_message=messages.append),
                 (end, app, "b", 2))
    assert (got, calls) == (None, [("a", 1), ("b", 2)])
    assert [message["result"] for message in messages] == [2]
    calls.clear()
    assert asyncio.run(many(app, "b", "a").ajoin(60, callback=lambda *told: calls.append(told))) == []
    assert calls == [("b", 2), ("a", 1)]


def test_groups_in_groups_ignored_and_eager_ones_are_awaited(app: Any):
    ignored = app.AsyncResult("i")
    ignored.ignored = True
    mixed = app.ResultSet([many(app, "a", "b"), ignored, EagerResult("e", 7, "SUCCESS")])
    assert beside(mixed.aget(60), (end, app, "a", 1), (end, app, "b", 2)) == [[1, 2], None, 7]


def test_the_first_failure_is_raised_and_the_rest_not_awaited(app: Any):
    end(app, "b", KeyError("why"), states.FAILURE)
    with pytest.raises(KeyError, match="why"):
        asyncio.run(many(app, "never", "b").aget(60))
    end(app, "c", 3)
    error, value = asyncio.run(many(app, "b", "c").aget(60, propagate=False))
    assert isinstance(error, KeyError) and value == 3


def test_what_has_not_ended_in_time_is_named(app: Any):
    end(app, "a")
    with pytest.raises(TimeoutError, match="1 of 2 tasks have not ended in time, one of them never"):
        asyncio.run(many(app, "a", "never").aget(0.01))


def test_the_tree_below_a_task_is_walked(app: Any):
    end(app, "leaf", 3)
    end(app, "top", 1, children=[app.AsyncResult("later"), many(app, "leaf")])
    top = app.AsyncResult("top")

    async def walk(**options: Any) -> list[Any]:
        return [(node.id, value) async for node, value in top.acollect(**options)]

    async def look(intermediate: bool) -> list[str]:
        return [node.id async for node in tree_below(top, intermediate)]

    with pytest.raises(IncompleteStream, match="later"):
        asyncio.run(look(intermediate=False))
    assert asyncio.run(look(intermediate=True)) == ["top", "later", "g", "leaf"]
    assert beside(walk(timeout=60), (end, app, "later", 2)) == [("top", 1), ("later", 2), ("g", [3]), ("leaf", 3)]
    assert asyncio.run(top.aget_leaf()) == 3


def test_a_bar_is_drawn_while_the_loop_runs(app: Any):
    app.store_result("x", {"current": 3, "total": 10, "status": "baking"}, "PROGRESS")
    file = io.StringIO()
    with pytest.raises(TimeoutError, match="task x has not ended in time"):
        asyncio.run(app.AsyncResult("x").awatch(0.05, file=file))
    assert "baking" in file.getvalue() and "3/10" in file.getvalue()
    assert beside(app.AsyncResult("x").awatch(60, file=io.StringIO()), (end, app, "x", 5)) == 5
    assert asyncio.run(many(app, "x", "x").awatch(60, file=io.StringIO())) == [5, 5]
    assert asyncio.run(EagerResult("e", 7, "SUCCESS").awatch()) == 7


def test_revoking_lets_the_loop_run(app: Any):
    replies = [asyncio.run(app.AsyncResult("x").arevoke(wait=True, timeout=0.01)),
               asyncio.run(many(app, "y", "z").arevoke(wait=True, timeout=0.01)),
               asyncio.run(app.AsyncResult("x").arevoke_by_stamped_headers({"a": "b"}, wait=True, timeout=0.01))]
    assert [reply or None for reply in replies] == [None] * 3   # no worker is there to answer


def test_workflows_are_sent_while_the_loop_runs(app: Any, add: Any, sent: Any):
    async def send() -> list[Any]:
        return [await add.s(1).adelay(1), await (add.s(1, 1) | add.s(2)).adelay(),
                await group(add.s(1), add.s(2)).aapply_async((3,)),
                await (group(add.s(1), add.s(2)) | add.s(1)).aapply_async((3,))]

    results = asyncio.run(send())
    assert len(sent()) == 6 and [len(result) for result in results[2:3]] == [2]
