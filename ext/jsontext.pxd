# Header: the texts of a JSON reader (jsonr.pxd), and what stands between values.

from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from cur cimport Cur, cur_fail

cdef extern from *:
    """
    #if defined(__SSE2__)
    #include <emmintrin.h>
    /* The first byte from p on that is a quote, a backslash or below 0x20; or a place before which there is none. */
    static inline const unsigned char *fastq_json_odd(const unsigned char *p, const unsigned char *end)
    {
        const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8(92), most = _mm_set1_epi8(0x1F);
        while (end - p >= 16) {
            const __m128i v = _mm_loadu_si128((const __m128i *)p);
            const __m128i text = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash));
            const int odd = _mm_movemask_epi8(_mm_or_si128(text, _mm_cmpeq_epi8(_mm_min_epu8(v, most), v)));
            if (odd)
                return p + __builtin_ctz((unsigned)odd);
            p += 16;
        }
        return p;
    }
    #else
    static inline const unsigned char *fastq_json_odd(const unsigned char *p, const unsigned char *end)
    {
        const uint64_t ones = 0x0101010101010101U;
        uint64_t word, quote, slash;
        for (; end - p >= 8; p += 8) {
            memcpy(&word, p, 8);
            quote = word ^ ones * 0x22;
            slash = word ^ ones * 0x5C;
            /* The high bit of a byte gets set if it is one of them. A borrow may set those above as well, so the
               place is looked for byte by byte. */
            if (((quote - ones) & ~quote | (slash - ones) & ~slash | (word - ones * 0x20) & ~word) & ones * 0x80)
                break;
        }
        return p;
    }
    #endif
    """
    const unsigned char* json_odd "fastq_json_odd"(const unsigned char* p, const unsigned char* end) noexcept nogil

cdef struct JsonText:           # what stands between the quotes
    const unsigned char* p      # NULL: null, or nothing at all
    size_t n
    bint escaped

cdef inline void json_space(Cur* c) noexcept nogil:
    while c.p != c.end and c.p[0] <= 0x20 and (c.p[0] == 0x20 or c.p[0] == 0x0A or c.p[0] == 0x0D or c.p[0] == 0x09):
        c.p += 1


cdef inline unsigned char json_peek(Cur* c) noexcept nogil:
    """The next character that is no space, not taken; 0 at the end."""
    json_space(c)
    return 0 if c.p == c.end else c.p[0]


cdef inline bint json_comes(Cur* c, unsigned char wanted, const char* want) noexcept nogil:
    """Take the one character that must come."""
    if json_peek(c) != wanted:
        cur_fail(c, c.p, want)
        return False
    c.p += 1
    return True


cdef inline int json_digit(unsigned char v) noexcept nogil:
    """The value of a hexadecimal digit, or -1."""
    if c'0' <= v <= c'9':
        return v - c'0'
    v |= 0x20
    return v - c'a' + 10 if c'a' <= v <= c'f' else -1


cdef inline bint json_escape_comes(Cur* c) noexcept nogil:
    # Behind a backslash. Takes the escape, so that json_unescape() finds only good ones.
    cdef unsigned char v = 0 if c.p == c.end else c.p[0]
    cdef int i
    if v == c'u' and c.end - c.p >= 5:
        for i in range(1, 5):
            if json_digit(c.p[i]) < 0:
                v = 0
        if v:
            c.p += 5
            return True
    elif (v == c'"' or v == c'\\' or v == c'/' or v == c'b' or v == c'f' or v == c'n' or v == c'r' or v == c't'):
        c.p += 1
        return True
    cur_fail(c, c.p, b"a known escape")
    return False


cdef inline bint json_text_comes(Cur* c, JsonText* out) noexcept nogil:
    """Take a text whose opening quote comes next; many characters at a time while that is easy."""
    cdef const unsigned char* p = c.p + 1
    out.p = p
    out.n = 0
    out.escaped = False
    while True:
        p = json_odd(p, c.end)
        while p != c.end and p[0] >= 0x20 and p[0] != c'"' and p[0] != c'\\':
            p += 1
        if p == c.end:
            cur_fail(c, p, b"the end of a text")
            return False
        if p[0] == c'"':
            out.n = p - out.p
            c.p = p + 1
            return True
        if p[0] != c'\\':
            cur_fail(c, p, b"no control character in a text")
            return False
        out.escaped = True
        c.p = p + 1
        if not json_escape_comes(c):
            return False
        p = c.p


cdef inline uint32_t json_unit(const unsigned char* p) noexcept nogil:
    """The four digits behind a backslash and a `u`."""
    return (<uint32_t>json_digit(p[0]) << 12 | <uint32_t>json_digit(p[1]) << 8 | <uint32_t>json_digit(p[2]) << 4
            | <uint32_t>json_digit(p[3]))


cdef inline Py_ssize_t json_put_unit(unsigned char* out, uint32_t v) noexcept nogil:
    """A character as UTF-8; -1 for a lone surrogate, unless it stands for a byte (as in PEP 383)."""
    if v < 0x80:
        out[0] = <unsigned char>v
        return 1
    if v < 0x800:
        out[0] = <unsigned char>(0xC0 | v >> 6)
        out[1] = <unsigned char>(0x80 | v & 63)
        return 2
    if v < 0x10000:
        if 0xD800 <= v <= 0xDFFF:
            out[0] = <unsigned char>v
            return 1 if 0xDC80 <= v <= 0xDCFF else -1
        out[0] = <unsigned char>(0xE0 | v >> 12)
        out[1] = <unsigned char>(0x80 | v >> 6 & 63)
        out[2] = <unsigned char>(0x80 | v & 63)
        return 3
    out[0] = <unsigned char>(0xF0 | v >> 18)
    out[1] = <unsigned char>(0x80 | v >> 12 & 63)
    out[2] = <unsigned char>(0x80 | v >> 6 & 63)
    out[3] = <unsigned char>(0x80 | v & 63)
    return 4


cdef inline Py_ssize_t json_unescape(Cur* c, const JsonText* text, unsigned char* out) noexcept nogil:
    """Write a text of json_text_comes() as UTF-8: at most text.n bytes. How many; -1, and a failure, if it has none."""
    cdef const unsigned char* p = text.p
    cdef const unsigned char* end = text.p + text.n
    cdef const unsigned char* at
    cdef unsigned char* start = out
    cdef uint32_t v, low
    cdef Py_ssize_t n
    if not text.escaped:
        memcpy(out, p, text.n)
        return text.n
    while p != end:
        if p[0] != c'\\':
            out[0] = p[0]
            out += 1
            p += 1
            continue
        at = p
        v = p[1]
        p += 2
        if v != c'u':
            out[0] = <unsigned char>(c'\n' if v == c'n' else c'\t' if v == c't' else c'\r' if v == c'r' else
                                     c'\b' if v == c'b' else c'\f' if v == c'f' else v)
            out += 1
            continue
        v = json_unit(p)
        p += 4
        if 0xD800 <= v <= 0xDBFF and end - p >= 6 and p[0] == c'\\' and p[1] == c'u':
            low = json_unit(p + 2)
            if 0xDC00 <= low <= 0xDFFF:
                v = 0x10000 + ((v & 0x3FF) << 10 | low & 0x3FF)
                p += 6
        n = json_put_unit(out, v)
        if n < 0:
            cur_fail(c, at, b"no lone surrogate in a text")
            return -1
        out += n
    return out - start
