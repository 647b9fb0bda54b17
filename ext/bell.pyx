"""The board of sleepers: who sleeps, and for what, in memory that processes share.

Owns no file, descriptor or lock: it is given a buffer, and the caller rings whom it names. In C for the fences
and the exchange, which Python does not have, and for the cost of a ring when nobody sleeps: every publish pays it.
Every publish also asks whether its process was forked, so that answer is here too.

    0     "fqbell1\0", rest of 64 bytes unused
    64    asleep[2][512]    one byte for each (kind, cell): 1 while the owner of the cell sleeps for that kind
    1088  interest[512]     64 bits for each cell: what its owner waits for, hashed to one bit each
    5184  end

Why nobody sleeps through a message: the sleeper sets its byte, fences, and reads the database; the publisher
commits, fences, and reads the bytes. Whichever fence comes second, what follows it sees what preceded the other.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    #define bell_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #define bell_peek(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define bell_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define bell_swap(p, v) __atomic_exchange_n((p), (uint8_t)(v), __ATOMIC_SEQ_CST)
    """
    void bell_fence() noexcept nogil
    uint64_t bell_peek(uint64_t *p) noexcept nogil
    void bell_store(uint64_t *p, uint64_t v) noexcept nogil
    uint8_t bell_swap(uint8_t *p, int v) noexcept nogil

cdef extern from "<pthread.h>" nogil:
    int pthread_atfork(void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil,
                       void (*child)() noexcept nogil)

cdef int fork_count = 0


cdef void count_fork() noexcept nogil:
    global fork_count
    fork_count += 1


# Not os.register_at_fork: servers written in C fork without Python's hooks. Not os.getpid(): a system call, 0.2 us.
if pthread_atfork(NULL, NULL, count_fork) != 0:
    raise MemoryError("no room for one more handler of forks")


def forks():
    """How many forks lie between this process and the one that loaded the module."""
    return fork_count


CELLS = 512
KINDS = 2
SIZE = 64 + 2 * 512 + 8 * 512

cdef enum:
    N_CELLS = 512
    N_KINDS = 2
    AT_ASLEEP = 64
    AT_INTEREST = 64 + 2 * 512
    BOARD_SIZE = 64 + 2 * 512 + 8 * 512

cdef const char *MAGIC = b"fqbell1\0"


cdef class Board:
    """The board in *buffer*, which must be writable, shared, and at least `SIZE` bytes; zeros are an empty board."""

    cdef Py_buffer view
    cdef uint8_t *base                  # NULL once released

    def __cinit__(self, buffer):
        PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE)
        self.base = <uint8_t *> self.view.buf
        if self.view.len < BOARD_SIZE or (<size_t> self.base) % 8:
            self.release()
            raise ValueError(f"a board takes {SIZE} bytes at an address divisible by 8")
        if self.base[0] == 0:
            memcpy(self.base, MAGIC, 8)
        elif memcmp(self.base, MAGIC, 8) != 0:
            self.release()
            raise ValueError("not a board")

    def __dealloc__(self):
        self.release()

    cpdef release(self):
        """Let go of the buffer; the board cannot be used afterwards. Safe to call twice."""
        if self.base != NULL:
            self.base = NULL
            PyBuffer_Release(&self.view)

    cdef uint8_t *flag(self, int kind, int cell) except NULL:
        if self.base == NULL:
            raise ValueError("the board was released")
        if not (0 <= kind < N_KINDS and 0 <= cell < N_CELLS):
            raise IndexError(f"no cell {cell} of kind {kind}")
        return self.base + AT_ASLEEP + kind * N_CELLS + cell

    def doze(self, int kind, int cell, uint64_t interest):
        """Say that the owner of *cell* is about to sleep for *interest*; look at the database after this."""
        cdef uint8_t *flag = self.flag(kind, cell)
        bell_store(<uint64_t *> (self.base + AT_INTEREST) + cell, interest)
        bell_swap(flag, 1)
        bell_fence()

    def rouse(self, int kind, int cell):
        """Say that the owner of *cell* is awake; returns True if it was rung meanwhile, and so has a byte to read."""
        return bell_swap(self.flag(kind, cell), 0) == 0

    def quiet(self, int kind):
        """Tell whether nobody sleeps for *kind*, whatever the interest; call it after the commit."""
        cdef uint64_t *words = <uint64_t *> self.flag(kind, 0)
        cdef uint64_t some = 0
        cdef int i
        bell_fence()
        for i in range(N_CELLS // 8):
            some |= bell_peek(words + i)
        return some == 0

    def ring(self, int kind, uint64_t interest):
        """Wake, on the board, whoever sleeps for any bit of *interest*; returns the cells to send a byte to."""
        cdef uint8_t *flags = self.flag(kind, 0)
        cdef uint64_t *words = <uint64_t *> flags
        cdef uint64_t *interests = <uint64_t *> (self.base + AT_INTEREST)
        cdef int i, cell
        cdef list rung = None
        bell_fence()
        for i in range(N_CELLS // 8):
            if bell_peek(words + i) == 0:
                continue
            for cell in range(8 * i, 8 * i + 8):
                # Only the one that turns a byte from 1 to 0 sends the sleeper a byte: publishers do not heap them up.
                if flags[cell] and bell_peek(interests + cell) & interest and bell_swap(flags + cell, 0):
                    if rung is None:
                        rung = []
                    rung.append(cell)
        return rung
