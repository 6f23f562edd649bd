# Python's view of the balancer, for tests: one worker that balances the requests of one peer set; part of balancer.pyx.


cdef class Balancer:
    """The peer set with this key in a peers file, as worker number `worker` balances it."""

    cdef SharedState shared          # keeps the mapping
    cdef bytes data                  # and the file
    cdef Worker* worker
    cdef Exchange* exchange
    cdef MappedSnapshot peers
    cdef LiveSettings settings

    def __cinit__(self, SharedState shared not None, bytes data not None, str key not None, *, uint32_t worker=0,
                  uint64_t seed=1, uint32_t retry_budget_percent=50, uint32_t retry_budget_min=100):
        cdef const SnapshotHeader* header = <const SnapshotHeader*> <const char*> data
        cdef uint32_t i
        self.shared, self.data = shared, data
        self.worker = <Worker*> calloc(1, sizeof(Worker))
        self.exchange = <Exchange*> calloc(1, sizeof(Exchange))
        if self.worker == NULL or self.exchange == NULL:
            raise MemoryError
        self.peers.base = header
        self.peers.balancing = balancing_new(&self.peers)
        if self.peers.balancing == NULL:
            raise MemoryError
        self.worker.index = worker
        self.worker.block = shared_worker(shared.base, worker)
        self.worker.targets = target_table(shared_control(shared.base))
        for i in range(4):
            self.worker.random[i] = mix_word(seed * 4 + i + 1)
        self.settings.retry_budget_percent = retry_budget_percent
        self.settings.retry_budget_min = retry_budget_min
        self.exchange.worker = self.worker
        self.exchange.peers = &self.peers
        self.exchange.settings = &self.settings
        self.exchange.peer_set = snapshot_peer_set(header, peer_key(key))
        if self.exchange.peer_set == NULL:
            raise KeyError(key)

    def __dealloc__(self):
        balancing_free(self.peers.balancing)
        free(self.worker)
        free(self.exchange)

    cdef const Peer* peer(self, uint32_t number) except NULL:
        if number >= self.exchange.peer_set.peer_count:
            raise IndexError(number)
        return <const Peer*> (<const uint8_t*> self.peers.base + self.exchange.peer_set.peer_offset) + number

    def set_time(self, uint64_t now_ms) -> None:
        """The loop's clock."""
        self.worker.loop.now_ms = now_ms
        self.worker.loop.now_us = now_ms * 1000

    def choose(self, *, tried=(), uint64_t hash=0) -> int | None:
        """Number of the peer for a request; `tried`: those that failed; `hash`: of the request, or the number in its
        sticky cookie. None: there is nobody."""
        cdef const Peer* found
        self.exchange.tried_count = 0
        for number in tried:
            self.exchange.peer = self.peer(number)
            peer_failed(self.exchange)
        self.exchange.hash, self.exchange.hash_known = hash, 1
        found = choose_peer(self.exchange)
        return None if found == NULL else found - self.peer(0)

    def sticky_value(self, uint32_t number) -> int:
        """What a cookie names a peer by."""
        return sticky_value(self.peer(number))

    def begin(self, uint32_t number) -> None:
        """A try goes to this peer."""
        self.exchange.flags = 0
        self.exchange.peer = self.peer(number)
        try_begins(self.exchange)

    def end(self, uint32_t number) -> None:
        """One of the tries there has been answered."""
        self.exchange.flags = EXCHANGE_COUNTED
        self.exchange.peer = self.peer(number)
        try_ended(self.exchange, TRY_ANSWERED)

    def answered(self, uint32_t number, uint64_t microseconds) -> None:
        """A peer has answered after that time. For sets without health checks."""
        self.exchange.peer = self.peer(number)
        self.exchange.sent_us = self.worker.loop.now_us - microseconds
        try_answered(self.exchange)

    def first_try(self) -> None:
        """A request comes."""
        first_try_begins(self.exchange)

    def may_retry(self) -> bool:
        """Take a retry from the budget."""
        return may_retry(self.exchange)
