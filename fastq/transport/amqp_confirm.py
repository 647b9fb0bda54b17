"""What was published and is not confirmed: arithmetic between our numbers and the broker's delivery tags.

Messages are numbered from 1 as they are sent, over all connections. On each connection the broker counts from 1
anew: first what was sent again, then what came after.
"""

from __future__ import annotations

from collections import deque
from itertools import islice


class Unconfirmed:
    """The frames of messages without a confirm, in order of their numbers.

    Example:
        >>> sent = Unconfirmed()
        >>> sent.add([b"a", b"b", b"c"])
        >>> sent.confirm(2, is_multiple=True)
        >>> sent.confirmed, len(sent)
        (2, 1)
    """

    def __init__(self) -> None:
        self.confirmed = 0
        """Every message up to this number is confirmed."""
        # From number `confirmed + 1`; None where a confirm came out of turn.
        self._frames: deque[bytes | None] = deque()
        self._resent: list[int] = []    # the numbers of the first tags of this connection
        self._offset = 0                # number - tag of those after them

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def sent(self) -> int:
        """The number of the last message."""
        return self.confirmed + len(self._frames)

    def add(self, frames: list[bytes]) -> None:
        """Note messages as sent, or about to be."""
        self._frames.extend(frames)

    def drop(self, above: int) -> None:
        """Forget the messages numbered *above* that and not confirmed: they were never accepted."""
        while self._frames and self.sent > above:
            self._frames.pop()

    def up_to(self, tag: int, is_multiple: bool) -> list[bytes]:
        """Return the messages that a confirm of *tag* would be about. Raises ValueError for a tag that was not sent."""
        number, first = self._number(tag), self.confirmed + 1
        found = islice(self._frames, 0 if is_multiple else max(0, number - first), max(0, number - first + 1))
        return [frames for frames in found if frames is not None]

    def confirm(self, tag: int, is_multiple: bool) -> None:
        """Take note of a confirm, up to *tag* when it is multiple. Raises ValueError for a tag that was not sent."""
        number, frames = self._number(tag), self._frames
        if is_multiple:
            for _ in range(number - self.confirmed):
                frames.popleft()
            self.confirmed = max(number, self.confirmed)
        elif number > self.confirmed:
            frames[number - self.confirmed - 1] = None
        while frames and frames[0] is None:
            frames.popleft()
            self.confirmed += 1

    def _number(self, tag: int) -> int:
        number = self._resent[tag - 1] if 0 < tag <= len(self._resent) else self._offset + tag
        if not 0 < number <= self.sent:
            raise ValueError(f"a confirm of message {tag}, but only {self.sent - self._offset} were sent")
        return number

    def again(self) -> list[bytes]:
        """Return what a new connection has to send first; its tags count from there."""
        open_ones = [(self.confirmed + 1 + at, frames) for at, frames in enumerate(self._frames) if frames is not None]
        self._resent = [number for number, _ in open_ones]
        self._offset = self.sent - len(open_ones)
        return [frames for _, frames in open_ones]
