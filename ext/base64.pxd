# Header: standard base64 (RFC 4648, 4), strict, by tables: one look-up for 12 bits out, one for each character in.

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

cdef enum:
    BASE64_BAD = 0x01000000     # beyond the 24 bits of a group; what is no base64 character sets it

cdef struct Base64:
    uint32_t bits[4][256]       # of a character, by its place in the group of four
    uint8_t pairs[8192]         # the two characters of each 12 bits


cdef inline void base64_init(Base64* t) noexcept nogil:
    cdef const char* alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    cdef uint32_t i
    for i in range(256):
        t.bits[0][i] = t.bits[1][i] = t.bits[2][i] = t.bits[3][i] = BASE64_BAD
    for i in range(64):
        t.bits[0][<uint8_t>alphabet[i]] = i << 18
        t.bits[1][<uint8_t>alphabet[i]] = i << 12
        t.bits[2][<uint8_t>alphabet[i]] = i << 6
        t.bits[3][<uint8_t>alphabet[i]] = i
    for i in range(4096):
        t.pairs[2 * i] = <uint8_t>alphabet[i >> 6]
        t.pairs[2 * i + 1] = <uint8_t>alphabet[i & 63]


cdef inline size_t base64_size(size_t n) noexcept nogil:
    """Characters for *n* bytes."""
    return (n + 2) // 3 * 4


cdef inline void base64_write(const Base64* t, unsigned char* out, const unsigned char* p, size_t n) noexcept nogil:
    """Write base64_size(n) characters."""
    cdef uint32_t group
    while n >= 3:
        group = (<uint32_t>p[0] << 16) | (<uint32_t>p[1] << 8) | p[2]
        memcpy(out, t.pairs + 2 * (group >> 12), 2)
        memcpy(out + 2, t.pairs + 2 * (group & 4095), 2)
        out += 4
        p += 3
        n -= 3
    if n == 0:
        return
    group = (<uint32_t>p[0] << 16) | (<uint32_t>p[1] << 8 if n == 2 else 0)
    memcpy(out, t.pairs + 2 * (group >> 12), 2)
    memcpy(out + 2, t.pairs + 2 * (group & 4095), 2)
    if n == 1:
        out[2] = c'='
    out[3] = c'='


cdef inline Py_ssize_t base64_read(const Base64* t, unsigned char* out, const unsigned char* p,
                                   size_t n) noexcept nogil:
    """Decode *n* characters; how many bytes (3/4 of them at most) were written, -1 when anything is irregular."""
    cdef unsigned char* start = out
    cdef uint32_t group
    cdef size_t padding = 0
    if n % 4:
        return -1
    if n and p[n - 1] == c'=':
        padding = 2 if p[n - 2] == c'=' else 1
        n -= 4
    while n:
        group = t.bits[0][p[0]] | t.bits[1][p[1]] | t.bits[2][p[2]] | t.bits[3][p[3]]
        if group & BASE64_BAD:
            return -1
        out[0] = <unsigned char>(group >> 16)
        out[1] = <unsigned char>(group >> 8)
        out[2] = <unsigned char>group
        out += 3
        p += 4
        n -= 4
    if padding:
        group = t.bits[0][p[0]] | t.bits[1][p[1]] | (t.bits[2][p[2]] if padding == 1 else 0)
        if group & BASE64_BAD:
            return -1
        out[0] = <unsigned char>(group >> 16)
        out[1] = <unsigned char>(group >> 8)
        out += 3 - padding
    return out - start
