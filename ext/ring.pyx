"""The supervisor's side of the slot table: stage, release, drain, and what a dead child leaves.

The table is one block of shared memory (layout in shm.pxd). This object formats it, is its only
producer, and keeps what children need not see: the free list, the task table, the staged batch.
It owns no descriptor, clock or file: spilling and waking come from outside.
"""

from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer,
)
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_AsStringAndSize, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from libc.math cimport NAN, isnan
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memcmp, memcpy, memset

cdef extern from "string.h" nogil:
    void* memmem(const void*, size_t, const void*, size_t)

from debug cimport FASTQ_DEBUG
from effects cimport EFFECT_CHORD, EFFECT_PUBLISH, EFFECT_REASON, EFFECT_RESULT
from isotime cimport iso_seconds
from rows cimport ROW_MARKED_BIT, ROW_REDELIVERED_BIT, Row, row_next
from scan cimport (
    SCAN_BAD_ETA, SCAN_BAD_EXPIRES, SCAN_BAD_OTHER, SCAN_BAD_RETRIES, SCAN_BAD_TIMELIMIT, SCAN_V1, Scan, Span,
    scan_content,
)
from shm cimport *
from utf8 cimport is_utf8

from fastq.exceptions import FrameError

cdef enum:
    OUTCOMES = 16
    QUEUE_LEAST = 16            # entries of a queue: a child's 16 fill a cache line, so that all heads begin on one
    BACK_CHILD = 0xFFFF         # the supervisor, when it takes un-started work back
    # Its last holder vanished, and nobody has counted that yet: the flag in the deaths of a row (types.UNCOUNTED).
    UNCOUNTED_BIT = ROW_REDELIVERED_BIT
    HELD_BIT = 30               # in the header of deaths, types.HELD: whoever gets it takes it for uncounted

cdef enum:
    BAD_HEADERS = SCAN_BAD_TIMELIMIT | SCAN_BAD_RETRIES | SCAN_BAD_ETA | SCAN_BAD_EXPIRES | SCAN_BAD_OTHER

cdef enum:                      # how a delivery leaves; the same numbers stand in outcome.py
    END_ACK = 0

cdef enum:                      # why a message needs a decision; the same numbers stand in outcome.py
    ODD_MALFORMED = 1
    ODD_NO_TASK = 2
    ODD_UNKNOWN_TASK = 3
    ODD_DEATHS = 4
    ODD_BAD_HEADER = 5
    ODD_ETA = 6
    ODD_EXPIRES = 7
    ODD_FULL = 8
    ODD_UNCOUNTED = 9
    ODD_REVOKED = 10            # or perhaps: somebody revoked it, or tasks that are stamped
    ODD_RATE = 11
    ODD_LATER = 12              # no decision, in fact: the broker keeps it until it is due

cdef struct When:               # what `put` is told of the time, and what it finds out
    bint is_decided             # eta, expiry and deaths are not asked again
    bint can_wait               # a message may be for later
    double now                  # Unix seconds; 0: unknown
    double due
    double expires_at           # 0: never


cdef enum:                      # what a limit that has passed asks for; the same numbers stand in limits.py
    OVER_SOFT = 1               # raise in the task
    OVER_HARD = 2               # let it end at once, by itself: others run beside it in its child
    OVER_KILL = 3               # kill its child
    OVER_END = 4                # the same, for one that somebody terminates

cdef struct TaskRow:
    const unsigned char* name
    uint32_t name_n
    uint8_t endings[OUTCOMES]
    bint early, is_rated
    double hard_s, soft_s


cdef int by_tag(const void* a, const void* b) noexcept nogil:
    cdef uint64_t x = (<const uint64_t*>a)[0]
    cdef uint64_t y = (<const uint64_t*>b)[0]
    return (x > y) - (x < y)


cdef inline uint32_t hash_name(const unsigned char* p, uint32_t n) noexcept nogil:
    cdef uint32_t h = 2166136261u
    cdef uint32_t i
    for i in range(n):
        h = (h ^ p[i]) * 16777619u
    return h


cdef inline bint reads_time(Span span, double now, double* seconds) noexcept nogil:
    # Whether there is a clock to compare it with, and it is a time of the usual form, or none: 0 then.
    seconds[0] = 0.0
    return span.p == NULL or (now != 0.0 and iso_seconds(span.p, span.n, seconds))


cdef inline bint is_text(Span span, const char* text, uint32_t n) noexcept nogil:
    return span.p != NULL and span.n == n and memcmp(span.p, text, n) == 0


cdef inline bint is_plain_json(Scan* scan) noexcept nogil:
    return (is_text(scan.content_type, "application/json", 16) and scan.compression.p == NULL
            and (scan.content_encoding.p == NULL or is_text(scan.content_encoding, "utf-8", 5)))


cdef uint32_t power_of_two(uint32_t n) noexcept nogil:
    cdef uint32_t p = 1
    while p < n:
        p <<= 1
    return p


cdef inline uint32_t queue_size(uint32_t slots) noexcept nogil:
    return power_of_two(slots if slots > QUEUE_LEAST else QUEUE_LEAST)


cdef inline double ran_s(Slot* slot) noexcept nogil:
    # A run may begin after the clock was read; an unsigned difference below zero would be a run of centuries.
    cdef uint64_t started = fq_load64(&slot.started_ns), now = fq_mono_ns()
    return (now - started) * 1e-9 if started and started < now else 0.0


cdef inline bint is_begun(Slot* slot) noexcept nogil:
    # From its claim to its drain; a child may complete it at any time, which stays inside. And one that is over.
    cdef uint32_t phase = state_phase(fq_load64(&slot.state))
    return phase == SLOT_CLAIMED or phase == SLOT_DONE or (phase == SLOT_READY and slot.flags & SLOT_VERDICT != 0)


cdef list runs_of(uint64_t* tags, Py_ssize_t n):
    # Inclusive runs of consecutive tags; sorts in place when the children interleaved them.
    cdef list runs = []
    cdef Py_ssize_t i
    cdef uint64_t first, last
    for i in range(1, n):
        if tags[i] < tags[i - 1]:
            qsort(tags, n, sizeof(uint64_t), by_tag)
            break
    if n == 0:
        return runs
    first = last = tags[0]
    for i in range(1, n):
        if tags[i] != last + 1:
            runs.append((first, last))
            first = tags[i]
        last = tags[i]
    runs.append((first, last))
    return runs


def ring_size(int slots, int slot_bytes, int children) -> int:
    """Bytes of shared memory that a ring of this shape needs."""
    cdef uint32_t size = queue_size(slots)
    return (sizeof(RingHead) + <uint64_t>children * (sizeof(ChildHead) + 4 * <uint64_t>size) + 8 * <uint64_t>size
            + <uint64_t>slots * slot_bytes)


cdef class Ring:
    """The slot table as its supervisor sees it; see ring.pyi for the contract."""

    cdef Py_buffer view
    cdef RingHead* ring
    cdef uint32_t* free_list
    cdef uint32_t* staged
    cdef uint64_t* tags
    cdef TaskRow* rows
    cdef uint32_t* index
    cdef uint32_t* trials       # slots on trial that are not assigned yet
    cdef uint32_t free_n, staged_n, tasks_n, index_mask, trials_n
    cdef uint32_t touched       # slots that were ever used: those behind them take no memory yet
    cdef uint32_t trial_slot    # slot + 1 of the one that is assigned
    cdef readonly uint32_t on_trial
    cdef int trial_child
    cdef readonly uint32_t limited
    cdef readonly uint32_t max_deaths
    cdef readonly set revoked
    cdef public bint looks_at_stamps
    cdef uint32_t seats         # heads a child
    cdef double grace_s
    cdef uint64_t* ends_ns      # of each slot that was told to end: when its child is killed; 0: it was not
    cdef uint32_t ending        # how many were
    cdef object names, spill, unspill, wake_fds

    def __cinit__(self, buffer, *, int slots, int slot_bytes, int children, tasks, spill, unspill,
                  int max_deaths=3, wake_fds=None, int seats=1, double grace_s=0.0,
                  int trial_child=-1):
        cdef long long heads = <long long>children * seats
        if (slots < 1 or children < 1 or seats < 1 or heads >= BACK_CHILD or slot_bytes % 64 or slot_bytes < 256):
            raise ValueError(f"a ring needs 1 slot or more, 1 to {BACK_CHILD - 1} heads and slots of a multiple of 64 "
                             f"bytes from 256, not slots={slots}, children={children}, seats={seats}, "
                             f"slot_bytes={slot_bytes}")
        PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        if self.view.len < <Py_ssize_t>ring_size(slots, slot_bytes, heads):
            raise ValueError(f"the ring needs {ring_size(slots, slot_bytes, heads)} bytes, got {self.view.len}")
        self.ring = <RingHead*>self.view.buf
        self.free_list = <uint32_t*>calloc(slots, sizeof(uint32_t))
        self.staged = <uint32_t*>calloc(slots, sizeof(uint32_t))
        self.tags = <uint64_t*>calloc(slots, sizeof(uint64_t))
        self.trials = <uint32_t*>calloc(slots, sizeof(uint32_t))
        self.ends_ns = <uint64_t*>calloc(slots, sizeof(uint64_t))
        if (self.free_list == NULL or self.staged == NULL or self.tags == NULL or self.trials == NULL
                or self.ends_ns == NULL):
            raise MemoryError
        if trial_child >= children:
            raise ValueError(f"child {trial_child} is not among the ring's {children}")
        self.trial_child = trial_child
        self.max_deaths, self.seats, self.grace_s = max_deaths, seats, grace_s
        self.revoked = set()
        self.spill, self.unspill = spill, unspill
        self.wake_fds = wake_fds if wake_fds is not None else [-1] * heads
        self.format(slots, slot_bytes, heads)
        self.learn(tasks)

    def __dealloc__(self):
        free(self.free_list)
        free(self.staged)
        free(self.tags)
        free(self.trials)
        free(self.ends_ns)
        free(self.rows)
        free(self.index)
        if self.view.buf != NULL:
            PyBuffer_Release(&self.view)

    cdef int format(self, uint32_t slots, uint32_t slot_bytes, uint32_t children) except -1:
        cdef RingHead* ring = self.ring
        cdef uint32_t i
        memset(ring, 0, sizeof(RingHead))
        ring.slots, ring.slot_bytes, ring.children = slots, slot_bytes, children
        ring.queue_mask = ring.done_mask = queue_size(slots) - 1
        ring.at_heads = sizeof(RingHead)
        ring.at_ready = ring.at_heads + children * (sizeof(ChildHead) + 4 * <uint64_t>(ring.done_mask + 1))
        ring.at_slots = ring.at_ready + 8 * <uint64_t>(ring.queue_mask + 1)
        for i in range(children):
            memset(ring_child(ring, i), 0, sizeof(ChildHead))
        for i in range(slots):
            self.free_list[slots - 1 - i] = i       # the lowest first, so that few pages are ever touched
        self.free_n = slots
        ring.magic = RING_MAGIC
        return 0

    cdef int learn(self, tasks) except -1:
        # The task table: rows of (name, endings, early, hard_s, soft_s) and a hash index over the names.
        cdef uint32_t i, at
        cdef TaskRow* row
        cdef const unsigned char* raw
        self.names = [name for name, *_ in tasks]
        self.tasks_n = len(self.names)
        self.rows = <TaskRow*>calloc(self.tasks_n + 1, sizeof(TaskRow))
        self.index_mask = power_of_two(2 * self.tasks_n + 1) - 1
        self.index = <uint32_t*>calloc(self.index_mask + 1, sizeof(uint32_t))
        if self.rows == NULL or self.index == NULL:
            raise MemoryError
        for i, (name, endings, early, hard_s, soft_s) in enumerate(tasks):
            if len(endings) != OUTCOMES:
                raise ValueError(f"task {name!r}: {OUTCOMES} endings wanted, got {len(endings)}")
            row = &self.rows[i]
            row.name, row.name_n = <const unsigned char*>PyBytes_AS_STRING(name), <uint32_t>len(name)
            raw = <const unsigned char*>PyBytes_AS_STRING(endings)
            memcpy(row.endings, raw, OUTCOMES)
            row.early = early
            row.hard_s = NAN if hard_s is None else hard_s
            row.soft_s = NAN if soft_s is None else soft_s
            at = hash_name(row.name, row.name_n) & self.index_mask
            while self.index[at]:
                at = (at + 1) & self.index_mask
            self.index[at] = i + 1
        return 0

    cdef uint32_t find_task(self, Span name) noexcept nogil:
        cdef uint32_t at = hash_name(name.p, name.n) & self.index_mask
        cdef TaskRow* row
        while self.index[at]:
            row = &self.rows[self.index[at] - 1]
            if row.name_n == name.n and memcmp(row.name, name.p, name.n) == 0:
                return self.index[at] - 1
            at = (at + 1) & self.index_mask
        return NO_SLOT

    def set_limits(self, uint32_t task, hard_s, soft_s) -> None:
        """Give the task of a row other time limits, for messages that come from now on and name none themselves."""
        self.row_at(task).hard_s = NAN if hard_s is None else hard_s
        self.row_at(task).soft_s = NAN if soft_s is None else soft_s

    def set_rated(self, uint32_t task, bint is_rated) -> None:
        """Have each message of the task of a row decided about, or no more."""
        self.row_at(task).is_rated = is_rated

    cdef TaskRow* row_at(self, uint32_t task) except NULL:
        if task >= self.tasks_n:
            raise IndexError(f"there are {self.tasks_n} tasks, and no row {task}")
        return &self.rows[task]

    # -- filling ------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Slots that a batch may still take."""
        return self.free_n

    @property
    def in_hand(self) -> int:
        """Deliveries that are staged, ready, running or done but not drained."""
        return self.ring.slots - self.free_n

    @property
    def waiting(self) -> int:
        """Deliveries released and not yet claimed."""
        return fq_load64(&self.ring.tail) - fq_load64(&self.ring.head)

    def stage(self, bytes queue, rows, double now=0.0, list later=None) -> list:
        """Copy a batch into slots; return the rows that need a decision as (why, tag, deaths, content).

        *now* is Unix seconds: a time in the headers is compared with it; without it such a message needs a decision.
        What is not due yet goes into *later*, if given, as (tag, Unix seconds). All or nothing: when it raises, nothing
        of the batch is staged.
        """
        cdef list odd = []
        cdef uint32_t before = self.staged_n
        cdef Py_ssize_t noted = 0 if later is None else len(later)
        try:
            if PyObject_CheckBuffer(rows):
                self.stage_packed(queue, rows, odd, now, later)
            else:
                self.stage_tuples(queue, rows, odd, now, later)
        except BaseException:
            while self.staged_n > before:
                self.staged_n -= 1
                self.free_slot(self.staged[self.staged_n])
            if later is not None:
                del later[noted:]
            raise
        return odd

    cdef int stage_tuples(self, bytes queue, rows, list odd, double now, list later) except -1:
        cdef When when = When(False, later is not None, now, 0.0, 0.0)
        cdef uint32_t deaths
        cdef char* p
        cdef Py_ssize_t n
        cdef int why
        for tag, counted, content in rows:
            deaths = counted
            PyBytes_AsStringAndSize(content, &p, &n)
            why = self.put(queue, tag, &deaths, False, <const unsigned char*>p, n, &when)
            if why == ODD_LATER:
                later.append((tag, when.due))
            elif why:
                odd.append((why, tag, deaths, content))
        return 0

    cdef int stage_packed(self, bytes queue, rows, list odd, double now, list later) except -1:
        cdef Py_buffer view
        PyObject_GetBuffer(rows, &view, PyBUF_SIMPLE)
        try:
            return self.stage_records(queue, <const unsigned char*>view.buf, view.len, odd, now, later)
        finally:
            PyBuffer_Release(&view)

    cdef int stage_records(self, bytes queue, const unsigned char* start, Py_ssize_t size, list odd, double now,
                           list later) except -1:
        cdef When when = When(False, later is not None, now, 0.0, 0.0)
        cdef const unsigned char* p = start
        cdef const unsigned char* end = start + size
        cdef const unsigned char* after
        cdef uint32_t deaths
        cdef Row row
        cdef int why
        while p != end:
            after = row_next(p, end, &row)
            if after == NULL:
                raise FrameError(f"a batch of deliveries is cut off in the record at byte {p - start} of {size}")
            deaths = row.flags & <uint32_t>1 << UNCOUNTED_BIT
            if row.flags & ~(deaths | <uint32_t>1 << ROW_MARKED_BIT):
                raise FrameError(f"the record at byte {p - start} of a batch has unknown flags {row.flags:#x}")
            why = self.put(queue, row.tag, &deaths, True, row.content, row.n, &when)
            if why == ODD_LATER:
                later.append((row.tag, when.due))
            elif why:
                odd.append((why, row.tag, deaths, PyBytes_FromStringAndSize(<const char*>row.content, row.n)))
            p = after
        return 0

    def stage_one(self, bytes queue, uint64_t tag, uint32_t deaths, bytes content not None,
                  double expires_at=0.0) -> int:
        """Stage a message that was decided upon: its eta, expiry and deaths are not asked again."""
        cdef When when = When(True, False, 0.0, 0.0, expires_at)
        return self.put(queue, tag, &deaths, False, <const unsigned char*>PyBytes_AS_STRING(content),
                        PyBytes_GET_SIZE(content), &when)

    def stage_verdict(self, bytes queue, uint64_t tag, uint32_t deaths, bytes content not None, int outcome,
                      bytes effects, bint acked, double hard_s) -> int:
        """Stage a message whose run is over, so that a child does what follows from that: hooks, signals, errbacks.

        *effects* tell why, in no more than PATH_ROOM bytes; the child replaces them by what it leaves.
        """
        cdef int why = self.stage_one(queue, tag, deaths, content)
        cdef Slot* slot
        cdef Py_ssize_t n = PyBytes_GET_SIZE(effects)
        if why:
            return why
        slot = ring_slot(self.ring, self.staged[self.staged_n - 1])
        if n > PATH_ROOM:
            raise ValueError(f"the effects of a verdict may have {PATH_ROOM} bytes, not {n}")
        self.limited += not slot.flags & SLOT_LIMITED
        slot.flags = slot.flags & ~SLOT_EARLY | SLOT_VERDICT | SLOT_LIMITED | (SLOT_EARLY if acked else 0)
        slot.hard_s, slot.soft_s = hard_s, NAN
        slot.outcome = outcome
        slot.effects_at, slot.effects_n = slot_used(slot), <uint32_t>n
        memcpy(slot_payload(slot) + slot.effects_at, PyBytes_AS_STRING(effects), n)
        return 0

    cdef int put(self, bytes queue, uint64_t tag, uint32_t* deaths, bint packed, const unsigned char* p,
                 Py_ssize_t n, When* when) except -1:
        # Into a slot, or why not. The deaths of a packed row stand in its content: they are added to *deaths.
        cdef Scan scan
        cdef uint32_t task, number
        cdef Slot* slot
        cdef TaskRow* row
        if scan_content(p, n, &scan):
            return ODD_MALFORMED
        if packed:
            deaths[0] |= scan.deaths
        if deaths[0] >> HELD_BIT & 1:
            deaths[0] = deaths[0] & ~(<uint32_t>1 << HELD_BIT) | <uint32_t>1 << UNCOUNTED_BIT
        if scan.flags & SCAN_V1 or scan.id.p == NULL or scan.task.p == NULL:
            return ODD_NO_TASK
        task = self.find_task(scan.task)
        if task == NO_SLOT:
            return ODD_UNKNOWN_TASK
        if scan.flags & BAD_HEADERS:
            return ODD_BAD_HEADER
        if deaths[0] >> UNCOUNTED_BIT:
            return ODD_UNCOUNTED
        if not when.is_decided:
            if deaths[0] >= self.max_deaths:
                return ODD_DEATHS
            if self.is_revoked(&scan, p):
                return ODD_REVOKED
            if not reads_time(scan.eta, when.now, &when.due):
                return ODD_ETA
            if (not reads_time(scan.expires, when.now, &when.expires_at)
                    or (scan.expires.p != NULL and when.expires_at <= when.now)):
                return ODD_EXPIRES
            if when.due > when.now:
                return ODD_LATER if when.can_wait else ODD_ETA
            if self.rows[task].is_rated:
                return ODD_RATE
        if self.free_n == 0:
            return ODD_FULL
        row = &self.rows[task]
        number = self.free_list[self.free_n - 1]
        self.touched = max(self.touched, number + 1)
        slot = ring_slot(self.ring, number)
        slot.tag, slot.task, slot.deaths, slot.expires_at = tag, task, deaths[0], when.expires_at
        slot.hard_s = row.hard_s if isnan(scan.hard_s) else scan.hard_s
        slot.soft_s = row.soft_s if isnan(scan.soft_s) else scan.soft_s
        slot.ignore_result = scan.ignore_result
        slot.body_at = <uint32_t>(scan.body.p - p)
        slot.id_at, slot.id_n = <uint32_t>(scan.id.p - p), scan.id.n
        slot.effects_n = slot.effects_at = slot.started_ns = 0
        slot.outcome = slot.told = 0
        slot.flags = (SLOT_EARLY if row.early else 0) | (SLOT_JSON if is_plain_json(&scan) else 0)
        if not (isnan(slot.hard_s) and isnan(slot.soft_s)):
            slot.flags |= SLOT_LIMITED
        if scan.parent_id.p != NULL or scan.group.p != NULL:
            slot.flags |= SLOT_FAMILY
        if self.trial_child >= 0 and deaths[0] and deaths[0] + 1 >= self.max_deaths:
            slot.flags |= SLOT_TRIAL
            self.on_trial += 1
        self.load(slot, queue, p, n, &scan.reply_to)
        self.free_n -= 1
        self.limited += (slot.flags & SLOT_LIMITED) != 0
        slot.state = slot_state(state_generation(slot.state) + 1, 0, SLOT_STAGED)
        self.staged[self.staged_n] = number
        self.staged_n += 1
        return 0

    cdef bint is_revoked(self, Scan* scan, const unsigned char* p) except -1:
        # Or may be: who stamps are looked for looks into the headers, in which they can have any name.
        if len(self.revoked) > 0 and PyBytes_FromStringAndSize(<const char*>scan.id.p, scan.id.n) in self.revoked:
            return True
        return self.looks_at_stamps and memmem(p, scan.body.p - p, b"stamped_headers", 15) != NULL

    cdef int load(self, Slot* slot, bytes queue, const unsigned char* p, Py_ssize_t n, Span* reply) except -1:
        cdef unsigned char* payload = slot_payload(slot)
        cdef Py_ssize_t queue_n = PyBytes_GET_SIZE(queue)
        # Behind content and queue stay PATH_ROOM bytes: effects that do not fit leave the path of their file there.
        cdef Py_ssize_t room = <Py_ssize_t>ring_payload(self.ring) - PATH_ROOM - queue_n
        cdef bytes path
        if queue_n > 255:
            raise ValueError(f"a queue name may have 255 bytes, {queue[:40]!r}... has {len(queue)}")
        slot.reply_at = slot.reply_n = 0
        # A name that is no text is nobody's: no broker has such a queue.
        if reply.n and is_utf8(reply.p, reply.n):
            slot.reply_at, slot.reply_n = <uint32_t>(reply.p - p), reply.n
        if n > room:
            path = self.spill(PyBytes_FromStringAndSize(<const char*>p, n))
            slot.flags |= SLOT_SPILLED
            n = PyBytes_GET_SIZE(path)
            if n + <Py_ssize_t>slot.reply_n > room:
                self.unspill(path)
                raise ValueError(f"the spill path {path!r} does not fit a slot")
            if slot.reply_n:
                slot.reply_at = <uint32_t>(n + queue_n)
                memcpy(payload + slot.reply_at, reply.p, slot.reply_n)
            p = <const unsigned char*>PyBytes_AS_STRING(path)
        slot.content_n, slot.queue_n = <uint32_t>n, <uint32_t>queue_n
        memcpy(payload, p, n)
        memcpy(payload + n, PyBytes_AS_STRING(queue), queue_n)
        return 0

    def early(self) -> list:
        """Runs of staged tags whose task acks before it runs; settle them before `release`."""
        cdef Py_ssize_t n = 0
        cdef uint32_t i
        cdef Slot* slot
        for i in range(self.staged_n):
            slot = ring_slot(self.ring, self.staged[i])
            if slot.flags & SLOT_EARLY and not slot.flags & SLOT_VERDICT:
                self.tags[n] = slot.tag
                n += 1
        return runs_of(self.tags, n)

    def unstage(self, dict rows=None) -> list:
        """Forget what is staged, as when the settling before `release` failed; returns the runs of its tags.

        Into *rows* goes (queue, deaths, content) by tag.
        """
        cdef Py_ssize_t n = 0
        while self.staged_n:
            self.staged_n -= 1
            self.tags[n] = ring_slot(self.ring, self.staged[self.staged_n]).tag
            if rows is not None:
                rows[self.tags[n]] = self.row_of(ring_slot(self.ring, self.staged[self.staged_n]))
            n += 1
            self.free_slot(self.staged[self.staged_n])
        return runs_of(self.tags, n)

    def release(self) -> int:
        """Make the staged batch claimable and wake as many sleepers as it needs; returns its size."""
        cdef uint32_t i, number, generation
        cdef uint32_t n = self.staged_n
        cdef uint64_t tail = self.ring.tail
        cdef uint64_t* ready = ring_ready(self.ring)
        cdef Slot* slot
        for i in range(n):
            number = self.staged[i]
            slot = ring_slot(self.ring, number)
            generation = <uint32_t>state_generation(slot.state)
            fq_store64(&slot.state, slot_state(generation, 0, SLOT_READY))
            if slot.flags & SLOT_TRIAL:
                self.trials[self.trials_n] = number
                self.trials_n += 1
                continue
            ready[tail & self.ring.queue_mask] = <uint64_t>generation << 32 | number
            tail += 1
        self.staged_n = 0
        fq_store64(&self.ring.tail, tail)
        self.rouse(n)
        self.assign()
        return n

    def assign(self) -> None:
        """Give the child for trials the next one, when it is up and has none."""
        cdef ChildHead* child
        cdef Slot* slot
        cdef uint32_t number
        cdef uint64_t head = <uint64_t>self.trial_child * self.seats
        if self.trials_n == 0 or self.trial_slot or not self.is_up(self.trial_child):
            return
        child = ring_child(self.ring, head)
        self.trials_n -= 1
        number = self.trials[self.trials_n]
        slot = ring_slot(self.ring, number)
        fq_store64(&slot.state, slot_state(state_generation(slot.state), head, SLOT_CLAIMED))
        self.trial_slot = number + 1
        fq_store32(&child.assigned, number + 1)
        fq_fence()
        if fq_load32(&child.asleep) and fq_swap32(&child.asleep, 0):
            fq_rouse(&child.asleep, <int>self.wake_fds[head])

    cdef int unassign(self, ChildHead* own) except -1:
        # It died, or never came so far, before it took the one that it was given: that one has done nothing.
        cdef uint32_t number = fq_swap32(&own.assigned, 0)
        cdef Slot* slot
        if number:
            slot = ring_slot(self.ring, number - 1)
            fq_store64(&slot.state, slot_state(state_generation(slot.state), 0, SLOT_READY))
            self.trials[self.trials_n] = number - 1
            self.trials_n += 1
            self.trial_slot = 0
        return 0

    cdef int rouse(self, uint32_t most) except -1:
        cdef uint32_t i
        cdef ChildHead* child
        fq_fence()
        for i in range(self.ring.children):
            if most == 0:
                break
            child = ring_child(self.ring, i)
            if fq_load32(&child.asleep) and fq_swap32(&child.asleep, 0):
                fq_rouse(&child.asleep, <int>self.wake_fds[i])
                most -= 1
        return 0

    # -- emptying -----------------------------------------------------------------------------

    def drain(self) -> tuple:
        """Take all completions: (how many, ack runs, results, publishes, odd, chords).

        results: (task_id, state, meta, reply queue or None).
        publishes: (queue, content, priority, run_at or None, exchange).
        chords: (group id, 0, packed part) of members that ended, (group id, 1, b"") where the body is sent.
        odd: (tag, deaths, task row, outcome, queue, content, early, reason), for endings other than an ack.
        """
        cdef list results = [], publishes = [], odd = [], chords = []
        cdef uint32_t c
        cdef uint64_t head, tail
        cdef Py_ssize_t count = 0, acks = 0
        cdef ChildHead* child
        cdef Slot* slot
        cdef uint32_t number
        for c in range(self.ring.children):
            child = ring_child(self.ring, c)
            head, tail = child.done_head, fq_load64(&child.done_tail)
            while head != tail:
                number = child_done(child)[head & self.ring.done_mask]
                head += 1
                slot = ring_slot(self.ring, number)
                count += 1
                reason = self.read_effects(slot, results, publishes, chords) if slot.effects_n else None
                if self.rows[slot.task].endings[slot.outcome & (OUTCOMES - 1)] != END_ACK:
                    odd.append(self.describe(slot, reason))
                elif not slot.flags & SLOT_EARLY:
                    self.tags[acks] = slot.tag
                    acks += 1
                self.free_slot(number)
            child.done_head = head
        if self.trials_n:
            self.assign()
        return count, runs_of(self.tags, acks), results, publishes, odd, chords

    cdef int free_slot(self, uint32_t number) except -1:
        cdef Slot* slot = ring_slot(self.ring, number)
        cdef unsigned char* payload = slot_payload(slot)
        if FASTQ_DEBUG and state_phase(slot.state) == SLOT_FREE:
            raise AssertionError(f"slot {number} is freed twice")
        if slot.flags & SLOT_SPILLED:
            self.unspill(PyBytes_FromStringAndSize(<char*>payload, slot.content_n))
        self.limited -= (slot.flags & SLOT_LIMITED) != 0
        if self.ending and self.ends_ns[number]:
            self.ends_ns[number] = 0
            self.ending -= 1
        if slot.flags & SLOT_TRIAL:
            self.on_trial -= 1
            if self.trial_slot == number + 1:
                self.trial_slot = 0
        fq_store64(&slot.state, slot_state(state_generation(slot.state), 0, SLOT_FREE))
        self.free_list[self.free_n] = number
        self.free_n += 1
        return 0

    cdef bytes content_of(self, Slot* slot):
        cdef bytes raw = PyBytes_FromStringAndSize(<char*>slot_payload(slot), slot.content_n)
        if slot.flags & SLOT_SPILLED:
            with open(raw, "rb") as file:
                return file.read()
        return raw

    cdef tuple row_of(self, Slot* slot):
        cdef bytes queue = PyBytes_FromStringAndSize(<char*>slot_payload(slot) + slot.content_n, slot.queue_n)
        return queue.decode(), slot.deaths, self.content_of(slot)

    cdef tuple describe(self, Slot* slot, reason=None):
        queue, deaths, content = self.row_of(slot)
        return slot.tag, deaths, slot.task, slot.outcome, queue, content, (slot.flags & SLOT_EARLY) != 0, reason

    cdef tuple describe_begun(self, Slot* slot):
        # Of a run that was over: how it had ended, and why. Of one that was lost the outcome is 0, whatever its child
        # had written down when it died: that was not said, and what would follow is not to be had any more.
        if slot.flags & SLOT_VERDICT:
            return self.describe(slot, self.read_effects(slot, [], [], []))
        queue, deaths, content = self.row_of(slot)
        return slot.tag, deaths, slot.task, 0, queue, content, (slot.flags & SLOT_EARLY) != 0, None

    cdef object read_effects(self, Slot* slot, list results, list publishes, list chords):
        cdef bytes raw = PyBytes_FromStringAndSize(<char*>slot_payload(slot) + slot.effects_at, slot.effects_n)
        if slot.flags & SLOT_OUT_SPILLED:
            path = raw
            with open(path, "rb") as file:
                raw = file.read()
            self.unspill(path)
        reply = None
        if slot.reply_n:
            reply = PyBytes_FromStringAndSize(<char*>slot_payload(slot) + slot.reply_at, slot.reply_n).decode()
        return parse_effects(raw, results, publishes, reply, chords)

    # -- watching -----------------------------------------------------------------------------

    def doze(self) -> bool:
        """Say that the supervisor is about to sleep; False when there are completions already."""
        cdef uint32_t c
        cdef ChildHead* child
        fq_swap32(&self.ring.parent_asleep, 1)
        for c in range(self.ring.children):
            child = ring_child(self.ring, c)
            if child.done_head != fq_load64(&child.done_tail):
                fq_store32(&self.ring.parent_asleep, 0)
                return False
        return True

    def awake(self) -> None:
        """Say that the supervisor looks for completions by itself again."""
        fq_store32(&self.ring.parent_asleep, 0)

    def stop(self) -> None:
        """Let no child claim anything more, and wake those who sleep."""
        fq_store32(&self.ring.stop, 1)
        self.rouse(self.ring.children)

    def take_back(self, int most=-1, dict rows=None, list verdicts=None) -> tuple:
        """Take un-started deliveries out of the children's reach: (tag runs, [(queue, content)] acked early).

        Into *rows* goes (queue, deaths, content) by tag, of those in the runs. Runs that are over stay, unless they are
        to go into *verdicts*, as `bury`'s rows.
        """
        cdef list early = [], kept = []
        cdef Py_ssize_t n = 0
        cdef uint32_t number
        cdef Slot* slot
        while most < 0 or n + len(early) < most:
            number = ring_claim(self.ring, BACK_CHILD, SLOT_CLAIMED)
            if number == NO_SLOT:
                if self.trials_n == 0:
                    break
                self.trials_n -= 1
                number = self.trials[self.trials_n]
            slot = ring_slot(self.ring, number)
            if slot.flags & SLOT_VERDICT:
                if verdicts is None:
                    kept.append(number)
                    continue
                verdicts.append(self.describe_begun(slot))
            elif slot.flags & SLOT_EARLY:
                queue, _, content = self.row_of(slot)
                early.append((queue, content))
            else:
                if rows is not None:
                    rows[slot.tag] = self.row_of(slot)
                self.tags[n] = slot.tag
                n += 1
            self.free_slot(number)
        for number in kept:
            self.offer(number)
        if kept:
            self.rouse(<uint32_t>len(kept))
        return runs_of(self.tags, n), early

    cdef int offer(self, uint32_t number) except -1:
        # Make a slot claimable that nobody else holds.
        cdef Slot* slot = ring_slot(self.ring, number)
        cdef uint32_t generation = <uint32_t>state_generation(slot.state) + 1
        cdef uint64_t tail = self.ring.tail
        fq_store64(&slot.state, slot_state(generation, 0, SLOT_READY))
        ring_ready(self.ring)[tail & self.ring.queue_mask] = <uint64_t>generation << 32 | number
        fq_store64(&self.ring.tail, tail + 1)
        return 0

    def running(self, int child=-1) -> list:
        """The slots that *child* (any, when -1) runs: (child, task row, tag, task id, seconds since its start)."""
        cdef uint32_t i
        cdef Slot* slot
        cdef uint64_t state
        cdef list found = []
        for i in range(self.touched):
            slot = ring_slot(self.ring, i)
            state = fq_load64(&slot.state)
            if state_phase(state) == SLOT_CLAIMED and (
                    child < 0 or state_child(state) // self.seats == <uint32_t>child):
                content = self.content_of(slot)
                found.append((state_child(state) // self.seats, slot.task, slot.tag,
                              content[slot.id_at:slot.id_at + slot.id_n].decode(errors="replace"), ran_s(slot)))
        return found

    def holding(self) -> list:
        """All that waits or runs: (child or -1, task row, tag, seconds since its start, queue, content).

        Not among it is what is over, and waits for a child to follow it up.
        """
        cdef uint32_t i, phase
        cdef Slot* slot
        cdef uint64_t state
        cdef int child
        cdef list found = []
        for i in range(self.touched):
            slot = ring_slot(self.ring, i)
            state = fq_load64(&slot.state)
            phase = state_phase(state)
            if (phase == SLOT_READY or phase == SLOT_CLAIMED) and not slot.flags & SLOT_VERDICT:
                queue, _, content = self.row_of(slot)
                child = <int>(state_child(state) // self.seats) if phase == SLOT_CLAIMED else -1
                found.append((child, slot.task, slot.tag, ran_s(slot), queue, content))
        return found

    def unsettled(self) -> list:
        """(tag, content) of every delivery that was begun and is not drained, but for those acked early."""
        cdef uint32_t i
        cdef Slot* slot
        cdef list found = []
        for i in range(self.touched):
            slot = ring_slot(self.ring, i)
            if is_begun(slot) and not slot.flags & SLOT_EARLY:
                found.append((slot.tag, self.content_of(slot)))
        return found

    def begun(self) -> list:
        """(tag, queue, deaths, content) of each delivery that `unsettled` tells of."""
        cdef uint32_t i
        cdef Slot* slot
        cdef list found = []
        for i in range(self.touched):
            slot = ring_slot(self.ring, i)
            if is_begun(slot) and not slot.flags & SLOT_EARLY:
                found.append((slot.tag, *self.row_of(slot)))
        return found

    def freed(self, runs) -> list:
        """(tag, content) of those drained deliveries in *runs* whose slots were not used again since.

        What went through a file, or was acked early, is not among them.
        """
        cdef uint32_t i
        cdef Slot* slot
        cdef dict numbers = {}
        cdef list found = []
        for i in range(self.touched):
            slot = ring_slot(self.ring, i)
            if (state_phase(slot.state) == SLOT_FREE and slot.content_n != 0
                    and not slot.flags & (SLOT_EARLY | SLOT_SPILLED)):
                numbers[slot.tag] = i
        for first, last in runs:
            for tag in range(first, last + 1):
                if tag in numbers:
                    found.append((tag, self.content_of(ring_slot(self.ring, numbers[tag]))))
        return found

    def adopt(self, uint64_t old, uint64_t new) -> bool:
        """Give a delivery that was begun and is not drained another tag; False when there is none with the tag *old*.

        Safe while it runs: no child looks at tags.
        """
        cdef uint32_t i
        cdef Slot* slot
        for i in range(self.touched):
            slot = ring_slot(self.ring, i)
            if slot.tag == old and is_begun(slot) and not slot.flags & SLOT_EARLY:
                slot.tag = new
                return True
        return False

    def bury(self, int child) -> list:
        """Take what a dead child ran, as `drain`'s odd rows; what it had finished waits for the next drain."""
        cdef uint32_t i, head
        cdef Slot* slot
        cdef uint64_t state, at
        cdef ChildHead* own
        cdef list lost = []
        cdef bint told
        self.unassign(ring_child(self.ring, child * self.seats))
        for i in range(self.touched):
            slot = ring_slot(self.ring, i)
            state = fq_load64(&slot.state)
            head = state_child(state)
            if head == BACK_CHILD or head // self.seats != <uint32_t>child:
                continue
            own = ring_child(self.ring, head)
            if state_phase(state) == SLOT_CLAIMED:
                lost.append(self.describe_begun(slot))
                self.free_slot(i)
            elif state_phase(state) == SLOT_DONE:
                told = False
                at = own.done_head
                while at != own.done_tail:
                    told = told or child_done(own)[at & self.ring.done_mask] == i
                    at += 1
                if not told:        # it died between finishing and telling
                    child_done(own)[own.done_tail & self.ring.done_mask] = i
                    own.done_tail += 1
        for head in range(child * self.seats, (child + 1) * self.seats):
            own = ring_child(self.ring, head)
            fq_store32(&own.asleep, 0)
            fq_store32(&own.is_up, 0)
            fq_store32(&own.leave, 0)
        return lost

    def is_up(self, int child) -> bool:
        """True when the process that is the child now has come as far as its loop."""
        cdef uint32_t head
        for head in range(child * self.seats, (child + 1) * self.seats):
            if fq_load32(&ring_child(self.ring, head).is_up):
                return True
        return False

    def dismiss(self, int child) -> None:
        """Let *child* claim nothing more, and leave when what it runs has ended."""
        cdef uint32_t head
        cdef ChildHead* own
        for head in range(child * self.seats, (child + 1) * self.seats):
            own = ring_child(self.ring, head)
            fq_swap32(&own.leave, 1)
            if fq_swap32(&own.asleep, 0):
                fq_rouse(&own.asleep, <int>self.wake_fds[head])

    def tell(self, int child, uint64_t tag, int signum=0) -> bool:
        """Have *child* told, by the signal for limits, that its run *tag* is to end; False when that is no news.

        As if its soft limit had passed; or with *signum*, the number of a signal, for good: it has `grace_s` for that.
        """
        cdef uint32_t i
        cdef Slot* slot
        cdef uint64_t state
        for i in range(self.touched):
            slot = ring_slot(self.ring, i)
            state = fq_load64(&slot.state)
            if (slot.tag != tag or state_phase(state) != SLOT_CLAIMED or slot.flags & SLOT_VERDICT
                    or state_child(state) // self.seats != <uint32_t>child):
                continue
            # One who was told to end hears nothing else.
            if slot.told >= (TOLD_END if signum else TOLD_HARD - 1):
                return False
            # It may end in this very moment. Then nobody hears of it, and the word is gone with the slot.
            slot.told = <uint8_t>(TOLD_END + signum if signum else slot.told + 1)
            if signum:
                self.ends_ns[i] = fq_mono_ns() + <uint64_t>(self.grace_s * 1e9)
                self.ending += 1
            return True
        return False

    def overdue(self) -> tuple:
        """([(child, what, task row, tag, limit_s)], seconds until the next limit or None)."""
        cdef uint32_t i, child
        cdef Slot* slot
        cdef uint64_t state
        cdef double ran, left, soonest = NAN
        cdef list over = []
        if self.limited == 0 and self.ending == 0:
            return over, None
        for i in range(self.touched):
            slot = ring_slot(self.ring, i)
            state = fq_load64(&slot.state)
            if self.ends_ns[i]:
                if state_phase(state) == SLOT_CLAIMED:
                    left = (<double>self.ends_ns[i] - <double>fq_mono_ns()) * 1e-9
                    if left <= 0.0:
                        over.append((state_child(state) // self.seats, OVER_END, slot.task, slot.tag,
                                     slot.told - TOLD_END))
                    elif not left > soonest:
                        soonest = left
                continue
            if not slot.flags & SLOT_LIMITED or state_phase(state) not in (SLOT_CLAIMED, SLOT_READY):
                continue
            child = state_child(state) // self.seats
            ran = 0.0 if state_phase(state) == SLOT_READY else ran_s(slot)
            if ran > 0.0 and slot.hard_s + self.grace_s <= ran:
                over.append((child, OVER_KILL, slot.task, slot.tag, slot.hard_s))
                continue
            if ran > 0.0 and slot.hard_s <= ran and slot.told < TOLD_HARD:
                slot.told = TOLD_HARD
                over.append((child, OVER_HARD, slot.task, slot.tag, slot.hard_s))
            elif ran > 0.0 and slot.soft_s <= ran and not slot.told:
                slot.told = TOLD_SOFT
                over.append((child, OVER_SOFT, slot.task, slot.tag, slot.soft_s))
            left = slot.hard_s - ran + (self.grace_s if slot.told == TOLD_HARD else 0.0)
            if not slot.told and not isnan(slot.soft_s) and not slot.soft_s - ran > left:
                left = slot.soft_s - ran
            if not isnan(left) and not left > soonest:
                soonest = left
        return over, None if isnan(soonest) else soonest

    def load_of(self) -> tuple:
        """(runs, seconds spent in tasks) over all children since the start."""
        cdef uint64_t runs = 0, busy = 0
        cdef uint32_t c
        for c in range(self.ring.children):
            runs += ring_child(self.ring, c).runs
            busy += ring_child(self.ring, c).busy_ns
        return runs, busy * 1e-9


cdef inline int need(Py_ssize_t at, Py_ssize_t n, Py_ssize_t size) except -1:
    if n > size - at:
        raise FrameError(f"effects are cut off at byte {at}: {n} wanted, {size - at} there")
    return 0


def parse_effects(bytes raw, list results, list publishes, reply_to=None, list chords=None):
    """Append the records of packed effects to *results*, *publishes* and *chords*; return the reason, if there is one.

    *reply_to* is the queue that waits for the results, or None.
    """
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(raw)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw), at = 0
    cdef uint8_t kind, small
    cdef uint16_t id_n
    cdef uint32_t n
    cdef double run_at
    cdef object reason = None
    while at < size:
        kind = p[at]
        at += 1
        need(at, 1, size)
        small = p[at]
        at += 1
        if kind == EFFECT_RESULT:
            need(at, small, size)
            state = PyBytes_FromStringAndSize(<const char*>p + at, small).decode()
            at += small
        elif kind == EFFECT_PUBLISH:
            need(at, 8, size)
            memcpy(&run_at, p + at, 8)
            at += 8
            need(at, 2, size)
            memcpy(&id_n, p + at, 2)
            at += 2
            need(at, id_n, size)
            exchange = PyBytes_FromStringAndSize(<const char*>p + at, id_n).decode()
            at += id_n
        elif kind != EFFECT_REASON and (kind != EFFECT_CHORD or chords is None):
            raise FrameError(f"effects hold an unknown record {kind} at byte {at - 2}")
        need(at, 2, size)
        memcpy(&id_n, p + at, 2)
        at += 2
        need(at, <Py_ssize_t>id_n + 4, size)
        name = PyBytes_FromStringAndSize(<const char*>p + at, id_n).decode()
        at += id_n
        memcpy(&n, p + at, 4)
        at += 4
        need(at, n, size)
        data = PyBytes_FromStringAndSize(<const char*>p + at, n)
        at += n
        if kind == EFFECT_RESULT:
            results.append((name, state, data, reply_to))
        elif kind == EFFECT_PUBLISH:
            publishes.append((name, data, small, None if isnan(run_at) else run_at, exchange))
        elif kind == EFFECT_CHORD:
            chords.append((name, small, data))
        else:
            reason = name
    return reason
