"""Random clients against random upstreams: responses are right or visibly incomplete, nothing is left.

A request's target tells the upstream how to behave; the client knows what it must get. Seeds are fixed, so
that a failure can be repeated alone, as far as the timing of threads allows.
"""

from __future__ import annotations

import os
import random
import threading
import zlib
from urllib.parse import parse_qsl

import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client, CutOffError, chunked
from tests.support.footprint import at_rest
from tests.support.gateway import Gateway
from tests.support.upstreams import Connection

ROUNDS = int(os.environ.get("GATEWAY_TEST_CHAOS", "60"))
"""requests of each client"""
CLIENTS = 6
SIZES = [0, 1, 10, 1000, 8192, 20_000, 69_632, 150_000, 400_000]


def body_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


# --- the upstream's side -----------------------------------------------------------------------------------
def behave(connection: Connection) -> None:
    """Serve requests as their targets say."""
    while head := connection.read_head():
        wishes = dict(parse_qsl(head.split(b" ")[1].decode().partition("?")[2]))
        rng = random.Random(int(wishes["seed"]))
        early = wishes["when"] == "early"
        request_body = b"" if early else connection.read_body(head)
        if wishes.get("fail") == "before":
            return end(connection, rng)
        body = body_of(int(wishes["seed"]), int(wishes["size"]))
        fields = b"X-Request: %d\r\nX-Seed: %s\r\n" % (zlib.crc32(request_body), wishes["seed"].encode())
        if wishes["framing"] == "length":
            data = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (fields, len(body)) + body
        elif wishes["framing"] == "chunked":
            step = rng.choice([1 + len(body) // 50, 1 + len(body) // 3, len(body) + 1])
            pieces = [body[i : i + step] for i in range(0, len(body), step)]
            data = b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % fields + chunked(*pieces)
        else:
            data = b"HTTP/1.1 200 OK\r\n%bConnection: close\r\n\r\n" % fields + body
        if wishes.get("fail") == "within":
            data = data[: rng.randrange(len(data))]
        send_in_pieces(connection, data, rng)
        if wishes.get("fail") == "within":
            # an end is the end of a body without framing; only a reset cuts it off
            return connection.reset() if wishes["framing"] == "close" else end(connection, rng)
        if wishes["framing"] == "close":
            return None
        if early:
            connection.read_body(head)
    return None


def send_in_pieces(connection: Connection, data: bytes, rng: random.Random) -> None:
    step = rng.choice([len(data), 100_000, 3000]) or 1
    for i in range(0, len(data), step):
        connection.send(data[i : i + step])


def end(connection: Connection, rng: random.Random) -> None:
    if rng.random() < 0.5:
        connection.reset()


# --- the client's side ------------------------------------------------------------------------------------
class Chaos:
    """One client thread."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.rng = random.Random(seed)
        self.seed = seed
        self.client: Client | None = None
        self.outcomes: dict[str, int] = {}
        self.error: BaseException | None = None
        self.sent = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        try:
            for number in range(ROUNDS):
                self.once(self.seed * 100_000 + number)
        except BaseException as error:
            self.error = error
        finally:
            if self.client is not None:
                self.client.close()

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def once(self, seed: int) -> None:
        rng = self.rng
        if self.client is None:
            self.client = Client(self.port, receive_buffer=rng.choice([None, None, 8192]))
        client = self.client
        wishes = {
            "seed": seed,
            "size": rng.choice(SIZES),
            "framing": rng.choice(["length", "chunked", "close"]),
            "when": rng.choice(["late", "late", "early"]),
            "fail": rng.choice(["no", "no", "no", "before", "within"]),
        }
        version = rng.choice([1, 1, 1, 0])
        method = rng.choice(["GET", "PUT", "POST"])
        body = b"" if method == "GET" else body_of(seed + 1, rng.choice(SIZES))
        target = "/?" + "&".join(f"{name}={value}" for name, value in wishes.items())
        lines = [f"{method} {target} HTTP/1.{version}", "Host: a", "Connection: keep-alive"]
        coded = body
        if body and version == 1 and rng.random() < 0.5:
            lines.append("Transfer-Encoding: chunked")
            step = rng.choice([1 + len(body) // 20, len(body)])
            coded = chunked(*(body[i : i + step] for i in range(0, len(body), step)))
        elif method != "GET":
            lines.append(f"Content-Length: {len(body)}")
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + coded
        leaves = rng.random()
        if leaves < 0.08:
            self.leave(data[: rng.randrange(len(data))])
            return
        sender = threading.Thread(target=self.send, args=(client, data, rng.choice([len(data), 5000])))
        sender.start()
        try:
            if leaves < 0.14:
                client.fill()
                sender.join(0.01)
                self.leave(b"")
                return
            self.check(client, wishes, body, version, sender)
        finally:
            sender.join()

    def send(self, client: Client, data: bytes, step: int) -> None:
        self.sent = False
        try:
            for i in range(0, len(data), step):
                client.send(data[i : i + step])
            self.sent = True
        except OSError:
            pass  # the gateway closed after an early answer

    def leave(self, data: bytes) -> None:
        assert self.client is not None
        try:
            self.client.send(data)
        except OSError:
            pass
        if self.rng.random() < 0.5:
            self.client.reset()
        else:
            self.client.close()
        self.client = None
        self.count("left")

    def check(
        self, client: Client, wishes: dict[str, object], body: bytes, version: int, sender: threading.Thread
    ) -> None:
        fails = wishes["fail"] != "no"
        try:
            answer = client.response(version=version)
        except (CutOffError, ConnectionResetError):
            self.client = None
            client.close()
            # an upstream that answers early closes with the request unread: that resets what it sent
            assert fails or wishes["when"] == "early" or body, wishes
            self.count("cut off")
            return
        if answer.closes:
            sender.join()
        if not self.sent and answer.get("content-length") is None and version == 0:
            # sending met the reset that says that the body is cut off: the kernel tells it once
            self.count("cut off")
        elif answer.status == 200:
            assert answer.get("x-seed") == str(wishes["seed"]), "the response of another request"
            assert answer.body == body_of(int(str(wishes["seed"])), int(str(wishes["size"]))), (
                wishes,
                version,
            )
            if wishes["when"] != "early":
                assert answer.get("x-request") == str(zlib.crc32(body)), wishes
        else:
            assert answer.status == 502, answer
            assert fails or wishes["when"] == "early", (wishes, answer)
        self.count(str(answer.status))
        if answer.closes:
            self.client = None
            client.close()


@pytest.mark.parametrize("seed", range(2))
def test_chaos(upstream: StartUpstream, shared_gateway: Gateway, seed: int) -> None:
    behind = upstream(behave, retries=1)
    clients = [Chaos(shared_gateway.proxy_port, seed * 1000 + number) for number in range(CLIENTS)]
    for one in clients:
        one.thread.join()
    for one in clients:
        if one.error is not None:
            raise one.error
    at_rest(shared_gateway)
    total: dict[str, int] = {}
    for one in clients:
        for outcome, count in one.outcomes.items():
            total[outcome] = total.get(outcome, 0) + count
    assert total["200"] > ROUNDS
    assert total.get("cut off", 0) > 0
    assert behind.connections > 10
