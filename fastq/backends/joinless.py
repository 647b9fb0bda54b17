"""What a store says to chords and groups that has no place to keep them."""

from __future__ import annotations

from typing import Any, NoReturn

from fastq.exceptions import Unsupported


class Joinless:
    """A store that keeps neither chords nor groups."""

    joins = False

    def refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise Unsupported, which says what to do instead."""
        raise Unsupported(
            "results over rpc:// go to the process that sent the task and are kept nowhere, so no chord can be joined "
            "and no group saved: set result_backend to redis:// or sqlite://. A group before a task is a chord, too")

    chord_open = chord_add = chord_count = chord_get = chord_close = refuse
    group_put = group_get = group_forget = refuse
