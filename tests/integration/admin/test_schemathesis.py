"""The Admin API against its own document: schemathesis makes requests of it, valid and invalid ones.

Nothing may be answered with a 5xx, with a status, a media type or a body that the document does not have, and
no body that breaks the schema of JSON bodies may be accepted. The examples are the same at every run; all
operations, with more of them: `SCHEMATHESIS_EXAMPLES=20 pytest tests/integration/admin/test_schemathesis.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from zlib import crc32

import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core import NotSet
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import shape_of
from tests.support.certificates import authority, self_signed
from tests.support.gateway import Gateway

EVERYTHING = "SCHEMATHESIS_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "2"))
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
RESTORED_AFTER = 8
"""operations, some of which remove what others need"""
MOST_SHOWN = 20
GIVEN_BY_PATHS = frozenset(name for kind in ENTITY_TYPES.values() for name in shape_of(kind).foreign)
MODES = {"valid": GenerationMode.POSITIVE, "invalid": GenerationMode.NEGATIVE}
STRIDES = {
    ("sqlite", GenerationMode.POSITIVE): 1,
    ("sqlite", GenerationMode.NEGATIVE): 11,
    ("off", GenerationMode.POSITIVE): 5,
    ("off", GenerationMode.NEGATIVE): 19,
}
NOT_IMPLEMENTED = ("/status/dns",)
"""Answers 501, as Kong does."""


def identifier(type_name: str) -> str:
    """The id of the one entity of a type that is always there."""
    return f"00000000-0000-4000-8000-{list(ENTITY_TYPES).index(type_name):012d}"


def reference(type_name: str) -> dict[str, str]:
    return {"id": identifier(type_name)}


def present_entities() -> dict[str, dict[str, Any]]:
    """One entity of every type, each after those that it refers to."""
    cert, key = self_signed("present.test")
    consumer = {"consumer": reference("consumers")}
    entities: dict[str, dict[str, Any]] = {
        "ca_certificates": {"cert": authority()[0]},
        "certificates": {"cert": cert, "key": key},
        "snis": {"name": "present.test", "certificate": reference("certificates")},
        "vaults": {"name": "env", "prefix": "present"},
        "key_sets": {"name": "present"},
        "keys": {
            "kid": "k",
            "name": "present",
            "pem": {"private_key": key},
            "set": reference("key_sets"),
        },
        "services": {
            "name": "present",
            "url": "https://present.test/",
            "client_certificate": reference("certificates"),
        },
        "routes": {"name": "present", "paths": ["/present"], "service": reference("services")},
        "upstreams": {"name": "present.test", "client_certificate": reference("certificates")},
        "targets": {"target": "127.0.0.1:9", "upstream": reference("upstreams")},
        "consumers": {"username": "present", "custom_id": "present"},
        "keyauth_credentials": {"key": "present", **consumer},
        "basicauth_credentials": {"username": "present", "password": "p", **consumer},
        "jwt_secrets": {"key": "present", **consumer},
        "hmacauth_credentials": {"username": "present", **consumer},
        "acls": {"group": "present", **consumer},
        "oauth2_credentials": {"name": "present", "client_id": "present", **consumer},
    }
    return {name: {"id": identifier(name), **values} for name, values in entities.items()}


class Tried:
    """A gateway, its document, and what has been found."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.address = f"http://127.0.0.1:{gateway.admin_port}"
        self.session = requests.Session()
        self.present = present_entities()
        self.document = self.session.get(f"{self.address}/openapi.json").json()
        self.schema = schemathesis.openapi.from_dict(self.document)
        self.schema.config.update(base_url=self.address)
        self.requests = 0

    def operations(self) -> Iterator[APIOperation]:
        for found in self.schema.get_all_operations():
            operation = found.ok()
            if operation.path not in NOT_IMPLEMENTED:
                yield operation

    def restore(self) -> None:
        """See to it that the entities which are always there are there."""
        if self.gateway.settings["database"] == "off":
            self.gateway.configure({name: [values] for name, values in self.flat().items()})
            return
        for name, values in self.present.items():
            kind = ENTITY_TYPES[name]
            path = f"/{kind.admin_paths.collection or name}"
            if name == "targets":
                path = f"/upstreams/{values['upstream']['id']}/targets"
            answer = self.session.post(self.address + path, json=values)
            assert answer.status_code in (201, 400, 409), (name, answer.text)

    def try_operation(self, operation: APIOperation, mode: GenerationMode, examples: int) -> list[str]:
        """Send requests that schemathesis makes; what was wrong with the answers."""
        found: list[str] = []

        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def run(case: Case) -> None:
            self.aim(case)
            answer = case.call(session=self.session, timeout=60)
            self.requests += 1
            try:
                case.validate_response(answer, checks=list(CHECKS))
            except FailureGroup as group:
                found.extend(f"{case.as_curl_command()}\n{failure}" for failure in group.exceptions)
            if problem := self.accepted_wrongly(case, answer.status_code):
                found.append(f"{case.as_curl_command()}\n{answer.status_code} for a body that {problem}")

        with suppress(Unsatisfiable):  # nothing can be invalid about a request without parameters
            run()
        return found

    def aim(self, case: Case) -> None:
        """Have most requests name an entity that is there: by what was made up in its place, none ever is."""
        for name, value in case.path_parameters.items():
            if name in self.present and crc32(repr(value).encode()) % 4:
                case.path_parameters[name] = identifier(name)

    def accepted_wrongly(self, case: Case, status: int) -> str | None:
        """How the body of an accepted request breaks its schema; None if it does not."""
        if status >= 300 or case.media_type != "application/json" or isinstance(case.body, NotSet):
            return None
        content = self.document["paths"][case.operation.path][case.method.lower()]["requestBody"]["content"]
        schema = {**content[case.media_type]["schema"], "components": self.document["components"]}
        for error in jsonschema.Draft202012Validator(schema).iter_errors(case.body):
            # Whose child it is the path says, whatever the body does.
            if error.path and error.path[0] in GIVEN_BY_PATHS and case.path_parameters:
                continue
            return f"breaks the schema: {error.message}"
        return None

    def flat(self) -> dict[str, dict[str, Any]]:
        """The entities as a declarative file has them, with references by id."""
        flat = {name: dict(values) for name, values in self.present.items()}
        for name, values in flat.items():
            for field in shape_of(ENTITY_TYPES[name]).foreign.keys() & values.keys():
                values[field] = values[field]["id"]
        return flat


@pytest.fixture(scope="module", params=["sqlite", "off"])
def tried(request: pytest.FixtureRequest) -> Iterator[Tried]:
    with Gateway(database=request.param) as gateway:
        yield Tried(gateway)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_answers_fit_the_document(tried: Tried, mode: GenerationMode) -> None:
    found: list[str] = []
    # Operations are much alike; what makes invalid requests takes its time.
    stride = 1 if EVERYTHING else STRIDES[tried.gateway.settings["database"], mode]
    for number, operation in enumerate(list(tried.operations())[::stride]):
        if number % RESTORED_AFTER == 0:
            tried.restore()
        found += tried.try_operation(operation, mode, EXAMPLES)
    assert tried.requests > 50
    assert not found, f"{len(found)} answers:\n\n" + "\n\n".join(found[:MOST_SHOWN])
