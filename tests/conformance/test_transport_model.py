"""Random histories of publish, turn, endings, replay and silent workers, against a model made of dicts and lists."""

from __future__ import annotations

import time
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from fastq import transport
from fastq.exceptions import LeaseLost
from fastq.types import Endings, Message, QueueStat

QUEUES = ("a", "b")
LIMIT = 3
LEASES_S = 3600.0, 0.001
_names = count()


class Model(RuleBasedStateMachine):
    """Two workers on two queues. The model keeps, for each message, its place, its deaths, and its rank in its lane."""

    messages = Bundle("messages")

    @initialize()
    def open(self) -> None:
        url = f"memory://model-{next(_names)}"
        self.workers = [transport.open(url, {"death_limit": LIMIT}) for _ in range(2)]
        for n, worker in enumerate(self.workers):
            worker.attach(f"w{n}", QUEUES, LEASES_S[n])
        self.consumed: list[tuple[str, ...]] = [QUEUES, QUEUES]
        self.numbers = count()
        self.ranks = count()
        self.ready: dict[int, tuple[str, int, int]] = {}       # number -> queue, priority, rank
        self.held: list[dict[int, int]] = [{}, {}]             # of each worker: number -> tag
        self.where: dict[int, tuple[str, int, int]] = {}       # as ready, for every message there is
        self.deaths: dict[int, int] = {}
        self.dead: dict[int, str] = {}

    def teardown(self) -> None:
        for worker in getattr(self, "workers", ()):
            worker.close()

    def _new(self, queue: str, priority: int) -> Message:
        number = next(self.numbers)
        self.where[number] = self.ready[number] = (queue, priority, next(self.ranks))
        self.deaths[number] = 0
        return Message(queue, b"%d" % number, priority)

    @rule(queue=st.sampled_from(QUEUES), priority=st.integers(0, 2))
    def publish_one(self, queue: str, priority: int) -> None:
        self.workers[0].publish_one(*self._new(queue, priority)[:3])

    @rule(lanes=st.lists(st.tuples(st.sampled_from(QUEUES), st.integers(0, 2)), max_size=6))
    def publish(self, lanes: list[tuple[str, int]]) -> None:
        assert self.workers[1].publish([self._new(*lane) for lane in lanes]) == len(lanes)

    @rule(worker=st.integers(0, 1), queues=st.sampled_from([QUEUES, QUEUES[:1], QUEUES[1:], ()]))
    def consume(self, worker: int, queues: tuple[str, ...]) -> None:
        self.workers[worker].consume(queues)
        self.consumed[worker] = queues

    def _pick(self, data: st.DataObject, worker: int) -> list[int]:
        return data.draw(st.lists(st.sampled_from(sorted(self.held[worker])), unique=True)) if self.held[worker] else []

    @rule(worker=st.integers(0, 1), credit=st.integers(0, 6), data=st.data())
    def turn(self, worker: int, credit: int, data: st.DataObject) -> None:
        endings, held = Endings(), self.held[worker]
        for number in self._pick(data, worker):
            tag, place = held.pop(number), self.where[number]
            ending = data.draw(st.sampled_from(["ack", "back", "lost", "dead"]))
            if ending == "ack":
                endings.ack.append((tag, tag))
                del self.where[number]
            elif ending == "back":
                endings.back.append((tag, tag))
                self.ready[number] = place
            elif ending == "lost":
                endings.lost.append(tag)
                self.ready[number] = place
                self.deaths[number] += 1
            else:
                endings.dead.append((tag, f"reason {number}"))
                self.dead[number] = f"reason {number}"
        got = [(queue, *row) for queue, rows in self.workers[worker].turn(endings, credit) for row in rows]
        assert len(got) <= credit
        self._check_delivery(worker, credit, got)

    def _check_delivery(self, worker: int, credit: int, got: list[tuple[str, int, int, bytes]]) -> None:
        free = self._free(worker)
        for queue, tag, deaths, content in got:
            number = int(content)
            assert self.ready[number][0] == queue and queue in self.consumed[worker]
            assert self.deaths[number] == deaths
            assert tag not in self.held[0].values() and tag not in self.held[1].values()
            same_lane = [other for other in free if self.where[other][:2] == self.where[number][:2]]
            assert number == min(same_lane, key=self._order), "not the first of its lane"
            del self.ready[number]
            self.held[worker][number] = tag
            free = self._free(worker)
        if len(got) < credit:
            assert not free, f"{free} could have been delivered"
        elif credit:
            lowest = min(self.where[int(content)][1] for _, _, _, content in got)
            assert all(self.where[number][1] <= lowest for number in free), "a higher priority was left behind"

    def _order(self, number: int) -> tuple[bool, int]:
        return self.deaths[number] < LIMIT - 1, self.where[number][2]

    def _free(self, worker: int) -> list[int]:
        """What this worker could get: all that is ready, but one on trial only if it has none."""
        on_trial = any(self.deaths[number] >= LIMIT - 1 for number in self.held[worker])
        return [number for number, (queue, _, _) in self.ready.items()
                if queue in self.consumed[worker] and (not on_trial or self.deaths[number] < LIMIT - 1)]

    @rule(worker=st.integers(0, 1))
    def attach_anew(self, worker: int) -> None:
        """Hand back what *worker* holds; worker 0 then also brings back what the silent worker 1 held."""
        self._return_all(worker, deaths=0)
        if worker == 0:
            time.sleep(0.003)  # beyond the lease of worker 1
            self._return_all(1, deaths=1)
        self.workers[worker].attach("again", QUEUES, LEASES_S[worker])
        self.consumed[worker] = QUEUES
        if worker == 0:
            self._find_the_lease_lost()

    @rule()
    def worker_1_falls_silent(self) -> None:
        time.sleep(0.003)
        held = len(self.held[1])
        self._return_all(1, deaths=1)
        assert self.workers[0].keep() == held
        self._find_the_lease_lost()

    def _return_all(self, worker: int, deaths: int) -> None:
        for number in self.held[worker]:
            self.ready[number] = self.where[number]
            self.deaths[number] += deaths
        self.held[worker] = {}

    def _find_the_lease_lost(self) -> None:
        with pytest.raises(LeaseLost):
            self.workers[1].turn(Endings(publish=[Message("a", b"from a zombie")]), 9)
        self.workers[1].attach("again", QUEUES, LEASES_S[1])
        self.consumed[1] = QUEUES

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), replay=st.booleans())
    def resolve_dead(self, data: st.DataObject, replay: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.dead)))
        letter, = (letter for letter in self.workers[0].dead_letters() if letter.content == b"%d" % number)
        assert (letter.reason, letter.deaths) == (self.dead.pop(number), self.deaths[number])
        assert self.workers[0].resolve_dead([letter.id], replay=replay) == 1
        queue, priority, _ = self.where.pop(number)
        if replay:
            self.where[number] = self.ready[number] = (queue, priority, next(self.ranks))
            self.deaths[number] = 0

    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: str) -> None:
        doomed = [number for number, place in self.ready.items() if place[0] == queue]
        assert self.workers[0].purge(queue) == len(doomed)
        for number in doomed:
            del self.ready[number], self.where[number]

    @invariant()
    def figures_agree(self) -> None:
        stats = self.workers[0].queues() if hasattr(self, "workers") else {}
        for queue, stat in stats.items():
            def of(numbers: object, queue: str = queue) -> int:
                return sum(self.where[number][0] == queue for number in numbers)  # type: ignore[attr-defined]
            assert stat == QueueStat(of(self.ready), of(self.held[0]) + of(self.held[1]), 0, of(self.dead))


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None,
                              suppress_health_check=list(HealthCheck))
TestModel = pytest.mark.filterwarnings("error")(TestModel)
