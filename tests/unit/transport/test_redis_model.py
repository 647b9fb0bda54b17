"""Random histories on Redis, against a model made of dicts and lists: after each step every list is as it should be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from fastq.exceptions import LeaseLost
from fastq.types import Endings, Message
from tests.deadline import wait_until
from tests.unit.transport.redisdesk import Row, Server, Worker, bodies, message, said

pytestmark = pytest.mark.redis

QUEUES, STEPS, TRIAL = ("a", "b"), (0, 3), -1
LIMIT = 3
Lane = tuple[str, int]
_names = count()


class Model(RuleBasedStateMachine):
    """Two workers on two queues; the second one begins with one, and its lease is over at times. Both choose anew which
    queues they consume. The model keeps what is in each lane, the next one first, and what each worker holds.
    """

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.prefix = f"model-{next(_names)}:"
        self.server = server
        self.workers = [self._start(*QUEUES), self._start(QUEUES[0])]
        self.consumed: list[Sequence[str]] = [QUEUES, QUEUES[:1]]
        self.numbers = count()
        self.lanes: dict[Lane, list[int]] = {(queue, step): [] for queue in QUEUES for step in (*STEPS, TRIAL)}
        self.held: list[dict[int, int]] = [{}, {}]      # of each worker: number -> tag
        self.came_from: dict[int, Lane] = {}
        self.deaths: dict[int, int] = {}
        self.dead: dict[int, Lane] = {}

    def _start(self, *queues: str) -> Worker:
        return Worker(self.server.url, *queues, global_keyprefix=self.prefix, death_limit=LIMIT,
                      priority_steps=list(STEPS))

    def teardown(self) -> None:
        for worker in self.workers:
            worker.transport.close()

    # -- what happens ----------------------------------------------------------------------------------------------

    def _new(self, lane: Lane) -> Message:
        number = next(self.numbers)
        self.lanes[lane].append(number)
        self.deaths[number] = 0
        return message(lane[0], str(number), priority=lane[1])

    lane_of_a_list = st.tuples(st.sampled_from(QUEUES), st.sampled_from(STEPS))

    @rule(lanes=st.lists(lane_of_a_list, min_size=1, max_size=6))
    def publish(self, lanes: list[Lane]) -> None:
        assert self.workers[0].transport.publish([self._new(lane) for lane in lanes]) == len(lanes)

    @rule(at=st.integers(0, 1), queues=st.sampled_from([QUEUES, QUEUES[:1], QUEUES[1:], ()]))
    def consume(self, at: int, queues: Sequence[str]) -> None:
        self.workers[at].transport.consume(queues)
        self.consumed[at] = queues

    @rule(at=st.integers(0, 1), credit=st.integers(1, 6))
    def take(self, at: int, credit: int) -> None:
        worker = self.workers[at]
        worker.desk.ears.has_news = True    # as a bell would say
        rows = worker.turn(credit) + self._settle(worker, credit)
        assert len(rows) <= credit
        given = [self._deliver(at, row) for row in rows]
        left = [step for (queue, step), numbers in self.lanes.items()
                if numbers and step != TRIAL and queue in self.consumed[at]]
        if len(rows) < credit:
            assert left == [], "it could have had more"
            assert self._has_suspect(at) or not any(self.lanes[queue, TRIAL] for queue in self.consumed[at])
        assert max(given, default=0) <= min(left, default=9) or not left, "a more urgent one was left behind"

    def _settle(self, worker: Worker, credit: int = 0) -> list[Row]:
        rows: list[Row] = []
        desk = worker.desk

        def is_done() -> bool:
            rows.extend(worker.turn(max(0, credit - len(rows))) if credit else worker.turn())
            return not (desk._turns or desk._lost or desk._outbox.is_urgent or desk.gathered or desk.line.is_busy)

        wait_until(is_done)
        return rows

    def _deliver(self, at: int, row: Row) -> int:
        queue, tag, deaths, _ = row
        number, lanes = int(bodies([row])[0]), self.workers[at].desk.lanes
        step = TRIAL if lanes.is_trial(tag) else lanes.step_of(tag)
        assert self.lanes[queue, step].pop(0) == number, "not the next one of its lane"
        assert self.deaths[number] == deaths and queue in self.consumed[at]
        self.held[at][number] = tag
        self.came_from[number] = (queue, step)
        return step

    def _has_suspect(self, at: int) -> bool:
        return any(self.came_from[number][1] == TRIAL for number in self.held[at])

    @precondition(lambda self: any(self.held))
    @rule(data=st.data(), lane=st.none() | lane_of_a_list)
    def end(self, data: st.DataObject, lane: Lane | None) -> None:
        at = data.draw(st.sampled_from([at for at in (0, 1) if self.held[at]]))
        held, endings = self.held[at], Endings()
        picked = data.draw(st.lists(st.sampled_from(sorted(held)), unique=True, min_size=1))
        fate = st.sampled_from(["ack", "back", "lost", "dead"])
        common = data.draw(st.none() | fate)
        fates = {number: common or data.draw(fate) for number in picked}
        tags = {number: held.pop(number) for number in picked}
        for number, tag in tags.items():
            endings.rows[tag] = (self.came_from[number][0], self.deaths[number], b"")
            if fates[number] in ("ack", "back"):
                getattr(endings, fates[number]).append((tag, tag))
            elif fates[number] == "lost":
                endings.lost.append(tag)
            else:
                endings.dead.append((tag, f"reason {number}"))
                self.dead[number] = self.came_from[number]
        backwards = sorted(picked, key=tags.__getitem__, reverse=True)      # what goes back last is next in line
        for number in [one for one in backwards if fates[one] == "back"]:
            self.lanes[self.came_from[number]].insert(0, number)
        if lane is not None:
            endings.publish.append(self._new(lane))
        for number in [one for one in backwards if fates[one] == "lost"]:
            self._lose(number)
        worker = self.workers[at]
        assert [*self._ended(worker, endings), *self._settle(worker)] == []

    def _ended(self, worker: Worker, endings: Endings) -> list[Row]:
        return [(queue, *row) for queue, rows in worker.transport.turn(endings, 0) for row in rows]

    def _lose(self, number: int) -> None:
        self.deaths[number] += 1
        queue, step = self.came_from[number]
        self.lanes[queue, TRIAL if self.deaths[number] >= LIMIT - 1 else step].insert(0, number)

    @precondition(lambda self: len(self.held[1]) > 3)
    @rule()
    def the_lease_of_the_second_is_over(self) -> None:
        first, second = self.workers
        life, redis = second.desk.lanes.life, self.server.client
        redis.hset(f"{self.prefix}fastq.life.{life}", "lease", 0)   # for it is younger than the server may be
        redis.zadd(f"{self.prefix}fastq.lives", {life: 1}, xx=True)
        came = 0

        def is_over() -> bool:
            nonlocal came
            came += first.transport.keep()
            return not (redis.zscore(f"{self.prefix}fastq.lives", life) or redis.zcard(f"{self.prefix}fastq.graves"))

        wait_until(is_over)
        self._settle(first)
        assert came + first.transport.keep() == len(self.held[1])
        held, self.held[1] = self.held[1], {}
        for number in sorted(held, key=held.__getitem__, reverse=True):
            self._lose(number)
        with pytest.raises(LeaseLost):
            wait_until(second.transport.keep, what="the second to be told")
        second.die()
        self.workers[1] = self._start(QUEUES[0])
        self.consumed[1] = QUEUES[:1]

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), replay=st.booleans())
    def resolve_dead(self, data: st.DataObject, replay: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.dead)))
        queue, step = self.dead.pop(number)
        letter, = (one for one in self.workers[0].transport.dead_letters() if one.reason == f"reason {number}")
        assert (letter.queue, letter.deaths) == (queue, self.deaths[number])
        assert self.workers[0].transport.resolve_dead([letter.id], replay=replay) == 1
        if replay:
            self.lanes[queue, 0 if step == TRIAL else step].append(number)
            self.deaths[number] = 0

    @precondition(lambda self: sum(map(len, self.lanes.values())) > 12)
    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: str) -> None:
        own = [lane for lane in self.lanes if lane[0] == queue]
        assert self.workers[0].transport.purge(queue) == sum(len(self.lanes[lane]) for lane in own)
        self.lanes |= {lane: [] for lane in own}

    # -- what holds ------------------------------------------------------------------------------------------------

    @invariant()
    def every_list_is_as_it_should_be(self) -> None:
        lanes = self.workers[0].desk.lanes
        keys = [(queue, step) for queue in QUEUES for step in (*STEPS, TRIAL)]
        with self.server.client.pipeline(transaction=False) as asking:
            for key in lanes.all:
                asking.lrange(key, 0, -1)
            for worker in self.workers:
                asking.hlen(worker.desk.lanes.held_key)
            found = asking.execute()
        there = [[int(said(each)) for each in reversed(listed)] for listed in found[:len(keys)]]
        assert dict(zip(keys, there, strict=True)) == self.lanes
        assert found[len(keys):] == [len(held) for held in self.held]


def test_random_histories_do_what_the_model_does(redis_url: str) -> None:
    server = Server(redis_url)
    try:
        # Nothing is made smaller that fails: it takes a minute, and thirty steps can be read.
        run_state_machine_as_test(lambda: Model(server), settings=settings(  # type: ignore[arg-type]
            max_examples=60, stateful_step_count=30, deadline=None, phases=[Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck)))
    finally:
        server.client.close()
