"""Which of several weighted candidates a hash value belongs to: weighted rendezvous hashing.

Every candidate draws a number for every slot, from slot and identity alone; the lowest *cost* wins, and a candidate wins
in proportion to its weight. So a candidate that comes or goes, or changes its weight, moves only its own share of the
slots: for two others nothing changes. The winners of all slots are computed once (slot_table), who is next when a winner
may not be had is computed when it is asked.
"""

from libc.math cimport log
from libc.stdint cimport uint16_t, uint32_t, uint64_t


cdef inline uint64_t mix_word(uint64_t word) noexcept nogil:
    """Every bit of the result depends on every bit of the word; no two words have the same result."""
    word = (word ^ (word >> 33)) * <uint64_t> 0xff51afd7ed558ccd
    word = (word ^ (word >> 33)) * <uint64_t> 0xc4ceb9fe1a85ec53
    return word ^ (word >> 33)


# What a slot adds to the draws in it.
cdef inline uint64_t slot_seed(uint32_t slot) noexcept nogil:
    return mix_word(<uint64_t> slot + <uint64_t> 0x9e3779b97f4a7c15)


# The number that a candidate draws, between 0 and 1, without both.
cdef inline double slot_draw(uint64_t seed, uint64_t identity) noexcept nogil:
    return (<double> (mix_word(seed ^ identity) >> 11) + 0.5) * (1.0 / 9007199254740992.0)


# `weight` is above 0.
cdef inline double draw_cost(double draw, double weight) noexcept nogil:
    return -log(draw) / weight


# Whether a draw may cost less than `cost` at all: a bound that needs no logarithm (-ln u >= 1 - u).
cdef inline bint draw_may_win(double draw, double weight, double cost) noexcept nogil:
    return 1.0 - draw < cost * weight


# Write the winner of every slot, its place among the candidates, to `winners`.
cdef void fill_slot_table(const uint64_t* identities, const double* weights, uint32_t count,
                          uint16_t* winners, uint32_t slots) noexcept nogil
