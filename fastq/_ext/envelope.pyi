from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, final

SCAN_V1: int
SCAN_BAD_TASK: int
SCAN_BAD_ID: int
SCAN_BAD_ETA: int
SCAN_BAD_EXPIRES: int
SCAN_BAD_TIMELIMIT: int
SCAN_BAD_RETRIES: int
SCAN_BAD_OTHER: int

class Scanned(TypedDict):
    task: str | None
    id: str | None
    root_id: str | bytes | None
    parent_id: str | bytes | None
    group: str | bytes | None
    eta: str | bytes | None
    expires: str | bytes | None
    content_type: str | bytes | None
    content_encoding: str | bytes | None
    compression: str | bytes | None
    reply_to: str | bytes | None
    correlation_id: str | bytes | None
    body: bytes
    hard_s: float | None
    soft_s: float | None
    retries: int
    deaths: int
    ignore_result: bool | None
    priority: int
    flags: int

def pack(properties: dict[str, Any], headers: dict[str, Any] | None, body: bytes) -> bytes: ...
def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]: ...
def scan(content: bytes) -> Scanned: ...
def dumps(value: object) -> bytes | None: ...
def new_id() -> str: ...

@final
class TaskTemplate:
    def __init__(
        self,
        name: str,
        *,
        content_type: str,
        content_encoding: str,
        headers: dict[str, Any],
        properties: dict[str, Any],
        lean: bool,
        numbered: bool = False,
        embed: bytes | None = None,
    ) -> None: ...
    def encode(
        self,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> bytes | None: ...
    def encode_body(
        self, task_id: str, body: bytes, root_id: str | None = None, parent_id: str | None = None
    ) -> bytes: ...
