"""Packed content, both ways: what a message is inside fastq (layout: scan.pxd), without sockets, settings or clocks but
the one of new_id().

1. pack() and unpack() know every AMQP property and header type.
2. TaskTemplate encodes what never changes for a task once, and one call in well under a microsecond.
3. dumps() writes plain values as JSON; new_id() makes task ids; scan() shows what the worker's scan sees.
"""

import os
from os import urandom

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.math cimport isnan
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from buf cimport Buf, buf_bytes, buf_free, buf_init, buf_u8, buf_u16, buf_u32, buf_u64, store_u16, store_u32
from cur cimport Cur, cur_enter, cur_fail, cur_init, cur_leave, cur_short, cur_take, load_u16, load_u64
from jsonw cimport JSON_OK, json_raw, json_value
from prop cimport (
    PROP_APP_ID, PROP_CLUSTER_ID, PROP_CONTENT_ENCODING, PROP_CONTENT_TYPE, PROP_CORRELATION_ID, PROP_DELIVERY_MODE,
    PROP_EXPIRATION, PROP_HEADERS, PROP_MESSAGE_ID, PROP_NONE, PROP_PRIORITY, PROP_REPLY_TO, PROP_TIMESTAMP, PROP_TYPE,
    PROP_USER_ID,
)
cimport scan as s
from scan cimport Scan, Span, scan_cursor
from tablepy cimport (
    PyUnicode_AsUTF8AndSize, table_memory, table_name, table_put, table_put_long, table_put_name, table_read,
    table_seconds, table_text,
)

from fastq.exceptions import EncodeError, FrameError

SCAN_V1 = s.SCAN_V1
SCAN_BAD_TASK = s.SCAN_BAD_TASK
SCAN_BAD_ID = s.SCAN_BAD_ID
SCAN_BAD_ETA = s.SCAN_BAD_ETA
SCAN_BAD_EXPIRES = s.SCAN_BAD_EXPIRES
SCAN_BAD_TIMELIMIT = s.SCAN_BAD_TIMELIMIT
SCAN_BAD_RETRIES = s.SCAN_BAD_RETRIES
SCAN_BAD_OTHER = s.SCAN_BAD_OTHER

# name, flag, in the order of the property list
cdef tuple PROPERTIES = (
    ("content_type", PROP_CONTENT_TYPE), ("content_encoding", PROP_CONTENT_ENCODING), ("headers", PROP_HEADERS),
    ("delivery_mode", PROP_DELIVERY_MODE), ("priority", PROP_PRIORITY), ("correlation_id", PROP_CORRELATION_ID),
    ("reply_to", PROP_REPLY_TO), ("expiration", PROP_EXPIRATION), ("message_id", PROP_MESSAGE_ID),
    ("timestamp", PROP_TIMESTAMP), ("type", PROP_TYPE), ("user_id", PROP_USER_ID), ("app_id", PROP_APP_ID),
    ("cluster_id", PROP_CLUSTER_ID),
)

# Celery's headers in Celery's order, with the values that mean the same as no header at all. OMIT: written only
# when the caller gives them. HOLE: filled in at each call.
cdef object OMIT = object()
cdef object HOLE = object()
cdef dict HEADERS = {
    "lang": "py", "task": HOLE, "id": HOLE, "shadow": None, "eta": None, "expires": None, "group": None,
    "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": HOLE, "parent_id": HOLE,
    "argsrepr": OMIT, "kwargsrepr": OMIT, "origin": OMIT, "ignore_result": None, "replaced_task_nesting": 0,
    "stamped_headers": None, "stamps": {},
}
cdef frozenset CHATTER = frozenset(("lang", "argsrepr", "kwargsrepr"))      # of no use to any worker

cdef const char* NO_EMBED = b', {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


# --- properties ------------------------------------------------------------------------------------------------------

cdef int put_property(Buf* b, str name, object value) except -1:
    if name == "delivery_mode" or name == "priority":
        if not isinstance(value, int) or not 0 <= value <= 255:
            raise ValueError(f"an integer from 0 to 255 is needed, not {value!r}")
        return table_memory(buf_u8(b, value))
    if name == "timestamp":
        return table_memory(buf_u64(b, table_seconds(value) if hasattr(value, "utctimetuple") else value))
    return table_put_name(b, value)


cdef object get_property(Cur* c, str name):
    cdef const unsigned char* p
    cdef size_t n
    if name == "headers":
        return table_read(c, 0)
    if name == "delivery_mode" or name == "priority":
        p = cur_take(c, 1, b"a property of one byte")
        return None if p == NULL else p[0]
    if name == "timestamp":
        p = cur_take(c, 8, b"a timestamp")
        return None if p == NULL else load_u64(p)
    p = cur_short(c, &n)
    return None if p == NULL else table_name(p, n)


cdef int put_named(Buf* b, str what, object name, object value) except -1:
    """Write a property, or a header with its name, and tell in the error which one it was."""
    try:
        if what == "property":
            return put_property(b, name, value)
        table_put_name(b, name)
        return table_put(b, value, 1)
    except (ValueError, TypeError, OverflowError) as error:
        raise EncodeError(f"{what} {name!r}: {error}") from error


cdef int put_headers(Buf* b, dict headers) except -1:
    cdef size_t start
    table_memory(buf_u32(b, 0))
    start = b.n
    for name, value in headers.items():
        put_named(b, "header", name, value)
    store_u32(b.p + start - 4, <uint32_t>(b.n - start))
    return 0


cdef int close_properties(Buf* b, unsigned int flags) except -1:
    if b.n - 4 > 0xFFFFFFFF:
        raise EncodeError("the properties have more than 4 GiB")
    store_u32(b.p, <uint32_t>(b.n - 4))
    store_u16(b.p + 4, <unsigned short>flags)
    return 0


def pack(dict properties not None, dict headers, bytes body not None):
    """Encode a message as packed content, properties and headers typed as Celery's client types them.

    A property that is None or that AMQP does not know is left out. *headers* keep their order; None leaves the whole
    table out. `timestamp` is Unix seconds or a datetime. Raises EncodeError, naming what has no form on the wire.

    >>> pack({"content_type": "application/json"}, {"task": "proj.add", "id": "1"}, b"[[], {}, {}]")[:6]
    b'\\x00\\x00\\x002\\xa0\\x00'
    """
    cdef Buf b
    cdef unsigned int flags = 0
    buf_init(&b)
    try:
        table_memory(buf_u32(&b, 0))
        table_memory(buf_u16(&b, 0))
        for name, flag in PROPERTIES:
            if name == "headers":
                if headers is not None:
                    put_headers(&b, headers)
                    flags |= flag
                continue
            value = properties.get(name)
            if value is not None:
                put_named(&b, "property", name, value)
                flags |= flag
        close_properties(&b, flags)
        table_memory(buf_bytes(&b, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)))
        return PyBytes_FromStringAndSize(<char*>b.p, b.n)
    finally:
        buf_free(&b)


cdef int check(Cur* c, const unsigned char* start) except -1:
    if c.bad != NULL:
        raise FrameError(f"packed content, offset {c.bad - start}: expected {c.want.decode()}")
    return 0


def unpack(bytes content not None):
    """Decode packed content: the properties that are there, the headers, the body.

    The property `timestamp` comes as Unix seconds, a time among the headers as an aware datetime; text that is no UTF-8
    as bytes. Raises FrameError with the offset of the first byte that makes no sense, and what was expected there.

    >>> unpack(pack({"priority": 3}, {"id": "1"}, b"body"))
    ({'priority': 3}, {'id': '1'}, b'body')
    """
    cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(content)
    cdef const unsigned char* outer
    cdef const unsigned char* p
    cdef unsigned int flags = 0
    cdef dict properties = {}
    cdef dict headers = {}
    cdef Cur c
    cur_init(&c, start, PyBytes_GET_SIZE(content))
    outer = cur_enter(&c)
    p = cur_take(&c, 2, b"the flag word of the properties")
    if p != NULL:
        flags = load_u16(p)
        if flags & PROP_NONE:
            cur_fail(&c, p, b"only flags of basic properties")
    for name, flag in PROPERTIES:
        if c.bad != NULL:
            break
        if flags & <unsigned int>flag:
            properties[name] = get_property(&c, name)
    cur_leave(&c, outer)
    check(&c, start)
    headers = properties.pop("headers", headers)
    return properties, headers, content[c.p - start:]


# --- scan ------------------------------------------------------------------------------------------------------------

cdef object span_text(Span* span):
    return None if span.p == NULL else table_text(span.p, span.n)


def scan(bytes content not None):
    """Show what the worker's scan finds in packed content, field by field; absent and null are None.

    `hard_s` and `soft_s` are seconds, `flags` is a union of SCAN_*. Raises FrameError as unpack() does, and in the same
    cases. For tests, logs and other slow paths.

    >>> scan(pack({}, {"task": "proj.add", "id": "1", "retries": 2}, b""))["retries"]
    2
    """
    cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(content)
    cdef Scan found
    cdef Cur c
    cur_init(&c, start, PyBytes_GET_SIZE(content))
    scan_cursor(&c, &found)
    check(&c, start)
    return {
        "task": span_text(&found.task), "id": span_text(&found.id), "root_id": span_text(&found.root_id),
        "parent_id": span_text(&found.parent_id), "group": span_text(&found.group), "eta": span_text(&found.eta),
        "expires": span_text(&found.expires), "content_type": span_text(&found.content_type),
        "content_encoding": span_text(&found.content_encoding), "compression": span_text(&found.compression),
        "reply_to": span_text(&found.reply_to), "correlation_id": span_text(&found.correlation_id),
        "body": content[PyBytes_GET_SIZE(content) - <Py_ssize_t>found.body.n:],
        "hard_s": None if isnan(found.hard_s) else found.hard_s,
        "soft_s": None if isnan(found.soft_s) else found.soft_s,
        "retries": found.retries, "deaths": found.deaths,
        "ignore_result": None if found.ignore_result < 0 else found.ignore_result == 1,
        "priority": found.priority, "flags": found.flags,
    }


# --- JSON ------------------------------------------------------------------------------------------------------------

def dumps(value):
    """Write *value* as JSON, byte for byte as json.dumps() does; None if it takes a slower writer.

    Known here are exactly None, bool, int, float, str, list, tuple, and dict with str keys, nested 64 deep at most.
    NaN and infinities are written bare, as Celery writes them.

    >>> dumps([1, "é", {"a": None}])
    b'[1, "\\\\u00e9", {"a": null}]'
    """
    cdef Buf b
    buf_init(&b)
    try:
        if json_value(&b, value, 0) != JSON_OK:
            return None
        return PyBytes_FromStringAndSize(<char*>b.p, b.n)
    finally:
        buf_free(&b)


# --- the template of a task ------------------------------------------------------------------------------------------

cdef enum:
    HOLE_ID                     # tag and text of the id
    HOLE_INDEX                  # tag and number of the place in a group
    HOLE_ROOT                   # tag and text of the root, the id if there is none
    HOLE_PARENT                 # tag and text of the parent, or null
    HOLE_LEAN_ROOT              # the whole header, if there is a root other than the id
    HOLE_LEAN_PARENT            # the whole header, if there is a parent
    HOLE_CLOSE                  # nothing; the length of the headers is known here
    HOLE_CORRELATION            # the id as a short string
    HOLES = 6                   # at most so many in one template

cdef struct Text:
    const char* p               # NULL: none
    Py_ssize_t n


cdef int text_of(object value, Text* out, str what) except -1:
    out.p = NULL
    out.n = 0
    if value is None:
        return 0
    if not isinstance(value, str):
        raise EncodeError(f"{what} must be text, not {type(value).__name__}")
    try:
        out.p = PyUnicode_AsUTF8AndSize(value, &out.n)
    except UnicodeEncodeError as error:
        raise EncodeError(f"{what}: {error}") from error
    if not 0 < out.n <= s.SCAN_MAX_NAME:
        raise EncodeError(f"{what} must have 1 to {s.SCAN_MAX_NAME} bytes, not {out.n}")
    return 0


cdef inline int put_text(Buf* b, Text* text) except -1:
    return table_put_long(b, c'S', text.p, text.n)


@cython.final
cdef class TaskTemplate:
    """Encode calls of one task: what its messages have in common once, here; the rest call by call.

    *headers* adds to Celery's headers or replaces their defaults, in Celery's order, with others at the end; `origin`,
    `argsrepr` and `kwargsrepr` are written only if given. *properties* are as in pack(); `correlation_id` is the task
    id unless given. *lean* leaves out each header whose absence means the same: null, 0 retries, no time limits, no
    stamps, a root that is the task itself, and the correlation id, `lang`, `argsrepr`, `kwargsrepr`, which no worker
    needs. With *numbered* each call has a `group_index` of its own. *embed* is the third part of the body, as JSON; by
    default nothing follows. Raises EncodeError.

    >>> template = TaskTemplate("proj.add", content_type="application/json", content_encoding="utf-8",
    ...                         headers={}, properties={"delivery_mode": 2}, lean=True)
    >>> unpack(template.encode("1", (2, 3), {}))[1]
    {'task': 'proj.add', 'id': '1'}
    """

    cdef bytes fixed                    # the content without its body and without what fills the holes
    cdef size_t hole_at[HOLES]          # offsets in `fixed`, ascending
    cdef int hole_kind[HOLES]
    cdef int holes
    cdef size_t table_at                # where the length of the headers stands: before the first hole
    cdef bytes tail                     # what stands behind args and kwargs
    cdef bint numbered

    def __cinit__(self, str name not None, *, str content_type not None, str content_encoding not None,
                  dict headers not None, dict properties not None, bint lean, bint numbered=False,
                  bytes embed=None):
        cdef Buf b
        cdef unsigned int flags = 0
        cdef Text task
        text_of(name, &task, "the task name")
        self.holes = 0
        self.numbered = numbered
        self.tail = NO_EMBED if embed is None else b", " + embed + b"]"
        values = {**properties, "content_type": content_type, "content_encoding": content_encoding}
        buf_init(&b)
        try:
            table_memory(buf_u32(&b, 0))
            table_memory(buf_u16(&b, 0))
            for key, flag in PROPERTIES:
                value = values.get(key)
                if key == "headers":
                    self.put_headers(&b, name, headers, lean)
                elif value is not None:
                    put_named(&b, "property", key, value)
                elif key == "correlation_id" and not lean:
                    self.hole(&b, HOLE_CORRELATION)
                else:
                    continue
                flags |= flag
            close_properties(&b, flags)
            self.fixed = PyBytes_FromStringAndSize(<char*>b.p, b.n)
        finally:
            buf_free(&b)

    cdef void hole(self, Buf* b, int kind) noexcept:
        self.hole_at[self.holes] = b.n
        self.hole_kind[self.holes] = kind
        self.holes += 1

    cdef int put_headers(self, Buf* b, str task, dict given, bint lean) except -1:
        self.table_at = b.n
        table_memory(buf_u32(b, 0))
        for name, default in HEADERS.items():
            value = given.get(name, default)
            if name == "task" and value is HOLE:
                put_named(b, "header", name, task)
            elif value is HOLE or self.numbered and name == "group_index":
                self.put_hole(b, name, lean)
            elif value is not OMIT and not (lean and (value is None or value == default or name in CHATTER)):
                put_named(b, "header", name, value)
        for name, value in given.items():
            if name not in HEADERS:
                put_named(b, "header", name, value)
        self.hole(b, HOLE_CLOSE)
        return 0

    cdef int put_hole(self, Buf* b, str name, bint lean) except -1:
        if name == "id" or name == "group_index" or not lean:
            table_put_name(b, name)
        if name == "id":
            self.hole(b, HOLE_ID)
        elif name == "group_index":
            self.hole(b, HOLE_INDEX)
        elif name == "root_id":
            self.hole(b, HOLE_LEAN_ROOT if lean else HOLE_ROOT)
        else:
            self.hole(b, HOLE_LEAN_PARENT if lean else HOLE_PARENT)
        return 0

    cdef int fill(self, Buf* b, int kind, Text* id, Text* root, Text* parent, object index) except -1:
        if kind == HOLE_ID:
            return put_text(b, id)
        if kind == HOLE_INDEX:
            return table_put(b, index, 1)
        if kind == HOLE_ROOT:
            return put_text(b, id if root.p == NULL else root)
        if kind == HOLE_PARENT:
            return table_memory(buf_u8(b, c'V')) if parent.p == NULL else put_text(b, parent)
        if kind == HOLE_CLOSE:
            store_u32(b.p + self.table_at, <uint32_t>(b.n - self.table_at - 4))
            return 0
        if kind == HOLE_CORRELATION:
            if id.n > 255:
                raise EncodeError(f"a task id may have 255 bytes at most, not {id.n}")
            table_memory(buf_u8(b, <unsigned char>id.n))
            return table_memory(buf_bytes(b, id.p, id.n))
        if kind == HOLE_LEAN_ROOT:
            if root.p == NULL or root.n == id.n and memcmp(root.p, id.p, id.n) == 0:
                return 0
            table_memory(buf_bytes(b, b"\x07root_id", 8))
            return put_text(b, root)
        if parent.p == NULL:
            return 0
        table_memory(buf_bytes(b, b"\x09parent_id", 10))
        return put_text(b, parent)

    cdef int put_head(self, Buf* b, object task_id, object root_id, object parent_id, object index) except -1:
        """Write the whole content but its body."""
        cdef const char* fixed = PyBytes_AS_STRING(self.fixed)
        cdef size_t at = 0
        cdef int i
        cdef Text id, root, parent
        text_of(task_id, &id, "the task id")
        if id.p == NULL:
            raise EncodeError("a task id is needed")
        text_of(root_id, &root, "the root id")
        text_of(parent_id, &parent, "the parent id")
        for i in range(self.holes):
            table_memory(buf_bytes(b, fixed + at, self.hole_at[i] - at))
            at = self.hole_at[i]
            self.fill(b, self.hole_kind[i], &id, &root, &parent, index)
        table_memory(buf_bytes(b, fixed + at, PyBytes_GET_SIZE(self.fixed) - at))
        store_u32(b.p, <uint32_t>(b.n - 4))
        return 0

    def encode(self, task_id, args, kwargs, root_id=None, parent_id=None, group_index=None):
        """Encode one call with its JSON body; None if the body takes a slower writer (see dumps() and encode_body()).

        *root_id* is the task's own id by default; *group_index* is for a template that is numbered. Raises EncodeError
        for an id that is no text, empty or too long.
        """
        cdef Buf b
        if type(args) is not tuple and type(args) is not list or type(kwargs) is not dict:
            return None
        buf_init(&b)
        try:
            self.put_head(&b, task_id, root_id, parent_id, group_index)
            json_raw(&b, b"[", 1)
            if json_value(&b, args, 1) != JSON_OK:
                return None
            json_raw(&b, b", ", 2)
            if json_value(&b, kwargs, 1) != JSON_OK:
                return None
            json_raw(&b, PyBytes_AS_STRING(self.tail), PyBytes_GET_SIZE(self.tail))
            return PyBytes_FromStringAndSize(<char*>b.p, b.n)
        finally:
            buf_free(&b)

    def encode_body(self, task_id, bytes body not None, root_id=None, parent_id=None):
        """Encode one call with a ready *body*, whose type must be the template's. Raises as encode() does."""
        cdef Buf b
        buf_init(&b)
        try:
            self.put_head(&b, task_id, root_id, parent_id, None)
            table_memory(buf_bytes(&b, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)))
            return PyBytes_FromStringAndSize(<char*>b.p, b.n)
        finally:
            buf_free(&b)


# --- ids -------------------------------------------------------------------------------------------------------------

cdef extern from "<time.h>" nogil:
    struct timespec:
        long long tv_sec
        long tv_nsec
    int TIME_UTC
    int timespec_get(timespec* out, int base)   # C11, so Windows has it too

cdef enum:
    ID_RANDOM = 10              # random bytes per id
    ID_BLOCK = 400 * ID_RANDOM  # fetched at once


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

    cdef int take(self, unsigned char* out) except -1:
        with cython.critical_section(self):
            # urandom lets other threads in: only what stands after it is one step.
            if self.at + ID_RANDOM > PyBytes_GET_SIZE(self.block):
                block = urandom(ID_BLOCK)
                self.block = block
                self.at = 0
            memcpy(out, PyBytes_AS_STRING(self.block) + self.at, ID_RANDOM)
            self.at += ID_RANDOM
        return 0


cdef _Random RANDOM = _Random()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=RANDOM.forget)


cdef bytes HEX = bytes(range(256)).hex().encode()       # "000102..ff"
cdef const char* HEX_PAIRS = PyBytes_AS_STRING(HEX)


def new_id():
    """Make a new id: a UUID of version 7 as text, so that ids sort by the millisecond they were made in.

    >>> len(new_id())
    36
    """
    cdef unsigned char raw[16]
    cdef char text[36]
    cdef timespec now
    cdef uint64_t ms
    cdef int i, at = 0
    RANDOM.take(raw + 6)
    timespec_get(&now, TIME_UTC)
    ms = <uint64_t>now.tv_sec * 1000 + <uint64_t>(now.tv_nsec // 1000000)
    for i in range(6):
        raw[i] = <unsigned char>(ms >> (40 - 8 * i))
    raw[6] = 0x70 | raw[6] & 0x0F       # RFC 9562: version 7
    raw[8] = 0x80 | raw[8] & 0x3F       # and its variant
    for i in range(16):
        if i == 4 or i == 6 or i == 8 or i == 10:
            text[at] = c'-'
            at += 1
        memcpy(text + at, HEX_PAIRS + 2 * raw[i], 2)
        at += 2
    return PyUnicode_DecodeASCII(text, 36, NULL)
