from collections.abc import Callable, Iterable
from typing import Any, final

@final
class Executor:
    """The child's loop over one ring.

    *entries* are (task, what to call, traits) per row of the task table. *decode* turns a JSON body into
    a value, *encode_success* makes the document of a plain success or returns None. *slow* gets
    everything else; it is a `fastq.worker.trace.Trace`. *wake_fd* wakes the supervisor.
    """

    child: int

    def __init__(
        self,
        buffer: Any,
        *,
        child: int,
        entries: Iterable[tuple[Any, Callable[..., Any], int]],
        hostname: str,
        decode: Callable[[bytes], Any],
        encode_success: Callable[[str, Any], bytes | None] | None,
        slow: Any,
        wake_fd: int,
        sleep_fd: int = -1,
        kill_at: int = 0,
    ) -> None: ...
    def run(self, most: int = 0) -> int: ...
    def run_ready(self, most: int = 0) -> int: ...
    def request_now(self) -> Any: ...
    def request_of(self, task: Any) -> Any: ...
    def task_now(self) -> Any: ...
    def soft_due(self) -> bool: ...
    @property
    def task_id(self) -> str: ...
    @property
    def content(self) -> bytes: ...
    @property
    def queue(self) -> str: ...
    @property
    def deaths(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def row(self) -> int: ...

def die_with_parent() -> bool: ...
