"""The rules of the entities' fields, with Kong's texts (reference/entities.md §1, §2, §6)."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import check_entity
from tests.support.certificates import certificate, key_pem, new_key

SAME_TYPE = (
    "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), the provided "
    "certificates were both of the same type"
)
CONSUMER = {"consumer": {"id": "00000000-0000-4000-8000-000000000008"}}
KEY = new_key()
PEM_CERTIFICATE, PEM_KEY = certificate("a.com", KEY), key_pem(KEY)
PEM_PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
JWK = '{"kid":"k","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
NAME = "the only accepted ascii characters are alphanumerics or ., -, _, and ~"
TAG = "expected printable ascii (except `,` and `/`) or valid utf-8 sequences"
PROTOCOL = "failed conditional validation given value of field 'protocol'"
HASH_ON = "failed conditional validation given value of field 'hash_on'"
HASH_FALLBACK = "failed conditional validation given value of field 'hash_fallback'"
ALGORITHM = "failed conditional validation given value of field 'algorithm'"
NULL = "value must be null"
REQUIRED = "required field missing"
SEGMENTS = "must not have empty segments"
STREAMS = "'tcp', 'tls', 'tls_passthrough' or 'udp'"
NO_STREAM_MATCH = (
    "must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or 'udp'"
)
NO_MATCH = "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'"


def errors_of(type_name: str, values: dict[str, Any]) -> dict[Any, Any]:
    return check_entity(ENTITY_TYPES[type_name], values)[1]


def service(**values: Any) -> dict[str, Any]:
    return {"host": "h", **values}


def route(**values: Any) -> dict[str, Any]:
    return {"paths": ["/a"], **values}


PROTOCOLS_TEXT = "expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp"

SERVICES = [
    ({}, {"host": REQUIRED}),
    ({"host": None}, {"host": REQUIRED}),
    ({"host": ""}, {"host": "length must be at least 1"}),
    ({"host": "h:80"}, {"host": "must not have a port"}),
    ({"host": "h:99999"}, {"host": "must not have a port"}),
    ({"host": "bad host"}, {"host": "invalid value: bad host"}),
    ({"host": "a..b"}, {"host": "invalid value: a..b"}),
    ({"host": "a-.b"}, {"host": "invalid value: a-.b"}),
    ({"host": "1.2.3.256"}, {"host": "invalid value: 1.2.3.256"}),
    ({"host": ["h"]}, {"host": "expected a string"}),
    (service(name="a b"), {"name": f"invalid value 'a b': {NAME}"}),
    (service(name="a/b\0"), {"name": f"invalid value 'a/b\0': {NAME}"}),
    (service(port=70000), {"port": "value should be between 0 and 65535"}),
    (service(port=-1), {"port": "value should be between 0 and 65535"}),
    (service(port="80"), {"port": "expected an integer"}),
    (service(port=80.5), {"port": "expected an integer"}),
    (service(port=True), {"port": "expected an integer"}),
    (service(port=float("inf")), {"port": "expected an integer"}),
    (service(retries=32768), {"retries": "value should be between 0 and 32767"}),
    (service(connect_timeout=0), {"connect_timeout": "value should be between 1 and 2147483646"}),
    (service(read_timeout=2**31), {"read_timeout": "value should be between 1 and 2147483646"}),
    (service(write_timeout="x"), {"write_timeout": "expected an integer"}),
    (service(enabled="true"), {"enabled": "expected a boolean"}),
    (service(path="x"), {"path": "should start with: /"}),
    (service(path="/a//b"), {"path": SEGMENTS}),
    (
        service(path="/a b"),
        {"path": "invalid path: '/a b' (characters outside of the reserved list of RFC 3986 found)"},
    ),
    (service(path="/%zz"), {"path": "invalid url-encoded value: '%zz'"}),
    (service(path="/a%2"), {"path": "invalid url-encoded value: '%2'"}),
    (
        service(protocol="ftp"),
        {"protocol": "expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp"},
    ),
    (service(protocol="tcp", path="/x"), {"path": NULL, "@entity": [PROTOCOL]}),
    (service(protocol="grpc", path="/x"), {"path": NULL, "@entity": [PROTOCOL]}),
    (service(tls_verify=True), {"tls_verify": NULL, "@entity": [PROTOCOL]}),
    (
        service(tls_verify=True, tls_verify_depth=2, ca_certificates=[]),
        {"tls_verify": NULL, "tls_verify_depth": NULL, "ca_certificates": NULL, "@entity": [PROTOCOL] * 3},
    ),
    (
        service(protocol="https", tls_verify_depth=65),
        {"tls_verify_depth": "value should be between 0 and 64"},
    ),
    (service(protocol="https", ca_certificates=["x"]), {"ca_certificates": {0: "expected a valid UUID"}}),
    (service(client_certificate={"id": "x"}), {"client_certificate": NULL, "@entity": [PROTOCOL]}),
    (service(protocol="https", client_certificate={}), {"client_certificate": {"id": "missing primary key"}}),
    (service(tags="x"), {"tags": "expected a set"}),
    (service(tags=["ok", "a,b"]), {"tags": {1: f"invalid tag 'a,b': {TAG}"}}),
    (
        service(tags=["a/b", "", 1, None]),
        {
            "tags": {
                0: f"invalid tag 'a/b': {TAG}",
                1: "length must be at least 1",
                2: "expected a string",
                3: REQUIRED,
            }
        },
    ),
    (service(id="x"), {"id": "expected a valid UUID"}),
    (service(created_at="now"), {"created_at": "expected an integer"}),
    (service(created_at=-1), {"created_at": "expected a valid timestamp"}),
    (service(foo=1, bar=2), {"foo": "unknown field", "bar": "unknown field"}),
    ({"url": "a.b"}, {"path": "should start with: /", "host": REQUIRED}),
    ({"url": "ftp://a.b"}, {"protocol": PROTOCOLS_TEXT}),
    ({"url": "http://"}, {"host": REQUIRED}),
    ({"url": 5}, {"url": "expected a string"}),
    # Beside a shorthand that is wrong nothing else is looked at.
    ({"url": "", "retries": -1, "foo": 1}, {"url": "length must be at least 1"}),
    ({"url": "http:/h"}, {"host": REQUIRED}),
    ({"url": "h:80"}, {"protocol": PROTOCOLS_TEXT, "host": REQUIRED, "path": "should start with: /"}),
    ({"url": "http://a.b:x/"}, {"port": "expected an integer"}),
    ({"url": "http://a.b:/"}, {"port": "expected an integer"}),
    ({"url": "http://a@b@c/"}, {"host": "invalid value: b@c"}),
    ({"url": "http://a.b:99999"}, {"port": "value should be between 0 and 65535"}),
    ({"url": "http://[::1"}, {"host": "invalid value: [:"}),
]

ROUTES = [
    ({}, {"@entity": [NO_MATCH]}),
    ({"paths": []}, {"@entity": [NO_MATCH]}),
    ({"headers": {}}, {"@entity": [NO_MATCH]}),
    (
        {"protocols": ["http"]},
        {"@entity": ["must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'"]},
    ),
    ({"paths": "/x"}, {"paths": "expected an array"}),
    (
        {"paths": ["a", "", "/ok", 5, "/a//b"]},
        {
            "paths": {
                0: "should start with: / (fixed path) or ~/ (regex path)",
                1: "length must be at least 1",
                3: "expected a string",
                4: SEGMENTS,
            }
        },
    ),
    ({"paths": ["~a"]}, {"paths": {0: "should start with: / (fixed path) or ~/ (regex path)"}}),
    ({"paths": ["/a/../b"]}, {"paths": {0: "non-normalized path, consider use '/b' instead"}}),
    ({"paths": ["/%7Ea"]}, {"paths": {0: "non-normalized path, consider use '/~a' instead"}}),
    ({"paths": ["/%2f"]}, {"paths": {0: "non-normalized path, consider use '/%2F' instead"}}),
    ({"paths": ["a//b", "~a//b"]}, {"paths": {0: SEGMENTS, 1: SEGMENTS}}),
    ({"paths": ["/%zz"]}, {"paths": {0: "invalid url-encoded value: '%zz'"}}),
    ({"hosts": ["a b"]}, {"hosts": {0: "invalid hostname: a b"}}),
    ({"hosts": ["*.a.*"]}, {"hosts": {0: "invalid wildcard: must have at most one wildcard"}}),
    ({"hosts": ["a.*.b"]}, {"hosts": {0: "invalid wildcard: must be placed at leftmost or rightmost label"}}),
    ({"hosts": ["*"]}, {"hosts": {0: "invalid wildcard: must be placed at leftmost or rightmost label"}}),
    ({"hosts": ["*.a b"]}, {"hosts": {0: "invalid hostname: *.a b"}}),
    ({"hosts": ["a.com:x"]}, {"hosts": {0: "invalid hostname: a.com:x"}}),
    ({"hosts": ["a.com:70000"]}, {"hosts": {0: "invalid port number"}}),
    ({"methods": ["get"]}, {"methods": {0: "invalid value: get"}}),
    (
        {"headers": {"x y": ["z"]}},
        {"headers": "bad header name 'x y', allowed characters are A-Z, a-z, 0-9, '_', and '-'"},
    ),
    (
        {"headers": {"Host": ["z"]}},
        {"headers": "cannot contain 'host' header, which must be specified in the 'hosts' attribute"},
    ),
    ({"headers": {"x": "z"}}, {"headers": "expected an array"}),
    ({"headers": {"x": ["ok", 1]}}, {"headers": {1: "expected a string"}}),
    ({"headers": {"x": None}}, {"headers": REQUIRED}),
    ({"headers": [1]}, {"headers": "expected a map"}),
    ({"query_params": {"": ["z"]}}, {"query_params": "length must be at least 1"}),
    ({"query_params": {"x": "z"}}, {"query_params": "expected an array"}),
    (route(protocols=[]), {"protocols": "unknown type: nil"}),
    (route(protocols=["ws"]), {"protocols": "unknown type: ws"}),
    # Without rules for the protocols nothing else is looked at.
    ({"protocols": {}, "paths": ["x"], "foo": 1}, {"protocols": "unknown type: nil"}),
    ({"protocols": "ws", "paths": ["x"]}, {"protocols": "unknown type: ws"}),
    ({"protocols": [True], "paths": ["x"]}, {"protocols": "unknown type: true"}),
    (route(protocols="http"), {"protocols": "expected a set"}),
    (
        route(protocols=["http", "tcp"]),
        {"protocols": "these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp')"},
    ),
    ({"protocols": ["tcp"]}, {"@entity": [NO_STREAM_MATCH]}),
    (
        {"protocols": ["tcp"], "paths": ["/x"], "query_params": {"a": ["b"]}},
        {
            "paths": f"cannot set 'paths' when 'protocols' is {STREAMS}",
            "query_params": f"cannot set 'query_params' when 'protocols' is {STREAMS}",
            "@entity": [NO_STREAM_MATCH],
        },
    ),
    (
        {"protocols": ["tcp"], "sources": [{}]},
        {"sources": {0: {"@entity": ["at least one of these fields must be non-empty: 'ip', 'port'"]}}},
    ),
    (
        {"protocols": ["tcp"], "sources": [{"ip": "1.2.3"}]},
        {"sources": {0: {"ip": "invalid ip or cidr range: '1.2.3'"}}},
    ),
    (
        {"protocols": ["tls_passthrough"]},
        {"@entity": ["must set snis when 'protocols' is 'tls_passthrough'"]},
    ),
    (
        route(protocols=["http"], snis=["a.com"]),
        {
            "snis": "length must be 0",
            "@entity": [
                "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"
            ],
        },
    ),
    (
        route(protocols=["http", {}], snis=["a.com"]),
        {
            "protocols": {1: "expected a string"},
            "snis": "length must be 0",
            "@entity": [
                "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"
            ],
        },
    ),
    (route(snis=["1.2.3.4"]), {"snis": {0: "must not be an IP"}}),
    (route(sources=[{"port": 1}]), {"sources": "cannot set 'sources' when 'protocols' is 'http' or 'https'"}),
    (
        route(protocols=["grpc"], strip_path=True, methods=["GET"]),
        {
            "strip_path": "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'",
            "methods": "cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs'",
        },
    ),
    (
        {"protocols": ["grpcs"]},
        {"@entity": ["must set one of 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'grpcs'"]},
    ),
    (
        route(https_redirect_status_code=300),
        {"https_redirect_status_code": "expected one of: 426, 301, 302, 307, 308"},
    ),
    (route(path_handling="v2"), {"path_handling": "expected one of: v0, v1"}),
    (route(regex_priority="x"), {"regex_priority": "expected an integer"}),
    (route(service="x"), {"service": {"id": "missing primary key"}}),
    (route(service={}), {"service": {"id": "missing primary key"}}),
    (route(service={"id": 5}), {"service": {"id": "expected a string"}}),
    (route(service={"id": "x"}), {"service": {"id": "expected a valid UUID"}}),
    (route(expression="x"), {"expression": "unknown field"}),
]

UPSTREAMS = [
    ({}, {"name": REQUIRED}),
    ({"name": "1.2.3.4"}, {"name": "Invalid name ('1.2.3.4'); no ip addresses allowed"}),
    ({"name": "::1"}, {"name": "Invalid name ('::1'); no ip addresses allowed"}),
    ({"name": "a:80"}, {"name": "Invalid name ('a:80'); no port allowed"}),
    ({"name": "a b"}, {"name": "Invalid name ('a b'); must be a valid hostname"}),
    ({"name": "u", "slots": 9}, {"slots": "value should be between 10 and 65536"}),
    (
        {"name": "u", "algorithm": "x"},
        {"algorithm": "expected one of: consistent-hashing, least-connections, round-robin, latency"},
    ),
    (
        {"name": "u", "algorithm": "sticky-sessions"},
        {
            "sticky_sessions_cookie": REQUIRED,
            "@entity": ["failed conditional validation given value of field 'algorithm'"],
        },
    ),
    (
        {"name": "u", "algorithm": "sticky-sessions", "sticky_sessions_cookie": "a b"},
        {
            "sticky_sessions_cookie": (
                "Invalid cookie name 'a b', should be a valid HTTP token (see RFC 2616)"
            ),
            "@entity": ["failed conditional validation given value of field 'algorithm'"],
        },
    ),
    ({"name": "u", "slow_start": 3601}, {"slow_start": "value should be between 0 and 3600"}),
    (
        {"name": "u", "hash_on": "zzz"},
        {"hash_on": "expected one of: none, consumer, ip, header, cookie, path, query_arg, uri_capture"},
    ),
    (
        {"name": "u", "hash_on": "ip", "hash_fallback": "ip"},
        {
            "hash_fallback": "expected one of: none, consumer, header, cookie, path, query_arg, uri_capture",
            "@entity": [HASH_ON],
        },
    ),
    (
        {"name": "u", "hash_on": "none", "hash_fallback": "ip"},
        {"hash_fallback": "expected one of: none", "@entity": [HASH_ON]},
    ),
    (
        {"name": "u", "hash_on": "cookie", "hash_on_cookie": "c", "hash_fallback": "ip"},
        {"hash_fallback": "expected one of: none", "@entity": [HASH_ON]},
    ),
    (
        {"name": "u", "hash_on": "cookie", "hash_on_cookie": "c", "hash_fallback": "query_arg"},
        {
            "hash_fallback": "expected one of: none",
            "hash_fallback_query_arg": REQUIRED,
            "@entity": [HASH_ON, HASH_FALLBACK],
        },
    ),
    ({"name": "u", "hash_on": "header"}, {"hash_on_header": REQUIRED, "@entity": [HASH_ON]}),
    ({"name": "u", "hash_on": "query_arg"}, {"hash_on_query_arg": REQUIRED, "@entity": [HASH_ON]}),
    ({"name": "u", "hash_on": "uri_capture"}, {"hash_on_uri_capture": REQUIRED, "@entity": [HASH_ON]}),
    (
        {"name": "u", "hash_on": "ip", "hash_fallback": "cookie"},
        {"hash_on_cookie": REQUIRED, "@entity": [HASH_FALLBACK]},
    ),
    (
        {
            "name": "u",
            "hash_on": "header",
            "hash_on_header": "x",
            "hash_fallback": "header",
            "hash_fallback_header": "x",
        },
        {"@entity": ["values of these fields must be distinct: 'hash_on_header', 'hash_fallback_header'"]},
    ),
    (
        {"name": "u", "hash_on": "cookie", "hash_on_cookie": "a b"},
        {
            "hash_on_cookie": "Invalid cookie name 'a b', should be a valid HTTP token (see RFC 2616)",
            "@entity": [HASH_ON],
        },
    ),
    ({"name": "u", "hash_on_cookie_path": "x"}, {"hash_on_cookie_path": "should start with: /"}),
    ({"name": "u", "host_header": "a b"}, {"host_header": "invalid hostname: a b"}),
    ({"name": "u", "use_srv_name": 1}, {"use_srv_name": "expected a boolean"}),
    ({"name": "u", "healthchecks": 5}, {"healthchecks": "expected a record"}),
    (
        {"name": "u", "healthchecks": {"threshold": 101, "active": {"timeout": -1, "nope": 1}}},
        {
            "healthchecks": {
                "threshold": "value should be between 0 and 100",
                "active": {"timeout": "value should be between 0 and 65535", "nope": "unknown field"},
            }
        },
    ),
    (
        {
            "name": "u",
            "healthchecks": {"active": {"healthy": {"http_statuses": [200, 99]}, "http_path": "x"}},
        },
        {
            "healthchecks": {
                "active": {
                    "healthy": {"http_statuses": {1: "value should be between 100 and 999"}},
                    "http_path": "should start with: /",
                }
            }
        },
    ),
    (
        {
            "name": "u",
            "healthchecks": {"active": {"type": "udp"}, "passive": {"unhealthy": {"tcp_failures": 300}}},
        },
        {
            "healthchecks": {
                "active": {"type": "expected one of: tcp, http, https, grpc, grpcs"},
                "passive": {"unhealthy": {"tcp_failures": "value should be between 0 and 255"}},
            }
        },
    ),
]

UPSTREAM = {"upstream": {"id": "00000000-0000-4000-8000-000000000001"}}
CERTIFICATE = {"certificate": {"id": "00000000-0000-4000-8000-000000000001"}}
INVALID_TARGET = "not a valid hostname or ip address"

OTHERS = [
    ("targets", {}, {"upstream": REQUIRED, "target": REQUIRED}),
    ("targets", {"target": "a b", **UPSTREAM}, {"target": f"Invalid target ('a b'); {INVALID_TARGET}"}),
    (
        "targets",
        {"target": "x:99999", **UPSTREAM},
        {"target": f"Invalid target ('x:99999'); {INVALID_TARGET}"},
    ),
    ("targets", {"target": "x:y", **UPSTREAM}, {"target": f"Invalid target ('x:y'); {INVALID_TARGET}"}),
    ("targets", {"target": "[::1", **UPSTREAM}, {"target": f"Invalid target ('[::1'); {INVALID_TARGET}"}),
    (
        "targets",
        {"target": "x", "weight": 65536, **UPSTREAM},
        {"weight": "value should be between 0 and 65535"},
    ),
    (
        "consumers",
        {},
        {"@entity": ["at least one of these fields must be non-empty: 'custom_id', 'username'"]},
    ),
    (
        "consumers",
        {"username": ""},
        {
            "username": "length must be at least 1",
            "@entity": ["at least one of these fields must be non-empty: 'custom_id', 'username'"],
        },
    ),
    ("plugins", {}, {"name": REQUIRED}),
    ("plugins", {"name": None, "foo": 1}, {"name": REQUIRED}),
    (
        "plugins",
        {"name": "", "foo": 1, "enabled": "x"},
        {"name": "plugin '' not enabled; add it to the 'plugins' configuration property"},
    ),
    (
        "plugins",
        {"name": "nope"},
        {"name": "plugin 'nope' not enabled; add it to the 'plugins' configuration property"},
    ),
    ("certificates", {}, {"cert": REQUIRED, "key": REQUIRED}),
    (
        "certificates",
        {"cert": "x", "key": "y"},
        {
            "cert": "invalid certificate: x509.new: no PEM block 'CERTIFICATE' found",
            "key": "invalid key: pkey.new: no PEM block 'PRIVATE KEY' found",
        },
    ),
    (
        "certificates",
        {"cert": PEM_CERTIFICATE, "key": PEM_KEY, "cert_alt": PEM_CERTIFICATE},
        {"@entity": ["all or none of these fields must be set: 'cert_alt', 'key_alt'", SAME_TYPE]},
    ),
    ("certificates", {"cert": "{vault://env/cert}", "key": "{vault://env/key}"}, {}),
    ("snis", {"name": "a.com"}, {"certificate": REQUIRED}),
    ("snis", {"name": "a.*.b", **CERTIFICATE}, {"name": "wildcard must be leftmost or rightmost character"}),
    ("snis", {"name": "**", **CERTIFICATE}, {"name": "only one wildcard must be specified"}),
    ("snis", {"name": "1.2.3.4", **CERTIFICATE}, {"name": "must not be an IP"}),
    ("snis", {"name": "d.com:80", **CERTIFICATE}, {"name": "must not have a port"}),
    ("snis", {"name": "a b", **CERTIFICATE}, {"name": "invalid value: a b"}),
    ("snis", {"name": "*.w.com", **CERTIFICATE}, {}),
    (
        "ca_certificates",
        {"cert": PEM_CERTIFICATE * 2},
        {"@entity": ["please submit only one certificate at a time"]},
    ),
    ("vaults", {"prefix": "env", "name": "env"}, {"prefix": "must not be one of: env"}),
    ("vaults", {"prefix": "A", "name": "env"}, {"prefix": "invalid value: A"}),
    ("vaults", {}, {"name": REQUIRED}),
    ("vaults", {"prefix": "A", "name": "hcv", "x": 1}, {"name": "vault 'hcv' is not installed"}),
    ("vaults", {"prefix": "a-b", "name": "env", "config": {"x": 1}}, {"config": {"x": "unknown field"}}),
    ("key_sets", {"name": ""}, {"name": "length must be at least 1"}),
    (
        "keys",
        {},
        {"kid": REQUIRED, "@entity": ["at least one of these fields must be non-empty: 'jwk', 'pem'"]},
    ),
    ("keys", {"kid": "k", "jwk": "{"}, {"@entity": ["could not json decode jwk string"]}),
    (
        "keys",
        {"kid": "k", "jwk": '{"kid":"other","kty":"oct"}'},
        {"@entity": ["kid in jwk.kid must be equal to keys.kid"]},
    ),
    (
        "keys",
        {"kid": "k", "jwk": JWK, "pem": {"public_key": PEM_PUBLIC}},
        {"@entity": ["only one or none of these fields must be set: 'jwk', 'pem'"]},
    ),
    (
        "keys",
        {"kid": "k", "pem": {"x": 1}},
        {
            "pem": {
                "x": "unknown field",
                "@entity": ["at least one of these fields must be non-empty: 'private_key', 'public_key'"],
            }
        },
    ),
    ("keyauth_credentials", {"key": "k"}, {"consumer": REQUIRED}),
    ("keyauth_credentials", {"key": "", **CONSUMER}, {"key": "length must be at least 1"}),
    ("keyauth_credentials", {**CONSUMER}, {}),
    ("basicauth_credentials", {"username": "u", **CONSUMER}, {"password": REQUIRED}),
    ("basicauth_credentials", {"password": "p", **CONSUMER}, {"username": REQUIRED}),
    ("jwt_secrets", {"algorithm": "RS256", **CONSUMER}, {"rsa_public_key": REQUIRED, "@entity": [ALGORITHM]}),
    (
        "jwt_secrets",
        {"algorithm": "PS512", "rsa_public_key": "x", **CONSUMER},
        {"rsa_public_key": "invalid key", "@entity": [ALGORITHM]},
    ),
    ("jwt_secrets", {"algorithm": "EdDSA", "rsa_public_key": PEM_PUBLIC, **CONSUMER}, {}),
    ("jwt_secrets", {"algorithm": "ES256", **CONSUMER}, {}),
    ("hmacauth_credentials", {**CONSUMER}, {"username": REQUIRED}),
    ("acls", {**CONSUMER}, {"group": REQUIRED}),
    ("acls", {"group": "", **CONSUMER}, {"group": "length must be at least 1"}),
    ("oauth2_credentials", {**CONSUMER}, {"name": REQUIRED}),
    (
        "oauth2_credentials",
        {"name": "a", "redirect_uris": ["https://x.y/z", "http://e.com/#frag", "notauri"], **CONSUMER},
        {"redirect_uris": {1: "fragment not allowed in 'http://e.com/#frag'", 2: "cannot parse 'notauri'"}},
    ),
    (
        "oauth2_credentials",
        {"name": "a", "client_type": "zzz", **CONSUMER},
        {"client_type": "expected one of: confidential, public"},
    ),
]

CASES = [
    *(("services", values, errors) for values, errors in SERVICES),
    *(("routes", values, errors) for values, errors in ROUTES),
    *(("upstreams", values, errors) for values, errors in UPSTREAMS),
    *OTHERS,
]


@pytest.mark.parametrize(
    ("type_name", "values", "errors"), CASES, ids=[f"{c[0]}-{c[1]!r}"[:50] for c in CASES]
)
def test_everything_wrong_is_told_with_kongs_texts(
    type_name: str, values: dict[str, Any], errors: dict[str, Any]
) -> None:
    assert errors_of(type_name, values) == errors


ACCEPTED = [
    ("services", service(name="é~.-_9")),
    ("services", service(name="00000000-0000-4000-8000-000000000001")),
    ("services", service(tags=["a b", "é", "a&b"])),
    ("services", service(retries=None, path=None, protocol=None, port=None)),
    ("services", service(port=80.0)),
    ("services", {"host": "::1"}),
    ("services", {"host": "under_score.example."}),
    ("services", {"url": "grpc://a.b"}),
    ("services", {"url": "HTTP://user:secret@[::1]:81/a;b?c#d"}),
    ("routes", {"paths": ["/a b"]}),
    ("routes", {"paths": ["/a", "/a", "/a.*", "~/(?<n>x)$"]}),
    ("routes", {"hosts": ["a.com:80", "*.a.com", "a.*", "*.e.com:81", "1.2.3.4"]}),
    ("routes", {"headers": {"X-A": ["1"]}}),
    ("routes", {"query_params": {"Ünicode name": ["1", "~*^\\d+$"]}}),
    ("routes", {"protocols": ["tcp"], "destinations": [{"port": 80}, {"ip": "10.0.0.0/8"}]}),
    ("routes", {"protocols": ["tls_passthrough"], "snis": ["*.a.com"]}),
    ("routes", {"snis": ["a.com"]}),
    ("upstreams", {"name": "u", "hash_on": "path", "hash_fallback": "ip"}),
    ("upstreams", {"name": "u", "healthchecks": {"active": {"timeout": 1.5, "headers": {"x": ["y"]}}}}),
]


@pytest.mark.parametrize(("type_name", "values"), ACCEPTED)
def test_what_kong_accepts_is_accepted(type_name: str, values: dict[str, Any]) -> None:
    assert errors_of(type_name, values) == {}


@pytest.mark.parametrize("pattern", ["/a(", "/[", "/(?<n>x", "/*+("])
def test_patterns_that_do_not_compile_are_refused(pattern: str) -> None:
    (text,) = errors_of("routes", {"paths": [f"~{pattern}"]})["paths"].values()
    assert text.startswith(f"invalid regex: '{pattern}' (PCRE returned: ")
    header = errors_of("routes", {"headers": {"x": ["plain(", f"~*{pattern}"]}})
    assert header["headers"][1].startswith("invalid regex: ")


@pytest.mark.parametrize("path", ["~/a(?=b)", "~/a(?!b)", r"~/(a)\1", "~/(?>a)", r"~/(?<n>a)\k<n>"])
def test_patterns_that_kongs_router_does_not_have_are_refused(path: str) -> None:
    for condition in ({"paths": ["/ok", path]}, {"headers": {"a": ["b"], "x": ["~~", f"~*{path[1:]}"]}}):
        (text,) = errors_of("routes", condition)["@entity"]
        assert text.startswith(f"Router Expression failed validation: regex parse error in '{path[1:]}'")


@pytest.mark.parametrize("path", [r"~/[(?=x)]", r"~/\(\?=x", r"~/a\\1", r"~/(?:a)(?i)b", r"~/\d{1,3}"])
def test_patterns_that_only_look_like_it_are_accepted(path: str) -> None:
    assert errors_of("routes", {"paths": [path]}) == {}
