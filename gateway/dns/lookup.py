"""One resolution of one name: hosts file first, then DNS in the configured order."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from gateway.snapshot import ResolutionState, ResolvedAddress

from .hosts import HostsFile
from .options import ResolverOptions

HOSTS_FILE_TTL = 10.0  # seconds until the hosts file is looked at again
LITERAL_TTL = 86400.0
LONGEST_NAME = 254
"""characters, with a dot at the end; DNS cannot express more, and to find that out of a million takes long"""
FAMILY_OF = {"A": 4, "AAAA": 6}
TARGETS_AT_A_TIME = 8
"""of one SRV answer"""


@dataclass(frozen=True)
class Answer:
    """What one resolution gave. `ttl` (seconds) says when to ask again, `kind` where the answer came from,
    `error` what failed; with addresses, that they may not be all.
    """

    state: ResolutionState
    addresses: tuple[ResolvedAddress, ...]
    ttl: float
    kind: str = ""  # "SRV", "A", "AAAA", "hosts", "literal"
    error: str = ""


class Lookup:
    """Asks; remembers nothing but the hosts file and the last type that succeeded for a name (order entry
    LAST).
    """

    def __init__(self, options: ResolverOptions) -> None:
        self._options = options
        self._hosts = HostsFile(options.hosts_file)
        self._dns = system_resolver(options)
        self._last_kind: dict[str, str] = {}

    def forget(self, name: str) -> None:
        """The name is no longer in use."""
        self._last_kind.pop(name, None)

    async def resolve(self, name: str) -> Answer:
        """Resolve `name`; never raises for a bad name or a failing server: the answer's state tells."""
        if len(name) > LONGEST_NAME:
            return Answer(ResolutionState.NOT_FOUND, (), self._options.not_found_ttl)
        literal = self._literal(name)
        if literal is not None:
            return literal
        from_hosts = self._from_hosts(name)
        if from_hosts is not None:
            return from_hosts
        errors: list[str] = []
        for kind in self._kinds(name):
            try:
                answer = await (self._services(name) if kind == "SRV" else self._hosts_of(name, kind))
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.resolver.YXDOMAIN):
                continue
            except (dns.exception.DNSException, OSError, UnicodeError, ValueError) as error:
                # A name that DNS cannot express (label too long, empty label) does not exist.
                if not isinstance(error, dns.exception.DNSException) or not is_bad_name(error):
                    errors.append(f"{kind}: {error or type(error).__name__}")
                continue
            if answer.addresses:
                self._last_kind[name] = kind
                return answer
        if errors:
            return Answer(ResolutionState.ERROR, (), self._options.error_ttl, error="; ".join(errors))
        return Answer(ResolutionState.NOT_FOUND, (), self._options.not_found_ttl)

    # --- where answers come from ------------------------------------------------------------------

    def _literal(self, name: str) -> Answer | None:
        try:
            address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return None
        return self._ready([str(address)], LITERAL_TTL, "literal")

    def _from_hosts(self, name: str) -> Answer | None:
        addresses = self._hosts.addresses(name)
        for version in self._options.address_families():
            of_version = [text for text in addresses if ipaddress.ip_address(text).version == version]
            if of_version:
                return self._ready(of_version, HOSTS_FILE_TTL, "hosts")
        return None

    async def _hosts_of(self, name: str, kind: str) -> Answer:
        answer = await self._dns.resolve(name, kind, search=True, lifetime=self._options.lifetime)
        return self._ready([record.address for record in answer], self._ttl(answer), kind)

    async def _services(self, name: str) -> Answer:
        """SRV: the records of the lowest priority; each brings its port, weight (0 counts as 1) and name."""
        answer = await self._dns.resolve(name, "SRV", search=True, lifetime=self._options.lifetime)
        best = min(record.priority for record in answer)
        records = [(record, record.target.to_text(omit_final_dot=True)) for record in answer]
        records = [
            (record, target) for record, target in records if record.priority == best and target != "."
        ]
        resolved = await self._targets({target for _, target in records})
        failures = [one for one in resolved.values() if isinstance(one, dns.exception.DNSException)]
        answers = {target: one for target, one in resolved.items() if isinstance(one, Answer)}
        addresses = [
            ResolvedAddress(ip=one.ip, port=record.port, weight=record.weight or 1, name=target)
            for record, target in records
            if target in answers
            for one in answers[target].addresses
        ]
        if failures and not addresses:
            raise failures[0]
        ttl = min([self._ttl(answer), *(one.ttl for one in answers.values())])
        if failures:
            ttl = min(ttl, self._options.error_ttl)
        found = tuple(replace(address, ttl=ttl) for address in dict.fromkeys(addresses))
        error = "; ".join(f"SRV: {failure or type(failure).__name__}" for failure in failures)
        return Answer(ResolutionState.READY, found, ttl, "SRV", error)

    async def _targets(self, names: Iterable[str]) -> dict[str, Answer | dns.exception.DNSException]:
        """The targets of SRV records, some at a time, each with its answer or what failed."""
        slots = asyncio.Semaphore(TARGETS_AT_A_TIME)

        async def ask(name: str) -> Answer | dns.exception.DNSException:
            async with slots:
                try:
                    return await self._target(name)
                except dns.exception.DNSException as error:
                    return error

        names = list(names)
        return dict(zip(names, await asyncio.gather(*(ask(name) for name in names)), strict=True))

    async def _target(self, name: str) -> Answer:
        """The addresses of an SRV record's target, in the first family that has some."""
        literal = self._literal(name) or self._from_hosts(name)
        if literal is not None:
            return literal
        absolute = name + "."
        failure: dns.exception.DNSException | None = None
        for kind in self._address_kinds():
            try:
                return await self._hosts_of(absolute, kind)
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                continue
            except dns.exception.DNSException as error:
                failure = error
        if failure is not None:
            raise failure
        return Answer(ResolutionState.NOT_FOUND, (), self._options.not_found_ttl)

    # --- order and times --------------------------------------------------------------------------

    def _kinds(self, name: str) -> Iterable[str]:
        """Record types in the order to ask. CNAME needs no question of its own: A and AAAA follow aliases."""
        kinds: list[str] = []
        for kind in self._options.order:
            wanted = self._last_kind.get(name, "") if kind == "LAST" else kind
            if wanted in ("SRV", "A", "AAAA") and wanted not in kinds:
                kinds.append(wanted)
        return kinds

    def _address_kinds(self) -> list[str]:
        return [kind for kind in self._options.order if kind in FAMILY_OF] or ["A"]

    def _ttl(self, answer: Any) -> float:
        if self._options.valid_ttl is not None:
            return self._options.valid_ttl
        return float(answer.chaining_result.minimum_ttl)

    def _ready(self, addresses: list[str], ttl: float, kind: str) -> Answer:
        found = tuple(
            ResolvedAddress(ip=ip, port=None, weight=None, ttl=ttl) for ip in dict.fromkeys(addresses)
        )
        return Answer(ResolutionState.READY, found, ttl, kind)


def system_resolver(options: ResolverOptions) -> dns.asyncresolver.Resolver:
    """dnspython's resolver with the search domains of /etc/resolv.conf and the configured servers."""
    try:
        resolver = dns.asyncresolver.Resolver(configure=True)
    except dns.resolver.NoResolverConfiguration:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = []
    if options.nameservers:
        resolver.nameservers = [
            dns.nameserver.Do53Nameserver(address, port) for address, port in options.nameservers
        ]
    resolver.timeout = options.timeout
    resolver.lifetime = options.lifetime
    resolver.cache = None
    return resolver


def is_bad_name(error: dns.exception.DNSException) -> bool:
    """The text is no domain name, so nothing can be asked for it."""
    return isinstance(error, dns.exception.SyntaxError | dns.exception.FormError) or type(
        error
    ).__module__.startswith("dns.name")
