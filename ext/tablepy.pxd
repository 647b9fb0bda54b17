# Header: Python values from and to AMQP field tables; the types and the layout are in table.pxd.
#
# Readers fail through the cursor and return None or less than all then. Writers raise ValueError, TypeError or
# OverflowError (or MemoryError), and the caller adds where.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from buf cimport Buf, buf_bytes, buf_reserve, buf_u8, buf_u32, buf_u64, store_u32
from cur cimport Cur, cur_enter, cur_fail, cur_leave, cur_long, cur_short, load_u32, load_u64
from table cimport TABLE_DEPTH, TABLE_INT, table_double, table_int, table_skip, table_tag

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* n) except NULL


# --- bytes to values -------------------------------------------------------------------------------------------------

cdef inline object table_text(const unsigned char* p, size_t n):
    # A long string is octets to AMQP; what is no UTF-8 stays bytes, as nothing else would write it back unchanged.
    try:
        return PyUnicode_DecodeUTF8(<const char*>p, n, NULL)
    except UnicodeDecodeError:
        return (<const char*>p)[:n]


cdef inline object table_name(const unsigned char* p, size_t n):
    return PyUnicode_DecodeUTF8(<const char*>p, n, b"surrogateescape")


cdef inline object table_rare(const unsigned char* p, unsigned char tag):
    # A header has no module of its own to import into; these two are rare.
    if tag == c'T':
        from datetime import datetime, timezone
        return datetime.fromtimestamp(load_u64(p), timezone.utc)
    from decimal import Decimal
    return Decimal(f"{<int32_t>load_u32(p + 1)}e-{<int>p[0]}")   # from text: exact, whatever the decimal context


cdef inline object table_value(Cur* c, unsigned char tag, int depth):
    """Read a value whose tag was just read. None, and a failed cursor, when it is malformed."""
    cdef const unsigned char* p
    cdef size_t n
    cdef int64_t v
    if tag == c'S' or tag == c'x':
        p = cur_long(c, &n)
        if p == NULL:
            return None
        return table_text(p, n) if tag == c'S' else (<const char*>p)[:n]
    if tag == c'F':
        return table_read(c, depth)
    if tag == c'A':
        return table_array(c, depth)
    if table_int(c, tag, &v) == TABLE_INT:
        return v
    p = c.p
    table_skip(c, tag, depth)
    if c.bad != NULL or tag == c'V':
        return None
    if tag == c't':
        return p[0] != 0
    if tag == c'd' or tag == c'f':
        return table_double(p, tag)
    return table_rare(p, tag)


cdef inline object table_array(Cur* c, int depth):
    cdef const unsigned char* outer
    cdef list values = []
    if depth >= TABLE_DEPTH:
        cur_fail(c, c.p, b"at most 64 nested tables")
        return values
    outer = cur_enter(c)
    while c.p != c.end:
        values.append(table_value(c, table_tag(c), depth + 1))
    cur_leave(c, outer)
    return values


cdef inline object table_read(Cur* c, int depth):
    """Read a table, its length first. Of equal names the last counts."""
    cdef const unsigned char* outer
    cdef const unsigned char* p
    cdef size_t n
    cdef dict values = {}
    if depth >= TABLE_DEPTH:
        cur_fail(c, c.p, b"at most 64 nested tables")
        return values
    outer = cur_enter(c)
    while c.p != c.end:
        p = cur_short(c, &n)
        if p == NULL:
            break
        name = table_name(p, n)
        values[name] = table_value(c, table_tag(c), depth + 1)
    cur_leave(c, outer)
    return values


# --- values to bytes -------------------------------------------------------------------------------------------------

cdef inline int table_memory(int status) except -1:
    if status != 0:
        raise MemoryError
    return 0


cdef inline int table_put_name(Buf* b, object name) except -1:
    cdef bytes raw
    if not isinstance(name, str):
        raise TypeError(f"a name must be text, not {type(name).__name__}")
    raw = (<str>name).encode("utf-8", "surrogateescape")
    if PyBytes_GET_SIZE(raw) > 255:
        raise ValueError("a name may have 255 bytes at most")
    table_memory(buf_u8(b, <unsigned char>PyBytes_GET_SIZE(raw)))
    return table_memory(buf_bytes(b, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw)))


cdef inline int table_put_long(Buf* b, unsigned char tag, const void* p, size_t n) except -1:
    if n > 0xFFFFFFFF:
        raise OverflowError("a long string may have 4 GiB at most")
    table_memory(buf_reserve(b, 5 + n))
    b.p[b.n] = tag
    store_u32(b.p + b.n + 1, <uint32_t>n)
    b.n += 5
    return table_memory(buf_bytes(b, p, n))


cdef inline int table_put_int(Buf* b, object value) except -1:
    cdef int64_t v
    try:
        v = value
    except OverflowError:
        raise OverflowError("an integer may have 64 bits at most") from None
    # -2**31 goes out as L: Celery's client keeps I for what is symmetric.
    if -INT32_MAX <= v <= INT32_MAX:
        table_memory(buf_u8(b, c'I'))
        return table_memory(buf_u32(b, <uint32_t>v))
    table_memory(buf_u8(b, c'L'))
    return table_memory(buf_u64(b, <uint64_t>v))


cdef inline int table_put_float(Buf* b, double value) except -1:
    cdef uint64_t raw
    memcpy(&raw, &value, 8)
    table_memory(buf_u8(b, c'd'))
    return table_memory(buf_u64(b, raw))


cdef inline int table_put_decimal(Buf* b, object value) except -1:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or not -255 <= exponent <= 9 or len(digits) > 255:
        raise OverflowError(f"{value} has no form as a scaled integer of 32 bits")
    unscaled = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
    if unscaled > INT32_MAX:
        raise OverflowError(f"{value} has no form as a scaled integer of 32 bits")
    table_memory(buf_u8(b, c'D'))
    table_memory(buf_u8(b, <unsigned char>max(-exponent, 0)))
    return table_memory(buf_u32(b, <uint32_t><int32_t>(-unscaled if sign else unscaled)))


cdef inline uint64_t table_seconds(object moment) except? 0:
    """Unix seconds of a datetime; without offset it is UTC, as everywhere on this wire."""
    from calendar import timegm
    seconds = timegm(moment.utctimetuple())
    if seconds < 0:
        raise ValueError("a time before 1970 has no form on the wire")
    return seconds


cdef inline int table_put_rare(Buf* b, object value) except -1:
    from datetime import datetime
    from decimal import Decimal
    if isinstance(value, Decimal):
        return table_put_decimal(b, value)
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} has no form in a table")
    table_memory(buf_u8(b, c'T'))
    return table_memory(buf_u64(b, table_seconds(value)))


cdef inline int table_put(Buf* b, object value, int depth) except -1:
    """Write tag and payload of one value, typed as Celery's client types it."""
    cdef const char* p
    cdef Py_ssize_t n
    if value is None:
        return table_memory(buf_u8(b, c'V'))
    if isinstance(value, str):
        p = PyUnicode_AsUTF8AndSize(value, &n)
        return table_put_long(b, c'S', p, n)
    if isinstance(value, bool):
        table_memory(buf_u8(b, c't'))
        return table_memory(buf_u8(b, <bint>value))
    if isinstance(value, int):
        return table_put_int(b, value)
    if isinstance(value, float):
        return table_put_float(b, value)
    if isinstance(value, bytes):
        return table_put_long(b, c'S', PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    if isinstance(value, dict):
        table_memory(buf_u8(b, c'F'))
        return table_write(b, value, depth)
    if isinstance(value, (list, tuple)):
        table_memory(buf_u8(b, c'A'))
        return table_put_array(b, value, depth)
    return table_put_rare(b, value)


cdef inline int table_close(Buf* b, size_t start) except -1:
    # The length in front of what begins at *start*, known only now.
    if b.n - start > 0xFFFFFFFF:
        raise OverflowError("a table may have 4 GiB at most")
    store_u32(b.p + start - 4, <uint32_t>(b.n - start))
    return 0


cdef inline int table_put_array(Buf* b, object values, int depth) except -1:
    cdef size_t start
    if depth >= TABLE_DEPTH:
        raise ValueError("tables may be nested 64 deep at most")
    table_memory(buf_u32(b, 0))
    start = b.n
    for value in values:
        table_put(b, value, depth + 1)
    return table_close(b, start)


cdef inline int table_write(Buf* b, dict values, int depth) except -1:
    """Write a table, its length first, in the order of the mapping."""
    cdef size_t start
    if depth >= TABLE_DEPTH:
        raise ValueError("tables may be nested 64 deep at most")
    table_memory(buf_u32(b, 0))
    start = b.n
    for name, value in values.items():
        table_put_name(b, name)
        table_put(b, value, depth + 1)
    return table_close(b, start)
