"""kombu's envelope, the JSON text that Redis holds for a message, from and to packed content.

1. dump() and parse() turn one message (scan.pxd, tablejson.pxd, jsontable.pxd); gather() many, into a batch (rows.pxd).
2. mark() edits an envelope whose holder died, and leaves all else of it as it was.

No sockets, settings or clocks. kombu.pyi tells what callers may expect.
"""

import os
from os import urandom

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport UINT32_MAX, UINT64_MAX, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcmp, memcpy, memmove, memset

from base64 cimport Base64, base64_init, base64_read
from buf cimport Buf, buf_free, buf_init, store_u16, store_u32, store_u64
from bulks cimport bulk_next
from cur cimport Cur, cur_enter, cur_fail, cur_init, cur_leave, cur_short, cur_take, load_u16, load_u32, load_u64
from jsonr cimport (
    JSON_INT, JSON_NO_NUMBER, JSON_REAL, JsonNumber, json_key, json_more, json_number, json_opens, json_skip,
)
from jsontable cimport real_of, table_end, table_from_json, table_name_comes, typed_value
from jsontext cimport JsonText, json_peek, json_text_comes, json_unescape
from jsonw cimport json_i64, json_raw, json_room, json_say
from prop cimport (
    PROP_APP_ID, PROP_CLUSTER_ID, PROP_CONTENT_ENCODING, PROP_CONTENT_TYPE, PROP_CORRELATION_ID, PROP_DELIVERY_MODE,
    PROP_EXPIRATION, PROP_HEADERS, PROP_MESSAGE_ID, PROP_NONE, PROP_PRIORITY, PROP_REPLY_TO, PROP_TIMESTAMP, PROP_TYPE,
    PROP_USER_ID,
)
from rows cimport ROW_HEAD, ROW_MARKED_BIT, ROW_REDELIVERED_BIT, Batch, batch_give, row_put, row_size
from scan cimport Scan, scan_content
from tablejson cimport json_base64, json_from_table, json_utf8
from tablepy cimport PyUnicode_AsUTF8AndSize, table_seconds
from utf8 cimport is_utf8

from fastq._ext.batch import Rows
from fastq._ext.resp import Bulks
from fastq.exceptions import DecodeError, FrameError

cdef Base64 BASE64
base64_init(&BASE64)

cdef bytes HEX = bytes(range(256)).hex().encode()       # "000102..ff"
cdef const char* HEX_PAIRS = PyBytes_AS_STRING(HEX)


# --- delivery tags ---------------------------------------------------------------------------------------------------

cdef enum:
    UUID_BLOCK = 400 * 16       # random bytes, fetched at once


@cython.final
cdef class _Random:
    """Random bytes, fetched from the system by the block; each is handed out once, in one process only."""
    cdef bytes block
    cdef Py_ssize_t at

    def __cinit__(self):
        self.forget()

    def forget(self):
        """Drop what is left, as a forked child must."""
        self.block = b""
        self.at = 0

    cdef int uuid(self, unsigned char* out) except -1:
        """Write a new UUID of version 4 as 36 characters."""
        cdef unsigned char raw[16]
        cdef int i
        with cython.critical_section(self):
            # urandom lets other threads in: only what stands after it is one step.
            if self.at + 16 > PyBytes_GET_SIZE(self.block):
                block = urandom(UUID_BLOCK)
                self.block = block
                self.at = 0
            memcpy(raw, PyBytes_AS_STRING(self.block) + self.at, 16)
            self.at += 16
        raw[6] = 0x40 | raw[6] & 0x0F       # RFC 9562: version 4
        raw[8] = 0x80 | raw[8] & 0x3F       # and its variant
        for i in range(16):
            if i == 4 or i == 6 or i == 8 or i == 10:
                out[0] = c'-'
                out += 1
            memcpy(out, HEX_PAIRS + 2 * raw[i], 2)
            out += 2
        return 0


cdef _Random RANDOM = _Random()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=RANDOM.forget)


# --- properties ------------------------------------------------------------------------------------------------------

cdef enum:                      # the properties that are short strings, by their places in an array
    TEXT_CONTENT_TYPE = 0
    TEXT_CONTENT_ENCODING
    TEXT_CORRELATION_ID
    TEXT_REPLY_TO
    TEXT_EXPIRATION
    TEXT_MESSAGE_ID
    TEXT_TYPE
    TEXT_USER_ID
    TEXT_APP_ID
    TEXT_CLUSTER_ID
    TEXTS = 10

cdef struct Span:
    const unsigned char* p      # NULL: absent
    size_t n

cdef struct Name:
    const char* p
    size_t n

cdef struct Place:
    unsigned int flag
    Name name                   # kombu's

# In the order of AMQP's list of properties; headers come after the second, the numbers are written in between.
cdef Place PLACES[TEXTS]
PLACES[TEXT_CONTENT_TYPE] = Place(PROP_CONTENT_TYPE, Name(b"content-type", 12))
PLACES[TEXT_CONTENT_ENCODING] = Place(PROP_CONTENT_ENCODING, Name(b"content-encoding", 16))
PLACES[TEXT_CORRELATION_ID] = Place(PROP_CORRELATION_ID, Name(b"correlation_id", 14))
PLACES[TEXT_REPLY_TO] = Place(PROP_REPLY_TO, Name(b"reply_to", 8))
PLACES[TEXT_EXPIRATION] = Place(PROP_EXPIRATION, Name(b"expiration", 10))
PLACES[TEXT_MESSAGE_ID] = Place(PROP_MESSAGE_ID, Name(b"message_id", 10))
PLACES[TEXT_TYPE] = Place(PROP_TYPE, Name(b"type", 4))
PLACES[TEXT_USER_ID] = Place(PROP_USER_ID, Name(b"user_id", 7))
PLACES[TEXT_APP_ID] = Place(PROP_APP_ID, Name(b"app_id", 6))
PLACES[TEXT_CLUSTER_ID] = Place(PROP_CLUSTER_ID, Name(b"cluster_id", 10))


# --- packed content to an envelope -----------------------------------------------------------------------------------

cdef struct Content:            # points into the packed content
    unsigned int flags
    Span texts[TEXTS]
    Span headers                # the table with its length
    unsigned int delivery_mode, priority
    uint64_t timestamp
    Span body


cdef void content_texts(Cur* c, Content* out, int first, int last) noexcept nogil:
    cdef int i
    for i in range(first, last + 1):
        out.texts[i].p = NULL
        if out.flags & PLACES[i].flag:
            out.texts[i].p = cur_short(c, &out.texts[i].n)


cdef unsigned int content_octet(Cur* c, bint there, const char* want) noexcept nogil:
    cdef const unsigned char* p = cur_take(c, 1, want) if there else NULL
    return 0 if p == NULL else p[0]


cdef void content_read(Cur* c, Content* out) noexcept nogil:
    """Find all that packed content holds. The headers are only stepped over, who writes them looks inside."""
    cdef const unsigned char* outer = cur_enter(c)
    cdef const unsigned char* p = cur_take(c, 2, b"the flag word of the properties")
    out.flags = 0 if p == NULL else load_u16(p)
    if out.flags & PROP_NONE:
        cur_fail(c, p, b"only flags of basic properties")
    content_texts(c, out, TEXT_CONTENT_TYPE, TEXT_CONTENT_ENCODING)
    out.headers.p = c.p
    if out.flags & PROP_HEADERS:
        p = cur_take(c, 4, b"the length of a long value")
        if p != NULL:
            cur_take(c, load_u32(p), b"all bytes of a long value")
    out.headers.n = c.p - out.headers.p
    out.delivery_mode = content_octet(c, out.flags & PROP_DELIVERY_MODE, b"the delivery mode")
    out.priority = content_octet(c, out.flags & PROP_PRIORITY, b"the priority")
    content_texts(c, out, TEXT_CORRELATION_ID, TEXT_MESSAGE_ID)
    p = cur_take(c, 8, b"the timestamp") if out.flags & PROP_TIMESTAMP else NULL
    out.timestamp = 0 if p == NULL else load_u64(p)
    content_texts(c, out, TEXT_TYPE, TEXT_CLUSTER_ID)
    cur_leave(c, outer)
    out.body.p = c.p
    out.body.n = c.end - c.p


cdef int put_member(Buf* b, const Content* content, int i) except -1:
    """One of the properties, with its comma, if it is there."""
    if content.texts[i].p == NULL:
        return 0
    json_say(b, b'"')
    json_raw(b, PLACES[i].name.p, PLACES[i].name.n)
    json_say(b, b'": ')
    json_utf8(b, content.texts[i].p, content.texts[i].n)
    return json_say(b, b", ")


cdef int put_top(Buf* b, const char* name, const Span* text) except -1:
    json_say(b, name)
    return json_say(b, b"null") if text.p == NULL else json_utf8(b, text.p, text.n)


cdef int put_properties(Buf* b, const Content* content, const Span* exchange, const Span* routing_key,
                        const Span* tag) except -1:
    # The order in which Celery and kombu add them.
    json_say(b, b', "properties": {')
    put_member(b, content, TEXT_CORRELATION_ID)
    put_member(b, content, TEXT_REPLY_TO)
    put_member(b, content, TEXT_MESSAGE_ID)
    put_member(b, content, TEXT_APP_ID)
    put_member(b, content, TEXT_TYPE)
    if content.flags & PROP_TIMESTAMP:
        json_say(b, b'"timestamp": ')
        put_u64(b, content.timestamp)
        json_say(b, b", ")
    put_member(b, content, TEXT_USER_ID)
    put_member(b, content, TEXT_CLUSTER_ID)
    if content.flags & PROP_DELIVERY_MODE:
        json_say(b, b'"delivery_mode": ')
        json_i64(b, content.delivery_mode)
        json_say(b, b", ")
    put_member(b, content, TEXT_EXPIRATION)
    json_say(b, b'"delivery_info": {"exchange": ')
    json_utf8(b, exchange.p, exchange.n)
    json_say(b, b', "routing_key": ')
    json_utf8(b, routing_key.p, routing_key.n)
    json_say(b, b'}, "priority": ')
    json_i64(b, content.priority)           # kombu writes 0 when there is none
    json_say(b, b', "body_encoding": "base64", "delivery_tag": ')
    json_utf8(b, tag.p, tag.n)
    return json_say(b, b"}}")


cdef int put_u64(Buf* b, uint64_t v) except -1:
    if v > 9:
        put_u64(b, v // 10)
    json_room(b, 1)
    b.p[b.n] = <unsigned char>(c'0' + v % 10)
    b.n += 1
    return 0


cdef int text_span(object text, Span* out, str what) except -1:
    cdef Py_ssize_t n
    if isinstance(text, bytes):
        out.p = <const unsigned char*>PyBytes_AS_STRING(text)
        out.n = PyBytes_GET_SIZE(text)
        return 0
    if not isinstance(text, str):
        raise TypeError(f"{what} must be text, not {type(text).__name__}")
    out.p = <const unsigned char*>PyUnicode_AsUTF8AndSize(text, &n)
    out.n = n
    return 0


def dump(bytes content not None, exchange, routing_key, delivery_tag=None):
    cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(content)
    cdef Span to, key, tag
    cdef unsigned char fresh[36]
    cdef Content found
    cdef Buf b
    cdef Cur c
    text_span(exchange, &to, "the exchange")
    text_span(routing_key, &key, "the routing key")
    if delivery_tag is None:
        RANDOM.uuid(fresh)
        tag.p = fresh
        tag.n = 36
    else:
        text_span(delivery_tag, &tag, "the delivery tag")
    cur_init(&c, start, PyBytes_GET_SIZE(content))
    buf_init(&b)
    try:
        content_read(&c, &found)
        json_say(&b, b'{"body": ')
        json_base64(&b, &BASE64, found.body.p, found.body.n)
        put_top(&b, b', "content-encoding": ', &found.texts[TEXT_CONTENT_ENCODING])
        put_top(&b, b', "content-type": ', &found.texts[TEXT_CONTENT_TYPE])
        json_say(&b, b', "headers": ')
        if found.headers.n and c.bad == NULL:
            cur_init(&c, found.headers.p, found.headers.n)
            json_from_table(&b, &BASE64, &c, c'F', 0)
        else:
            json_say(&b, b"{}")
        if c.bad != NULL:
            raise FrameError(f"packed content, offset {c.bad - start}: expected {c.want.decode()}")
        put_properties(&b, &found, &to, &key, &tag)
        return PyBytes_FromStringAndSize(<char*>b.p, b.n)
    finally:
        buf_free(&b)


# --- an envelope to packed content -----------------------------------------------------------------------------------

cdef struct Envelope:           # points into the text, but for its headers
    const unsigned char* start
    Cur c
    unsigned int flags
    JsonText texts[TEXTS]
    JsonText body, body_encoding
    unsigned int delivery_mode, priority
    uint64_t timestamp
    Buf headers                 # the table with its length
    size_t mark_at, mark_n      # in it, kombu's own header for what it delivers again; 0: not there
    bint is_marked              # `delivery_info` says the same
    bint has_content            # a body or headers are there
    bint has_deaths             # the header x-fastq-deaths is
    JsonText part               # the header or property that is being read, for errors
    const char* part_kind


cdef void envelope_init(Envelope* e) noexcept:
    buf_init(&e.headers)


cdef void envelope_free(Envelope* e) noexcept:
    buf_free(&e.headers)


cdef inline bint key_is(Cur* c, const JsonText* key, const Name* name) noexcept:
    """Is this the name? One that is written with escapes is the same name."""
    cdef unsigned char plain[256]
    cdef Py_ssize_t n
    if not key.escaped:
        return key.n == name.n and memcmp(key.p, name.p, name.n) == 0
    if key.n > sizeof(plain):
        return False
    n = json_unescape(c, key, plain)
    return n == <Py_ssize_t>name.n and memcmp(plain, name.p, name.n) == 0


cdef inline bint key_reads(Cur* c, const JsonText* key, const char* text, size_t n) noexcept:
    cdef Name name = Name(text, n)
    return key_is(c, key, &name)


cdef int read_text(Cur* c, JsonText* out) except -1:
    """A text; null counts as absent. A number is the text that it is written with."""
    cdef JsonNumber number
    cdef unsigned char v = json_peek(c)
    out.p = NULL
    out.n = 0
    out.escaped = False
    if v == c'"':
        json_text_comes(c, out)
    elif v == c'n':
        json_skip(c, 0)
    elif v == c'-' or c'0' <= v <= c'9':
        if json_number(c, &number) != JSON_NO_NUMBER:
            out.p = number.p
            out.n = number.n
    else:
        cur_fail(c, c.p, b"a text")
    return 0


cdef bint read_octet(Cur* c, unsigned int* out) noexcept:
    """An integer, brought into the range of an octet. False: something else, which kombu ignores as well."""
    cdef JsonNumber number
    cdef unsigned char v = json_peek(c)
    cdef int kind
    if v != c'-' and not c'0' <= v <= c'9' or v == c'-' and c.end - c.p > 1 and c.p[1] == c'I':
        json_skip(c, 2)
        return False
    kind = json_number(c, &number)
    if kind == JSON_REAL:
        return False
    out[0] = 0 if number.negative else 255 if kind != JSON_INT or number.size > 255 else <unsigned int>number.size
    return kind != JSON_NO_NUMBER


cdef bint read_timestamp(Cur* c, uint64_t* out) except -1:
    """Unix seconds, or one of kombu's times. False: null."""
    cdef JsonNumber number
    cdef unsigned char v = json_peek(c)
    cdef const unsigned char* start = c.p
    cdef double real
    cdef int kind
    if v == c'n' or v == c'{':
        json_skip(c, 2)
        if v == c'n' or c.bad != NULL:
            return False
        try:
            out[0] = table_seconds(typed_value(PyBytes_FromStringAndSize(<const char*>start, c.p - start)))
            return True
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
            cur_fail(c, start, b"a time")
            return False
    kind = json_number(c, &number)
    if kind == JSON_INT and not (number.negative and number.size):
        out[0] = number.size
        return True
    if kind == JSON_REAL:
        real = real_of(&number)
        if 0 <= real < 1.8e19:
            out[0] = <uint64_t>real
            return True
    if kind != JSON_NO_NUMBER:
        cur_fail(c, start, b"a time from 1970 on")
    return False


cdef int read_delivery_info(Envelope* e) except -1:
    cdef Cur* c = &e.c
    cdef JsonText key
    cdef bint more
    e.is_marked = False
    if json_peek(c) != c'{':
        json_skip(c, 2)
        return 0
    more = json_opens(c, c'}', 2)
    while more:
        if not json_key(c, &key):
            return 0
        if key_reads(c, &key, b"redelivered", 11):
            e.is_marked = json_peek(c) == c't'
        json_skip(c, 3)
        more = json_more(c, c'}')
    return 0


cdef int read_property(Envelope* e, const JsonText* key) except -1:
    cdef Cur* c = &e.c
    cdef int i
    cdef unsigned int flag
    cdef bint found
    for i in range(TEXT_CORRELATION_ID, TEXTS):
        if key_is(c, key, &PLACES[i].name):
            return read_text(c, &e.texts[i])
    if key_reads(c, key, b"delivery_mode", 13):
        flag = PROP_DELIVERY_MODE
        found = read_octet(c, &e.delivery_mode)
    elif key_reads(c, key, b"priority", 8):
        flag = PROP_PRIORITY
        found = read_octet(c, &e.priority)
    elif key_reads(c, key, b"timestamp", 9):
        flag = PROP_TIMESTAMP
        found = read_timestamp(c, &e.timestamp)
    elif key_reads(c, key, b"body_encoding", 13):
        return read_text(c, &e.body_encoding)
    elif key_reads(c, key, b"delivery_info", 13):
        return read_delivery_info(e)
    else:
        json_skip(c, 2)             # kombu's own, or one that AMQP does not know and would drop as well
        return 0
    e.flags = e.flags | flag if found else e.flags & ~flag
    return 0


cdef int read_properties(Envelope* e) except -1:
    cdef Cur* c = &e.c
    cdef bint more
    cdef int i
    for i in range(TEXT_CORRELATION_ID, TEXTS):         # of two objects of this name the last counts
        e.texts[i].p = NULL
    e.flags &= ~(PROP_DELIVERY_MODE | PROP_PRIORITY | PROP_TIMESTAMP)
    e.body_encoding.p = NULL
    e.is_marked = False
    if json_peek(c) != c'{':
        cur_fail(c, c.p, b"an object")
        return 0
    more = json_opens(c, c'}', 1)
    e.part_kind = b"property"
    while more:
        if not json_key(c, &e.part):
            return 0
        read_property(e, &e.part)
        more = json_more(c, c'}')
        if c.bad == NULL:
            e.part.p = NULL
    return 0


cdef int read_headers(Envelope* e) except -1:
    """The table, with its length. The header that kombu adds to what it delivers again is noted."""
    cdef Cur* c = &e.c
    cdef Buf* b = &e.headers
    cdef size_t name
    cdef bint more
    b.n = 0
    e.mark_n = 0
    e.has_deaths = False
    e.flags &= ~PROP_HEADERS
    if json_peek(c) == c'n':
        json_skip(c, 1)
        return 0
    if json_peek(c) != c'{':
        cur_fail(c, c.p, b"an object")
        return 0
    e.flags |= PROP_HEADERS
    more = json_opens(c, c'}', 0)
    json_room(b, 4)
    b.n = 4
    e.part_kind = b"header"
    while more:
        name = b.n
        if not table_name_comes(b, c, &e.part):
            return 0
        table_from_json(b, c, 1)
        if b.p[name] == 14 and memcmp(b.p + name + 1, b"x-fastq-deaths", 14) == 0:
            e.has_deaths = True
        elif b.p[name] == 11 and memcmp(b.p + name + 1, b"redelivered", 11) == 0:
            # The name with its length, and a true.
            e.mark_at, e.mark_n = name, 14 if b.n == name + 14 and b.p[name + 12] == c't' and b.p[name + 13] else 0
        more = json_more(c, c'}')
        if c.bad == NULL:
            e.part.p = NULL
    if c.bad == NULL:
        table_end(b, 0, c)
    return 0


cdef int read_member(Envelope* e, const JsonText* key) except -1:
    cdef Cur* c = &e.c
    if key_reads(c, key, b"body", 4):
        e.has_content = True
        e.body.p = NULL
        if json_peek(c) == c'n':
            json_skip(c, 1)
        elif json_peek(c) == c'"':
            json_text_comes(c, &e.body)
        else:
            cur_fail(c, c.p, b"a text as the body")
        return 0
    if key_reads(c, key, b"headers", 7):
        e.has_content = True
        return read_headers(e)
    if key_reads(c, key, b"properties", 10):
        return read_properties(e)
    if key_is(c, key, &PLACES[TEXT_CONTENT_TYPE].name):
        return read_text(c, &e.texts[TEXT_CONTENT_TYPE])
    if key_is(c, key, &PLACES[TEXT_CONTENT_ENCODING].name):
        return read_text(c, &e.texts[TEXT_CONTENT_ENCODING])
    json_skip(c, 1)
    return 0


cdef int envelope_read(Envelope* e, const unsigned char* p, size_t n) except -1:
    """Find all that an envelope holds. A failure stays in its cursor."""
    cdef Cur* c = &e.c
    cdef JsonText key
    cdef bint more
    cdef int i
    cur_init(c, p, n)
    e.start = p
    e.flags = 0
    e.body.p = e.body_encoding.p = e.part.p = NULL
    e.headers.n = e.mark_n = 0
    e.is_marked = e.has_content = e.has_deaths = False
    for i in range(TEXTS):
        e.texts[i].p = NULL
    if not is_utf8(p, n):
        cur_fail(c, p, b"UTF-8")
        return 0
    if json_peek(c) != c'{':
        cur_fail(c, c.p, b"an object")
        return 0
    more = json_opens(c, c'}', 0)
    while more:
        if not json_key(c, &key):
            return 0
        read_member(e, &key)
        more = json_more(c, c'}')
    if c.bad == NULL and json_peek(c) != 0 or c.p != c.end:
        cur_fail(c, c.p, b"nothing behind the envelope")
    elif not e.has_content:
        cur_fail(c, c.p, b"a body or headers")
    return 0


cdef int put_short(Buf* b, Envelope* e, int i) except -1:
    """One of the short strings, if it is there; the caller has made room for it."""
    cdef Py_ssize_t n
    if e.texts[i].p == NULL:
        return 0
    n = json_unescape(&e.c, &e.texts[i], b.p + b.n + 1)
    if n > 255:
        cur_fail(&e.c, e.texts[i].p, b"a property of 255 bytes at most")
    if e.c.bad != NULL:
        e.part = JsonText(<const unsigned char*>PLACES[i].name.p, PLACES[i].name.n, False)
        e.part_kind = b"property"
        return 0
    b.p[b.n] = <unsigned char>n
    b.n += 1 + n
    e.flags |= PLACES[i].flag
    return 0


cdef enum:
    BODY_TEXT
    BODY_BASE64
    BODY_UNKNOWN


cdef int encoding_of(Envelope* e) noexcept:
    """How the body is written; kombu reads `utf-8` in any case."""
    cdef unsigned char plain[64]
    cdef Py_ssize_t n, i
    if e.body_encoding.p == NULL or e.body_encoding.n == 0:
        return BODY_TEXT
    if e.body_encoding.n > sizeof(plain):
        return BODY_UNKNOWN
    n = json_unescape(&e.c, &e.body_encoding, plain)
    if n == 6 and memcmp(plain, b"base64", 6) == 0:
        return BODY_BASE64
    for i in range(n):
        if c'A' <= plain[i] <= c'Z':
            plain[i] |= 0x20
    return BODY_TEXT if n == 5 and memcmp(plain, b"utf-8", 5) == 0 else BODY_UNKNOWN


cdef int put_body(Buf* b, Envelope* e) except -1:
    """The body, decoded; the caller has made room for it."""
    cdef Py_ssize_t n
    cdef int encoding
    if e.body.p == NULL or e.body.n == 0:
        return 0
    encoding = encoding_of(e)
    if encoding == BODY_TEXT:
        n = json_unescape(&e.c, &e.body, b.p + b.n)
    elif encoding == BODY_BASE64:
        n = -1 if e.body.escaped else base64_read(&BASE64, b.p + b.n, e.body.p, e.body.n)
        if n < 0:
            n = read_loosely(b, e)
    else:
        cur_fail(&e.c, e.body_encoding.p, b"base64 or utf-8 as body_encoding")
        return 0
    if n > 0:
        b.n += n
    return 0


cdef Py_ssize_t read_loosely(Buf* b, Envelope* e) except -2:
    """Base64 as Python reads it, which steps over what is no base64: line feeds, and anything else."""
    from binascii import Error, a2b_base64
    cdef Py_ssize_t n = json_unescape(&e.c, &e.body, b.p + b.n)
    if n < 0:
        return -1
    try:
        raw = a2b_base64(PyBytes_FromStringAndSize(<char*>b.p + b.n, n))
    except Error:
        cur_fail(&e.c, e.body.p, b"base64")
        return -1
    memcpy(b.p + b.n, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw))
    return PyBytes_GET_SIZE(raw)


cdef int envelope_pack(Buf* b, Envelope* e) except -1:
    """Write packed content behind what *b* holds. After a failure, which stays in the cursor, *b* is as before."""
    cdef size_t at = b.n, room = 64 + e.headers.n
    cdef int i
    if e.c.bad != NULL:
        return 0
    if e.is_marked and e.mark_n:
        # It says how the message came here, which is not the sender's.
        memmove(e.headers.p + e.mark_at, e.headers.p + e.mark_at + e.mark_n, e.headers.n - e.mark_at - e.mark_n)
        e.headers.n -= e.mark_n
        store_u32(e.headers.p, <uint32_t>(e.headers.n - 4))
    for i in range(TEXTS):
        room += 1 + (0 if e.texts[i].p == NULL else e.texts[i].n)
    if e.body.p != NULL:
        room += e.body.n
    json_room(b, room)
    b.n += 6
    put_short(b, e, TEXT_CONTENT_TYPE)
    put_short(b, e, TEXT_CONTENT_ENCODING)
    if e.flags & PROP_HEADERS:
        memcpy(b.p + b.n, e.headers.p, e.headers.n)
        b.n += e.headers.n
    if e.flags & PROP_DELIVERY_MODE:
        b.p[b.n] = <unsigned char>e.delivery_mode
        b.n += 1
    if e.flags & PROP_PRIORITY:
        b.p[b.n] = <unsigned char>e.priority
        b.n += 1
    for i in range(TEXT_CORRELATION_ID, TEXT_TYPE):
        put_short(b, e, i)
    if e.flags & PROP_TIMESTAMP:
        store_u64(b.p + b.n, e.timestamp)
        b.n += 8
    for i in range(TEXT_TYPE, TEXTS):
        put_short(b, e, i)
    if b.n - at - 4 > UINT32_MAX:
        cur_fail(&e.c, e.start, b"properties of less than 4 GiB")
    store_u32(b.p + at, <uint32_t>(b.n - at - 4))
    store_u16(b.p + at + 4, <unsigned short>e.flags)
    put_body(b, e)
    if b.n - at > UINT32_MAX:
        cur_fail(&e.c, e.start, b"less than 4 GiB")
    if e.c.bad != NULL:
        b.n = at
    return 0


cdef object reason_of(Envelope* e):
    reason = f"envelope, offset {e.c.bad - e.start}: expected {e.c.want.decode()}"
    if e.part.p == NULL:
        return reason
    name = PyBytes_FromStringAndSize(<const char*>e.part.p, min(e.part.n, <size_t>80)).decode("utf-8", "replace")
    return f"{reason} ({e.part_kind.decode()} {name!r})"


def parse(bytes envelope not None):
    cdef Envelope e
    cdef Buf b
    envelope_init(&e)
    buf_init(&b)
    try:
        envelope_read(&e, <const unsigned char*>PyBytes_AS_STRING(envelope), PyBytes_GET_SIZE(envelope))
        envelope_pack(&b, &e)
        if e.c.bad != NULL:
            raise DecodeError(reason_of(&e))
        return PyBytes_FromStringAndSize(<char*>b.p, b.n)
    finally:
        buf_free(&b)
        envelope_free(&e)


cdef struct Gathered:
    Buf b
    Envelope e
    uint64_t tag                # of the next one
    uint32_t flags
    Py_ssize_t good, marked


cdef int gather_one(Gathered* g, const unsigned char* p, size_t size) except -1:
    """Append a record, or leave the failure in the envelope."""
    cdef Buf* b = &g.b
    cdef Envelope* e = &g.e
    cdef uint32_t flags = g.flags
    cdef size_t at = b.n, n
    envelope_read(e, p, size)
    if e.c.bad != NULL:
        return 0
    json_room(b, ROW_HEAD)
    b.n += ROW_HEAD
    envelope_pack(b, e)
    if e.c.bad != NULL:
        b.n = at
        return 0
    n = b.n - at - ROW_HEAD
    if e.has_deaths:
        flags |= 1u << ROW_MARKED_BIT
        g.marked += 1
    g.good += 1
    row_put(b.p + at, g.tag, flags, <uint32_t>n)
    json_room(b, 8)
    memset(b.p + b.n, 0, 8)
    b.n = at + row_size(n)
    return 0


cdef object rows_of(Buf* b, Py_ssize_t rows_n, Py_ssize_t marked):
    """Hand the records over; the buffer is empty after that."""
    cdef Batch batch
    batch.p = b.p
    if b.p == b.own:
        batch.p = <unsigned char*>malloc(b.n + 1)
        if batch.p == NULL:
            raise MemoryError
        memcpy(batch.p, b.p, b.n)
    batch.memory, batch.n, batch.rows_n, batch.marked = batch.p, b.n, rows_n, marked
    buf_init(b)
    return Rows(batch_give(&batch))


cdef int gather_each(Gathered* g, envelopes, list bad) except -1:
    cdef Py_ssize_t index = 0
    for envelope in envelopes:
        if PyBytes_CheckExact(envelope):
            gather_one(g, <const unsigned char*>PyBytes_AS_STRING(envelope), PyBytes_GET_SIZE(envelope))
            if g.e.c.bad != NULL:
                bad.append((index, reason_of(&g.e)))
        else:
            bad.append((index, f"an envelope is bytes, not {type(envelope).__name__}"))
        index += 1
        g.tag += 1
    return 0


cdef int gather_bulks(Gathered* g, bulks, list bad) except -1:
    """The same from where they came."""
    cdef Py_buffer view
    cdef const unsigned char* p
    cdef const unsigned char* end
    cdef const unsigned char* data = NULL
    cdef size_t n = 0
    cdef Py_ssize_t index = 0
    PyObject_GetBuffer(bulks, &view, PyBUF_SIMPLE)
    try:
        json_room(&g.b, view.len)           # content is shorter than its envelope
        p = <const unsigned char*>view.buf
        end = p + view.len
        while p != end:
            p = bulk_next(p, end, &data, &n)
            if p == NULL:
                raise FrameError(f"bulk string {index} of {len(bulks)} is not whole")
            gather_one(g, data, n)
            if g.e.c.bad != NULL:
                bad.append((index, reason_of(&g.e)))
            index += 1
            g.tag += 1
    finally:
        PyBuffer_Release(&view)
    return 0


def gather(envelopes, first_tag, flags=0):
    cdef Gathered g
    cdef list bad = []
    if not isinstance(first_tag, int) or not 0 <= first_tag <= UINT64_MAX:
        raise ValueError(f"a tag is an integer from 0 to 2**64 - 1, not {first_tag!r}")
    if flags not in (0, 1u << ROW_REDELIVERED_BIT):
        raise ValueError(f"flags are 0 or 1 << {ROW_REDELIVERED_BIT}, not {flags!r}")
    g.tag, g.flags, g.good, g.marked = first_tag, flags, 0, 0
    envelope_init(&g.e)
    buf_init(&g.b)
    try:
        if type(envelopes) is Bulks:
            gather_bulks(&g, envelopes, bad)
        else:
            gather_each(&g, envelopes, bad)
        return rows_of(&g.b, g.good, g.marked), bad
    finally:
        buf_free(&g.b)
        envelope_free(&g.e)


def deaths_of(bytes content not None):
    cdef Scan found
    if scan_content(<const unsigned char*>PyBytes_AS_STRING(content), PyBytes_GET_SIZE(content), &found):
        raise FrameError(f"packed content, offset {found.error_at}: malformed")
    return found.deaths


# --- an edited envelope ----------------------------------------------------------------------------------------------

cdef struct Found:              # one member of an object, the last of its name
    const unsigned char* p      # its value; NULL: not there
    const unsigned char* end    # behind its value
    const unsigned char* close  # the bracket that closes the object
    bint is_first               # the object has no member at all


cdef void find_member(Cur* c, const char* name, size_t n, int depth, Found* out) noexcept:
    """Look for a member of the object whose bracket comes next, and step over the object."""
    cdef JsonText key
    cdef const unsigned char* start
    cdef bint more, found
    out.p = NULL
    more = json_opens(c, c'}', depth)
    out.is_first = not more
    while more:
        if not json_key(c, &key):
            return
        found = key_reads(c, &key, name, n)
        json_peek(c)
        start = c.p
        json_skip(c, depth + 1)
        if found:
            out.p = start
            out.end = c.p
        more = json_more(c, c'}')
    out.close = c.p - 1


cdef int find_inside(Cur* whole, const Found* outer, const char* name, size_t n, Found* out) except -1:
    """The same inside a member that was found; that must be an object."""
    cdef Cur c
    if outer.p[0] != c'{':
        cur_fail(whole, outer.p, b"an object")
        return 0
    cur_init(&c, outer.p, outer.end - outer.p)
    find_member(&c, name, n, 0, out)
    return 0


cdef object set_member(const unsigned char* start, const Found* found, bytes name, bytes value):
    """(from, to, text): how an envelope changes when the member gets this value."""
    if found.p != NULL:
        return found.p - start, found.end - start, value
    at = found.close - start
    return at, at, (b"" if found.is_first else b", ") + b'"' + name + b'": ' + value


cdef int find_all(Cur* c, Found* body, Found* headers, Found* properties) except -1:
    """What an envelope has at its top; a failure stays in the cursor."""
    cdef const unsigned char* start = c.p
    cdef size_t n = c.end - c.p
    if not is_utf8(start, n):
        cur_fail(c, start, b"UTF-8")
        return 0
    if json_peek(c) != c'{':
        cur_fail(c, c.p, b"an object")
        return 0
    find_member(c, b"headers", 7, -1, headers)
    json_peek(c)
    if c.p != c.end:
        cur_fail(c, c.p, b"nothing behind the envelope")
    if c.bad != NULL:
        return 0
    # It is well-formed.
    cur_init(c, start, n)
    json_peek(c)
    find_member(c, b"properties", 10, -1, properties)
    cur_init(c, start, n)
    json_peek(c)
    find_member(c, b"body", 4, -1, body)
    if headers.p == NULL and body.p == NULL:
        cur_fail(c, headers.close, b"a body or headers")
    return 0


def mark(bytes envelope not None, deaths):
    cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(envelope)
    cdef Found body, headers, properties, info, found
    cdef Cur c
    cdef list edits = []
    if not isinstance(deaths, int) or not 0 <= deaths <= 0x7FFFFFFF:
        raise ValueError(f"deaths are an integer from 0 to 2**31 - 1, not {deaths!r}")
    counted = b"%d" % deaths
    cur_init(&c, start, PyBytes_GET_SIZE(envelope))
    find_all(&c, &body, &headers, &properties)
    if c.bad == NULL and headers.p != NULL and headers.p[0] != c'n':
        find_inside(&c, &headers, b"redelivered", 11, &found)
        if c.bad == NULL:
            edits.append(set_member(start, &found, b"redelivered", b"true"))
            find_inside(&c, &headers, b"x-fastq-deaths", 14, &found)
            found.is_first = False          # it has at least what was just set
            edits.append(set_member(start, &found, b"x-fastq-deaths", counted))
    elif c.bad == NULL:
        edits.append(set_member(start, &headers, b"headers",
                                b'{"redelivered": true, "x-fastq-deaths": ' + counted + b"}"))
    if c.bad == NULL and properties.p != NULL:
        find_inside(&c, &properties, b"delivery_info", 13, &info)
        if c.bad == NULL and info.p != NULL and info.p[0] == c'{':
            find_inside(&c, &info, b"redelivered", 11, &found)
            edits.append(set_member(start, &found, b"redelivered", b"true"))
    if c.bad != NULL:
        raise DecodeError(f"envelope, offset {c.bad - start}: expected {c.want.decode()}")
    at, parts = 0, []
    for first, last, text in sorted(edits, key=_place):
        parts += envelope[at:first], text
        at = last
    return b"".join((*parts, envelope[at:]))


def _place(edit):
    return edit[0]              # the sort is stable: at one place, what was asked for first comes first
