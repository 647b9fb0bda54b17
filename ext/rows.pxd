# Header: a batch of deliveries in one buffer, as a decoder gathers it and the ring stages it.
#
# Records follow each other without a gap, each beginning on a multiple of 8 bytes, numbers in native byte order:
#
#   +---------+------------+--------+---------------------------+----------------+
#   | u64 tag | u32 flags  | u32 n  | n bytes of packed content | 0 to 7 bytes 0 |
#   +---------+------------+--------+---------------------------+----------------+
#
# Who reads a buffer that came from elsewhere goes by row_next(), which never leaves it.
#
# A decoder hands its records to the class of batch.pyx by a capsule, since no module can cimport a class of another:
# `Rows(batch_give(&batch))`.

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef enum:
    ROW_HEAD = 16
    ROW_REDELIVERED_BIT = 31            # of flags; the same as in types.UNCOUNTED
    ROW_MARKED_BIT = 30                 # the headers hold `x-fastq-deaths`, perhaps only inside a value

cdef struct Row:
    uint64_t tag
    uint32_t flags
    uint32_t n
    const unsigned char* content        # points into the buffer


cdef inline size_t row_size(size_t n) noexcept nogil:
    """Bytes of a record whose content has *n*."""
    return ROW_HEAD + ((n + 7) & ~<size_t>7)


cdef inline void row_put(unsigned char* p, uint64_t tag, uint32_t flags, uint32_t n) noexcept nogil:
    """Write the head of a record; the caller has made room for ROW_HEAD bytes."""
    memcpy(p, &tag, 8)
    memcpy(p + 8, &flags, 4)
    memcpy(p + 12, &n, 4)


cdef inline const unsigned char* row_next(const unsigned char* p, const unsigned char* end, Row* row) noexcept nogil:
    """Read the record at *p*; where the next one begins, or NULL when no whole record is left before *end*."""
    if <size_t>(end - p) < ROW_HEAD:
        return NULL
    memcpy(&row.tag, p, 8)
    memcpy(&row.flags, p + 8, 4)
    memcpy(&row.n, p + 12, 4)
    row.content = p + ROW_HEAD
    if <size_t>(end - p) < row_size(row.n):
        return NULL
    return p + row_size(row.n)


cdef struct Batch:                      # whole records, and the memory in which they lie
    unsigned char* memory               # from malloc()
    unsigned char* p                    # the first record, in `memory`
    size_t n                            # bytes of all records
    Py_ssize_t rows_n
    Py_ssize_t marked                   # those with ROW_MARKED_BIT


cdef inline void batch_drop(object capsule) noexcept:
    cdef Batch* kept = <Batch*>PyCapsule_GetPointer(capsule, b"fastq.batch")
    free(kept.memory)
    free(kept)


cdef inline object batch_give(const Batch* batch):
    """Hand over a batch: its memory belongs to the capsule from here on, also when this raises MemoryError."""
    cdef Batch* kept = <Batch*>malloc(sizeof(Batch))
    if kept == NULL:
        free(batch.memory)
        raise MemoryError
    kept[0] = batch[0]
    try:
        return PyCapsule_New(kept, b"fastq.batch", batch_drop)
    except BaseException:
        free(kept.memory)
        free(kept)
        raise


cdef inline int batch_take(object capsule, Batch* batch) except -1:
    """Take a batch out of its capsule, once: who comes second gets an empty one. Else ValueError."""
    cdef Batch* kept = <Batch*>PyCapsule_GetPointer(capsule, b"fastq.batch")
    batch[0] = kept[0]
    memset(kept, 0, sizeof(Batch))
    return 0
