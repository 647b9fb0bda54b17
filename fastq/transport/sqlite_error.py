"""What SQLite's errors mean for a broker file: which of ours to raise, and what to tell the user to do."""

from __future__ import annotations

import os
import sqlite3

from fastq.exceptions import BrokerFull, BrokerLocked, TransportError

# By text, since sqlite_errorcode is not there before Python 3.11; SQLite keeps these texts stable.
_BUSY = ("database is locked", "locking protocol")
_MEANINGS: tuple[tuple[str, type[TransportError], str], ...] = (
    ("database or disk is full", BrokerFull, "nothing was stored; make room on the disk and try again"),
    ("disk I/O error", TransportError, "nothing was stored; the kernel's log names the fault of the disk"),
    ("malformed", TransportError, "the file is damaged; save what is left with `sqlite3 FILE .recover`"),
    ("not a database", TransportError, "this is no SQLite file, or a damaged one; name another"),
    ("readonly", TransportError, "make the file and its folder writable for this user"),
    ("unable to open database file", TransportError, "the file and its folder must be writable for this user"),
    ("string or blob too big", TransportError, "no message can exceed SQLite's 1 GB; store the data elsewhere"),
)


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another connection was in the way, so that the same call may succeed soon."""
    return isinstance(error, sqlite3.OperationalError) and str(error) in _BUSY


def meaning(error: sqlite3.Error, path: str, timeout_s: float) -> TransportError:
    """The error to raise for *error*: it names the file, the reason and the fix."""
    text = str(error)
    if is_busy(error):
        return BrokerLocked(f"{path}: another program has held the write lock for {timeout_s:g} s; nothing was changed;"
                            " `fuser -v FILE` names it; a longer ?timeout= waits longer")
    folder = os.path.dirname(path)
    if "unable to open" in text and folder and not os.path.isdir(folder):
        return TransportError(f"{path}: the folder {folder} does not exist; make it, or name another file")
    if "unable to open" in text and os.path.isdir(path):
        return TransportError(f"{path}: is a folder; name a file in it")
    for part, kind, advice in _MEANINGS:
        if part in text:
            return kind(f"{path}: {text}; {advice}")
    return TransportError(f"{path}: {text}")
