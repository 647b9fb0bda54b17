# Header: what a worker must know of a message before it decodes it, found in one pass.
#
# Packed content, the form in which messages move inside fastq:
#
#   +----------------+-------------------------------------------+------------------+
#   | u32 BE, P      | P bytes: AMQP 0-9-1 basic properties       | the rest: body   |
#   |                | (u16 flags, then the property list, 4.2.6.1)|                  |
#   +----------------+-------------------------------------------+------------------+
#
# Spans point into the scanned buffer: the caller owns it and keeps it alive.

from libc.math cimport NAN, isfinite, pow
from libc.stdint cimport INT32_MAX, UINT32_MAX, int8_t, int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memset

from cur cimport Cur, cur_enter, cur_fail, cur_init, cur_leave, cur_long, cur_short, cur_take, load_u16, load_u32
from prop cimport (
    PROP_CLUSTER_ID, PROP_CONTENT_ENCODING, PROP_CONTENT_TYPE, PROP_CORRELATION_ID, PROP_DELIVERY_MODE,
    PROP_EXPIRATION, PROP_HEADERS, PROP_NONE, PROP_PRIORITY, PROP_REPLY_TO, PROP_TIMESTAMP,
)
from table cimport table_double, table_int, table_skip, table_tag
from utf8 cimport is_utf8

cdef struct Span:
    const unsigned char* p      # NULL: absent or null
    uint32_t n

cdef enum:
    SCAN_V1 = 1                 # no `task` header: protocol 1, or no task message at all
    SCAN_EMBED = 2              # reserved for callers
    # Well-formed bytes with a value that a worker cannot use. The field counts as absent; a header that is
    # given twice keeps the flag.
    SCAN_BAD_TASK = 4           # `task`: no text, empty, too long, no UTF-8
    SCAN_BAD_ID = 8             # `id`: the same; also absent or null, unless the message is SCAN_V1
    SCAN_BAD_ETA = 16           # `eta`: no text, empty, too long
    SCAN_BAD_EXPIRES = 32       # `expires`: the same
    SCAN_BAD_TIMELIMIT = 64     # `timelimit`: no list of two, each null or a finite number >= 0
    SCAN_BAD_RETRIES = 128      # `retries`: no integer, negative, over 2**31 - 1
    # `root_id`, `parent_id`, `group`, `compression`, `ignore_result`: of a wrong type; `x-fastq-deaths`: as `retries`
    SCAN_BAD_OTHER = 256

cdef enum:
    SCAN_MAX_NAME = 1024        # bytes of `task`, `id`, `root_id`, `parent_id`, `group`, `compression`
    SCAN_MAX_TIME = 64          # bytes of `eta`, `expires`

cdef struct Scan:
    Span task, id, root_id, parent_id, group
    Span eta, expires           # ISO 8601 text
    Span content_type, content_encoding, compression
    Span reply_to, correlation_id
    Span body
    double hard_s, soft_s       # NaN: none
    int32_t retries
    uint32_t deaths             # how many holders of the message died, as fastq counts in `x-fastq-deaths`
    int8_t ignore_result        # -1: absent or null
    uint8_t priority
    uint32_t flags
    uint32_t error_at           # offset of the first bad byte, when scan_content fails


cdef inline void scan_text(Cur* c, unsigned char tag, Scan* out, Span* span, size_t limit, uint32_t bad) noexcept nogil:
    """A text of 1 to *limit* bytes into *span*; null is absent; for anything else set the flag *bad*."""
    cdef const unsigned char* p
    cdef size_t n
    span.p = NULL
    span.n = 0
    if tag != c'S':
        if tag != c'V':
            out.flags |= bad
        table_skip(c, tag, 1)
        return
    p = cur_long(c, &n)
    if 0 < n <= limit:
        span.p = p
        span.n = <uint32_t>n
    else:
        out.flags |= bad


cdef inline bint scan_seconds(Cur* c, double* v) noexcept nogil:
    """One member of a time limit: null (NaN) or a finite number >= 0. False for anything else, which is skipped."""
    cdef unsigned char tag = table_tag(c)
    cdef const unsigned char* p = c.p
    cdef int64_t whole
    v[0] = NAN
    if table_int(c, tag, &whole):
        v[0] = <double>whole
    else:
        table_skip(c, tag, 2)
        if tag == c'V' or c.bad != NULL:
            return True
        if tag == c'd' or tag == c'f':
            v[0] = table_double(p, tag)
        elif tag == c'D':
            v[0] = <double><int32_t>load_u32(p + 1) / pow(10.0, p[0])
    if isfinite(v[0]) and v[0] >= 0:
        return True
    v[0] = NAN
    return False


cdef inline void scan_timelimit(Cur* c, unsigned char tag, Scan* out) noexcept nogil:
    cdef const unsigned char* outer
    cdef double limits[2]
    cdef int n = 0
    cdef bint good = tag == c'A'
    out.hard_s = out.soft_s = NAN
    if not good:
        table_skip(c, tag, 1)
        good = tag == c'V'
    else:
        outer = cur_enter(c)
        while c.p != c.end:
            if n < 2:
                good &= scan_seconds(c, &limits[n])
            else:
                table_skip(c, table_tag(c), 2)
            n += 1
        cur_leave(c, outer)
        good &= n == 2
        if good:
            out.hard_s = limits[0]
            out.soft_s = limits[1]
    if not good:
        out.flags |= SCAN_BAD_TIMELIMIT


cdef inline int32_t scan_count(Cur* c, unsigned char tag, Scan* out, uint32_t bad) noexcept nogil:
    """A count from 0 to 2**31 - 1; null is 0; for anything else 0 and the flag *bad*."""
    cdef int64_t v
    if not table_int(c, tag, &v):
        if tag != c'V':
            out.flags |= bad
        table_skip(c, tag, 1)
        return 0
    if 0 <= v <= INT32_MAX:
        return <int32_t>v
    out.flags |= bad
    return 0


cdef inline void scan_ignore_result(Cur* c, unsigned char tag, Scan* out) noexcept nogil:
    cdef const unsigned char* p = c.p
    cdef int64_t v
    out.ignore_result = -1
    if table_int(c, tag, &v):
        out.ignore_result = v != 0
        return
    table_skip(c, tag, 1)
    if tag == c't' and c.bad == NULL:
        out.ignore_result = p[0] != 0
    elif tag != c'V':
        out.flags |= SCAN_BAD_OTHER


cdef inline void scan_header(Cur* c, const unsigned char* name, size_t n, Scan* out) noexcept nogil:
    """Read the value of one header: into its field if it has one, else step over it."""
    cdef unsigned char tag = table_tag(c)
    if n == 2:
        if memcmp(name, b"id", 2) == 0:
            scan_text(c, tag, out, &out.id, SCAN_MAX_NAME, SCAN_BAD_ID)
            return
    elif n == 3:
        if memcmp(name, b"eta", 3) == 0:
            scan_text(c, tag, out, &out.eta, SCAN_MAX_TIME, SCAN_BAD_ETA)
            return
    elif n == 4:
        if memcmp(name, b"task", 4) == 0:
            scan_text(c, tag, out, &out.task, SCAN_MAX_NAME, SCAN_BAD_TASK)
            return
    elif n == 5:
        if memcmp(name, b"group", 5) == 0:
            scan_text(c, tag, out, &out.group, SCAN_MAX_NAME, SCAN_BAD_OTHER)
            return
    elif n == 7:
        if memcmp(name, b"root_id", 7) == 0:
            scan_text(c, tag, out, &out.root_id, SCAN_MAX_NAME, SCAN_BAD_OTHER)
            return
        if memcmp(name, b"expires", 7) == 0:
            scan_text(c, tag, out, &out.expires, SCAN_MAX_TIME, SCAN_BAD_EXPIRES)
            return
        if memcmp(name, b"retries", 7) == 0:
            out.retries = scan_count(c, tag, out, SCAN_BAD_RETRIES)
            return
    elif n == 9:
        if memcmp(name, b"parent_id", 9) == 0:
            scan_text(c, tag, out, &out.parent_id, SCAN_MAX_NAME, SCAN_BAD_OTHER)
            return
        if memcmp(name, b"timelimit", 9) == 0:
            scan_timelimit(c, tag, out)
            return
    elif n == 11:
        if memcmp(name, b"compression", 11) == 0:
            scan_text(c, tag, out, &out.compression, SCAN_MAX_NAME, SCAN_BAD_OTHER)
            return
    elif n == 13:
        if memcmp(name, b"ignore_result", 13) == 0:
            scan_ignore_result(c, tag, out)
            return
    elif n == 14:
        if memcmp(name, b"x-fastq-deaths", 14) == 0:
            out.deaths = <uint32_t>scan_count(c, tag, out, SCAN_BAD_OTHER)
            return
    table_skip(c, tag, 1)


cdef inline void scan_headers(Cur* c, Scan* out) noexcept nogil:
    cdef const unsigned char* outer = cur_enter(c)
    cdef const unsigned char* name
    cdef size_t n
    while c.p != c.end:
        name = cur_short(c, &n)
        if name != NULL:
            scan_header(c, name, n, out)
    cur_leave(c, outer)


cdef inline void scan_short(Cur* c, Span* span) noexcept nogil:
    cdef size_t n
    span.p = cur_short(c, &n)
    span.n = <uint32_t>n


cdef inline void scan_properties(Cur* c, Scan* out) noexcept nogil:
    """Read a flag word and the properties that it announces; all of the cursor must be theirs."""
    cdef const unsigned char* p = cur_take(c, 2, b"the flag word of the properties")
    cdef unsigned int flags, bit
    cdef Span skipped
    if p == NULL:
        return
    flags = load_u16(p)
    if flags & PROP_NONE:
        cur_fail(c, p, b"only flags of basic properties")
        return
    if flags & PROP_CONTENT_TYPE:
        scan_short(c, &out.content_type)
    if flags & PROP_CONTENT_ENCODING:
        scan_short(c, &out.content_encoding)
    if flags & PROP_HEADERS:
        scan_headers(c, out)
    if flags & PROP_DELIVERY_MODE:
        cur_take(c, 1, b"the delivery mode")
    if flags & PROP_PRIORITY:
        p = cur_take(c, 1, b"the priority")
        out.priority = 0 if p == NULL else p[0]
    if flags & PROP_CORRELATION_ID:
        scan_short(c, &out.correlation_id)
    if flags & PROP_REPLY_TO:
        scan_short(c, &out.reply_to)
    bit = PROP_EXPIRATION
    while bit >= PROP_CLUSTER_ID:
        if flags & bit:
            if bit == PROP_TIMESTAMP:
                cur_take(c, 8, b"the timestamp")
            else:
                scan_short(c, &skipped)
        bit >>= 1


cdef inline void scan_cursor(Cur* c, Scan* out) noexcept nogil:
    """Scan the packed content under the cursor; a failure stays in the cursor."""
    cdef const unsigned char* outer
    memset(out, 0, sizeof(Scan))
    out.hard_s = out.soft_s = NAN
    out.ignore_result = -1
    outer = cur_enter(c)
    scan_properties(c, out)
    cur_leave(c, outer)
    if c.bad == NULL and <size_t>(c.end - c.p) > UINT32_MAX:
        cur_fail(c, c.p, b"a body of less than 4 GiB")
    if c.bad != NULL:
        return
    out.body.p = c.p
    out.body.n = <uint32_t>(c.end - c.p)
    if out.task.p != NULL and not is_utf8(out.task.p, out.task.n):
        out.task.p = NULL
        out.flags |= SCAN_BAD_TASK
    if out.id.p != NULL and not is_utf8(out.id.p, out.id.n):
        out.id.p = NULL
    if out.task.p == NULL and not out.flags & SCAN_BAD_TASK:
        out.flags |= SCAN_V1
    elif out.id.p == NULL:
        out.flags |= SCAN_BAD_ID


cdef inline int scan_content(const unsigned char* p, size_t n, Scan* out) noexcept nogil:
    """Scan packed content: 0, or 1 with the offset of the first bad byte in `out.error_at`.

    Reads only p[0:n], makes no Python object, needs no GIL. On failure only `error_at` means anything.
    """
    cdef Cur c
    cur_init(&c, p, n)
    scan_cursor(&c, out)
    if c.bad == NULL:
        return 0
    out.error_at = <uint32_t>(c.bad - p)
    return 1
