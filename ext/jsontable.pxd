# Header: AMQP field tables from JSON as kombu writes it; what becomes what is in tablejson.pxd.
#
# All read from a cursor over bytes that are known to be UTF-8, and write to a buffer. What is malformed fails the
# cursor, and what was written is worthless then; the only exception is MemoryError.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.math cimport INFINITY, NAN
from libc.stdint cimport INT32_MAX, INT64_MAX, UINT32_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from buf cimport Buf, buf_bytes, buf_free, buf_init, store_u32, store_u64
from cur cimport Cur, cur_fail
from jsonr cimport (
    JSON_BIG, JSON_INT, JSON_NO_NUMBER, JsonNumber, json_key, json_more, json_number, json_opens, json_word,
)
from jsontext cimport JsonText, json_peek, json_text_comes, json_unescape
from jsonw cimport json_room
from tablepy cimport table_memory, table_put, table_put_long

cdef extern from "Python.h":
    double json_strtod "PyOS_string_to_double"(const char* text, char** end, void* overflow_error) except? -1.0


cdef inline void put_i64(Buf* b, int64_t v) noexcept nogil:
    # Typed as in tablepy.pxd. There is room for 9 bytes.
    if -INT32_MAX <= v <= INT32_MAX:
        b.p[b.n] = c'I'
        store_u32(b.p + b.n + 1, <uint32_t>v)
        b.n += 5
    else:
        b.p[b.n] = c'L'
        store_u64(b.p + b.n + 1, <uint64_t>v)
        b.n += 9


cdef inline void put_double(Buf* b, double v) noexcept nogil:
    cdef uint64_t raw
    memcpy(&raw, &v, 8)
    b.p[b.n] = c'd'
    store_u64(b.p + b.n + 1, raw)
    b.n += 9


cdef inline double real_of(const JsonNumber* number) except? -1.0:
    cdef char few[40]
    cdef char* text = few
    if number.n >= sizeof(few):
        text = <char*>PyMem_Malloc(number.n + 1)
        if text == NULL:
            raise MemoryError
    try:
        memcpy(text, number.p, number.n)
        text[number.n] = 0
        return json_strtod(text, NULL, NULL)
    finally:
        if text != few:
            PyMem_Free(text)


cdef inline int table_from_number(Buf* b, Cur* c) except -1:
    cdef JsonNumber number
    cdef int kind
    if c.end - c.p > 1 and c.p[0] == c'-' and c.p[1] == c'I':
        if json_word(c, b"-Infinity", 9):
            put_double(b, -INFINITY)
        return 0
    kind = json_number(c, &number)
    if kind == JSON_NO_NUMBER:
        return 0
    if kind == JSON_INT and number.size <= <uint64_t>INT64_MAX + number.negative:
        put_i64(b, <int64_t>(0 - number.size if number.negative else number.size))
    elif kind == JSON_INT or kind == JSON_BIG:
        cur_fail(c, number.p, b"an integer of 64 bits at most")
    else:
        put_double(b, real_of(&number))
    return 0


cdef inline int table_from_text(Buf* b, Cur* c) except -1:
    cdef JsonText text
    cdef Py_ssize_t n
    if not json_text_comes(c, &text):
        return 0
    if text.n > UINT32_MAX:
        cur_fail(c, text.p, b"a text of less than 4 GiB")
        return 0
    json_room(b, 5 + text.n + 16)
    b.p[b.n] = c'S'
    b.n += 5
    if text.n <= 16 and not text.escaped and c.end - text.p >= 16:
        memcpy(b.p + b.n, text.p, 16)           # of a fixed size, it costs no call
        n = text.n
    else:
        n = json_unescape(c, &text, b.p + b.n)
        if n < 0:
            return 0
    store_u32(b.p + b.n - 4, <uint32_t>n)
    b.n += n
    return 0


cdef inline bint table_name_comes(Buf* b, Cur* c, JsonText* key) except -1:
    """Take the name of a member and its colon, write it as a short string. False: the cursor has failed."""
    cdef Py_ssize_t n
    if not json_key(c, key):
        return False
    json_room(b, 1 + key.n + 16)
    if key.n <= 16 and not key.escaped and c.end - key.p >= 16:
        memcpy(b.p + b.n + 1, key.p, 16)
        n = key.n
    else:
        n = json_unescape(c, key, b.p + b.n + 1)
        if n < 0:
            return False
        if n > 255:
            cur_fail(c, key.p, b"a name of 255 bytes at most")
            return False
    b.p[b.n] = <unsigned char>n
    b.n += 1 + n
    return True


cdef inline object typed_value(bytes raw):
    """The value of an object with `__type__` and `__value__`; None when AMQP has no type for it."""
    from base64 import b64decode
    from datetime import datetime
    from decimal import Decimal
    from json import loads
    found = loads(raw)
    kind, value = found["__type__"], found["__value__"]
    if kind == "bytes":
        return value.encode()
    if kind == "base64":
        return b64decode(value.encode())
    if kind == "datetime":
        return datetime.fromisoformat(value.removesuffix("Z") + "+00:00" if value.endswith("Z") else value)
    return Decimal(value) if kind == "decimal" else None


cdef inline int table_put_typed(Buf* b, size_t at, const unsigned char* p, size_t n) except -1:
    """Write one of kombu's typed objects over the table that stands at *at*, unless it has no type of its own."""
    cdef Buf typed
    buf_init(&typed)
    try:
        value = typed_value(PyBytes_FromStringAndSize(<const char*>p, n))
        if value is None:
            return 0
        if isinstance(value, bytes):
            table_put_long(&typed, c'x', PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
        else:
            table_put(&typed, value, 1)
        b.n = at
        return table_memory(buf_bytes(b, typed.p, typed.n))
    except (ValueError, TypeError, AttributeError, ArithmeticError):
        return 0            # it stays what it was
    finally:
        buf_free(&typed)


cdef inline int table_from_object(Buf* b, Cur* c, int depth) except -1:
    """A table, its length first, from the object whose bracket comes next; its tag, if any, is written already."""
    cdef const unsigned char* start = c.p
    cdef size_t at = b.n, name
    cdef JsonText key
    cdef int kinds = 0
    cdef bint more = json_opens(c, c'}', depth)
    json_room(b, 4)
    b.n += 4
    while more:
        name = b.n
        if not table_name_comes(b, c, &key):
            return 0
        if b.p[name] == 8 and memcmp(b.p + name + 1, b"__type__", 8) == 0:
            kinds |= 1
        elif b.p[name] == 9 and memcmp(b.p + name + 1, b"__value__", 9) == 0:
            kinds |= 2
        else:
            kinds = 4
        table_from_json(b, c, depth + 1)
        more = json_more(c, c'}')
    if c.bad == NULL:
        table_end(b, at, c)
    if kinds == 3 and c.bad == NULL and depth:
        return table_put_typed(b, at - 1, start, c.p - start)
    return 0


cdef inline void table_end(Buf* b, size_t at, Cur* c) noexcept nogil:
    if b.n - at - 4 > UINT32_MAX:
        cur_fail(c, c.p, b"a table of less than 4 GiB")
    else:
        store_u32(b.p + at, <uint32_t>(b.n - at - 4))


cdef inline int table_from_array(Buf* b, Cur* c, int depth) except -1:
    cdef size_t at = b.n
    cdef bint more = json_opens(c, c']', depth)
    json_room(b, 4)
    b.n += 4
    while more:
        table_from_json(b, c, depth + 1)
        more = json_more(c, c']')
    if c.bad == NULL:
        table_end(b, at, c)
    return 0


cdef inline int table_from_json(Buf* b, Cur* c, int depth) except -1:
    """Tag and payload of the value that comes next, inside *depth* containers."""
    cdef unsigned char v = json_peek(c)
    json_room(b, 9)
    if v == c'"':
        return table_from_text(b, c)
    if v == c'{' or v == c'[':
        b.p[b.n] = c'F' if v == c'{' else c'A'
        b.n += 1
        return table_from_object(b, c, depth) if v == c'{' else table_from_array(b, c, depth)
    if v == c'n':
        if json_word(c, b"null", 4):
            b.p[b.n] = c'V'
            b.n += 1
    elif v == c't' or v == c'f':
        if json_word(c, b"true" if v == c't' else b"false", 4 if v == c't' else 5):
            b.p[b.n] = c't'
            b.p[b.n + 1] = v == c't'
            b.n += 2
    elif v == c'N':
        if json_word(c, b"NaN", 3):
            put_double(b, NAN)
    elif v == c'I':
        if json_word(c, b"Infinity", 8):
            put_double(b, INFINITY)
    else:
        return table_from_number(b, c)
    return 0
