"""How a turn over several queues of a cluster is split: endings by queue, and the credit among them. No I/O.

A tag of such a transport is that of the member, with the member's number above it: bits 53 to 62.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastq.exceptions import NotHeld
from fastq.types import Endings

MEMBER_BIT = 53
"""The scripts count in doubles, which are exact below; a tag has 63 bits."""
MOST_MEMBERS = 1 << (63 - MEMBER_BIT)
_OWN = (1 << MEMBER_BIT) - 1


def bits_of(number: int) -> int:
    """What the tags of a member have besides.

    >>> bits_of(1)
    9007199254740992
    """
    return number << MEMBER_BIT


class Parts:
    """The endings of one turn, by the queue of what ends; *names* are the queues by the numbers of their members.

    What ends is taken out of *endings*, what leaves along with it stays there. Raises NotHeld for what no member has.
    """

    def __init__(self, endings: Endings, names: Mapping[int, str]) -> None:
        self._numbers = {name: number for number, name in names.items()}
        self._parts: dict[str, Endings] = {}
        tags = [first for first, _ in (*endings.ack, *endings.back)] + endings.lost
        tags += [tag for tag, _ in (*endings.dead, *endings.later)]
        for tag in tags:
            if tag >> MEMBER_BIT not in names:
                raise NotHeld(f"delivery {tag} is not held here; it ended, or is another's now")
        for first, last in endings.ack:
            self.of(names[first >> MEMBER_BIT]).ack.append((first & _OWN, last & _OWN))
        for first, last in endings.back:
            self.of(names[first >> MEMBER_BIT]).back.append((first & _OWN, last & _OWN))
        for tag in endings.lost:
            self.of(names[tag >> MEMBER_BIT]).lost.append(tag & _OWN)
        for tag, reason in endings.dead:
            self.of(names[tag >> MEMBER_BIT]).dead.append((tag & _OWN, reason))
        for tag, run_at in endings.later:
            self.of(names[tag >> MEMBER_BIT]).later.append((tag & _OWN, run_at))
        for tag, row in endings.rows.items():
            if tag >> MEMBER_BIT in names:
                self.of(names[tag >> MEMBER_BIT]).rows[tag & _OWN] = row
        for over in (endings.ack, endings.back, endings.lost, endings.dead, endings.later, endings.rows):
            over.clear()

    def of(self, name: str) -> Endings:
        """What ends of one queue."""
        return self._parts.setdefault(name, Endings())

    @property
    def alone(self) -> str:
        """The queue of all that ends; "" when there are several, or none."""
        return next(iter(self._parts)) if len(self._parts) == 1 else ""

    def give_back(self, endings: Endings) -> None:
        """Put into *endings* again what nobody took over."""
        for name, part in self._parts.items():
            bits = bits_of(self._numbers[name])
            endings.ack += [(first | bits, last | bits) for first, last in part.ack]
            endings.back += [(first | bits, last | bits) for first, last in part.back]
            endings.lost += [tag | bits for tag in part.lost]
            endings.dead += [(tag | bits, reason) for tag, reason in part.dead]
            endings.later += [(tag | bits, run_at) for tag, run_at in part.later]
            endings.publish += part.publish
            endings.rows.update({tag | bits: row for tag, row in part.rows.items()})


def shares(credit: int, quiet: Sequence[bool]) -> list[int]:
    """What each member may ask for: those that have work share *credit*, the *quiet* ones listen for one message.

    >>> shares(10, [False, True, False]), shares(2, [False] * 3), shares(0, [False])
    ([5, 1, 5], [1, 1, 1], [0])
    """
    busy = quiet.count(False)
    if credit <= 0 or busy == 0:
        return [max(0, min(credit, 1))] * len(quiet)
    share, more = divmod(credit, busy)
    found = []
    for is_quiet in quiet:
        found.append(1 if is_quiet else max(1, share + (more > 0)))
        more -= not is_quiet
    return found
