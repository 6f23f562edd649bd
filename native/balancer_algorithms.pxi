# The algorithms; included by balancer.pyx. Each returns NULL when nobody is left under the choice's leniency.

cdef enum:
    SHARED_STEPS = 32            # turns that one choice takes for all workers; further ones are its own
    RANDOM_DRAWS = 12            # before all peers are looked at one after the other


# --- who may be taken ------------------------------------------------------------------------------------------------
cdef bint was_tried(const Exchange* exchange, const Peer* peer) noexcept nogil:
    cdef uint32_t i
    for i in range(exchange.tried_count):
        if exchange.tried[i] == peer:
            return True
    return False


cdef inline uint64_t available_since(const Choice* choice, const Peer* peer) noexcept nogil:
    """When requests began to go there; 0: long ago."""
    return load_acquire(&choice.targets.targets[peer.slot].available_since_ms) if peer.slot else 0


cdef inline double random_share(Choice* choice) noexcept nogil:
    """Between 0 and 1, without 1."""
    return <double> (next_random(choice.exchange.worker.random) >> 11) * (1.0 / 9007199254740992.0)


cdef bint draws_share(Choice* choice, const Peer* peer) noexcept nogil:
    """Slow start: whether it is a peer's turn at all, which grows with the time since it is available."""
    cdef uint64_t since = available_since(choice, peer)
    cdef uint64_t now_ms = choice.exchange.worker.loop.now_ms
    cdef double share
    if since == 0 or now_ms >= since + choice.peer_set.slow_start_ms:
        return True
    # another process may be some milliseconds ahead
    share = <double> (now_ms - since if now_ms > since else 0) / <double> choice.peer_set.slow_start_ms
    return random_share(choice) < max(share, 1.0 / SMALLEST_SHARE)


cdef inline bint may_take(Choice* choice, const Peer* peer) noexcept nogil:
    if choice.state.unavailable and not target_available(choice.targets, peer.slot):
        return False
    if choice.leniency < ALSO_TRIED and choice.exchange.tried_count and was_tried(choice.exchange, peer):
        return False
    if choice.exchange.circuit_plugin != NULL and not circuit_allows(choice.exchange, peer):
        return False
    return not choice.slow_start or choice.leniency > BY_THE_RULES or draws_share(choice, peer)


# --- round-robin -----------------------------------------------------------------------------------------------------
cdef inline uint64_t take_turn(Choice* choice) noexcept nogil:
    """The next number. All workers count together, so that the node as a whole is even."""
    if choice.peer_set.slot:
        return count_relaxed(&choice.targets.groups[choice.peer_set.slot].turn)
    choice.state.turn += 1
    return choice.state.turn - 1


cdef const Peer* whose_turn(Choice* choice) noexcept nogil:
    cdef SetState* state = choice.state
    cdef const Peer* peer
    cdef uint32_t at = <uint32_t> (take_turn(choice) % state.wheel_length)
    cdef uint32_t step
    for step in range(state.wheel_length + SHARED_STEPS):
        peer = &choice.peers[state.wheel[at]]
        if may_take(choice, peer):
            return peer
        if step < SHARED_STEPS:
            at = <uint32_t> (take_turn(choice) % state.wheel_length)
        else:
            at = at + 1 if at + 1 < state.wheel_length else 0
    return NULL


# --- least connections -----------------------------------------------------------------------------------------------
cdef inline uint64_t load_of(Choice* choice, const Peer* peer) noexcept nogil:
    """Requests under way there, this one counted."""
    cdef int64_t under_way = target_open(choice.targets, peer.slot)
    return <uint64_t> under_way + 1 if under_way > 0 else 1


cdef const Peer* least_connections(Choice* choice) noexcept nogil:
    """The fewest requests under way by weight; those with equally many take turns."""
    cdef const Peer* best = NULL
    cdef const Peer* peer
    cdef uint64_t lowest = 0
    cdef uint64_t load
    cdef uint32_t count = choice.peer_set.peer_count
    cdef uint32_t at = <uint32_t> (take_turn(choice) % count)
    cdef uint32_t _step
    for _step in range(count):
        peer = &choice.peers[at]
        at = at + 1 if at + 1 < count else 0
        if not may_take(choice, peer):
            continue
        load = load_of(choice, peer)
        if best == NULL or load * best.weight < lowest * peer.weight:
            best, lowest = peer, load
    return best


# --- latency ---------------------------------------------------------------------------------------------------------
cdef double average_latency(Choice* choice) noexcept nogil:
    """Of the peers that have one; 0: nobody has."""
    cdef uint64_t now_ms = choice.exchange.worker.loop.now_ms
    cdef double total = 0
    cdef double latency
    cdef uint32_t known = 0
    cdef uint32_t i
    for i in range(choice.peer_set.peer_count):
        latency = target_latency(choice.targets, choice.peers[i].slot, now_ms)
        if latency > 0:
            total += latency
            known += 1
    return total / known if known else 0


cdef double expected_wait(Choice* choice, const Peer* peer) noexcept nogil:
    """Latency for each request under way there, by weight. A peer that nothing is known of counts as an average one."""
    cdef double latency = target_latency(choice.targets, peer.slot, choice.exchange.worker.loop.now_ms)
    if latency <= 0:
        latency = average_latency(choice)
    return max(latency, 1.0) * <double> load_of(choice, peer) / <double> peer.weight


cdef const Peer* random_peer(Choice* choice, const Peer* other) noexcept nogil:
    """One of those that may be taken, but not `other`."""
    cdef const Peer* peer
    cdef uint32_t count = choice.peer_set.peer_count
    cdef uint32_t at = 0
    cdef uint32_t _step
    for _step in range(<uint32_t> RANDOM_DRAWS):
        at = <uint32_t> (next_random(choice.exchange.worker.random) % count)
        peer = &choice.peers[at]
        if peer != other and may_take(choice, peer):
            return peer
    for _step in range(count):
        at = at + 1 if at + 1 < count else 0
        peer = &choice.peers[at]
        if peer != other and may_take(choice, peer):
            return peer
    return NULL


cdef const Peer* lowest_latency(Choice* choice) noexcept nogil:
    """The better one of two picked at random: nearly as good as the best of all, and not everybody's best at once."""
    cdef const Peer* one = random_peer(choice, NULL)
    cdef const Peer* other = random_peer(choice, one) if one != NULL else NULL
    if other == NULL or expected_wait(choice, one) <= expected_wait(choice, other):
        return one
    return other


# --- consistent hashing ----------------------------------------------------------------------------------------------
cdef const Peer* next_in_slot(Choice* choice, uint32_t slot) noexcept nogil:
    """Who would have the slot if those that may not be taken were not there."""
    cdef uint64_t seed = slot_seed(slot)
    cdef const Peer* best = NULL
    cdef const Peer* peer
    cdef double lowest = 0
    cdef double draw, cost
    cdef uint32_t i
    for i in range(choice.peer_set.peer_count):
        peer = &choice.peers[i]
        if not may_take(choice, peer):
            continue
        draw = slot_draw(seed, peer.identity)
        if best != NULL and not draw_may_win(draw, peer.weight, lowest):
            continue
        cost = draw_cost(draw, peer.weight)
        if best == NULL or cost < lowest:
            best, lowest = peer, cost
    return best


cdef const Peer* by_hash(Choice* choice) noexcept nogil:
    cdef const PeerSet* peer_set = choice.peer_set
    cdef const uint16_t* table = <const uint16_t*> (
        <const uint8_t*> choice.exchange.peers.base + peer_set.hash_offset)
    cdef uint32_t slot = <uint32_t> (choice.exchange.hash % peer_set.hash_length)
    cdef const Peer* peer = &choice.peers[table[slot]]
    return peer if may_take(choice, peer) else next_in_slot(choice, slot)


# --- sticky ----------------------------------------------------------------------------------------------------------
cdef enum:
    STICKY_TEXT = 16             # hex digits


cdef inline uint64_t sticky_value(const Peer* peer) noexcept nogil:
    """What a cookie names a peer by: the same on every node, and nobody sees an address in it."""
    return mix_word(peer.identity ^ <uint64_t> 0x5354494b59)


cdef uint64_t sticky_cookie(Exchange* exchange) noexcept nogil:
    """The request's; 0: none, or nothing that this gateway has made."""
    cdef Text value
    cdef uint64_t number = 0
    cdef uint32_t i
    cdef uint8_t digit
    if not request_cookie(exchange, text_of(snapshot_text(exchange.peers.base, exchange.peer_set.hash_name),
                                            exchange.peer_set.hash_name.length), &value) or value.length != STICKY_TEXT:
        return 0
    for i in range(<uint32_t> STICKY_TEXT):
        digit = value.data[i]
        if 48 <= digit <= 57:
            digit -= 48
        elif 97 <= digit <= 102:
            digit -= 87
        else:
            return 0
        number = number << 4 | digit
    return number


cdef const Peer* by_cookie(Choice* choice) noexcept nogil:
    """The peer that the cookie names; without one, or when that is not to be had, whose turn it is."""
    cdef Exchange* exchange = choice.exchange
    cdef uint32_t i
    if not exchange.hash_known:
        exchange.hash = sticky_cookie(exchange)
        exchange.hash_known = 1
    if exchange.hash:
        for i in range(choice.peer_set.peer_count):
            if sticky_value(&choice.peers[i]) == exchange.hash and may_take(choice, &choice.peers[i]):
                return &choice.peers[i]
    return whose_turn(choice)


cdef void send_sticky_cookie(Exchange* exchange) noexcept nogil:
    """Name the peer that has answered, unless the client's cookie does already."""
    cdef const char* digits = b"0123456789abcdef"
    cdef const PeerSet* peer_set = exchange.peer_set
    cdef uint64_t number = sticky_value(exchange.peer)
    cdef uint8_t text[STICKY_TEXT]
    cdef uint32_t i
    if not exchange.hash_known:                          # a set with a single peer is not chosen from
        exchange.hash = sticky_cookie(exchange)
        exchange.hash_known = 1
    if exchange.hash == number or exchange.flags & EXCHANGE_BACKGROUND:
        return
    for i in range(<uint32_t> STICKY_TEXT):
        text[i] = <uint8_t> digits[(number >> (60 - 4 * i)) & 15]
    send_cookie(exchange, text_of(snapshot_text(exchange.peers.base, peer_set.hash_name), peer_set.hash_name.length),
                text_of(text, STICKY_TEXT),
                text_of(snapshot_text(exchange.peers.base, peer_set.cookie_path), peer_set.cookie_path.length))
