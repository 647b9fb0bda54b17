# Header: AMQP field tables (table.pxd) to JSON as kombu writes it, without Python objects but for the rare types; the
# way back is in jsontable.pxd.
#
#   table         JSON                                       JSON                              table
#   t             true, false                                true, false                       t
#   any integer   number                                     integer of 64 bits                I, L as Celery's client
#   f d           number; NaN, Infinity, -Infinity           other number, NaN, ...            d
#   S             text; no UTF-8: as x                       text                              S
#   x             {"__type__": "bytes" or "base64", ...}     the same                          x
#   T             {"__type__": "datetime", ...}              the same, from 1970 on            T, whole seconds
#   D             {"__type__": "decimal", ...}               the same, of 32 bits              D
#   A F V         array, object, null                        array, object, null               A F V
#
# An object of another `__type__` stays the table that it looks like, and comes out as it went in.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t

from base64 cimport Base64, base64_size, base64_write
from buf cimport Buf
from cur cimport Cur, cur_enter, cur_fail, cur_leave, cur_long, cur_short
from jsonw cimport json_char, json_float, json_hex4, json_i64, json_plain, json_raw, json_room, json_say
from table cimport TABLE_DEPTH, TABLE_INT, table_double, table_int, table_skip, table_tag
from tablepy cimport table_rare
from utf8 cimport is_utf8


cdef inline int json_utf8(Buf* b, const unsigned char* p, size_t n) except -1:
    """A text with its quotes. A byte that is no UTF-8 becomes the surrogate that stands for it (PEP 383)."""
    cdef Py_ssize_t i = 0, plain, size = n, width
    cdef uint32_t v
    json_room(b, n + 2)
    b.p[b.n] = c'"'
    b.n += 1
    while True:
        plain = json_plain(p, i, size)
        json_raw(b, p + i, plain - i)
        i = plain
        if i == size:
            break
        v = p[i]
        width = 1 if v < 0x80 else 2 if v < 0xE0 else 3 if v < 0xF0 else 4
        if width > size - i or width > 1 and not is_utf8(p + i, width):
            json_room(b, 6)
            json_hex4(b, 0xDC00 | v)
            i += 1
            continue
        if width == 2:
            v = (v & 0x1F) << 6 | (p[i + 1] & 0x3F)
        elif width == 3:
            v = (v & 0x0F) << 12 | <uint32_t>(p[i + 1] & 0x3F) << 6 | (p[i + 2] & 0x3F)
        elif width == 4:
            v = ((v & 0x07) << 18 | <uint32_t>(p[i + 1] & 0x3F) << 12 | <uint32_t>(p[i + 2] & 0x3F) << 6
                 | (p[i + 3] & 0x3F))
        json_char(b, v)
        i += width
    return json_say(b, b'"')


cdef inline int json_typed(Buf* b, str name, str text) except -1:
    cdef bytes raw = f'{{"__type__": "{name}", "__value__": "{text}"}}'.encode()
    return json_raw(b, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw))


cdef inline int json_base64(Buf* b, const Base64* t, const unsigned char* p, size_t n) except -1:
    """Bytes as base64, with the quotes."""
    cdef size_t size = base64_size(n)
    json_room(b, size + 2)
    b.p[b.n] = c'"'
    base64_write(t, b.p + b.n + 1, p, n)
    b.p[b.n + 1 + size] = c'"'
    b.n += size + 2
    return 0


cdef inline int json_octets(Buf* b, const Base64* t, const unsigned char* p, size_t n) except -1:
    if is_utf8(p, n):
        json_say(b, b'{"__type__": "bytes", "__value__": ')
        json_utf8(b, p, n)
    else:
        json_say(b, b'{"__type__": "base64", "__value__": ')
        json_base64(b, t, p, n)
    return json_say(b, b"}")


cdef inline int json_from_value(Buf* b, const Base64* t, Cur* c, unsigned char tag, int depth) except -1:
    """Write the value whose tag was just read; a malformed one fails the cursor, and what was written is worthless."""
    cdef const unsigned char* p = c.p
    cdef size_t n
    cdef int64_t v
    if tag == c'S' or tag == c'x':
        p = cur_long(c, &n)
        if p == NULL:
            return 0
        return json_utf8(b, p, n) if tag == c'S' and is_utf8(p, n) else json_octets(b, t, p, n)
    if tag == c'V':
        return json_say(b, b"null")
    if tag == c'F' or tag == c'A':
        return json_from_table(b, t, c, tag, depth)
    if table_int(c, tag, &v) == TABLE_INT:
        return json_i64(b, v)
    table_skip(c, tag, depth)
    if c.bad != NULL:
        return 0
    if tag == c't':
        return json_say(b, b"true") if p[0] else json_say(b, b"false")
    if tag == c'd' or tag == c'f':
        return json_float(b, table_double(p, tag))
    if tag == c'T':
        return json_typed(b, "datetime", table_rare(p, tag).isoformat())
    return json_typed(b, "decimal", str(table_rare(p, tag)))


cdef inline int json_from_table(Buf* b, const Base64* t, Cur* c, unsigned char tag, int depth) except -1:
    """Write a table (F) or an array (A), its length first; as json_from_value()."""
    cdef const unsigned char* outer
    cdef const unsigned char* name
    cdef bint first = True
    cdef size_t n
    if depth >= TABLE_DEPTH:
        cur_fail(c, c.p, b"at most 64 nested tables")
        return 0
    outer = cur_enter(c)
    json_say(b, b"{" if tag == c'F' else b"[")
    while c.p != c.end:
        if not first:
            json_say(b, b", ")
        first = False
        if tag == c'F':
            name = cur_short(c, &n)
            if name == NULL:
                return 0
            json_utf8(b, name, n)
            json_say(b, b": ")
        json_from_value(b, t, c, table_tag(c), depth + 1)
    cur_leave(c, outer)
    return json_say(b, b"}" if tag == c'F' else b"]")
