"""The child's usual path: claim a slot, decode the body, call the task, record the outcome.

Everything rare is a call into `slow` (fastq/worker/trace.py): bodies that are not plain JSON, tasks
with hooks, links, tracking or signals, and every exception. What is asked per run here was decided
per task when the table was made. The request object is made only when somebody looks at it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Check, PyDict_GetItem, PyDict_Size
from cpython.exc cimport PyErr_CheckSignals
from cpython.list cimport PyList_AsTuple, PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.signal cimport kill
from posix.unistd cimport getpid, write

from effects cimport EFFECT_RESULT
from shm cimport *

cdef extern from "Python.h":
    object call_object "PyObject_Call"(object call, object args, PyObject* kwargs)     # kwargs may be NULL
    int PyThreadState_SetAsyncExc(unsigned long thread, PyObject* exception)           # NULL takes it back
    unsigned long PyThread_get_thread_ident()

cdef extern from "signal.h" nogil:
    int SIGKILL

cdef extern from "string.h" nogil:
    void* memmem(const void* hay, size_t hay_n, const void* needle, size_t needle_n)

cdef enum:                      # the same numbers stand in outcome.py
    RETURNED = 0

cdef enum:                      # points.CHILD, in its order
    POINT_CLAIMED = 0
    POINT_CALLED = 1
    POINT_RECORDED = 2
    POINT_DONE = 3

cdef enum:                      # traits of a task, from child.py
    TRAIT_PLAIN = 1             # nothing happens around the call: no hooks, signals, tracking
    TRAIT_STORES = 2            # results are kept unless a header says otherwise
    TRAIT_FAST_RESULT = 4       # the success document is made by encode_success
    TRAIT_ASKS = 8              # where it has killed somebody, it may have succeeded all the same

cdef enum:                      # what `told` says; the same numbers stand in crew.py
    LEVEL_SOFT = 1
    LEVEL_HARD = 2
    LEVEL_END = 3

cdef str KEY_CALLBACKS = "callbacks"
cdef str KEY_CHAIN = "chain"
cdef str KEY_CHORD = "chord"
cdef tuple NO_ARGS = ()


cdef inline bint is_wanted(dict embed, str key) noexcept:
    # null, [] and absent are all "nothing to do"
    cdef PyObject* value = PyDict_GetItem(embed, key)
    return value != NULL and <object>value is not None and (<object>value != [])


cdef inline bint has_links(object embed) except -1:
    if embed is None or PyDict_Size(embed) == 0:
        return False
    return is_wanted(embed, KEY_CALLBACKS) or is_wanted(embed, KEY_CHAIN) or is_wanted(embed, KEY_CHORD)


cdef inline int level_of(int told) noexcept:
    return LEVEL_END if told >= TOLD_END else LEVEL_HARD if told >= TOLD_HARD else LEVEL_SOFT if told else 0


class TooLate(BaseException):
    """Raised and caught in one place."""


# A function of bytecode, in which what is raised from outside is raised.
cdef object nothing = eval("lambda: None")


cdef class Executor:
    """Runs tasks of one child, one at a time; see execute.pyi for the contract."""

    cdef Py_buffer view
    cdef RingHead* ring
    cdef ChildHead* own
    cdef Slot* slot             # the one that runs now, or NULL
    cdef uint32_t number        # its number
    cdef list calls             # per task row: what to call
    cdef list tasks             # and the task it belongs to
    cdef bytes rows             # per task row: its traits
    cdef const uint8_t* traits
    cdef Executor first         # whose lane this is, None of a child's first
    cdef readonly int child
    cdef int wake_fd, sleep_fd
    cdef readonly bint in_task  # user code is running: a soft limit may interrupt
    cdef uint64_t now_ns
    cdef int heard              # what a lane was told of its run, and knows
    cdef long kill_left         # fault tests: runs until the deadly one, 0 for never
    cdef int kill_point
    cdef object decode, encode_success, slow, request, hostname, make_request
    cdef object args, kwargs, embed
    cdef object buffer
    cdef readonly unsigned long thread      # that the task runs in, as far as it may be interrupted; 0 otherwise
    cdef bint is_interrupted
    cdef bint is_trial          # runs only what it is assigned

    def __cinit__(self, buffer, *, int child, entries, hostname, decode, encode_success, slow, int wake_fd,
                  int sleep_fd=-1, long kill_at=0, bint is_trial=False):
        PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.buffer, self.is_trial = buffer, is_trial
        self.ring = <RingHead*>self.view.buf
        if self.view.len < <Py_ssize_t>sizeof(RingHead) or self.ring.magic != RING_MAGIC:
            raise ValueError("the buffer holds no ring: make the Ring before the Executor")
        if child < 0 or <uint32_t>child >= self.ring.children:
            raise ValueError(f"child {child} is not among the ring's {self.ring.children}")
        self.own = ring_child(self.ring, child)
        self.child, self.wake_fd, self.sleep_fd = child, wake_fd, sleep_fd
        self.kill_left, self.kill_point = kill_at >> 2, kill_at & 3
        self.decode, self.encode_success, self.slow = decode, encode_success, slow
        self.hostname, self.make_request = hostname, slow.make_request
        self.calls = [call for _, call, _ in entries]
        self.tasks = [task for task, _, _ in entries]
        self.rows = bytes([traits for _, _, traits in entries])
        self.traits = <const uint8_t*>PyBytes_AS_STRING(self.rows)

    def __dealloc__(self):
        if self.view.buf != NULL:
            PyBuffer_Release(&self.view)

    def lane(self) -> Executor:
        """Another one of the same child, for a run beside this one's: `begin` it, then `succeed` or `fail`."""
        cdef Executor lane = Executor.__new__(
            Executor, self.buffer, child=self.child, entries=(), hostname=self.hostname, decode=self.decode,
            encode_success=self.encode_success, slow=self.slow, wake_fd=self.wake_fd, sleep_fd=self.sleep_fd,
            is_trial=self.is_trial)
        lane.first = self
        lane.calls, lane.tasks, lane.rows, lane.traits = self.calls, self.tasks, self.rows, self.traits
        return lane

    def run(self, long most=0) -> int:
        """Run tasks until the ring stops, or *most* of them (0: no limit); returns how many."""
        cdef long done = 0
        cdef uint32_t number
        self.now_ns = fq_mono_ns()
        self.thread = PyThread_get_thread_ident()
        fq_store32(&self.own.is_up, 1)
        while not self.leaves():
            number = self.claim()
            PyErr_CheckSignals()
            if number == NO_SLOT:
                self.doze()
                continue
            self.execute(number)
            done += 1
            if done == most:
                break
        return done

    def run_ready(self, long most=0) -> int:
        """Run what is ready and return at once; the solo pool's way."""
        cdef long done = 0
        cdef uint32_t number
        self.now_ns = fq_mono_ns()
        while not (most and done >= most):
            number = ring_claim(self.ring, self.child, SLOT_CLAIMED)
            if number == NO_SLOT:
                break
            self.execute(number)
            done += 1
        return done

    cdef inline bint leaves(self) noexcept:
        return fq_load32(&self.ring.stop) != 0 or fq_load32(&self.own.leave) != 0

    cdef inline uint32_t claim(self) noexcept:
        if self.is_trial:
            return fq_swap32(&self.own.assigned, 0) - 1     # 0 becomes NO_SLOT
        return ring_claim(self.ring, self.child, SLOT_CLAIMED)

    cdef inline bint has_ready(self) noexcept:
        return fq_load32(&self.own.assigned) != 0 if self.is_trial else ring_has_ready(self.ring)

    cdef int doze(self) except -1:
        # Asleep first, then look again: a release between the two finds the flag and wakes us.
        fq_swap32(&self.own.asleep, 1)
        if not self.has_ready() and not self.leaves():
            with nogil:
                fq_sleep(&self.own.asleep, 1, self.sleep_fd, 1000)
        fq_store32(&self.own.asleep, 0)
        PyErr_CheckSignals()
        self.now_ns = fq_mono_ns()
        return 0

    cdef int execute(self, uint32_t number) except -1:
        cdef Slot* slot = ring_slot(self.ring, number)
        slot.started_ns = self.now_ns
        self.slot, self.number, self.heard = slot, number, 0
        if self.kill_left:
            self.reach(POINT_CLAIMED)
        try:
            if slot.expires_at and slot.expires_at <= fq_wall_s():
                self.finish(self.slow.expired(self, slot.task))
            elif self.open_body(slot):
                self.run_task(slot, self.traits[slot.task])
        except BaseException as error:
            # Nothing of a task gets here; this is a fault of the slow path itself.
            self.in_task = False
            self.finish(self.slow.internal_error(self, slot.task, error))
        return self.complete()

    cdef int complete(self) except -1:
        cdef Slot* slot = self.slot
        cdef uint64_t now
        if self.kill_left:
            self.reach(POINT_RECORDED)
        self.slot = NULL
        self.request = self.args = self.kwargs = self.embed = None
        now = fq_mono_ns()
        self.own.busy_ns += now - self.now_ns
        self.own.runs += 1
        self.now_ns = now
        if self.kill_left == 1 and self.kill_point == POINT_DONE:
            # the narrowest gap: finished, and nobody told
            fq_store64(&slot.state, slot_state(state_generation(slot.state), self.child, SLOT_DONE))
            self.reach(POINT_DONE)
        if ring_complete(self.ring, self.child, self.number):
            self.wake_parent()
        if self.kill_left > 1:
            self.kill_left -= 1
        return 0

    # -- a lane: the same in three steps, between which others run --------------------------------

    def begin(self) -> bool:
        """Claim a slot, and open its body; False when none is ready. What cannot be run ends here."""
        cdef Slot* slot
        cdef uint32_t number
        while True:
            number = self.claim()
            if number == NO_SLOT:
                return False
            slot = ring_slot(self.ring, number)
            slot.started_ns = self.now_ns = fq_mono_ns()
            self.slot, self.number, self.heard = slot, number, 0
            if self.first is not None and self.first.kill_left:
                self.kill_left, self.kill_point = self.first.kill_left, self.first.kill_point
                self.first.kill_left -= self.first.kill_left > 1
                self.reach(POINT_CLAIMED)
            try:
                if slot.expires_at and slot.expires_at <= fq_wall_s():
                    self.finish(self.slow.expired(self, slot.task))
                elif self.open_body(slot):
                    return True
            except BaseException as error:
                self.finish(self.slow.internal_error(self, slot.task, error))
            self.complete()

    def call(self):
        """Do what comes before the task, and call it; of a coroutine function that makes the coroutine."""
        if self.slot == NULL:
            raise RuntimeError("no task runs now")
        if not self.traits[self.slot.task] & TRAIT_PLAIN:
            self.slow.before(self, self.slot.task)
        self.in_task = True
        if self.slot.told:
            self.heed()
        return call_object(self.calls[self.slot.task], self.args,
                           <PyObject*>self.kwargs if PyDict_Size(self.kwargs) else NULL)

    def succeed(self, value) -> None:
        """End the run that returned *value*."""
        if self.slot == NULL:
            raise RuntimeError("no task runs now")
        self.in_task = False
        if self.kill_left:
            self.reach(POINT_CALLED)
        try:
            self.returned(self.slot, self.traits[self.slot.task], value)
        except BaseException as error:
            self.finish(self.slow.internal_error(self, self.slot.task, error))
        self.complete()

    def fail(self, error) -> None:
        """End the run that raised *error*."""
        if self.slot == NULL:
            raise RuntimeError("no task runs now")
        self.in_task = False
        try:
            self.finish(self.slow.raised(self, self.slot.task, error, self.wants(self.slot)))
        except BaseException as fault:
            self.finish(self.slow.internal_error(self, self.slot.task, fault))
        self.complete()

    def call_here(self):
        """`call`, for a function that runs in another thread than its lane: `interrupt` reaches that one."""
        self.thread = PyThread_get_thread_ident()
        try:
            return self.call()
        finally:
            self.out_of_task()
            self.thread = 0

    cdef int heed(self) except -1:
        # It was told before it was in its task, where nobody could interrupt it: that has to be now.
        if self.told():
            raise self.slow.interruption(self)
        return 0

    cdef inline int out_of_task(self) except -1:
        # With the GIL held since the task returned: nobody interrupts between the call and here.
        self.in_task = False
        if self.is_interrupted:
            self.is_interrupted = False
            # It may have come too late, and would hit whatever comes next. Another takes its place and is raised at
            # once: taken back, it would leave the interpreter looking for it at every turn, and 3.11 for ever under a
            # profiler.
            PyThreadState_SetAsyncExc(self.thread, <PyObject*>TooLate)
            try:
                nothing()
            except TooLate:
                pass
        return 0

    def interrupt(self, soft, hard, end) -> int:
        """Raise in the thread of the task the exception class for what it was told; returns what `told` does."""
        cdef int level
        if self.thread == 0:
            return 0
        level = self.told()
        if level:
            self.is_interrupted = True
            PyThreadState_SetAsyncExc(
                self.thread, <PyObject*>(soft if level == LEVEL_SOFT else hard if level == LEVEL_HARD else end))
        return level

    @property
    def hard_limit(self):
        """The hard limit of the run in seconds, or None."""
        if self.slot == NULL or self.slot.hard_s != self.slot.hard_s:
            return None
        return self.slot.hard_s

    @property
    def is_limited(self) -> bool:
        """Whether the run has a time limit."""
        return self.slot != NULL and self.slot.flags & SLOT_LIMITED != 0

    @property
    def was_told(self) -> int:
        """What `told` has said of this run so far."""
        return level_of(self.heard)

    def told(self) -> int:
        """What the supervisor has newly said of the run: 0 nothing, 1 soft limit, 2 hard limit, 3 somebody ends it."""
        if self.slot == NULL or not self.in_task or self.slot.told <= self.heard:
            return 0
        self.heard = self.slot.told
        return level_of(self.heard)

    @property
    def signum(self) -> int:
        """The number of the signal with which somebody ends the run, 0 if nobody does."""
        return self.slot.told - TOLD_END if self.slot != NULL and self.slot.told >= TOLD_END else 0

    # -- a child that sleeps in a loop of its own ---------------------------------------------------

    def come_up(self) -> None:
        """Say that the child has come as far as its loop."""
        fq_store32(&self.own.is_up, 1)

    def rest(self) -> bool:
        """Say that the child is about to wait on its descriptor; False when there is something to do already."""
        fq_swap32(&self.own.asleep, 1)
        if not self.has_ready() and not self.leaves():
            return True
        fq_store32(&self.own.asleep, 0)
        return False

    def awake(self) -> None:
        """Say that the child looks for work by itself again."""
        fq_store32(&self.own.asleep, 0)

    def leave(self) -> None:
        """Claim nothing more: the child has had its share. Wakes it if it sleeps on its word."""
        fq_swap32(&self.own.leave, 1)
        if fq_swap32(&self.own.asleep, 0):
            fq_rouse(&self.own.asleep, self.sleep_fd)

    @property
    def is_leaving(self) -> bool:
        """True when the child is to claim nothing more."""
        return self.leaves()

    cdef int reach(self, int point) except -1:
        if self.kill_left == 1 and self.kill_point == point:
            kill(getpid(), SIGKILL)
        return 0

    cdef int wake_parent(self) except -1:
        cdef uint64_t one = 1
        # EAGAIN means that a wake-up is pending already
        write(self.wake_fd, &one, 8)
        return 0

    cdef bint open_body(self, Slot* slot) except -1:
        cdef const unsigned char* body = slot_payload(slot) + slot.body_at
        cdef uint32_t n
        cdef object parts
        if slot.flags & SLOT_VERDICT:
            parts = self.slow.follow(self, slot.task)
            slot.effects_n = 0      # why it was, until now
            self.finish(parts)
            return False
        if slot.deaths and self.traits[slot.task] & TRAIT_ASKS:
            parts = self.slow.again(self, slot.task)
            if parts is not None:
                self.finish(parts)
                return False
        if slot.flags & SLOT_JSON and not slot.flags & SLOT_SPILLED:
            n = slot.content_n - slot.body_at
            if memmem(body, n, b'"__type__"', 10) == NULL:
                try:
                    parts = self.decode(PyBytes_FromStringAndSize(<const char*>body, n))
                except Exception:
                    parts = None        # NaN, lone surrogates: the patient decoder has the last word
                if (parts is not None and PyList_CheckExact(parts) and PyList_GET_SIZE(parts) == 3):
                    self.args = <object>PyList_GET_ITEM(parts, 0)
                    self.kwargs = <object>PyList_GET_ITEM(parts, 1)
                    self.embed = <object>PyList_GET_ITEM(parts, 2)
                    if PyList_CheckExact(self.args) and PyDict_Check(self.kwargs) and (
                            self.embed is None or PyDict_Check(self.embed)):
                        self.args = PyList_AsTuple(self.args)
                        return True
        self.args = self.kwargs = self.embed = None     # what was only half right is no part of the request
        opened = self.slow.open(self, slot.task)
        if len(opened) == 3:
            self.args, self.kwargs, self.embed = opened
            return True
        self.finish(opened)
        return False

    cdef inline bint wants(self, Slot* slot) noexcept:
        return slot.ignore_result == 0 or (slot.ignore_result < 0 and self.traits[slot.task] & TRAIT_STORES)

    cdef int run_task(self, Slot* slot, uint8_t traits) except -1:
        cdef object value
        try:
            if not traits & TRAIT_PLAIN:
                self.slow.before(self, slot.task)
            self.in_task = True
            if slot.told:
                self.heed()
            value = call_object(self.calls[slot.task], self.args,
                                <PyObject*>self.kwargs if PyDict_Size(self.kwargs) else NULL)
            self.out_of_task()
            if self.kill_left:
                self.reach(POINT_CALLED)
        except BaseException as error:
            self.out_of_task()
            self.finish(self.slow.raised(self, slot.task, error, self.wants(slot)))
            return 0
        return self.returned(slot, traits, value)

    cdef int returned(self, Slot* slot, uint8_t traits, object value) except -1:
        cdef bint wanted = self.wants(slot)
        if traits & TRAIT_PLAIN and not has_links(self.embed):
            if not wanted:
                slot.outcome = RETURNED
                return 0
            if traits & TRAIT_FAST_RESULT and not slot.flags & SLOT_FAMILY and (
                    self.request is None or not self.request._children):
                try:
                    meta = self.encode_success(self.task_id, value)
                except Exception:
                    meta = None         # a value that no document takes: the slow path says so
                if meta is not None:
                    self.record_success(slot, meta)
                    return 0
        self.finish(self.slow.returned(self, slot.task, value, wanted))
        return 0

    cdef int finish(self, object ending) except -1:
        # ending: (outcome, effects as bytes)
        self.slot.outcome = ending[0]
        effects = ending[1]
        if effects:
            self.write_effects(self.slot, <bytes>effects)
        return 0

    cdef int record_success(self, Slot* slot, bytes meta) except -1:
        cdef uint32_t meta_n = <uint32_t>PyBytes_GET_SIZE(meta)
        cdef uint32_t at = slot.content_n + slot.queue_n
        cdef unsigned char* p = slot_payload(slot) + at
        cdef uint16_t id_n = <uint16_t>slot.id_n
        cdef uint32_t n = 1 + 1 + 7 + 2 + id_n + 4 + meta_n
        slot.outcome = RETURNED
        if slot.flags & SLOT_SPILLED or n > ring_payload(self.ring) - at:
            return self.finish((RETURNED, self.slow.pack_result(self.task_id, "SUCCESS", meta)))
        p[0] = EFFECT_RESULT
        p[1] = 7
        memcpy(p + 2, b"SUCCESS", 7)
        memcpy(p + 9, &id_n, 2)
        memcpy(p + 11, slot_payload(slot) + slot.id_at, id_n)
        memcpy(p + 11 + id_n, &meta_n, 4)
        memcpy(p + 15 + id_n, PyBytes_AS_STRING(meta), meta_n)
        slot.effects_at, slot.effects_n = at, n
        return 0

    cdef int write_effects(self, Slot* slot, bytes effects) except -1:
        cdef uint32_t at = slot_used(slot)
        if PyBytes_GET_SIZE(effects) > <Py_ssize_t>(ring_payload(self.ring) - at):
            effects = self.slow.spill(effects)
            if PyBytes_GET_SIZE(effects) > <Py_ssize_t>(ring_payload(self.ring) - at):
                raise ValueError(f"the spill path {effects!r} does not fit a slot")
            slot.flags |= SLOT_OUT_SPILLED
        memcpy(slot_payload(slot) + at, PyBytes_AS_STRING(effects), PyBytes_GET_SIZE(effects))
        slot.effects_at, slot.effects_n = at, <uint32_t>PyBytes_GET_SIZE(effects)
        return 0

    # -- what the slow path and the task ask ----------------------------------------------------

    @property
    def task_id(self) -> str:
        """The id of the task that runs now."""
        cdef Slot* slot = self.slot
        if slot == NULL:
            raise RuntimeError("no task runs now")
        if slot.flags & SLOT_SPILLED:
            return self.content[slot.id_at:slot.id_at + slot.id_n].decode()
        return PyUnicode_DecodeUTF8(<char*>slot_payload(slot) + slot.id_at, slot.id_n, NULL)

    @property
    def content(self) -> bytes:
        """The packed message that runs now."""
        cdef Slot* slot = self.slot
        if slot == NULL:
            raise RuntimeError("no task runs now")
        raw = PyBytes_FromStringAndSize(<char*>slot_payload(slot), slot.content_n)
        if slot.flags & SLOT_SPILLED:
            with open(raw, "rb") as file:
                return file.read()
        return raw

    @property
    def queue(self) -> str:
        """The queue that the message came from."""
        cdef Slot* slot = self.slot
        if slot == NULL:
            raise RuntimeError("no task runs now")
        return PyUnicode_DecodeUTF8(<char*>slot_payload(slot) + slot.content_n, slot.queue_n, NULL)

    @property
    def deaths(self) -> int:
        """How many workers or children this message has lost so far."""
        return self.slot.deaths if self.slot != NULL else 0

    @property
    def outcome(self) -> int:
        """How the run has ended that is over already, and is to be followed up."""
        return self.slot.outcome if self.slot != NULL else 0

    @property
    def effects(self) -> bytes:
        """What the run has left so far: of one that is over, why."""
        cdef Slot* slot = self.slot
        if slot == NULL:
            raise RuntimeError("no task runs now")
        return PyBytes_FromStringAndSize(<char*>slot_payload(slot) + slot.effects_at, slot.effects_n)

    @property
    def seconds(self) -> float:
        """How long the task has run."""
        return (fq_mono_ns() - self.slot.started_ns) * 1e-9 if self.slot != NULL else 0.0

    @property
    def row(self) -> int:
        """The task table's row that runs now, -1 between tasks."""
        return <int>self.slot.task if self.slot != NULL else -1

    def request_now(self):
        """The request of the task that runs now, made on first use; None between tasks."""
        cdef Slot* slot = self.slot
        if slot == NULL:
            return None
        if self.request is None:
            self.request = self.make_request(
                self.content, self.task_id, self.queue, self.hostname, slot.deaths, self.args, self.kwargs,
                self.embed, slot.hard_s, slot.soft_s)
        return self.request

    def request_of(self, task):
        """The request that runs now if it is one of *task* (None: of any), else None."""
        if self.slot == NULL or (task is not None and task is not self.tasks[self.slot.task]):
            return None
        return self.request_now()

    def task_now(self):
        """The task that runs now, None between tasks."""
        return self.tasks[self.slot.task] if self.slot != NULL else None

    def soft_due(self) -> bool:
        """True when the very run that is in user code was told of its soft limit, and of nothing else."""
        return self.slot != NULL and self.in_task and level_of(self.slot.told) == LEVEL_SOFT


def die_with_parent() -> bool:
    """Ask the kernel to kill this process when its parent ends; False where that cannot be had."""
    return fq_die_with_parent() != 0


def adopt_orphans(bint on) -> bool:
    """Have processes below this one become its children when their parents end, or no longer.

    False where that cannot be had.
    """
    return fq_adopt_orphans(on) >= 0
