"""Workflows of either side that fail, on either side's workers and on both at once, over Redis.

What is expected is what a client and a worker of Celery make of it: that pair is asked first.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tests.compat.sides import Client, Pair

BROKERS = ["redis"]
"""Without one, nothing joins."""
BROKEN = "Broken: ('no good', 3)"
RAISED = "Dependency * raised "
"""Ids are stars."""
DEPENDENCY = f"ChordError: {RAISED}Broken('no good', 3)"
NOTED = f"ChordError {RAISED}Broken('no good', 3)"


class Failing(NamedTuple):
    """A workflow that fails, written with the client's canvas, its tasks, and a key to note things under."""

    write: Callable[[Any, Any, str], Any]
    error: str = DEPENDENCY
    """What its last result says."""
    noted: tuple[str, ...] = ()
    hangs: bool = False
    """Celery's own workers leave the last result, and whoever waits for it, as they are for ever."""


def broken(tasks: Any) -> Any:
    return tasks.fail.si("ours")


def header(tasks: Any) -> list[Any]:
    return [broken(tasks), tasks.add.s(1, 1)]


def told(tasks: Any, key: str) -> Any:
    """An errback that takes the exception."""
    return tasks.keep_failure.s(key=key)


MEMBERS: dict[str, Failing] = {
    "member": Failing(lambda c, t, k: c.chord(header(t), t.total.s())),
    "only member": Failing(lambda c, t, k: c.chord([broken(t)], t.total.s())),
    "first of a chain": Failing(lambda c, t, k: c.chord([broken(t) | t.add.s(1), t.add.s(1, 1)], t.total.s())),
    "last of a chain": Failing(lambda c, t, k: c.chord([t.add.s(1, 1) | broken(t), t.add.s(1, 1)], t.total.s())),
    "in a group": Failing(lambda c, t, k: c.chord([c.group(*header(t)), t.add.s(1, 1)], t.total.s())),
    "expired": Failing(
        lambda c, t, k: c.chord([t.add.s(1, 1), t.add.s(2, 2).set(expires=-1)], t.total.s()),
        "ChordError: Dependency * raised TaskRevokedError('expired')"),
    "retried too often": Failing(
        lambda c, t, k: c.chord([t.give_up.si(), t.add.s(1, 1)], t.total.s()),
        "ChordError: Dependency * raised Broken('again')"),
    "retried, and another fails": Failing(lambda c, t, k: c.chord([t.retry.si(2), broken(t)], t.total.s())),
    "became a failing task": Failing(lambda c, t, k: c.chord([t.become.si("failing"), t.add.s(1, 1)], t.total.s())),
    "became a failing chain": Failing(
        lambda c, t, k: c.chord([t.become.si("failing chain"), t.add.s(1, 1)], t.total.s())),
    "became a failing chord": Failing(
        lambda c, t, k: c.chord([t.become.si("failing chord"), t.add.s(1, 1)], t.total.s()),
        'ChordError: Dependency * raised ChordError("Dependency * raised Broken(\'no good\', 3)")', hangs=True),
    "chord in a header": Failing(
        lambda c, t, k: c.chord([c.chord(header(t), t.total.s()), t.add.s(1, 1)], t.total.s()),
        'ChordError: Dependency * raised ChordError("Dependency * raised Broken(\'no good\', 3)")', hangs=True),
    "body of a chord in a header": Failing(
        lambda c, t, k: c.chord([c.chord([t.add.s(1, 1)] * 2, broken(t)), t.add.s(1, 1)], t.total.s())),
}
BODIES: dict[str, Failing] = {
    "body": Failing(lambda c, t, k: c.chord([t.add.s(1, 1)] * 2, broken(t).on_error(told(t, k))),
                    BROKEN, ("Broken ('no good', 3)",)),
    "what follows the chord": Failing(lambda c, t, k: c.chord(header(t), t.total.s()) | t.add.s(1)),
    "chord after a failure": Failing(lambda c, t, k: broken(t) | c.chord([t.add.si(1, 1)] * 2, t.total.s()), BROKEN),
    "chord | task after a failure": Failing(
        lambda c, t, k: broken(t) | c.chord([t.add.si(1, 1)] * 2, t.total.s()) | t.add.s(1), BROKEN),
    "chord in a body": Failing(
        lambda c, t, k: c.chord([t.add.s(1, 1)], t.total.s() | c.chord([broken(t), t.add.s(2)], t.total.s()))),
    "group as a body": Failing(lambda c, t, k: c.chord(header(t), c.group(t.total.s(), t.total.s())), BROKEN),
    "group as a body, with an errback": Failing(
        lambda c, t, k: c.chord(header(t), c.group(t.total.s(), t.total.s())).on_error(told(t, k)),
        BROKEN, ("Broken ('no good', 3)",) * 2),
    "group, group, task": Failing(
        lambda c, t, k: c.group(header(t)) | c.group(t.total.s(), t.total.s()) | t.total.s(), hangs=True),
    "task that became a chord": Failing(lambda c, t, k: t.become.si("failing chord")),
    "task that became a chain": Failing(lambda c, t, k: t.become.si("failing chain"), BROKEN),
    "chain whose task became one that fails": Failing(
        lambda c, t, k: (t.become.si("failing") | t.add.s(1)).on_error(told(t, k)), BROKEN, ("Broken ('no good', 3)",)),
    "group": Failing(lambda c, t, k: c.group(header(t)), BROKEN),
    "map": Failing(lambda c, t, k: t.fail.map(["ours"]), BROKEN),
    "chunks": Failing(lambda c, t, k: t.fail.chunks([("ours",)] * 3, 2), BROKEN),
}
ERRBACKS: dict[str, Failing] = {
    "takes the exception": Failing(
        lambda c, t, k: c.chord(header(t), t.total.s().on_error(told(t, k))), noted=(NOTED,)),
    "takes the id": Failing(lambda c, t, k: c.chord(header(t), t.total.s().on_error(t.keep.s(key=k))), noted=("'ID'",)),
    "is bound": Failing(lambda c, t, k: c.chord(header(t), t.total.s().on_error(t.keep_id.s(key=k))), noted=("ID",)),
    "takes nothing": Failing(lambda c, t, k: c.chord(header(t), t.total.s().on_error(t.mark.si(k))), noted=("ran",)),
    "is a chain": Failing(
        lambda c, t, k: c.chord(header(t), t.total.s().on_error(t.mark.si(k) | t.mark.si(k))), noted=("ran", "ran")),
    "fails, and another": Failing(
        lambda c, t, k: c.chord(header(t), t.total.s().on_error(t.keep_failure.s(nothing=1)).on_error(t.mark.si(k))),
        noted=("ran",)),
    "on the chord": Failing(lambda c, t, k: c.chord(header(t), t.total.s()).on_error(told(t, k)), noted=(NOTED,)),
    "on what follows the chord": Failing(
        lambda c, t, k: (c.chord(header(t), t.total.s()) | t.add.s(1)).on_error(told(t, k)), noted=(NOTED,)),
    "on a member": Failing(
        lambda c, t, k: c.chord([broken(t).on_error(told(t, k)), t.add.s(1, 1)], t.total.s()),
        noted=("Broken ('no good', 3)",)),
}
ON_MEMBERS: dict[str, Failing] = {
    "on the chord, takes nothing": Failing(
        lambda c, t, k: c.chord(header(t), t.total.s()).on_error(t.mark.si(k)), noted=("ran",) * 2),
    "on the chord, two fail": Failing(
        lambda c, t, k: c.chord([*header(t), broken(t)], t.total.s()).on_error(t.mark.si(k)), noted=("ran",) * 3),
    "on the chord, the body fails": Failing(
        lambda c, t, k: c.chord([t.add.s(1, 1)] * 2, broken(t)).on_error(t.mark.si(k)), BROKEN, noted=("ran",)),
    "on what follows the chord": Failing(
        lambda c, t, k: (c.chord(header(t), t.total.s()) | t.add.s(1)).on_error(t.mark.si(k)), noted=("ran",) * 2),
}
"""With task_allow_error_cb_on_chord_header, which is off by default."""
FAILING = {f"{kind}: {name}": failing for kind, table in (("member", MEMBERS), ("body", BODIES), ("errback", ERRBACKS))
           for name, failing in table.items()}


@pytest.fixture
def on_members(pair: Pair, make_client: Callable[..., Client]) -> Pair:
    """The same worker, and a client for which errbacks of a chord are those of its members as well."""
    settings = {**pair.worker.settings, "task_allow_error_cb_on_chord_header": True}
    return Pair(make_client(pair.client.side.name, **settings), pair.worker)


def started(failing: Failing, pair: Pair, key: str) -> Any:
    canvas = import_module(f"{pair.client.side.module}.canvas")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # an errback on a chord: Celery's default is to change
        return failing.write(canvas, pair.tasks, key).apply_async()


def said(result: Any) -> str:
    """What *result* itself raises, and not what was before it."""
    alone = {} if hasattr(result, "results") else {"follow_parents": False}
    with pytest.raises(Exception) as caught:
        result.get(timeout=20, **alone)
    return starred(f"{caught.type.__name__}: {caught.value}")


def first_of(result: Any) -> Any:
    while result.parent is not None:
        result = result.parent
    return result


def starred(text: str) -> str:
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "*", text)


def plain(text: str) -> str:
    """Without the name of the member; Celery's worker does not tell it that has `chord_unlock` from one of ours."""
    return text.replace(RAISED, "")


def noted(pair: Pair, key: str, result: Any) -> list[str]:
    """What errbacks have noted, the id of the last result as ID."""
    return sorted(starred(line.replace(result.id, "ID")) for line in pair.worker.noted(key))


def check(failing: Failing, pair: Pair, key: str) -> None:
    result = started(failing, pair, key)
    if failing.hangs and pair.worker.side.name == "celery":
        assert "no good" in said(first_of(result))
        return
    assert said(result) == failing.error
    if failing.noted:
        pair.wait_for_notes(key, len(failing.noted))
    # What else was started is before this one, in the queue of the one worker.
    assert pair.tasks.add.delay(1, 1).get(timeout=20) == 2
    assert noted(pair, key, result) == sorted(failing.noted)


@pytest.mark.parametrize("name", FAILING)
def test_a_failure_is_told_as_celery_tells_it(pair: Pair, name: str, key: str):
    check(FAILING[name], pair, key)


@pytest.mark.parametrize("name", ON_MEMBERS)
def test_errbacks_of_a_chord_may_be_those_of_its_members(on_members: Pair, name: str, key: str):
    check(ON_MEMBERS[name], on_members, key)


def test_workers_of_both_sides_tell_it_together(both: Pair):
    sent = []
    for failing in [failing for failing in FAILING.values() if not failing.hangs] * 2:
        key = uuid4().hex
        sent.append((failing, key, started(failing, both, key)))
    for failing, key, result in sent:
        assert plain(said(result)) == plain(failing.error)
        if failing.noted:
            both.wait_for_notes(key, len(failing.noted))
        assert [plain(line) for line in noted(both, key, result)] == sorted(map(plain, failing.noted))


@pytest.mark.parametrize("is_mixed", [False, True], ids=["pair", "both"])
def test_members_that_are_revoked_by_their_stamp_fail_the_body(pair: Pair, both: Pair, is_mixed: bool, key: str):
    fleet = both if is_mixed else pair
    canvas = import_module(f"{fleet.client.side.module}.canvas")
    nodes = [f"{worker.name}@compat" for worker in (fleet.worker, *fleet.mates)]
    answers = fleet.app.control.revoke_by_stamped_headers(
        {"customer": [key]}, destination=nodes, reply=True, timeout=20, limit=len(nodes))
    assert {name for answer in answers for name in answer} == {*nodes}
    member = fleet.tasks.add.s(2, 2)
    member.stamp(customer=key)
    body = fleet.tasks.total.s().on_error(told(fleet.tasks, key))
    result = canvas.chord([fleet.tasks.add.s(1, 1), member], body).apply_async()
    assert plain(said(result)) == "ChordError: TaskRevokedError('revoked')"
    fleet.wait_for_notes(key)
    assert [plain(line) for line in noted(fleet, key, result)] == ["ChordError TaskRevokedError('revoked')"]
