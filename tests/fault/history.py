"""What happened, written down outside the system, and the verdict on it.

A journal is one file that producers, tasks and the nemesis append to. Each record is a line of exactly 64 bytes,
written by one `os.write` with O_APPEND: it never crosses a page, so kill -9 neither tears nor loses one, and their
order in the file is the order in which things happened.

A *job* is one run that is owed: ``12.0`` is the first attempt of task 12, ``12.1`` its retry, ``12.L`` its link.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

RECORD = 64
GRACE_NS = 1_000_000_000
"""How long after its SIGCONT a stopped worker may need to find out that it lost its lease, and how long an ack or a
confirm may be under way."""

ATTEMPT, AGAIN, CONFIRM = "ATTEMPT", "AGAIN", "CONFIRM"
"""A producer sends; sends once more what failed, though it may have been stored; and was told that it is stored."""
START, FINISH, RETRY, LINKED = "START", "FINISH", "RETRY", "LINKED"
ENDS = (FINISH, RETRY, LINKED)
"""How a run may end: with nothing after it, with its next attempt, or with its link."""
KILL, DIED, STOP, CONT, COLD, LAPSE = "KILL", "DIED", "STOP", "CONT", "COLD", "LAPSE"
"""A lapse: another worker found that this one was silent for longer than its lease, though nobody stopped it."""
DEATHS = (KILL, DIED, STOP, COLD, LAPSE)
"""What voids the runs of a child or of a whole worker; a stop does so until `GRACE_NS` after its end, and a lapse for
so long."""
CUT, MEND = "CUT", "MEND"
"""An outage: connections break, or nothing passes. It voids nothing, but what was under way may come twice."""


class Record(NamedTuple):
    """One line: *pid* did it, or it was done to *pid*; *boss* is the supervisor of a child, else 0."""

    kind: str
    job: str
    pid: int
    boss: int
    at_ns: int


class Journal:
    """The writer's end. One object serves a process and its forks."""

    def __init__(self, path: str, boss: int = 0) -> None:
        self.path = path
        self.boss = boss
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, kind: str, job: str = "-", pid: int = 0) -> None:
        """Append one record; it is safe when this returns, whoever is killed then."""
        line = f"{kind:<8}{job:<14}{pid or os.getpid():>9}{self.boss:>9}{time.monotonic_ns():>23}\n".encode()
        if len(line) != RECORD or os.write(self._fd, line) != RECORD:
            raise ValueError(f"not a record: {line!r}")

    def close(self) -> None:
        os.close(self._fd)


class Reader:
    """Reads a journal as it grows."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed by `close`
        self.records: list[Record] = []
        self.counts: Counter[str] = Counter()

    def follow(self) -> None:
        """Take in what was appended since the last call."""
        for record in parse(self._file.read()):
            self.records.append(record)
            self.counts[record.kind] += 1

    def close(self) -> None:
        self._file.close()


def parse(raw: bytes) -> Iterator[Record]:
    """Read records. Raises ValueError for a torn one."""
    if len(raw) % RECORD:
        raise ValueError(f"the journal ends in a torn record: {raw[-(len(raw) % RECORD):]!r}")
    for at in range(0, len(raw), RECORD):
        kind, job, pid, boss, at_ns = raw[at:at + RECORD].decode().split()
        yield Record(kind, job, int(pid), int(boss), int(at_ns))


class Letter(NamedTuple):
    """A dead letter, as far as the verdict wants to know."""

    job: str
    deaths: int
    reason: str


@dataclass
class Remains:
    """What is left in the broker and the store at the end."""

    queued: Counter[str] = field(default_factory=Counter)
    dead: list[Letter] = field(default_factory=list)
    results: Counter[str] = field(default_factory=Counter)
    """How many results were stored for each task number."""


@dataclass
class Verdict:
    """The account of one round: numbers for its table, and every job that has no excuse."""

    tasks: int = 0
    confirmed: int = 0
    """Owed jobs: confirmed publishes, and what follows from runs that counted."""
    finished: int = 0
    dead: int = 0
    queued: int = 0
    early_lost: int = 0
    """Acked before they ran, and gone with a process that died: what early acks are known to risk."""
    unconfirmed: int = 0
    """Publishes that were never confirmed and happened nevertheless."""
    duplicates: int = 0
    explained: int = 0
    deaths: int = 0
    cuts: int = 0
    lost: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    conjured: list[str] = field(default_factory=list)
    """Jobs that ran, or wait, and that nobody ever published."""
    undue: list[str] = field(default_factory=list)
    """Dead letters without the deaths that they claim."""
    resultless: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    """Workflows that nobody was told are stored, and of which some tasks have run and others are lost."""

    @property
    def faults(self) -> list[str]:
        """One sentence for each kind of fault; empty when all is well."""
        named = {"lost": self.lost, "ran twice without a death": self.unexplained, "never published": self.conjured,
                 "dead-lettered without the deaths": self.undue, "finished without the right result": self.resultless,
                 "were sent in part": self.torn}
        faults = [f"{len(jobs)} {what}: {', '.join(jobs[:8])}" for what, jobs in named.items() if jobs]
        if self.confirmed != (total := self.finished + self.dead + self.queued + self.early_lost + len(self.lost)):
            faults.append(f"{self.confirmed} are owed, and {total} were found")
        return faults


@dataclass
class Run:
    at: int
    record: Record
    end: str = ""
    ended_ns: int | None = None


class Deaths:
    """Who died, or was given up for dead, and where in the journal that stands."""

    def __init__(self, records: Sequence[Record], bosses: set[int], at_once: int = 1) -> None:
        self._bosses = bosses
        self._at_once = at_once
        self._paid: Counter[int] = Counter()
        self._at: dict[int, list[tuple[int, int]]] = defaultdict(list)
        stopped: dict[int, int] = {}
        ended: dict[int, int] = {}
        known = {record.pid for record in records if record.kind == STOP}
        for at, record in enumerate(records):
            if record.kind == CONT:
                ended[stopped.pop(record.pid)] = record.at_ns
            elif record.kind == STOP:
                stopped[record.pid] = at
            elif record.kind == LAPSE:
                ended[at] = record.at_ns
        for at, record in enumerate(records):
            if record.kind in DEATHS:
                until = ended[at] + GRACE_NS if at in ended else 1 << 63
                self._at[record.pid].append((at, until))
        self.count = sum(record.kind == STOP for record in records) + len(
            {record.pid for record in records if record.kind in DEATHS and record.kind != STOP
             and not (record.kind == LAPSE and record.pid in known)})

    def void(self, run: Run, before: int) -> bool:
        """Tell whether the process of *run*, or its supervisor, died before the record number *before*."""
        runner = run.record
        return any(at < before and runner.at_ns <= until
                   for pid in (runner.pid, runner.boss) for at, until in self._at.get(pid, ()))

    def void_with_supervisor(self, run: Run, before: int) -> bool:
        """Tell whether the supervisor of *run* died before the record number *before*."""
        return any(at < before and run.record.at_ns <= until for at, until in self._at.get(run.record.boss, ()))

    def of_supervisor(self, after: int) -> bool:
        return any(at > after for pid in self._bosses for at, _ in self._at.get(pid, ()))

    def of_supervisor_between(self, after: int, before: int) -> int:
        """Count the supervisors that died between two records."""
        return sum(any(after < at < before for at, _ in self._at.get(pid, ())) for pid in self._bosses)

    def of_child(self, after: int) -> bool:
        """Tell whether a child died after the record number *after*; each death is told once for each task that it
        may have claimed.
        """
        for pid, deaths in self._at.items():
            if pid not in self._bosses and self._paid[pid] < self._at_once and any(at > after for at, _ in deaths):
                self._paid[pid] += 1
                return True
        return False


class _Outages:
    """When connections broke, and what was under way then."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.times: list[tuple[int, int]] = []
        for record in records:
            if record.kind == CUT:
                self.times.append((record.at_ns, 1 << 63))
            elif record.kind == MEND:
                self.times[-1] = self.times[-1][0], record.at_ns + GRACE_NS

    def met(self, since: int, until: int | None) -> bool:
        """Tell whether there was one from *since* to the end of what *until* left under way; None: it has no end."""
        return any(begin <= (until or 1 << 63) + GRACE_NS and since <= end for begin, end in self.times)


def judge(records: Sequence[Record], remains: Remains, *, is_early: Callable[[str], bool] = lambda job: False,
          wants_result: Callable[[str], bool] = lambda job: False, bosses: Iterable[int] = (),
          is_atomic: bool = True, at_once: int = 1) -> Verdict:
    """Return the verdict on a round that is over.

    *bosses* are the pids of all supervisors, of which an early-acked job that never started may have died. Where a turn
    of the worker is not *is_atomic*, what leaves with an ack, or is put back, is stored before the ack: a death between
    the two leaves both. A child claims up to *at_once* jobs before it starts them, and takes them along when it dies.
    """
    return _Judge(records, remains, is_early, wants_result, Deaths(records, set(bosses), at_once), is_atomic).verdict()


class _Judge:
    def __init__(self, records: Sequence[Record], remains: Remains, is_early: Callable[[str], bool],
                 wants_result: Callable[[str], bool], deaths: Deaths, is_atomic: bool) -> None:
        self._is_atomic = is_atomic
        self._end = len(records)
        self._remains = remains
        self._is_early = is_early
        self._wants_result = wants_result
        self._records = records
        self._deaths = deaths
        self._outages = _Outages(records)
        self._sent_again: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._confirmed: dict[str, int] = {}
        self._runs: dict[str, list[Run]] = defaultdict(list)
        self._dead = {letter.job for letter in remains.dead}
        self._sort(records)

    def _sort(self, records: Sequence[Record]) -> None:
        running: dict[tuple[int, str], Run] = {}
        for at, record in enumerate(records):
            if record.kind == ATTEMPT:
                self._attempts[record.job] = at
            elif record.kind == AGAIN:
                self._sent_again.add(record.job)
            elif record.kind == CONFIRM:
                self._confirmed[record.job] = at
            elif record.kind == START:
                run = running[record.pid, record.job] = Run(at, record)
                self._runs[record.job].append(run)
            elif record.kind in ENDS:
                run = running.pop((record.pid, record.job))
                run.end, run.ended_ns = record.kind, record.at_ns

    def verdict(self) -> Verdict:
        owed, allowed = self._owed()
        verdict = Verdict(tasks=len(self._attempts), confirmed=len(owed), deaths=self._deaths.count,
                          cuts=len(self._outages.times))
        for job in owed:
            self._place(job, verdict)
        verdict.unconfirmed = sum(job not in owed and self._happened(job) for job in allowed)
        verdict.conjured = sorted({*self._runs, *self._remains.queued, *self._dead} - allowed.keys())
        for job, runs in self._runs.items():
            self._count_duplicates(job, runs, verdict)
        verdict.unexplained += [f"{job} (queued {n} times)" for job, n in self._remains.queued.items()
                                if n > 1 and not self._has_copies(job, self._end)]
        verdict.undue = [f"{letter.job} ({letter.deaths} deaths, {letter.reason!r})" for letter in self._remains.dead
                         if not letter.reason.startswith("poison") or letter.deaths > self._deaths.count]
        return verdict

    def _owed(self) -> tuple[dict[str, str], dict[str, str]]:
        """Jobs that must be somewhere, and jobs that may be: each with the job that it follows from, or itself."""
        owed, allowed = {job: job for job in self._confirmed}, {job: job for job in self._attempts}
        for job, runs in self._runs.items():
            ends = {run.end for run in runs}
            following = {RETRY: _next_attempt(job), LINKED: _link(job)}
            for end, after in following.items():
                if end in ends:
                    allowed[after] = job
                    if not self._waits(job):    # its end counted, so what was to follow left with the ack
                        owed[after] = job
        return owed, allowed

    def _waits(self, job: str) -> bool:
        return self._remains.queued[job] > 0 or job in self._dead

    def _happened(self, job: str) -> bool:
        return job in self._runs or self._waits(job)

    def _place(self, job: str, verdict: Verdict) -> None:
        runs = self._runs.get(job, [])
        if job in self._dead:
            verdict.dead += 1
        elif self._remains.queued[job]:
            verdict.queued += 1
        elif any(run.end for run in runs):
            verdict.finished += 1
            self._look_for_result(job, runs, verdict)
        elif self._is_excused(job, runs):
            verdict.early_lost += 1
        else:
            verdict.lost.append(job)

    def _look_for_result(self, job: str, runs: list[Run], verdict: Verdict) -> None:
        stored = self._remains.results[_number(job)]
        if not self._wants_result(job) or stored == 1 or (stored > 1 and job in self._sent_again):
            return
        if not (self._is_early(job) and all(self._deaths.void(run, self._end) for run in runs)):
            verdict.resultless.append(job)

    def _is_excused(self, job: str, runs: list[Run]) -> bool:
        if runs:
            return self._is_early(job) and all(self._deaths.void(run, self._end) for run in runs)
        if job in self._attempts:
            # It went with a supervisor that had acked it, or with a child between its claim and its start.
            return self._is_early(job) and (self._deaths.of_supervisor(self._attempts[job])
                                            or self._deaths.of_child(self._attempts[job]))
        parent = next(before for before in self._runs if job in (_next_attempt(before), _link(before)))
        return self._is_early(parent) and all(self._deaths.void(run, self._end) for run in self._runs[parent])

    def _count_duplicates(self, job: str, runs: list[Run], verdict: Verdict) -> None:
        for earlier, later in pairwise(runs):
            verdict.duplicates += 1
            if self._deaths.void(earlier, later.at) or self._deaths.void(later, later.at) \
                    or self._is_beside_outage(job, earlier):
                verdict.explained += 1
            else:
                verdict.unexplained.append(job)
        valid = [run for run in runs if not self._deaths.void(run, self._end)]
        if job not in verdict.unexplained and not all(self._is_beside_outage(job, run) for run in valid[:-1]):
            verdict.unexplained.append(job)

    def _is_beside_outage(self, job: str, run: Run) -> bool:
        """Tell whether *job* may run once more after *run*, though nobody died that ran it."""
        return self._outages.met(run.record.at_ns, run.ended_ns) or self._has_copies(job, run.at)

    def _has_copies(self, job: str, before: int) -> bool:
        """Tell whether two messages of *job* may have come to be before the record number *before*."""
        if job in self._sent_again:
            return True
        if job in self._attempts:
            since = self._attempts[job]
            sent = self._outages.met(self._records[since].at_ns, self._confirmed_at(job))
        else:
            # It came with the end of another run.
            parent = next(one for one in self._runs if job in (_next_attempt(one), _link(one)))
            runs = [run for run in self._runs[parent] if run.end]
            since = runs[0].at if runs else self._end
            sent = any(self._outages.met(run.record.at_ns, run.ended_ns) for run in runs)
            if not self._is_atomic and len(runs) > 1:
                return True
        # A worker that puts it back, or counts a death of it, stores a copy before it acks.
        return sent or (not self._is_atomic and self._deaths.of_supervisor_between(since, before)) \
            or self._outages.met(self._records[since].at_ns, self._records[min(before, self._end - 1)].at_ns)

    def _confirmed_at(self, job: str) -> int | None:
        return self._records[self._confirmed[job]].at_ns if job in self._confirmed else None


def _number(job: str) -> str:
    return job.partition(".")[0]


def _next_attempt(job: str) -> str:
    number, _, attempt = job.partition(".")
    return f"{number}.{int(attempt) + 1}" if attempt.isdigit() else ""


def _link(job: str) -> str:
    return f"{_number(job)}.L"
