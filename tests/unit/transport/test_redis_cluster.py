"""The map of a cluster: slots, the answers of nodes, and who is connected to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq import transport
from fastq._ext import envelope
from fastq.bench.servers.cluster import Cluster as Nodes
from fastq.exceptions import BrokerRefused, ConfigError, TransportError
from fastq.transport.redis_cluster import Cluster, Node, Range, parse_map, parse_moved, slot_of
from fastq.transport.redis_keys import Keys, hash_tag
from fastq.transport.redis_target import parse, parse_many
from fastq.transport.redis_way import Way

TOLD = [[5461, 10922, [b"10.0.0.2", 6380, b"id2", []], [b"10.0.0.9", 6380, b"id9", []]],
        [0, 5460, [b"", 6379, b"id1", []]], [10923, 16383, [None, 6381, b"id3", []]]]


def test_a_map_is_read_in_order_and_without_replicas() -> None:
    assert parse_map(TOLD, "asked") == [
        Range(0, 5460, Node("asked", 6379)), Range(5461, 10922, Node("10.0.0.2", 6380)),
        Range(10923, 16383, Node("asked", 6381))]


@pytest.mark.parametrize(("text", "node"), [
    ("MOVED 3999 127.0.0.1:6381", Node("127.0.0.1", 6381)),
    ("MOVED 3999 ::1:6381", Node("::1", 6381)),
    ("MOVED 3999 :6381", Node("asked", 6381)),
])
def test_where_a_node_sends_us_is_read(text: str, node: Node) -> None:
    assert parse_moved(text, "asked") == node


@pytest.mark.parametrize("name", ["celery", "a{b}c", "{a}", "{", "a}", "{}a", "{{x}y}", "ü"])
def test_all_keys_of_a_queue_have_one_tag(name: str) -> None:
    keys = Keys(prefix="shop.").tagged(name)
    made = [*keys.lists_of(name), keys.trial(name), keys.dead(name), keys.future(name), keys.lives, keys.graves,
            keys.queues, keys.dead_id, keys.life("w"), keys.held("w"), keys.inbox("w", 0), keys.of_celery("unacked")]
    assert len(set(made)) == len(made)
    assert len({hash_tag(key) for key in made}) == 1
    assert all(key.startswith(b"shop.") for key in made)


@given(st.text(st.characters(codec="utf-8"), max_size=8))
def test_a_name_has_one_tag_or_is_refused(name: str) -> None:
    try:
        keys = Keys().tagged(name)
    except ConfigError:
        assert not name or name.startswith("}")
    else:
        assert hash_tag(keys.list_of(name, 9)) == hash_tag(keys.held("w"))


def test_a_name_that_cannot_keep_its_keys_together_says_so() -> None:
    with pytest.raises(ConfigError, match=r"'}x'.*cannot be empty or begin with '}'"):
        Keys().tagged("}x")


def test_addresses_of_a_cluster() -> None:
    one, other = parse_many("redis+cluster://:secret@a;redis+cluster://b:7000")
    assert (one.host, one.port, one.password, one.is_clustered) == ("a", 6379, "secret", True)
    assert (other.port, other.ssl) == (7000, None)
    assert parse("rediss+cluster://a").ssl
    with pytest.raises(ConfigError, match="a cluster has database 0 only"):
        parse("redis+cluster://a/1")


# -- against real nodes --------------------------------------------------------------------------------------------


@pytest.fixture
def map_of(cluster: Nodes, cluster_url: str) -> Iterator[Cluster]:
    yield Cluster(Way(parse_many(cluster_url)))


@pytest.mark.cluster
@pytest.mark.parametrize("key", ["celery", "fastq.lives.{a}b", "{}x", "a{b}{c}", "{{x}y}", "ü"])
def test_slots_are_those_of_the_server(cluster: Nodes, key: str) -> None:
    assert slot_of(key.encode()) == cluster.nodes[0].ask("CLUSTER", "KEYSLOT", key)


@pytest.mark.cluster
def test_a_connection_leads_to_the_owner(cluster: Nodes, map_of: Cluster) -> None:
    for key in ("a", "b", "c", "d"):
        link = map_of.connect(key.encode(), 5)
        assert link.where == f"127.0.0.1:{cluster.owner(key).port}/0"
        link.close()
    assert {node.port for node in map_of.masters(5)} == {node.port for node in cluster.nodes}


@pytest.mark.cluster
def test_a_connection_follows_a_slot_that_moved(cluster: Nodes, map_of: Cluster) -> None:
    map_of.connect(b"moving", 5).close()
    new = cluster.move("moving")
    link = map_of.connect(b"moving", 5)
    assert link.where == f"127.0.0.1:{new.port}/0"
    link.close()


@pytest.mark.cluster
def test_an_owner_that_is_away_is_named_and_others_are_had(cluster: Nodes, map_of: Cluster) -> None:
    owner = cluster.owner("a")
    other = next(key for key in "bcdefgh" if cluster.owner(key) is not owner)
    map_of.connect(b"a", 5).close()
    owner.kill()
    with pytest.raises(TransportError, match=f"127.0.0.1:{owner.port}"):
        map_of.connect(b"a", 5)
    map_of.connect(other.encode(), 5).close()


@pytest.mark.cluster
def test_a_plain_address_of_a_node_names_the_fix(cluster: Nodes) -> None:
    opened = transport.open(cluster.url)
    with pytest.raises(BrokerRefused, match=r"is a node of a cluster.*write redis\+cluster://"):
        opened.publish_one("q", envelope.pack({}, {}, b""))
    opened.close()


@pytest.mark.redis
def test_an_address_of_a_cluster_that_is_none_names_the_fix(redis_url: str) -> None:
    opened = transport.open("redis+cluster://" + redis_url.partition("://")[2].partition("/")[0])
    with pytest.raises(BrokerRefused, match="no node of a cluster: write redis://"):
        opened.publish_one("q", envelope.pack({}, {}, b""))
    opened.close()
