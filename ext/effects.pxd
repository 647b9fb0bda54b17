# Header: what a finished task leaves besides its outcome, as the child packs it and the supervisor reads it.
#
# A sequence of records in native byte order, no padding:
#
#   'R' u8 state_n, state, u16 id_n, task id, u32 meta_n, meta       store a result
#   'P' u8 priority, f64 run_at (NaN: now), u16 exchange_n,          publish a message
#       exchange, u16 queue_n, queue, u32 content_n, content
#   'C' u8 0 or 1, u16 group_n, group id, u32 part_n, part           0: a member of a chord has ended
#                                                                    1: the body of the chord is among what is published
#   'W' u8 0, u16 reason_n, reason, u32 0                            why the message is dead-lettered

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    EFFECT_RESULT = 82          # 'R'
    EFFECT_PUBLISH = 80         # 'P'
    EFFECT_CHORD = 67           # 'C'
    EFFECT_REASON = 87          # 'W'
