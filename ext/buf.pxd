# Header: a growable write buffer. Small messages never leave its own 1024 bytes.
#
# Contract: buf_init() before use, buf_free() after, both exactly once; a Buf is not copied while in use, since `p` may
# point into it. Every buf_* writer returns 0, or -1 when memory ran out (nothing was written then).
# buf_reserve() promises room, the raw writers after it (`b.p[b.n] = ...`) check nothing.

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

cdef enum:
    BUF_INLINE = 1024

cdef struct Buf:
    unsigned char* p
    size_t n                    # bytes written
    size_t cap
    unsigned char own[BUF_INLINE]


cdef inline void buf_init(Buf* b) noexcept nogil:
    b.p = b.own
    b.n = 0
    b.cap = BUF_INLINE


cdef inline void buf_free(Buf* b) noexcept nogil:
    if b.p != b.own:
        free(b.p)
    b.p = b.own
    b.n = 0
    b.cap = BUF_INLINE


cdef inline int buf_grow(Buf* b, size_t more) noexcept nogil:
    cdef size_t cap = b.cap * 2
    cdef unsigned char* p
    if more > (<size_t>-1) - b.n:
        return -1
    if cap < b.n + more:
        cap = b.n + more
    if b.p == b.own:
        p = <unsigned char*>malloc(cap)
        if p != NULL:
            memcpy(p, b.own, b.n)
    else:
        p = <unsigned char*>realloc(b.p, cap)
    if p == NULL:
        return -1
    b.p = p
    b.cap = cap
    return 0


cdef inline int buf_reserve(Buf* b, size_t more) noexcept nogil:
    if b.cap - b.n >= more:
        return 0
    return buf_grow(b, more)


cdef inline int buf_bytes(Buf* b, const void* p, size_t n) noexcept nogil:
    if buf_reserve(b, n) != 0:
        return -1
    if n != 0:                  # memcpy(_, NULL, 0) is undefined
        memcpy(b.p + b.n, p, n)
    b.n += n
    return 0


cdef inline int buf_u8(Buf* b, unsigned char v) noexcept nogil:
    if buf_reserve(b, 1) != 0:
        return -1
    b.p[b.n] = v
    b.n += 1
    return 0


# Big-endian stores to any address, as AMQP wants them.

cdef inline void store_u16(unsigned char* p, uint16_t v) noexcept nogil:
    p[0] = <unsigned char>(v >> 8)
    p[1] = <unsigned char>v


cdef inline void store_u32(unsigned char* p, uint32_t v) noexcept nogil:
    store_u16(p, <uint16_t>(v >> 16))
    store_u16(p + 2, <uint16_t>v)


cdef inline void store_u64(unsigned char* p, uint64_t v) noexcept nogil:
    store_u32(p, <uint32_t>(v >> 32))
    store_u32(p + 4, <uint32_t>v)


cdef inline int buf_u16(Buf* b, uint16_t v) noexcept nogil:
    if buf_reserve(b, 2) != 0:
        return -1
    store_u16(b.p + b.n, v)
    b.n += 2
    return 0


cdef inline int buf_u32(Buf* b, uint32_t v) noexcept nogil:
    if buf_reserve(b, 4) != 0:
        return -1
    store_u32(b.p + b.n, v)
    b.n += 4
    return 0


cdef inline int buf_u64(Buf* b, uint64_t v) noexcept nogil:
    if buf_reserve(b, 8) != 0:
        return -1
    store_u64(b.p + b.n, v)
    b.n += 8
    return 0
