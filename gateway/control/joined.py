"""Two configurations as one, for the peers that both need while workers move from one to the other."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import cast

import msgspec

from gateway.entities import Entity
from gateway.entities.services import Service
from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.store import Configuration


def joined_for_peers(current: Configuration, earlier: Configuration | None) -> Configuration:
    """What must have peers: the services, upstreams and targets of `current`, and those of `earlier` besides.

    An upstream of the earlier configuration counts only when its name means nothing in the current one. The
    result is good for compile_peers() and nothing else: services of the earlier one get new ids, because the
    same service may point elsewhere now.
    """
    if earlier is None or earlier is current:
        return current
    besides = list(_only_earlier(current, earlier))
    return Configuration([*_needed(current), *besides], current.hash) if besides else current


def _needed(configuration: Configuration) -> Iterator[Entity]:
    for type_name in ("services", "upstreams", "targets"):
        yield from configuration.of(type_name).values()


def _only_earlier(current: Configuration, earlier: Configuration) -> Iterator[Entity]:
    services = cast("Iterable[Service]", earlier.of("services").values())
    now = current.of("services")
    for service in services:
        same = now.get(service.id)
        if same is not service and same != service:
            yield msgspec.structs.replace(service, id=str(uuid.uuid4()))
    # A name that is an upstream of one configuration and a plain host in the other can only be one of them
    # here.
    names = {upstream.name for upstream in cast("Iterable[Upstream]", current.of("upstreams").values())}
    names |= {service.host for service in cast("Iterable[Service]", current.of("services").values())}
    kept: dict[str, str] = {}
    for upstream in cast("Iterable[Upstream]", earlier.of("upstreams").values()):
        if upstream.name not in names:
            kept[upstream.id] = str(uuid.uuid4())
            yield msgspec.structs.replace(upstream, id=kept[upstream.id])
    for target in cast("Iterable[Target]", earlier.of("targets").values()):
        if target.upstream.id in kept:
            moved = msgspec.structs.replace(target.upstream, id=kept[target.upstream.id])
            yield msgspec.structs.replace(target, id=str(uuid.uuid4()), upstream=moved)
