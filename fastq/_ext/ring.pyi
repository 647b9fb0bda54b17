from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

Run = tuple[int, int]
Row = tuple[str, int, bytes]
Stored = tuple[str, str, bytes, str | None]
Published = tuple[str, bytes, int, float | None, str]
Chorded = tuple[str, int, bytes]
Described = tuple[int, int, int, int, str, bytes, bool, str | None]

def ring_size(slots: int, slot_bytes: int, children: int) -> int: ...
def parse_effects(
    raw: bytes,
    results: list[Stored],
    publishes: list[Published],
    reply_to: str | None = None,
    chords: list[Chorded] | None = None,
) -> str | None: ...
@final
class Ring:
    """The slot table as its supervisor sees it: fill, watch, empty.

    *buffer* is writable shared memory of `ring_size` bytes, all of them 0. *tasks* are rows of (name as bytes,
    endings as 16 bytes, acks early, hard limit in s or None, soft limit in s or None). *spill*
    writes bytes that do not fit a slot to a file and returns its path as bytes, *unspill* removes
    it. *wake_fds* are the descriptors that wake the heads, -1 for one that sleeps on its word. A child has *seats*
    heads, the first has the first ones. What is over its hard limit is told so, and its child killed *grace_s*
    seconds later.
    With a *trial_child* it alone runs what one more death condemns, one after the other.

    Rows are (tag, deaths, content), or one buffer of packed records (ext/rows.pxd), which are staged as they lie there.
    """

    def __init__(
        self,
        buffer: Any,
        *,
        slots: int,
        slot_bytes: int,
        children: int,
        tasks: Iterable[tuple[bytes, bytes, bool, float | None, float | None]],
        spill: Callable[[bytes], bytes],
        unspill: Callable[[bytes], object],
        max_deaths: int = 3,
        wake_fds: Sequence[int] | None = None,
        seats: int = 1,
        grace_s: float = 0.0,
        trial_child: int = -1,
    ) -> None: ...
    @property
    def free(self) -> int: ...
    @property
    def in_hand(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    on_trial: int
    limited: int
    max_deaths: int
    revoked: set[bytes]
    looks_at_stamps: bool
    def set_limits(self, task: int, hard_s: float | None, soft_s: float | None) -> None: ...
    def set_rated(self, task: int, is_rated: bool) -> None: ...
    def stage(
        self,
        queue: bytes,
        rows: Iterable[tuple[int, int, bytes]] | bytes | bytearray | memoryview,
        now: float = 0.0,
        later: list[tuple[int, float]] | None = None,
    ) -> list[tuple[int, int, int, bytes]]: ...
    def stage_one(self, queue: bytes, tag: int, deaths: int, content: bytes, expires_at: float = 0.0) -> int: ...
    def stage_verdict(
        self, queue: bytes, tag: int, deaths: int, content: bytes, outcome: int, effects: bytes, acked: bool,
        hard_s: float,
    ) -> int: ...
    def early(self) -> list[Run]: ...
    def unstage(self, rows: dict[int, Row] | None = None) -> list[Run]: ...
    def release(self) -> int: ...
    def drain(
        self,
    ) -> tuple[
        int,
        list[Run],
        list[Stored],
        list[Published],
        list[Described],
        list[Chorded],
    ]: ...
    def doze(self) -> bool: ...
    def awake(self) -> None: ...
    def stop(self) -> None: ...
    def take_back(
        self, most: int = -1, rows: dict[int, Row] | None = None, verdicts: list[Described] | None = None
    ) -> tuple[list[Run], list[tuple[str, bytes]]]: ...
    def running(self, child: int = -1) -> list[tuple[int, int, int, str, float]]: ...
    def holding(self) -> list[tuple[int, int, int, float, str, bytes]]: ...
    def unsettled(self) -> list[tuple[int, bytes]]: ...
    def begun(self) -> list[tuple[int, str, int, bytes]]: ...
    def freed(self, runs: Iterable[Run]) -> list[tuple[int, bytes]]: ...
    def adopt(self, old: int, new: int) -> bool: ...
    def bury(self, child: int) -> list[Described]: ...
    def is_up(self, child: int) -> bool: ...
    def assign(self) -> None: ...
    def dismiss(self, child: int) -> None: ...
    def tell(self, child: int, tag: int, signum: int = 0) -> bool: ...
    def overdue(self) -> tuple[list[tuple[int, int, int, int, float]], float | None]:
        """([(child, what, task row, tag, limit_s)], seconds until the next limit or None).

        *what* is 1: raise in the task, 2: let it end by itself, 3: kill the child; 4: that, too, since the run did not
        end which was told to, and *limit_s* is the number of the signal then.
        """
    def load_of(self) -> tuple[int, float]: ...
