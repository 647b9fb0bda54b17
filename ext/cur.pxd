# Header: a read cursor that cannot leave its bytes, and that remembers where it failed.
#
# A failure is sticky: `bad` is the first byte that made no sense, `want` says what should have stood there, and the
# cursor is empty from then on, so that every loop `while c.p != c.end` ends by itself. Callers look at `bad` once, at
# the end. The cursor owns nothing; its owner keeps the bytes alive.

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef struct Cur:
    const unsigned char* p      # next byte to read
    const unsigned char* end    # first byte that is not ours
    const unsigned char* bad    # NULL while all is well
    const char* want


cdef inline void cur_init(Cur* c, const unsigned char* p, size_t n) noexcept nogil:
    c.p = p
    c.end = p + n
    c.bad = NULL
    c.want = NULL


cdef inline void cur_fail(Cur* c, const unsigned char* at, const char* want) noexcept nogil:
    if c.bad == NULL:           # the first failure is the cause, later ones its echo
        c.bad = at
        c.want = want
    c.end = c.p


# Big-endian loads from any address; the caller has checked that the bytes are there.

cdef inline uint16_t load_u16(const unsigned char* p) noexcept nogil:
    return <uint16_t>((<uint32_t>p[0] << 8) | p[1])


cdef inline uint32_t load_u32(const unsigned char* p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | <uint32_t>p[3]


cdef inline uint64_t load_u64(const unsigned char* p) noexcept nogil:
    return (<uint64_t>load_u32(p) << 32) | load_u32(p + 4)


cdef inline const unsigned char* cur_take(Cur* c, size_t n, const char* want) noexcept nogil:
    """The next *n* bytes, or NULL (also after an earlier failure, unless n is 0)."""
    cdef const unsigned char* p = c.p
    if <size_t>(c.end - p) < n:
        cur_fail(c, p, want)
        return NULL
    c.p = p + n
    return p


cdef inline const unsigned char* cur_short(Cur* c, size_t* n) noexcept nogil:
    """A short string (u8 length, bytes), or NULL."""
    cdef const unsigned char* p = cur_take(c, 1, b"the length of a short string")
    n[0] = 0
    if p == NULL:
        return NULL
    n[0] = p[0]
    return cur_take(c, n[0], b"all bytes of a short string")


cdef inline const unsigned char* cur_long(Cur* c, size_t* n) noexcept nogil:
    """A long string (u32 length, bytes), or NULL."""
    cdef const unsigned char* p = cur_take(c, 4, b"the length of a long value")
    n[0] = 0
    if p == NULL:
        return NULL
    n[0] = load_u32(p)
    return cur_take(c, n[0], b"all bytes of a long value")


cdef inline const unsigned char* cur_enter(Cur* c) noexcept nogil:
    """Read a u32 length and narrow the cursor to as many bytes; the outer end for cur_leave(), or NULL."""
    cdef const unsigned char* outer = c.end
    cdef const unsigned char* start
    cdef size_t n
    start = cur_long(c, &n)
    if start == NULL:
        return NULL
    c.p = start
    c.end = start + n
    return outer


cdef inline void cur_leave(Cur* c, const unsigned char* outer) noexcept nogil:
    """Widen the cursor again, unless it has failed. What was entered must have been read to its end."""
    if c.bad != NULL:
        return
    if c.p != c.end:
        cur_fail(c, c.p, b"the end of what its length announced")
        return
    c.end = outer
