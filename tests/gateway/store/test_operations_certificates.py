"""Certificates, their server names, authorities and keys (reference/entities.md §1)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.admin.entity_form import admin_form
from gateway.store import operations
from gateway.store.draft import Draft
from tests.support.certificates import authority, certificate, key_pem, new_key, self_signed
from tests.support.writes import create, reference, refused, replace, update

CERT, KEY = self_signed("a.com")
OTHER_CERT, OTHER_KEY = self_signed("b.com")
RSA_CERT, RSA_KEY = self_signed("a.com", "rsa")
PAIR = {"cert": CERT, "key": KEY}


def names_of(draft: Draft, entity: Any) -> list[str]:
    names: list[str] = admin_form(entity, draft, 0)["snis"]
    return names


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"cert": CERT, "key": OTHER_KEY}, {"@entity": ["certificate does not match key"]}),
        (
            {**PAIR, "cert_alt": RSA_CERT, "key_alt": OTHER_KEY},
            {"@entity": ["alternative certificate does not match key"]},
        ),
        (
            {**PAIR, "cert_alt": OTHER_CERT, "key_alt": OTHER_KEY},
            {
                "@entity": [
                    "certificate and alternative certificate need to have different type "
                    "(e.g. RSA and ECDSA), the provided certificates were both of the same type"
                ]
            },
        ),
        (
            {"cert": CERT.replace("MII", "AAA"), "key": KEY},
            {"cert": "invalid certificate: x509.new: the certificate cannot be decoded"},
        ),
        (
            {"cert": CERT, "key": KEY.replace("MI", "AA")},
            {"key": "invalid key: pkey.new: the private key cannot be decoded, or needs a password"},
        ),
        ({**PAIR, "snis": ["a.com", "1.2.3.4"]}, {"snis": [None, "must not be an IP"]}),
        ({**PAIR, "snis": ["a.com", "b.com", "a.com"]}, {"snis": "a.com is duplicated"}),
        ({**PAIR, "snis": "a.com"}, {"snis": "expected a set"}),
    ],
)
def test_certificates_that_are_refused(draft: Draft, values: dict[str, Any], fields: dict[str, Any]) -> None:
    assert refused(draft, create, "certificates", **values)["fields"] == fields


def test_certificates_of_two_types(draft: Draft) -> None:
    made = create(draft, "certificates", **PAIR, cert_alt=RSA_CERT, key_alt=RSA_KEY)
    assert made.cert_alt == RSA_CERT
    chain = create(draft, "certificates", cert=OTHER_CERT + authority()[0], key=OTHER_KEY)
    assert update(draft, chain, tags=["t"]).tags == ["t"]
    assert refused(draft, update, chain, key=KEY)["fields"] == {"@entity": ["certificate does not match key"]}


def test_server_names_are_written_with_their_certificate(draft: Draft) -> None:
    made = create(draft, "certificates", **PAIR, snis=["b.com", "a.com"])
    assert names_of(draft, made) == ["a.com", "b.com"]
    kept = draft.find("snis", "a.com")
    changed = update(draft, made, snis=["a.com", "c.com"])
    assert names_of(draft, changed) == ["a.com", "c.com"]
    assert draft.find("snis", "a.com") is kept
    assert draft.find("snis", "b.com") is None
    assert names_of(draft, update(draft, changed, tags=["t"])) == ["a.com", "c.com"]
    assert names_of(draft, replace(draft, "certificates", reference(made), **PAIR)) == ["a.com", "c.com"]
    assert names_of(draft, replace(draft, "certificates", reference(made), **PAIR, snis=None)) == []


def test_a_server_name_belongs_to_one_certificate(draft: Draft) -> None:
    made = create(draft, "certificates", **PAIR, snis=["a.com"])
    text = f"a.com already associated with existing certificate '{made.id}'"
    answer = refused(draft, create, "certificates", cert=OTHER_CERT, key=OTHER_KEY, snis=["b.com", "a.com"])
    assert (answer["code"], answer["message"]) == (2, f"schema violation (snis: {text})")
    other = create(draft, "certificates", cert=OTHER_CERT, key=OTHER_KEY)
    assert refused(draft, update, other, snis=["a.com"])["fields"] == {"snis": text}
    update(draft, made, snis=[])
    assert names_of(draft, update(draft, other, snis=["a.com"])) == ["a.com"]


def test_a_certificate_in_use_stays(draft: Draft) -> None:
    made = create(draft, "certificates", **PAIR, snis=["a.com"])
    service = create(
        draft, "services", host="h", protocol="https", client_certificate=reference(made), name="s"
    )
    answer = refused(draft, operations.remove, made)
    assert answer["message"] == "an existing 'services' entity references this 'certificates' entity"
    operations.remove(draft, service)
    upstream = create(draft, "upstreams", name="u", client_certificate=reference(made))
    assert refused(draft, operations.remove, made)["fields"] == {"@referenced_by": "upstreams"}
    operations.remove(draft, upstream)
    operations.remove(draft, made)
    assert len(draft.result("x")) == 0


AUTHORITY, AUTHORITY_KEY = authority()


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (AUTHORITY * 2, {"@entity": ["please submit only one certificate at a time"]}),
        (
            certificate("old", AUTHORITY_KEY, is_authority=True, days=-1),
            {"@entity": ['certificate expired, "Not After" time is in the past']},
        ),
        (
            CERT,
            {
                "@entity": [
                    'certificate does not appear to be a CA because it is missing the "CA" basic constraint'
                ]
            },
        ),
        ("x", {"cert": "invalid certificate: x509.new: no PEM block 'CERTIFICATE' found"}),
    ],
)
def test_authorities_that_are_refused(draft: Draft, text: str, fields: dict[str, Any]) -> None:
    assert refused(draft, create, "ca_certificates", cert=text)["fields"] == fields


def test_an_authority_in_use_stays(draft: Draft) -> None:
    made = create(draft, "ca_certificates", cert=AUTHORITY)
    assert refused(draft, create, "ca_certificates", cert=AUTHORITY)["fields"] == {
        "cert_digest": made.cert_digest
    }
    service = create(draft, "services", host="h", protocol="https", ca_certificates=[made.id])
    for base in (draft, Draft(draft.result("x"))):
        assert refused(base, operations.remove, made) == {
            "status": 400,
            "code": 19,
            "name": "referenced by others",
            "message": f"ca certificate {made.id} is still referenced by services (id = {service.id})",
        }
    update(draft, service, ca_certificates=None)
    operations.remove(draft, made)
    assert draft.get("ca_certificates", made.id) is None


# Keys

MODULUS = "AQAB" * 86
ED25519 = {"kid": "k", "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
EC = {
    "kid": "k",
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}
HUGE_FACTORS = dict.fromkeys("pq", "_" * 4_000_000)


@pytest.mark.parametrize(
    ("jwk", "is_key"),
    [
        (ED25519, True),
        ({**ED25519, "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}, True),
        ({**ED25519, "d": "AAGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}, False),
        ({**ED25519, "x": "11qY"}, False),
        ({**ED25519, "crv": "none"}, False),
        (EC, True),
        ({**EC, "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}, True),
        ({**EC, "d": "AAAMB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}, False),
        ({**EC, "y": "AEtl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}, False),
        ({"kid": "k", "kty": "RSA", "e": "AQAB", "n": MODULUS}, True),
        ({"kid": "k", "kty": "RSA", "e": "AQAB", "n": MODULUS, "d": "AQAB", "p": "Aw", "q": "Aw"}, False),
        # Such a product takes seconds, in which nothing else is done.
        ({"kid": "k", "kty": "RSA", "e": "AQAB", "n": MODULUS, "d": "AQAB", **HUGE_FACTORS}, False),
        ({"kid": "k", "kty": "RSA", "e": "AQAB", "n": "_" * 4000}, False),
        ({"kid": "k", "kty": "RSA", "e": "AQAB", "n": 5}, False),
        ({"kid": "k", "kty": "RSA", "e": "%%%%", "n": MODULUS}, False),
        ({"kid": "k", "kty": "oct", "k": "AAAA"}, False),
        ({"kid": "k"}, False),
    ],
)
def test_json_web_keys(draft: Draft, jwk: dict[str, Any], is_key: bool) -> None:
    values = {"kid": "k", "jwk": json.dumps(jwk)}
    if is_key:
        assert create(draft, "keys", **values).jwk == values["jwk"]
    else:
        answer = refused(draft, create, "keys", **values)
        assert answer["message"] == "schema violation (could not load JWK, likely not a valid key)"


def public_pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def test_keys_as_pem(draft: Draft) -> None:
    one, other = new_key(), new_key()
    create(draft, "keys", kid="a", pem={"public_key": public_pem(one)})
    made = create(draft, "keys", kid="b", pem={"public_key": public_pem(one), "private_key": key_pem(one)})
    answer = refused(draft, update, made, pem={"public_key": public_pem(other)})
    assert answer["fields"] == {"pem": {"@entity": ["public key does not match private key"]}}
    broken = public_pem(one).replace("M", "A", 1)
    assert refused(draft, create, "keys", kid="c", pem={"public_key": broken})["fields"] == {
        "pem": {"public_key": "invalid key"}
    }


def test_keys_that_tokens_are_verified_with(draft: Draft) -> None:
    consumer = create(draft, "consumers", username="c")
    values = {"consumer": reference(consumer), "algorithm": "RS256"}
    key = rsa.generate_private_key(65537, 2048)
    assert create(draft, "jwt_secrets", **values, rsa_public_key=public_pem(key)).algorithm == "RS256"
    create(draft, "jwt_secrets", **values, rsa_public_key=RSA_CERT)
    answer = refused(draft, create, "jwt_secrets", **values, rsa_public_key=public_pem(key)[:-60])
    assert answer["fields"]["rsa_public_key"] == "invalid key"
