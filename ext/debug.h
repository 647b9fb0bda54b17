/* FASTQ_DEBUG as a constant, so that the compiler drops every check from release builds. */
#ifndef FASTQ_DEBUG
#define FASTQ_DEBUG 0
#endif
