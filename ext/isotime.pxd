# Header: the times in task headers, as Celery writes them: 2026-11-29T20:30:00.123456+00:00.
#
# Only the usual forms are read: date, `T` or a blank, time to the second, a fraction of 3 or 6 digits or none, and `Z`,
# an offset of hours and minutes, or nothing, which is UTC. Every other text is for whoever knows the whole standard.

from libc.stdint cimport int64_t


cdef inline int iso_digits(const unsigned char* p, int n) noexcept nogil:
    """The number in *n* decimal digits; -1 where another byte is among them."""
    cdef int i, v = 0
    for i in range(n):
        if p[i] < c'0' or p[i] > c'9':
            return -1
        v = v * 10 + p[i] - c'0'
    return v


cdef inline int64_t iso_days(int year, int month, int day) noexcept nogil:
    """Days from 1970-01-01 to a date of the Gregorian calendar; -1000000 where there is no such date."""
    cdef int last = 31
    cdef int64_t era_year, days
    if year < 1 or month < 1 or month > 12 or day < 1:
        return -1000000
    if month == 2:
        last = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    elif month == 4 or month == 6 or month == 9 or month == 11:
        last = 30
    if day > last:
        return -1000000
    # Years that begin in March end with the day that is not in all of them.
    era_year = year - 1 if month < 3 else year
    days = 365 * era_year + era_year // 4 - era_year // 100 + era_year // 400
    return days + (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1 - 719468


cdef inline bint iso_seconds(const unsigned char* p, size_t n, double* seconds) noexcept nogil:
    """Unix seconds of p[0:n] into *seconds*; False, and nothing else, for a text that is not of the usual forms."""
    cdef int hour, minute, second, micros = 0, offset_h = 0, offset_m = 0
    cdef int64_t days, whole
    cdef size_t at = 19
    if n < 19 or p[4] != c'-' or p[7] != c'-' or (p[10] != c'T' and p[10] != c' ') or p[13] != c':' or p[16] != c':':
        return False
    days = iso_days(iso_digits(p, 4), iso_digits(p + 5, 2), iso_digits(p + 8, 2))
    hour, minute, second = iso_digits(p + 11, 2), iso_digits(p + 14, 2), iso_digits(p + 17, 2)
    if days == -1000000 or not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return False
    if at < n and p[at] == c'.':
        if n >= at + 7 and iso_digits(p + at + 1, 6) >= 0:
            micros = iso_digits(p + at + 1, 6)
            at += 7
        elif n >= at + 4 and iso_digits(p + at + 1, 3) >= 0:
            micros = 1000 * iso_digits(p + at + 1, 3)
            at += 4
        else:
            return False
    if n == at + 1 and (p[at] == c'Z' or p[at] == c'z'):
        at += 1
    elif n == at + 6 and (p[at] == c'+' or p[at] == c'-') and p[at + 3] == c':':
        offset_h, offset_m = iso_digits(p + at + 1, 2), iso_digits(p + at + 4, 2)
        if not (0 <= offset_h < 24 and 0 <= offset_m < 60):
            return False
        if p[at] == c'-':
            offset_h, offset_m = -offset_h, -offset_m
        at += 6
    if at != n:
        return False
    whole = days * 86400 + (hour - offset_h) * 3600 + (minute - offset_m) * 60 + second
    seconds[0] = <double>(whole * 1000000 + micros) / 1e6
    return True
