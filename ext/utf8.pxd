# Header: is it UTF-8? For the few texts that become names, so that no later str() of them can fail.

from libc.stdint cimport uint64_t
from libc.string cimport memcpy


cdef inline bint is_utf8(const unsigned char* p, size_t n) noexcept nogil:
    cdef size_t i = 0, more
    cdef unsigned char lead
    cdef uint64_t word
    cdef uint64_t four[4]
    while n - i >= 32:          # most texts are ASCII, so that it pays to look at much at once
        memcpy(four, p + i, 32)
        if (four[0] | four[1] | four[2] | four[3]) & 0x8080808080808080ULL:
            break
        i += 32
    while i < n:
        if n - i >= 8:          # eight ASCII characters at once
            memcpy(&word, p + i, 8)
            if not word & 0x8080808080808080ULL:
                i += 8
                continue
        lead = p[i]
        i += 1
        if lead < 0x80:
            continue
        more = 1 if 0xC2 <= lead <= 0xDF else 2 if 0xE0 <= lead <= 0xEF else 3 if 0xF0 <= lead <= 0xF4 else 0
        if more == 0 or n - i < more:
            return False
        # Overlong forms, surrogates, and what lies beyond U+10FFFF show in the second byte.
        if lead == 0xE0 and p[i] < 0xA0 or lead == 0xED and p[i] > 0x9F:
            return False
        if lead == 0xF0 and p[i] < 0x90 or lead == 0xF4 and p[i] > 0x8F:
            return False
        while more:
            if p[i] & 0xC0 != 0x80:
                return False
            i += 1
            more -= 1
    return True
