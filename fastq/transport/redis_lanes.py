"""The lanes that a worker takes from, and the keys that its turns are given."""

from __future__ import annotations

from collections.abc import Sequence

from fastq.transport.redis_keys import Keys

LANE_BITS = 40
"""A tag is lane << LANE_BITS | number: it says where its message goes back to."""


class Lanes:
    """The lanes of *queues* for one life: of each queue its lists, in the order of their steps, then its trial list.
    *are_ranked*: of a step, a queue is served before those behind it, and not in turn.

    `serve` changes which queues are served. The lanes of those that are served no more stay, and keep their numbers:
    their messages may be in hand. References to the lists of keys may be kept, they change in place.
    """

    def __init__(self, keys: Keys, queues: Sequence[str], life: str, *, are_ranked: bool = False) -> None:
        self.are_ranked = are_ranked
        self.life = life
        self._keys = keys
        self.steps = keys.steps
        self.width = len(keys.steps) + 1
        """Lanes of one queue."""
        self.lives, self.graves, self.queues_key = keys.lives, keys.graves, keys.queues
        self.life_key, self.held_key = keys.life(life), keys.held(life)
        self.queues: list[str] = []
        self.all: list[bytes] = []
        """The key of every lane, by its number."""
        self.futures: list[bytes] = []
        self.inboxes: list[bytes] = []
        self.serve(queues)

    def serve(self, queues: Sequence[str]) -> None:
        """Serve exactly *queues* from now on."""
        keys, wanted = self._keys, set(queues)
        for queue in dict.fromkeys(queues):
            if queue not in self.queues:
                self.inboxes.append(keys.inbox(self.life, len(self.queues)))
                self.queues.append(queue)
                self.all += [*(keys.list_of(queue, step) for step in keys.steps), keys.trial(queue)]
                self.futures.append(keys.future(queue))
        self.served = [number for number, queue in enumerate(self.queues) if queue in wanted]
        """The numbers of the queues that are served."""
        # On a cluster there is nobody else who could want them in the list.
        self.movers = [] if keys.tag else [keys.mover(self.queues[number]) for number in self.served]
        self.movers_left = [] if keys.tag else [keys.mover(queue) for queue in self.queues if queue not in wanted]
        self.fixed = (self.lives, self.life_key, self.held_key, keys.dead_id, keys.dead(self.queues[0]), *self.all,
                      *self.futures, *self.inboxes)
        """The first keys of every turn; see turn.lua."""
        marks = "".join("1" if queue in wanted else "0" for queue in self.queues)
        self.shape = (self.width, len(self.queues), marks if "0" in marks else "")
        """What a turn says of its keys."""

    def lists(self) -> list[bytes]:
        """The lists that are served: all of the first step, then of the next."""
        return [self.all[number * self.width + step] for step in range(len(self.steps)) for number in self.served]

    def trials(self) -> list[bytes]:
        """The trial lists that are served."""
        return [self.all[number * self.width + self.width - 1] for number in self.served]

    def futures_served(self) -> list[bytes]:
        """The future sets of the queues that are served."""
        return [self.futures[number] for number in self.served]

    def first_of(self, number: int) -> int:
        """The first lane of a queue, by the queue's number."""
        return number * self.width

    def tag_of(self, number: int, of: int) -> int:
        """The tag that is *of* among those of the first lane of a queue, by the queue's number."""
        return self.first_of(number) << LANE_BITS | of

    def of(self, tag: int) -> bytes:
        """The key of the lane of *tag*."""
        return self.all[tag >> LANE_BITS]

    def queue_of(self, tag: int) -> str:
        """The queue of *tag*."""
        return self.queues[(tag >> LANE_BITS) // self.width]

    def trial_of(self, tag: int) -> bytes:
        """The trial list of the queue of *tag*."""
        return self.all[trial_lane(tag >> LANE_BITS, self.width)]

    def step_of(self, tag: int) -> int | None:
        """The priority of the list of *tag*; None for a trial list."""
        return None if self.is_trial(tag) else self.steps[(tag >> LANE_BITS) % self.width]

    def is_trial(self, tag: int) -> bool:
        """Whether *tag* came from a trial list."""
        return (tag >> LANE_BITS) % self.width == self.width - 1


def trial_lane(lane: int, width: int) -> int:
    """The lane of the trial list of the queue that has *lane*, where each queue has *width* lanes.

    >>> [trial_lane(lane, 5) for lane in (0, 4, 7)]
    [4, 4, 9]
    """
    return lane - lane % width + width - 1
