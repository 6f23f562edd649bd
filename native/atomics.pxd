"""Words that several threads or processes use: what the compiler offers (GCC's __atomic), by the order that is promised.

    relaxed     the word is read or written as a whole; nothing follows for other words
    acquire     what the writer wrote before the word he released is seen by who has read it
    release
    ordered     beyond that, all see the words of this order change in one and the same order (sequentially consistent)

Without any of these in its name, what changes a word does both, acquire and release. Without a number: of 64 bits.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from * nogil:
    """
    #include <stdint.h>
    #define GATEWAY_LOAD_RELAXED(place) __atomic_load_n((place), __ATOMIC_RELAXED)
    #define GATEWAY_LOAD_ACQUIRE(place) __atomic_load_n((place), __ATOMIC_ACQUIRE)
    #define GATEWAY_LOAD_ORDERED(place) __atomic_load_n((place), __ATOMIC_SEQ_CST)
    #define GATEWAY_STORE_RELAXED(place, value) __atomic_store_n((place), (value), __ATOMIC_RELAXED)
    #define GATEWAY_STORE_RELEASE(place, value) __atomic_store_n((place), (value), __ATOMIC_RELEASE)
    #define GATEWAY_STORE_ORDERED(place, value) __atomic_store_n((place), (value), __ATOMIC_SEQ_CST)
    #define GATEWAY_COUNT_RELAXED(place) __atomic_fetch_add((place), 1, __ATOMIC_RELAXED)
    #define GATEWAY_ADD(place, value) __atomic_add_fetch((place), (value), __ATOMIC_ACQ_REL)
    #define GATEWAY_ADD_ORDERED(place, value) __atomic_add_fetch((place), (value), __ATOMIC_SEQ_CST)
    #define GATEWAY_OR_ORDERED(place, bits) __atomic_fetch_or((place), (bits), __ATOMIC_SEQ_CST)
    #define GATEWAY_EXCHANGE(place, value) __atomic_exchange_n((place), (value), __ATOMIC_ACQ_REL)
    #define GATEWAY_EXCHANGE_ORDERED(place, value) __atomic_exchange_n((place), (value), __ATOMIC_SEQ_CST)
    #define GATEWAY_FENCE_ORDERED() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #define GATEWAY_FENCE_ACQUIRE() __atomic_thread_fence(__ATOMIC_ACQUIRE)
    #define GATEWAY_SWAP(place, expected, value) \\
        __atomic_compare_exchange_n((place), (expected), (value), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
    #define GATEWAY_SWAP_RELAXED(place, expected, value) \\
        __atomic_compare_exchange_n((place), (expected), (value), 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
    static inline int gateway_replace_ordered(uint64_t *place, uint64_t expected, uint64_t value) {
        return __atomic_compare_exchange_n(place, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    """
    uint64_t load_relaxed "GATEWAY_LOAD_RELAXED"(const uint64_t* place) noexcept
    uint32_t load_relaxed32 "GATEWAY_LOAD_RELAXED"(const uint32_t* place) noexcept
    uint64_t load_acquire "GATEWAY_LOAD_ACQUIRE"(const uint64_t* place) noexcept
    int64_t load_acquire_signed "GATEWAY_LOAD_ACQUIRE"(const int64_t* place) noexcept
    uint32_t load_acquire32 "GATEWAY_LOAD_ACQUIRE"(const uint32_t* place) noexcept
    uint8_t load_acquire8 "GATEWAY_LOAD_ACQUIRE"(const uint8_t* place) noexcept
    uint64_t load_ordered "GATEWAY_LOAD_ORDERED"(const uint64_t* place) noexcept
    uint8_t load_ordered8 "GATEWAY_LOAD_ORDERED"(const uint8_t* place) noexcept

    void store_relaxed "GATEWAY_STORE_RELAXED"(uint64_t* place, uint64_t value) noexcept
    void store_relaxed32 "GATEWAY_STORE_RELAXED"(uint32_t* place, uint32_t value) noexcept
    void store_release "GATEWAY_STORE_RELEASE"(uint64_t* place, uint64_t value) noexcept
    void store_release32 "GATEWAY_STORE_RELEASE"(uint32_t* place, uint32_t value) noexcept
    void store_release8 "GATEWAY_STORE_RELEASE"(uint8_t* place, uint8_t value) noexcept
    void store_ordered "GATEWAY_STORE_ORDERED"(uint64_t* place, uint64_t value) noexcept
    void store_ordered8 "GATEWAY_STORE_ORDERED"(uint8_t* place, uint8_t value) noexcept

    # One more; returns what was there before.
    uint64_t count_relaxed "GATEWAY_COUNT_RELAXED"(uint64_t* place) noexcept
    # Return the sum.
    uint64_t add_and_get "GATEWAY_ADD"(uint64_t* place, uint64_t value) noexcept
    int64_t add_and_get_signed "GATEWAY_ADD"(int64_t* place, int64_t value) noexcept
    uint64_t add_and_get_ordered "GATEWAY_ADD_ORDERED"(uint64_t* place, uint64_t value) noexcept
    # These return what was there before.
    uint64_t or_ordered "GATEWAY_OR_ORDERED"(uint64_t* place, uint64_t bits) noexcept
    void* exchange_pointer "GATEWAY_EXCHANGE"(void** place, void* value) noexcept
    uint64_t exchange_ordered "GATEWAY_EXCHANGE_ORDERED"(uint64_t* place, uint64_t value) noexcept
    uint32_t exchange_ordered32 "GATEWAY_EXCHANGE_ORDERED"(uint32_t* place, uint32_t value) noexcept

    # Compare and swap. True: it was `expected` and is `value` now. Where another value stands, it is put in `expected`.
    bint compare_swap "GATEWAY_SWAP"(uint64_t* place, uint64_t* expected, uint64_t value) noexcept
    bint compare_swap_signed "GATEWAY_SWAP"(int64_t* place, int64_t* expected, int64_t value) noexcept
    bint compare_swap_relaxed "GATEWAY_SWAP_RELAXED"(uint64_t* place, uint64_t* expected, uint64_t value) noexcept
    # The same; what stands there otherwise is not told.
    bint replace_ordered "gateway_replace_ordered"(uint64_t* place, uint64_t expected, uint64_t value) noexcept

    # What was written before is seen by all who see what is written later, and what is read later is newer.
    void fence_ordered "GATEWAY_FENCE_ORDERED"() noexcept
    # What was read before is read before what is read later.
    void fence_acquire "GATEWAY_FENCE_ACQUIRE"() noexcept
