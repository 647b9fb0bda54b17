# Header: a JSON writer for plain values, byte for byte what json.dumps() writes with its defaults (ASCII only,
# separators ", " and ": ").
#
# It knows exactly None, bool, int, float, str, list, tuple, and dict with str keys. Anything else, subclasses
# too, and what is nested deeper than JSON_DEPTH (so a list that contains itself) is JSON_UNFIT: a slower writer knows
# what to do or how to refuse. No Python code runs during the walk, so nothing can change under it; without a GIL
# the critical sections see to that, and each step looks at the size again, since a nested section suspends the outer.

cimport cython
from cpython.dict cimport PyDict_Next
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.math cimport isinf, isnan
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from buf cimport Buf, buf_bytes, buf_reserve

cdef extern from "Python.h":
    bint PyLong_CheckExact(object value)
    bint PyFloat_CheckExact(object value)
    bint PyUnicode_CheckExact(object value)
    bint PyList_CheckExact(object value)
    bint PyTuple_CheckExact(object value)
    bint PyDict_CheckExact(object value)
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1
    char* PyOS_double_to_string(double value, char code, int precision, int flags, int* kind) except NULL
    int Py_DTSF_ADD_DOT_0
    int PyUnicode_KIND(object text)
    const void* PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    uint32_t PyUnicode_READ(int kind, const void* data, Py_ssize_t i)

cdef enum:
    JSON_OK = 0
    JSON_UNFIT = 1              # not for this writer; what it wrote so far is worthless
    JSON_DEPTH = 64             # nested containers; each level costs a C stack frame


cdef inline int json_raw(Buf* b, const void* p, size_t n) except -1:
    if buf_bytes(b, p, n) != 0:
        raise MemoryError
    return JSON_OK


cdef inline int json_say(Buf* b, const char* literal) except -1:
    """Write a constant; the compiler counts it."""
    return json_raw(b, literal, strlen(literal))


cdef inline int json_room(Buf* b, size_t n) except -1:
    if buf_reserve(b, n) != 0:
        raise MemoryError
    return JSON_OK


cdef inline bint json_is_plain(unsigned char v) noexcept nogil:
    """Does the character stand for itself?"""
    return 0x20 <= v < 0x7F and v != c'"' and v != c'\\'


cdef inline Py_ssize_t json_plain(const unsigned char* p, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """The first index from *i* on that must be escaped, or *n*; eight characters at a time while that is easy."""
    cdef uint64_t word, quote, slash, odd
    cdef uint64_t ones = 0x0101010101010101U
    while n - i >= 8:
        memcpy(&word, p + i, 8)
        quote = word ^ (ones * 0x22)
        slash = word ^ (ones * 0x5C)
        # The high bit of a byte gets set if the byte is < 0x20, >= 0x7F, a quote or a backslash. Borrow and carry may
        # set it for a neighbour as well: the byte loop below has the last word.
        odd = (word - ones * 0x20) & ~word | (quote - ones) & ~quote | (slash - ones) & ~slash | (word + ones) | word
        if odd & (ones * 0x80):
            break
        i += 8
    while i < n and json_is_plain(p[i]):
        i += 1
    return i


cdef inline void json_hex4(Buf* b, uint32_t unit) noexcept:
    # \uXXXX; the caller has reserved 6 bytes.
    cdef unsigned char* p = b.p + b.n
    cdef const char* digits = b"0123456789abcdef"
    p[0] = c'\\'
    p[1] = c'u'
    p[2] = digits[unit >> 12 & 15]
    p[3] = digits[unit >> 8 & 15]
    p[4] = digits[unit >> 4 & 15]
    p[5] = digits[unit & 15]
    b.n += 6


cdef inline int json_char(Buf* b, uint32_t v) except -1:
    """One character, escaped if need be."""
    cdef unsigned char short_form = 0
    json_room(b, 12)
    if v < 0x7F and json_is_plain(<unsigned char>v):
        b.p[b.n] = <unsigned char>v
        b.n += 1
        return JSON_OK
    if v == c'"' or v == c'\\':
        short_form = <unsigned char>v
    elif v == c'\n':
        short_form = c'n'
    elif v == c'\r':
        short_form = c'r'
    elif v == c'\t':
        short_form = c't'
    elif v == c'\b':
        short_form = c'b'
    elif v == c'\f':
        short_form = c'f'
    if short_form:
        b.p[b.n] = c'\\'
        b.p[b.n + 1] = short_form
        b.n += 2
    elif v < 0x10000:
        json_hex4(b, v)
    else:
        v -= 0x10000
        json_hex4(b, 0xD800 | v >> 10)
        json_hex4(b, 0xDC00 | v & 0x3FF)
    return JSON_OK


cdef inline int json_text(Buf* b, object text) except -1:
    cdef int kind = PyUnicode_KIND(text)
    cdef const void* data = PyUnicode_DATA(text)
    cdef Py_ssize_t i = 0, plain, n = PyUnicode_GET_LENGTH(text)
    json_raw(b, b'"', 1)
    while i < n:
        if kind == 1:
            plain = json_plain(<const unsigned char*>data, i, n)
            json_raw(b, <const unsigned char*>data + i, plain - i)
            i = plain
            if i == n:
                break
        json_char(b, PyUnicode_READ(kind, data, i))
        i += 1
    return json_raw(b, b'"', 1)


cdef inline int json_long_int(Buf* b, object value) except -1:
    try:
        digits = repr(value)
    except ValueError:          # more digits than the interpreter agrees to print
        return JSON_UNFIT
    return json_raw(b, PyUnicode_DATA(digits), PyUnicode_GET_LENGTH(digits))


cdef inline int json_i64(Buf* b, int64_t v) except -1:
    cdef unsigned char digits[20]
    cdef int at = 20
    cdef uint64_t rest = <uint64_t>v if v >= 0 else 0 - <uint64_t>v
    while True:
        at -= 1
        digits[at] = <unsigned char>(c'0' + rest % 10)
        rest //= 10
        if rest == 0:
            break
    if v < 0:
        at -= 1
        digits[at] = c'-'
    return json_raw(b, digits + at, 20 - at)


cdef inline int json_int(Buf* b, object value) except -1:
    cdef int overflow
    cdef long long v = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        return json_long_int(b, value)
    return json_i64(b, v)


cdef inline int json_float(Buf* b, double value) except -1:
    cdef char* text
    if isnan(value):
        return json_raw(b, b"NaN", 3)
    if isinf(value):
        return json_raw(b, b"Infinity", 8) if value > 0 else json_raw(b, b"-Infinity", 9)
    text = PyOS_double_to_string(value, c'r', 0, Py_DTSF_ADD_DOT_0, NULL)
    try:
        return json_raw(b, text, strlen(text))
    finally:
        PyMem_Free(text)


cdef inline int json_list(Buf* b, object values, int depth) except -1:
    cdef Py_ssize_t i = 0
    json_raw(b, b"[", 1)
    while i < PyList_GET_SIZE(values):
        if i:
            json_raw(b, b", ", 2)
        item = <object>PyList_GET_ITEM(values, i)
        if json_value(b, item, depth) != JSON_OK:
            return JSON_UNFIT
        i += 1
    return json_raw(b, b"]", 1)


cdef inline int json_tuple(Buf* b, object values, int depth) except -1:
    cdef Py_ssize_t i = 0
    json_raw(b, b"[", 1)
    while i < PyTuple_GET_SIZE(values):
        if i:
            json_raw(b, b", ", 2)
        if json_value(b, <object>PyTuple_GET_ITEM(values, i), depth) != JSON_OK:
            return JSON_UNFIT
        i += 1
    return json_raw(b, b"]", 1)


cdef inline int json_dict(Buf* b, object values, int depth) except -1:
    cdef Py_ssize_t at = 0
    cdef PyObject* name
    cdef PyObject* value
    cdef bint first = True
    json_raw(b, b"{", 1)
    while PyDict_Next(values, &at, &name, &value):
        key = <object>name
        item = <object>value
        if not PyUnicode_CheckExact(key):
            return JSON_UNFIT
        if not first:
            json_raw(b, b", ", 2)
        first = False
        json_text(b, key)
        json_raw(b, b": ", 2)
        if json_value(b, item, depth) != JSON_OK:
            return JSON_UNFIT
    return json_raw(b, b"}", 1)


cdef inline int json_value(Buf* b, object value, int depth) except -1:
    """Write one value inside *depth* containers: JSON_OK or JSON_UNFIT; raises MemoryError."""
    cdef int status
    if PyUnicode_CheckExact(value):
        return json_text(b, value)
    if PyLong_CheckExact(value):
        return json_int(b, value)
    if value is None:
        return json_raw(b, b"null", 4)
    if value is True:
        return json_raw(b, b"true", 4)
    if value is False:
        return json_raw(b, b"false", 5)
    if PyFloat_CheckExact(value):
        return json_float(b, PyFloat_AS_DOUBLE(value))
    if depth >= JSON_DEPTH:
        return JSON_UNFIT
    if PyTuple_CheckExact(value):
        return json_tuple(b, value, depth + 1)
    if PyList_CheckExact(value):
        with cython.critical_section(value):
            status = json_list(b, value, depth + 1)
        return status
    if PyDict_CheckExact(value):
        with cython.critical_section(value):
            status = json_dict(b, value, depth + 1)
        return status
    return JSON_UNFIT
