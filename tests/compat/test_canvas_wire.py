"""Every workflow, written once, leaves as the same messages from both sides; ids are told by their order."""

from __future__ import annotations

import json
import re
import uuid
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import celery
import celery.canvas
import pytest

import fastq.canvas
from fastq import Fastq, signature
from fastq._ext.envelope import unpack
from fastq.types import Endings

ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HEADERS = ("task", "id", "group", "group_index", "root_id", "parent_id", "shadow")
SENT_TOO = ("reply_to", "add_to_parent")
"""What Celery notes in options though it means nothing to who reads them, or only to the sender."""


def furnish(app: Any) -> SimpleNamespace:
    @app.task(name="add")
    def add(x: Any, y: Any = 0) -> None: ...

    @app.task(name="mul")
    def mul(x: Any, y: Any = 0) -> None: ...

    @app.task(name="tsum")
    def tsum(xs: Any) -> None: ...

    @app.task(name="err")
    def err(*args: Any) -> None: ...

    return SimpleNamespace(add=add, mul=mul, tsum=tsum, err=err)


@pytest.fixture(scope="module")
def theirs() -> Iterator[tuple[SimpleNamespace, Callable[[], list[Any]]]]:
    app = celery.Celery("wire", broker="memory://", backend="cache+memory://", set_as_current=False)
    tasks = furnish(app)

    def sent() -> list[Any]:
        with app.connection_for_read() as connection:
            taken = iter(lambda: connection.default_channel.basic_get("celery", no_ack=True), None)
            return [[dict(message.headers), json.loads(message.body)] for message in taken]

    yield tasks, sent
    app.close()


@pytest.fixture(scope="module")
def ours() -> Iterator[tuple[SimpleNamespace, Callable[[], list[Any]]]]:
    with Fastq("wire", broker=f"memory://{uuid.uuid4()}", task_workflow_inline=True, set_as_current=False) as app:
        tasks = furnish(app)
        app.transport.attach("reader", ["celery"])

        def sent() -> list[Any]:
            rows = [row for _, rows in app.transport.turn(Endings(), 1000) for row in rows]
            return [[headers, json.loads(body)] for _, headers, body in (unpack(content) for _, _, content in rows)]

        yield tasks, sent


def alike(messages: list[Any]) -> str:
    """Return *messages* as text that says the same for the same workflow."""
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: sorted(inner) if key == "stamped_headers" else plain(inner) for key, inner in value.items()
                    if key not in SENT_TOO and not (key in ("root_id", "parent_id", "chord") and inner is None)}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    seen: dict[str, str] = {}
    found = []
    for headers, body in messages:
        stamps = {name: headers.get("stamps", {}).get(name) for name in sorted(headers.get("stamped_headers") or ())}
        told = {**{name: headers.get(name) for name in HEADERS}, "root_id": headers.get("root_id") or headers["id"]}
        found.append([told, stamps, plain(body)])
    text = json.dumps(found, sort_keys=True, indent=1)
    return ID.sub(lambda match: seen.setdefault(match[0], f"id {len(seen)}"), text)


Write = Callable[[Any, Any], Any]
WORKFLOWS: dict[str, Write] = {
    "chain": lambda c, t: c.chain(t.add.s(1, 2), t.mul.s(3), t.add.s(4)),
    "or": lambda c, t: t.add.s(1, 2) | t.mul.s(3) | t.add.s(4),
    "list": lambda c, t: c.chain([t.add.s(1, 2), t.mul.s(3)]),
    "chain of chains": lambda c, t: c.chain(c.chain(t.add.s(1, 2), t.mul.s(3)), c.chain(t.add.s(4), t.add.s(5))),
    "immutable": lambda c, t: t.add.si(1, 1) | t.add.si(2, 2),
    "group": lambda c, t: c.group(t.add.s(i, i) for i in range(3)),
    "group of chains": lambda c, t: c.group(t.add.s(1, 1) | t.mul.s(2), t.add.s(2, 2)),
    "group of one": lambda c, t: t.add.s(1, 1) | c.group(t.add.s(2)) | t.mul.s(1),
    "group with options": lambda c, t: c.group(t.add.s(1, 1).set(priority=3), t.mul.s(2)),
    "chord": lambda c, t: c.chord([t.add.s(1, 1), t.add.s(2, 2)], t.tsum.s()),
    "chord of one": lambda c, t: c.chord([t.add.s(1, 1)], t.tsum.s()),
    "group | task": lambda c, t: c.group(t.add.s(1, 1), t.add.s(2, 2)) | t.tsum.s(),
    "task | group": lambda c, t: t.add.s(1, 1) | c.group(t.add.s(1), t.add.s(2)),
    "task | group | task": lambda c, t: t.add.s(1, 1) | c.group(t.add.s(1), t.add.s(2)) | t.tsum.s(),
    "task | group | tasks": lambda c, t: (
        t.add.s(1, 1) | c.group(t.add.s(1), t.add.s(2)) | t.tsum.s() | t.mul.s(5)),
    "groups and tasks": lambda c, t: (
        c.group(t.add.s(1, 1), t.add.s(2, 2)) | t.tsum.s() | c.group(t.add.s(1), t.add.s(2)) | t.tsum.s()),
    "long": lambda c, t: (t.add.s(1, 1) | c.group(t.add.s(1), t.add.s(2)) | t.tsum.s()
                          | c.group(t.add.s(1), t.add.s(2)) | t.tsum.s() | t.add.s(1)),
    "group | group | task": lambda c, t: (
        c.group(t.add.s(1, 1), t.add.s(2, 2)) | c.group(t.tsum.s(), t.tsum.s()) | t.tsum.s()),
    "chord in a header": lambda c, t: c.chord(
        [c.chord([t.add.s(1, 1), t.add.s(2, 2)], t.tsum.s()), t.add.s(3, 3)], t.tsum.s()),
    "chain in a header": lambda c, t: c.chord([c.chain(t.add.s(1, 1), t.mul.s(2)), t.add.s(3, 3)], t.tsum.s()),
    "group in a header": lambda c, t: c.chord(c.group(t.add.s(1, 1), c.group(t.add.s(2, 2))), t.tsum.s()),
    "chain as a body": lambda c, t: c.chord(
        [t.add.s(1, 1), t.add.s(2, 2)], c.chain(t.tsum.s(), t.add.s(1), t.mul.s(2))),
    "chord as a body": lambda c, t: c.chord([t.add.s(1, 1)], c.chord([t.tsum.s(), t.tsum.s()], t.tsum.s())),
    "chord | chord": lambda c, t: (
        c.chord([t.add.s(1, 1)], t.tsum.s()) | c.chord([t.add.s(2), t.add.s(3)], t.tsum.s())),
    "chord | chain": lambda c, t: c.chord([t.add.s(1, 1)], t.tsum.s()) | c.chain(t.add.s(2), t.add.s(3)),
    "chord | group": lambda c, t: c.chord([t.add.s(1, 1)], t.tsum.s()) | c.group(t.add.s(2), t.add.s(3)),
    "all in all": lambda c, t: c.chain(
        t.add.s(1, 1), c.chord([c.chain(t.add.s(1), c.group(t.add.s(1), t.add.s(2)), t.tsum.s()), t.add.s(5)],
                               t.tsum.s()), t.mul.s(3)),
    "map": lambda c, t: t.tsum.map([[1], [2]]),
    "starmap": lambda c, t: t.add.starmap([(1, 2), (3, 4)]),
    "chunks": lambda c, t: t.add.chunks([(1, 1), (2, 2), (3, 3)], 2),
    "chunks as a header": lambda c, t: t.add.chunks([(1, 1), (2, 2), (3, 3)], 2).group() | t.tsum.s(),
    "link": lambda c, t: (t.add.s(1, 1) | t.add.s(2)).set(link=[t.mul.s(3)]),
    "link_error": lambda c, t: (t.add.s(1, 1) | t.add.s(2)).on_error(t.err.s()),
    "chord with link": lambda c, t: c.chord([t.add.s(1, 1)], t.tsum.s()).set(link=[t.mul.s(3)]),
    "chord with link_error": lambda c, t: c.chord([t.add.s(1, 1)], t.tsum.s()).on_error(t.err.s()),
    "chain of a chord with link_error": lambda c, t: c.chain(
        t.add.s(1, 1), c.group(t.add.s(1), t.add.s(2)), t.tsum.s()).on_error(t.err.s()),
    "chain as a body with link_error": lambda c, t: (
        c.group(t.add.s(1, 1), t.add.s(2, 2)) | t.tsum.s() | t.add.s(1)).on_error(t.err.s()),
    "group with link_error": lambda c, t: c.group(t.add.s(1, 1), t.add.s(2, 2)).on_error(t.err.s()),
    "links of a workflow": lambda c, t: t.add.s(1, 1).set(link=[t.mul.s(3) | t.add.s(1)]),
    "options of each": lambda c, t: c.chain(
        t.add.s(1, 1).set(priority=3), t.mul.s(2).set(countdown=3, headers={"a": 1}), t.add.s(1)),
    "options of a body": lambda c, t: c.chord([t.add.s(1, 1)], t.tsum.s()).set(priority=4),
    "id of a chain": lambda c, t: c.chain(t.add.s(1, 1), t.mul.s(2)).set(task_id="abc"),
    "id of a body": lambda c, t: c.chord([t.add.s(1, 1)], t.tsum.s().set(task_id="abc")),
    "shadow": lambda c, t: c.chain(t.add.s(1, 1).set(shadow="x"), t.mul.s(2).set(shadow="y")),
    "frozen": lambda c, t: changed(c.chain(t.add.s(1, 1), t.mul.s(2)), "freeze"),
    "stamped": lambda c, t: changed(t.add.s(1, 1), "stamp", trace="x"),
    "stamped chain": lambda c, t: changed(c.chain(t.add.s(1, 1), t.mul.s(2)), "stamp", trace="x"),
    "stamped group": lambda c, t: changed(c.group(t.add.s(1, 1), t.mul.s(2)), "stamp", trace=["x"]),
    "stamped twice": lambda c, t: changed(changed(t.add.s(1, 1), "stamp", trace="x"), "stamp", trace="y", other=1),
    "stamps appended": lambda c, t: changed(
        changed(t.add.s(1, 1), "stamp", trace="x"), "stamp", append_stamps=True, trace="y"),
    "stamped by a visitor": lambda c, t: changed(
        c.chain(t.add.s(1, 1).set(link=[t.mul.s(5)]), c.group(t.add.s(1), t.add.s(2)), t.tsum.s()), "stamp",
        visitor=visitor(c)),
}


def changed(sig: Any, method: str, **arguments: Any) -> Any:
    getattr(sig, method)(**arguments)
    return sig


def visitor(canvas: ModuleType) -> Any:
    class Visitor(canvas.StampingVisitor):  # type: ignore[name-defined,misc]
        def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
            return {"label": sig.task, "known": 1, "stamped_headers": ["label"]}

        def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
            return {"group_size": len(group.tasks)}

        def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
            return {"steps": len(chain.tasks)}

        def on_chord_body(self, sig: Any, **headers: Any) -> dict[str, Any]:
            return {"is_body": True}

        def on_callback(self, callback: Any, **headers: Any) -> dict[str, Any]:
            return {"is_callback": True}

    return Visitor()


def nested(canvas: ModuleType, tasks: SimpleNamespace, levels: int) -> Any:
    made = tasks.add.s(1, 1)
    for _ in range(levels):
        made = canvas.group([made, *(tasks.add.s(1, 1) for _ in range(9))]) | tasks.tsum.s() | tasks.add.s(1)
    return made


@pytest.mark.parametrize("members_too", [False, True])
@pytest.mark.parametrize("is_told", [False, True])
def test_an_errback_makes_nested_workflows_no_larger_than_celerys(
        theirs: Any, ours: Any, members_too: bool, is_told: bool):
    sizes, errbacks = [], []
    for canvas, (tasks, sent) in ((celery.canvas, theirs), (fastq.canvas, ours)):
        tasks.add.app.conf.task_allow_error_cb_on_chord_header = members_too
        made = nested(canvas, tasks, 4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if is_told:
                made.apply_async(link_error=tasks.err.s())
            else:
                made.on_error(tasks.err.s()).apply_async()
        tasks.add.app.conf.task_allow_error_cb_on_chord_header = False
        bodies = [json.dumps(body) for _, body in sent()]
        sizes.append(sum(map(len, bodies)))
        errbacks.append(sum(body.count('"err"') for body in bodies))
    assert errbacks[1] == errbacks[0] > 0
    assert sizes[1] <= sizes[0]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_leaves_as_celery_sends_it(name: str, theirs: Any, ours: Any):
    write = WORKFLOWS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(celery.canvas, theirs[0]).apply_async()
        expected = alike(theirs[1]())
        write(fastq.canvas, ours[0]).apply_async()
        assert alike(ours[1]()) == expected
        for canvas, tasks in ((celery.canvas, theirs[0]), (fastq.canvas, ours[0])):
            # Either reads what either has written.
            told = json.dumps(write(canvas, tasks))
            celery.canvas.signature(json.loads(told), app=theirs[0].add.app).apply_async()
            expected = alike(theirs[1]())
            signature(json.loads(told), app=ours[0].add.app).apply_async()
            assert alike(ours[1]()) == expected
