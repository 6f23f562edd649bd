"""A small real DNS server on a loopback UDP port, whose answers a test changes while it runs."""

from __future__ import annotations

import asyncio
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
    silent: bool = False
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
        if self.failure is not None:
            response.set_rcode(self.failure)
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

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.port = 0

    async def start(self) -> None:
        """Open a free port of 127.0.0.1."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]

    def stop(self) -> None:
        """Close the port."""
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question, or say nothing when the zone is silent."""
        answer = self.zone.answer(dns.message.from_wire(data))
        if not self.zone.silent:
            self._transport.sendto(answer.to_wire(), addr)
