"""Makes HTTP/1.1 messages for differential tests and the fuzzer: valid ones, nearly valid ones, mutations."""

from __future__ import annotations

from random import Random

METHODS = [
    b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"LOCK", b"PURGE",
    b"A-B_C",
]  # fmt: skip
BAD_METHODS = [b"get", b"", b"G T", b"GET\t", b"G\x00", b"CONNECT", b"A" * 33, b"G\xc9T", b"GET:", b"G1"]
TARGETS = [
    b"/", b"/a/b?c=d", b"/?", b"//a/b", b"/a%20b", b"/a?b?c", b"/%zz", b"http://example.com/x", b"http://a",
    b"HTTPS://[::1]:443/?q", b"http://a:80?q", b"/\"<>\\^`{|}", b"*",
]  # fmt: skip
BAD_TARGETS = [
    b"", b"a", b"/a b", b"/a#b", b"/\x7f", b"/\x80", b"/\x00", b"/\t", b"ftp://a/", b"http://",
    b"http:///x", b"http://u@a/", b"http://a:99999/", b"http://[::1/", b"a:80", b"**", b"http:/a",
]  # fmt: skip
VERSIONS = [b"HTTP/1.1"] * 6 + [b"HTTP/1.0"] * 2
BAD_VERSIONS = [
    b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b"HTTP/11", b"", b"HTTP/1.10", b"X",
]  # fmt: skip
HOSTS = [
    b"example.com", b"a:80", b"[::1]", b"[1:2:3:4:5:6:7.8.9.10]:8080", b"10.0.0.1", b"a.b.", b"a_b",
    b"x%41",
]  # fmt: skip
BAD_HOSTS = [
    b"", b"a b", b"a/b", b"u@a", b"a:b", b"a:65536", b"[::1", b"[::g]", b"a\x80", b"[1::2::3]", b":80",
    b"a%4",
]  # fmt: skip
FIELDS = [
    b"Accept: */*", b"User-Agent: a (b) c", b"X-Empty:", b"X-Tab:\ta\tb\t", b"X-Latin: \xe9\xff",
    b"Cookie: a=b; c=d", b"X_Forwarded_For: 1", b"Expect: 100-continue", b"Expect: other",
    b"Connection: keep-alive", b"Connection: close", b"Connection: X-Empty, ,TE", b"TE: trailers;q=0.5",
    b"Upgrade: websocket", b"Connection: Upgrade", b"Keep-Alive: timeout=5", b"Trailer: X",
    b"X:                      a                    ", b"a:b", b"X-Long: " + b"v" * 300,
    b"!#$%&'*+-.^_`|~09azAZ: odd",
]  # fmt: skip
BAD_FIELDS = [
    b"X : a", b": a", b"X", b" folded", b"\tfolded", b"X: a\rb", b"X: a\nb", b"X: a\x00b", b"X: \x01",
    b"X: \x7f", b"X\x80: a", b"X(: a", b"\x00: a", b"X: a\r", b"\r", b"X@: a", b"X: a\x0bb", b"X: \x0c",
]  # fmt: skip
FRAMINGS = [
    [], [], [b"Content-Length: 0"], [b"Content-Length: 5"], [b"content-length:  17  "],
    [b"Transfer-Encoding: chunked"], [b"transfer-encoding:\tCHUNKED "],
    [b"Content-Length: 9223372036854775807"], [b"Content-Length: 0000000000000000005"],
    [b"Content-Length: 5 \t"],
]  # fmt: skip
BAD_FRAMINGS = [
    [b"Content-Length: 5", b"Content-Length: 5"], [b"Content-Length: 5, 5"], [b"Content-Length: +5"],
    [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
    [b"Transfer-Encoding: chunked", b"Content-Length: 5"], [b"Transfer-Encoding: gzip, chunked"],
    [b"Transfer-Encoding: chunked, gzip"], [b"Transfer-Encoding: xchunked"],
    [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], [b"Transfer-Encoding:"],
    [b"Content-Length:"], [b"Transfer-Encoding: chunked;a=b"], [b"Transfer-Encoding: \x0bchunked"],
    [b"Content-Length: 9223372036854775808"], [b"Content-Length: 5 5"], [b"Content-Length: 0x5"],
    [b"Content-Length: -0"], [b"Transfer-Encoding: ,chunked"], [b"Transfer-Encoding: identity"],
    [b"Content-Length: 99999999999999999999"], [b"Transfer-Encoding : chunked"],
    [b"Transfer-Encoding: chunked\t"],
]  # fmt: skip
STATUS_LINES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.0 404 Not Found",
    b"HTTP/1.1 101 Switching", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 599 \xe9\t", b"HTTP/1.1 999 x",
]  # fmt: skip
BAD_STATUS_LINES = [
    b"HTTP/1.1 20 OK", b"HTTP/1.1 2000", b"HTTP/1.1 099 x", b"HTTP/1.1  200 OK", b"HTTP/1.1 200OK",
    b"HTTP/2.0 200 OK", b"HTTP/1.1", b"", b"ICY 200 OK", b"HTTP/1.1 200 a\x00", b"HTTP/1.1 2x0 OK",
    b"HTTP/1.2 200 OK", b"http/1.1 200 OK",
]  # fmt: skip
LINE_ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r", b""]
TOKENS = [
    b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"\x00", b" ", b"\t", b":", b",", b";", b"#", b"?", b"/", b"[",
    b"]", b"%", b"\x7f", b"\x80", b"\xff", b"0", b"f", b"FFFFFFFFFFFFFFFF", b"7fffffffffffffff",
    b"HTTP/1.1", b"http://", b"chunked", b"close", b"keep-alive", b"upgrade", b"Host: a\r\n",
    b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: ", b"Connection: Host\r\n",
    b"0\r\n\r\n", b"1\r\na\r\n",
]  # fmt: skip


def pick(random: Random, good: list, bad: list, error_rate: float):
    """One of `good`, now and then one of `bad`."""
    return random.choice(bad if random.random() < error_rate else good)


def joined(random: Random, lines: list[bytes], error_rate: float) -> bytes:
    """The lines with their ends and the empty line; an end is now and then wrong."""
    return b"".join(line + pick(random, [b"\r\n"], LINE_ENDS, error_rate / 4) for line in [*lines, b""])


def some_fields(random: Random, error_rate: float) -> list[bytes]:
    fields = [pick(random, FIELDS, BAD_FIELDS, error_rate / 4) for _ in range(random.randrange(6))]
    return fields + pick(random, FRAMINGS, BAD_FRAMINGS, error_rate)


def make_request(random: Random, error_rate: float = 0.1) -> bytes:
    """A request head; every part of it is wrong with about this probability."""
    method = pick(random, METHODS, BAD_METHODS, error_rate)
    target = pick(random, TARGETS, BAD_TARGETS, error_rate)
    if target == b"*":
        method = b"OPTIONS"
    line = b" ".join([method, target, pick(random, VERSIONS, BAD_VERSIONS, error_rate)])
    fields = some_fields(random, error_rate)
    hosts = random.choice([0, 2]) if random.random() < error_rate else 1
    fields += [pick(random, [b"Host: ", b"host:", b"HOST:\t"], [b"Host : "], error_rate / 8)
               + pick(random, HOSTS, BAD_HOSTS, error_rate) for _ in range(hosts)]  # fmt: skip
    random.shuffle(fields)
    start = b"\r\n" if random.random() < 0.05 else b""
    return start + joined(random, [line, *fields], error_rate)


def make_response(random: Random, error_rate: float = 0.1) -> bytes:
    """A response head; every part of it is wrong with about this probability."""
    fields = some_fields(random, error_rate)
    random.shuffle(fields)
    return joined(random, [pick(random, STATUS_LINES, BAD_STATUS_LINES, error_rate), *fields], error_rate)


def make_chunked(random: Random, error_rate: float = 0.1) -> bytes:
    """A chunked body, often with trailers and something after it."""
    result = b""
    for _ in range(random.randrange(5)):
        data = random.randbytes(random.choice([1, 2, 9, 15, 16, 17, 255, 300]))
        size = random.choice([b"%x", b"%X", b"%04x", b"%016x"]) % len(data)
        wrong_sizes = [b"", size + b" ", size + b";a=b", b"0x" + size, b"0" * 16 + size]
        size = pick(random, [size], wrong_sizes, error_rate / 4)
        end = pick(random, [b"\r\n"], LINE_ENDS, error_rate / 8)
        result += size + end + data + pick(random, [b"\r\n"], LINE_ENDS, error_rate / 8)
    trailers = [pick(random, FIELDS, BAD_FIELDS, error_rate) for _ in range(random.choice([0, 0, 1, 3]))]
    result += random.choice([b"0", b"0", b"000"]) + b"\r\n" + joined(random, trailers, error_rate)
    return result + random.choice([b"", b"GET / HTTP/1.1\r\n"])


def mutate(random: Random, data: bytes, corpus: list[bytes]) -> bytes:
    """`data` with one to four random changes; parts of other inputs may be spliced in."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(changed))
        end = min(len(changed), at + random.choice([1, 1, 2, 4, 8, 32]))
        kind = random.randrange(7)
        if kind == 0:
            changed[at:end] = b""
        elif kind == 1:
            changed[at:at] = random.choice(TOKENS)
        elif kind == 2:
            changed[at:end] = random.choice(TOKENS)
        elif kind == 3:
            changed[at : at + 1] = bytes([random.randrange(256)])
        elif kind == 4:
            changed[at:at] = changed[at:end] * random.choice([1, 2, 40])
        elif kind == 5 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        else:
            other = random.choice(corpus)
            cut = random.randint(0, len(other))
            changed[at:] = other[cut:]
    return bytes(changed[:20000])


def random_splits(random: Random, length: int) -> list[int]:
    """Sizes of up to 8 pieces of a message of this length."""
    cuts = sorted(random.randint(0, length) for _ in range(random.randint(1, 7)))
    return [end - start for start, end in zip([0, *cuts], [*cuts, length], strict=False)]
