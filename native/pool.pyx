from libc.errno cimport EMFILE, ENFILE
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport close

from native.connection cimport (
    POOL_BUCKETS,
    UPSTREAM_ACTIVE,
    UPSTREAM_CLOSED,
    UPSTREAM_CONNECTING,
    UPSTREAM_IDLE,
    Pool,
    settings_of,
)
from native.loop cimport Endpoint, Timer, loop_add, loop_forget, timer_remove, timer_set
from native.memory cimport buffer_give, slab_give, slab_take
from native.snapshot cimport LiveSettings
from native.sockets cimport connect_to
from native.stream cimport stream_is_quiet

cdef inline uint32_t bucket_of(const uint8_t* address, uint8_t family, uint16_t port) noexcept nogil:
    cdef uint64_t word[2]
    cdef uint64_t mixed
    memcpy(word, address, 16)
    mixed = (word[0] * <uint64_t> 0x9e3779b97f4a7c15) ^ (word[1] * <uint64_t> 0xc2b2ae3d27d4eb4f)
    mixed = (mixed ^ port ^ (<uint64_t> family << 16)) * <uint64_t> 0x9e3779b97f4a7c15
    return <uint32_t> (mixed >> 40) % POOL_BUCKETS


cdef Pool* find_pool(Worker* worker, const Peer* peer) noexcept nogil:
    cdef Pool* pool = worker.pool_buckets[bucket_of(peer.address, peer.family, peer.port)]
    while pool != NULL:
        if pool.port == peer.port and pool.family == peer.family and memcmp(pool.address, peer.address, 16) == 0:
            return pool
        pool = pool.next
    return NULL


cdef Pool* make_pool(Worker* worker, const Peer* peer) noexcept nogil:
    cdef uint32_t bucket = bucket_of(peer.address, peer.family, peer.port)
    cdef Pool* pool = <Pool*> slab_take(&worker.pools)
    if pool == NULL:
        return NULL
    memset(pool, 0, sizeof(Pool))
    memcpy(pool.address, peer.address, 16)
    pool.family = peer.family
    pool.port = peer.port
    pool.next = worker.pool_buckets[bucket]
    worker.pool_buckets[bucket] = pool
    return pool


cdef void release_pool(Worker* worker, Pool* pool) noexcept nogil:
    """One connection less; a pool without connections goes."""
    cdef Pool** place
    pool.connections -= 1
    if pool.connections > 0:
        return
    place = &worker.pool_buckets[bucket_of(pool.address, pool.family, pool.port)]
    while place[0] != pool:
        place = &place[0].next
    place[0] = pool.next
    slab_give(&worker.pools, pool)


cdef void unlink_idle(Worker* worker, Upstream* upstream) noexcept nogil:
    cdef Pool* pool = upstream.pool
    if upstream.newer != NULL:
        upstream.newer.older = upstream.older
    else:
        pool.newest = upstream.older
    if upstream.older != NULL:
        upstream.older.newer = upstream.newer
    else:
        pool.oldest = upstream.newer
    upstream.newer = NULL
    upstream.older = NULL
    pool.idle -= 1
    worker.idle_upstreams -= 1


cdef void on_idle_ready(Endpoint* endpoint) noexcept nogil:
    """An idle connection has nothing to say: the peer closed it, or sent bytes nobody asked for."""
    if endpoint.failed or endpoint.peer_closed or (endpoint.readable and not stream_is_quiet(endpoint)):
        upstream_close(<Worker*> endpoint.owner, <Upstream*> endpoint)
    else:
        endpoint.readable = 0                            # left over from a read that filled its buffer


cdef void on_idle_timeout(Timer* timer) noexcept nogil:
    cdef Upstream* upstream = <Upstream*> timer.owner
    upstream_close(<Worker*> upstream.endpoint.owner, upstream)


cdef Upstream* pool_take(Worker* worker, const Peer* peer) noexcept nogil:
    cdef Pool* pool = find_pool(worker, peer)
    cdef Upstream* upstream
    if pool == NULL or pool.newest == NULL:
        return NULL
    upstream = pool.newest
    unlink_idle(worker, upstream)
    upstream.state = UPSTREAM_ACTIVE
    upstream.reused = 1
    upstream.endpoint.timer.deadline = 0
    worker.block.upstream_reuses += 1
    return upstream


cdef bint close_oldest_idle(Worker* worker) noexcept nogil:
    """Descriptors are out: give one up that waits in some pool."""
    cdef int i
    cdef Pool* pool
    for i in range(POOL_BUCKETS):
        pool = worker.pool_buckets[i]
        while pool != NULL:
            if pool.oldest != NULL:
                upstream_close(worker, pool.oldest)
                return True
            pool = pool.next
    return False


cdef Upstream* pool_connect(Worker* worker, const Peer* peer) noexcept nogil:
    cdef Pool* pool
    cdef Upstream* upstream
    cdef int fd
    cdef bint pending = False
    fd = connect_to(peer.family, peer.address, peer.port, &pending)
    if fd == -EMFILE or fd == -ENFILE:
        if not close_oldest_idle(worker):
            return NULL
        fd = connect_to(peer.family, peer.address, peer.port, &pending)
        if fd == -EMFILE or fd == -ENFILE:
            return NULL
    pool = find_pool(worker, peer)
    if pool == NULL:
        pool = make_pool(worker, peer)
    upstream = <Upstream*> slab_take(&worker.upstreams) if pool != NULL else NULL
    if upstream == NULL:
        if pool != NULL and pool.connections == 0:
            pool.connections = 1
            release_pool(worker, pool)
        if fd >= 0:
            close(fd)
        return NULL
    memset(upstream, 0, sizeof(Upstream))
    pool.connections += 1
    upstream.pool = pool
    upstream.endpoint.fd = fd
    upstream.endpoint.owner = worker
    upstream.endpoint.timer.owner = upstream
    worker.block.upstream_connects += 1
    if fd < 0:
        upstream.endpoint.fd = -1
        upstream_close(worker, upstream)
        return upstream
    upstream.state = UPSTREAM_CONNECTING if pending else UPSTREAM_ACTIVE
    upstream.endpoint.writable = 0 if pending else 1
    if loop_add(&worker.loop, &upstream.endpoint) != 0:
        upstream_close(worker, upstream)
    return upstream


cdef void pool_give(Worker* worker, Upstream* upstream) noexcept nogil:
    cdef const LiveSettings* settings = settings_of(worker)
    cdef Pool* pool = upstream.pool
    upstream.exchange = NULL
    if upstream.endpoint.failed or upstream.endpoint.peer_closed or settings.upstream_pool_size == 0 \
            or (settings.upstream_max_requests and upstream.requests >= settings.upstream_max_requests) \
            or (upstream.endpoint.readable and not stream_is_quiet(&upstream.endpoint)):
        # the last: bytes behind the response, still in the socket, would be read as the next one
        upstream_close(worker, upstream)
        return
    if pool.idle >= settings.upstream_pool_size:
        upstream_close(worker, pool.oldest)
    buffer_give(&worker.buffers, upstream.input)
    upstream.input = NULL
    upstream.state = UPSTREAM_IDLE
    upstream.newer = NULL
    upstream.older = pool.newest
    if pool.newest != NULL:
        pool.newest.newer = upstream
    else:
        pool.oldest = upstream
    pool.newest = upstream
    pool.idle += 1
    worker.idle_upstreams += 1
    upstream.endpoint.on_ready = on_idle_ready
    upstream.endpoint.timer.on_expire = on_idle_timeout
    if settings.upstream_idle_timeout_ms:
        timer_set(&worker.loop, &upstream.endpoint.timer, worker.loop.now_ms + settings.upstream_idle_timeout_ms)
    else:
        upstream.endpoint.timer.deadline = 0


cdef void upstream_close(Worker* worker, Upstream* upstream) noexcept nogil:
    if upstream.state == UPSTREAM_CLOSED:
        return
    if upstream.state == UPSTREAM_IDLE:
        unlink_idle(worker, upstream)
    upstream.state = UPSTREAM_CLOSED
    if upstream.endpoint.fd >= 0:
        close(upstream.endpoint.fd)
        upstream.endpoint.fd = -1
    loop_forget(&worker.loop, &upstream.endpoint)
    timer_remove(&worker.loop, &upstream.endpoint.timer)
    buffer_give(&worker.buffers, upstream.input)
    upstream.input = NULL
    upstream.exchange = NULL
    release_pool(worker, upstream.pool)
    upstream.pool = NULL
    upstream.next_free = worker.closed_upstreams
    worker.closed_upstreams = upstream


cdef void free_closed_upstreams(Worker* worker) noexcept nogil:
    cdef Upstream* upstream
    while worker.closed_upstreams != NULL:
        upstream = worker.closed_upstreams
        worker.closed_upstreams = upstream.next_free
        slab_give(&worker.upstreams, upstream)


cdef void pools_clear(Worker* worker) noexcept nogil:
    while close_oldest_idle(worker):
        pass
