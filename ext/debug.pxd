# Header: the debug switch. `if FASTQ_DEBUG:` costs nothing in a release build.
cdef extern from "debug.h":
    const int FASTQ_DEBUG
