# What is noted of each try, and the retry budget; included by balancer.pyx.


# --- passive health checks -------------------------------------------------------------------------------------------
cdef inline bint has_status(const uint8_t* statuses, uint32_t status) noexcept nogil:
    return status < 1024 and statuses[status >> 3] >> (status & 7) & 1


cdef void log_change(Exchange* exchange) noexcept nogil:
    cdef uint8_t text[LONGEST_STATE_TEXT]
    cdef const char* base = <const char*> exchange.peers.base
    cdef Text target = text_of(base + exchange.peer.name.offset, min(exchange.peer.name.length, 253))
    cdef Text upstream = text_of(base + exchange.peer_set.name.offset, min(exchange.peer_set.name.length, 253))
    memcpy(text, target.data, target.length)
    memcpy(text + target.length, b" of ", 4)
    memcpy(text + target.length + 4, upstream.data, upstream.length)
    if target_available(&exchange.worker.targets, exchange.peer.slot):
        log_error(exchange.worker, LOG_NOTICE, exchange, b"target is healthy again", <const char*> text,
                  target.length + 4 + upstream.length)
    else:
        log_error(exchange.worker, LOG_WARN, exchange, b"target is unhealthy, it gets no more requests",
                  <const char*> text, target.length + 4 + upstream.length)


cdef void report(Exchange* exchange, const HealthRules* rules, TargetReport what) noexcept nogil:
    if target_report(&exchange.worker.targets, exchange.peer_set.slot, exchange.peer.slot, what, &rules.limits,
                     exchange.worker.loop.now_ms):
        log_change(exchange)


cdef void report_status(Exchange* exchange, const HealthRules* rules, uint32_t status) noexcept nogil:
    """What a response says; 504 is a timeout, whoever made it (Kong)."""
    if status == 504:
        report(exchange, rules, REPORT_TIMEOUT)
    elif has_status(rules.healthy_statuses, status):
        if rules.limits.successes:
            report(exchange, rules, REPORT_SUCCESS)
    elif has_status(rules.unhealthy_statuses, status):
        report(exchange, rules, REPORT_HTTP_FAILURE)


cdef void report_failure(Exchange* exchange, const HealthRules* rules, TryOutcome outcome) noexcept nogil:
    """What a try without a whole response says. Who counts no broken connections may count the 502 that is made of them."""
    if outcome == TRY_TIMED_OUT:
        report(exchange, rules, REPORT_TIMEOUT)
    elif rules.limits.tcp_failures or not has_status(rules.unhealthy_statuses, 502):
        report(exchange, rules, REPORT_TCP_FAILURE)
    else:
        report(exchange, rules, REPORT_HTTP_FAILURE)


# --- tries -----------------------------------------------------------------------------------------------------------
cdef void try_begins(Exchange* exchange) noexcept nogil:
    exchange.flags |= EXCHANGE_COUNTED
    if exchange.peer.slot:
        target_begin(&exchange.worker.targets, exchange.worker.index, exchange.peer.slot)


cdef void note_latency(Exchange* exchange, uint64_t at_least_us) noexcept nogil:
    cdef uint64_t now_us = exchange.worker.loop.now_us
    cdef uint64_t elapsed = now_us - exchange.sent_us if now_us > exchange.sent_us else 0
    target_note_latency(&exchange.worker.targets, exchange.peer.slot, max(elapsed, at_least_us),
                        exchange.worker.loop.now_ms)


cdef void try_answered(Exchange* exchange) noexcept nogil:
    cdef const HealthRules* rules
    if exchange.circuit_plugin != NULL:
        circuit_answered(exchange)
    if exchange.peer_set.algorithm == BALANCE_STICKY:
        send_sticky_cookie(exchange)
    if exchange.peer.slot == 0:
        return
    if exchange.peer_set.algorithm == BALANCE_LATENCY:
        note_latency(exchange, 1)
    rules = rules_of(exchange.peers, exchange.peer_set)
    if rules != NULL:
        report_status(exchange, rules, exchange.response.status)


cdef void try_ended(Exchange* exchange, TryOutcome outcome) noexcept nogil:
    cdef const HealthRules* rules
    cdef bint failed = outcome != TRY_ANSWERED and outcome != TRY_GIVEN_UP
    if not exchange.flags & EXCHANGE_COUNTED:
        return
    exchange.flags &= ~<uint32_t> EXCHANGE_COUNTED
    if exchange.circuit_plugin != NULL:
        circuit_try_ended(exchange, outcome)
    if exchange.peer.slot == 0:
        return
    target_end(&exchange.worker.targets, exchange.worker.index, exchange.peer.slot, failed)
    if not failed:
        return
    if exchange.peer_set.algorithm == BALANCE_LATENCY:
        note_latency(exchange, FAILURE_LATENCY_US)       # who refuses at once is not fast
    rules = rules_of(exchange.peers, exchange.peer_set)
    if rules != NULL:
        report_failure(exchange, rules, outcome)


# --- retry budget ----------------------------------------------------------------------------------------------------
# A bucket of thousandths of a retry in one word of the group: the milliseconds (modulo 2^32) at which it was last filled,
# and its content, 32 bits each. Every first try puts its share in, time puts in the retries that are always allowed.
cdef enum:
    WHOLE_RETRY = 1000
    BURST_MS = 10000             # retries that are allowed and not used are kept for so long
    LEAST_BURST = 100            # retries; what the bucket holds at least


cdef inline GroupState* group_of(Exchange* exchange) noexcept nogil:
    """NULL: the set has no place in shared memory, and no budget."""
    return &exchange.worker.targets.groups[exchange.peer_set.slot] if exchange.peer_set.slot else NULL


cdef inline uint64_t bucket_room(const Exchange* exchange) noexcept nogil:
    return max(<uint64_t> exchange.settings.retry_budget_min * BURST_MS, <uint64_t> LEAST_BURST * WHOLE_RETRY)


cdef inline uint32_t since_filled(const Exchange* exchange, uint64_t word) noexcept nogil:
    """Milliseconds. Another worker may have filled it at a time that is none here yet."""
    cdef uint32_t elapsed = <uint32_t> exchange.worker.loop.now_ms - <uint32_t> (word >> 32)
    return elapsed if elapsed <= <uint32_t> 0x80000000 or word == 0 else 0


cdef inline uint64_t bucket_content(const Exchange* exchange, uint64_t word) noexcept nogil:
    """What there is by now. A bucket that was never used has been filling since ever."""
    cdef uint32_t elapsed = BURST_MS if word == 0 else since_filled(exchange, word)
    return min(<uint64_t> <uint32_t> word + <uint64_t> elapsed * exchange.settings.retry_budget_min, bucket_room(exchange))


cdef inline uint64_t bucket_word(const Exchange* exchange, uint64_t word, uint64_t content) noexcept nogil:
    """The word that follows `word`."""
    return <uint64_t> (<uint32_t> (word >> 32) + since_filled(exchange, word)) << 32 | content


cdef void first_try_begins(Exchange* exchange) noexcept nogil:
    cdef GroupState* group = group_of(exchange)
    cdef uint64_t room, word
    if group == NULL or exchange.settings.retry_budget_percent == 0:
        return
    room = bucket_room(exchange)
    word = load_acquire(&group.retry_budget)
    # full, as long as nothing fails: then nobody writes
    while <uint32_t> word < room:
        if compare_swap_relaxed(&group.retry_budget, &word, bucket_word(
                exchange, word, min(bucket_content(exchange, word) + exchange.settings.retry_budget_percent * 10, room))):
            return


cdef bint may_retry(Exchange* exchange) noexcept nogil:
    cdef GroupState* group = group_of(exchange)
    cdef uint64_t word, content
    if group == NULL:
        return True
    word = load_acquire(&group.retry_budget)
    while True:
        content = bucket_content(exchange, word)
        if content < WHOLE_RETRY:
            break
        if compare_swap_relaxed(&group.retry_budget, &word, bucket_word(exchange, word, content - WHOLE_RETRY)):
            return True
    count_relaxed(&group.retries_refused)
    exchange.worker.block.retries_refused += 1
    return False
