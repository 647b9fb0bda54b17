# Header: the tags of a channel that are not settled, ascending, without Python objects.
#
#   entries: | gone | alive | settled | settled | alive | ...   | free
#            0        head                                  n     cap
#
# A settled entry is marked, and goes when it is the first or when half of all are settled: the oldest may stay for ever
# while any number of others pass. `gaps` are tags below `high` that nobody told of. One of them may be a delivery that
# came, but was not taken yet, so no frame that settles all tags up to one may reach past the first gap. More than
# UNSETTLED_GAPS of them become one, from the first to the last.
#
# A Tags is zeroed before use and freed with tags_free(). What returns an int gives UNSETTLED_OK or what went wrong;
# after UNSETTLED_KNOWN nothing has changed.

from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove

from rows cimport Row, row_next

cdef enum:
    UNSETTLED_GAPS = 65536
    UNSETTLED_OK = 0
    UNSETTLED_MEMORY = 1
    UNSETTLED_KNOWN = 2         # a tag was added before, or is none of this channel's

cdef struct Run:                # of tags, both ends included
    uint64_t first
    uint64_t last
    size_t at                   # the entry of the first one

cdef struct Tags:
    uint64_t high               # the highest tag that was added; at first what is below the first one
    uint64_t* entries           # TAG_SETTLED marks; no tag has this bit
    size_t head, n, cap
    size_t alive
    Run* gaps
    size_t gaps_n, gaps_cap


cdef inline uint64_t tag_settled() noexcept nogil:
    return <uint64_t>1 << 63


cdef inline void tags_free(Tags* t) noexcept nogil:
    free(t.entries)
    free(t.gaps)


cdef inline int tags_room(Tags* t, size_t more) noexcept nogil:
    """Have room for *more* entries behind the last."""
    cdef size_t cap = t.cap * 2
    cdef uint64_t* p
    if t.cap - t.n >= more:
        return UNSETTLED_OK
    if t.head and t.head >= t.n - t.head:
        memmove(t.entries, t.entries + t.head, (t.n - t.head) * sizeof(uint64_t))
        t.n -= t.head
        t.head = 0
    if t.cap - t.n >= more:
        return UNSETTLED_OK
    if cap < t.n + more:
        cap = t.n + more
    p = <uint64_t*>realloc(t.entries, cap * sizeof(uint64_t))
    if p == NULL:
        return UNSETTLED_MEMORY
    t.entries = p
    t.cap = cap
    return UNSETTLED_OK


cdef inline int tags_gap(Tags* t, uint64_t first, uint64_t last) noexcept nogil:
    cdef size_t cap = t.gaps_cap * 2 + 16
    cdef Run* p
    if t.gaps_n >= UNSETTLED_GAPS:
        t.gaps_n = 1
        t.gaps[0].last = last
        return UNSETTLED_OK
    if t.gaps_n == t.gaps_cap:
        p = <Run*>realloc(t.gaps, cap * sizeof(Run))
        if p == NULL:
            return UNSETTLED_MEMORY
        t.gaps = p
        t.gaps_cap = cap
    t.gaps[t.gaps_n].first = first
    t.gaps[t.gaps_n].last = last
    t.gaps_n += 1
    return UNSETTLED_OK


cdef inline int tags_fill(Tags* t, const uint64_t* tags, size_t k) noexcept nogil:
    """Take *k* tags, ascending, out of the gaps."""
    cdef size_t cap = t.gaps_n + k + 1, n = 0, g = 0, i
    cdef Run* left = <Run*>malloc(cap * sizeof(Run))
    cdef Run gap
    if left == NULL:
        return UNSETTLED_MEMORY
    gap.first = gap.last = 0
    if t.gaps_n:
        gap = t.gaps[0]
    for i in range(k + 1):                      # one more, for the gaps behind the last tag
        while g < t.gaps_n and (i == k or gap.last < tags[i]):
            if gap.first <= gap.last:
                left[n] = gap
                n += 1
            g += 1
            if g < t.gaps_n:
                gap = t.gaps[g]
        if i == k:
            break
        if g == t.gaps_n or tags[i] < gap.first:
            free(left)
            return UNSETTLED_KNOWN
        if gap.first < tags[i]:
            left[n] = gap
            left[n].last = tags[i] - 1
            n += 1
        gap.first = tags[i] + 1
    free(t.gaps)
    t.gaps = left
    t.gaps_n = n
    t.gaps_cap = cap
    return UNSETTLED_OK


cdef inline void tags_merge(Tags* t, const uint64_t* tags, size_t k) noexcept nogil:
    """Put *k* tags, ascending, between the entries. There is room."""
    cdef size_t i = t.n, to = t.n + k
    t.n += k
    t.alive += k
    while k:                                    # from the back, so that nothing is in the way
        to -= 1
        if i > t.head and (t.entries[i - 1] & ~tag_settled()) > tags[k - 1]:
            i -= 1
            t.entries[to] = t.entries[i]
        else:
            k -= 1
            t.entries[to] = tags[k]


cdef inline int tags_add_low(Tags* t, const unsigned char** p, const unsigned char* end, size_t* n) noexcept nogil:
    """Add records as long as they are below `high`: others on the channel were taken before them. There is room."""
    cdef uint64_t* low = <uint64_t*>malloc(n[0] * sizeof(uint64_t))
    cdef const unsigned char* at = p[0]
    cdef const unsigned char* after = at
    cdef size_t k = 0
    cdef int status
    cdef Row row
    if low == NULL:
        return UNSETTLED_MEMORY
    while k < n[0]:
        after = row_next(at, end, &row)
        if after == NULL or row.tag > t.high:
            break
        low[k] = row.tag
        k += 1
        at = after
    status = tags_fill(t, low, k)
    if status == UNSETTLED_OK:
        tags_merge(t, low, k)
        p[0] = at
        n[0] -= k
    free(low)
    return status


cdef inline int tags_add(Tags* t, const unsigned char* p, const unsigned char* end, size_t n) noexcept nogil:
    """Add the tags of *n* records (rows.pxd), which ascend."""
    cdef Row row
    cdef int status = tags_room(t, n)
    if status == UNSETTLED_OK and n and row_next(p, end, &row) != NULL and row.tag <= t.high:
        status = tags_add_low(t, &p, end, &n)
    while status == UNSETTLED_OK and n:
        p = row_next(p, end, &row)
        if p == NULL:
            break
        if row.tag > t.high + 1:
            status = tags_gap(t, t.high + 1, row.tag - 1)
            if status != UNSETTLED_OK:          # without its gap the tag would look safe to settle with those below
                break
        t.entries[t.n] = t.high = row.tag
        t.n += 1
        t.alive += 1
        n -= 1
    return status


cdef inline bint tags_find(const Tags* t, Run* run) noexcept nogil:
    """Whether all tags of *run* are alive; sets `run.at`."""
    cdef size_t low = t.head, high = t.n, middle, k
    while low < high:
        middle = (low + high) >> 1
        if (t.entries[middle] & ~tag_settled()) < run.first:
            low = middle + 1
        else:
            high = middle
    if run.last - run.first >= t.n - low:
        return False
    for k in range(run.last - run.first + 1):
        if t.entries[low + k] != run.first + k:
            return False
    run.at = low
    return True


cdef inline void tags_flip(Tags* t, const Run* run) noexcept nogil:
    """Mark the tags of a run that tags_find() found, or take the marks back."""
    cdef size_t k
    for k in range(run.at, run.at + (run.last - run.first) + 1):
        t.entries[k] ^= tag_settled()


cdef inline uint64_t tags_limit(Tags* t) noexcept nogil:
    """Step over what is settled: below the tag returned, all are known and settled."""
    cdef uint64_t limit = <uint64_t>-1
    while t.head < t.n and t.entries[t.head] & tag_settled():
        t.head += 1
    if t.head < t.n:
        limit = t.entries[t.head]
    if t.gaps_n and t.gaps[0].first < limit:
        limit = t.gaps[0].first
    return limit


cdef inline void tags_compact(Tags* t) noexcept nogil:
    """Drop settled entries if they are the greater part. Runs that were found are void then."""
    cdef size_t i, to = 0
    if t.alive == 0:
        t.head = t.n = 0
    if t.n - t.head - t.alive <= t.alive + 64:
        return
    for i in range(t.head, t.n):
        if not t.entries[i] & tag_settled():
            t.entries[to] = t.entries[i]
            to += 1
    t.head = 0
    t.n = to
