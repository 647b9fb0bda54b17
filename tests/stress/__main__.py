"""``python -m tests.stress PART URL CYCLES``: cycles of one part in this process; a line of JSON says what was left."""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

from tests.stress import census
from tests.stress.parts import PARTS

WARM = 5
"""Cycles before the first count, for what is made once and kept: modules, caches, compiled patterns."""
COLLECT = 10
"""Cycles between two collections of garbage, which a process that does nothing else would wait for very long."""


def run(name: str, url: str, cycles: int) -> dict[str, Any]:
    """Run *cycles* of a part, and count before and after."""
    cycle = PARTS[name].make(url)
    for _ in range(min(WARM, cycles)):
        cycle()
    kinds = census.kinds_of_objects()
    before, began = census.take(), time.monotonic()
    for number in range(cycles):
        cycle()
        if (number + 1) % COLLECT == 0:
            gc.collect()
        if (number + 1) % 100 == 0:
            sys.stderr.write(f"{name}: {number + 1} of {cycles}\n")
    seconds = time.monotonic() - began
    after = census.settled(before)
    more = census.kinds_of_objects() - kinds
    return {"name": name, "cycles": cycles, "seconds": seconds, "left": after.left(before),
            "objects": after.objects - before.objects, "kinds": dict(more.most_common(8)),
            "rss_kib": after.rss_kib - before.rss_kib, "rss_before_kib": before.rss_kib}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]))) + "\n")
