"""The lists that a worker takes from, in serving order, and the keys that its turns are given."""

from __future__ import annotations

from collections.abc import Sequence

from fastq.transport.redis_keys import Keys

LANE_BITS = 40
"""A tag is lane << LANE_BITS | number: it says where its message goes back to."""


class Lanes:
    """The lanes of *queues* for one life: first the lists, all queues of the first step, then of the next; then the
    trial lists, one a queue. *are_ranked*: of a step, a queue is served before those behind it, and not in turn.
    """

    def __init__(self, keys: Keys, queues: Sequence[str], life: str, *, are_ranked: bool = False) -> None:
        self.queues = tuple(dict.fromkeys(queues))
        self.are_ranked = are_ranked
        self.life = life
        self._steps = keys.steps
        self.lists = [keys.list_of(queue, step) for step in keys.steps for queue in self.queues]
        self.trials = [keys.trial(queue) for queue in self.queues]
        self.futures = [keys.future(queue) for queue in self.queues]
        self.inboxes = [keys.inbox(life, lane) for lane in range(len(self.queues))]
        # On a cluster there is nobody else who could want them in the list.
        self.movers = [] if keys.tag else [keys.mover(queue) for queue in self.queues]
        self.lives, self.graves, self.queues_key = keys.lives, keys.graves, keys.queues
        self.life_key, self.held_key = keys.life(life), keys.held(life)
        self.fixed = (self.lives, self.life_key, self.held_key, keys.dead_id, keys.dead(self.queues[0]), *self.lists,
                      *self.trials, *self.futures, *self.inboxes)
        """The first keys of every turn; see turn.lua."""

    @property
    def all(self) -> list[bytes]:
        """The key of every lane, by its number."""
        return [*self.lists, *self.trials]

    def of(self, tag: int) -> bytes:
        """The key of the lane of *tag*."""
        lane = tag >> LANE_BITS
        return self.lists[lane] if lane < len(self.lists) else self.trials[lane - len(self.lists)]

    def queue_of(self, tag: int) -> str:
        """The queue of *tag*."""
        return self.queues[queue_of_lane(tag >> LANE_BITS, len(self.lists), len(self.queues))]

    def trial_of(self, tag: int) -> bytes:
        """The trial list of the queue of *tag*."""
        return self.trials[queue_of_lane(tag >> LANE_BITS, len(self.lists), len(self.queues))]

    def step_of(self, tag: int) -> int | None:
        """The priority of the list of *tag*; None for a trial list."""
        lane = tag >> LANE_BITS
        return self._steps[lane // len(self.queues)] if lane < len(self.lists) else None

    def is_trial(self, tag: int) -> bool:
        """Whether *tag* came from a trial list."""
        return tag >> LANE_BITS >= len(self.lists)


def queue_of_lane(lane: int, lists: int, queues: int) -> int:
    """The number of the queue to which a lane belongs."""
    return (lane if lane < lists else lane - lists) % queues
