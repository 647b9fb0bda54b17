# Header: the slot table that a supervisor and its children share, and the child's side of it.
#
#   offset 0       RingHead            one; producer and consumer words on lines of their own
#   heads          ChildHead x C       each with its completion queue of slot numbers; one a child, or one a thread
#   ready          u64 x Q             (generation << 32 | slot), Q a power of two >= slots
#   slots          Slot x S            header, then the payload
#
# A slot's `state` word alone is the truth; both queues are hints that a dead child cannot corrupt:
#
#   FREE --stage--> STAGED --release--> READY --claim (CAS)--> CLAIMED(child) --> DONE(child) --drain--> FREE
#                                         `--take back (CAS by the supervisor)--> FREE
#
# Every use of a slot has a new generation, so a stale queue entry never matches.

from libc.stdint cimport int8_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "atomic.h" nogil:
    uint64_t fq_load64(const uint64_t *p)
    uint32_t fq_load32(const uint32_t *p)
    void fq_store64(uint64_t *p, uint64_t v)
    void fq_store32(uint32_t *p, uint32_t v)
    uint32_t fq_swap32(uint32_t *p, uint32_t v)
    void fq_fence()
    int fq_cas64(uint64_t *p, uint64_t want, uint64_t put)
    uint64_t fq_mono_ns()
    double fq_wall_s()
    void fq_sleep(uint32_t *word, uint32_t seen, int fd, int timeout_ms)
    void fq_rouse(uint32_t *word, int fd)
    int fq_die_with_parent()
    int fq_adopt_orphans(int on)

cdef enum:
    RING_MAGIC = 0x66713031
    NO_SLOT = 0xFFFFFFFF
    PATH_ROOM = 256             # bytes of a slot kept for the path of a file with effects

cdef enum:
    SLOT_FREE = 0
    SLOT_STAGED = 1
    SLOT_READY = 2
    SLOT_CLAIMED = 3
    SLOT_DONE = 4

cdef enum:                      # Slot.flags
    SLOT_EARLY = 1              # acked before the run: nothing is left to settle
    SLOT_JSON = 2               # body is plain, uncompressed JSON
    SLOT_SPILLED = 4            # content lies in a file, the payload holds its path
    SLOT_OUT_SPILLED = 8        # so do the effects
    SLOT_LIMITED = 16           # has a time limit
    SLOT_FAMILY = 32            # has a parent or a group, which its result document names
    SLOT_TRIAL = 64             # one more death condemns it: it runs alone
    SLOT_VERDICT = 128          # the run is over, by the outcome that stands here: what follows from it is to be done

cdef enum:                      # Slot.told
    TOLD_SOFT = 1               # and each time that it is told once more, one more
    TOLD_HARD = 0x40            # to end by itself, before its child is killed
    TOLD_END = 0x80             # the same, since somebody terminates it; the rest is the number of the signal he named

cdef struct RingHead:
    uint32_t magic
    uint32_t slots
    uint32_t slot_bytes         # header and payload
    uint32_t children
    uint32_t queue_mask
    uint32_t done_mask
    uint64_t at_heads
    uint64_t at_ready
    uint64_t at_slots
    uint64_t pad0[2]
    uint64_t head               # taken from the ready queue; moved by whoever claims, and by helpers
    uint64_t pad1[7]
    uint64_t tail               # put into the ready queue; moved by the supervisor
    uint64_t pad2[7]
    uint32_t parent_asleep
    uint32_t stop               # children claim nothing more
    uint64_t pad3[7]

cdef struct ChildHead:
    uint32_t asleep             # futex word: 1 while the child sleeps
    uint32_t is_up              # the child has come as far as its loop
    uint32_t leave              # the child claims nothing more, and leaves when its runs have ended
    uint32_t assigned           # slot + 1 of what only this child may run, 0 for nothing
    uint64_t busy_ns            # time spent in tasks
    uint64_t runs
    uint64_t pad1[4]
    uint64_t done_tail          # moved by the child
    uint64_t pad2[7]
    uint64_t done_head          # moved by the supervisor
    uint64_t pad3[7]

cdef struct Slot:
    uint64_t state              # generation << 32 | child << 8 | phase
    uint64_t tag
    double hard_s               # NaN: none
    double soft_s
    double expires_at           # Unix seconds; 0: never
    uint64_t started_ns         # monotonic; written by the child
    uint32_t task               # row in the task table
    uint32_t content_n          # of the packed content, or of the path when spilled
    uint32_t queue_n            # the queue's name stands behind the content, behind it a spilled content's reply queue
    uint32_t effects_n
    uint32_t effects_at         # offset in the payload
    uint32_t body_at            # offset in the content
    uint32_t id_at, id_n        # the task id, in the content
    uint32_t deaths
    uint32_t reply_at           # offset in the payload of the queue that waits for the result
    uint32_t reply_n            # 0: nobody waits there
    uint8_t outcome
    uint8_t flags
    int8_t ignore_result
    uint8_t told                # what its child was told: of its time limits, or to end

cdef inline uint64_t slot_state(uint64_t generation, uint64_t child, uint64_t phase) noexcept nogil:
    return generation << 32 | child << 8 | phase

cdef inline uint64_t state_generation(uint64_t state) noexcept nogil:
    return state >> 32

cdef inline uint32_t state_child(uint64_t state) noexcept nogil:
    return <uint32_t>(state >> 8) & 0xFFFF

cdef inline uint32_t state_phase(uint64_t state) noexcept nogil:
    return <uint32_t>state & 0xFF

cdef inline Slot* ring_slot(RingHead* ring, uint32_t number) noexcept nogil:
    return <Slot*>(<unsigned char*>ring + ring.at_slots + <uint64_t>number * ring.slot_bytes)

cdef inline unsigned char* slot_payload(Slot* slot) noexcept nogil:
    return <unsigned char*>slot + sizeof(Slot)

cdef inline uint32_t slot_used(Slot* slot) noexcept nogil:
    # Where effects may begin. The reply queue lies inside a content that is here, behind the rest when it is not.
    return slot.content_n + slot.queue_n + (slot.reply_n if slot.flags & SLOT_SPILLED else 0)

cdef inline uint32_t ring_payload(RingHead* ring) noexcept nogil:
    return ring.slot_bytes - <uint32_t>sizeof(Slot)

cdef inline ChildHead* ring_child(RingHead* ring, uint32_t child) noexcept nogil:
    return <ChildHead*>(<unsigned char*>ring + ring.at_heads
                        + <uint64_t>child * (sizeof(ChildHead) + 4 * (<uint64_t>ring.done_mask + 1)))

cdef inline uint32_t* child_done(ChildHead* child) noexcept nogil:
    return <uint32_t*>(<unsigned char*>child + sizeof(ChildHead))

cdef inline uint64_t* ring_ready(RingHead* ring) noexcept nogil:
    return <uint64_t*>(<unsigned char*>ring + ring.at_ready)

cdef inline uint32_t ring_claim(RingHead* ring, uint64_t child, uint64_t phase) noexcept nogil:
    # Take the oldest ready slot for `child`, NO_SLOT if there is none. The slot is owned before the
    # queue moves: whoever dies in between leaves a slot that says whose it is, and a head that the
    # next one helps along.
    cdef uint64_t head, entry, generation
    cdef uint32_t number
    cdef Slot* slot
    cdef bint mine
    while True:
        head = fq_load64(&ring.head)
        if head == fq_load64(&ring.tail):
            return NO_SLOT
        entry = fq_load64(&ring_ready(ring)[head & ring.queue_mask])
        number = <uint32_t>entry
        generation = entry >> 32
        slot = ring_slot(ring, number)
        mine = fq_cas64(&slot.state, slot_state(generation, 0, SLOT_READY), slot_state(generation, child, phase))
        fq_cas64(&ring.head, head, head + 1)
        if mine:
            return number

cdef inline bint ring_has_ready(RingHead* ring) noexcept nogil:
    return fq_load64(&ring.head) != fq_load64(&ring.tail)

cdef inline bint ring_complete(RingHead* ring, uint32_t child, uint32_t number) noexcept nogil:
    # Give the slot back; true when the supervisor sleeps and the caller has to wake it.
    cdef Slot* slot = ring_slot(ring, number)
    cdef ChildHead* own = ring_child(ring, child)
    fq_store64(&slot.state, slot_state(state_generation(slot.state), child, SLOT_DONE))
    child_done(own)[own.done_tail & ring.done_mask] = number
    fq_store64(&own.done_tail, own.done_tail + 1)
    fq_fence()
    return fq_load32(&ring.parent_asleep) != 0 and fq_swap32(&ring.parent_asleep, 0) != 0
