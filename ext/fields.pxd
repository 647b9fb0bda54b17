# Header: the methods of AMQP 0-9-1, and their arguments from and to Python values. The table is in methods.h.
#
# Readers fail through the cursor. Writers raise TypeError or ValueError, naming method and argument.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from buf cimport Buf, buf_bytes, buf_u8, buf_u16, buf_u32, buf_u64
from cur cimport Cur, cur_fail, cur_long, cur_short, cur_take, load_u16, load_u32, load_u64
from tablepy cimport (
    PyUnicode_AsUTF8AndSize, table_memory, table_name, table_put_name, table_read, table_text, table_write,
)

cdef extern from "methods.h":
    ctypedef struct Method "fq_method":
        uint32_t number
        bint carries
        const char* name
        const char* form
        const char* fields

    const Method METHOD_TABLE "fq_methods" []
    const int METHOD_COUNT "FQ_METHODS"
    const Method* find_method "fq_find_method"(uint32_t number) noexcept nogil


cdef inline tuple field_names(const Method* method):
    return tuple(method.fields.decode().split())


# --- values to bytes -------------------------------------------------------------------------------------------------

cdef inline uint64_t field_int(object value, int bits) except? 0:
    if not isinstance(value, int):
        raise TypeError(f"an integer is needed, not {type(value).__name__}")
    if value < 0 or value >> bits:
        raise ValueError(f"{value} is no unsigned integer of {bits} bits")
    return value


cdef inline int field_put_long(Buf* b, object value) except -1:
    cdef const char* p
    cdef Py_ssize_t n
    if isinstance(value, bytes):
        p, n = PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
    elif isinstance(value, str):
        p = PyUnicode_AsUTF8AndSize(value, &n)
    else:
        raise TypeError(f"text or bytes are needed, not {type(value).__name__}")
    table_memory(buf_u32(b, <uint32_t>field_int(n, 32)))
    return table_memory(buf_bytes(b, p, n))


cdef inline int field_put(Buf* b, char kind, object value) except -1:
    if kind == c's':
        return table_put_name(b, value)
    if kind == c'S':
        return field_put_long(b, value)
    if kind == c'F':
        if not isinstance(value, dict):
            raise TypeError(f"a dict is needed, not {type(value).__name__}")
        return table_write(b, value, 0)
    if kind == c'o':
        return table_memory(buf_u8(b, <unsigned char>field_int(value, 8)))
    if kind == c'h':
        return table_memory(buf_u16(b, <uint16_t>field_int(value, 16)))
    if kind == c'l':
        return table_memory(buf_u32(b, <uint32_t>field_int(value, 32)))
    return table_memory(buf_u64(b, field_int(value, 64)))


cdef inline int field_put_reserved(Buf* b, char kind) except -1:
    if kind == c'x':
        return table_memory(buf_u16(b, 0))
    if kind == c'y':
        return table_memory(buf_u8(b, 0))
    return table_memory(buf_u32(b, 0))


cdef inline int field_put_bit(Buf* b, int bit, object value) except -1:
    # Bits that stand together share an octet, the first in the lowest place.
    if not isinstance(value, int):
        raise TypeError(f"a bool is needed, not {type(value).__name__}")
    if bit == 0:
        table_memory(buf_u8(b, 0))
    if value:
        b.p[b.n - 1] |= 1 << bit
    return 0


cdef inline int fields_write(Buf* b, const Method* method, tuple args) except -1:
    """Write the arguments of *method*, reserved ones as zero."""
    cdef tuple names = field_names(method)
    cdef const char* form = method.form
    cdef Py_ssize_t at = 0
    cdef int bit = 0
    if len(args) != len(names):
        wanted = ", ".join(names) or "no arguments"
        raise TypeError(f"{method.name.decode()} takes {wanted}; {len(args)} arguments were given")
    while form[0]:
        if form[0] == c'z':
            field_put_bit(b, bit, False)
        elif form[0] == c'x' or form[0] == c'y' or form[0] == c'Y':
            field_put_reserved(b, form[0])
        else:
            try:
                if form[0] == c'b':
                    field_put_bit(b, bit, args[at])
                else:
                    field_put(b, form[0], args[at])
            except (TypeError, ValueError, OverflowError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"{method.name.decode()}: {names[at]}: {error}") from error
            at += 1
        bit = (bit + 1) % 8 if form[0] == c'b' or form[0] == c'z' else 0
        form += 1
    return 0


# --- bytes to values -------------------------------------------------------------------------------------------------

cdef inline object field_read(Cur* c, char kind):
    cdef const unsigned char* p
    cdef size_t n
    if kind == c's':
        p = cur_short(c, &n)
        return None if p == NULL else table_name(p, n)
    if kind == c'S':
        p = cur_long(c, &n)
        return None if p == NULL else table_text(p, n)
    if kind == c'F':
        return table_read(c, 0)
    n = 1 if kind == c'o' else 2 if kind == c'h' else 4 if kind == c'l' else 8
    p = cur_take(c, n, b"all bytes of an integer")
    if p == NULL:
        return None
    return p[0] if n == 1 else load_u16(p) if n == 2 else load_u32(p) if n == 4 else load_u64(p)


cdef inline void field_skip(Cur* c, char kind) noexcept nogil:
    cdef size_t n
    if kind == c'x':
        cur_take(c, 2, b"a reserved field")
    elif kind == c'y':
        cur_short(c, &n)
    else:
        cur_long(c, &n)


cdef inline tuple fields_read(Cur* c, const Method* method):
    """The arguments of *method*; all of the cursor must be theirs."""
    cdef const char* form = method.form
    cdef list args = []
    cdef const unsigned char* octet = NULL
    cdef int bit = 0
    while form[0] and c.bad == NULL:
        if form[0] == c'b' or form[0] == c'z':
            if bit == 0:
                octet = cur_take(c, 1, b"an octet of bits")
            if form[0] == c'b' and octet != NULL:
                args.append((octet[0] >> bit & 1) != 0)
            bit = (bit + 1) % 8
        else:
            bit = 0
            if form[0] == c'x' or form[0] == c'y' or form[0] == c'Y':
                field_skip(c, form[0])
            else:
                args.append(field_read(c, form[0]))
        form += 1
    if c.p != c.end:
        cur_fail(c, c.p, b"the end of the method")
    return tuple(args)
