"""The chords of a worker: counts members that have ended, and completes the chords of which they were the last.

Members are counted before the turn that acks them, and what completes a chord leaves in that turn. So a worker that
dies in between completes it at the member's next run, which the store knows for the same; one that dies later has said
all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastq.app.results import Expiry
from fastq.backends.base import ResultStore
from fastq.exceptions import BackendError, ConnectionLost, TransportError, WireError
from fastq.states import SUCCESS
from fastq.types import Claim, Endings
from fastq.wire import chord

logger = logging.getLogger("celery.worker.chord")


class Joiner:
    """Counts in the store that *store* returns, which is opened when the first member ends."""

    def __init__(self, store: Callable[[], ResultStore], expiry: Expiry) -> None:
        self._store = store
        self._expiry = expiry

    def count(self, endings: Endings) -> None:
        """Count the parts in *endings*, and put in what completes their chords. Raises TransportError."""
        parts = endings.parts
        store = self._store()
        if store.polls_chords:
            endings.parts = []      # the message that was sent with the chord looks at the results
            return
        if not store.joins:
            logger.error("Task %s has ended as a member of chord %s, whose body will never run: the result store %s "
                         "counts no members", parts[0].task_id, parts[0].group_id, type(store).__name__)
            endings.parts = []
            return
        try:
            complete = store.chord_count(parts, self._expiry.at(SUCCESS))
        except (ConnectionLost, BackendError) as error:
            # It is the store that failed: what the broker gave us is still held, and is settled at another try.
            raise TransportError(f"the result store: {error}") from error
        endings.parts = []
        for each in complete:
            try:
                endings.publish.append(chord.message(each))
                endings.joined.append(Claim(each.group_id, each.last.task_id))
            except WireError as error:
                logger.error("Chord %s is complete and its body is not known, as none of its members could be read: %s",
                             each.group_id, error)

    def close(self, joined: list[str | Claim]) -> None:
        """Tell the store what the broker has by now: what completes chords, and bodies of others, which are done."""
        claims = [each for each in joined if isinstance(each, Claim)]
        group_ids = [each for each in joined if isinstance(each, str)]
        try:
            if claims:
                self._store().chord_hold(claims, self._expiry.at(SUCCESS))
            if group_ids:
                self._store().chord_close(group_ids)
        except (ConnectionLost, BackendError) as error:
            logger.warning("What the result store keeps of chords stays until it expires: %s", error)
