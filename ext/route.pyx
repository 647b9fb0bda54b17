"""The compiled routing table: task name -> route, and the matching of AMQP topics.

Knows patterns, answers and order, and nothing of queues, apps or settings: what a route means is up to the
`finish` that the caller hands in. Name patterns are those of fnmatch, case-sensitive, always matched whole and
in time O(pattern * name); a compiled regular expression counts when it matches at the start of the name.
"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc

# Names that are no task's (send_task takes any text) must not fill the memory.
cdef enum:
    CACHE_LIMIT = 8192

cdef enum TokenKind:
    GLOB_CHAR       # this character
    GLOB_ANY        # ?
    GLOB_STAR       # *
    GLOB_CLASS      # [...]

cdef struct Token:
    TokenKind kind
    Py_UCS4 char    # of GLOB_CHAR
    bint negated    # of GLOB_CLASS, and its ranges:
    int first
    int stop

cdef struct Range:
    Py_UCS4 low
    Py_UCS4 high

cdef object DYNAMIC = object()  # in the cache: a router must be asked


@cython.final
cdef class Glob:
    """A pattern as fnmatch reads it: ``*``, ``?``, ``[abc]``, ``[a-z]``, ``[!a-z]``; ``[`` without an end is itself.

        Glob("video.*").match("video.encode")
    """

    cdef readonly str pattern
    cdef Token* tokens
    cdef Range* ranges
    cdef int n_tokens
    cdef int n_ranges

    def __cinit__(self, str pattern not None):
        # Neither table can outgrow the pattern: a token or a range takes at least one of its characters.
        self.tokens = <Token*>PyMem_Malloc((len(pattern) + 1) * sizeof(Token))
        self.ranges = <Range*>PyMem_Malloc((len(pattern) + 1) * sizeof(Range))
        if self.tokens == NULL or self.ranges == NULL:
            raise MemoryError
        self.pattern = pattern
        self._parse(pattern)

    def __dealloc__(self):
        PyMem_Free(self.tokens)
        PyMem_Free(self.ranges)

    def __repr__(self):
        return f"Glob({self.pattern!r})"

    def __reduce__(self):
        return Glob, (self.pattern,)

    def match(self, str name not None):
        """Say whether the whole of *name* matches."""
        return self._matches(name)

    cdef void _parse(self, str pattern) noexcept:
        cdef Py_ssize_t i = 0, end, n = len(pattern)
        cdef Token* token
        while i < n:
            token = &self.tokens[self.n_tokens]
            token.char = pattern[i]
            token.kind = GLOB_CHAR
            if token.char == u'?':
                token.kind = GLOB_ANY
            elif token.char == u'*':
                token.kind = GLOB_STAR
            elif token.char == u'[':
                end = _class_end(pattern, i + 1)
                if end > 0:
                    token.kind = GLOB_CLASS
                    self._parse_class(token, pattern, i + 1, end)
                    i = end
            self.n_tokens += 1
            i += 1

    cdef void _parse_class(self, Token* token, str pattern, Py_ssize_t i, Py_ssize_t end) noexcept:
        """Read pattern[i:end], what stands between the brackets."""
        cdef Range* one
        token.negated = pattern[i] == u'!'
        if token.negated:
            i += 1
        token.first = self.n_ranges
        while i < end:
            one = &self.ranges[self.n_ranges]
            one.low = one.high = pattern[i]
            # A hyphen at either end stands for itself. A range that runs backwards holds nothing.
            if i + 2 < end and pattern[i + 1] == u'-':
                one.high = pattern[i + 2]
                i += 2
            self.n_ranges += 1
            i += 1
        token.stop = self.n_ranges

    cdef bint _matches(self, str name) noexcept:
        cdef Py_ssize_t i = 0, n = len(name), mark = 0
        cdef int t = 0, star = -1
        while i < n:
            if t < self.n_tokens and self.tokens[t].kind == GLOB_STAR:
                star = t
                mark = i
                t += 1
            elif t < self.n_tokens and self._takes(&self.tokens[t], name[i]):
                t += 1
                i += 1
            elif star >= 0:
                # Let the last star take one more; an earlier one need never be tried again.
                t = star + 1
                mark += 1
                i = mark
            else:
                return False
        while t < self.n_tokens and self.tokens[t].kind == GLOB_STAR:
            t += 1
        return t == self.n_tokens

    cdef bint _takes(self, Token* token, Py_UCS4 char) noexcept:
        cdef int r
        if token.kind == GLOB_CHAR:
            return token.char == char
        if token.kind == GLOB_ANY:
            return True
        for r in range(token.first, token.stop):
            if self.ranges[r].low <= char <= self.ranges[r].high:
                return not token.negated
        return token.negated


cdef Py_ssize_t _class_end(str pattern, Py_ssize_t i) noexcept:
    """The index of the bracket that closes the class whose text starts at *i*, or -1. One right there is a member."""
    cdef Py_ssize_t n = len(pattern)
    if i < n and pattern[i] == u'!':
        i += 1
    if i < n and pattern[i] == u']':
        i += 1
    while i < n:
        if pattern[i] == u']':
            return i
        i += 1
    return -1


cdef bint _is_glob(str pattern) noexcept:
    cdef Py_UCS4 char
    for char in pattern:
        if char == u'*' or char == u'?' or char == u'[':
            return True
    return False


@cython.final
cdef class Patterns:
    """Pairs of (pattern, route): the exact names first, then globs and regular expressions in their order.

    A pattern is text or has a method ``match(name)``. Of the same name or pattern the first counts.

        Patterns([("video.*", "video"), ("video.stop", "urgent")]).find("video.stop") == "urgent"
    """

    cdef dict exact
    cdef list ordered

    def __init__(self, pairs):
        self.exact = {}
        self.ordered = []
        for pattern, route in pairs:
            if not isinstance(pattern, str):
                self.ordered.append((pattern.match, route))
            elif _is_glob(pattern):
                self.ordered.append((Glob(pattern), route))
            else:
                self.exact.setdefault(pattern, route)

    def find(self, str name not None):
        """The route of *name*, or None."""
        return self._find(name)

    cdef object _find(self, str name):
        route = self.exact.get(name)
        if route is not None:
            return route
        for matcher, route in self.ordered:
            if type(matcher) is Glob:
                if (<Glob>matcher)._matches(name):
                    return route
            elif matcher(name):
                return route
        return None


@cython.final
cdef class RouteTable:
    """Routers in order, each `Patterns` or a callable ``(name, args, kwargs, options, task)``; the first answer wins.

    What a name gets is static when no callable is reached before a pattern matches; then *finish* is called once,
    with the answer, or with None when nobody has one, and its result is kept.
    """

    cdef tuple routers
    cdef object finish
    cdef dict cache

    def __init__(self, routers, finish):
        self.routers = tuple(routers)
        self.finish = finish
        self.cache = {}

    def lookup(self, str name not None):
        """The finished route of *name*, one object for all callers; None when it depends on the call (see `first`)."""
        found = self.cache.get(name)
        if found is None:
            found = self._settle(name)
        return None if found is DYNAMIC else found

    def first(self, str name not None, args, kwargs, options, task):
        """Ask one router after the other; the first answer that is not None, unfinished, or None."""
        for router in self.routers:
            if type(router) is Patterns:
                answer = (<Patterns>router)._find(name)
            else:
                answer = router(name, args, kwargs, options, task)
            if answer is not None:
                return answer
        return None

    def clear(self):
        """Forget what was kept: what *finish* would say has changed."""
        self.cache = {}

    cdef object _settle(self, str name):
        answer = None
        for router in self.routers:
            if type(router) is not Patterns:
                found = DYNAMIC
                break
            answer = (<Patterns>router)._find(name)
            if answer is not None:
                found = self.finish(answer)
                break
        else:
            found = self.finish(None)
        if len(self.cache) >= CACHE_LIMIT:
            self.cache = {}
        self.cache[name] = found
        return found


cdef Py_ssize_t _word_end(str text, Py_ssize_t i) noexcept:
    cdef Py_ssize_t n = len(text)
    while i < n and text[i] != u'.':
        i += 1
    return i


cdef bint _same(str a, Py_ssize_t i, Py_ssize_t i_end, str b, Py_ssize_t j, Py_ssize_t j_end) noexcept:
    if i_end - i != j_end - j:
        return False
    while i < i_end:
        if a[i] != b[j]:
            return False
        i += 1
        j += 1
    return True


def topic_match(str pattern not None, str key not None):
    """Say whether the routing key *key* matches the topic *pattern* (AMQP 0-9-1, 3.1.3.3).

    Words are parted by dots, ``*`` stands for one word, ``#`` for any number of them. An empty text has no words.

        topic_match("video.#", "video.encode.fast")
    """
    # p and k are where a word begins; one past the end of the text says that no word is left.
    cdef Py_ssize_t n_p = len(pattern), n_k = len(key), p_end, k_end
    cdef Py_ssize_t p = 0 if n_p else 1, k = 0 if n_k else 1
    cdef Py_ssize_t after_hash = -1, retry = 0
    while True:
        if p <= n_p:
            p_end = _word_end(pattern, p)
            if p_end - p == 1 and pattern[p] == u'#':
                p = after_hash = p_end + 1
                retry = k
                continue
            if k <= n_k:
                k_end = _word_end(key, k)
                if (p_end - p == 1 and pattern[p] == u'*') or _same(pattern, p, p_end, key, k, k_end):
                    p = p_end + 1
                    k = k_end + 1
                    continue
        elif k > n_k:
            return True
        if after_hash < 0 or retry > n_k:
            return False
        # Let the last # take one word more; an earlier one need never be tried again.
        retry = _word_end(key, retry) + 1
        p = after_hash
        k = retry
