"""A batch of deliveries: the records that a codec gathered, in one buffer, as the ring stages them (rows.pxd).

No codec knows another: each gathers records in memory of its own and hands that over, and this owns it from then on.
"""

from collections.abc import Sequence

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc

from rows cimport ROW_REDELIVERED_BIT, Batch, Row, batch_take, row_next
from scan cimport Scan, scan_content


@cython.final
cdef class Rows:
    """A batch of deliveries in one buffer; see batch.pyi, and rows.pxd for the layout and for what it is made of."""

    cdef unsigned char* memory          # ours to free
    cdef unsigned char* p               # the first record, in `memory`
    cdef size_t n
    cdef Py_ssize_t rows_n
    cdef readonly Py_ssize_t marked
    cdef size_t* offsets                # where each record begins; made at the first use

    def __cinit__(self, given=None):
        cdef Batch batch
        if given is None:
            return
        batch_take(given, &batch)
        self.memory, self.p, self.n = batch.memory, batch.p, batch.n
        self.rows_n, self.marked = batch.rows_n, batch.marked

    def __dealloc__(self):
        free(self.memory)
        free(self.offsets)

    def __sizeof__(self):
        return object.__sizeof__(self) + self.n + (self.rows_n * sizeof(size_t) if self.offsets != NULL else 0)

    def __len__(self):
        return self.rows_n

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.p if self.n else <unsigned char*>b"", self.n, 1, flags)

    cdef object item(self, Row* row):
        cdef Scan scan
        cdef uint32_t deaths = row.flags & (1u << ROW_REDELIVERED_BIT)
        if scan_content(row.content, row.n, &scan) == 0:
            deaths |= scan.deaths
        return row.tag, deaths, PyBytes_FromStringAndSize(<const char*>row.content, row.n)

    cdef object at(self, Py_ssize_t i):
        cdef Row row
        cdef const unsigned char* p = self.p
        cdef Py_ssize_t k
        if self.offsets == NULL:
            self.offsets = <size_t*>malloc(self.rows_n * sizeof(size_t))
            if self.offsets == NULL:
                raise MemoryError
            for k in range(self.rows_n):
                self.offsets[k] = p - self.p
                p = row_next(p, self.p + self.n, &row)
        row_next(self.p + self.offsets[i], self.p + self.n, &row)
        return self.item(&row)

    def __getitem__(self, index):
        cdef Py_ssize_t i
        if isinstance(index, slice):
            return [self.at(i) for i in range(*index.indices(self.rows_n))]
        i = index
        if i < 0:
            i += self.rows_n
        if not 0 <= i < self.rows_n:
            raise IndexError(f"no row {index} among {self.rows_n}")
        return self.at(i)

    def __iter__(self):
        cdef Row row
        cdef const unsigned char* p = self.p
        cdef Py_ssize_t left = self.rows_n
        while left:
            left -= 1
            p = row_next(p, self.p + self.n, &row)
            yield self.item(&row)

    def index(self, value, *bounds):
        return list(self).index(value, *bounds)

    def count(self, value):
        return list(self).count(value)


Sequence.register(Rows)
