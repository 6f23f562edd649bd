"""Rules about the kernel's settings, by its own documents (networking/ip-sysctl, admin-guide/sysctl)."""

from gateway.tuning.rules import Area, Case, Rule, Situation, Verdict

LONG_QUEUE = 16384
PACKETS = 8192
"""where packets were dropped; some 12 MB of them for each processor"""
PORTS = (10240, 65535)
"""local ports for outgoing connections, where the kernel's 28,232 are too few; most servers lie below"""
MANY_TIME_WAITS = 5000
ORPHANS_SHARE = 4
RECEIVE_MOST = 4 << 20
"""bytes; enough for 1 Gbit/s over 32 ms"""
CONNTRACK_PER_CONNECTION = 2
"""the client's and the upstream's"""
LITTLE_SWAPPING = 10


def _kernel(
    name: str,
    *cases: Case,
    otherwise: str,
    source: str = "documented: ip-sysctl",
    applies: object = None,
) -> Rule:
    more = {} if applies is None else {"applies": applies}
    return Rule(Area.KERNEL, name, cases, otherwise, source, **more)  # type: ignore[arg-type]


def _backlog(situation: Situation) -> int:
    """The longest queue that the gateway's listeners ask for."""
    return max((listener.backlog for listener in situation.settings.proxy_listen), default=0)


def _queue(situation: Situation) -> int:
    wanted = situation.profile.accept_queue
    if situation.sign("listen_overflows"):
        wanted = max(wanted, LONG_QUEUE)
    return min(wanted, max(_backlog(situation), 4096), 65535)


def _most_upstream_connections(situation: Situation) -> int:
    """To one address, if all traffic went there."""
    return situation.workers * situation.connections


def _reserved(situation: Situation) -> list[int]:
    """Ports of the gateway's own listeners that an outgoing connection could take."""
    name = "net.ipv4.ip_local_port_range"
    low, high = situation.sysctl(name), situation.sysctl(name, 1)
    if situation.profile.many_connections:
        low, high = min(low, PORTS[0]), max(high, PORTS[1])
    listeners = (
        *situation.settings.proxy_listen,
        *situation.settings.admin_listen,
        *situation.settings.status_listen,
    )
    ports = {listener.port for listener in listeners if low <= listener.port <= high}
    return sorted(ports - _ports(situation.facts.sysctls.get("net.ipv4.ip_local_reserved_ports", "")))


def _ports(text: str) -> set[int]:
    found: set[int] = set()
    for part in filter(None, text.replace(" ", "").split(",")):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found.update(range(int(first), int(last or first) + 1))
    return found


def _with_reserved(situation: Situation) -> str:
    before = situation.facts.sysctls.get("net.ipv4.ip_local_reserved_ports", "")
    return ",".join(filter(None, [before, *map(str, _reserved(situation))]))


def _files_of_all(situation: Situation) -> int:
    return 2 * situation.workers * situation.descriptors


KERNEL_RULES: tuple[Rule, ...] = (
    _kernel(
        "net.core.somaxconn",
        Case(
            when=lambda s: s.sysctl("net.core.somaxconn") < _queue(s),
            wanted=lambda s: str(_queue(s)),
            reason=lambda s: (
                "the queue of connections not accepted yet is cut to it, although PROXY_LISTEN asks "
                f"for {_backlog(s)}"
                + (
                    f"; {s.sign('listen_overflows'):,} connections found some queue of this machine "
                    "full since it "
                    "started"
                    if s.sign("listen_overflows")
                    else "; a burst of clients, as after an outage, must fit in it"
                )
            ),
        ),
        otherwise="a burst of so many connections fits into the queue of each worker",
        source="documented: listen(2)",
    ),
    _kernel(
        "net.ipv4.tcp_max_syn_backlog",
        Case(
            when=lambda s: (
                s.sysctl("net.ipv4.tcp_syncookies") == 0
                and s.sysctl("net.ipv4.tcp_max_syn_backlog") < s.profile.accept_queue
            ),
            wanted=lambda s: str(s.profile.accept_queue),
            reason=lambda s: "with tcp_syncookies off, handshakes beyond it are dropped",
        ),
        otherwise="with tcp_syncookies on, handshakes under way are bounded by the listen queue, not by this",
    ),
    _kernel(
        "net.ipv4.tcp_syncookies",
        Case(
            when=lambda s: s.sysctl("net.ipv4.tcp_syncookies") == 0,
            wanted=lambda s: "1",
            reason=lambda s: "without them a flood of handshakes keeps everybody else out",
        ),
        otherwise="a flood of handshakes keeps nobody out",
    ),
    _kernel(
        "net.ipv4.ip_local_port_range",
        Case(
            when=lambda s: (
                s.ports < PORTS[1] - PORTS[0] + 1
                and (s.profile.many_connections or s.sign("time_wait") > s.ports // 2)
            ),
            wanted=lambda s: "{} {}".format(*PORTS),
            reason=lambda s: (
                "each connection to one upstream address takes a port, also for a minute after its "
                f"end: {s.ports:,} "
                f"ports for up to {_most_upstream_connections(s):,} connections"
            ),
        ),
        otherwise="enough ports for the connections that this size of machine has to one upstream address",
    ),
    _kernel(
        "net.ipv4.ip_local_reserved_ports",
        Case(
            when=lambda s: bool(_reserved(s)),
            wanted=_with_reserved,
            reason=lambda s: (
                f"an outgoing connection may hold port {', '.join(map(str, _reserved(s)))} just when "
                "the gateway is "
                "to listen there"
            ),
        ),
        otherwise="no port that the gateway listens on is given to outgoing connections",
    ),
    _kernel(
        "net.ipv4.tcp_tw_reuse",
        Case(
            when=lambda s: (
                s.sysctl("net.ipv4.tcp_tw_reuse") != 1
                and (
                    s.profile.many_connections
                    or s.settings.upstream_keepalive_pool_size == 0
                    or s.sign("time_wait") > MANY_TIME_WAITS
                )
            ),
            wanted=lambda s: "1",
            reason=lambda s: (
                "outgoing connections may take a port whose last one has ended a second ago; safe, "
                "as TCP timestamps "
                "tell them apart"
                + (f". In TIME-WAIT now: {s.sign('time_wait'):,}" if s.sign("time_wait") else "")
            ),
        ),
        otherwise="connections to upstreams are kept, so that few ports wait in TIME-WAIT",
    ),
    _kernel(
        "net.ipv4.tcp_fin_timeout",
        Case(
            when=lambda s: (
                s.sign("orphans") * ORPHANS_SHARE > s.sysctl("net.ipv4.tcp_max_orphans")
                and s.sysctl("net.ipv4.tcp_fin_timeout") > 15
            ),
            wanted=lambda s: "15",
            reason=lambda s: (
                f"{s.sign('orphans'):,} closed connections wait for clients that do not close theirs"
            ),
        ),
        otherwise=(
            "it does not shorten TIME-WAIT, as is often said; only connections that the other "
            "side never closes"
        ),
    ),
    _kernel(
        "net.core.netdev_max_backlog",
        Case(
            when=lambda s: (
                s.sign("packets_dropped") > 0 and s.sysctl("net.core.netdev_max_backlog") < PACKETS
            ),
            wanted=lambda s: str(PACKETS),
            reason=lambda s: (
                f"{s.sign('packets_dropped'):,} packets were dropped since the start because a "
                "processor's queue was "
                "full"
            ),
        ),
        otherwise="no packet was dropped for want of room in it; a longer queue would only add waiting",
        source="documented: admin-guide/sysctl/net",
    ),
    _kernel(
        "net.ipv4.tcp_slow_start_after_idle",
        Case(
            when=lambda s: (
                s.sysctl("net.ipv4.tcp_slow_start_after_idle") != 0
                and s.facts.sysctls.get("net.ipv4.tcp_congestion_control") != "bbr"
                and s.profile.name != "small"
            ),
            wanted=lambda s: "0",
            reason=lambda s: (
                "a kept connection that rested begins again with ten segments: answers above 14 KiB "
                "take round trips "
                "more. Of no use where clients and upstreams are near"
            ),
            verdict=Verdict.CONSIDER,
        ),
        otherwise="off, or without effect (BBR paces by itself), or not worth it here",
    ),
    _kernel(
        "net.ipv4.tcp_rmem",
        Case(
            when=lambda s: s.sysctl("net.ipv4.tcp_rmem", 2) < RECEIVE_MOST,
            wanted=lambda s: f"4096 {max(131072, s.sysctl('net.ipv4.tcp_rmem', 1))} {RECEIVE_MOST}",
            reason=lambda s: "the receive window cannot grow enough for large uploads over long distances",
            verdict=Verdict.CONSIDER,
        ),
        Case(
            when=lambda s: s.sysctl("net.ipv4.tcp_rmem") > 8192 or s.sysctl("net.ipv4.tcp_rmem", 1) > 1 << 20,
            wanted=lambda s: f"4096 131072 {s.sysctl('net.ipv4.tcp_rmem', 2)}",
            reason=lambda s: "buffers adapt by themselves; large minimums cost memory for every connection",
        ),
        otherwise="the kernel adapts it to each connection; larger minimums would cost memory for idle ones",
        source="documented: tcp(7)",
    ),
    _kernel(
        "net.ipv4.tcp_wmem",
        Case(
            when=lambda s: s.sysctl("net.ipv4.tcp_wmem") > 8192 or s.sysctl("net.ipv4.tcp_wmem", 1) > 1 << 20,
            wanted=lambda s: f"4096 16384 {s.sysctl('net.ipv4.tcp_wmem', 2)}",
            reason=lambda s: "buffers adapt by themselves; large minimums cost memory for every connection",
        ),
        otherwise="the kernel adapts it to each connection; larger minimums would cost memory for idle ones",
        source="documented: tcp(7)",
    ),
    _kernel(
        "net.netfilter.nf_conntrack_max",
        Case(
            when=lambda s: (
                s.sysctl("net.netfilter.nf_conntrack_max")
                < CONNTRACK_PER_CONNECTION * s.workers * s.connections
                or s.sign("tracked_connections") * 2 > s.sysctl("net.netfilter.nf_conntrack_max")
            ),
            wanted=lambda s: str(
                max(
                    2 * CONNTRACK_PER_CONNECTION * s.workers * s.connections,
                    2 * s.sysctl("net.netfilter.nf_conntrack_max")
                    if s.sign("tracked_connections") * 2 > s.sysctl("net.netfilter.nf_conntrack_max")
                    else 0,
                )
            ),
            reason=lambda s: (
                "the firewall keeps an entry for each connection, for two minutes after its end, "
                "too; when there is no "
                "room, packets of new ones are dropped without a word. Of no use where nothing is "
                "tracked (now: "
                f"{s.sign('tracked_connections'):,})"
            ),
            verdict=Verdict.CONSIDER,
        ),
        otherwise="room for twice as many connections as the gateway takes",
        source="documented: networking/nf_conntrack-sysctl",
        applies=lambda s: "net.netfilter.nf_conntrack_max" in s.facts.sysctls,
    ),
    _kernel(
        "fs.nr_open",
        Case(
            when=lambda s: s.sysctl("fs.nr_open") < s.descriptors,
            wanted=lambda s: str(2 * s.descriptors),
            reason=lambda s: f"no process may have more open files, and a worker may need {s.descriptors:,}",
        ),
        otherwise="the limit of one process can be raised as far as a worker needs",
        source="documented: admin-guide/sysctl/fs",
    ),
    _kernel(
        "fs.file-max",
        Case(
            when=lambda s: s.sysctl("fs.file-max") < _files_of_all(s),
            wanted=lambda s: str(_files_of_all(s)),
            reason=lambda s: (
                f"{s.workers} workers may need {s.workers * s.descriptors:,} open files, others of "
                "the machine some more"
            ),
        ),
        otherwise="more than twice what all workers may need",
        source="documented: admin-guide/sysctl/fs",
    ),
    _kernel(
        "vm.overcommit_memory",
        Case(
            when=lambda s: s.sysctl("vm.overcommit_memory") == 2,
            wanted=lambda s: "0",
            reason=lambda s: (
                "2 counts shared memory in full although most of it is never touched, and may refuse "
                "it at the start; "
                "keep it where other programs need it, with smaller tables"
            ),
            verdict=Verdict.CONSIDER,
        ),
        otherwise=(
            "shared memory counts when it is used. (1 is what a Redis on this machine wants, not the gateway)"
        ),
        source="documented: mm/overcommit-accounting",
    ),
    _kernel(
        "vm.swappiness",
        Case(
            when=lambda s: s.facts.swap > 0 and s.sysctl("vm.swappiness") > LITTLE_SWAPPING,
            wanted=lambda s: str(LITTLE_SWAPPING),
            reason=lambda s: (
                "with swap, the kernel may move cached responses and idle workers' memory out to disk"
            ),
            verdict=Verdict.CONSIDER,
        ),
        otherwise="no swap, or little use of it",
        source="documented: admin-guide/sysctl/vm",
    ),
    _kernel(
        "kernel.pid_max",
        Case(
            when=lambda s: s.sysctl("kernel.pid_max") < 4096,
            wanted=lambda s: "32768",
            reason=lambda s: "threads of all processes of the machine take a number each",
        ),
        otherwise="a worker has a handful of threads",
        source="documented: proc_sys_kernel(5)",
    ),
)
