"""AMQP 0-9-1 on the wire: bytes to methods and deliveries, and back. No sockets, clocks or threads.

1. method(), content(), publisher() and publish() write frames (frame.pxd, fields.pxd).
2. Decoder reads them, however they are cut, and gathers the deliveries of watched consumers in packed buffers
   (batch.pyx).
3. Held knows what is not settled on a channel (unsettled.pxd), and writes the frames that settle it.

amqp.pyi tells what callers may expect.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, Py_buffer, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from buf cimport Buf, buf_free, buf_init, buf_u8, buf_u16, buf_u32, store_u32, store_u64
from cur cimport Cur, cur_fail, cur_init, cur_short, cur_take, load_u16, load_u32, load_u64
from fields cimport METHOD_COUNT, METHOD_TABLE, Method, field_int, field_names, fields_read, fields_write, find_method
from frame cimport *
from rows cimport (
    ROW_HEAD, ROW_MARKED_BIT, ROW_REDELIVERED_BIT, Batch, Row, batch_give, row_next, row_put, row_size,
)
from tablepy cimport table_memory
from unsettled cimport (
    UNSETTLED_KNOWN, UNSETTLED_MEMORY, Run, Tags, tag_settled, tags_add, tags_compact, tags_find, tags_flip, tags_free,
    tags_limit,
)

from fastq._ext.batch import Rows
from fastq.exceptions import FrameError

cdef extern from "string.h" nogil:
    void* memmem(const void* hay, size_t hay_n, const void* needle, size_t needle_n)

cdef enum:
    ROOM = 65536                # free bytes that a receiver finds at least; also what a content may claim in advance
    MOST_ROOM = 1 << 18         # and at most: what filled less is followed by twice as much
    MOST_AHEAD = 1 << 20        # bytes that a consumer may begin a new batch with, when the last one had as many
    SETTLE_FRAME = 21           # bytes of an ack, a reject, a nack

PROTOCOL_HEADER = b"AMQP\0\0\x09\x01"
METHODS = {METHOD_TABLE[i].name.decode(): METHOD_TABLE[i].number for i in range(METHOD_COUNT)}
FIELDS = {METHOD_TABLE[i].number: field_names(&METHOD_TABLE[i]) for i in range(METHOD_COUNT)}
HEARTBEAT = 0
HEARTBEAT_FRAME = b"\x08\0\0\0\0\0\0\xce"


# --- writing ---------------------------------------------------------------------------------------------------------

cdef uint16_t channel_number(object channel) except? 0:
    if not isinstance(channel, int) or not 0 <= channel <= 0xFFFF:
        raise ValueError(f"a channel is an integer from 0 to 65535, not {channel!r}")
    return channel


cdef uint32_t frame_limit(object frame_max) except 0:
    if not isinstance(frame_max, int) or not FRAME_LEAST <= frame_max <= 0x7FFFFFFF:
        raise ValueError(f"frame_max is an integer from {FRAME_LEAST} to 2147483647, not {frame_max!r}")
    return frame_max


cdef bytes write_method(uint16_t channel, const Method* method, tuple args):
    cdef Buf b
    buf_init(&b)
    try:
        table_memory(buf_u8(&b, FRAME_METHOD))
        table_memory(buf_u16(&b, channel))
        table_memory(buf_u32(&b, 0))
        table_memory(buf_u32(&b, method.number))
        fields_write(&b, method, args)
        store_u32(b.p + 3, <uint32_t>field_int(b.n - FRAME_HEAD, 32))
        table_memory(buf_u8(&b, FRAME_END))
        return PyBytes_FromStringAndSize(<char*>b.p, b.n)
    finally:
        buf_free(&b)


cdef bytes write_content(uint16_t channel, bytes prefix, bytes packed, uint32_t frame_max, unsigned char priority):
    """*prefix*, then the frames of *packed*, in one allocation."""
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(packed)
    cdef Py_ssize_t prefix_n = PyBytes_GET_SIZE(prefix)
    cdef Content content
    cdef Cur c
    cdef size_t n
    cdef bytes made
    cdef char* out
    cur_init(&c, p, PyBytes_GET_SIZE(packed))
    content_read(&c, &content, priority)
    if c.bad != NULL:
        raise ValueError(f"packed content, offset {c.bad - p}: expected {c.want.decode()}")
    n = content_size(&content, frame_max)
    if n == 0:
        raise ValueError(f"the properties have {content.out_n} bytes, a frame of this connection has {frame_max}")
    made = PyBytes_FromStringAndSize(NULL, prefix_n + n)
    out = PyBytes_AS_STRING(made)
    memcpy(out, PyBytes_AS_STRING(prefix), prefix_n)
    content_put(&content, <unsigned char*>out + prefix_n, channel, frame_max)
    return made


def method(channel, method, *args):
    cdef const Method* found = find_method(<uint32_t>field_int(method, 32))
    if found == NULL:
        raise ValueError(f"no method has the number {method}")
    return write_method(channel_number(channel), found, args)


def content(channel, bytes packed not None, frame_max):
    return write_content(channel_number(channel), b"", packed, frame_limit(frame_max), 0)


def publisher(channel, exchange, routing_key, mandatory=False):
    return write_method(channel_number(channel), find_method(BASIC_PUBLISH), (exchange, routing_key, mandatory, False))


def publish(bytes prefix not None, bytes packed not None, frame_max, int priority=0):
    cdef const unsigned char* p = <const unsigned char*>PyBytes_AS_STRING(prefix)
    cdef size_t n = PyBytes_GET_SIZE(prefix)
    if n < FRAME_OVERHEAD + 4 or p[0] != FRAME_METHOD or load_u32(p + 3) + <size_t>FRAME_OVERHEAD != n:
        raise ValueError("the prefix is no frame of publisher()")
    if not 0 <= priority <= 255:
        raise ValueError(f"a priority is an integer from 0 to 255, not {priority}")
    return write_content(load_u16(p + 1), prefix, packed, frame_limit(frame_max), <unsigned char>priority)


# --- gathering -------------------------------------------------------------------------------------------------------

cdef struct Store:              # growable bytes, for what was received and is not handed over
    unsigned char* p
    size_t n
    size_t cap


cdef int store_room(Store* s, size_t more, size_t first) except -1:
    """Make room for *more* bytes: at least *first* at the beginning, doubling later."""
    cdef size_t cap = s.cap * 2
    cdef unsigned char* p
    if s.cap - s.n >= more:
        return 0
    if cap < first:
        cap = first
    if cap < s.n + more:
        cap = s.n + more
    p = <unsigned char*>realloc(s.p, cap)
    if p == NULL:
        raise MemoryError
    s.p = p
    s.cap = cap
    return 0


cdef void store_add(Store* s, const void* p, size_t n) noexcept nogil:
    # There is room.
    if n:
        memcpy(s.p + s.n, p, n)
    s.n += n


@cython.final
cdef class Consumer:
    """Where the deliveries of one watched consumer gather.

        store: | taken | records, complete | the record that is being received | free
               0       head                done                                s.n      s.cap
    """

    cdef uint16_t channel
    cdef bytes name                     # its first tag
    cdef list names                     # and those that were joined to it
    cdef uint64_t base, last            # `last` delivery tag
    cdef Store s
    cdef size_t head, done
    cdef size_t first                   # bytes to begin a new store with
    cdef Py_ssize_t count, marked       # complete records, and those of them with the header of deaths
    cdef bint is_watched

    def __dealloc__(self):
        free(self.s.p)

    cdef int room(self, size_t more) except -1:
        if self.s.cap - self.s.n >= more:
            return 0
        if self.head and self.head >= self.s.n - self.head:     # what moves is less than what was taken since
            memmove(self.s.p, self.s.p + self.head, self.s.n - self.head)
            self.s.n -= self.head
            self.done -= self.head
            self.head = 0
        return store_room(&self.s, more, self.first)

    cdef int begin(self, uint64_t tag, bint redelivered) except -1:
        self.s.n = self.done
        self.room(ROW_HEAD + 4)
        row_put(self.s.p + self.s.n, self.base + tag, <uint32_t>redelivered << ROW_REDELIVERED_BIT, 0)
        self.s.n += ROW_HEAD + 4
        self.last = tag
        return 0

    cdef int finish(self) except -1:
        cdef size_t n = self.s.n - self.done - ROW_HEAD
        cdef size_t padded = row_size(n)
        cdef uint32_t n_32 = <uint32_t>n, flags
        cdef unsigned char* record = self.s.p + self.done
        # A search for the bytes costs a tenth of reading the table, and who was marked is rarely there.
        if n > 4 and memmem(record + ROW_HEAD + 4, load_u32(record + ROW_HEAD), b"x-fastq-deaths", 14) != NULL:
            memcpy(&flags, record + 8, 4)
            flags |= 1u << ROW_MARKED_BIT
            memcpy(record + 8, &flags, 4)
            self.marked += 1
        self.room(8)
        memcpy(self.s.p + self.done + 12, &n_32, 4)
        memset(self.s.p + self.s.n, 0, 8)
        self.done += padded
        self.s.n = self.done
        self.count += 1
        return 0

    cdef void abandon(self) noexcept:
        self.s.n = self.done

    cdef object take(self, Py_ssize_t most):
        cdef Batch batch
        cdef const unsigned char* p
        cdef Row row
        cdef Py_ssize_t left = most
        if most <= 0 or self.count == 0:
            return Rows()
        if most >= self.count:
            return self.take_all()
        memset(&batch, 0, sizeof(Batch))
        row.flags = 0
        p = self.s.p + self.head
        while left:
            p = row_next(p, self.s.p + self.done, &row)
            batch.marked += row.flags >> ROW_MARKED_BIT & 1
            left -= 1
        batch.n = p - (self.s.p + self.head)
        batch.p = <unsigned char*>malloc(batch.n)
        if batch.p == NULL:
            raise MemoryError
        batch.memory = batch.p
        memcpy(batch.p, self.s.p + self.head, batch.n)
        batch.rows_n = most
        rows = Rows(batch_give(&batch))
        self.marked -= batch.marked
        self.head += batch.n
        self.count -= most
        return rows

    cdef object take_all(self):
        # The store itself goes, when its head was not taken before; only what is half received moves.
        cdef Batch batch
        cdef Store fresh
        fresh.p = NULL
        fresh.n = fresh.cap = 0
        if self.s.n > self.done:
            store_room(&fresh, self.s.n - self.done, 0)
            store_add(&fresh, self.s.p + self.done, self.s.n - self.done)
        batch.memory = self.s.p
        batch.p = self.s.p + self.head
        batch.n = self.done - self.head
        batch.rows_n, batch.marked = self.count, self.marked
        self.first = min(self.done + (self.done >> 2) + 4096, <size_t>MOST_AHEAD)
        self.s = fresh
        self.head = self.done = 0
        self.count = self.marked = 0
        return Rows(batch_give(&batch))


# --- the decoder -----------------------------------------------------------------------------------------------------

cdef enum:                      # what a channel waits for
    WAITS_METHOD = 0
    WAITS_HEADER = 1            # the method of a content came
    WAITS_BODY = 2              # the header came, `left` bytes are missing


@cython.final
cdef class Channel:
    """The consumers of a channel, and the content that is half received on it."""

    cdef uint16_t number
    cdef int waits
    cdef uint64_t left
    cdef Consumer into                  # who gets the content; None: it becomes an event
    cdef uint32_t method                # of that event
    cdef tuple args
    cdef Store s                        # its packed content so far
    cdef Consumer recent                # the last one that got something
    cdef dict consumers                 # consumer tag as bytes -> Consumer, the watched ones

    def __dealloc__(self):
        free(self.s.p)

    cdef void drop(self) noexcept:
        """Forget what is half received."""
        if self.into is not None:
            self.into.abandon()
            self.into = None
        self.args = None
        self.waits = WAITS_METHOD
        self.s.n = 0
        if self.s.cap > ROOM:           # one large content is no reason to keep as much for ever
            free(self.s.p)
            self.s.p = NULL
            self.s.cap = 0


cdef str frame_name(unsigned char kind):
    if kind == FRAME_METHOD:
        return "METHOD frame"
    if kind == FRAME_HEADER:
        return "HEADER frame"
    if kind == FRAME_BODY:
        return "BODY frame"
    if kind == FRAME_HEARTBEAT:
        return "HEARTBEAT frame"
    return f"frame of type {kind}"


@cython.final
cdef class Decoder:
    """Frames to events and gathered deliveries; see amqp.pyi.

        buffer: | parsed | received, not yet a whole frame | room |
                0        start                             end    cap
    """

    cdef unsigned char* p
    cdef size_t start, end, cap
    cdef size_t spare                   # bytes of room that a receiver finds at least
    cdef uint64_t parsed                # bytes of the stream before `start`
    cdef Py_ssize_t views               # exported and alive
    cdef bint is_parsing                # no finalizer that the collector runs meanwhile may come in here
    cdef uint32_t limit
    cdef uint64_t max_content
    cdef str broken                     # what was wrong with the stream; nothing is read after it
    cdef list events
    cdef Py_ssize_t event_at            # events before it were returned
    cdef dict channels, consumers       # by their numbers
    cdef Channel recent
    cdef Py_ssize_t half_received       # channels that wait for a part of a content
    cdef Py_ssize_t made                # consumers so far

    def __cinit__(self, frame_max=131072, max_content=512 << 20):
        if not isinstance(max_content, int) or not 0 <= max_content <= 0x7FFFFFFF:
            raise ValueError(f"max_content is an integer from 0 to 2147483647, not {max_content!r}")
        self.limit = frame_limit(frame_max)
        self.max_content = max_content
        self.spare = ROOM
        self.events = []
        self.channels = {}
        self.consumers = {}

    def __dealloc__(self):
        free(self.p)

    def __sizeof__(self):
        total = object.__sizeof__(self) + self.cap
        for consumer in self.consumers.values():
            total += (<Consumer>consumer).s.cap
        for channel in self.channels.values():
            total += (<Channel>channel).s.cap
        return total

    @property
    def frame_max(self):
        return self.limit

    @frame_max.setter
    def frame_max(self, value):
        self.limit = frame_limit(value)

    @property
    def is_idle(self):
        return self.start == self.end and self.half_received == 0

    # -- taking bytes in ------------------------------------------------------------------------------------------

    cdef int enter(self) except -1:
        if self.is_parsing:
            raise BufferError("the decoder is parsing")
        return 0

    cdef int make_room(self) except -1:
        """Have at least `spare` bytes behind what is not parsed. No view may be alive."""
        cdef size_t pending = self.end - self.start
        cdef size_t cap = (pending + self.spare + 4095) & ~<size_t>4095
        cdef unsigned char* p
        if self.cap - self.end >= self.spare:
            return 0
        if self.start:
            memmove(self.p, self.p + self.start, pending)
            self.start = 0
            self.end = pending
        if self.cap - self.end >= self.spare:
            return 0
        # What is pending is less than a frame, so the buffer never exceeds frame_max by more than the room.
        p = <unsigned char*>realloc(self.p, cap)
        if p == NULL:
            raise MemoryError
        self.p = p
        self.cap = cap
        return 0

    def __getbuffer__(self, Py_buffer* view, int flags):
        self.enter()
        if self.views == 0:
            self.make_room()
        PyBuffer_FillInfo(view, self, self.p + self.end, self.cap - self.end, 0, flags)
        self.views += 1

    def __releasebuffer__(self, Py_buffer* view):
        self.views -= 1

    cdef int check_free(self) except -1:
        self.enter()
        if self.views:
            raise BufferError("a view of the decoder's buffer is alive")
        if self.broken is not None:
            raise FrameError(self.broken)
        return 0

    def filled(self, Py_ssize_t n):
        self.check_free()
        if n < 0 or <size_t>n > self.cap - self.end:
            raise ValueError(f"{n} bytes cannot have been written, there was room for {self.cap - self.end}")
        self.end += n
        if self.end == self.cap and self.spare < MOST_ROOM:
            self.spare *= 2         # more waits in the socket: the next read should find room for it
        self.parse()

    def feed(self, bytes data not None):
        cdef const char* p = PyBytes_AS_STRING(data)
        cdef size_t left = PyBytes_GET_SIZE(data), part
        self.check_free()
        while left:
            self.make_room()
            part = min(left, self.cap - self.end)
            memcpy(self.p + self.end, p, part)
            self.end += part
            p += part
            left -= part
            self.parse()

    cdef int parse(self) except -1:
        self.is_parsing = True
        try:
            self.parse_frames()
        except BaseException as error:
            # Whatever it was, the state of a channel may be half changed now: nothing may follow.
            self.broken = str(error) or type(error).__name__
            raise
        finally:
            self.is_parsing = False
        return 0

    cdef int parse_frames(self) except -1:
        cdef unsigned char* p
        cdef size_t have, n
        while True:
            p = self.p + self.start
            have = self.end - self.start
            if have < FRAME_HEAD or p[0] == c'A' and have < 8:
                return 0
            n = load_u32(p + 3)
            if p[0] != FRAME_METHOD and p[0] != FRAME_HEADER and p[0] != FRAME_BODY and p[0] != FRAME_HEARTBEAT:
                self.fail_kind(p)
            if n + FRAME_OVERHEAD > self.limit:
                self.fail(p + 3, f"at most {self.limit - FRAME_OVERHEAD} bytes of payload, not {n}")
            if have < n + FRAME_OVERHEAD:
                return 0
            if p[FRAME_HEAD + n] != FRAME_END:
                self.fail(p + FRAME_HEAD + n, f"the end of the frame, not the byte {p[FRAME_HEAD + n]}")
            if p[0] == FRAME_METHOD:
                self.on_method(load_u16(p + 1), p + FRAME_HEAD, n)
            elif p[0] == FRAME_HEADER:
                self.on_header(load_u16(p + 1), p + FRAME_HEAD, n)
            elif p[0] == FRAME_BODY:
                self.on_body(load_u16(p + 1), p + FRAME_HEAD, n)
            else:
                self.on_heartbeat(load_u16(p + 1), p, n)
            self.start += n + FRAME_OVERHEAD
            self.parsed += n + FRAME_OVERHEAD

    cdef int fail(self, const unsigned char* at, object want) except -1:
        """Raise: at the byte *at* of the frame that begins at `start` should have stood *want*."""
        cdef const unsigned char* p = self.p + self.start
        if isinstance(want, bytes):
            want = want.decode()
        raise FrameError(f"{frame_name(p[0])} on channel {load_u16(p + 1)}, offset {self.parsed + <size_t>(at - p)}: "
                         f"expected {want}")

    cdef int fail_kind(self, const unsigned char* p) except -1:
        if self.parsed == 0 and memcmp(p, b"AMQP", 4) == 0:
            raise FrameError(f"the peer wants protocol {(<const char*>p)[:8]!r}, not AMQP 0-9-1")
        self.fail(p, "a METHOD, HEADER, BODY or HEARTBEAT frame")

    # -- frames ---------------------------------------------------------------------------------------------------

    cdef Channel channel_of(self, uint16_t number):
        """The channel, or None if nothing is known of it."""
        if self.recent is not None and self.recent.number == number:
            return self.recent
        found = self.channels.get(number)
        if found is not None:
            self.recent = <Channel>found
        return <Channel>found

    cdef Channel channel_made(self, uint16_t number):
        cdef Channel channel = self.channel_of(number)
        if channel is None:
            channel = Channel.__new__(Channel)
            channel.number = number
            channel.consumers = {}
            self.channels[number] = channel
            self.recent = channel
        return channel

    cdef int on_heartbeat(self, uint16_t number, const unsigned char* p, size_t n) except -1:
        if number != 0 or n != 0:
            self.fail(p + 1, "an empty frame on channel 0")
        self.events.append((0, 0, (), None))
        return 0

    cdef int on_method(self, uint16_t number, const unsigned char* p, size_t n) except -1:
        cdef Channel channel = self.channel_of(number)
        cdef const Method* method
        cdef Cur c
        if channel is not None and channel.waits:
            self.fail(p, b"the rest of a content on this channel")
        if channel is not None and n >= 4 and load_u32(p) == BASIC_DELIVER and self.on_deliver(channel, p + 4, n - 4):
            return 0
        method = find_method(load_u32(p)) if n >= 4 else NULL
        if method == NULL:
            self.fail(p, b"a known method")
        if (number == 0) != (method.number >> 16 == CLASS_CONNECTION):
            self.fail(p, b"methods of class connection on channel 0, all others elsewhere")
        cur_init(&c, p + 4, n - 4)
        args = fields_read(&c, method)
        if c.bad != NULL:
            self.fail(c.bad, c.want)
        if not method.carries:
            self.events.append((number, method.number, args, None))
            return 0
        channel = self.channel_made(number)
        channel.method = method.number
        channel.args = args
        channel.waits = WAITS_HEADER
        self.half_received += 1
        return 0

    cdef int on_deliver(self, Channel channel, const unsigned char* p, size_t n) except -1:
        """Begin the record of a delivery to a watched consumer: 1; 0 if nobody watches."""
        cdef Consumer consumer = channel.recent
        cdef const unsigned char* name
        cdef const unsigned char* fixed
        cdef size_t name_n, skipped
        cdef uint64_t tag
        cdef Cur c
        cur_init(&c, p, n)
        name = cur_short(&c, &name_n)
        if name == NULL:
            self.fail(c.bad, c.want)
        if (consumer is None or PyBytes_GET_SIZE(consumer.name) != <Py_ssize_t>name_n
                or memcmp(PyBytes_AS_STRING(consumer.name), name, name_n) != 0):
            found = channel.consumers.get((<const char*>name)[:name_n])
            if found is None:
                return 0
            consumer = channel.recent = <Consumer>found
        fixed = cur_take(&c, 9, b"the delivery tag and a bit")
        cur_short(&c, &skipped)
        cur_short(&c, &skipped)
        if c.p != c.end:
            cur_fail(&c, c.p, b"the end of the method")
        if c.bad != NULL:
            self.fail(c.bad, c.want)
        tag = load_u64(fixed)
        if tag <= consumer.last or tag > <uint64_t>INT64_MAX - consumer.base:
            self.fail(fixed, f"a delivery tag above {consumer.last} and below 2**63, not {tag}")
        consumer.begin(tag, fixed[8] & 1)
        channel.into = consumer
        channel.waits = WAITS_HEADER
        self.half_received += 1
        return 1

    cdef int on_header(self, uint16_t number, const unsigned char* p, size_t n) except -1:
        cdef Channel channel = self.channel_of(number)
        cdef Consumer consumer
        cdef Store* s
        cdef size_t ahead
        if channel is None or channel.waits != WAITS_HEADER:
            self.fail(p, b"a method that carries content before it")
        if n < CONTENT_HEAD + 2 or load_u32(p) != CLASS_BASIC << 16:
            self.fail(p, b"class basic, weight 0, a body size and properties")
        channel.left = load_u64(p + 4)
        if channel.left > self.max_content:
            self.fail(p + 4, f"a body of at most {self.max_content} bytes, not {channel.left}")
        n -= CONTENT_HEAD
        ahead = 4 + n + 8 + min(<size_t>channel.left, <size_t>ROOM)
        consumer = channel.into
        if consumer is not None:
            consumer.room(ahead)
            consumer.s.n -= 4                   # begin() left room for the length
            s = &consumer.s
        else:
            s = &channel.s
            store_room(s, ahead, 0)
        store_u32(s.p + s.n, <uint32_t>n)
        s.n += 4
        store_add(s, p + CONTENT_HEAD, n)
        channel.waits = WAITS_BODY
        if channel.left == 0:
            self.finish(channel)
        return 0

    cdef int on_body(self, uint16_t number, const unsigned char* p, size_t n) except -1:
        cdef Channel channel = self.channel_of(number)
        cdef Consumer consumer
        if channel is None or channel.waits != WAITS_BODY:
            self.fail(p, b"the header of a content before it")
        if n > channel.left:
            self.fail(p, f"at most {channel.left} bytes, which are missing, not {n}")
        consumer = channel.into
        if consumer is not None:
            consumer.room(n + 8)
            store_add(&consumer.s, p, n)
        else:
            store_room(&channel.s, n, 0)
            store_add(&channel.s, p, n)
        channel.left -= n
        if channel.left == 0:
            self.finish(channel)
        return 0

    cdef int finish(self, Channel channel) except -1:
        """The content is complete."""
        if channel.into is not None:
            channel.into.finish()
            channel.into = None
            channel.waits = WAITS_METHOD
        else:
            packed = PyBytes_FromStringAndSize(<char*>channel.s.p, channel.s.n)
            self.events.append((channel.number, channel.method, channel.args, packed))
            channel.drop()
        self.half_received -= 1
        return 0

    # -- giving out -----------------------------------------------------------------------------------------------

    def next(self):
        cdef Py_ssize_t n = len(self.events)
        self.enter()
        if self.event_at == n:
            return None
        event = self.events[self.event_at]
        self.events[self.event_at] = None
        self.event_at += 1
        if self.event_at == n or self.event_at >= 1024 and self.event_at >= n // 2:
            del self.events[:self.event_at]
            self.event_at = 0
        return event

    def watch(self, channel, str consumer_tag not None, tag_base=0, into=-1):
        cdef Channel on
        cdef Consumer consumer
        name = consumer_tag.encode("utf-8", "surrogateescape")
        self.enter()
        if channel_number(channel) == 0:
            raise ValueError("channel 0 has no consumers")
        on = self.channel_made(channel)
        if name in on.consumers:
            raise ValueError(f"consumer {consumer_tag!r} of channel {channel} is watched already")
        if into != -1:
            consumer = self.consumer_of(into)
            if consumer is None or not consumer.is_watched or consumer.channel != on.number:
                raise ValueError(f"number {into} is no watched consumer of channel {channel}")
            on.consumers[name] = consumer
            consumer.names.append(name)
            return into
        consumer = Consumer.__new__(Consumer)
        consumer.channel = on.number
        consumer.name = name
        consumer.names = [name]
        consumer.base = field_int(tag_base, 62)
        consumer.first = ROOM
        consumer.is_watched = True
        on.consumers[name] = consumer
        self.consumers[self.made] = consumer
        self.made += 1
        return self.made - 1

    cdef Consumer consumer_of(self, object number):
        """The consumer; None: nothing is left of it."""
        found = self.consumers.get(number)
        if found is None and not (isinstance(number, int) and 0 <= number < self.made):
            raise ValueError(f"no consumer has the number {number!r}")
        return <Consumer>found

    cdef void stop(self, Channel channel, Consumer consumer) noexcept:
        consumer.is_watched = False
        if channel.recent is consumer:
            channel.recent = None

    def unwatch(self, consumer):
        cdef Consumer one
        cdef Channel on
        self.enter()
        one = self.consumer_of(consumer)
        if one is None or not one.is_watched:
            return
        on = self.channel_of(one.channel)
        for name in one.names:
            del on.consumers[name]
        self.stop(on, one)
        if self.is_spent(one):
            del self.consumers[consumer]

    def forget(self, channel):
        cdef Channel on
        self.enter()
        on = self.channel_of(channel_number(channel))
        if on is None:
            return
        if on.waits:
            self.half_received -= 1
        on.drop()
        for consumer in on.consumers.values():
            self.stop(on, <Consumer>consumer)
        for number in [number for number, one in self.consumers.items() if self.is_spent(<Consumer>one)]:
            del self.consumers[number]
        del self.channels[on.number]
        self.recent = None

    cdef bint is_spent(self, Consumer consumer) noexcept:
        # What is half received will be a delivery that somebody must take.
        return not consumer.is_watched and consumer.count == 0 and consumer.s.n == consumer.done

    def gathered(self, consumer=-1):
        cdef Py_ssize_t total = 0
        cdef Consumer one
        if consumer != -1:
            one = self.consumer_of(consumer)
            return 0 if one is None else one.count
        for found in self.consumers.values():
            total += (<Consumer>found).count
        return total

    def take(self, consumer, Py_ssize_t most):
        cdef Consumer one
        self.enter()
        one = self.consumer_of(consumer)
        if one is None:
            return Rows()
        rows = one.take(most)
        if self.is_spent(one):
            del self.consumers[consumer]
        return rows


# --- settling --------------------------------------------------------------------------------------------------------

cdef bint read_run(object first, object last, Run* run) except -1:
    """Read a run of tags; False when no tag can be meant."""
    if not isinstance(first, int) or not isinstance(last, int):
        raise TypeError(f"tags are integers, not {first!r} and {last!r}")
    if not 0 <= first <= last <= INT64_MAX:
        return False
    run.first = first
    run.last = last
    return True


@cython.final
cdef class Held:
    """What is delivered on a channel and not settled; see amqp.pyi, and unsettled.pxd for how it is kept."""

    cdef uint16_t channel
    cdef uint64_t base
    cdef Tags kept

    def __cinit__(self, channel, tag_base=0):
        self.channel = channel_number(channel)
        self.base = self.kept.high = field_int(tag_base, 62)

    def __dealloc__(self):
        tags_free(&self.kept)

    def __sizeof__(self):
        return object.__sizeof__(self) + self.kept.cap * sizeof(uint64_t) + self.kept.gaps_cap * sizeof(Run)

    def __len__(self):
        return self.kept.alive

    def tags(self):
        cdef size_t i
        return [self.kept.entries[i] for i in range(self.kept.head, self.kept.n)
                if not self.kept.entries[i] & tag_settled()]

    def holds(self, first, last):
        cdef Run run
        return read_run(first, last, &run) and tags_find(&self.kept, &run)

    def add_rows(self, rows):
        cdef Py_buffer view
        cdef int status
        if not isinstance(rows, Rows):
            raise TypeError(f"a batch of rows is needed, not {type(rows).__name__}")
        PyObject_GetBuffer(rows, &view, PyBUF_SIMPLE)
        status = tags_add(&self.kept, <unsigned char*>view.buf, <unsigned char*>view.buf + view.len, len(rows))
        PyBuffer_Release(&view)
        if status == UNSETTLED_MEMORY:
            raise MemoryError
        if status == UNSETTLED_KNOWN:
            raise ValueError(f"a tag from {rows[0][0]} on was added before, or is not above {self.base}")

    def add(self, tag):
        cdef unsigned char record[ROW_HEAD]
        cdef int status = UNSETTLED_KNOWN
        if 0 <= tag <= INT64_MAX:
            row_put(record, tag, 0, 0)
            status = tags_add(&self.kept, record, record + ROW_HEAD, 1)
        if status == UNSETTLED_MEMORY:
            raise MemoryError
        if status == UNSETTLED_KNOWN:
            raise ValueError(f"tag {tag} was added before, or is not above {self.base}")

    def ack(self, runs):
        return self.settle(runs, BASIC_ACK, 1, BASIC_ACK, 0)

    def reject(self, runs, bint requeue):
        return self.settle(runs, BASIC_NACK, 1 | <int>requeue << 1, BASIC_REJECT, requeue)

    cdef bytes settle(self, object runs, uint32_t many, int many_bits, uint32_t one, int one_bits):
        cdef Py_ssize_t n = len(runs)
        cdef Run* found = <Run*>malloc((n + 1) * sizeof(Run))
        if found == NULL:
            raise MemoryError
        try:
            self.mark(runs, found, n)
            return self.write(found, n, many, many_bits, one, one_bits)
        finally:
            free(found)

    cdef int mark(self, object runs, Run* found, Py_ssize_t n) except -1:
        """Mark the tags of all *runs* as settled, or none of them."""
        cdef Py_ssize_t done = 0
        try:
            for first, last in runs:
                if done == n or not read_run(first, last, &found[done]) or not tags_find(&self.kept, &found[done]):
                    raise ValueError(f"not all tags from {first} to {last} are held")
                tags_flip(&self.kept, &found[done])
                done += 1
        except BaseException:
            while done:
                done -= 1
                tags_flip(&self.kept, &found[done])
            raise
        return 0

    cdef bytes write(self, const Run* found, Py_ssize_t n, uint32_t many, int many_bits, uint32_t one, int one_bits):
        cdef uint64_t limit = tags_limit(&self.kept), top = 0, tag
        cdef size_t below = 0, rest = 0
        cdef Py_ssize_t i
        cdef unsigned char* out
        cdef bytes made
        for i in range(n):
            if found[i].last < limit:
                below += found[i].last - found[i].first + 1
                top = max(top, found[i].last)
            else:
                rest += found[i].last - found[i].first + 1
        if below < 2:
            limit = 0           # one by one, all of them
        made = PyBytes_FromStringAndSize(NULL, SETTLE_FRAME * (rest + (1 if limit else below)))
        out = <unsigned char*>PyBytes_AS_STRING(made)
        if limit:
            # A broker takes `multiple` only of a tag that is outstanding: `top` is, being one of those settled here.
            out = self.put_frame(out, many, top, many_bits)
        for i in range(n):
            if found[i].last >= limit:
                for tag in range(found[i].first, found[i].last + 1):
                    out = self.put_frame(out, one, tag, one_bits)
        self.kept.alive -= below + rest
        tags_compact(&self.kept)
        return made

    cdef unsigned char* put_frame(self, unsigned char* out, uint32_t method, uint64_t tag, int bits) noexcept:
        out = frame_head(out, FRAME_METHOD, self.channel, SETTLE_FRAME - FRAME_OVERHEAD)
        store_u32(out, method)
        store_u64(out + 4, tag - self.base)
        out[12] = <unsigned char>bits
        out[13] = FRAME_END
        return out + 14
