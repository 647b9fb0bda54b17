# Header: bulk strings of RESP, one behind the other, as an array of them comes over the wire:
#
#   $<length as decimal digits>\r\n<so many bytes>\r\n
#
# resp.pyx finds where they are, and whoever takes them reads them from the buffer in which they came.

from libc.stdint cimport INT64_MAX, int64_t, uint64_t

cdef enum:
    HEAD_MOST = 24              # bytes of a line that holds a number, with its type and its end


cdef inline const unsigned char* head_read(const unsigned char* p, const unsigned char* end,
                                           int64_t* out) noexcept nogil:
    """Read the number of the line at *p*, behind its type; where the next one begins.

    NULL: no whole line is left before *end*, or it is none, in which case *out* becomes -2 (and else 0).
    """
    cdef const unsigned char* at = p + 1
    cdef bint negative = at != end and at[0] == c'-'
    cdef uint64_t v = 0, most = <uint64_t>INT64_MAX + negative
    cdef unsigned int digits = 0, digit
    at += negative
    while at != end and c'0' <= at[0] <= c'9':
        digit = at[0] - c'0'
        if v > (most - digit) // 10:
            out[0] = -2
            return NULL
        v = v * 10 + digit
        digits += 1
        at += 1
    if digits and (at - digits)[0] == c'0' and (digits > 1 or negative):
        out[0] = -2                     # a number has one way to be written
        return NULL
    if end - at >= 2 and digits and at[0] == c'\r' and at[1] == c'\n' and at + 2 - p <= HEAD_MOST:
        out[0] = <int64_t>(0 - v if negative else v)
        return at + 2
    # What stands there may still become one.
    out[0] = 0 if at == end and at - p < HEAD_MOST - 1 or end - at == 1 and digits and at[0] == c'\r' else -2
    return NULL


cdef inline const unsigned char* bulk_next(const unsigned char* p, const unsigned char* end,
                                           const unsigned char** data, size_t* n) noexcept nogil:
    """Read the bulk string at *p*; where the next one begins, or NULL when no whole one is there."""
    cdef int64_t size = 0
    cdef const unsigned char* at = NULL
    if p != end and p[0] == c'$':
        at = head_read(p, end, &size)
    if at == NULL or size < 0 or end - at - 2 < size or at[size] != c'\r' or at[size + 1] != c'\n':
        return NULL
    data[0] = at
    n[0] = size
    return at + size + 2
