# Header: AMQP 0-9-1 field tables (4.2.5.5), in the dialect that RabbitMQ and Celery's client share.
#
#   table = u32 length, { short string name, value }      array = u32 length, { value }      value = tag, payload
#
#   tag      payload                     Python        tag   payload                         Python
#   t        u8                          bool          S     long string                     str (bytes if no UTF-8)
#   b B      i8 u8                       int           x     long string                     bytes
#   s U u    i16 i16 u16                 int           A     array                           list
#   I i      i32 u32                     int           F     table                           dict
#   l L      i64 i64 (neither unsigned)  int           T     u64 seconds since 1970, UTC     datetime
#   f d      IEEE 754                    float         D     u8 scale, i32 unscaled          Decimal
#                                                      V     nothing                         None
#
# Here without Python objects; tablepy.pxd makes values of them. table_skip() decides what is well-formed: whatever it
# lets pass can be read. All fail through the cursor.

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from cur cimport Cur, cur_enter, cur_fail, cur_leave, cur_long, cur_short, cur_take, load_u16, load_u32, load_u64

cdef enum:
    TABLE_DEPTH = 64            # nested tables and arrays; each level costs a C stack frame
    WIDTH_LONG = -1             # u32 length first
    WIDTH_BAD = -2              # no such type
    TABLE_NO_INT = 0
    TABLE_INT = 1


cdef inline int table_width(unsigned char tag) noexcept nogil:
    """How many bytes follow a tag."""
    if tag == c'V':
        return 0
    if tag == c't' or tag == c'b' or tag == c'B':
        return 1
    if tag == c's' or tag == c'U' or tag == c'u':
        return 2
    if tag == c'I' or tag == c'i' or tag == c'f':
        return 4
    if tag == c'D':
        return 5
    if tag == c'l' or tag == c'L' or tag == c'd' or tag == c'T':
        return 8
    if tag == c'S' or tag == c'x' or tag == c'A' or tag == c'F':
        return WIDTH_LONG
    return WIDTH_BAD


cdef inline unsigned char table_tag(Cur* c) noexcept nogil:
    """The tag of a value; 0 when the cursor has failed."""
    cdef const unsigned char* p = cur_take(c, 1, b"the type of a value")
    return 0 if p == NULL else p[0]


cdef inline void table_skip(Cur* c, unsigned char tag, int depth) noexcept nogil:
    """Step over a value whose tag was just read, checking all that is inside."""
    cdef int width = table_width(tag)
    cdef const unsigned char* p
    cdef size_t n
    if width >= 0:
        p = cur_take(c, width, b"all bytes of a value")
        if tag == c'T' and p != NULL and load_u64(p) > 253402300799ULL:     # what a datetime can hold
            cur_fail(c, p, b"a time before the year 10000")
    elif width == WIDTH_BAD:
        cur_fail(c, c.p - 1, b"a known type of value")
    elif tag == c'S' or tag == c'x':
        cur_long(c, &n)
    else:
        table_skip_nested(c, tag, depth)


cdef inline void table_skip_nested(Cur* c, unsigned char tag, int depth) noexcept nogil:
    cdef const unsigned char* outer
    cdef size_t n
    if depth >= TABLE_DEPTH:
        cur_fail(c, c.p, b"at most 64 nested tables")
        return
    outer = cur_enter(c)
    while c.p != c.end:
        if tag == c'F':
            cur_short(c, &n)
        table_skip(c, table_tag(c), depth + 1)
    cur_leave(c, outer)


cdef inline int table_int(Cur* c, unsigned char tag, int64_t* v) noexcept nogil:
    """Read an integer of any width. TABLE_NO_INT: the tag is of another type, nothing was read."""
    cdef int width
    cdef const unsigned char* p
    if tag == c't' or tag == c'f' or tag == c'd' or tag == c'T' or tag == c'D' or tag == c'V':
        return TABLE_NO_INT
    width = table_width(tag)
    if width < 0:
        return TABLE_NO_INT
    v[0] = 0
    p = cur_take(c, width, b"all bytes of an integer")
    if p == NULL:
        return TABLE_INT
    if width == 8:
        v[0] = <int64_t>load_u64(p)
    elif width == 4:
        v[0] = <int64_t>load_u32(p) if tag == c'i' else <int64_t><int32_t>load_u32(p)
    elif width == 2:
        v[0] = <int64_t>load_u16(p) if tag == c'u' else <int64_t><int16_t>load_u16(p)
    else:
        v[0] = <int64_t>p[0] if tag == c'B' else <int64_t><int8_t>p[0]
    return TABLE_INT


cdef inline double table_double(const unsigned char* p, unsigned char tag) noexcept nogil:
    """The float at *p*, of tag `d` or `f`."""
    cdef uint64_t raw8
    cdef uint32_t raw4
    cdef double wide = 0
    cdef float narrow = 0
    if tag == c'd':
        raw8 = load_u64(p)
        memcpy(&wide, &raw8, 8)
        return wide
    raw4 = load_u32(p)
    memcpy(&narrow, &raw4, 4)
    return narrow
