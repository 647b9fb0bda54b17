# Header: a JSON reader on a cursor (cur.pxd), without Python objects. It takes what json.loads() takes: NaN and the
# infinities too, lone surrogates, any whitespace of JSON's, but no control character in a text.
#
# The bytes must be known to be UTF-8 (utf8.pxd): no text is looked at again for that. Failures stay in the cursor.

from libc.stdint cimport UINT64_MAX, uint64_t
from libc.string cimport memcmp

from cur cimport Cur, cur_fail
from jsontext cimport JsonText, json_comes, json_peek, json_text_comes

cdef enum:
    JSON_NEST = 64              # nested containers; each level costs a C stack frame

cdef enum:                      # what a number is
    JSON_NO_NUMBER
    JSON_INT
    JSON_BIG                    # an integer beyond 64 bits
    JSON_REAL

cdef struct JsonNumber:
    const unsigned char* p      # as it stands there
    size_t n
    bint negative
    uint64_t size               # of an integer, without its sign


cdef inline bint json_word(Cur* c, const char* word, size_t n) noexcept nogil:
    if <size_t>(c.end - c.p) < n or memcmp(c.p, word, n) != 0:
        cur_fail(c, c.p, b"a JSON value")
        return False
    c.p += n
    return True


# --- numbers ---------------------------------------------------------------------------------------------------------

cdef inline bint json_digits(Cur* c) noexcept nogil:
    """Step over digits; were there any?"""
    cdef const unsigned char* start = c.p
    while c.p != c.end and c'0' <= c.p[0] <= c'9':
        c.p += 1
    return c.p != start


cdef inline int json_number(Cur* c, JsonNumber* out) noexcept nogil:
    """Take a number; JSON_NO_NUMBER, and a failure, when none comes."""
    cdef const unsigned char* p
    cdef int kind = JSON_INT
    cdef uint64_t v = 0
    cdef unsigned int digit
    out.p = c.p
    out.negative = c.p != c.end and c.p[0] == c'-'
    c.p += out.negative
    p = c.p
    if p == c.end or not c'0' <= p[0] <= c'9':
        cur_fail(c, out.p, b"a JSON value")
        return JSON_NO_NUMBER
    while c.p != c.end and c'0' <= c.p[0] <= c'9':
        digit = c.p[0] - c'0'
        if v > UINT64_MAX // 10 or v * 10 > UINT64_MAX - digit:
            kind = JSON_BIG
        v = v * 10 + digit
        c.p += 1
        if p[0] == c'0':                # what follows a leading zero is no part of the number
            break
    if c.p != c.end and (c.p[0] == c'.' or c.p[0] | 0x20 == c'e'):
        p = c.p
        if p[0] == c'.':
            c.p += 1
            if not json_digits(c):
                cur_fail(c, c.p, b"a digit")
                return JSON_NO_NUMBER
        if c.p != c.end and c.p[0] | 0x20 == c'e':
            c.p += 1
            if c.p != c.end and (c.p[0] == c'+' or c.p[0] == c'-'):
                c.p += 1
            if not json_digits(c):
                cur_fail(c, c.p, b"a digit")
                return JSON_NO_NUMBER
        kind = JSON_REAL
    out.n = c.p - out.p
    out.size = v
    return kind


# --- anything --------------------------------------------------------------------------------------------------------

cdef inline void json_skip(Cur* c, int depth) noexcept nogil:
    """Step over one value inside *depth* containers, checking all that is inside."""
    cdef JsonText text
    cdef JsonNumber number
    cdef unsigned char v = json_peek(c)
    if v == c'"':
        json_text_comes(c, &text)
    elif v == c'{' or v == c'[':
        json_skip_nested(c, v, depth)
    elif v == c't':
        json_word(c, b"true", 4)
    elif v == c'f':
        json_word(c, b"false", 5)
    elif v == c'n':
        json_word(c, b"null", 4)
    elif v == c'N':
        json_word(c, b"NaN", 3)
    elif v == c'I':
        json_word(c, b"Infinity", 8)
    elif v == c'-' and c.end - c.p > 1 and c.p[1] == c'I':
        json_word(c, b"-Infinity", 9)
    else:
        json_number(c, &number)


cdef inline bint json_more(Cur* c, unsigned char close) noexcept nogil:
    """Take the comma behind a member, or the bracket behind the last one. True: another member must follow."""
    cdef unsigned char v = json_peek(c)
    if v == c',' or v == close:
        c.p += 1
        return v == c','
    cur_fail(c, c.p, b"a comma or the end of an object" if close == c'}' else b"a comma or the end of an array")
    return False


cdef inline bint json_key(Cur* c, JsonText* key) noexcept nogil:
    """Take the name of a member and its colon."""
    if json_peek(c) != c'"':
        cur_fail(c, c.p, b"the name of a member")
        return False
    return json_text_comes(c, key) and json_comes(c, c':', b"a colon")


cdef inline bint json_opens(Cur* c, unsigned char close, int depth) noexcept nogil:
    """Take the bracket that comes next. True: a first member must follow."""
    if depth >= JSON_NEST:
        cur_fail(c, c.p, b"at most 64 nested containers")
        return False
    c.p += 1
    if json_peek(c) != close:
        return True
    c.p += 1
    return False


cdef inline void json_skip_nested(Cur* c, unsigned char bracket, int depth) noexcept nogil:
    cdef JsonText key
    cdef unsigned char close = c'}' if bracket == c'{' else c']'
    cdef bint more = json_opens(c, close, depth)
    while more:
        if bracket == c'{' and not json_key(c, &key):
            return
        json_skip(c, depth + 1)
        more = json_more(c, close)
