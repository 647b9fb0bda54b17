"""What a client of Redis writes and reads.

1. command(), commands() and lpush() write commands: arrays of bulk strings.
2. Reader takes bytes as they come, and gives replies of RESP2. A long one is not looked through again with each piece
   of it that comes; an array of bulk strings may stay where it is, as Bulks (bulks.pxd).

No sockets, settings or clocks. resp.pyi tells what callers may expect.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE, Py_buffer, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_Free
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport UINT32_MAX, int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memmove, strlen

from bulks cimport bulk_next, head_read
from jsonw cimport Py_DTSF_ADD_DOT_0, PyLong_AsLongLongAndOverflow, PyOS_double_to_string
from tablepy cimport PyUnicode_AsUTF8AndSize


# --- commands --------------------------------------------------------------------------------------------------------

cdef enum:
    DIGITS = 32                 # of the longest number, as text

cdef struct Bulk:               # one argument
    const char* p
    Py_ssize_t n
    char digits[DIGITS]         # if it is a number, its text


cdef inline int digits_of(char* end, uint64_t v) noexcept nogil:
    """Write digits so that they stop before *end*; how many."""
    cdef int n = 0
    while True:
        n += 1
        end[-n] = <char>(c'0' + v % 10)
        v //= 10
        if v == 0:
            return n


cdef int bulk_of(object arg, Bulk* out) except -1:
    cdef long long v
    cdef int overflow
    cdef char* text
    if isinstance(arg, bytes):
        out.p = PyBytes_AS_STRING(arg)
        out.n = PyBytes_GET_SIZE(arg)
    elif isinstance(arg, str):
        out.p = PyUnicode_AsUTF8AndSize(arg, &out.n)
    elif isinstance(arg, int) and not isinstance(arg, bool):
        v = PyLong_AsLongLongAndOverflow(arg, &overflow)
        if overflow:
            raise OverflowError("an integer of a command may have 64 bits at most")
        out.n = digits_of(out.digits + DIGITS, <uint64_t>v if v >= 0 else 0 - <uint64_t>v)
        if v < 0:
            out.n += 1
            out.digits[DIGITS - out.n] = c'-'
        out.p = out.digits + DIGITS - out.n
    elif isinstance(arg, float):
        text = PyOS_double_to_string(arg, c'r', 0, Py_DTSF_ADD_DOT_0, NULL)
        out.n = strlen(text)                    # 24 at most
        memcpy(out.digits, text, out.n)
        out.p = out.digits
        PyMem_Free(text)
    else:
        raise TypeError(f"an argument of a command is bytes, str, int or float, not {type(arg).__name__}")
    return 0


cdef inline unsigned char* put_count(unsigned char* out, unsigned char kind, Py_ssize_t n) noexcept:
    cdef char digits[DIGITS]
    cdef int width = digits_of(digits + DIGITS, n)
    out[0] = kind
    memcpy(out + 1, digits + DIGITS - width, width)
    out[1 + width] = c'\r'
    out[2 + width] = c'\n'
    return out + 3 + width


cdef inline int width_of(Py_ssize_t n) noexcept:
    """Bytes of what put_count() writes."""
    cdef int width = 4
    while n > 9:
        width += 1
        n //= 10
    return width


cdef size_t command_size(tuple args) except 0:
    cdef Py_ssize_t i, count = PyTuple_GET_SIZE(args)
    cdef size_t size = width_of(count)
    cdef Bulk bulk
    if count == 0:
        raise ValueError("a command has a name at least")
    for i in range(count):
        bulk_of(<object>PyTuple_GET_ITEM(args, i), &bulk)
        size += width_of(bulk.n) + bulk.n + 2
    return size


cdef unsigned char* command_put(unsigned char* out, tuple args) except NULL:
    cdef Py_ssize_t i, count = PyTuple_GET_SIZE(args)
    cdef Bulk bulk
    out = put_count(out, c'*', count)
    for i in range(count):
        bulk_of(<object>PyTuple_GET_ITEM(args, i), &bulk)
        out = put_count(out, c'$', bulk.n)
        memcpy(out, bulk.p, bulk.n)
        out[bulk.n] = c'\r'
        out[bulk.n + 1] = c'\n'
        out += bulk.n + 2
    return out


cdef bytes command_bytes(tuple args):
    cdef bytes made = PyBytes_FromStringAndSize(NULL, command_size(args))
    command_put(<unsigned char*>PyBytes_AS_STRING(made), args)
    return made


def command(*args):
    return command_bytes(args)


def commands(many):
    cdef list all_args = [tuple(args) for args in many]
    cdef size_t size = 0
    cdef bytes made
    cdef unsigned char* out
    for args in all_args:
        size += command_size(<tuple>args)
    made = PyBytes_FromStringAndSize(NULL, size)
    out = <unsigned char*>PyBytes_AS_STRING(made)
    for args in all_args:
        out = command_put(out, <tuple>args)
    return made


def lpush(bytes key not None, values):
    return command_bytes((b"LPUSH", key, *values))


# --- replies ---------------------------------------------------------------------------------------------------------

cdef enum:
    NEST = 8                    # arrays in one another
    LINE_MOST = 1 << 16         # bytes of a status or an error
    ROOM_LEAST = 1 << 14        # bytes of a buffer
    ROOM_KEPT = 1 << 20         # a larger one is not kept once it is empty

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object value)


@cython.final
@cython.internal
cdef class _Block:
    """Bytes that came; who shows a part of it keeps it."""
    cdef unsigned char* p
    cdef size_t room

    def __dealloc__(self):
        free(self.p)


cdef _Block block_of(size_t room):
    cdef _Block block = _Block.__new__(_Block)
    block.p = <unsigned char*>malloc(room)
    if block.p == NULL:
        raise MemoryError
    block.room = room
    return block


@cython.final
cdef class Bulks:
    """An array of bulk strings; see resp.pyi."""
    cdef _Block block
    cdef const unsigned char* p     # in the block
    cdef size_t n
    cdef Py_ssize_t count

    def __cinit__(self):
        self.p = <const unsigned char*>b""

    def __len__(self):
        return self.count

    def __iter__(self):
        cdef const unsigned char* p = self.p
        cdef const unsigned char* data = NULL
        cdef size_t n = 0
        cdef Py_ssize_t left = self.count
        while left:
            left -= 1
            p = bulk_next(p, self.p + self.n, &data, &n)
            yield PyBytes_FromStringAndSize(<const char*>data, n)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, <void*>self.p, self.n, 1, flags)


@cython.final
cdef class Reader:
    """Replies from bytes; see resp.pyi."""
    cdef _Block block
    cdef size_t begin, at, end      # the reply to come, how far it is looked through, and all that is there
    cdef int depth                  # arrays that are open at `at`
    cdef int64_t left[NEST]         # what each of them still wants
    cdef object nothing, error, broken
    cdef str problem

    def __init__(self, nothing, broken, error):
        self.nothing, self.broken, self.error = nothing, broken, error
        self.block = block_of(ROOM_LEAST)

    def feed(self, data, Py_ssize_t start=0, Py_ssize_t count=-1):
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if count < 0:
                count = view.len - start
            if start < 0 or count < 0 or start > view.len - count:
                raise ValueError(f"{count} bytes from {start} on are not in {view.len} bytes")
            self.make_room(count)
            memcpy(self.block.p + self.end, <const unsigned char*>view.buf + start, count)
            self.end += count
        finally:
            PyBuffer_Release(&view)

    cdef int make_room(self, size_t more) except -1:
        cdef size_t there = self.end - self.begin, room = self.block.room
        cdef _Block fresh
        cdef bint is_shown = Py_REFCNT(self.block) > 1      # what is shown stays where it is
        if not there and not is_shown and room <= ROOM_KEPT:
            self.begin = self.at = self.end = 0
        if room - self.end >= more and (there or room <= ROOM_KEPT):
            return 0
        if more > (<size_t>-1) // 4 - there:
            raise MemoryError
        if is_shown or there + more > room or not there:
            room = ROOM_LEAST
            while room < 2 * there + more:
                room *= 2
            fresh = block_of(room)
            memcpy(fresh.p, self.block.p + self.begin, there)
            self.block = fresh
        else:
            memmove(self.block.p, self.block.p + self.begin, there)
        self.at -= self.begin
        self.end = there
        self.begin = 0
        return 0

    def gets(self, bint packed=False):
        cdef const unsigned char* p
        cdef object reply
        if self.problem is None and self.begin != self.end:
            if self.look():
                p = self.block.p + self.begin
                reply = self.build(&p, self.block.p + self.at, packed, 0)
                self.begin = self.at
                return reply
        if self.problem is not None:
            raise self.broken(self.problem)
        return self.nothing

    cdef bint look(self) except -1:
        """Go on looking for the end of the reply; is it there?"""
        cdef const unsigned char* p = self.block.p + self.at
        cdef const unsigned char* end = self.block.p + self.end
        cdef const unsigned char* after
        cdef bint is_whole = False
        while not is_whole and p != end:
            after = self.step(p, end, &is_whole)
            if after == NULL:
                break
            p = after
        self.at = p - self.block.p
        return is_whole

    cdef const unsigned char* step(self, const unsigned char* p, const unsigned char* end, bint* is_whole) except? NULL:
        """Step over one value, or over the head of an array; NULL: there is not enough, or a problem."""
        cdef unsigned char kind = p[0]
        cdef const unsigned char* after
        cdef int64_t n = 0
        if kind == c'+' or kind == c'-':
            after = self.step_line(p, end)
        elif kind == c':' or kind == c'$' or kind == c'*':
            after = head_read(p, end, &n)
            if after == NULL and n or kind != c':' and n < -1 or kind == c'*' and n > <int64_t>UINT32_MAX:
                return self.fail(p, "a number")
            if kind == c'$' and n >= 0 and after != NULL:
                after = self.step_bulk(after, end, n)
        else:
            return self.fail(p, "a reply")
        if after == NULL:
            return NULL
        if kind == c'*' and n > 0:
            if self.depth == NEST:
                return self.fail(p, f"at most {NEST} arrays in one another")
            self.left[self.depth] = n
            self.depth += 1
            return after
        while self.depth:
            self.left[self.depth - 1] -= 1
            if self.left[self.depth - 1]:
                return after
            self.depth -= 1
        is_whole[0] = True
        return after

    cdef const unsigned char* step_line(self, const unsigned char* p, const unsigned char* end) except? NULL:
        cdef size_t n = end - p if end - p < LINE_MOST else LINE_MOST
        cdef const unsigned char* at = <const unsigned char*>memchr(p, c'\n', n)
        if at == NULL and n < LINE_MOST:
            return NULL
        if at != NULL and memchr(p, c'\r', n) == at - 1:
            return at + 1
        return self.fail(p, f"a line of {LINE_MOST} bytes at most, with CR LF")

    cdef const unsigned char* step_bulk(self, const unsigned char* p, const unsigned char* end,
                                        int64_t n) except? NULL:
        if end - p < 2 or end - p - 2 < n:
            return NULL
        if p[n] != c'\r' or p[n + 1] != c'\n':
            return self.fail(p + n, "the end of a bulk string")
        return p + n + 2

    cdef const unsigned char* fail(self, const unsigned char* at, str want) except? NULL:
        cdef bytes seen = PyBytes_FromStringAndSize(<const char*>at, min(16, self.block.p + self.end - at))
        self.problem = f"expected {want}, got {seen!r}"
        return NULL

    cdef object build(self, const unsigned char** at, const unsigned char* end, bint packed, int depth):
        """The value at *at*, which is known to be whole; steps over it."""
        cdef const unsigned char* p = at[0]
        cdef const unsigned char* after
        cdef unsigned char kind = p[0]
        cdef int64_t n = 0
        if kind == c'+' or kind == c'-':
            after = <const unsigned char*>memchr(p, c'\n', end - p) + 1
            at[0] = after
            text = PyBytes_FromStringAndSize(<const char*>p + 1, after - p - 3)
            return text if kind == c'+' else self.error(text.decode("utf-8", "replace"))
        after = head_read(p, end, &n)
        at[0] = after
        if kind == c':':
            return n
        if n < 0:
            return None
        if kind == c'$':
            at[0] = after + n + 2
            return PyBytes_FromStringAndSize(<const char*>after, n)
        if packed and depth and n:
            bulks = self.bulks_of(at, end, n)
            if bulks is not None:
                return bulks
        return self.build_list(at, end, n, packed, depth + 1)

    cdef list build_list(self, const unsigned char** at, const unsigned char* end, Py_ssize_t n, bint packed,
                         int depth):
        cdef list made = PyList_New(n)
        cdef Py_ssize_t i
        cdef object value
        for i in range(n):
            value = self.build(at, end, packed, depth)
            Py_INCREF(value)
            PyList_SET_ITEM(made, i, value)
        return made

    cdef Bulks bulks_of(self, const unsigned char** at, const unsigned char* end, Py_ssize_t count):
        """What stands at *at*, if it is bulk strings and nothing else; else None, and *at* stays."""
        cdef const unsigned char* p = at[0]
        cdef const unsigned char* data = NULL
        cdef size_t n = 0
        cdef Py_ssize_t left = count
        cdef Bulks made
        while left:
            left -= 1
            p = bulk_next(p, end, &data, &n)
            if p == NULL:
                return None
        made = Bulks.__new__(Bulks)
        made.block, made.p, made.n, made.count = self.block, at[0], p - at[0], count
        at[0] = p
        return made
