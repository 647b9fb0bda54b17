"""What a store says to chords and groups that has no place to keep them, or cannot count."""

from __future__ import annotations

from typing import Any, NoReturn

from fastq.exceptions import Unsupported


class Joinless:
    """A store that keeps neither chords nor groups."""

    joins = False
    polls_chords = False

    def refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise Unsupported, which says what to do instead."""
        raise Unsupported(
            "results over rpc:// go to the process that sent the task and are kept nowhere, so no chord can be joined "
            "and no group saved: set result_backend to redis:// or sqlite://. A group before a task is a chord, too")

    chord_open = chord_open_all = chord_add = chord_count = chord_get = chord_hold = chord_close = refuse
    rest_put = rest_get = refuse
    group_put = group_get = group_forget = refuse


class Uncounting:
    """A store that keeps groups, but counts no members of chords: for these a message looks again and again."""

    joins = True
    polls_chords = True

    def refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise Unsupported, which says what to do instead."""
        raise Unsupported(
            f"{type(self).__name__} counts no members of chords, so none can be added to one that runs: set "
            "result_backend to redis:// or sqlite://, or return the new task's work from the member itself")

    chord_open = chord_open_all = chord_add = chord_count = chord_get = chord_hold = chord_close = refuse
    rest_put = rest_get = refuse
