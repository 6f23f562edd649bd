"""A table of tokens that must be refused, whatever they try.

The credential `k` is for HS256 with the secret SECRET, `rs` for RS256 and `es` for ES256 with public keys.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.support.tokens import SECRET, encoded, make_pair, pair, with_hmac

HS256 = {"alg": "HS256", "typ": "JWT"}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
SECRET_BYTES = SECRET.encode()

INVALID_JSON = "Bad token; invalid JSON"
INVALID_ALG = "Bad token; invalid alg"
INVALID_CLAIMS = "Bad token; invalid claims"
INVALID_SEGMENT = "Bad token; invalid signature"
INVALID_SIGNATURE = "Invalid signature"
INVALID_ALGORITHM = "Invalid algorithm"
UNSUPPORTED = "Bad token; unsupported crit"
UNKNOWN = "No credentials found for given 'iss'"


def attack_tokens() -> dict[str, tuple[str, str]]:
    """What is tried -> (the token, the message of the 401)."""
    good = pair("HS256").sign({"iss": "k"})
    return {**of_algorithms(), **of_keys(), **of_signatures(good), **of_spelling(good), **of_json()}


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    return f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}.{signature}"


def of_algorithms() -> dict[str, tuple[str, str]]:
    """The token wants another algorithm than the credential's."""
    found = {}
    for name in (
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        "HS257",
        "hs256",
        "HS256 ",
        "ES256K",
        "RSA-OAEP",
        "ES521",
    ):
        found[f"alg {name!r}, no signature"] = unsigned({"alg": name}, {"iss": "k"}), INVALID_ALG
        header = {"alg": name, "typ": "JWT"}
        found[f"alg {name!r}, signed"] = with_hmac(header, {"iss": "k"}, SECRET_BYTES), INVALID_ALG
    for value in (None, 1, True, ["HS256"], {"HS256": 1}):
        found[f"alg {value!r}"] = with_hmac({"alg": value}, {"iss": "k"}, SECRET_BYTES), INVALID_ALG
    found["no alg"] = with_hmac({"typ": "JWT"}, {"iss": "k"}, SECRET_BYTES), INVALID_ALG
    public = pair("RS256").public
    for text in (public, public.strip(), public.replace("\n", ""), public.replace("\n", "\r\n")):
        name = f"HS256 with the RSA public key as secret ({len(text)} bytes)"
        found[name] = with_hmac(HS256, {"iss": "rs"}, text.encode()), INVALID_ALGORITHM
    point = pair("ES256").public.encode()
    found["HS256 with the EC public key as secret"] = (
        with_hmac(HS256, {"iss": "es"}, point),
        INVALID_ALGORITHM,
    )
    found["RS256 for an HS256 credential"] = pair("RS256").sign({"iss": "k"}), INVALID_ALGORITHM
    found["PS256 for an RS256 credential"] = (
        jwt.encode({"iss": "rs"}, pair("RS256").private, "PS256"),
        INVALID_ALGORITHM,
    )
    found["HS384 for an HS256 credential"] = jwt.encode({"iss": "k"}, SECRET, "HS384"), INVALID_ALGORITHM
    found["ES384 for an ES256 credential"] = pair("ES384").sign({"iss": "es"}), INVALID_ALGORITHM
    return found


def of_keys() -> dict[str, tuple[str, str]]:
    """The token brings a key, or says where there is one."""
    own = make_pair("RS256")
    certificate = base64.b64encode(b"certificate").decode()
    tricks: dict[str, dict[str, Any]] = {
        "jwk": {"jwk": own.jwk(kid="a")},
        "jku": {"jku": "https://attacker.example/keys"},
        "x5u": {"x5u": "https://attacker.example/certificate"},
        "x5c": {"x5c": [certificate]},
        "kid as a path": {"kid": "../../../../dev/null"},
        "kid as SQL": {"kid": "k' UNION SELECT 'secret'--"},
        "kid of another credential": {"kid": "k"},
    }
    found = {
        name: (own.sign({"iss": "rs"}, **headers), INVALID_SIGNATURE) for name, headers in tricks.items()
    }
    found["an embedded secret"] = (
        with_hmac({**HS256, "jwk": {"kty": "oct", "k": encoded(b"mine")}}, {"iss": "k"}, b"mine"),
        INVALID_SIGNATURE,
    )
    found["kid /dev/null, an empty secret"] = (
        with_hmac({**HS256, "kid": "/dev/null"}, {"iss": "k"}, b"\0"),
        INVALID_SIGNATURE,
    )
    found["an empty secret"] = with_hmac(HS256, {"iss": "k"}, b""), INVALID_SIGNATURE
    found["somebody else's key"] = own.sign({"iss": "rs"}), INVALID_SIGNATURE
    found["somebody else's secret"] = with_hmac(HS256, {"iss": "k"}, b"other"), INVALID_SIGNATURE
    crit = {**HS256, "crit": ["exp"], "exp": 1}
    found["crit"] = with_hmac(crit, {"iss": "k"}, SECRET_BYTES), UNSUPPORTED
    found["an empty crit"] = with_hmac({**HS256, "crit": []}, {"iss": "k"}, SECRET_BYTES), UNSUPPORTED
    found["b64 false"] = with_hmac({**HS256, "b64": False}, {"iss": "k"}, SECRET_BYTES), UNSUPPORTED
    return found


def of_signatures(good: str) -> dict[str, tuple[str, str]]:
    """The signature is not what it should be."""
    signed, _, signature = good.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=")
    header, claims = signed.split(".")
    other_claims = encoded(b'{"iss":"k","admin":true}')
    other_header = encoded(b'{"alg":"HS256","typ":"JWS"}')
    one, zero = encoded(b"\1"), b"0"
    found = {
        "no signature": (f"{signed}.", INVALID_SIGNATURE),
        "no signature, no dot": (signed, INVALID_JSON),
        "zeros": (f"{signed}.{encoded(bytes(32))}", INVALID_SIGNATURE),
        "of other claims": (f"{header}.{other_claims}.{signature}", INVALID_SIGNATURE),
        "of another header": (f"{other_header}.{claims}.{signature}", INVALID_SIGNATURE),
    }
    for length in (0, 1, 2, 16, 31):
        found[f"cut to {length} bytes"] = f"{signed}.{encoded(raw[:length])}", INVALID_SIGNATURE
    found["one byte more"] = f"{signed}.{encoded(raw + zero)}", INVALID_SIGNATURE
    for bit in (0, 100, 255):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        found[f"bit {bit} changed"] = f"{signed}.{encoded(bytes(changed))}", INVALID_SIGNATURE
    point, _, proof = pair("ES256").sign({"iss": "es"}).rpartition(".")
    raw = base64.urlsafe_b64decode(proof + "==")
    found["ECDSA: zeros"] = f"{point}.{encoded(bytes(64))}", INVALID_SIGNATURE
    found["ECDSA: nothing"] = f"{point}.", INVALID_SIGNATURE
    found["ECDSA: half"] = f"{point}.{encoded(raw[:32])}", INVALID_SIGNATURE
    found["ECDSA: DER"] = f"{point}.{encoded(der_of(raw))}", INVALID_SIGNATURE
    found["ECDSA: r as it is, s zero"] = f"{point}.{encoded(raw[:32] + bytes(32))}", INVALID_SIGNATURE
    rsa, _, proof = pair("RS256").sign({"iss": "rs"}).rpartition(".")
    found["RSA: nothing"] = f"{rsa}.", INVALID_SIGNATURE
    found["RSA: a one"] = f"{rsa}.{one}", INVALID_SIGNATURE
    found["RSA: cut"] = f"{rsa}.{encoded(base64.urlsafe_b64decode(proof + '==')[:-1])}", INVALID_SIGNATURE
    return found


def der_of(raw: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))


def of_spelling(good: str) -> dict[str, tuple[str, str]]:
    """The same token, written otherwise: whoever compares texts would take it for another one."""
    header, claims, signature = good.split(".")
    last = ALPHABET[
        ALPHABET.index(signature[-1]) ^ 1
    ]  # 32 bytes: two bits of the last character are left over
    return {
        "left-over bits of the signature": (f"{header}.{claims}.{signature[:-1]}{last}", INVALID_SEGMENT),
        "left-over bits of the claims": (
            with_left_over_bits({"iss": "k", "a": 1}),
            INVALID_JSON,
        ),
        "padding of the signature": (f"{good}=", INVALID_SEGMENT),
        "padding of the header": (f"{header}==.{claims}.{signature}", INVALID_JSON),
        "the alphabet of standard base64": (f"{header}.{claims}.+/{signature[2:]}", INVALID_SEGMENT),
        "a dot behind it": (f"{good}.", INVALID_SEGMENT),
        "a fourth part": (f"{good}.{signature}", INVALID_SEGMENT),
        "five parts": (f"{header}.{claims}.{signature}.{claims}.{signature}", INVALID_SEGMENT),
        "a dot before it": (f".{good}", INVALID_JSON),
        "rubbish behind it": (f"{good}!", INVALID_SEGMENT),
        "rubbish inside the claims": (f"{header}.{claims[:2]}!{claims[2:]}.{signature}", INVALID_JSON),
        "a space behind the header": (f"{header} .{claims}.{signature}", INVALID_JSON),
        "a space inside the signature": (
            f"{header}.{claims}.{signature[:4]} {signature[4:]}",
            INVALID_SEGMENT,
        ),
        "a comma and another one": (f"{good}, {good}", INVALID_SEGMENT),
        "quotes": (f'"{good}"', INVALID_JSON),
        "one character too few in the claims": (f"{header}.{claims[:-1]}.{signature}", INVALID_JSON),
        "nothing but dots": ("..", INVALID_JSON),
        "no dot": ("abc", INVALID_JSON),
        "JSON serialisation": ('{"payload":"e30","signatures":[]}', INVALID_JSON),
    }


def with_left_over_bits(claims: dict[str, Any]) -> str:
    """Claims whose last character has a bit set that stands for nothing, signed as they are written."""
    text = json.dumps(claims)
    while len(text) % 3 == 0:
        text += " "
    written = encoded(text.encode())
    written = written[:-1] + ALPHABET[ALPHABET.index(written[-1]) ^ 1]
    signed = f"{encoded(json.dumps(HS256).encode())}.{written}"
    return f"{signed}.{encoded(hmac.digest(SECRET_BYTES, signed.encode(), hashlib.sha256))}"


def of_json() -> dict[str, tuple[str, str]]:
    """Correctly signed, but what is signed is read differently by different readers, or hurts them."""
    deep = 100_000
    texts: dict[str, tuple[str | bytes, str]] = {
        "iss twice": ('{"iss":"k","iss":"rs"}', INVALID_JSON),
        "a claim twice": ('{"iss":"k","exp":1,"exp":9999999999}', INVALID_JSON),
        "a name twice, once escaped": ('{"iss":"k","\\u0069ss":"k"}', INVALID_JSON),
        "a name twice, far down": ('{"iss":"k","a":{"b":[{"c":1,"c":2}]}}', INVALID_JSON),
        "NaN": ('{"iss":"k","exp":NaN}', INVALID_JSON),
        "Infinity": ('{"iss":"k","exp":Infinity}', INVALID_JSON),
        "-Infinity": ('{"iss":"k","nbf":-Infinity}', INVALID_JSON),
        "a number that is infinite": ('{"iss":"k","exp":1e999}', INVALID_JSON),
        "a number of 10,000 digits": ('{"iss":"k","exp":' + "9" * 10_000 + "}", INVALID_JSON),
        "nested lists": ('{"iss":"k","a":' + "[" * deep + "]" * deep + "}", INVALID_JSON),
        "nested objects": ('{"iss":"k","a":' + '{"a":' * 9000 + "1" + "}" * 9001, INVALID_JSON),
        "lists that do not end": ("[" * deep, INVALID_JSON),
        "a byte order mark": (b'\xef\xbb\xbf{"iss":"k"}', INVALID_JSON),
        "UTF-16": ('{"iss":"k"}'.encode("utf-16"), INVALID_JSON),
        "UTF-32": ('{"iss":"k"}'.encode("utf-32-le"), INVALID_JSON),
        "no UTF-8": (b'{"iss":"k","a":"\xff"}', INVALID_JSON),
        "a NUL": (b'{"iss":"k"}\0', INVALID_JSON),
        "something behind it": ('{"iss":"k"}{"iss":"rs"}', INVALID_JSON),
        "single quotes": ("{'iss':'k'}", INVALID_JSON),
        "nothing": ("", INVALID_JSON),
        "a list": ('[{"iss":"k"}]', INVALID_CLAIMS),
        "a text": ('"iss"', INVALID_CLAIMS),
        "a number": ("1", INVALID_CLAIMS),
        "null": ("null", INVALID_CLAIMS),
        "iss: a number": ('{"iss":1}', "Invalid 'iss' in claims"),
        "iss: true": ('{"iss":true}', "Invalid 'iss' in claims"),
        "iss: a list": ('{"iss":["k"]}', "Invalid 'iss' in claims"),
        "iss: an object": ('{"iss":{"k":1}}', "Invalid 'iss' in claims"),
        "iss: nothing": ('{"iss":""}', "Invalid 'iss' in claims"),
        "iss: half a character": ('{"iss":"\\ud800"}', "Invalid 'iss' in claims"),
        "iss: null": ('{"iss":null}', "No mandatory 'iss' in claims"),
        "iss: false": ('{"iss":false}', "No mandatory 'iss' in claims"),
        "no iss": ('{"sub":"k"}', "No mandatory 'iss' in claims"),
        "iss in other letters": ('{"ISS":"k"}', "No mandatory 'iss' in claims"),
        "iss with a space": ('{"iss":"k "}', UNKNOWN),
        "iss with a NUL": ('{"iss":"k\\u0000"}', UNKNOWN),
        "iss in capitals": ('{"iss":"K"}', UNKNOWN),
        "iss of 10,000 characters": ('{"iss":"' + "k" * 10_000 + '"}', UNKNOWN),
    }
    found = {name: (with_hmac(HS256, text, SECRET_BYTES), message) for name, (text, message) in texts.items()}
    found["alg twice"] = (
        with_hmac('{"alg":"HS256","alg":"none"}', {"iss": "k"}, SECRET_BYTES),
        INVALID_JSON,
    )
    found["a header that is a list"] = with_hmac('["HS256"]', {"iss": "k"}, SECRET_BYTES), INVALID_ALG
    return found
