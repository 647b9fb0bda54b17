"""What a worker is told: by arguments, by settings, and what of it makes no sense together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fastq import Celery, Fastq, proc
from fastq.exceptions import ConfigError
from fastq.pool.kinds import PREFORK, SOLO, Kind
from fastq.utils.nodenames import worker_direct
from fastq.worker import options
from fastq.worker.options import WorkerOptions
from tests.unit.worker.parts import traits


@pytest.fixture
def app() -> Iterator[Fastq]:
    made = Fastq("options", broker="memory://")
    yield made
    made.close()


def complete(app: Any, **told: Any) -> WorkerOptions:
    names = ("hostname", "queues", "concurrency", "pool", "time_limit", "soft_time_limit", "max_tasks_per_child",
             "max_memory_per_child")
    return options.complete(app, **{**dict.fromkeys(names), **told})


@pytest.mark.parametrize(("told", "at_a_time", "children", "most"), [
    ({}, 1, proc.cpus(), proc.cpus() + 8),
    ({"concurrency": "auto"}, 1, proc.cpus(), proc.cpus() + 8),
    ({"concurrency": 3}, 1, 3, 11),
    ({"processes": 3}, 1, 3, 11),
    ({"autoscale": (5, 2)}, 1, 2, 5),
    ({"pool": "solo", "concurrency": 9}, 1, 1, 1),
    ({"pool": "threads"}, 10, 1, 1),
    ({"pool": "asyncio"}, 100, 1, 9),
    ({"pool": "asyncio", "concurrency": 50, "processes": 3}, 50, 3, 11),
    ({"pool": "gevent", "concurrency": 50, "autoscale": (4, 2)}, 50, 2, 4),
])
def test_how_many_run_at_a_time_and_in_how_many_children(
        app: Any, told: dict[str, Any], at_a_time: int, children: int, most: int) -> None:
    found = complete(app, **told)
    assert (found.concurrency, found.children, found.most_children) == (at_a_time, children, most)


def test_the_settings_say_it_where_the_arguments_do_not(app: Any) -> None:
    app.conf.update(worker_pool="threads", worker_concurrency=4, worker_processes=2, worker_pool_start_method="spawn")
    found = complete(app)
    assert (found.kind.name, found.concurrency, found.children, found.start_method) == ("threads", 4, 2, "spawn")
    assert complete(app, pool="asyncio", concurrency=7, processes=1, start_method="fork").start_method == "fork"


@pytest.mark.parametrize(("told", "part"), [
    ({"concurrency": 0.5}, "worker_concurrency is 0.5; give a number from 1, 'auto', or leave it out"),
    ({"autoscale": (2, 3)}, "autoscale is 2,3; give the most children and then the fewest"),
    ({"pool": "solo", "autoscale": (2, 1)}, "autoscale is set, and the pool 'solo' has no such thing"),
    ({"pool": "solo", "processes": 2}, "worker_processes is set, and the pool 'solo' has no such thing"),
    ({"pool": "asyncio", "processes": -1}, "worker_processes is -1"),
    ({"pool": "asyncio", "processes": 2, "autoscale": (3, 1)}, "both say how many children"),
    ({"concurrency": 2, "processes": 3}, r"worker_concurrency \(2\) and worker_processes \(3\) are the same there"),
    ({"start_method": "teleport"}, "worker_pool_start_method is 'teleport'; it is one of fork, spawn"),
    ({"pool": "gevent", "start_method": "fork"}, "which the pool 'gevent' cannot have; it has spawn"),
    ({"time_limit": 1, "soft_time_limit": 2}, "longer than the hard one"),
])
def test_what_makes_no_sense_is_refused_with_the_reason(app: Any, told: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        complete(app, **told)


def test_without_prefetch_the_window_is_one_message_a_child_whatever_the_multiplier_says(app: Any) -> None:
    assert complete(app).prefetch_multiplier is None
    app.conf.update(worker_prefetch_multiplier=8)
    assert complete(app).prefetch_multiplier == 8
    app.conf.update(worker_disable_prefetch=True)
    assert complete(app).prefetch_multiplier == 1


def test_a_kind_that_cannot_be_forked_is_spawned_unasked(app: Any) -> None:
    assert (complete(app).start_method, complete(app, pool="gevent").start_method) == ("fork", "spawn")


def test_what_the_pool_cannot_do_is_said_at_the_start(app: Any) -> None:
    tasks = [traits("plain"), traits("limited", time_limit=3.0), traits("later", is_async=True)]
    told = complete(app, pool="solo", soft_time_limit=1.0, max_tasks_per_child=5)
    assert options.warnings(told, tasks, app) == [
        "time_limit of limited has no effect in the pool 'solo'",
        "soft_time_limit has no effect in the pool 'solo'",
        "max_tasks_per_child has no effect in the pool 'solo'",
    ]
    assert options.warnings(complete(app, time_limit=1.0, max_memory_per_child=5), tasks, app) == []
    assert (SOLO.can.get("time_limit"), "time_limit" in PREFORK.can) == (None, True)


FEW = Kind("few", "x:y", can={"time_limit": "yes", "soft_time_limit": "yes", "max_tasks_per_child": "yes",
                              "max_memory_per_child": "yes"})


def test_tasks_that_the_pool_cannot_run_are_named(app: Any) -> None:
    told = complete(app, pool=f"{__name__}:FEW")
    assert options.warnings(told, [traits("plain"), traits("later", is_async=True), traits("celery.ping")],
                            app) == [
        "the pool 'few' cannot run `def` tasks: plain", "the pool 'few' cannot run `async def` tasks: later"]


def test_a_setting_without_effect_is_told_with_who_set_it_and_why(app: Any) -> None:
    app.conf.update(worker_timer="proj:Timer", security_key="k.pem", worker_lost_wait=10.0)
    app.conf.override({"beat_schedule": {"tick": {}}})
    told = options.warnings(complete(app), [], app)
    assert [line.partition(", set by ")[0] for line in told] == ["beat_schedule", "security_key", "worker_timer"]
    assert told[0].startswith("beat_schedule, set by the command line, has no effect: fastq has no scheduler yet")
    assert told[1] == "security_key, set by conf.update(), has no effect: fastq does not sign messages"


@pytest.mark.parametrize("kind", [Fastq, Celery])
def test_defaults_are_nothing_to_warn_of(kind: Any) -> None:
    with kind("plain", broker="memory://", set_as_current=False) as app:
        assert options.warnings(complete(app), [], app) == []


def test_a_worker_of_its_own_queue_takes_from_it_beside_those_that_were_named(app: Any) -> None:
    assert complete(app, hostname="w1@h").queues == ("celery",)
    app.conf.update(worker_direct=True, task_create_missing_queues=False)
    assert complete(app, hostname="w1@h").queues == ("celery", "w1@h.dq2")
    assert complete(app, hostname="w1@h", queues=["a", "w1@h.dq2"]).queues == ("a", "w1@h.dq2")
    declared = app.router.queues.declared("w1@h.dq2")
    assert declared == worker_direct("w1@h")
    assert (declared.exchange.name, declared.routing_key, declared.declared_arguments()) == ("C.dq2", "w1@h", {})


def test_tasks_that_replace_parts_which_a_worker_does_not_have_are_named(app: Any) -> None:
    class Own(app.Task):    # type: ignore[misc,name-defined]
        Request = "proj.requests:Own"

    bases = {"a": Own, "b": None, "c": Own}
    tasks = [app.task(name=name, base=base)(lambda: None).traits for name, base in bases.items()]
    assert options.warnings(complete(app), tasks, app) == [
        "Request of a, c has no effect: fastq has no such part of a worker; hooks of the task and signals are called"]


@pytest.mark.parametrize(("backend", "is_kept"), [("rpc://", False), ("disabled://", False), ("redis://h", True)])
def test_without_a_store_there_is_nothing_to_ask_whether_a_task_has_succeeded(backend: str, is_kept: bool) -> None:
    with Fastq("plain", broker="amqp://h", backend=backend, set_as_current=False,
               worker_deduplicate_successful_tasks=True) as app:
        assert ([] if is_kept else ["worker_deduplicate_successful_tasks has no effect: there is no result store that "
                                    "could be asked"]) == options.warnings(complete(app), [], app)
