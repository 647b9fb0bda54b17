"""What every result store that joins promises about chords and groups."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from fastq import backends
from fastq.types import Claim, Opening, Part


@pytest.fixture(params=["sqlite", "memory", *(pytest.param(name, marks=getattr(pytest.mark, name))
                                              for name in ("redis", "cluster"))])
def stores(request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    """Two processes' ways to one store."""
    if request.param in ("redis", "cluster"):
        url = request.getfixturevalue(f"{request.param}_url")
    else:
        url = f"{request.param}:///{request.node.name}.db"
    opened = [backends.open(url) for _ in range(2)]
    yield opened
    for store in opened:
        store.close()


@pytest.fixture
def store(stores: list[Any]) -> Any:
    return stores[0]


@pytest.fixture
def gid() -> str:
    return uuid4().hex


def soon() -> float:
    return time.time() + 60


def part(gid: str, place: int | None, task_id: str = "", plan: bytes = b"plan") -> Part:
    name = task_id or f"t{place}"
    return Part(gid, name, place, "SUCCESS", f"value of {name}".encode(), f"root of {name}", plan)


def test_the_last_member_completes_a_chord_and_all_are_in_order(store: Any, gid: str):
    store.chord_open(gid, 12, expires_at=soon())
    for place in range(11, 0, -1):
        assert store.chord_count([part(gid, place)], soon()) == []
    (complete,) = store.chord_count([part(gid, 0)], soon())
    assert list(complete.task_ids) == [f"t{place}" for place in range(12)]
    assert (complete.group_id, complete.last.task_id, complete.last.root_id, complete.plan) == (
        gid, "t0", "root of t0", b"plan")
    chord = store.chord_get(gid)
    assert (chord.is_done, list(chord.members), chord.group) == (
        False, [f"value of t{place}".encode() for place in range(12)], None)


def test_many_are_counted_at_once_for_several_chords(store: Any, gid: str):
    other, open_one = f"{gid}-other", f"{gid}-open"
    for name, size in ((gid, 3000), (other, 1), (open_one, 5)):
        store.chord_open(name, size, expires_at=soon())
    parts = [part(gid, place) for place in range(3000)]
    found = store.chord_count([part(open_one, 0), *parts, part(other, 0)], soon())
    assert [complete.group_id for complete in found] == [gid, other]
    assert len(found[0].task_ids) == len(store.chord_get(gid).members) == 3000


def test_many_are_opened_at_once(store: Any, gid: str):
    opens = [Opening(f"{gid}-{n}", 1 + n % 2, b"group %d" % n, b"plan %d" % n) for n in range(600)]
    opens.append(Opening(gid, 1))
    for _ in range(2):
        store.chord_open_all(opens, expires_at=soon())
    parts = [part(each.group_id, 0, plan=b"") for each in opens]
    found = {complete.group_id: complete.plan for complete in store.chord_count(parts, soon())}
    assert found == {each.group_id: each.plan for each in opens if each.size == 1}
    assert [store.chord_get(f"{gid}-{n}").group for n in (0, 599)] == [b"group 0", b"group 599"]
    store.chord_open_all([])


def test_a_member_that_is_told_twice_counts_once(store: Any, gid: str):
    store.chord_open(gid, 2, expires_at=soon())
    for _ in range(3):
        assert store.chord_count([part(gid, 0), part(gid, 0)], soon()) == []
    assert len(store.chord_get(gid).members) == 1


def test_who_completes_a_chord_is_told_again_and_nobody_else(stores: list[Any], gid: str):
    first, second = stores
    first.chord_open(gid, 2, expires_at=soon())
    first.chord_count([part(gid, 0)], soon())
    assert len(first.chord_count([part(gid, 1)], soon())) == 1
    # Its worker died before the body was on its way; both members may come again.
    assert second.chord_count([part(gid, 0)], soon()) == []
    assert [complete.last.task_id for complete in second.chord_count([part(gid, 1)], soon())] == ["t1"]


def test_claims_that_are_held_are_given_to_nobody_else_until_the_chord_is_done(store: Any, gid: str):
    for name in (gid, f"{gid}-other"):
        store.chord_open(name, 2, expires_at=soon())
        assert len(store.chord_count([part(name, 0), part(name, 1)], soon())) == 1
    store.chord_hold([Claim(gid, "t1"), Claim(f"{gid}-other", "t1")], soon())
    assert store.chord_count([part(gid, 0)], soon()) == []
    assert not store.chord_get(gid).is_done and len(store.chord_get(gid).members) == 2
    store.chord_close([gid])
    store.chord_hold([Claim(gid, "t1")], soon())
    assert store.chord_get(gid).is_done


def test_a_chord_is_completed_once_however_many_tell_of_it_at_once(stores: list[Any], gid: str):
    stores[0].chord_open(gid, 200, expires_at=soon())
    with ThreadPoolExecutor(8) as pool:
        told = pool.map(lambda place: stores[place % 2].chord_count([part(gid, place)], soon()), range(200))
        found = [complete for complete in told if complete]
    assert len(found) == 1


def test_a_chord_that_is_done_stays_done_unless_it_is_begun_anew(store: Any, gid: str):
    store.chord_open(gid, 1, expires_at=soon())
    assert store.chord_count([part(gid, 0)], soon())
    store.chord_close([gid])
    assert (store.chord_get(gid).is_done, list(store.chord_get(gid).members)) == (True, [])
    store.chord_open(gid, 1, expires_at=soon())
    assert store.chord_count([part(gid, 0)], soon()) == []
    store.chord_open(gid, 1, expires_at=soon(), renew=True)
    assert len(store.chord_count([part(gid, 0)], soon())) == 1


def test_one_message_takes_a_chord_to_send_its_body_and_nobody_else(stores: list[Any], gid: str):
    first, second = stores
    first.chord_open(gid, 2, expires_at=soon())
    assert len(first.chord_count([part(gid, 0), part(gid, 1)], soon())) == 1
    for store in (second, first):       # it may run again after a death
        chord = store.chord_get(gid, "taker")
        assert (chord.is_done, len(chord.members)) == (False, 2)
    assert first.chord_get(gid, "another").is_done
    assert not first.chord_get(gid).is_done
    # The last member comes once more, though its worker is alive.
    assert second.chord_count([part(gid, 1)], soon()) == []
    first.chord_close([gid])
    assert second.chord_get(gid, "taker").is_done


def test_a_chord_that_was_taken_may_be_begun_anew(store: Any, gid: str):
    """Whoever took it may be a dead letter."""
    for taker in ("dead", "alive"):
        store.chord_open(gid, 2, expires_at=soon(), renew=True)
        assert len(store.chord_count([part(gid, 0), part(gid, 1)], soon())) == 1
        assert (store.chord_get(gid, taker).is_done, len(store.chord_get(gid).members)) == (False, 2)


def test_members_may_end_before_the_size_is_known_and_be_added_later(store: Any, gid: str):
    assert store.chord_count([part(gid, 0)], soon()) == []
    store.chord_add(gid, 1)
    store.chord_open(gid, 2, expires_at=soon())
    store.chord_open(gid, 2, expires_at=soon())
    assert store.chord_count([part(gid, 1)], soon()) == []
    assert len(store.chord_count([part(gid, 2)], soon())) == 1


def test_a_member_without_a_place_comes_last(store: Any, gid: str):
    store.chord_open(gid, 2, expires_at=soon())
    store.chord_count([part(gid, None, "nowhere")], soon())
    (complete,) = store.chord_count([part(gid, 7)], soon())
    assert list(complete.task_ids) == ["t7", "nowhere"]


def test_the_plan_of_any_member_will_do(store: Any, gid: str):
    store.chord_open(gid, 2, expires_at=soon())
    store.chord_count([part(gid, 0)], soon())
    (complete,) = store.chord_count([part(gid, 1, plan=b"")], soon())
    assert complete.plan == b"plan"


def test_a_plan_that_came_before_the_members_is_the_one(store: Any, gid: str):
    store.chord_open(gid, 2, plan=b"too early", expires_at=soon())
    store.chord_open(gid, 2, plan=b"first", expires_at=soon(), renew=True)
    store.chord_open(gid, 2, expires_at=soon())
    store.chord_count([part(gid, 0, plan=b"of a member")], soon())
    (complete,) = store.chord_count([part(gid, 1, plan=b"of the last")], soon())
    assert (complete.plan, complete.last.plan) == (b"first", b"of the last")
    store.chord_close([gid])
    store.chord_open(gid, 1, plan=b"again", expires_at=soon(), renew=True)
    assert [complete.plan for complete in store.chord_count([part(gid, 0, plan=b"")], soon())] == [b"again"]


def test_the_rest_of_a_chain_is_kept_in_blocks_until_it_is_closed(stores: list[Any], gid: str):
    first, second = stores
    blocks = [f"block {number}".encode() for number in range(1, 2_502)]
    first.rest_put(gid, blocks, soon())
    first.rest_put(f"{gid}-other", [b"other"], None)
    for number in (1, 1_001, 2_501):
        assert second.rest_get(gid, number, soon()) == blocks[number - 1]
    assert [second.rest_get(gid, 2_502, soon()), second.rest_get(f"{gid}-none", 1, soon())] == [None, None]
    first.chord_close([gid])
    # A run that is told again, because its worker died at its end, still finds it.
    assert second.rest_get(gid, 2_501, None) == blocks[-1]
    assert second.rest_get(f"{gid}-other", 1, None) == b"other"


def test_a_chord_keeps_its_group(store: Any, gid: str):
    store.chord_open(gid, 1, group=b"the group", expires_at=soon())
    assert store.chord_get(gid).group == b"the group"
    assert store.group_get(gid) == b"the group"


def test_groups_are_kept_until_they_are_dropped_or_expire(store: Any, gid: str):
    assert store.group_get(gid) is None
    store.group_put(gid, b"one", None)
    store.group_put(gid, b"two", soon())
    assert store.group_get(gid) == b"two"
    store.group_forget(gid)
    store.group_forget(gid)
    assert store.group_get(gid) is None


@pytest.mark.parametrize("stores", ["sqlite", "memory"], indirect=True)
def test_what_has_expired_is_pruned(store: Any, gid: str):
    past = time.time() - 1
    store.chord_open(gid, 2, expires_at=past)
    store.chord_count([part(gid, 0)], past)
    store.group_put(gid, b"group", past)
    store.rest_put(gid, [b"one", b"two"], past)
    assert (store.group_get(gid), store.rest_get(gid, 1, soon())) == (None, None)
    store.rest_put(f"{gid}-fresh", [b"one"], past + 60)
    assert store.rest_get(f"{gid}-fresh", 1, past + 7 * 86_400) == b"one"
    assert store.prune() == 4
    assert store.prune() == 0
    assert list(store.chord_get(gid).members) == []


@pytest.mark.rabbitmq
def test_a_store_that_keeps_nothing_says_what_to_do_instead(amqp_url: str):
    store = backends.open("rpc://", {"brokers": amqp_url})
    try:
        assert store.joins is False
        with pytest.raises(NotImplementedError, match="redis://"):
            store.chord_open("g", 1)
        with pytest.raises(NotImplementedError, match="no group saved"):
            store.group_put("g", b"", None)
    finally:
        store.close()
