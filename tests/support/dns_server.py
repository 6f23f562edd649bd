"""A small real DNS server on loopback, over UDP and TCP, whose answers a test changes while it runs."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


@dataclass
class Zone:
    """Answers by (name, type): record texts with a TTL; an rcode instead makes every question fail."""

    records: dict[tuple[str, str], tuple[int, list[str]]] = field(default_factory=dict)
    failure: dns.rcode.Rcode | None = None
    failing_names: dict[str, dns.rcode.Rcode] = field(default_factory=dict)
    silent: bool = False
    truncated: bool = False
    """over UDP, nothing but that the answer is too long for it"""
    questions: list[tuple[str, str]] = field(default_factory=list)

    def set(self, name: str, kind: str, *values: str, ttl: int = 60) -> None:
        """Replace the records of a name and type; none removes them."""
        if values:
            self.records[name, kind] = (ttl, list(values))
        else:
            self.records.pop((name, kind), None)

    def asked(self, name: str, kind: str) -> int:
        """How often this was asked."""
        return self.questions.count((name, kind))

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """The response to one query, following aliases of the zone."""
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.questions.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        failure = self.failing_names.get(name, self.failure)
        if failure is not None:
            response.set_rcode(failure)
            return response
        while (name, kind) not in self.records and (name, "CNAME") in self.records:
            ttl, values = self.records[name, "CNAME"]
            response.answer.append(dns.rrset.from_text(name + ".", ttl, "IN", "CNAME", *values))
            name = values[0].rstrip(".")
        if (name, kind) in self.records:
            ttl, values = self.records[name, kind]
            response.answer.append(dns.rrset.from_text(name + ".", ttl, "IN", kind, *values))
        elif not any(known == name for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response


class DnsServer(asyncio.DatagramProtocol):
    """Serves a zone; `port` is known after start()."""

    def __init__(self, zone: Zone, port: int = 0) -> None:
        self.zone = zone
        self.port = port

    async def start(self) -> None:
        """Open a free port of 127.0.0.1 (or that one) for UDP and TCP."""
        loop = asyncio.get_running_loop()
        listener, datagrams = sockets_of(self.port)
        self.port = listener.getsockname()[1]
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=datagrams)
        self._streams = await asyncio.start_server(self._serve_stream, sock=listener)

    def stop(self) -> None:
        """Close the port."""
        self._transport.close()
        self._streams.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question, or say nothing when the zone is silent."""
        query = dns.message.from_wire(data)
        if self.zone.truncated and not self.zone.silent:
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.TC
        else:
            answer = self.zone.answer(query)
        if not self.zone.silent:
            self._transport.sendto(answer.to_wire(), addr)

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Questions and answers with their lengths before them (RFC 1035 §4.2.2)."""
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer = self.zone.answer(dns.message.from_wire(await reader.readexactly(length))).to_wire()
                if not self.zone.silent:
                    writer.write(struct.pack("!H", len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def sockets_of(port: int) -> tuple[socket.socket, socket.socket]:
    """One for TCP and one for UDP at the same port of 127.0.0.1; 0: any that is free for both."""
    while True:
        listener = socket.create_server(("127.0.0.1", port))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(listener.getsockname())
        except OSError:
            listener.close()
            datagrams.close()
            if port:
                raise
            continue
        datagrams.setblocking(False)
        return listener, datagrams


class RunningDns:
    """A DNS server in a thread of its own, for tests that talk to processes. Context manager."""

    def __init__(self) -> None:
        self.zone = Zone()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: DnsServer | None = None

    def start(self) -> None:
        """Answer, at the same port as before."""
        server = DnsServer(self.zone, self.port)
        asyncio.run_coroutine_threadsafe(server.start(), self._loop).result(10)
        self._server = server
        self.port = server.port

    def stop(self) -> None:
        """Close the port: questions are refused by the kernel."""
        server, self._server = self._server, None

        async def stop() -> None:
            if server is not None:
                server.stop()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)

    def __enter__(self) -> RunningDns:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

        async def end_tasks() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run_coroutine_threadsafe(end_tasks(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
