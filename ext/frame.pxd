# Header: AMQP 0-9-1 frames (4.2.3), and packed content written as frames.
#
#   +---------+-------------+-------+--------------------+------+
#   | u8 type | u16 channel | u32 n | n bytes of payload | 0xCE |
#   +---------+-------------+-------+--------------------+------+
#
#   METHOD   u16 class | u16 method | arguments
#   HEADER   u16 class | u16 weight, 0 | u64 bytes of body | properties          (4.2.6.1)
#   BODY     as much of the body as fits a frame, none if the body is empty
#
# A Content points into packed content that its owner keeps alive.

from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy

from buf cimport store_u16, store_u32, store_u64
from cur cimport Cur, cur_fail, cur_init, cur_long, cur_short, cur_take, load_u16, load_u32
from prop cimport PROP_CONTENT_ENCODING, PROP_CONTENT_TYPE, PROP_DELIVERY_MODE, PROP_HEADERS, PROP_PRIORITY

cdef enum:
    FRAME_METHOD = 1
    FRAME_HEADER = 2
    FRAME_BODY = 3
    FRAME_HEARTBEAT = 8
    FRAME_END = 0xCE
    FRAME_HEAD = 7
    FRAME_OVERHEAD = 8          # head and end
    FRAME_LEAST = 4096          # no peer may ask for less
    CONTENT_HEAD = 12           # class, weight and body size, in front of the properties
    CLASS_CONNECTION = 10
    CLASS_BASIC = 60
    BASIC_PUBLISH = CLASS_BASIC << 16 | 40
    BASIC_DELIVER = CLASS_BASIC << 16 | 60
    BASIC_ACK = CLASS_BASIC << 16 | 80
    BASIC_REJECT = CLASS_BASIC << 16 | 90
    BASIC_NACK = CLASS_BASIC << 16 | 120

cdef struct Content:
    const unsigned char* listed         # the properties, from their flag word on
    size_t listed_n
    size_t priority_at                  # where a new priority goes, when `priority` is not 0
    size_t behind_at                    # and what follows it
    unsigned char priority
    size_t out_n                        # bytes of the properties as they are written
    const unsigned char* body
    size_t body_n


cdef inline unsigned char* frame_head(unsigned char* p, unsigned char kind, uint16_t channel, size_t n) noexcept nogil:
    """Write the head of a frame with *n* bytes of payload; where they go."""
    p[0] = kind
    store_u16(p + 1, channel)
    store_u32(p + 3, <uint32_t>n)
    return p + FRAME_HEAD


cdef inline void content_read(Cur* c, Content* out, unsigned char priority) noexcept nogil:
    """Read the packed content under the cursor; fails through it. A *priority* but 0 replaces the one that is there."""
    cdef unsigned int flags = 0
    cdef size_t skipped
    out.listed = cur_long(c, &out.listed_n)
    out.body = c.p
    out.body_n = c.end - c.p
    out.out_n = out.listed_n
    out.priority = priority
    if c.bad == NULL and out.listed_n < 2:
        cur_fail(c, out.listed, b"the flag word of the properties")
    if c.bad != NULL or not priority:
        return
    flags = load_u16(out.listed)
    cur_init(c, out.listed, out.listed_n)
    cur_take(c, 2, b"the flag word of the properties")
    if flags & PROP_CONTENT_TYPE:
        cur_short(c, &skipped)
    if flags & PROP_CONTENT_ENCODING:
        cur_short(c, &skipped)
    if flags & PROP_HEADERS:
        cur_long(c, &skipped)
    if flags & PROP_DELIVERY_MODE:
        cur_take(c, 1, b"the delivery mode")
    if c.bad != NULL:
        return
    out.priority_at = out.behind_at = c.p - out.listed
    if not flags & PROP_PRIORITY:
        out.out_n += 1
    elif cur_take(c, 1, b"the priority") != NULL:
        out.behind_at += 1


cdef inline size_t content_size(const Content* content, size_t frame_max) noexcept nogil:
    """Bytes that content_put() writes; 0 when the properties do not fit a frame."""
    cdef size_t most = frame_max - FRAME_OVERHEAD
    if CONTENT_HEAD + content.out_n > most:
        return 0
    return (FRAME_OVERHEAD + CONTENT_HEAD + content.out_n + content.body_n
            + (content.body_n + most - 1) // most * FRAME_OVERHEAD)


cdef inline unsigned char* content_put_properties(const Content* content, unsigned char* out) noexcept nogil:
    cdef size_t before = content.priority_at
    if not content.priority:
        memcpy(out, content.listed, content.listed_n)
        return out + content.listed_n
    memcpy(out, content.listed, before)
    store_u16(out, load_u16(out) | PROP_PRIORITY)
    out[before] = content.priority
    memcpy(out + before + 1, content.listed + content.behind_at, content.listed_n - content.behind_at)
    return out + content.out_n


cdef inline void content_put(
    const Content* content, unsigned char* out, uint16_t channel, size_t frame_max
) noexcept nogil:
    """Write a HEADER frame and as many BODY frames as the body needs; the caller has made room for content_size()."""
    cdef const unsigned char* p = content.body
    cdef size_t left = content.body_n, part, most = frame_max - FRAME_OVERHEAD
    out = frame_head(out, FRAME_HEADER, channel, CONTENT_HEAD + content.out_n)
    store_u32(out, CLASS_BASIC << 16)
    store_u64(out + 4, left)
    out = content_put_properties(content, out + CONTENT_HEAD)
    out[0] = FRAME_END
    out += 1
    while left:
        part = left if left < most else most
        out = frame_head(out, FRAME_BODY, channel, part)
        memcpy(out, p, part)
        out[part] = FRAME_END
        out += part + 1
        p += part
        left -= part
