/* C11-style atomics and the two ways to put a process to sleep until another one wakes it.
 *
 * Linux sleeps on a futex in shared memory; elsewhere a pipe stands in for it, so every call takes
 * both the word and the descriptor and uses one of them.
 */
#ifndef FASTQ_ATOMIC_H
#define FASTQ_ATOMIC_H

#include <errno.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <signal.h>
#else
#include <poll.h>
#endif

static inline uint64_t fq_load64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline uint32_t fq_load32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void fq_store64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline void fq_store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint32_t fq_swap32(uint32_t *p, uint32_t v) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
static inline void fq_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* 1 when *p was `want` and is now `put`. */
static inline int fq_cas64(uint64_t *p, uint64_t want, uint64_t put) {
    return __atomic_compare_exchange_n(p, &want, put, 0, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}

static inline uint64_t fq_mono_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline double fq_wall_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Sleep while *word == seen, at most timeout_ms. Returns early on a wake-up, a signal, or a changed word.
 * A sleeper with a descriptor of its own that waits elsewhere, in an event loop, is woken by that. */
static inline void fq_sleep(uint32_t *word, uint32_t seen, int fd, int timeout_ms) {
#ifdef __linux__
    struct timespec t = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000L};
    (void)fd;
    syscall(SYS_futex, word, FUTEX_WAIT, seen, &t, NULL, 0);
#else
    struct pollfd p = {fd, POLLIN, 0};
    char sink[64];
    if (fq_load32(word) == seen && poll(&p, 1, timeout_ms) > 0) (void)!read(fd, sink, sizeof sink);
#endif
}

static inline void fq_rouse(uint32_t *word, int fd) {
    static const uint64_t one = 1;
    if (fd >= 0) {
        (void)!write(fd, &one, sizeof one); /* what an eventfd takes; a pipe takes anything */
        return;
    }
#ifdef __linux__
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
#else
    (void)word;
#endif
}

/* Whether orphans below this process become its children, from now on; -1: there is no such thing. */
static inline int fq_adopt_orphans(int on) {
#ifdef __linux__
    return prctl(PR_SET_CHILD_SUBREAPER, on) == 0 ? on : -1;
#else
    (void)on;
    return -1;
#endif
}

/* Make the kernel kill this process when its parent dies; 0 where there is no such thing. */
static inline int fq_die_with_parent(void) {
#ifdef __linux__
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
#else
    return 0;
#endif
}

#endif
