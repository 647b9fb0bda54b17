"""The JSON body of a task message, by the standard library."""

from __future__ import annotations

import json
from typing import Any

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def body(args: Any, kwargs: Any) -> bytes:
    return json.dumps([args, kwargs, EMBED]).encode()
