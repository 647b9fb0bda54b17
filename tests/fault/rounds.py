"""The rounds: some thousand tasks, a nemesis, and the verdict.

A nemesis is a generator that is asked again and again while the tasks run: it yields when it waits for the round to
go on. It strikes when so many runs have started, which chance decides, so that no machine is too fast or too slow.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fastq import points
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.bench.servers.redis import Redis
from fastq.worker.consumer import EARLY_WINDOW
from tests.deadline import wait_until
from tests.fault import history, plan
from tests.fault.crew import Crew
from tests.fault.engines import Database, Engine, File, Host
from tests.fault.history import ATTEMPT, CONFIRM, START, Verdict

Nemesis = Callable[["Crew", random.Random], Iterator[None]]
Judge = Callable[["Crew"], Verdict]
TASKS = 5000


@dataclass(frozen=True)
class Round:
    """One round, by what goes wrong in it."""

    name: str
    nemesis: Nemesis
    workers: int = 1
    tasks: int = TASKS
    lease_s: float = 30.0
    worker_env: tuple[str, ...] = ()
    """FASTQ_KILL_AT for the first workers, one after the other."""
    producer_env: tuple[str, ...] = ()
    may_duplicate: bool = True
    may_lose_early: bool = True
    least_deaths: int = 1
    patience_s: float = 90.0
    """A round that has not come to its end by then hangs."""
    least_cuts: int = 0
    queue_type: str = ""
    """Of RabbitMQ; without, the round is on SQLite, or on Redis."""
    on_redis: bool = False
    """With a *queue_type* only the results are there."""
    is_proxied: bool = False
    is_apart: bool = False
    """Results are stored elsewhere, before the acks; on Redis."""
    heartbeat_s: float = 10.0
    pool: str = "prefork"
    spares_servers: bool = False
    """Its broker is not killed, so that it need not write down what it is told before it answers."""
    producer_role: str = "producer"
    """The program that sends."""
    runs_each: int = 1
    """Runs that each of its tasks leads to."""
    judge: Judge | None = None
    """Without one, it is the verdict on single tasks."""


@dataclass
class Outcome:
    """A round that is over."""

    round: Round
    verdict: Verdict
    seconds: float
    faults: list[str] = field(default_factory=list)


def engine_of(round_: Round, folder: Path, rabbitmq: RabbitMQ | None, redis: Redis | None) -> Engine:
    """Make what carries the messages of a round."""
    if round_.queue_type:
        assert rabbitmq is not None
        return Host(rabbitmq, folder, round_.queue_type, heartbeat_s=round_.heartbeat_s, is_proxied=round_.is_proxied,
                    store=redis if round_.on_redis else None)
    if round_.on_redis:
        assert redis is not None
        return Database(redis, is_proxied=round_.is_proxied, store=folder / "results.db" if round_.is_apart else None)
    return File(folder)


def play(round_: Round, folder: Path, seed: int, tell: Callable[[str], None] = lambda text: None,
         rabbitmq: RabbitMQ | None = None, redis: Redis | None = None) -> Outcome:
    """Play one round in *folder*; *tell* is told how far it is."""
    began, chance = time.monotonic(), random.Random(f"{round_.name} {seed}")
    crew = Crew(folder, engine_of(round_, folder, rabbitmq, redis), round_.tasks, round_.lease_s,
                producer_role=round_.producer_role, runs=round_.tasks * round_.runs_each,
                pool=round_.pool, children=2 if round_.pool == "prefork" else 8,
                environments=[{"FASTQ_KILL_AT": at} for at in round_.worker_env],
                producer_environments=[{"FASTQ_KILL_AT": at} for at in round_.producer_env])
    verdict, faults = Verdict(), list[str]()
    try:
        for _ in range(round_.workers):
            crew.start_worker()
        crew.start_producer()
        nemesis = round_.nemesis(crew, chance)
        told = 0.0

        def go_on() -> bool:
            nonlocal told
            is_over = next(nemesis, "over") == "over"
            if time.monotonic() - told > 0.2:
                told = time.monotonic()
                counts = crew.seen.counts
                tell(f"{counts[CONFIRM]} sent, {counts[START]} started")
            return is_over and crew.is_drained()

        crew.wait(go_on, round_.patience_s, f"round {round_.name!r} to end")
        # One that was started in place of another may not have come as far as to hear a signal.
        crew.wait(lambda: all(member.children() for member in crew.workers), what="all workers to be up")
        codes = [crew.shut_down(member, signal.SIGTERM) for member in list(crew.workers)]
        crew.seen.follow()
        verdict = (round_.judge or judge)(crew)
        faults += [*verdict.faults, *_broken_rules(round_, verdict)]
        if any(codes):
            faults.append(f"workers ended with {codes} after SIGTERM")
    except AssertionError as error:
        faults.append(f"{error}\n{crew.words()}")
    finally:
        crew.leave()
    return Outcome(round_, verdict, time.monotonic() - began, faults)


def judge(crew: Crew) -> Verdict:
    """The verdict on what *crew* did, once it is at rest."""
    remains = crew.engine.remains()
    crew.seen.follow()
    at_once = 1 if crew.pool == "prefork" else crew.children
    return history.judge(crew.seen.records, remains, is_early=plan.is_early, wants_result=plan.wants_result,
                         bosses=crew.bosses, is_atomic=crew.engine.is_atomic, at_once=at_once)


def _broken_rules(round_: Round, verdict: Verdict) -> Iterator[str]:
    if verdict.tasks != round_.tasks:
        yield f"{verdict.tasks} of {round_.tasks} tasks were sent"
    if verdict.duplicates and not round_.may_duplicate:
        yield f"{verdict.duplicates} duplicates, and none may be"
    if verdict.early_lost and not round_.may_lose_early:
        yield f"{verdict.early_lost} early-acked tasks lost, and none may be"
    if verdict.early_lost > verdict.deaths * EARLY_WINDOW:
        yield f"{verdict.early_lost} early-acked tasks lost in {verdict.deaths} deaths: too many were held"
    if verdict.cuts < round_.least_cuts:
        yield f"{verdict.cuts} outages: the nemesis did not strike often enough to prove anything"
    if verdict.deaths < round_.least_deaths:
        yield f"{verdict.deaths} deaths: the nemesis did not strike often enough to prove anything"


# -- nemeses ----------------------------------------------------------------------------------------


def moments(crew: Crew, chance: random.Random, count: int, kind: str = START, most: float = 0.9) -> Iterator[bool]:
    """Yield False while waiting, and True at *count* moments spread over the round by chance."""
    total = crew.runs if kind == START else crew.tasks
    for at in sorted(chance.randrange(1, int(total * most)) for _ in range(count)):
        while crew.seen.counts[kind] < at:
            yield False
        yield True


def peace(crew: Crew, chance: random.Random) -> Iterator[None]:
    """Do nothing; what dies does so by itself."""
    return iter(())


def kill_children(count: int) -> Nemesis:
    def strike(crew: Crew, chance: random.Random) -> Iterator[None]:
        for is_now in moments(crew, chance, count):
            while is_now and not (children := [pid for worker in crew.workers for pid in worker.children()]):
                yield   # one that has just died is being replaced
            if is_now:
                crew.kill(chance.choice(children))
            yield
    return strike


def kill_supervisors(count: int) -> Nemesis:
    def strike(crew: Crew, chance: random.Random) -> Iterator[None]:
        for is_now in moments(crew, chance, count):
            if is_now:
                crew.kill(chance.choice(crew.workers).pid)
            yield
    return strike


def kill_producers(count: int) -> Nemesis:
    def strike(crew: Crew, chance: random.Random) -> Iterator[None]:
        for is_now in moments(crew, chance, count, ATTEMPT):
            if is_now and crew.producer is not None:
                crew.kill(crew.producer.pid)
            yield
    return strike


def all_of(*nemeses: Nemesis) -> Nemesis:
    def strike(crew: Crew, chance: random.Random) -> Iterator[None]:
        striking = [nemesis(crew, chance) for nemesis in nemeses]
        while striking:
            striking = [one for one in striking if next(one, "over") != "over"]
            yield
    return strike


def stop_supervisors(count: int, *, whole: bool) -> Nemesis:
    """Stop a worker until the other one has taken over, that is, for longer than its lease."""
    def strike(crew: Crew, chance: random.Random) -> Iterator[None]:
        for is_now in moments(crew, chance, count, most=0.6):
            while is_now and not all(worker.children() for worker in crew.workers):
                yield   # one that is still to come could not take over
            if is_now:
                victim = chance.choice(crew.workers)
                pids = crew.stop(victim, whole=whole)
                until = time.monotonic() + crew.lease_s * 1.6
                while time.monotonic() < until:
                    yield
                crew.go_on(victim, pids)
            yield
    return strike


def shut_down(count: int, *numbers: int) -> Nemesis:
    """End the worker by signals under load, and start another."""
    def strike(crew: Crew, chance: random.Random) -> Iterator[None]:
        expected = 1 if len(numbers) > 1 or signal.SIGQUIT in numbers else 0
        for is_now in moments(crew, chance, count):
            if is_now:
                victim = crew.workers[0]
                children = wait_until(victim.children, what="children")
                if len(numbers) > 1:
                    # One that is quick at a warm shutdown would be gone before the next signal comes.
                    os.kill(chance.choice(children), signal.SIGSTOP)
                code = crew.shut_down(victim, *numbers)
                assert code == expected, f"exit code {code} after {numbers}:\n{victim.said()}"
                crew.start_worker()
            yield
    return strike


def _labels() -> Iterator[Round]:
    for label in points.SUPERVISOR:
        if label not in ("buried", "counted", "closing"):  # where chords are counted, there are chords: workflows.py
            yield Round(f"supervisor dies at {label!r}", peace, worker_env=(f"{label}:3", f"{label}:9", f"{label}:30"),
                        least_deaths=3)
    yield Round("supervisor dies at 'buried'", kill_children(6), worker_env=("buried:1", "buried:1", "buried:1"),
                least_deaths=6)
    for label in points.CHILD:
        yield Round(f"children die at {label!r}", peace, worker_env=(f"{label}:400",), least_deaths=5)
    for label in points.PRODUCER:
        yield Round(f"producer dies at {label!r}", peace, producer_env=(f"{label}:3", f"{label}:40", f"{label}:200"),
                    may_duplicate=False, may_lose_early=False, least_deaths=3)


ROUNDS = (
    Round("nothing goes wrong", peace, may_duplicate=False, may_lose_early=False, least_deaths=0),
    Round("kill -9 of children", kill_children(12)),
    Round("kill -9 of supervisors", kill_supervisors(4)),
    Round("kill -9 of producers", kill_producers(6), may_duplicate=False, may_lose_early=False),
    Round("kill -9 of everybody", all_of(kill_children(6), kill_supervisors(2), kill_producers(3)), least_deaths=6),
    Round("kill -9 with two workers", all_of(kill_children(6), kill_supervisors(3)), workers=2, least_deaths=6),
    *_labels(),
    Round("stop of a supervisor", stop_supervisors(2, whole=False), workers=2, lease_s=1.0),
    Round("stop of a whole worker", stop_supervisors(2, whole=True), workers=2, lease_s=1.0),
    Round("warm shutdowns (TERM)", shut_down(5, signal.SIGTERM), may_duplicate=False, may_lose_early=False,
          least_deaths=0),
    Round("cold shutdowns (INT, INT)", shut_down(4, signal.SIGINT, signal.SIGINT)),
    Round("cold shutdowns (QUIT)", shut_down(4, signal.SIGQUIT)),
)
